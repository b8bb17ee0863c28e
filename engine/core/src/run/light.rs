//! Light steps: they read little and make little, and all of it in memory, on a thread of the pool.
//!
//! Such a step takes less time than a slot, a folder and a thread of its own would. Blocking; knows nothing of scheduling.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mlp_model::{
    ArtifactKind, Demand, Digest, Input, InputFile, InputRecord, Output, OutputRecord, Produced, RunId, SmallFiles,
    StepError, fail_point,
};

use super::attempt::{
    Collected, command, fault, kind_of, not_whole, outside, runner_of, sensitivity, take_over, type_of_input,
};
use crate::context::Context;
use crate::fault::store_trouble;
use crate::resolve::{Known, Resolved};

/// Who reads more than that does not read little.
const MAX_INPUTS: usize = 64;
const MAX_BYTES: u64 = 64 << 10;

/// What stands for the folder of the attempt: no file can be made there.
const NOWHERE: &str = "/dev/null";

/// Whether the step reads so little that it is executed here. What it demands of the machine is then nothing worth
/// counting, unless it says otherwise.
pub(crate) fn is_light(ctx: &Context, idx: usize, known: &Known) -> bool {
    let call = ctx.call(idx);
    let is_plain = call.options.demand == Demand::default() && call.options.limits.is_empty();
    let may_be = is_plain && ctx.runners.get(&*call.runner).is_some_and(|runner| runner.is_light(call));
    let sizes = call.inputs.values().map(|input| size_bytes(ctx, input, known));
    may_be
        && call.inputs.len() <= MAX_INPUTS
        && sizes.sum::<Option<u64>>().is_some_and(|size_bytes| size_bytes <= MAX_BYTES)
}

/// Returns the size of an input, if that is known and it is a single file.
fn size_bytes(ctx: &Context, input: &Input, known: &Known) -> Option<u64> {
    match input {
        Input::Path { path, folder: false, .. } => {
            ctx.sources.get(path, false)?.as_ref().ok().map(|content| content.size_bytes)
        }
        Input::Output { node, output } => {
            // What a failed round has not made is not read.
            let Some(made) = known[*node].as_ref() else { return Some(0) };
            let made = made.iter().find(|made| made.name == *output);
            made.map_or(Some(0), |made| (made.kind != ArtifactKind::Folder).then_some(made.size_bytes))
        }
        Input::Path { folder: true, .. } | Input::Champion { .. } => None,
    }
}

/// Executes the step from its inputs to its outputs in the store.
pub(crate) fn execute(
    ctx: &Context,
    idx: usize,
    resolved: &Resolved,
    (run, attempt): (&RunId, u32),
    cancelled: &AtomicBool,
) -> Result<Collected, StepError> {
    let (step, call) = (&ctx.node(idx).name, ctx.call(idx));
    let files = SmallFiles::default();
    let mut inputs = BTreeMap::new();
    for record in &resolved.inputs {
        let input = &call.inputs[&record.name];
        let (path, size_bytes) = match input {
            Input::Path { path, shown, folder } => outside(ctx, path, shown, *folder)?,
            Input::Output { .. } | Input::Champion { .. } => {
                lay_out(ctx, (step, input, record), Path::new(NOWHERE).join(format!("in{}", inputs.len())), &files)?
            }
        };
        let ty = type_of_input(ctx, input);
        let file = InputFile { digest: record.digest, ty, path, size_bytes, shown: record.shown.clone() };
        inputs.insert(record.name.clone(), file);
    }
    let work_dir = Path::new(NOWHERE).join("out");
    let command = command(ctx, idx, resolved, (run, attempt, Vec::new()), (inputs, work_dir))?;
    fail_point("step.laid_out");
    let outcome = runner_of(ctx, idx)?.execute(&command, &files, cancelled)?;
    take_over(ctx, idx, resolved, outcome, |output, produced| adopt(ctx, idx, output, produced, &files))
}

/// Puts an artifact where the step reads it, and returns that and its size.
fn lay_out(
    ctx: &Context,
    (step, input, record): (&str, &Input, &InputRecord),
    path: PathBuf,
    files: &SmallFiles,
) -> Result<(PathBuf, u64), StepError> {
    let bytes = match ctx.store.read_small(&record.digest).map_err(|error| store_trouble(&error))? {
        Some(bytes) => bytes,
        None => match ctx.store.read(&record.digest).map_err(|error| store_trouble(&error))? {
            Some(bytes) => bytes.into(),
            None => return Err(not_whole(step, input, record)),
        },
    };
    let size_bytes = bytes.len() as u64;
    files.put(path.clone(), bytes);
    Ok((path, size_bytes))
}

fn adopt(
    ctx: &Context,
    idx: usize,
    output: &Output,
    produced: &Produced,
    files: &SmallFiles,
) -> Result<OutputRecord, StepError> {
    let step = &ctx.node(idx).name;
    let kind = kind_of(step, output, produced)?;
    let bytes = files.get(&produced.path);
    let bytes = bytes.ok_or_else(|| fault(step, output, "was announced, but is not there"))?;
    let kept = |digest: Result<Digest, _>| digest.map_err(|error| store_trouble(&error));
    let digest = match kind {
        ArtifactKind::Report => kept(ctx.store.put(&bytes, sensitivity(output)))?,
        _ => kept(ctx.store.put_data(&bytes, sensitivity(output), &ctx.partitions.of(idx)))?,
    };
    Ok(OutputRecord { name: output.name.to_string(), digest, kind, size_bytes: bytes.len() as u64 })
}
