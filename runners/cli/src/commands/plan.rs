//! `mlp plan FILE`.

use mlp_model::{Decision, NodeKind, Pipeline, Plan, Value};

use crate::args::PipelineArgs;
use crate::compile::compile;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring;

pub fn plan(args: &PipelineArgs, targets: &[String], force: &[String], output: &Output) -> Result<Exit, Failure> {
    let compiled = compile(args, output)?;
    let store = wiring::open_store(&compiled.workspace)?;
    let engine = wiring::engine(store)?;
    let plan = engine.plan(&compiled.pipeline, targets, force).map_err(super::run::run_failure)?;
    if output.json {
        output.print_json(&json(&plan, &compiled.pipeline));
    } else {
        output.print(text(&plan, &compiled.pipeline));
    }
    Ok(Exit::Done)
}

/// The plan, with `reaches` for steps that can reach more than their inputs.
fn json(plan: &Plan, pipeline: &Pipeline) -> serde_json::Value {
    let mut document = serde_json::json!(plan);
    for (step, shown) in plan.steps.iter().zip(document["steps"].as_array_mut().into_iter().flatten()) {
        if let Some(reaches) = reaches(pipeline, &step.step) {
            shown["reaches"] = reaches.into();
        }
    }
    document
}

/// Returns what a step can reach besides its inputs.
fn reaches(pipeline: &Pipeline, step: &str) -> Option<&'static str> {
    let node = pipeline.nodes.iter().find(|node| node.name == step)?;
    let NodeKind::Call(call) = &node.kind else { return None };
    match (call.params.get("confine").and_then(Value::as_str), call.params.get("network")) {
        (Some("off"), _) => Some("everything"),
        (_, Some(Value::Bool(true))) => Some("network"),
        _ => None,
    }
}

fn text(plan: &Plan, pipeline: &Pipeline) -> String {
    let mut lines = vec![format!("plan of {}", plan.pipeline)];
    let width = plan.steps.iter().map(|step| step.step.chars().count()).max().unwrap_or(0);
    for step in &plan.steps {
        let decision = match &step.decision {
            Decision::Run => "run",
            Decision::Reuse { .. } => "reuse",
            Decision::Unknown { .. } => "maybe",
            Decision::Skip => "skip",
            Decision::Decide => "decide",
        };
        let note = match reaches(pipeline, &step.step) {
            Some("everything") => " (not confined)",
            Some(_) => " (with network)",
            None => "",
        };
        lines.push(format!("  {:<width$}  {decision:<7} {}{note}", step.step, step.reason));
    }
    let count = |wanted: fn(&Decision) -> bool| plan.steps.iter().filter(|s| wanted(&s.decision)).count();
    lines.push(format!(
        "{} to run, {} that depend on them, {} up to date. Nothing was run.",
        words::plural(count(|d| matches!(d, Decision::Run)), "step"),
        count(|d| matches!(d, Decision::Unknown { .. })),
        count(|d| matches!(d, Decision::Reuse { .. })),
    ));
    lines.join("\n")
}
