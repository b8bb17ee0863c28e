//! Loops over what only a run can tell, and what has to be done to go on with them once it is told.

use std::collections::BTreeMap;

use crate::{ObjectFile, Pipeline, StepError, Value};

/// The values that loops go over, by the loops' names: `network`, `by_region[north].network`. A row is a list of two: the value
/// of its key, and a record of the columns that were asked for.
pub type KnownValues = BTreeMap<String, Vec<Value>>;

/// Why a node stands for nodes that are not there yet: it belongs to a loop whose values are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// The loop's name.
    pub name: String,
    /// The table that has the values.
    pub node: usize,
    pub output: String,
    pub over: Over,
}

/// What of a table a loop goes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// The values of a column, each once.
    Column(String),
    /// Its rows, told apart by the column `key`. Of the others, only `columns` are read.
    Rows { key: String, columns: Vec<String> },
}

/// Turns loops into nodes. The engine knows when values are there, but neither tables nor the language.
pub trait Unfold: Send + Sync {
    /// Returns the values of a table's column, each once, or its rows, in the order of these values or of the rows' keys.
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
