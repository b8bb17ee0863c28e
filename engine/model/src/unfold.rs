//! Loops over what only a run can tell, and what has to be done to go on with them once it is told.

use std::collections::BTreeMap;

use crate::{ObjectFile, Pipeline, StepError, Value};

/// The values that loops go over, by the loops' names: `network`, `by_region[north].network`.
pub type KnownValues = BTreeMap<String, Vec<Value>>;

/// Why a node stands for nodes that are not there yet: it belongs to a loop whose values are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// The loop's name.
    pub name: String,
    /// The table and its column that have the values.
    pub node: usize,
    pub output: String,
    pub column: String,
}

/// Turns loops into nodes. The engine knows when values are there, but neither tables nor the language.
pub trait Unfold: Send + Sync {
    /// Returns the values of a table's column, each once, in order.
    ///
    /// # Errors
    /// The values are none that a loop can go over, or are too many.
    fn values(&self, table: &ObjectFile, wanted: &Waits) -> Result<Vec<Value>, StepError>;

    /// Returns the pipeline with the nodes that these values give. What is not known stays as it is.
    ///
    /// # Errors
    /// The nodes of a round are wrong with its value.
    fn unfold(&self, known: &KnownValues) -> Result<Pipeline, StepError>;
}
