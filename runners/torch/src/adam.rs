//! Adam with decoupled weight decay (AdamW), with plain tensors as its state.
//!
//! The steps are those of `torch.optim.AdamW` (`amsgrad=False`), which without weight decay is `torch.optim.Adam`.
//! Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization"; checked against the formulas in
//! `tests/reference/make.py`.

use tch::{TchError, Tensor};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The state for one parameter tensor.
pub struct Adam {
    lr: f64,
    weight_decay: f64,
    n_steps: i32,
    mean: Tensor,
    square: Tensor,
}

impl Adam {
    pub fn new(parameter: &Tensor, lr: f64, weight_decay: f64) -> Result<Self, TchError> {
        Ok(Self { lr, weight_decay, n_steps: 0, mean: parameter.f_zeros_like()?, square: parameter.f_zeros_like()? })
    }

    /// Moves `parameter` once. Call it where no gradient is recorded.
    pub fn step(&mut self, parameter: &mut Tensor, gradient: &Tensor) -> Result<(), TchError> {
        self.n_steps += 1;
        if self.weight_decay > 0.0 {
            let _ = parameter.f_mul_scalar_(1.0 - self.lr * self.weight_decay)?;
        }
        let _ = self.mean.f_lerp_(gradient, 1.0 - BETA1)?;
        let _ = self.square.f_mul_scalar_(BETA2)?;
        let _ = self.square.f_add_(&gradient.f_mul(gradient)?.f_mul_scalar_(1.0 - BETA2)?)?;
        let correction1 = 1.0 - BETA1.powi(self.n_steps);
        let correction2 = 1.0 - BETA2.powi(self.n_steps);
        let mut scale = self.square.f_sqrt()?;
        let _ = scale.f_div_scalar_(correction2.sqrt())?;
        let _ = scale.f_add_scalar_(EPSILON)?;
        let mut change = self.mean.f_div(&scale)?;
        let _ = parameter.f_sub_(&change.f_mul_scalar_(self.lr / correction1)?)?;
        Ok(())
    }
}
