//! `mlp lint [FILES..]`: doubts about pipelines that check.

use std::path::PathBuf;

use mlp_dsl::lint::{Linted, is_module, lint as find};
use mlp_dsl::{Diagnostic, Severity, SourceText};
use serde_json::{Value, json};

use super::files;
use crate::args::{CheckFormat, PipelineArgs, ValueArgs};
use crate::compile::{self, sarif};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring;

/// One file, and what was found in it.
struct Looked {
    shown: String,
    checks: bool,
    sources: Vec<SourceText>,
    linted: Linted,
}

pub fn lint(files: &[PathBuf], values: &ValueArgs, format: CheckFormat, output: &Output) -> Result<Exit, Failure> {
    let files = files::pipelines(files)?;
    if files.len() > 1 && !values.params.is_empty() {
        return Err(Failure::usage("`--param` is for one file").with_help("name the file that it belongs to"));
    }
    let mut looked = Vec::new();
    for file in files {
        // A module is looked at with the pipelines that use it; by itself it is none.
        if std::fs::read_to_string(&file).is_ok_and(|text| is_module(&text)) {
            continue;
        }
        let shown = file.display().to_string();
        let args = PipelineArgs { file, values: values.clone() };
        let checked = compile::check(&args)?;
        let linted = match &checked.pipeline {
            Some(pipeline) => find(pipeline, &checked.diagnostics, &wiring::catalogue()),
            None => Linted { diagnostics: checked.diagnostics, allowed: Vec::new() },
        };
        looked.push(Looked { shown, checks: checked.pipeline.is_some(), sources: checked.sources, linted });
    }
    let n_broken = looked.iter().filter(|file| !file.checks).count();
    let n_doubts: usize = looked.iter().filter(|file| file.checks).map(|file| file.linted.diagnostics.len()).sum();
    let n_allowed: usize = looked.iter().map(|file| file.linted.allowed.len()).sum();
    if format == CheckFormat::Sarif {
        let found: Vec<_> = looked.iter().map(|file| (&*file.sources, &file.linted)).collect();
        output.print_json(&sarif(&found)?);
    } else if output.json || format == CheckFormat::Json {
        let files: Vec<_> = looked.iter().map(as_json).collect();
        output.print_json(&json!({ "ok": n_broken == 0 && n_doubts == 0, "files": files }));
    } else {
        looked.iter().for_each(|file| show(file, output));
    }
    let is_text = !output.json && format == CheckFormat::Text;
    let files = words::plural(looked.len(), "file");
    let allowed = if n_allowed > 0 { format!(", {n_allowed} allowed") } else { String::new() };
    if n_broken > 0 {
        let message = format!("{} not check, so nothing more can be said", verb(n_broken, "does", "do"));
        return if is_text { Err(Failure::usage(message)) } else { Ok(Exit::Usage) };
    }
    if n_doubts > 0 {
        let found = format!("{} in {files}{allowed}", words::plural(n_doubts, "doubt"));
        let first = looked.iter().flat_map(|file| &file.linted.diagnostics).map(|d| d.code.to_string()).next();
        let help = format!(
            "`mlp explain {}` tells more; `// lint: allow CODE REASON` silences one",
            first.unwrap_or_default()
        );
        return if is_text { Err(Failure::new(Exit::StepFailed, found).with_help(help)) } else { Ok(Exit::StepFailed) };
    }
    if is_text {
        output.print(format!("{files}: no doubts{allowed}"));
    }
    Ok(Exit::Done)
}

fn verb(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", words::plural(n, "file"), if n == 1 { one } else { many })
}

fn show(file: &Looked, output: &Output) {
    for diagnostic in &file.linted.diagnostics {
        output.note(mlp_dsl::render(diagnostic, &file.sources, output.colour, output.width()));
    }
    for allowed in &file.linted.allowed {
        let line = place_of(&allowed.diagnostic, &file.sources);
        output.note(format!("{}{line}: {} is allowed: {}", file.shown, allowed.diagnostic.code, allowed.reason));
    }
}

fn place_of(diagnostic: &Diagnostic, sources: &[SourceText]) -> String {
    let line = mlp_dsl::to_json(diagnostic, sources)["line"].as_u64();
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

fn as_json(file: &Looked) -> Value {
    let Linted { diagnostics, allowed } = &file.linted;
    let has_errors = diagnostics.iter().any(|d| d.severity == Severity::Error);
    let told: Vec<_> = diagnostics.iter().map(|d| mlp_dsl::to_json(d, &file.sources)).collect();
    let allowed: Vec<_> = allowed
        .iter()
        .map(|allowed| {
            let mut told = mlp_dsl::to_json(&allowed.diagnostic, &file.sources);
            told["reason"] = json!(allowed.reason);
            told
        })
        .collect();
    json!({
        "file": file.shown,
        "ok": told.is_empty(),
        "checks": file.checks && !has_errors,
        "diagnostics": told,
        "allowed": allowed,
    })
}
