//! Executes steps again from their stored inputs and compares what comes out with what was stored.
//!
//! The cache is neither asked nor told: outputs are hashed in the scratch folder and thrown away. Knows nothing of how
//! a result is shown.

use std::fs;
use std::path::{Component, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use mlp_artifact::differ::{Difference, Side, first_difference};
use mlp_model::{
    ArtifactKind, Call, CallClass, Digest, Input, Outcome, Output, OutputRecord, Pipeline, Produced, RunId,
    RunnerEvent, StepError,
};
use serde::{Deserialize, Serialize};

use crate::context::{Context, Request, call_of};
use crate::fault::{bug, store_trouble};
use crate::folders;
use crate::plan::Outlook;
use crate::resolve::{Hit, Lookup, Resolved};
use crate::run::attempt;
use crate::run::scratch::Scratch;
use crate::sources;
use crate::{Engine, RunError};

/// What to execute again.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VerifyRequest {
    /// Empty: all steps.
    pub steps: Vec<String>,
    pub sample: Option<Sample>,
}

/// A part of the steps, drawn at random; the same for the same seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Above 0, at most 100.
    pub percent: f64,
    pub seed: u64,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    pub pipeline: String,
    pub sample: Option<Sample>,
    /// In the order of the graph.
    pub checked: Vec<Checked>,
    /// Wanted, but not executed.
    pub unverified: Vec<Unverified>,
}

