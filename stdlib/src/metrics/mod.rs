//! Metrics of predictions, as pure functions over slices.
//!
//! Conventions and values are those of scikit-learn 1.9 (`tests/reference/metrics.py` makes the fixtures), with one
//! difference: where a metric is undefined, scikit-learn warns and answers 0, 1 or a huge number; here it is `None`,
//! "not measurable". Sums are compensated and taken in row order, so that a result depends neither on how rows are
//! batched nor, since logarithms are not the platform's, on the machine.

mod binary;
mod regression;
mod sum;

pub use binary::{Bin, Binary, binary};
pub use regression::{Regression, regression};
