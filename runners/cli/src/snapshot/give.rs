//! Gives a kept answer again.

use std::ffi::OsString;
use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::time::Instant;

use mlp_model::{Event, RunId, RunStatus, StepCounts, Timestamp};
use mlp_store::{Clock, Snapshot, SystemClock};

use super::{EVENTS, HEAD, Head, PLAIN, Question, WARNINGS};
use crate::commands::run::{new_run_id, up_to_date};
use crate::exit::Exit;
use crate::output::Output;
use crate::report::{Reporter, TerminalReporter};

/// Answers a run from what is kept, if that still holds. `args` are those of the process, the program's name left out.
pub fn answer(args: impl IntoIterator<Item = OsString>) -> Option<Exit> {
    let started = Instant::now();
    let question = Question::of(args)?;
    let snapshot = Snapshot::open(&question.root, &question.name)?;
    let output = Output::new(question.json, question.colour);
    let head: Head = serde_json::from_slice(snapshot.part(HEAD)?).ok()?;
    let warnings = snapshot.part(WARNINGS)?;
    if !output.json && !warnings.is_empty() && head.warned_in != (output.colour, output.width()) {
        return None;
    }
    // Nothing is printed before it is sure that the answer can be given in full.
    let told = snapshot.part(if output.json || output.live { EVENTS } else { PLAIN })?;
    if !snapshot.holds(&question.request, &|name| std::env::var_os(name)) {
        return None;
    }
    if output.json {
        let run = new_run_id();
        _ = tell_json(&head, &run, told, started);
        return Some(Exit::Done);
    }
    _ = stderr().write_all(warnings);
    if output.live && stderr().is_terminal() {
        tell_terminal(&head, told, output.colour)?;
    } else {
        _ = stderr().write_all(told);
    }
    output.print(up_to_date(
        &head.pipeline,
        head.n_reused,
        &head.kept,
        head.last_change.as_ref(),
        started.elapsed().as_secs_f64(),
    ));
    Some(Exit::Done)
}

/// Writes the events with an id of their own. `recorded` tells that `mlp runs` does not know it.
fn tell_json(head: &Head, run: &RunId, events: &[u8], started: Instant) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, stdout().lock());
    let first = serde_json::to_string(&run_started(head, run))?;
    writeln!(out, r#"{},"recorded":false}}"#, first.trim_end_matches('}'))?;
    let id = serde_json::to_string(run)?;
    for line in std::str::from_utf8(events).map_err(std::io::Error::other)?.lines() {
        let (before, after) = line.split_once(WITHOUT_ID).unwrap_or((line, ""));
        for text in [before, r#""run":"#, &id, after, "\n"] {
            out.write_all(text.as_bytes())?;
        }
    }
    serde_json::to_writer(&mut out, &run_finished(head, run, started))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// The run's id as it stands in a kept event, right behind the event's name.
const WITHOUT_ID: &str = r#""run":"""#;

fn tell_terminal(head: &Head, events: &[u8], colour: bool) -> Option<()> {
    let mut reporter = TerminalReporter::new(colour);
    let run = RunId(String::new());
    reporter.event(&run_started(head, &run));
    for line in events.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        reporter.event(&serde_json::from_slice(line).ok()?);
    }
    reporter.event(&run_finished(head, &run, Instant::now()));
    Some(())
}

fn run_started(head: &Head, run: &RunId) -> Event {
    Event::RunStarted {
        version: Event::VERSION,
        run: run.clone(),
        pipeline: head.pipeline.clone(),
        file: head.file.clone(),
        at: now(),
        n_steps: head.n_steps,
    }
}

fn run_finished(head: &Head, run: &RunId, started: Instant) -> Event {
    Event::RunFinished {
        run: run.clone(),
        status: RunStatus::Succeeded,
        steps: StepCounts { reused: head.n_reused, ..StepCounts::default() },
        gates: head.gates,
        seconds: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}
