//! Computes a step's cache key and looks up whether a stored result fits. The one way for plan, run and `why`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use mlp_model::{
    CacheKey, ErrorClass, Input, InputRecord, KeyId, OutputRecord, RunId, StepError, StepId, StepResult, Store,
    StoreError,
};

use crate::bundle::BundlePart;
use crate::context::{Champion, Context};
use crate::explain;
use crate::fault::{bug, panicked, store_trouble};
use crate::history;
use crate::objects;
use crate::tolerance::Tolerance;

/// A step whose inputs are known.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub key: CacheKey,
    pub id: KeyId,
    /// In the order of the key.
    pub inputs: Vec<InputRecord>,
    pub lookup: Lookup,
}

/// A step's key, and the inputs that it was made of.
pub(crate) struct Keyed {
    pub key: CacheKey,
    pub id: KeyId,
    pub inputs: Vec<InputRecord>,
}

#[derive(Debug, Clone)]
pub(crate) enum Lookup {
    Hit(Arc<Hit>),
    Miss(Miss),
}

/// No stored result fits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Miss {
    /// Why the step must run, on one line.
    pub reason: String,
    /// What it took when it last had a result.
    pub past: Option<Past>,
}

/// What a step took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Past {
    pub seconds: f64,
    pub mem_bytes: Option<u64>,
}

impl Past {
    pub fn of(result: &StepResult) -> Self {
        Self { seconds: result.seconds, mem_bytes: result.peak_mem_bytes }
    }
}

/// A stored result all of whose outputs are there.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub run: RunId,
    pub result: StepResult,
}

/// The outputs of each node that has them by now.
pub(crate) type Known = Vec<Option<Arc<[OutputRecord]>>>;

/// An output that a node has left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub node: usize,
    /// Its place among the node's outputs.
    pub output: usize,
}

/// Finds an output that a step needs and that the node which could have made it has left out.
pub(crate) fn left_out(ctx: &Context, idx: usize, known: &Known, tolerance: &Tolerance) -> Option<LeftOut> {
    let call = ctx.call(idx);
    call.inputs.iter().find_map(|(name, input)| {
        let Input::Output { node, output } = input else { return None };
        let is_lost = call.options.collects.contains(name) && tolerance.is_lost(*node, idx);
        let made = known[*node].as_ref().filter(|_| !is_lost)?;
        let is_made = made.iter().any(|made| made.name == *output);
        let output = ctx.call(*node).outputs.iter().position(|declared| declared.name == *output)?;
        (!is_made).then_some(LeftOut { node: *node, output })
    })
}

/// Says that a node has left out an output.
pub(crate) fn say_left_out(ctx: &Context, LeftOut { node, output }: LeftOut) -> String {
    let name = ctx.call(node).outputs.get(output).map_or("", |output| &output.name);
    format!("`{}` left out its output `{name}`", ctx.node(node).name)
}

/// Binds the inputs of a step all of whose upstream steps are known, without those it collects of rounds that have failed. Cheap:
/// nothing is read.
pub(crate) fn bind_inputs(
    ctx: &Context,
    idx: usize,
    known: &Known,
    tolerance: &Tolerance,
) -> Result<Vec<InputRecord>, StepError> {
    let step = &ctx.node(idx).name;
    let bind = |(name, input): (&str, &Input)| {
        let (digest, shown) = match input {
            Input::Output { node, output } => {
                let shown = format!("{}.{output}", ctx.node(*node).name);
                let made = known[*node].iter().flat_map(|outputs| outputs.iter()).find(|made| made.name == *output);
                let made = made.ok_or_else(|| bug("N6301", format!("`{step}` was resolved before `{shown}` was")))?;
                (made.digest, shown)
            }
            Input::Path { path, shown, folder } => match ctx.sources.get(path, *folder) {
                Some(Ok(content)) => (content.digest, shown.clone()),
                Some(Err(error)) => return Err(in_step(error.clone(), step, name)),
                None => return Err(bug("N6301", format!("`{shown}` of step `{step}` was not read"))),
            },
            Input::Champion { release, part } => champion_part(ctx, release, part)?,
        };
        Ok(InputRecord { name: name.to_owned(), digest, shown })
    };
    let call = ctx.call(idx);
    let is_there = |(name, input): &(&str, &Input)| match input {
        Input::Output { node, .. } => !(call.options.collects.contains(*name) && tolerance.is_lost(*node, idx)),
        Input::Path { .. } | Input::Champion { .. } => true,
    };
    call.inputs.iter().filter(is_there).map(bind).collect()
}

