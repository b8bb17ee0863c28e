//! `mlp run FILE`: brings a pipeline up to date and says how it went.

use std::io::{IsTerminal, stderr, stdout};
use std::sync::Arc;
use std::time::Instant;

use mlp_engine::{RunError, RunOutcome, RunRequest};
use mlp_model::{Cancel, ErrorClass, Event, Pipeline, RunId, StepCounts, Store};
use tokio::sync::watch;

use crate::args::{RunArgs, WorkArgs};
use crate::compile::{Compiled, compile, render_failure, render_step_error};
use crate::exit::Exit;
use crate::machine::machine;
use crate::output::{Failure, Output};
use crate::report::{Behind, JsonReporter, PlainReporter, Recorder, Reporter, TerminalReporter, words};
use crate::snapshot::{Beginning, Draft};
use crate::wiring;

pub fn run(args: &RunArgs, output: &Output) -> Result<Exit, Failure> {
    if args.dry_run {
        return super::plan::plan(&args.pipeline, &args.work, output);
    }
    execute(args, output).map(|ran| ran.exit)
}

/// How a run went.
pub struct Ran {
    pub exit: Exit,
    pub run: RunId,
    pub outcome: RunOutcome,
    pub seconds: f64,
}

/// Runs, and tells how it went.
pub fn execute(args: &RunArgs, output: &Output) -> Result<Ran, Failure> {
    let started = Instant::now();
    let beginning = Beginning::look();
    let opening = wiring::Opening::begin(&args.pipeline.file);
    let mut compiled = compile(&args.pipeline, output)?;
    let store = opening.store(&compiled.workspace)?;
    if let Some(folder) = store.plain_on_disk().map_err(wiring::store_failure)? {
        output.note(format!(
            "warning: this machine has no folder in memory for plain bytes of encrypted objects: they are written to `{}`, \
             and removed when the run ends",
            folder.display()
        ));
    }
    let engine = wiring::engine(Arc::clone(&store))?;
    compiled.unfold_for_run(&engine, &args.work.force, output);
    let request = request(&compiled, &args.work, args.keep_going)?;
    let run = request.run.clone();
    // What a run unfolds itself, the next one knows from the start: that one's answer is kept.
    let is_whole = compiled.pipeline.open_loops().is_empty();
    let beginning = beginning.filter(|_| is_whole);
    let mut draft = Draft::begin(beginning, &compiled, &engine, &store);

    let mut reporters: Vec<Box<dyn Reporter>> = vec![reporter(output)];
    let run_dir = store.run_dir(&run).map_err(wiring::store_failure)?;
    let recorder = Recorder::create(run_dir.clone())
        .map_err(|e| Failure::new(Exit::Environment, format!("cannot write `{}`: {e}", run_dir.display())))?;
    reporters.push(Box::new(recorder));
    let mut tale = Tale::default();
    let on_event = |event: &Event| {
        tale.event(event);
        if let Some(draft) = &mut draft {
            draft.event(event);
        }
        reporters.iter_mut().for_each(|reporter| reporter.event(event));
    };

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Environment, format!("cannot start threads: {e}")))?;
    let outcome = runtime.block_on(async {
        let (sender, cancel) = watch::channel(None);
        tokio::spawn(interrupts(sender));
        engine.run_unfolding(&compiled.pipeline, compiled.loops.clone(), request, on_event, cancel).await
    });
    // Whatever a runner still does in the background must not keep the process.
    runtime.shutdown_background();
    drop(reporters);
    let outcome = outcome.map_err(|error| refusal(error, &compiled.pipeline, output))?;
    if let Some(unfolder) = &compiled.unfolder {
        unfolder.print_mistakes(output);
        compiled.pipeline = unfolder.latest().map_or(compiled.pipeline, Arc::new);
    }

    for failure in &outcome.failures {
        output.note(render_failure(&compiled.pipeline, failure, output));
    }
    let seconds = started.elapsed().as_secs_f64();
    if !output.json {
        let text = tale.summary(&compiled, &run, &outcome, seconds);
        output.print(text);
    }
    if let Some(draft) = draft {
        draft.keep(&compiled, &store, output);
    }
    let failures = outcome.failures.iter().filter(|failure| !failure.is_tolerated);
    let exit = Exit::of_run(outcome.status, failures.map(|failure| failure.error.class));
    Ok(Ran { exit, run, outcome, seconds })
}

