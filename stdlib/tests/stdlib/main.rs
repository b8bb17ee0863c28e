//! The catalogue's signatures, and the built-in steps from table file to table file.

mod catalogue;
mod evaluation;
mod joins;
mod metrics;
mod runner;
mod signatures;
mod splits;
mod support;
mod training;
