//! `mlp lsp`: the language server, wired to the catalogue, to the files of this machine, and to the plans of its stores.

use std::collections::HashMap;
use std::path::Path;

use mlp_lsp::{Mark, ServeError, Setup, States, StepState};
use mlp_model::{Decision, PlannedStep};
use mlp_store::snapshot::last_written;

use super::plan;
use crate::args::{Colour, PipelineArgs, ValueArgs, WorkArgs};
use crate::compile::Disk;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::wiring;
use crate::workspace::Workspace;

pub fn lsp() -> Result<Exit, Failure> {
    let setup = Setup {
        catalogue: wiring::catalogue(),
        world: Box::new(Disk),
        format: Some(|text| mlp_dsl::format(text).ok()),
        states: Some(Box::new(Plans)),
        version: env!("CARGO_PKG_VERSION"),
    };
    mlp_lsp::serve_stdio(setup).map_err(|error| {
        let failure = Failure::usage(format!("the language server ended: {error}"));
        match error {
            ServeError::Protocol(_) | ServeError::Message(_) => {
                failure.with_help("`mlp lsp` is started by an editor; see docs/editors.md")
            }
            ServeError::Io(_) | ServeError::NoShutdown => failure,
        }
    })?;
    Ok(Exit::Done)
}

/// Tells what `mlp plan` would say, where there is a store already.
struct Plans;

impl States for Plans {
    fn states(&self, file: &Path) -> Option<Vec<StepState>> {
        last_written(&Workspace::root_of(file).ok()?)?;
        let pipeline = PipelineArgs { file: file.to_owned(), values: ValueArgs::default() };
        let silent = Output::new(false, Colour::Never).silent();
        let (plan, compiled) = plan::make(&pipeline, &WorkArgs::default(), &silent).ok()?;
        let nodes: HashMap<&str, _> =
            compiled.pipeline.nodes.iter().map(|node| (node.name.as_str(), node.span)).collect();
        // A step that scores a table for another one is written nowhere: it is told with that one.
        let scoring: HashMap<&str, &PlannedStep> =
            plan.steps.iter().filter_map(|step| Some((step.step.strip_suffix(".predictions")?, step))).collect();
        let mut states = Vec::new();
        for step in &plan.steps {
            let Some(span) = nodes.get(step.step.as_str()) else { continue };
            let of = step.step.strip_suffix(".predictions").and_then(|of| nodes.get(of));
            if of.is_some_and(|of| of == span) {
                continue;
            }
            let scored = scoring.get(step.step.as_str()).filter(|scored| {
                nodes.get(scored.step.as_str()) == Some(span) && !matches!(scored.decision, Decision::Reuse { .. })
            });
            let Some((class, text)) = state(scored.copied().unwrap_or(step)) else { continue };
            let place = (span.source == 0).then_some(span.start..span.end);
            states.push(StepState { node: step.step.clone(), place, class, text });
        }
        Some(states)
    }

    fn mark(&self, file: &Path) -> Option<Mark> {
        last_written(&Workspace::root_of(file).ok()?).map(|written| format!("{written:?}"))
    }
}

/// Returns what a plan says of a step, in a word and in a few; nothing of what is decided in every run.
fn state(step: &PlannedStep) -> Option<(&'static str, String)> {
    let reason = &step.reason;
    Some(match &step.decision {
        Decision::Reuse { .. } if step.op.starts_with("effect.") => ("done", "done".to_owned()),
        Decision::Reuse { .. } => ("stored", "stored".to_owned()),
        Decision::Run if reason == "first time" => ("to run", "never run".to_owned()),
        Decision::Run => ("to run", format!("runs: {reason}")),
        Decision::Unknown { .. } => {
            let short = reason.strip_suffix(" has run").unwrap_or(reason);
            ("unknown", short.replace('`', ""))
        }
        Decision::Skip => ("skipped", format!("skipped: {reason}")),
        Decision::Fail => ("failing", format!("fails: {reason}")),
        Decision::Decide => return None,
    })
}