/// Computes the key and looks it up.
pub(crate) fn resolve(ctx: &Context, idx: usize, inputs: Vec<InputRecord>) -> Result<Resolved, StepError> {
    let keyed = keyed(ctx, idx, inputs)?;
    // One question instead of several, unless it has been asked with others.
    ctx.store.foresee(&[(keyed.id, step_id(ctx, idx))]);
    found(ctx, idx, keyed)
}

/// As [`resolve`] for several steps, with one question for all of them.
pub(crate) fn resolve_all(
    ctx: &Context,
    all: Vec<(usize, Vec<InputRecord>)>,
) -> Vec<(usize, Result<Resolved, StepError>)> {
    let keyed: Vec<_> =
        all.into_iter().map(|(idx, inputs)| (idx, guarded(ctx, idx, || keyed(ctx, idx, inputs)))).collect();
    let of_step = |(idx, keyed): &(usize, Result<Keyed, _>)| Some((keyed.as_ref().ok()?.id, step_id(ctx, *idx)));
    let asked: Vec<_> = keyed.iter().filter_map(of_step).collect();
    ctx.store.foresee(&asked);
    let found = |(idx, keyed): (usize, Result<Keyed, _>)| {
        (idx, keyed.and_then(|keyed| guarded(ctx, idx, || found(ctx, idx, keyed))))
    };
    keyed.into_iter().map(found).collect()
}

fn guarded<T>(ctx: &Context, idx: usize, work: impl FnOnce() -> Result<T, StepError>) -> Result<T, StepError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked(&ctx.node(idx).name)))
}

fn keyed(ctx: &Context, idx: usize, inputs: Vec<InputRecord>) -> Result<Keyed, StepError> {
    let known = ctx.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&idx);
    if let Some(known) = known.filter(|known| known.inputs == inputs) {
        return Ok(known);
    }
    let key = key_of(ctx, idx, &inputs)?;
    Ok(Keyed { id: key.id(), key, inputs })
}

fn found(ctx: &Context, idx: usize, Keyed { key, id, inputs }: Keyed) -> Result<Resolved, StepError> {
    let mut resolved = Resolved { key, id, inputs, lookup: Lookup::Miss(Miss::default()) };
    resolved.lookup = look_up(ctx, idx, &resolved).map_err(|error| store_trouble(&error))?;
    Ok(resolved)
}

/// Puts the key together.
pub(crate) fn key_of(ctx: &Context, idx: usize, inputs: &[InputRecord]) -> Result<CacheKey, StepError> {
    let (node, call) = (ctx.node(idx), ctx.call(idx));
    let runner = ctx.runners.get(&*call.runner).ok_or_else(|| {
        bug("N6301", format!("step `{}` needs the runner `{}`, which this mlp does not have", node.name, call.runner))
    })?;
    let environment = catch_unwind(AssertUnwindSafe(|| runner.environment(call)));
    Ok(CacheKey {
        op: call.op.to_string(),
        op_version: call.op_version,
        params: call.params.clone(),
        inputs: inputs.iter().map(|input| (input.name.clone(), input.digest)).collect(),
        environment: environment.unwrap_or_else(|_| Err(panicked(&node.name)))?,
        salt: ctx.salt.clone(),
    })
}

/// Looks for a stored result under the key whose outputs are all there and whole.
fn look_up(ctx: &Context, idx: usize, resolved: &Resolved) -> Result<Lookup, StoreError> {
    match look_again(ctx, idx, resolved)? {
        Some(found) => Ok(found),
        None => Ok(Lookup::Miss(reason_to_run(ctx, idx, resolved)?)),
    }
}

