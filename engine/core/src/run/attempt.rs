//! One attempt of one step: lays its inputs out, hands it to its runner, brings its outputs into the store.
//!
//! Blocking; called from the pool. Knows nothing of scheduling.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mlp_model::{
    ArtifactKind, Digest, ErrorClass, Facts, Handle, Input, InputFile, InputRecord, NodeKind, Outcome, Output,
    OutputRecord, Part, Produced, RunId, Runner, RunnerEvent, Sensitivity, StartStep, StepError, Type, fail_point,
};

use crate::context::{Context, call_of};
use crate::effect::{IDEMPOTENCY_KEY, idempotency_key};
use crate::fault::{bug, panicked, store_trouble};
use crate::folders::{self, FolderTrouble};
use crate::objects::read_manifest;
use crate::resolve::Resolved;
use crate::run::scratch::Scratch;
use crate::sources;

/// A started attempt.
pub(crate) struct Started {
    pub handle: Box<dyn Handle>,
    /// Not where the runner's thread has it, which then collects.
    pub scratch: Option<Arc<Scratch>>,
}

/// What is left of an attempt once its outputs are in the store.
pub(crate) struct Collected {
    pub outputs: Vec<OutputRecord>,
    pub key_object: Digest,
    pub facts: Facts,
    pub environment: BTreeMap<String, String>,
    pub peak_mem_bytes: Option<u64>,
}

/// What a running attempt tells.
pub(crate) enum Told {
    /// Never of its end.
    Event(RunnerEvent),
    Ended(Result<Outcome, StepError>),
    /// It has ended well, and its outputs have been brought into the store.
    Collected(Result<Collected, StepError>),
}

/// Starts an attempt. `report` hears of everything, and of the end exactly once whatever the runner does, unless this
/// returns an error. Where the runner's thread has the time for it, it also collects.
pub(crate) fn start(
    ctx: &Arc<Context>,
    idx: usize,
    resolved: &Arc<Resolved>,
    asked: (&RunId, u32, Vec<String>),
    report: impl Fn(Told) + Send + Sync + 'static,
) -> Result<Started, StepError> {
    let may_linger = runner_of(ctx, idx)?.may_linger();
    let (handle, scratch) = launch(ctx, idx, resolved, asked, |scratch| {
        let (ctx, resolved) = (Arc::clone(ctx), Arc::clone(resolved));
        let kept = Mutex::new(may_linger.then(|| Arc::clone(scratch)));
        move |event| {
            let RunnerEvent::Finished(end) = event else { return report(Told::Event(event)) };
            // Let go of before anybody hears of the end: the runner's thread may live on.
            let scratch = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
            let told = match (end, &scratch) {
                (Ok(outcome), Some(scratch)) => {
                    let collected = catch_unwind(AssertUnwindSafe(|| collect(&ctx, idx, &resolved, scratch, outcome)));
                    Told::Collected(collected.unwrap_or_else(|_| Err(panicked(&ctx.node(idx).name))))
                }
                (end, _) => Told::Ended(end),
            };
            drop(scratch);
            report(told);
        }
    })?;
    Ok(Started { handle, scratch: (!may_linger).then_some(scratch) })
}