/// Returns what a run of this command asks of the engine; a plan asks the same.
pub fn request(compiled: &Compiled, work: &WorkArgs, keep_going: bool) -> Result<RunRequest, Failure> {
    let settings = &compiled.workspace.settings;
    let cores = || std::thread::available_parallelism().ok();
    Ok(RunRequest {
        run: new_run_id(),
        file: compiled.shown.clone(),
        targets: work.targets.clone(),
        until: work.until.clone(),
        from: work.from.clone(),
        force: work.force.clone(),
        keep_going,
        jobs: work.jobs.or(settings.jobs).or_else(cores).map_or(1, std::num::NonZeroUsize::get),
        machine: machine(&settings.resources, &compiled.pipeline)?,
        budget: work.budget,
        params_given: compiled.params_given(),
        trigger: "by hand".to_owned(),
        mlp_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    })
}

fn reporter(output: &Output) -> Box<dyn Reporter> {
    if output.json {
        Box::new(JsonReporter(stdout()))
    } else if output.live && stderr().is_terminal() {
        Box::new(TerminalReporter::new(output.colour))
    } else {
        match Behind::new(stderr()) {
            Ok(behind) => Box::new(PlainReporter::new(behind, true)),
            Err(_) => Box::new(PlainReporter::new(stderr(), true)),
        }
    }
}

/// First ctrl-C (or TERM): start nothing new and end what runs; second: now.
async fn interrupts(cancel: watch::Sender<Option<Cancel>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    for how in [Cancel::Gently, Cancel::Now] {
        tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
        if cancel.send(Some(how)).is_err() {
            return;
        }
    }
}