/// As [`look_up`]; `None`, if there is no result under the key. Why that is so is not looked for.
pub(crate) fn look_again(ctx: &Context, idx: usize, resolved: &Resolved) -> Result<Option<Lookup>, StoreError> {
    let stored = ctx.store.result(&resolved.id)?;
    if ctx.request.is_forced[idx] {
        let past = match stored {
            Some((_, result)) => Some(Past::of(&result)),
            None => newest_result(&*ctx.store, &step_id(ctx, idx))?.map(|result| Past::of(&result)),
        };
        return Ok(Some(Lookup::Miss(Miss { reason: "forced".to_owned(), past })));
    }
    let Some((run, result)) = stored else { return Ok(None) };
    let unusable = |reason: String| Ok(Some(Lookup::Miss(Miss { reason, past: Some(Past::of(&result)) })));
    for output in &ctx.call(idx).outputs {
        let name = &output.name;
        let stored = result.outputs.iter().find(|stored| stored.name == *name);
        // It was left out. Nothing else makes a result lack an output.
        if output.optional && stored.is_none() {
            continue;
        }
        let Some(stored) = stored.filter(|stored| Some(stored.kind) == output.ty.artifact_kind()) else {
            return unusable(format!("the stored result has no output `{name}`"));
        };
        let missing = objects::missing(&*ctx.store, stored.kind, &stored.digest)?;
        if !missing.is_empty() {
            let what = ctx.why_gone(&missing)?.map_or("is missing or damaged".to_owned(), ToString::to_string);
            return unusable(format!("stored output `{name}` {what}"));
        }
    }
    Ok(Some(Lookup::Hit(Arc::new(Hit { run, result }))))
}

fn reason_to_run(ctx: &Context, idx: usize, resolved: &Resolved) -> Result<Miss, StoreError> {
    let Some(newest) = newest_result(&*ctx.store, &step_id(ctx, idx))? else {
        return Ok(Miss { reason: "first time".to_owned(), past: None });
    };
    let past = Some(Past::of(&newest));
    let Some(before) = history::read_key(&*ctx.store, &newest)? else {
        return Ok(Miss { reason: "first time".to_owned(), past });
    };
    let shown = |name: &str| resolved.inputs.iter().find(|input| input.name == name).map(|input| input.shown.clone());
    let reason = match explain::reason(&before, &resolved.key, &shown) {
        nothing if nothing.is_empty() => "its stored result is gone".to_owned(),
        reason => reason,
    };
    Ok(Miss { reason, past })
}

pub(crate) fn step_id(ctx: &Context, idx: usize) -> StepId {
    StepId { pipeline: ctx.pipeline.name.clone(), step: ctx.node(idx).name.clone() }
}

/// Returns the result that the step had last.
pub(crate) fn newest_result(store: &dyn Store, step: &StepId) -> Result<Option<StepResult>, StoreError> {
    // Mostly the newest record has it; after that come failed attempts, of which there may be some.
    for limit in [1, 32] {
        let records = store.step_history(step, limit)?;
        for stored in &records {
            if let Some(past) = history::past(store, stored)? {
                return Ok(Some(past.result));
            }
        }
        if records.len() < limit {
            break;
        }
    }
    Ok(None)
}

fn champion_part(ctx: &Context, release: &str, part: &str) -> Result<(mlp_model::Digest, String), StepError> {
    let absent = || bug("N6301", format!("a step was started without a champion of release `{release}`"));
    let Some(Champion::Live { version, bundle }) = ctx.champions.get(release) else { return Err(absent()) };
    let bundle = bundle.as_ref().map_err(|error| {
        let message = format!("cannot read version {version} of release `{release}`, which is live: {error}");
        StepError::new(ErrorClass::Environment, "N6201", message)
            .with_help(format!("go back to another version: `mlp models rollback {release}`"))
    })?;
    match bundle.parts.get(part) {
        None => Err(absent()),
        Some(BundlePart::Artifact(pinned)) => Ok((pinned.digest, format!("{release}@{version}.{part}"))),
        Some(_) => {
            let message = format!("part `{part}` of version {version} of release `{release}` is no artifact");
            Err(StepError::new(ErrorClass::User, "N6202", message))
        }
    }
}

/// Says in which step and argument a path was met.
fn in_step(mut error: StepError, step: &str, argument: &str) -> StepError {
    let (head, tail) = error.message.split_once(": ").map_or((error.message.as_str(), None), |(h, t)| (h, Some(t)));
    let tail = tail.map(|tail| format!(": {tail}")).unwrap_or_default();
    error.message = format!("{head}, input `{argument}` of step `{step}`{tail}");
    error.with_argument(argument)
}

/// Fields of a key that could not be completed, for the record of a step that failed before it had one.
pub(crate) fn partial_key(ctx: &Context, idx: usize) -> CacheKey {
    let call = ctx.call(idx);
    CacheKey {
        op: call.op.to_string(),
        op_version: call.op_version,
        params: call.params.clone(),
        inputs: BTreeMap::new(),
        environment: BTreeMap::new(),
        salt: ctx.salt.clone(),
    }
}