/// As [`start`]; nothing is collected. `report` is made for the attempt's folder.
pub(crate) fn launch<F: Fn(RunnerEvent) + Send + Sync + 'static>(
    ctx: &Context,
    idx: usize,
    resolved: &Resolved,
    asked: (&RunId, u32, Vec<String>),
    report: impl FnOnce(&Arc<Scratch>) -> F,
) -> Result<(Box<dyn Handle>, Arc<Scratch>), StepError> {
    let (node, call, runner) = (ctx.node(idx), ctx.call(idx), runner_of(ctx, idx)?);
    let scratch = Scratch::new(&ctx.scratches)?;
    let mut inputs = BTreeMap::new();
    for record in &resolved.inputs {
        let input = &call.inputs[&record.name];
        let ty = type_of_input(ctx, input);
        let (path, size_bytes) = match input {
            Input::Path { path, shown, folder } => outside(ctx, path, shown, *folder)?,
            Input::Output { .. } | Input::Champion { .. } => {
                let laid_out = scratch.path().join(format!("in{}", inputs.len()));
                let opened = open_artifact(ctx, &ty, &record.digest, &laid_out);
                opened.map_err(|error| error.unwrap_or_else(|| not_whole(&node.name, input, record)))?
            }
        };
        let file = InputFile { digest: record.digest, ty, path, size_bytes, shown: record.shown.clone() };
        inputs.insert(record.name.clone(), file);
    }
    let command = command(ctx, idx, resolved, asked, (inputs, scratch.work_dir()))?;
    let scratch = Arc::new(scratch);
    fail_point("step.laid_out");
    let reporter = Reporter { step: node.name.clone(), has_finished: AtomicBool::new(false), report: report(&scratch) };
    let started = catch_unwind(AssertUnwindSafe(|| runner.start(command, Box::new(move |event| reporter.tell(event)))));
    Ok((started.map_err(|_| panicked(&node.name))?, scratch))
}

/// Puts together what a runner is asked to do.
pub(crate) fn command(
    ctx: &Context,
    idx: usize,
    resolved: &Resolved,
    (run, attempt, gpus): (&RunId, u32, Vec<String>),
    (inputs, work_dir): (BTreeMap<String, InputFile>, PathBuf),
) -> Result<StartStep, StepError> {
    let (node, call) = (ctx.node(idx), ctx.call(idx));
    Ok(StartStep {
        run: run.clone(),
        step: node.name.clone(),
        attempt,
        op: call.op.to_string(),
        params: call.params.clone(),
        inputs,
        outputs: call.outputs.iter().map(|output| (output.name.to_string(), output.ty.clone())).collect(),
        environment: resolved.key.environment.clone(),
        work_dir,
        timeout: call.options.timeout,
        gpus,
        idempotency_key: idempotency_key(ctx, idx, resolved)?,
    })
}

/// Returns where a file or folder beside the pipeline is, and its bytes as they were when the run looked at it.
pub(crate) fn outside(ctx: &Context, path: &Path, shown: &str, folder: bool) -> Result<(PathBuf, u64), StepError> {
    let content = ctx.sources.get(path, folder).cloned();
    let content = content.unwrap_or_else(|| sources::read(&*ctx.store, path, shown, folder))?;
    // Runners may work in a folder of their own.
    Ok((std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), content.size_bytes))
}

pub(crate) fn runner_of(ctx: &Context, idx: usize) -> Result<&dyn Runner, StepError> {
    let name = &*ctx.call(idx).runner;
    ctx.runners.get(name).map(|runner| &**runner).ok_or_else(|| bug("N6301", format!("no runner `{name}`")))
}

pub(crate) fn not_whole(step: &str, input: &Input, record: &InputRecord) -> StepError {
    let message = format!("`{}`, input `{}` of step `{step}`, is missing or damaged", record.shown, record.name);
    let help = match input {
        Input::Champion { release, .. } => format!("go back to another version: `mlp models rollback {release}`"),
        _ => "run again: the step that makes it will run".to_owned(),
    };
    StepError::new(ErrorClass::Environment, "N6401", message).with_argument(&record.name).with_help(help)
}

/// Makes sure that an attempt ends exactly once, even if its runner forgets to say so.
struct Reporter<F: Fn(RunnerEvent)> {
    step: String,
    has_finished: AtomicBool,
    report: F,
}

impl<F: Fn(RunnerEvent)> Reporter<F> {
    fn tell(&self, event: RunnerEvent) {
        let is_late = match event {
            RunnerEvent::Finished(_) => self.has_finished.swap(true, Ordering::SeqCst),
            _ => self.has_finished.load(Ordering::SeqCst),
        };
        if !is_late {
            (self.report)(event);
        }
    }
}