pub fn new_run_id() -> RunId {
    let mut bytes = [0; 6];
    // Random ids need no coordination between concurrent runs; 48 bits make a clash in one workspace unthinkable.
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        bytes.copy_from_slice(&(now ^ u64::from(std::process::id()).rotate_left(40)).to_le_bytes()[..6]);
    }
    RunId(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub fn run_failure(error: RunError) -> Failure {
    let help = error.help();
    let mut failure = match error {
        RunError::Store(error) => wiring::store_failure(error),
        other => Failure::usage(other.to_string()),
    };
    failure.help = help.or(failure.help);
    failure
}

/// As [`run_failure`]; what is wrong at a place of the pipeline is printed with that place.
pub fn refusal(error: RunError, pipeline: &Pipeline, output: &Output) -> Failure {
    let RunError::Unmet(unmet) = error else { return run_failure(error) };
    if !output.json {
        for failure in &unmet {
            output.note(render_step_error(pipeline, &failure.step, &failure.error, output));
        }
    }
    let is_machine = unmet.iter().any(|failure| failure.error.class == ErrorClass::Environment);
    let told = |failure: &mlp_engine::Failure| format!("`{}` {}", failure.step, failure.error);
    let message = match output.json {
        true => unmet.iter().map(told).collect::<Vec<_>>().join("; "),
        false => format!("{} cannot be met here; nothing was run", words::plural(unmet.len(), "demand")),
    };
    Failure::new(if is_machine { Exit::Environment } else { Exit::Usage }, message)
}

/// Says that nothing had to be done.
pub fn up_to_date(
    pipeline: &str,
    n_reused: usize,
    kept: &[(String, u64)],
    last_change: Option<&RunId>,
    seconds: f64,
) -> String {
    let since = last_change.map(|run| format!("; last change in run {run}")).unwrap_or_default();
    let (stays, took) = (stays(kept), words::seconds(seconds));
    format!("{pipeline} is up to date: 0 steps run, {n_reused} reused{stays} ({took}{since}).")
}

fn stays(kept: &[(String, u64)]) -> String {
    kept.iter().map(|(name, version)| format!(", {name} v{version} stays released")).collect()
}

/// What the closing sentences need to know of the run.
#[derive(Default)]
struct Tale {
    released: Vec<(String, u64)>,
    kept: Vec<(String, u64)>,
    last_change: Option<RunId>,
    /// Steps that failed before they succeeded, and at which attempt they did.
    flaky: Vec<(String, u32)>,
}

impl Tale {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Released { release, version, .. } => self.released.push((release.clone(), *version)),
            Event::ReleaseKept { release, version, .. } => self.kept.push((release.clone(), *version)),
            Event::StepFinished { step, attempt, .. } if *attempt > 1 => self.flaky.push((step.clone(), *attempt)),
            Event::StepReused { from_run, .. } => self.last_change = Some(from_run.clone()),
            _ => {}
        }
    }

    /// Counts steps: `3 steps run (1 flaky: `fetch` at attempt 2), 7 reused (5 saved by equal results)`.
    fn tally(&self, steps: &StepCounts) -> String {
        let flaky: Vec<String> =
            self.flaky.iter().take(3).map(|(step, attempt)| format!("`{step}` at attempt {attempt}")).collect();
        let more = if self.flaky.len() > flaky.len() { ", .." } else { "" };
        let flaky = match self.flaky.len() {
            0 => String::new(),
            n => format!(" ({n} flaky: {}{more})", flaky.join(", ")),
        };
        let saved = match steps.cut_off {
            0 => String::new(),
            n => format!(" ({n} saved by early cutoff)"),
        };
        let tolerated = match steps.tolerated {
            0 => String::new(),
            n => format!(", {n} failed and tolerated"),
        };
        format!("{} run{flaky}, {} reused{saved}{tolerated}", words::plural(steps.executed, "step"), steps.reused)
    }

    fn summary(&self, compiled: &Compiled, run: &RunId, outcome: &RunOutcome, seconds: f64) -> String {
        use mlp_model::RunStatus;
        let (name, steps) = (&compiled.pipeline.name, &outcome.steps);
        let took = words::seconds(seconds);
        let file = &compiled.shown;
        let stays = stays(&self.kept);
        let tally = self.tally(steps);
        match outcome.status {
            RunStatus::Succeeded if steps.executed + steps.failed == 0 && self.released.is_empty() => {
                up_to_date(name, steps.reused, &self.kept, self.last_change.as_ref(), seconds)
            }
            RunStatus::Succeeded => {
                let mut text = String::new();
                for (release, version) in &self.released {
                    text.push_str(&format!("{release} v{version} is released. "));
                }
                text.push_str(&format!("{tally}{stays} in {took}; run {run}."));
                let forgone = outcome.failures.iter().filter(|failure| failure.is_tolerated);
                let may_fail = |step: &str| compiled.pipeline.node(step).is_some_and(|(_, node)| node.may_fail());
                for failure in forgone.filter(|failure| may_fail(&failure.step)) {
                    text.push_str(&format!("\n  went on without `{}`, which may fail", failure.step));
                }
                for failed in &outcome.failed_rounds {
                    text.push_str(&format!("\n  went on without {}", words::failed_rounds(failed)));
                }
                for (release, version) in &self.released {
                    text.push_str(&format!(
                        "\n  look            mlp show {release}@{version}\n  where from      mlp lineage {release}@{version}\n  go back         mlp models rollback {release}"
                    ));
                }
                text
            }
            RunStatus::Refused => format!(
                "Not released: a gate refused. What was live stays. {tally} in {took}; run {run}.\n  why             mlp log {run}"
            ),
            RunStatus::Rejected => format!(
                "Refused at the door: data breaks its schema. {tally}, {} failed, {} skipped in {took}; run {run}. What was released is not touched.",
                steps.failed, steps.skipped
            ),
            RunStatus::Failed => format!(
                "{} failed, {} skipped; {tally} in {took}; run {run}. Finished steps are kept: `mlp run {file}` goes on from here.",
                words::plural(steps.failed, "step"),
                steps.skipped
            ),
            RunStatus::Cancelled => format!(
                "Interrupted: {tally} in {took}; run {run}. Finished steps are kept: `mlp run {file}` goes on from here."
            ),
            RunStatus::OverBudget => format!(
                "Out of time: {tally}, {} left for later in {took}; run {run}. Finished steps are kept: `mlp run {file}` goes on from here.",
                words::plural(steps.skipped, "step")
            ),
            RunStatus::Waiting => format!("Waiting for approval; {tally} in {took}; run {run}."),
        }
    }
}
