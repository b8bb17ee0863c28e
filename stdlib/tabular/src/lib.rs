//! Tables in and out, and SQL: the operations `csv.read`, `csv.write`, `parquet.read`, `parquet.write`, `sql`, `file` and
//! `folder`. The only crate that names DataFusion.
//!
//! [`TabularRunner`] executes them; [`SqlInfer`] gives the type of a query's result when a pipeline is checked. What they
//! read is hostile until it has been checked: every message about it is counted, bounded, and silent about the values of
//! `personal` columns.
//!
//! Knows neither the catalogue that declares these operations nor the engine that starts them.

mod cells;
mod columns;
mod context;
mod copy;
mod csv_read;
mod csv_write;
mod distinct;
mod error;
mod header;
mod parquet_io;
mod records;
mod rules;
mod runner;
mod sql;
mod violations;

pub use distinct::{MOST_VALUES, loop_values};
pub use runner::TabularRunner;
pub use sql::SqlInfer;

#[cfg(test)]
mod tests;