/// A step that was executed again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    pub step: String,
    pub op: String,
    /// The run whose result it was compared with.
    pub from_run: RunId,
    #[serde(flatten)]
    pub result: CheckedResult,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CheckedResult {
    /// All outputs have the bytes that were stored.
    Same,
    /// The first of its outputs that has other bytes.
    Differs(HowItDiffers),
    Failed {
        error: StepError,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HowItDiffers {
    pub output: String,
    pub kind: ArtifactKind,
    /// `None`: it was left out.
    pub stored: Option<Digest>,
    pub made: Option<Digest>,
    /// `None`: what was stored can no longer be read.
    pub first: Option<Difference>,
}

/// A step that was not executed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unverified {
    pub step: String,
    pub why: String,
}

impl Verification {
    /// Returns the first step that came out otherwise or failed.
    pub fn first_fault(&self) -> Option<&Checked> {
        self.checked.iter().find(|checked| checked.result != CheckedResult::Same)
    }
}

impl Engine {
    /// Executes steps of a pipeline again, one after the other in the order of the graph. `on_checked` hears of each.
    ///
    /// # Errors
    /// An unknown step, or the store. A step that fails is part of the answer.
    pub fn verify(
        &self,
        pipeline: &Pipeline,
        request: &VerifyRequest,
        on_checked: &mut dyn FnMut(&Checked),
    ) -> Result<Verification, RunError> {
        let named = Request::check(pipeline, &request.steps, &request.steps)?;
        let is_named = named.is_forced.clone();
        let ctx = self.gather(Arc::new(pipeline.clone()), Request::check(pipeline, &request.steps, &[])?)?;
        let outlook = Outlook::new(&ctx);
        let mut verification = Verification {
            pipeline: pipeline.name.clone(),
            sample: request.sample,
            checked: Vec::new(),
            unverified: Vec::new(),
        };
        let mut eligible = Vec::new();
        for &idx in ctx.request.graph.order() {
            let Some(call) = call_of(ctx.node(idx)) else { continue };
            if !(request.steps.is_empty() || is_named[idx]) {
                continue;
            }
            match stored_result(call, outlook.resolved[idx].as_ref()) {
                Ok((resolved, hit)) => eligible.push((idx, resolved, hit)),
                Err(why) => {
                    let planned = outlook.steps.iter().find(|planned| planned.step == ctx.node(idx).name);
                    let why = why.or_else(|| planned.map(|planned| planned.reason.clone())).unwrap_or_default();
                    verification.unverified.push(Unverified { step: ctx.node(idx).name.clone(), why });
                }
            }
        }
        if let Some(sample) = request.sample {
            eligible = draw(eligible, sample);
        }
        for (idx, resolved, hit) in eligible {
            let result = match execute_again(&ctx, idx, &resolved, &hit.result.outputs) {
                Ok(None) => CheckedResult::Same,
                Ok(Some(how)) => CheckedResult::Differs(how),
                Err(error) => CheckedResult::Failed { error },
            };
            let step = ctx.node(idx).name.clone();
            let checked = Checked { step, op: resolved.key.op.clone(), from_run: hit.run.clone(), result };
            on_checked(&checked);
            verification.checked.push(checked);
        }
        Ok(verification)
    }
}

/// A step with a stored result, or why it has none to compare with; `None`: as the plan says.
fn stored_result(
    call: &Call,
    resolved: Option<&Result<Arc<Resolved>, StepError>>,
) -> Result<(Arc<Resolved>, Arc<Hit>), Option<String>> {
    if !matches!(call.class, CallClass::Source | CallClass::Step) {
        return Err(Some("it changes the world outside and is not repeated".to_owned()));
    }
    match resolved {
        None => Err(None),
        Some(Err(error)) => Err(Some(error.message.clone())),
        Some(Ok(resolved)) => match &resolved.lookup {
            Lookup::Hit(hit) => Ok((Arc::clone(resolved), Arc::clone(hit))),
            Lookup::Miss(miss) => Err(Some(format!("no stored result fits: {}", miss.reason))),
        },
    }
}

/// Draws a part of the steps, at least one, and leaves them in their order.
fn draw<T>(all: Vec<T>, sample: Sample) -> Vec<T> {
    let n_wanted = (all.len() as f64 * sample.percent / 100.0).ceil() as usize;
    let mut keyed: Vec<(Digest, usize)> = (0..all.len())
        .map(|at| (Digest::of(&[sample.seed.to_le_bytes(), (at as u64).to_le_bytes()].concat()), at))
        .collect();
    keyed.sort_unstable();
    let drawn: std::collections::BTreeSet<usize> = keyed.into_iter().take(n_wanted).map(|(_, at)| at).collect();
    all.into_iter().enumerate().filter(|(at, _)| drawn.contains(at)).map(|(_, item)| item).collect()
}

/// Executes a step in a scratch folder and returns the first output that has other bytes than the stored one.
fn execute_again(
    ctx: &Context,
    idx: usize,
    resolved: &Resolved,
    stored: &[OutputRecord],
) -> Result<Option<HowItDiffers>, StepError> {
    let (tell, hear) = mpsc::channel();
    let report = move |event| {
        if let RunnerEvent::Finished(end) = event {
            _ = tell.send(end);
        }
    };
    let asked = (&RunId("verify".to_owned()), 1, Vec::new());
    let (_handle, scratch) = attempt::launch(ctx, idx, resolved, asked, |_| report)?;
    let step = &ctx.node(idx).name;
    let outcome = hear.recv().unwrap_or_else(|_| Err(bug("N6302", format!("step `{step}` ended without a word"))))?;
    check_sources(ctx, idx, resolved)?;
    for output in &ctx.call(idx).outputs {
        let stored = stored.iter().find(|stored| stored.name == output.name);
        if output.optional {
            match (stored, outcome.outputs.get(output.name.as_ref())) {
                (None, None) => continue,
                (Some(_), Some(_)) => {}
                (stored, made) => {
                    let kind = output.ty.artifact_kind().unwrap_or(ArtifactKind::File);
                    let made = made.map(|made| digest_of(ctx, step, output, made, &scratch)).transpose()?;
                    let (output, stored) = (output.name.to_string(), stored.map(|stored| stored.digest));
                    let made = made.map(|made| made.digest);
                    return Ok(Some(HowItDiffers { output, kind, stored, made, first: None }));
                }
            }
        }
        let stored = stored.ok_or_else(|| bug("N6303", format!("`{step}` has no stored output `{}`", output.name)))?;
        if let Some(how) = compare(ctx, step, output, stored, &outcome, &scratch)? {
            return Ok(Some(how));
        }
    }
    Ok(None)
}

/// Tells of a source that changed while the step read it: the result means nothing then.
fn check_sources(ctx: &Context, idx: usize, resolved: &Resolved) -> Result<(), StepError> {
    for record in &resolved.inputs {
        let Input::Path { path, shown, folder } = &ctx.call(idx).inputs[&record.name] else { continue };
        if sources::read(&*ctx.store, path, shown, *folder)?.digest != record.digest {
            let message = format!("`{shown}`, input `{}`, changed while the step was executed again", record.name);
            return Err(StepError::new(mlp_model::ErrorClass::User, "N6104", message)
                .with_argument(&record.name)
                .with_help("verify again once nobody writes to it"));
        }
    }
    Ok(())
}

fn compare(
    ctx: &Context,
    step: &str,
    output: &Output,
    stored: &OutputRecord,
    outcome: &Outcome,
    scratch: &Scratch,
) -> Result<Option<HowItDiffers>, StepError> {
    let produced = outcome.outputs.get(output.name.as_ref());
    let produced = produced.ok_or_else(|| fault(step, output, "was not made"))?;
    let made = digest_of(ctx, step, output, produced, scratch)?;
    if made.digest == stored.digest {
        return Ok(None);
    }
    let first = match ctx.store.object(&stored.digest).map_err(|error| store_trouble(&error))? {
        None => None,
        Some(object) => {
            let before = Side { path: &object.path, size_bytes: object.size_bytes };
            let after = Side { path: &made.path, size_bytes: made.size_bytes };
            first_difference(stored.kind, before, after).ok().flatten()
        }
    };
    let (kind, stored, made) = (stored.kind, Some(stored.digest), Some(made.digest));
    Ok(Some(HowItDiffers { output: output.name.to_string(), kind, stored, made, first }))
}

fn fault(step: &str, output: &Output, what: &str) -> StepError {
    bug("N6303", format!("output `{}` of step `{step}` {what}", output.name))
}

/// What an execution made, with its bytes; for a folder, those of its list.
struct Made {
    digest: Digest,
    path: PathBuf,
    size_bytes: u64,
}

fn digest_of(
    ctx: &Context,
    step: &str,
    output: &Output,
    produced: &Produced,
    scratch: &Scratch,
) -> Result<Made, StepError> {
    let fault = |what: &str| fault(step, output, what);
    let work_dir = scratch.path().join("out");
    let path = work_dir.join(&produced.path);
    if !path.starts_with(&work_dir) || path.components().any(|part| part == Component::ParentDir) {
        return Err(fault("is outside its work folder"));
    }
    let found = fs::symlink_metadata(&path).map_err(|_| fault("was announced, but is not there"))?;
    if output.ty.artifact_kind() == Some(ArtifactKind::Folder) {
        let manifest = folders::digest(&*ctx.store, &path).map_err(|error| {
            let message = format!("output `{}` of step `{step}` cannot be kept: {error}", output.name);
            StepError::new(mlp_model::ErrorClass::Step, "N6304", message)
        })?;
        let (bytes, list) = (manifest.to_bytes(), scratch.path().join("list"));
        fs::write(&list, &bytes).map_err(|_| fault("cannot be listed"))?;
        Ok(Made { digest: Digest::of(&bytes), path: list, size_bytes: bytes.len() as u64 })
    } else if found.is_file() {
        let (digest, size_bytes) = ctx.store.digest_file(&path).map_err(|error| store_trouble(&error))?;
        Ok(Made { digest, path, size_bytes })
    } else {
        let message = format!("output `{}` of step `{step}` is no regular file", output.name);
        Err(StepError::new(mlp_model::ErrorClass::Step, "N6304", message))
    }
}
