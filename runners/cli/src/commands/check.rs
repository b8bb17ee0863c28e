//! `mlp check FILE`.

use std::time::Instant;

use mlp_dsl::lint::Linted;
use mlp_model::NodeKind;

use crate::args::{CheckFormat, PipelineArgs};
use crate::compile::{self, compile, sarif};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;

pub fn check(args: &PipelineArgs, format: CheckFormat, output: &Output) -> Result<Exit, Failure> {
    if format == CheckFormat::Sarif {
        let checked = compile::check(args)?;
        let found = Linted { diagnostics: checked.diagnostics, allowed: Vec::new() };
        output.print_json(&sarif(&[(&checked.sources, &found)])?);
        return Ok(if checked.pipeline.is_some() { Exit::Done } else { Exit::Usage });
    }
    let output = &output.with_json(format == CheckFormat::Json);
    let started = Instant::now();
    let compiled = compile(args, output)?;
    let count = |wanted: fn(&NodeKind) -> bool| compiled.pipeline.nodes.iter().filter(|n| wanted(&n.kind)).count();
    let steps = count(|kind| matches!(kind, NodeKind::Call(_)));
    let gates = count(|kind| matches!(kind, NodeKind::Gate(_)));
    let releases = count(|kind| matches!(kind, NodeKind::Release(_)));
    let open: Vec<_> = compiled
        .pipeline
        .open_loops()
        .into_iter()
        .map(|waits| (format!("{}[..]", waits.name), compiled.pipeline.nodes[waits.node].name.clone()))
        .collect();
    if output.json {
        let open: Vec<_> =
            open.iter().map(|(name, until)| serde_json::json!({ "loop": name, "until": until })).collect();
        output.print_json(&serde_json::json!({
            "ok": true, "pipeline": compiled.pipeline.name, "steps": steps, "gates": gates, "releases": releases,
            "open_loops": open, "diagnostics": compiled.diagnostics,
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
        for (name, until) in open {
            output.print(format!("  {name}: unknown until `{until}` has run"));
        }
    }
    // The process ends here: to free a large pipeline piece by piece takes a quarter of the time that its check takes.
    std::mem::forget(compiled);
    Ok(Exit::Done)
}