impl<F: Fn(RunnerEvent)> Drop for Reporter<F> {
    fn drop(&mut self) {
        let error = bug("N6302", format!("the runner of step `{}` went away without saying how it ended", self.step));
        self.tell(RunnerEvent::Finished(Err(error)));
    }
}

/// Brings the outputs of a finished attempt into the store, if what it read is still what it was.
pub(crate) fn collect(
    ctx: &Context,
    idx: usize,
    resolved: &Resolved,
    scratch: &Scratch,
    outcome: Outcome,
) -> Result<Collected, StepError> {
    let work_dir = scratch.work_dir();
    let collected =
        take_over(ctx, idx, resolved, outcome, |output, produced| adopt(ctx, idx, output, produced, &work_dir))?;
    scratch.spend();
    Ok(collected)
}

/// As [`collect`], with `adopt` for each output.
pub(crate) fn take_over(
    ctx: &Context,
    idx: usize,
    resolved: &Resolved,
    mut outcome: Outcome,
    adopt: impl Fn(&Output, &Produced) -> Result<OutputRecord, StepError>,
) -> Result<Collected, StepError> {
    let (node, call) = (ctx.node(idx), ctx.call(idx));
    fail_point("step.ended");
    check_unchanged(ctx, idx, resolved)?;
    let mut outputs = Vec::with_capacity(call.outputs.len());
    for output in &call.outputs {
        let produced = match outcome.outputs.remove(output.name.as_ref()) {
            Some(produced) => produced,
            None if output.optional => continue,
            None => {
                let message = format!("step `{}` ended without its output `{}`", node.name, output.name);
                return Err(bug("N6303", message));
            }
        };
        outputs.push(adopt(output, &produced)?);
    }
    if let Some(name) = outcome.outputs.keys().next() {
        return Err(bug("N6303", format!("step `{}` made an output `{name}` that nobody declared", node.name)));
    }
    let key_bytes = serde_json::to_vec(&resolved.key)
        .map_err(|error| bug("N6303", format!("the key of step `{}` cannot be written: {error}", node.name)))?;
    let key_object = ctx.store.put(&key_bytes, Sensitivity::Plain).map_err(|error| store_trouble(&error))?;
    let mut environment = resolved.key.environment.clone();
    environment.extend(outcome.environment);
    environment.extend(idempotency_key(ctx, idx, resolved)?.map(|key| (IDEMPOTENCY_KEY.to_owned(), key)));
    Ok(Collected { outputs, key_object, facts: outcome.facts, environment, peak_mem_bytes: outcome.peak_mem_bytes })
}

/// Refuses a result whose step may have read bytes other than those in its key.
fn check_unchanged(ctx: &Context, idx: usize, resolved: &Resolved) -> Result<(), StepError> {
    let (node, call) = (ctx.node(idx), ctx.call(idx));
    for record in &resolved.inputs {
        let Input::Path { path, shown, folder } = &call.inputs[&record.name] else { continue };
        let is_unchanged =
            sources::read(&*ctx.store, path, shown, *folder).is_ok_and(|content| content.digest == record.digest);
        if !is_unchanged {
            let message =
                format!("`{shown}`, input `{}` of step `{}`, changed while the step ran", record.name, node.name);
            return Err(StepError::new(ErrorClass::User, "N6104", message)
                .with_argument(&record.name)
                .with_help("run again once nobody writes to it; the result was not kept"));
        }
    }
    Ok(())
}

