//! The engine as a whole, against a store in memory and a runner of small functions.

mod decisions;
mod failures;
mod left_out;
mod lineage;
mod memory_store;
mod merge;
mod real_store;
mod reuse;
mod rounds;
mod schedule;
mod support;
mod why;
