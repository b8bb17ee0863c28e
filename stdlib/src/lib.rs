//! The operations that a pipeline can call: their signatures, as data for the compiler, and the built-in steps.
//!
//! [`catalogue`] holds every signature, also of operations that other crates execute (`torch.*`, `wasm.*`, `sh`,
//! reading and writing tables): what a call means is settled here, how it is done is settled there. One file for each
//! operation or family. [`MODULES`] are written in the language itself. [`BuiltinRunner`] executes the splits, the evaluations and the plain sources.
//!
//! This crate does not know the language's grammar, the scheduler, the store, or how a table is read from CSV.

mod builtin;
mod check;
pub mod codes;
mod copy;
mod csv;
mod declare;
mod eval_binary;
mod eval_regression;
pub mod metrics;
mod parquet;
mod part;
mod pick_best;
mod predictions;
mod sh;
mod source;
mod sql;
mod table_concat;
mod table_join;
mod table_split;
mod table_split_groups;
mod table_split_rows;
mod table_split_time;
mod table_where;
mod torch_nets;
mod torch_predict;
mod torch_train;
mod wasm_map;

use std::sync::Arc;

use mlp_model::{Catalogue, Infer};

pub use builtin::BuiltinRunner;

/// Returns the signatures of all operations.
///
/// `sql` types the calls of the operation `sql`: only a query planner can, and it lives in another crate.
pub fn catalogue(sql: Arc<dyn Infer>) -> Catalogue {
    Catalogue::new([
        source::file(),
        source::folder(),
        csv::read(),
        csv::write(),
        parquet::read(),
        parquet::write(),
        sql::sql(sql),
        table_split::signature(),
        table_split_rows::signature(),
        table_split_time::signature(),
        table_split_groups::signature(),
        table_concat::signature(),
        table_join::signature(),
        table_where::signature(),
        wasm_map::signature(),
        sh::signature(),
        sh::effect(),
        torch_train::signature(),
        torch_predict::signature(),
        eval_binary::signature(),
        eval_regression::signature(),
        pick_best::signature(),
    ])
    .with_modules(MODULES)
}

/// The modules of the language that come with the program: `use std.NAME as ..`.
pub const MODULES: [(&str, &str); 1] = [("evaluation", include_str!("../modules/evaluation.mlp"))];
