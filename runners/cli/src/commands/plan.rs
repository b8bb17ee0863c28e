//! `mlp plan FILE`.

use std::collections::HashMap;
use std::time::Duration;

use mlp_model::{Decision, Node, NodeKind, Pipeline, Plan, Value, show_size};

use crate::args::{PipelineArgs, WorkArgs};
use crate::compile::{Compiled, compile};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring;

/// Shows what a run would do. `mlp run --dry-run` is the same.
pub fn plan(args: &PipelineArgs, work: &WorkArgs, output: &Output) -> Result<Exit, Failure> {
    let (plan, compiled) = make(args, work, output)?;
    if output.json {
        output.print_json(&json(&plan, &compiled.pipeline));
    } else {
        output.print(text(&plan, &compiled.pipeline, work.budget));
    }
    Ok(Exit::Done)
}

/// Makes the plan of a run, and shows nothing but what is wrong.
pub fn make(args: &PipelineArgs, work: &WorkArgs, output: &Output) -> Result<(Plan, Compiled), Failure> {
    let mut compiled = compile(args, output)?;
    let store = wiring::open_store(&compiled.workspace)?;
    let engine = wiring::engine(store)?;
    compiled.unfold(&engine, &work.force, output)?;
    let request = super::run::request(&compiled, work, false)?;
    let plan = engine
        .plan(&compiled.pipeline, &request)
        .map_err(|error| super::run::refusal(error, &compiled.pipeline, output))?;
    Ok((plan, compiled))
}

/// The plan, with `reaches` for steps that can reach more than their inputs.
fn json(plan: &Plan, pipeline: &Pipeline) -> serde_json::Value {
    let mut document = serde_json::json!(plan);
    let nodes = by_name(pipeline);
    for (step, shown) in plan.steps.iter().zip(document["steps"].as_array_mut().into_iter().flatten()) {
        if let Some(reaches) = nodes.get(step.step.as_str()).and_then(|node| reaches(node)) {
            shown["reaches"] = reaches.into();
        }
    }
    document
}

/// A large plan is not searched through for each of its lines.
fn by_name(pipeline: &Pipeline) -> HashMap<&str, &Node> {
    pipeline.nodes.iter().map(|node| (node.name.as_str(), node)).collect()
}

/// Returns what a step can reach besides its inputs.
fn reaches(node: &Node) -> Option<&'static str> {
    let NodeKind::Call(call) = &node.kind else { return None };
    match (call.params.get("confine").and_then(Value::as_str), call.params.get("network")) {
        (Some("off"), _) => Some("everything"),
        (_, Some(Value::Bool(true))) => Some("network"),
        _ => None,
    }
}

fn text(plan: &Plan, pipeline: &Pipeline, budget: Option<Duration>) -> String {
    let mut lines = vec![format!("plan of {}", plan.pipeline)];
    let width = plan.steps.iter().map(|step| step.step.chars().count()).max().unwrap_or(0);
    let nodes = by_name(pipeline);
    for step in &plan.steps {
        let decision = match &step.decision {
            Decision::Run => "run",
            Decision::Reuse { .. } => "reuse",
            Decision::Unknown { .. } => "maybe",
            Decision::Skip => "skip",
            Decision::Fail => "fail",
            Decision::Decide => "decide",
        };
        let note = match nodes.get(step.step.as_str()).and_then(|node| reaches(node)) {
            Some("everything") => " (not confined)",
            Some(_) => " (with network)",
            None => "",
        };
        let took = step.seconds.map(|seconds| {
            let memory = step.mem_bytes.map_or(String::new(), |bytes| format!(" and {}", show_size(bytes)));
            format!(", took {}{memory} last time", words::seconds(seconds))
        });
        lines.push(format!("  {:<width$}  {decision:<7} {}{note}{}", step.step, step.reason, took.unwrap_or_default()));
    }
    let count = |wanted: fn(&Decision) -> bool| plan.steps.iter().filter(|s| wanted(&s.decision)).count();
    let n_failing = count(|d| matches!(d, Decision::Fail));
    let failing = if n_failing > 0 { format!(", {n_failing} that cannot run") } else { String::new() };
    lines.push(format!(
        "{} to run, {} that depend on them, {} up to date{failing}. Nothing was run.",
        words::plural(count(|d| matches!(d, Decision::Run)), "step"),
        count(|d| matches!(d, Decision::Unknown { .. })),
        count(|d| matches!(d, Decision::Reuse { .. })),
    ));
    lines.extend(duration_line(plan, budget));
    lines.join("\n")
}

/// Says how long the run will take, going by the past of its steps; nothing, where nothing runs or nobody knows.
fn duration_line(plan: &Plan, budget: Option<Duration>) -> Option<String> {
    if plan.seconds_at_most == 0.0 {
        return None;
    }
    let mut line = format!("It takes about {}", words::seconds(plan.seconds));
    if plan.seconds_at_most > plan.seconds {
        line.push_str(&format!(", and {} if all that depends has to run", words::seconds(plan.seconds_at_most)));
    }
    if plan.n_without_past > 0 {
        line.push_str(&format!("; not counted: {} that never ran", words::plural(plan.n_without_past, "step")));
    }
    if let Some(budget) = budget.filter(|budget| plan.seconds_at_most > budget.as_secs_f64()) {
        let budget = words::seconds(budget.as_secs_f64());
        line.push_str(&format!("; steps that would end after the budget of {budget} are left out"));
    }
    Some(line + ".")
}
