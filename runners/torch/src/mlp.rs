//! Training of multi-layer perceptrons by mini-batches.
//!
//! Everything random in an epoch follows from the seed and the epoch's number, so that a training can later go on from
//! stored weights and optimiser state with the result of an undisturbed one.

use std::fmt;

use mlp_model::{ErrorClass, StepError};
use tch::{Device, Kind, Reduction, TchError, Tensor};

use crate::adam::Adam;
use crate::fault::Fault;
use crate::net::Layers;
use crate::random::Stream;

/// What is made small; the mean over the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Log loss of the probability whose logit the net gives.
    Log,
    /// Squared error.
    Mse,
    /// Absolute error.
    Mae,
    /// Squared error halved up to 1, linear beyond (delta = 1).
    Huber,
}

impl Loss {
    pub fn of(self, output: &Tensor, goal: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Log => {
                let none = None::<Tensor>;
                output.f_binary_cross_entropy_with_logits(goal, none.as_ref(), none.as_ref(), Reduction::Mean)
            }
            Self::Mse => output.f_mse_loss(goal, Reduction::Mean),
            Self::Mae => output.f_l1_loss(goal, Reduction::Mean),
            Self::Huber => output.f_huber_loss(goal, Reduction::Mean, 1.0),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log",
            Self::Mse => "mse",
            Self::Mae => "mae",
            Self::Huber => "huber",
        })
    }
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub epochs: usize,
    pub lr: f64,
    /// Rows a step; the last batch of an epoch may be smaller.
    pub batch: usize,
    /// Decoupled, as in AdamW.
    pub weight_decay: f64,
    pub dropout: f64,
    pub loss: Loss,
    pub seed: i64,
}

/// Returns PyTorch's initial weights for linear layers, uniform within 1 / sqrt(n_in), biases too; for [`Training::new`].
pub fn initial_weights(shapes: &[(usize, usize)], seed: i64) -> Result<Vec<f32>, Fault> {
    let n_weights = shapes.iter().try_fold(0_usize, |n, (n_in, n_out)| n.checked_add((n_in + 1).checked_mul(*n_out)?));
    let mut initial = Vec::new();
    if n_weights.is_none_or(|n_weights| initial.try_reserve_exact(n_weights).is_err()) {
        let n_weights: f64 = shapes.iter().map(|(n_in, n_out)| (*n_in as f64 + 1.0) * *n_out as f64).sum();
        let message = format!("out of memory: the net would have {n_weights:.1e} weights");
        let error = StepError::new(ErrorClass::Step, "T4005", message).with_argument("net");
        return Err(error.with_help("use a smaller net or fewer features").into());
    }
    for (i, (n_in, n_out)) in shapes.iter().enumerate() {
        let bound = 1.0 / (*n_in as f32).sqrt();
        let mut stream = Stream::new(seed, "weights", i as u64);
        initial.extend((0..(n_in + 1) * n_out).map(|_| (2.0 * stream.next_f32() - 1.0) * bound));
    }
    Ok(initial)
}

/// A net in training.
pub struct Training<'a> {
    settings: &'a Settings,
    x: &'a Tensor,
    y: &'a Tensor,
    /// All weights one after the other; the layers are views of it.
    flat: Tensor,
    layers: Layers,
    adam: Adam,
    n_epochs: usize,
}

impl<'a> Training<'a> {
    /// Begins with given weights: of each layer the weights row by row, then the biases.
    ///
    /// `x`: `[n_rows, n_in]` f32; `y`: `[n_rows]` f32, on the same device. `shapes` gives inputs and outputs by layer.
    pub fn new(
        shapes: &[(usize, usize)],
        initial: &[f32],
        x: &'a Tensor,
        y: &'a Tensor,
        settings: &'a Settings,
    ) -> Result<Self, Fault> {
        let flat = Tensor::f_from_slice(initial)?.f_to_device(x.device())?;
        let mut layers = Vec::new();
        let mut at = 0;
        let mut view = |shape: &[i64]| -> Result<Tensor, TchError> {
            let length = shape.iter().product();
            let view = flat.f_narrow(0, at, length)?.f_view(shape)?;
            at += length;
            view.f_set_requires_grad(true)
        };
        for (n_in, n_out) in shapes {
            let weight = view(&[*n_out as i64, *n_in as i64])?;
            layers.push((weight, view(&[*n_out as i64])?));
        }
        let adam = Adam::new(&flat, settings.lr, settings.weight_decay)?;
        Ok(Self { settings, x, y, flat, layers: Layers(layers), adam, n_epochs: 0 })
    }

    /// Goes once through all rows in a new order and returns the mean loss over the rows, before each one's step.
    /// `on_batch` is asked before each batch whether to go on.
    pub fn epoch(&mut self, on_batch: &mut dyn FnMut() -> Result<(), Fault>) -> Result<f64, Fault> {
        let settings = self.settings;
        let device = self.x.device();
        let number = self.n_epochs as u64;
        let order = Stream::new(settings.seed, "rows", number).permutation(self.y.size1()? as usize);
        if settings.dropout > 0.0 {
            tch::manual_seed(Stream::new(settings.seed, "dropout", number).next_u64() as i64);
        }
        let mut sum = Tensor::f_zeros([], (Kind::Double, device))?;
        for rows in order.chunks(settings.batch) {
            on_batch()?;
            let rows_at = Tensor::f_from_slice(rows)?.f_to_device(device)?;
            let x = self.x.f_index_select(0, &rows_at)?;
            let y = self.y.f_index_select(0, &rows_at)?;
            let loss = settings.loss.of(&self.layers.forward(&x, settings.dropout)?, &y)?;
            let weights: Vec<&Tensor> = self.layers.0.iter().flat_map(|(weight, bias)| [weight, bias]).collect();
            let gradients = Tensor::f_run_backward(&[&loss], &weights, false, false)?;
            let (flat, adam) = (&mut self.flat, &mut self.adam);
            let added = tch::no_grad(|| -> Result<Tensor, TchError> {
                let parts = gradients.iter().map(|gradient| gradient.f_reshape([-1])).collect::<Result<Vec<_>, _>>()?;
                adam.step(flat, &Tensor::f_cat(&parts, 0)?)?;
                loss.f_detach()?.f_to_kind(Kind::Double)?.f_mul_scalar(rows.len() as f64)
            })?;
            let _ = sum.f_add_(&added)?;
        }
        self.n_epochs += 1;
        Ok(sum.f_to_device(Device::Cpu)?.f_double_value(&[])? / order.len() as f64)
    }

    /// Ends the training.
    pub fn into_layers(self) -> Layers {
        self.layers
    }
}
