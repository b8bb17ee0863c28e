//! One line an event, for build logs and files; also how `mlp log` replays a run.

use std::io::Write;

use mlp_model::{Decision, ErrorClass, Event, PlannedStep};

use super::{Reporter, words};

/// More lines do not wait.
const MANY_BYTES: usize = 1 << 16;

pub struct PlainReporter<W: Write + Send> {
    out: W,
    /// Lines to be written in one go. Those about reused steps wait for the next other event: there may be very many,
    /// and they come at once.
    lines: Vec<u8>,
    /// Also what steps print, line by line.
    verbose: bool,
}

impl<W: Write + Send> PlainReporter<W> {
    pub fn new(out: W, verbose: bool) -> Self {
        Self { out, lines: Vec::new(), verbose }
    }

    fn line(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.lines, "  {name:<20} {text}");
    }

    fn write(&mut self) {
        let _ = self.out.write_all(&self.lines).and_then(|()| self.out.flush());
        self.lines.clear();
    }
}

impl<W: Write + Send> Reporter for PlainReporter<W> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step, reason, attempt, .. } => {
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                self.line(step, &format!("runs{again}: {reason}"));
            }
            Event::StepPrinted { step, line, .. } if self.verbose => self.line(step, &format!("| {line}")),
            _ => {
                for (name, text) in lines(event) {
                    self.line(&name, &text);
                }
            }
        }
        if !matches!(event, Event::StepReused { .. }) || self.lines.len() >= MANY_BYTES {
            self.write();
        }
    }
}

impl<W: Write + Send> Drop for PlainReporter<W> {
    fn drop(&mut self) {
        self.write();
    }
}

/// Returns what an event that ends something says: a name and a text for each line. Shared with the terminal.
pub fn lines(event: &Event) -> Vec<(String, String)> {
    let one = |name: &str, text: String| vec![(name.to_owned(), text)];
    match event {
        Event::Planned { steps, .. } => one("plan", plan_line(steps)),
        Event::LoopUnfolded { name, n_rounds, .. } => one(name, format!("has {}", words::plural(*n_rounds, "round"))),
        Event::StepWaits { step, runs, lacks, .. } => one(step, words::holdup(runs, lacks)),
        Event::StepFinished { step, seconds, attempt, idempotency_key: Some(key), .. } => {
            let late = if *attempt > 1 { format!(", at attempt {attempt}") } else { String::new() };
            one(step, format!("done    {:<48} {}{late}", words::effect(key), words::seconds(*seconds)))
        }
        Event::StepReused { step, from_run, idempotency_key: Some(key), .. } => {
            one(step, format!("done    {:<48} since run {from_run}", words::effect(key)))
        }
        Event::StepFinished { step, facts, seconds, attempt, .. } => {
            let late = if *attempt > 1 { format!(", at attempt {attempt}") } else { String::new() };
            one(step, format!("done    {:<48} {}{late}", words::facts(facts), words::seconds(*seconds)))
        }
        Event::StepReused { step, facts, early_cutoff, from_run, .. } => {
            let why = if *early_cutoff { "inputs came back with the same bytes" } else { "unchanged" };
            one(step, format!("reused  {:<48} {why} since run {}", words::facts(facts), from_run))
        }
        Event::StepFailed { step, error, attempt, will_retry, retry_in_seconds, tolerated, .. } => {
            let wait = retry_in_seconds.map(|wait| format!(" in {}", words::seconds(wait))).unwrap_or_default();
            let retry = if *will_retry { format!(", attempt {attempt}; trying again{wait}") } else { String::new() };
            let word = if error.class == ErrorClass::Cancelled { "cancelled" } else { "failed" };
            let tolerated = if *tolerated { ", which is tolerated" } else { "" };
            one(step, format!("{word}{retry}{tolerated}: {error}"))
        }
        Event::RoundsFailed { failed, .. } => one(&failed.name, format!("failed  {}", words::failed_rounds(failed))),
        Event::StepSkipped { step, because, .. } => one(step, format!("skipped: {because}")),
        Event::CutOff { step, n_saved, .. } => {
            one(step, format!("cut off here, {} saved: the same bytes as before", words::plural(*n_saved, "step")))
        }
        Event::GatePassed { gate, checks, .. } => {
            let mut lines = one(gate, "passed".to_owned());
            lines.extend(checks.iter().map(|check| (String::new(), words::check(check))));
            lines
        }
        Event::GateRefused { gate, checks, .. } => {
            let mut lines = one(gate, format!("refused: {}", words::failed_checks(checks)));
            lines.extend(checks.iter().map(|check| (String::new(), words::check(check))));
            lines
        }
        Event::Released { release, version, bundle, .. } => {
            one(release, format!("released v{version}: bundle {}", bundle.short()))
        }
        Event::ReleaseKept { release, version, .. } => one(release, format!("v{version} stays released")),
        Event::ReleaseRefused { release, because, live, .. } => {
            let live = live.map_or_else(|| "nothing is live".to_owned(), |v| format!("v{v} stays live"));
            one(release, format!("not released: {because}; {live}"))
        }
        Event::ReleaseHeld { release, version, live, .. } => {
            let live = live.map_or_else(|| "nothing is live".to_owned(), |v| format!("v{v} stays live"));
            one(
                release,
                format!(
                    "not released: v{version} was rolled back and is held; {live}. Allow it again: mlp models unhold {release}@{version}"
                ),
            )
        }
        Event::RunStarted { .. }
        | Event::StepStarted { .. }
        | Event::StepProgressed { .. }
        | Event::StepPrinted { .. }
        | Event::RunFinished { .. } => Vec::new(),
    }
}

fn plan_line(steps: &[PlannedStep]) -> String {
    let count = |wanted: fn(&Decision) -> bool| steps.iter().filter(|step| wanted(&step.decision)).count();
    let to_run = count(|d| matches!(d, Decision::Run));
    let reused = count(|d| matches!(d, Decision::Reuse { .. }));
    let unknown = count(|d| matches!(d, Decision::Unknown { .. }));
    let total = to_run + reused + unknown + count(|d| matches!(d, Decision::Skip | Decision::Fail));
    let unknown = if unknown > 0 { format!(", {unknown} depend on them") } else { String::new() };
    format!("{}: {to_run} to run{unknown}, {reused} up to date", words::plural(total, "step"))
}
