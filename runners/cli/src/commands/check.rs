//! `mlp check FILE`.

use std::time::Instant;

use mlp_model::NodeKind;

use crate::args::PipelineArgs;
use crate::compile::compile;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;

pub fn check(args: &PipelineArgs, output: &Output) -> Result<Exit, Failure> {
    let started = Instant::now();
    let compiled = compile(args, output)?;
    let count = |wanted: fn(&NodeKind) -> bool| compiled.pipeline.nodes.iter().filter(|n| wanted(&n.kind)).count();
    let steps = count(|kind| matches!(kind, NodeKind::Call(_)));
    let gates = count(|kind| matches!(kind, NodeKind::Gate(_)));
    let releases = count(|kind| matches!(kind, NodeKind::Release(_)));
    if output.json {
        output.print_json(&serde_json::json!({
            "ok": true, "pipeline": compiled.pipeline.name, "steps": steps, "gates": gates, "releases": releases,
            "diagnostics": [],
        }));
    } else {
        output.print(format!(
            "{}: pipeline `{}` is right: {}, {}, {} (checked in {})",
            args.file.display(),
            compiled.pipeline.name,
            words::plural(steps, "step"),
            words::plural(gates, "gate"),
            words::plural(releases, "release"),
            words::seconds(started.elapsed().as_secs_f64()),
        ));
    }
    Ok(Exit::Done)
}
