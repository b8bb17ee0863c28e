//! `sql`: one query over tables.
//!
//! Check time and run time plan a query by the same path, [`plan::plan`]: first over empty tables of the declared columns,
//! then over the stored tables. What could differ between two runs is refused there: clocks, random numbers, `limit` without
//! an order; and rows flow through one partition in a fixed order, so that equal tables give equal bytes.
//!
//! Names are case-sensitive, as everywhere in a pipeline. A query sees the declared columns of a table, not those that an
//! open schema lets pass.

mod execute;
mod in_order;
mod infer;
mod lineage;
mod messages;
mod parse;
mod plan;

use std::ops::Range;

pub(crate) use execute::run;
pub use infer::SqlInfer;

/// A mistake in a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SqlError {
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
    /// Bytes of the query.
    pub within: Option<Range<usize>>,
}

impl SqlError {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, within: None }
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn at(mut self, within: Option<Range<usize>>) -> Self {
        self.within = within;
        self
    }
}

#[cfg(test)]
mod tests;
