//! Why a step did not deliver its result.

use serde::{Deserialize, Serialize};

/// Whose turn it is to act on an error; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The pipeline or its settings are wrong (exit 2 when found before the run, else 1).
    User,
    /// Input data breaks its schema; trying again cannot help (exit 12).
    Data,
    /// The machine lacks something: disk, libtorch, a device, a tool (exit 3).
    Environment,
    /// The step's own work failed: a program's exit status, a trap, a worker that died (exit 1).
    Step,
    /// A mistake of mlp (exit 4).
    Bug,
    /// Somebody interrupted the run (exit 130).
    Cancelled,
}

/// A failed step, told so that a person can act on it. The command line adds the span.
///
/// Texts never hold cell values of columns marked `personal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    pub class: ErrorClass,
    /// Stable and searchable: `D1104`.
    pub code: String,
    /// What is wrong, naming the thing; lower case, no final period.
    pub message: String,
    /// The argument of the call that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// Row of the input, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Further lines shown as they are: the first bad rows, the last lines of a program's output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl StepError {
    pub fn new(class: ErrorClass, code: &str, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.to_owned(),
            message: message.into(),
            argument: None,
            row: None,
            column: None,
            detail: Vec::new(),
            help: None,
        }
    }

    pub fn with_argument(mut self, argument: impl Into<String>) -> Self {
        self.argument = Some(argument.into());
        self
    }

    pub fn with_row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    pub fn with_column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }

    pub fn with_detail(mut self, detail: Vec<String>) -> Self {
        self.detail = detail;
        self
    }

    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
