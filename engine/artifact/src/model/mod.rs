//! Models: one safetensors file, its tensors sorted by name, with a card that tells how to use them.
//!
//! The card is the only metadata, canonical JSON under the key `mlp`. It holds all that scoring needs beside the
//! tensors: the columns, how each is encoded (fitted on training rows), the net and the meaning of the score.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mlp_model::{Column, Scalar, Task, Value};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::json;

/// The version of [`ModelCard`] that this crate writes and reads.
pub const CARD_VERSION: u32 = 1;

/// What is known of a model beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// [`CARD_VERSION`].
    pub version: u32,
    /// Which runner scores it: `torch`.
    pub flavour: String,
    pub task: Task,
    pub target: Column,
    /// The value of the target whose probability the score is.
    pub positive: Option<Value>,
    /// The constructor that made it: `torch.mlp([64, 32])`.
    pub net: Value,
    /// The features in the order in which they are encoded.
    pub encoding: Vec<Encoded>,
}

/// A feature, and how it becomes numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoded {
    pub column: String,
    pub scalar: Scalar,
    pub how: Encoding,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Encoding {
    /// `(x - mean) / std`, where a blank value counts as `fill`.
    Scale { fill: f64, mean: f64, std: f64 },
    /// One number for each category, sorted; blanks and unseen values are all zeros.
    OneHot { categories: Vec<String> },
}

/// Numbers in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// Writes a model to a new file at `path`.
pub fn write(path: &Path, card: &ModelCard, tensors: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    let bytes = to_bytes(card, tensors)?;
    fs::write(path, bytes).map_err(|source| ModelError::Write { path: path.to_owned(), source })
}

/// Reads the model that the first `size_bytes` bytes of the file hold.
pub fn read(path: &Path, size_bytes: u64) -> Result<(ModelCard, BTreeMap<String, Tensor>), ModelError> {
    let fail = |source| ModelError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    let found = file.metadata().map_err(fail)?.len();
    if found < size_bytes {
        return Err(damaged(path, format!("it should have {size_bytes} bytes and has {found}")));
    }
    let mut bytes = Vec::new();
    file.take(size_bytes).read_to_end(&mut bytes).map_err(fail)?;
    parse(&bytes).map_err(|reason| damaged(path, reason))
}

/// Reads a model's card without its tensors.
pub fn read_card(path: &Path, size_bytes: u64) -> Result<ModelCard, ModelError> {
    let fail = |source| ModelError::Read { path: path.to_owned(), source };
    let too_short = || damaged(path, "it is too short");
    let mut file = File::open(path).map_err(fail)?;
    if size_bytes < 8 || file.metadata().map_err(fail)?.len() < size_bytes {
        return Err(too_short());
    }
    let mut header_len = [0; 8];
    file.read_exact(&mut header_len).map_err(fail)?;
    let header_len = u64::from_le_bytes(header_len);
    if header_len > size_bytes - 8 {
        return Err(too_short());
    }
    let mut header = Vec::new();
    file.take(header_len).read_to_end(&mut header).map_err(fail)?;
    parse_header(&header).map_err(|reason| damaged(path, reason))
}

fn to_bytes(card: &ModelCard, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, ModelError> {
    let mut text = String::new();
    json::write(&serde_json::to_value(card).map_err(|error| ModelError::Card(error.to_string()))?, &mut text);
    let reads_back = parse_card(&text).map_err(ModelError::Card)?;
    if reads_back != *card {
        return Err(ModelError::Card("a number in it is not finite".into()));
    }
    let mut little_endian = Vec::new();
    for (name, tensor) in tensors {
        let n_values = tensor.shape.iter().try_fold(1_usize, |n, dimension| n.checked_mul(*dimension));
        if n_values != Some(tensor.data.len()) {
            return Err(ModelError::Shape {
                tensor: name.clone(),
                shape: tensor.shape.clone(),
                n_values: tensor.data.len(),
            });
        }
        little_endian.push(tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    }
    let library = |error: safetensors::SafeTensorError| ModelError::Card(error.to_string());
    let views = tensors.iter().zip(&little_endian).map(|((name, tensor), bytes)| {
        TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map(|view| (name, view)).map_err(library)
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize(views, Some(HashMap::from([("mlp".to_owned(), text)]))).map_err(library)
}

fn parse(bytes: &[u8]) -> Result<(ModelCard, BTreeMap<String, Tensor>), String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let card = header.metadata().as_ref().and_then(|metadata| metadata.get("mlp")).ok_or("it has no card")?;
    let card = parse_card(card)?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let tensors = file.iter().map(|(name, view)| {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor `{name}` is not made of 32-bit floats"));
        }
        let data = view.data().as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        Ok((name.to_owned(), Tensor { shape: view.shape().to_vec(), data }))
    });
    Ok((card, tensors.collect::<Result<_, _>>()?))
}

fn parse_header(header: &[u8]) -> Result<ModelCard, String> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        metadata: Option<HashMap<String, String>>,
    }
    let header: Header =
        serde_json::from_slice(header).map_err(|error| format!("its header cannot be read: {error}"))?;
    let metadata = header.metadata.ok_or("it has no card")?;
    parse_card(metadata.get("mlp").ok_or("it has no card")?)
}

/// Reads a card; what it says is consistent in itself.
fn parse_card(text: &str) -> Result<ModelCard, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let bad = |error: serde_json::Error| format!("its card cannot be read: {error}");
    let Version { version } = serde_json::from_str(text).map_err(bad)?;
    if version != CARD_VERSION {
        return Err(format!("its card has version {version}; this mlp reads version {CARD_VERSION}"));
    }
    let card: ModelCard = serde_json::from_str(text).map_err(bad)?;
    let mut columns = BTreeSet::new();
    for encoded in &card.encoding {
        let column = &encoded.column;
        if !columns.insert(column) {
            return Err(format!("its card encodes column `{column}` twice"));
        }
        if let Encoding::OneHot { categories } = &encoded.how
            && !categories.is_sorted_by(|a, b| a < b)
        {
            return Err(format!("the categories of column `{column}` in its card are not sorted, each once"));
        }
    }
    Ok(card)
}

/// What is wrong with a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is damaged or no model of ours: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the model cannot be stored: {0}")]
    Card(String),
    #[error("tensor `{tensor}` has {n_values} values, which is not its shape {shape:?}")]
    Shape { tensor: String, shape: Vec<usize>, n_values: usize },
}

fn damaged(path: &Path, reason: impl Into<String>) -> ModelError {
    ModelError::Damaged { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests;
