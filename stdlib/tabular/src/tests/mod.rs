//! Runs steps as the engine does: through [`TabularRunner`], on real files in a temporary folder.

mod copy;
mod csv_read;
mod csv_write;
mod loops;
mod parquet;
mod runner;
pub(crate) mod support;
