//! Says where two artifacts of one kind differ: the first row and column, the tensor, the metric, the file, the byte.
//!
//! Tells places, never the values of a table: they may be personal. Figures of reports and distances of tensors are
//! statistics, and are told.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use arrow::array::Array;
use mlp_model::ArtifactKind;
use serde::{Deserialize, Serialize};

use crate::folder::Manifest;
use crate::model;
use crate::report::Report;
use crate::table::Reader;

/// The first place at which two artifacts differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Difference {
    /// The column at `position` (from 1) is another: name and type, if there is one.
    Column {
        position: usize,
        before: Option<String>,
        after: Option<String>,
    },
    /// All rows that both have are the same, but one has more.
    Rows {
        before: u64,
        after: u64,
    },
    /// `row` counts from 1.
    Cell {
        row: u64,
        column: String,
    },
    /// What the model's card says, rather than a tensor.
    Card {
        member: String,
    },
    Tensor {
        tensor: String,
        /// `None`: it has no such tensor.
        before: Option<Vec<usize>>,
        after: Option<Vec<usize>>,
        n_values: usize,
        n_differ: usize,
        /// The largest distance of two values, where both are numbers.
        largest: Option<f64>,
    },
    Metric {
        metric: String,
        before: Option<f64>,
        after: Option<f64>,
    },
    /// A file of a folder; `None` where there is none.
    File {
        path: String,
        before: Option<u64>,
        after: Option<u64>,
    },
    /// Counts from 0.
    Byte {
        offset: u64,
        before_bytes: u64,
        after_bytes: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "no column".to_owned());
        let figure = |x: &Option<f64>| x.map_or_else(|| "not measurable".to_owned(), |x| x.to_string());
        match self {
            Self::Column { position, before, after } => {
                write!(f, "column {position} was {}, is {}", or_none(before), or_none(after))
            }
            Self::Rows { before, after } => {
                write!(f, "{before} rows, then {after}; the rows that both have are the same")
            }
            Self::Cell { row, column } => write!(f, "first in row {row}, column `{column}`"),
            Self::Card { member } => write!(f, "`{member}` of its card"),
            Self::Tensor { tensor, before: Some(before), after: Some(after), n_values, n_differ, largest } => {
                if before != after {
                    return write!(f, "tensor `{tensor}` had the shape {before:?}, has {after:?}");
                }
                write!(f, "tensor `{tensor}`: {n_differ} of {n_values} values")?;
                largest.map_or(Ok(()), |largest| write!(f, ", by {largest:e} at most"))
            }
            Self::Tensor { tensor, before: None, .. } => write!(f, "tensor `{tensor}` is new"),
            Self::Tensor { tensor, .. } => write!(f, "tensor `{tensor}` is gone"),
            Self::Metric { metric, before, after } => {
                write!(f, "metric `{metric}` was {}, is {}", figure(before), figure(after))
            }
            Self::File { path, before: Some(_), after: Some(_) } => write!(f, "file `{path}` has other content"),
            Self::File { path, before: None, .. } => write!(f, "file `{path}` is new"),
            Self::File { path, .. } => write!(f, "file `{path}` is gone"),
            Self::Byte { offset, before_bytes, after_bytes } if before_bytes == after_bytes => {
                write!(f, "first at byte {offset} of {before_bytes}")
            }
            Self::Byte { offset, before_bytes, after_bytes } => {
                write!(f, "first at byte {offset}; {before_bytes} bytes, then {after_bytes}")
            }
        }
    }
}

/// A file whose first `size_bytes` bytes are an artifact; for a folder, its list of files.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    pub path: &'a Path,
    pub size_bytes: u64,
}

