//! Logistic and linear regression, solved to the optimum in double precision.
//!
//! The last column of `x` is all ones: its weight is the intercept, which is never penalised.

use tch::{Kind, Tensor};

use crate::fault::Fault;

/// Above this many columns the Newton system is solved by conjugate gradients, without forming the matrix.
const MAX_DENSE: i64 = 4096;
/// Rows taken at once where a copy of them is needed.
const CHUNK_ROWS: i64 = 65_536;

/// A solution: the weight of each column of `x`, the intercept last.
pub struct Solution {
    pub weights: Tensor,
    /// Mean loss over the rows at the solution, without the penalty: log loss, or squared error.
    pub loss: f64,
    pub n_iterations: usize,
    pub is_converged: bool,
}

/// Fits L2-regularised logistic regression by Newton's method with a line search.
///
/// `x`: `[n_rows, n_cols]` f64; `y`: `[n_rows]` f64, 0 or 1. Minimises `w.w / 2 + c * sum of log losses` over all
/// weights, `w` without the intercept: scikit-learn's `LogisticRegression(C=c)`, whose coefficients it equals to 1e-6.
/// `on_iteration` gets the number of the iteration and the mean log loss before it.
pub fn logistic(
    x: &Tensor,
    y: &Tensor,
    c: f64,
    max_iterations: usize,
    on_iteration: &mut dyn FnMut(usize, f64) -> Result<(), Fault>,
) -> Result<Solution, Fault> {
    let (n_rows, n_cols) = x.size2()?;
    let problem = Logistic { x, y, c, penalty: penalty(n_cols, x)? };
    let tolerance = 1e-10 * (c * n_rows as f64).max(1.0);
    let mut weights = Tensor::f_zeros([n_cols], (Kind::Double, x.device()))?;
    let (mut objective, mut loss) = problem.objective(&weights)?;
    let mut n_iterations = 0;
    let mut is_converged = false;
    while n_iterations < max_iterations {
        on_iteration(n_iterations, loss)?;
        let (gradient, curvature) = problem.gradient(&weights)?;
        if gradient.f_abs()?.f_max()?.f_double_value(&[])? <= tolerance {
            is_converged = true;
            break;
        }
        n_iterations += 1;
        let direction = problem.newton_direction(&gradient, &curvature)?;
        let slope = gradient.f_dot(&direction)?.f_double_value(&[])?;
        let mut step = 1.0;
        loop {
            let next = weights.f_sub(&direction.f_mul_scalar(step)?)?;
            let (next_objective, next_loss) = problem.objective(&next)?;
            if next_objective <= objective - 1e-4 * step * slope {
                (weights, objective, loss) = (next, next_objective, next_loss);
                break;
            }
            step /= 2.0;
            if step < 1e-10 {
                // No step makes it better: the rounding of the objective is reached.
                return Ok(Solution { weights, loss, n_iterations, is_converged: slope <= 1e-9 * objective.abs() });
            }
        }
    }
    on_iteration(n_iterations, loss)?;
    Ok(Solution { weights, loss, n_iterations, is_converged })
}

struct Logistic<'a> {
    x: &'a Tensor,
    y: &'a Tensor,
    c: f64,
    /// 1 for each weight that is penalised, else 0.
    penalty: Tensor,
}

