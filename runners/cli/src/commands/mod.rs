//! One file a command. Each asks the compiler, the engine or the store, and turns the answer into text or JSON.

pub mod backfill;
pub mod check;
pub mod completions;
pub mod diff;
pub mod doc;
pub mod doctor;
pub mod effects;
pub mod erase;
pub mod explain;
pub mod export;
mod files;
pub mod fmt;
pub mod gc;
pub mod graph;
pub mod import;
pub mod init;
pub mod lineage;
pub mod lint;
pub mod log;
pub mod lsp;
mod merge;
pub mod models;
pub mod plan;
pub mod run;
pub mod runs;
pub mod show;
pub mod store;
mod table_head;
pub mod test;
pub mod values;
pub mod verify;
pub mod why;

pub use files::below;

use std::path::PathBuf;

use mlp_model::{RunSummary, Store};

use crate::output::Failure;
use crate::wiring::store_failure;

/// Returns the current folder: where commands without a file look for their workspace.
fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|e| Failure::usage(format!("cannot tell the current folder: {e}")))
}

/// Finds the run that a person means by the beginning of its id.
fn find_run(store: &dyn Store, prefix: &str) -> Result<RunSummary, Failure> {
    let mut found = store.find_runs(prefix).map_err(store_failure)?;
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Failure::usage(format!("no run begins with `{prefix}`")).with_help("`mlp runs` lists them")),
        n => {
            let ids: Vec<String> = found.iter().take(5).map(|run| run.run.to_string()).collect();
            Err(Failure::usage(format!("{n} runs begin with `{prefix}`: {}", ids.join(", ")))
                .with_help("write more of the id"))
        }
    }
}
