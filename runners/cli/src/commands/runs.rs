//! `mlp runs`.

use mlp_model::{RunStatus, RunSummary, StepCounts, Store, Timestamp};

use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring::{open_store, store_failure};

pub fn runs(limit: usize, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let store = open_store(&workspace)?;
    let runs = store.runs(limit, None).map_err(store_failure)?;
    if output.json {
        output.print_json(&runs);
    } else if runs.is_empty() {
        output.note("No runs yet in this workspace. Start one with `mlp run FILE`.");
    } else {
        output.print(format!("{:<13}{:<18}{:<16}{:<12}{:<34}{}", "run", "when", "pipeline", "status", "steps", "took"));
        for run in &runs {
            output.print(line(run));
        }
    }
    Ok(Exit::Done)
}

fn line(run: &RunSummary) -> String {
    let steps = &run.steps;
    let effects = effects(steps);
    let tolerated = tolerated(steps);
    let tally = format!("{} run{effects}, {} reused, {} failed{tolerated}", steps.executed, steps.reused, steps.failed);
    format!(
        "{:<13}{:<18}{:<16}{:<12}{tally:<34}{}",
        run.run.to_string(),
        when(run.at),
        run.pipeline,
        status_word(run),
        run.seconds.map(words::seconds).unwrap_or_default(),
    )
}

/// Writes how many of the executed steps wrote outside: ` (1 effect)`; nothing if none did.
pub fn effects(steps: &StepCounts) -> String {
    if steps.effects > 0 { format!(" ({})", words::plural(steps.effects, "effect")) } else { String::new() }
}

/// Writes how many of the failed steps the run did not fail for: ` (2 tolerated)`; nothing if there were none.
pub fn tolerated(steps: &StepCounts) -> String {
    if steps.tolerated > 0 { format!(" ({} tolerated)", steps.tolerated) } else { String::new() }
}

/// Returns how a run stands; one without an end whose process is gone was interrupted.
pub fn status_word(run: &RunSummary) -> &'static str {
    match run.status {
        Some(status) => end_word(status),
        None if run.alive => "running",
        None if run.elsewhere => "unfinished",
        None => "interrupted",
    }
}

pub fn end_word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Refused => "refused",
        RunStatus::Waiting => "waiting",
        RunStatus::Rejected => "rejected",
        RunStatus::Cancelled => "cancelled",
        RunStatus::OverBudget => "over budget",
    }
}

/// Writes an instant in the local time zone.
pub fn when(at: Timestamp) -> String {
    chrono::DateTime::from_timestamp_millis(at.0)
        .map_or_else(|| "?".to_owned(), |utc| utc.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M").to_string())
}