impl Logistic<'_> {
    /// Returns what is minimised, and the mean log loss in it.
    fn objective(&self, weights: &Tensor) -> Result<(f64, f64), Fault> {
        let z = self.x.f_mv(weights)?;
        let losses = z.f_softplus()?.f_sub(&z.f_mul(self.y)?)?;
        let sum = losses.f_sum(Kind::Double)?.f_double_value(&[])?;
        let norm = self.penalty.f_mul(weights)?.f_dot(weights)?.f_double_value(&[])?;
        let n_rows = self.y.size1()? as f64;
        Ok((norm / 2.0 + self.c * sum, sum / n_rows))
    }

    /// Returns the gradient, and for each row the second derivative of its loss times `c`.
    fn gradient(&self, weights: &Tensor) -> Result<(Tensor, Tensor), Fault> {
        let p = self.x.f_mv(weights)?.f_sigmoid()?;
        let errors = p.f_sub(self.y)?.f_mul_scalar(self.c)?;
        let gradient = self.x.f_tr()?.f_mv(&errors)?.f_add(&self.penalty.f_mul(weights)?)?;
        let curvature = p.f_mul(&p.f_neg()?.f_add_scalar(1.0)?)?.f_mul_scalar(self.c)?;
        Ok((gradient, curvature))
    }

    fn newton_direction(&self, gradient: &Tensor, curvature: &Tensor) -> Result<Tensor, Fault> {
        let (n_rows, n_cols) = self.x.size2()?;
        if n_cols <= MAX_DENSE {
            let mut hessian = self.penalty.f_diag(0)?;
            for start in (0..n_rows).step_by(CHUNK_ROWS as usize) {
                let n_chunk = CHUNK_ROWS.min(n_rows - start);
                let rows = self.x.f_narrow(0, start, n_chunk)?;
                let weighted = rows.f_mul(&curvature.f_narrow(0, start, n_chunk)?.f_unsqueeze(1)?)?;
                let _ = hessian.f_add_(&rows.f_tr()?.f_mm(&weighted)?)?;
            }
            let (factor, info) = hessian.f_linalg_cholesky_ex(false, false)?;
            if info.f_int64_value(&[])? == 0 {
                return Ok(gradient.f_unsqueeze(1)?.f_cholesky_solve(&factor, false)?.f_squeeze_dim(1)?);
            }
        }
        self.conjugate_gradients(gradient, curvature)
    }

    /// Solves `H d = gradient` to a relative residual of 1e-10.
    fn conjugate_gradients(&self, gradient: &Tensor, curvature: &Tensor) -> Result<Tensor, Fault> {
        let (_, n_cols) = self.x.size2()?;
        let mut solution = gradient.f_zeros_like()?;
        let mut residual = gradient.f_mul_scalar(1.0)?;
        let mut direction = gradient.shallow_clone();
        let mut square = residual.f_dot(&residual)?.f_double_value(&[])?;
        let target = square * 1e-20;
        for _ in 0..10 * n_cols {
            if square <= target {
                break;
            }
            let rows = self.x.f_mv(&direction)?.f_mul(curvature)?;
            let image = self.x.f_tr()?.f_mv(&rows)?.f_add(&self.penalty.f_mul(&direction)?)?;
            let step = square / image.f_dot(&direction)?.f_double_value(&[])?;
            let _ = solution.f_add_(&direction.f_mul_scalar(step)?)?;
            let _ = residual.f_sub_(&image.f_mul_scalar(step)?)?;
            let next = residual.f_dot(&residual)?.f_double_value(&[])?;
            direction = residual.f_add(&direction.f_mul_scalar(next / square)?)?;
            square = next;
        }
        Ok(solution)
    }
}

/// Fits least squares with an L2 penalty in closed form.
///
/// `x`: `[n_rows, n_cols]` f64; `y`: `[n_rows]` f64. Minimises `sum of squared errors + l2 * w.w`, `w` without the
/// intercept: scikit-learn's `Ridge(alpha=l2)`. Where several weights are best (collinear columns and no penalty) it
/// gives those of least norm, as `LinearRegression` does.
pub fn linear(x: &Tensor, y: &Tensor, l2: f64) -> Result<Solution, Fault> {
    let (n_rows, n_cols) = x.size2()?;
    let n_weights = n_cols - 1;
    let columns = x.f_narrow(1, 0, n_weights)?;
    let x_mean = columns.f_mean_dim(0, false, Kind::Double)?;
    let y_mean = y.f_mean(Kind::Double)?;
    let mut gram = Tensor::f_zeros([n_weights, n_weights], (Kind::Double, x.device()))?;
    let mut moment = Tensor::f_zeros([n_weights], (Kind::Double, x.device()))?;
    for start in (0..n_rows).step_by(CHUNK_ROWS as usize) {
        let n_chunk = CHUNK_ROWS.min(n_rows - start);
        let rows = columns.f_narrow(0, start, n_chunk)?.f_sub(&x_mean)?;
        let goals = y.f_narrow(0, start, n_chunk)?.f_sub(&y_mean)?;
        let _ = gram.f_add_(&rows.f_tr()?.f_mm(&rows)?)?;
        let _ = moment.f_add_(&rows.f_tr()?.f_mv(&goals)?)?;
    }
    let (values, vectors) = gram.f_linalg_eigh("L")?;
    let values = values.f_add_scalar(l2)?;
    let largest = values.f_max()?.f_double_value(&[])?;
    let kept = values.f_gt(largest * 1e-12)?.f_to_kind(Kind::Double)?;
    // A left out direction is divided by 1 and multiplied by 0.
    let divisors = values.f_mul(&kept)?.f_add(&kept.f_neg()?.f_add_scalar(1.0)?)?;
    let along = vectors.f_tr()?.f_mv(&moment)?.f_mul(&kept)?.f_div(&divisors)?;
    let slopes = vectors.f_mv(&along)?;
    let intercept = y_mean.f_sub(&x_mean.f_dot(&slopes)?)?;
    let weights = Tensor::f_cat(&[slopes, intercept.f_reshape([1])?], 0)?;
    let errors = x.f_mv(&weights)?.f_sub(y)?;
    let loss = errors.f_dot(&errors)?.f_double_value(&[])? / n_rows as f64;
    Ok(Solution { weights, loss, n_iterations: 1, is_converged: true })
}

/// Returns 1 for each weight but the last.
fn penalty(n_cols: i64, x: &Tensor) -> Result<Tensor, Fault> {
    let penalty = Tensor::f_ones([n_cols], (Kind::Double, x.device()))?;
    let _ = penalty.f_narrow(0, n_cols - 1, 1)?.f_fill_(0.0)?;
    Ok(penalty)
}