fn adopt(
    ctx: &Context,
    idx: usize,
    output: &Output,
    produced: &Produced,
    work_dir: &Path,
) -> Result<OutputRecord, StepError> {
    let step = &ctx.node(idx).name;
    let fault = |what: &str| fault(step, output, what);
    let kind = kind_of(step, output, produced)?;
    let path = work_dir.join(&produced.path);
    let is_inside = path.starts_with(work_dir) && !path.components().any(|part| part == Component::ParentDir);
    if !is_inside {
        return Err(fault("is outside its work folder"));
    }
    let found = fs::symlink_metadata(&path).map_err(|_| fault("was announced, but is not there"))?;
    let kept = sensitivity(output);
    let partitions = ctx.partitions.of(idx);
    let no_artifact = |what: &str| {
        let message = format!("output `{}` of step `{step}` {what}", output.name);
        StepError::new(ErrorClass::Step, "N6304", message)
    };
    let (digest, size_bytes) = match kind {
        ArtifactKind::Folder if found.is_dir() => {
            folders::adopt(&*ctx.store, &path, (kept, &partitions)).map_err(|error| match error {
                FolderTrouble::Store(error) => store_trouble(&error),
                error => no_artifact(&format!("cannot be kept: {error}")),
            })?
        }
        ArtifactKind::Folder => return Err(no_artifact("is no folder")),
        ArtifactKind::Report if found.is_file() => {
            ctx.store.adopt_figures(&path).map_err(|error| store_trouble(&error))?
        }
        _ if found.is_file() => ctx.store.adopt(&path, kept, &partitions).map_err(|error| store_trouble(&error))?,
        _ => return Err(no_artifact("is no regular file")),
    };
    Ok(OutputRecord { name: output.name.to_string(), digest, kind, size_bytes })
}

pub(crate) fn sensitivity(output: &Output) -> Sensitivity {
    if output.ty.is_personal() { Sensitivity::Personal } else { Sensitivity::Plain }
}

/// Returns of what kind an output is that has been made.
pub(crate) fn kind_of(step: &str, output: &Output, produced: &Produced) -> Result<ArtifactKind, StepError> {
    let kind = output.ty.artifact_kind().ok_or_else(|| fault(step, output, "is declared as a plain value"))?;
    match produced.kind == kind {
        true => Ok(kind),
        false => Err(fault(step, output, &format!("is a {}, not a {}", word(produced.kind), word(kind)))),
    }
}

pub(crate) fn fault(step: &str, output: &Output, what: &str) -> StepError {
    bug("N6303", format!("output `{}` of step `{step}` {what}", output.name))
}

fn word(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Table => "table",
        ArtifactKind::Model => "model",
        ArtifactKind::Report => "report",
        ArtifactKind::File => "file",
        ArtifactKind::Folder => "folder",
    }
}

/// Returns where an artifact can be read: its object, or for a folder a copy at `laid_out`. `None` as error: it is
/// missing or damaged.
fn open_artifact(
    ctx: &Context,
    ty: &Type,
    digest: &Digest,
    laid_out: &Path,
) -> Result<(PathBuf, u64), Option<StepError>> {
    let trouble = |error| Some(store_trouble(&error));
    if ty.artifact_kind() == Some(ArtifactKind::Folder) {
        let manifest = read_manifest(&*ctx.store, digest).map_err(trouble)?.ok_or(None)?;
        let size_bytes = folders::lay_out(&*ctx.store, &manifest, laid_out).map_err(trouble)?;
        return Ok((laid_out.to_owned(), size_bytes));
    }
    let object = ctx.store.object(digest).map_err(trouble)?.ok_or(None)?;
    Ok((object.path, object.size_bytes))
}

/// Returns the type of what an input is bound to. A champion has the type of the same part in this pipeline.
pub(crate) fn type_of_input(ctx: &Context, input: &Input) -> Type {
    let of_output = |node: usize, output: &str| {
        call_of(ctx.node(node)).and_then(|call| call.output(output)).map(|output| output.ty.clone())
    };
    let ty = match input {
        Input::Path { folder: true, .. } => Some(Type::Folder),
        Input::Path { folder: false, .. } => Some(Type::File),
        Input::Output { node, output } => of_output(*node, output),
        Input::Champion { release, part } => ctx.pipeline.nodes.iter().find_map(|node| match &node.kind {
            NodeKind::Release(declared) if declared.name == *release => match declared.parts.get(part) {
                Some(Part::Output { node, output }) => of_output(*node, output),
                _ => None,
            },
            _ => None,
        }),
    };
    ty.unwrap_or(Type::File)
}
