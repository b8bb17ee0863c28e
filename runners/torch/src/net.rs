//! Nets as the language declares them: what they can learn and which weights they have.

use std::collections::BTreeMap;

use mlp_artifact::model::Tensor as Stored;
use mlp_model::{Task, Value};
use tch::{Device, Kind, TchError, Tensor};

use crate::fault::Fault;
use crate::params::Params;

#[derive(Debug, Clone, PartialEq)]
pub enum Net {
    /// `torch.logistic(c)`: `c` is the inverse strength of the L2 penalty, as in scikit-learn.
    Logistic { c: f64 },
    /// `torch.linear(l2)`.
    Linear { l2: f64 },
    /// `torch.mlp(hidden, dropout)`: linear layers with ReLU, and dropout in training, between them.
    Mlp { hidden: Vec<usize>, dropout: f64 },
}

impl Net {
    pub fn parse(value: &Value) -> Result<Self, Fault> {
        let Value::Call { name, args } = value else {
            return Err(Fault::bug("the parameter `net` is not a net"));
        };
        let args = Params(args);
        match name.as_str() {
            "torch.logistic" => Ok(Self::Logistic { c: args.float("c")? }),
            "torch.linear" => Ok(Self::Linear { l2: args.float("l2")? }),
            "torch.mlp" => {
                let odd = || Fault::bug("`hidden` of `torch.mlp` is not a list of ints of at least 1");
                let hidden = args.get("hidden")?.as_list().ok_or_else(odd)?;
                let hidden =
                    hidden.iter().map(|width| usize::try_from(width.as_int()?).ok().filter(|width| *width > 0));
                Ok(Self::Mlp {
                    hidden: hidden.collect::<Option<_>>().ok_or_else(odd)?,
                    dropout: args.float("dropout")?,
                })
            }
            other => Err(Fault::bug(format!("the torch worker knows no net `{other}`"))),
        }
    }

    /// What the net predicts; `None` if that depends on the target.
    pub fn task(&self) -> Option<Task> {
        match self {
            Self::Logistic { .. } => Some(Task::Binary),
            Self::Linear { .. } => Some(Task::Regression),
            Self::Mlp { .. } => None,
        }
    }

    /// Convex nets are fitted and applied in double precision, others in single.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Logistic { .. } | Self::Linear { .. } => Kind::Double,
            Self::Mlp { .. } => Kind::Float,
        }
    }

    /// Returns the inputs and outputs of each layer for `width` inputs and one output.
    pub fn layers(&self, width: usize) -> Vec<(usize, usize)> {
        let hidden = if let Self::Mlp { hidden, .. } = self { hidden.as_slice() } else { &[] };
        let inputs = std::iter::once(width).chain(hidden.iter().copied());
        inputs.zip(hidden.iter().copied().chain([1])).collect()
    }
}

/// The weights of a net, layer by layer: `[n_out, n_in]` and `[n_out]`.
#[derive(Debug)]
pub struct Layers(pub Vec<(Tensor, Tensor)>);

impl Layers {
    /// Returns one output a row. `dropout` is the probability of leaving a hidden value out; 0 when applying.
    pub fn forward(&self, x: &Tensor, dropout: f64) -> Result<Tensor, TchError> {
        let mut x = x.shallow_clone();
        for (i, (weight, bias)) in self.0.iter().enumerate() {
            if i > 0 {
                x = x.f_relu()?;
                if dropout > 0.0 {
                    x = x.f_dropout(dropout, true)?;
                }
            }
            x = x.f_linear(weight, Some(bias))?;
        }
        x.f_squeeze_dim(1)
    }

    /// Names the weights as PyTorch does for a `ModuleList` called `layers`.
    pub fn to_stored(&self) -> Result<BTreeMap<String, Stored>, TchError> {
        let mut stored = BTreeMap::new();
        for (i, (weight, bias)) in self.0.iter().enumerate() {
            stored.insert(format!("layers.{i}.weight"), to_stored(weight)?);
            stored.insert(format!("layers.{i}.bias"), to_stored(bias)?);
        }
        Ok(stored)
    }

    /// Takes the weights of `net` out of a model's tensors; `shown` names the model in errors.
    pub fn from_stored(
        net: &Net,
        width: usize,
        mut stored: BTreeMap<String, Stored>,
        device: Device,
        shown: &str,
    ) -> Result<Self, Fault> {
        let unfit = |what: String| Fault::user("T4110", format!("model `{shown}` does not fit its own net: {what}"));
        let mut take = |name: String, shape: Vec<usize>| -> Result<Tensor, Fault> {
            let tensor = stored.remove(&name).ok_or_else(|| unfit(format!("it has no tensor `{name}`")))?;
            if tensor.shape != shape {
                let message = format!("`{name}` is {:?}, where {shape:?} is needed", tensor.shape);
                return Err(unfit(message).into());
            }
            let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
            Ok(Tensor::f_from_slice(&tensor.data)?.f_reshape(shape)?.f_to_kind(net.kind())?.f_to_device(device)?)
        };
        let mut layers = Vec::new();
        for (i, (n_in, n_out)) in net.layers(width).into_iter().enumerate() {
            let weight = take(format!("layers.{i}.weight"), vec![n_out, n_in])?;
            layers.push((weight, take(format!("layers.{i}.bias"), vec![n_out])?));
        }
        match stored.keys().next() {
            Some(name) => Err(unfit(format!("it has a tensor `{name}` too many")).into()),
            None => Ok(Self(layers)),
        }
    }
}

fn to_stored(tensor: &Tensor) -> Result<Stored, TchError> {
    let shape = tensor.size().iter().map(|n| *n as usize).collect();
    let flat = tensor.f_detach()?.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?.f_reshape([-1])?;
    Ok(Stored { shape, data: Vec::try_from(&flat)? })
}
