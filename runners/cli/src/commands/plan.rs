//! `mlp plan FILE`.

use mlp_model::{Decision, Plan};

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
        output.print_json(&plan);
    } else {
        output.print(text(&plan));
    }
    Ok(Exit::Done)
}

fn text(plan: &Plan) -> String {
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
        lines.push(format!("  {:<width$}  {decision:<7} {}", step.step, step.reason));
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