/// Returns the first place at which two artifacts differ, `None` if they have the same bytes. What cannot be read as an
/// artifact of its kind is compared byte by byte.
pub fn first_difference(kind: ArtifactKind, before: Side<'_>, after: Side<'_>) -> io::Result<Option<Difference>> {
    let by_kind = match kind {
        ArtifactKind::Table => in_tables(before, after),
        ArtifactKind::Model => in_models(before, after),
        ArtifactKind::Report => in_reports(&read(before)?, &read(after)?),
        ArtifactKind::Folder => in_folders(&read(before)?, &read(after)?),
        ArtifactKind::File => None,
    };
    match by_kind {
        Some(difference) => Ok(Some(difference)),
        None => in_bytes(before, after),
    }
}

fn in_tables(before: Side<'_>, after: Side<'_>) -> Option<Difference> {
    let open = |side: Side<'_>| Reader::open(side.path, side.size_bytes).ok();
    let (before, after) = (open(before)?, open(after)?);
    let described = |reader: &Reader, at: usize| {
        reader.columns().get(at).map(|column| {
            let mark = if column.optional { "?" } else { "" };
            format!("`{}: {}{mark}`", column.name, column.scalar)
        })
    };
    let n_columns = before.columns().len().max(after.columns().len());
    for at in 0..n_columns {
        let (was, is) = (described(&before, at), described(&after, at));
        if was != is {
            return Some(Difference::Column { position: at + 1, before: was, after: is });
        }
    }
    let mut n_rows_before = 0;
    for (was, is) in before.batches().zip(after.batches()) {
        let (was, is) = (was.ok()?, is.ok()?);
        let n_rows = was.num_rows().min(is.num_rows());
        let first_row = |at: usize| {
            let (was, is) = (was.column(at).slice(0, n_rows), is.column(at).slice(0, n_rows));
            if was.to_data() == is.to_data() {
                return None;
            }
            (0..n_rows).find(|&row| was.slice(row, 1).to_data() != is.slice(row, 1).to_data())
        };
        let first = (0..n_columns).filter_map(|at| Some((first_row(at)?, at))).min();
        if let Some((row, at)) = first {
            let column = before.columns()[at].name.clone();
            return Some(Difference::Cell { row: n_rows_before + row as u64 + 1, column });
        }
        n_rows_before += n_rows as u64;
    }
    let (before, after) = (before.n_rows(), after.n_rows());
    (before != after).then_some(Difference::Rows { before, after })
}

fn in_models(before: Side<'_>, after: Side<'_>) -> Option<Difference> {
    let open = |side: Side<'_>| model::read(side.path, side.size_bytes).ok();
    let ((card_before, before), (card_after, after)) = (open(before)?, open(after)?);
    if card_before != card_after {
        let members = |card| match serde_json::to_value(card) {
            Ok(serde_json::Value::Object(members)) => members,
            _ => serde_json::Map::new(),
        };
        let (was, is) = (members(&card_before), members(&card_after));
        let member = was.keys().chain(is.keys()).find(|name| was.get(*name) != is.get(*name)).cloned();
        return Some(Difference::Card { member: member.unwrap_or_default() });
    }
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (was, is) = (before.get(name), after.get(name));
        let (shape_before, shape_after) =
            (was.map(|tensor| tensor.shape.clone()), is.map(|tensor| tensor.shape.clone()));
        let mut difference = Difference::Tensor {
            tensor: name.clone(),
            before: shape_before.clone(),
            after: shape_after.clone(),
            n_values: 0,
            n_differ: 0,
            largest: None,
        };
        let (Some(was), Some(is)) = (was, is) else { return Some(difference) };
        if shape_before != shape_after {
            return Some(difference);
        }
        let pairs = || was.data.iter().zip(&is.data).filter(|(was, is)| was.to_bits() != is.to_bits());
        let distances = pairs().map(|(was, is)| (f64::from(*was) - f64::from(*is)).abs()).filter(|x| x.is_finite());
        if let Difference::Tensor { n_values, n_differ, largest, .. } = &mut difference {
            (*n_values, *n_differ, *largest) = (was.data.len(), pairs().count(), distances.reduce(f64::max));
            if *n_differ > 0 {
                return Some(difference);
            }
        }
    }
    None
}

