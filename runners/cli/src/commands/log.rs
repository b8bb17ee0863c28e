//! `mlp log [RUN] [STEP]`: replays a run's record, also while it is being written.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::time::Duration;

use mlp_model::{Event, RunId, RunSummary, Store};

use super::find_run;
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::{EVENTS_FILE, JsonReporter, PlainReporter, Reporter, step_log, words};
use crate::wiring::{open_store, store_failure};

pub fn log(run: Option<&str>, step: Option<&str>, follow: bool, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let store = open_store(&workspace)?;
    let summary = match run {
        Some(prefix) => find_run(&*store, prefix)?,
        None => newest(&*store)?,
    };
    let run_dir = store.run_dir(&summary.run).map_err(store_failure)?;
    if let Some(step) = step {
        return print_step_log(&run_dir, &summary, step, output);
    }
    let mut reporter: Box<dyn Reporter> = if output.json {
        Box::new(JsonReporter(std::io::stdout()))
    } else {
        let status = super::runs::status_word(&summary);
        output.print(format!("run {} of {} ({}): {status}", summary.run, summary.pipeline, summary.file));
        Box::new(PlainReporter::new(std::io::stdout(), true))
    };
    replay(&run_dir.join(EVENTS_FILE), follow, &*store, &summary, &mut *reporter, output)?;
    Ok(Exit::Done)
}

fn newest(store: &dyn Store) -> Result<RunSummary, Failure> {
    store.runs(1, None).map_err(store_failure)?.into_iter().next().ok_or_else(|| {
        Failure::usage("there is no run in this workspace yet").with_help("start one with `mlp run FILE`")
    })
}

fn print_step_log(run_dir: &Path, summary: &RunSummary, step: &str, output: &Output) -> Result<Exit, Failure> {
    match std::fs::read(step_log(run_dir, step)) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            if output.json {
                let lines: Vec<&str> = text.lines().collect();
                output.print_json(&serde_json::json!({ "run": summary.run, "step": step, "lines": lines }));
            } else {
                output.print(text);
            }
            Ok(Exit::Done)
        }
        _ if !run_dir.join(EVENTS_FILE).exists() => Err(without_log(&summary.run)),
        _ => Err(Failure::usage(format!("step `{step}` printed nothing in run {}", summary.run))
            .with_help(format!("`mlp log {}` shows what happened in the run", summary.run))),
    }
}

/// The journal knows the run, but not what it told.
fn without_log(run: &RunId) -> Failure {
    Failure::usage(format!(
        "what run {run} told is not here: `mlp gc` took it, or the run was made in another workspace"
    ))
    .with_help("`mlp runs` and `mlp lineage` tell what it did")
}

fn replay(
    events: &Path,
    follow: bool,
    store: &dyn Store,
    summary: &RunSummary,
    reporter: &mut dyn Reporter,
    output: &Output,
) -> Result<(), Failure> {
    let file = File::open(events).map_err(|error| match error.kind() {
        ErrorKind::NotFound => without_log(&summary.run),
        _ => Failure::new(Exit::Environment, format!("cannot read what run {} told: {error}", summary.run)),
    })?;
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    loop {
        let n_bytes =
            reader.read_line(&mut line).map_err(|e| Failure::usage(format!("cannot read the record: {e}")))?;
        if line.ends_with('\n') {
            let event = serde_json::from_str::<Event>(&line).ok();
            line.clear();
            // A line of a newer mlp that this one does not know is passed over.
            let Some(event) = event else { continue };
            reporter.event(&event);
            if let Event::RunFinished { status, steps, seconds, .. } = &event {
                if !output.json {
                    let flaky = if steps.flaky > 0 { format!(" ({} flaky)", steps.flaky) } else { String::new() };
                    let (effects, tolerated) = (super::runs::effects(steps), super::runs::tolerated(steps));
                    output.print(format!(
                        "run {}: {}, {} run{flaky}{effects}, {} reused, {} failed{tolerated}, {} skipped in {}",
                        summary.run,
                        super::runs::end_word(*status),
                        steps.executed,
                        steps.reused,
                        steps.failed,
                        steps.skipped,
                        words::seconds(*seconds)
                    ));
                }
                return Ok(());
            }
        } else if n_bytes == 0 {
            let alive = || find_run(store, &summary.run.to_string()).is_ok_and(|run| run.alive);
            if !follow || !alive() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