fn in_reports(before: &[u8], after: &[u8]) -> Option<Difference> {
    let (before, after) = (Report::parse(before).ok()?, Report::parse(after).ok()?);
    let metric = before.metrics.keys().chain(after.metrics.keys()).find(|name| {
        // A figure that JSON wrote reads back to the bit, so equal figures are equal bits.
        let bits = |report: &Report| report.metrics.get(*name).map(|x| x.map(f64::to_bits));
        bits(&before) != bits(&after)
    })?;
    let figure = |report: &Report| report.metrics.get(metric).copied().flatten();
    Some(Difference::Metric { metric: metric.clone(), before: figure(&before), after: figure(&after) })
}

fn in_folders(before: &[u8], after: &[u8]) -> Option<Difference> {
    let (before, after) = (Manifest::parse(before).ok()?, Manifest::parse(after).ok()?);
    let entries = |manifest: &Manifest| -> BTreeMap<String, crate::folder::Entry> {
        manifest.entries.iter().map(|entry| (entry.path.clone(), entry.clone())).collect()
    };
    let (before, after) = (entries(&before), entries(&after));
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    let path = paths.into_iter().find(|path| before.get(*path) != after.get(*path))?;
    let size = |entries: &BTreeMap<String, crate::folder::Entry>| entries.get(path).map(|entry| entry.size_bytes);
    Some(Difference::File { path: path.clone(), before: size(&before), after: size(&after) })
}

fn in_bytes(before: Side<'_>, after: Side<'_>) -> io::Result<Option<Difference>> {
    const CHUNK: usize = 1 << 20;
    let open = |side: Side<'_>| File::open(side.path).map(|file| file.take(side.size_bytes));
    let (mut was, mut is) = (open(before)?, open(after)?);
    let mut offset = 0;
    loop {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        was.by_ref().take(CHUNK as u64).read_to_end(&mut left)?;
        is.by_ref().take(CHUNK as u64).read_to_end(&mut right)?;
        let n_same = left.iter().zip(&right).take_while(|(left, right)| left == right).count();
        if n_same < left.len().max(right.len()) {
            let offset = offset + n_same as u64;
            return Ok(Some(Difference::Byte {
                offset,
                before_bytes: before.size_bytes,
                after_bytes: after.size_bytes,
            }));
        }
        if left.is_empty() {
            return Ok(None);
        }
        offset += left.len() as u64;
    }
}

fn read(side: Side<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(side.path)?.take(side.size_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::record_batch::RecordBatch;
    use mlp_model::{Column, Scalar, Task, Value};

    use super::*;
    use crate::model::{ModelCard, Tensor};
    use crate::table::{BATCH_ROWS, ColumnShape, Writer};

    fn differ(kind: ArtifactKind, write: impl Fn(&Path, bool)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        write(&before, false);
        write(&after, true);
        let side = |path| Side { path, size_bytes: std::fs::metadata(path).unwrap().len() };
        assert_eq!(first_difference(kind, side(&before), side(&before)).unwrap(), None);
        first_difference(kind, side(&before), side(&after)).unwrap().unwrap().to_string()
    }

    fn write_table(path: &Path, names: [&str; 2], n_rows: usize, edit: Option<usize>) {
        let shape = |name: &str, scalar| ColumnShape { name: name.into(), scalar, optional: true };
        let columns = [shape(names[0], Scalar::Int), shape(names[1], Scalar::Str)];
        let mut writer = Writer::create(path, &columns).unwrap();
        let numbers = Int64Array::from_iter((0..n_rows as i64).map(|n| (n % 3 != 0).then_some(n)));
        let texts = StringArray::from_iter((0..n_rows).map(|n| {
            let mark = if edit == Some(n) { "Anna" } else { "Bert" };
            Some(format!("{mark}{n}"))
        }));
        let arrays: [ArrayRef; 2] = [Arc::new(numbers), Arc::new(texts)];
        let columns = names.into_iter().zip(arrays).map(|(name, array)| (name, array, true));
        writer.write(&RecordBatch::try_from_iter_with_nullable(columns).unwrap()).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn a_table_tells_row_and_column_and_no_value() {
        let n_rows = BATCH_ROWS + 100;
        let cell = |row| {
            differ(ArtifactKind::Table, |path, is_after| {
                write_table(path, ["n", "name"], n_rows, is_after.then_some(row));
            })
        };
        assert_eq!(cell(0), "first in row 1, column `name`");
        assert_eq!(cell(BATCH_ROWS + 7), format!("first in row {}, column `name`", BATCH_ROWS + 8));
        let longer = differ(ArtifactKind::Table, |path, is_after| {
            write_table(path, ["n", "name"], n_rows + usize::from(is_after), None);
        });
        assert_eq!(longer, "65636 rows, then 65637; the rows that both have are the same");
        let renamed = differ(ArtifactKind::Table, |path, is_after| {
            write_table(path, ["n", if is_after { "nick" } else { "name" }], 3, None);
        });
        assert_eq!(renamed, "column 2 was `name: str?`, is `nick: str?`");
    }

    #[test]
    fn a_model_tells_the_tensor_and_how_far_it_is_off() {
        let write = |path: &Path, net: &str, weights: Vec<f32>| {
            let card = ModelCard {
                version: model::CARD_VERSION,
                flavour: "torch".into(),
                task: Task::Binary,
                target: Column::plain("left", Scalar::Bool),
                positive: Some(Value::Bool(true)),
                net: Value::Str(net.into()),
                encoding: Vec::new(),
            };
            let bias = Tensor { shape: vec![1], data: vec![0.5] };
            let weight = Tensor { shape: vec![weights.len()], data: weights };
            let tensors = BTreeMap::from([("0.bias".to_owned(), bias), ("0.weight".to_owned(), weight)]);
            model::write(path, &card, &tensors).unwrap();
        };
        let off = differ(ArtifactKind::Model, |path, is_after| {
            write(path, "mlp", if is_after { vec![1.0, 2.5, 3.25] } else { vec![1.0, 2.0, 3.0] });
        });
        assert_eq!(off, "tensor `0.weight`: 2 of 3 values, by 5e-1 at most");
        let shape =
            differ(ArtifactKind::Model, |path, is_after| write(path, "mlp", vec![1.0; 2 + usize::from(is_after)]));
        assert_eq!(shape, "tensor `0.weight` had the shape [2], has [3]");
        let card =
            differ(ArtifactKind::Model, |path, is_after| write(path, if is_after { "a" } else { "b" }, vec![1.0]));
        assert_eq!(card, "`net` of its card");
    }

    #[test]
    fn other_kinds_tell_the_metric_the_file_or_the_byte() {
        let text = |kind, before: &str, after: &str| {
            differ(kind, |path, is_after| std::fs::write(path, if is_after { after } else { before }).unwrap())
        };
        let report = text(ArtifactKind::Report, r#"{"auc":0.8,"rows":5}"#, r#"{"auc":0.75,"rows":5}"#);
        assert_eq!(report, "metric `auc` was 0.8, is 0.75");
        assert_eq!(text(ArtifactKind::File, "same text", "same tent"), "first at byte 7 of 9");
        assert_eq!(text(ArtifactKind::File, "same", "same and more"), "first at byte 4; 4 bytes, then 13");
        // What is no table is still compared.
        assert_eq!(text(ArtifactKind::Table, "a", "b"), "first at byte 0 of 1");
        let manifest = |path: &str, of: &str| {
            let digest = mlp_model::Digest::of(of.as_bytes());
            let entry = crate::folder::Entry { path: path.into(), digest, size_bytes: 1, executable: false };
            String::from_utf8(Manifest::new(vec![entry]).unwrap().to_bytes()).unwrap()
        };
        let changed = text(ArtifactKind::Folder, &manifest("a/b", "x"), &manifest("a/b", "y"));
        assert_eq!(changed, "file `a/b` has other content");
        let moved = text(ArtifactKind::Folder, &manifest("b", "x"), &manifest("a", "x"));
        assert_eq!(moved, "file `a` is new");
    }
}
