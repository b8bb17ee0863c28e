//! From a file and `--param`s to a checked pipeline, with every diagnostic printed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mlp_dsl::{CheckInput, Checked, Diagnostic, Label, PathKind, Severity, World, WorldError};
use mlp_model::{NodeKind, Pipeline, Span, StepError};

use crate::args::PipelineArgs;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring;
use crate::workspace::Workspace;

/// A pipeline that checks.
pub struct Compiled {
    pub workspace: Workspace,
    pub pipeline: Pipeline,
    /// The file, as a person knows it.
    pub shown: String,
    pub params: BTreeMap<String, String>,
}

/// Checks a pipeline file. Mistakes are printed; the failure then only counts them.
pub fn compile(args: &PipelineArgs, output: &Output) -> Result<Compiled, Failure> {
    let started = Instant::now();
    let workspace = open_workspace(&args.file)?;
    let params = parse_params(&args.params)?;
    let catalogue = wiring::catalogue();
    let checked =
        mlp_dsl::check(&CheckInput { file: &args.file, params: &params, catalogue: &catalogue, world: &Disk });
    let shown = args.file.display().to_string();
    if !output.json {
        for diagnostic in &checked.diagnostics {
            output.note(mlp_dsl::render(diagnostic, &checked.sources, output.colour, output.width()));
        }
    }
    match checked.pipeline {
        Some(pipeline) => Ok(Compiled { workspace, pipeline, shown: workspace_name(args), params }),
        None => {
            let n_errors = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
            if output.json {
                output.print_json(&diagnostics_json(&checked));
            }
            let took = words::seconds(started.elapsed().as_secs_f64());
            Err(Failure::usage(format!(
                "{shown} has {}; nothing was run (checked in {took})",
                words::plural(n_errors, "error")
            )))
        }
    }
}

fn workspace_name(args: &PipelineArgs) -> String {
    Workspace::of(&args.file).map_or_else(|_| args.file.display().to_string(), |w| w.shown(&args.file))
}

pub fn open_workspace(near: &Path) -> Result<Workspace, Failure> {
    Workspace::of(near).map_err(|e| Failure::usage(e.to_string()))
}

/// Returns the document that `--json` prints for a file with mistakes.
pub fn diagnostics_json(checked: &Checked) -> serde_json::Value {
    let diagnostics: Vec<_> = checked.diagnostics.iter().map(|d| mlp_dsl::to_json(d, &checked.sources)).collect();
    serde_json::json!({ "ok": checked.pipeline.is_some(), "diagnostics": diagnostics })
}

/// Writes a failed step as a diagnostic that points at the call in the pipeline.
pub fn render_step_error(pipeline: &Pipeline, step: &str, error: &StepError, output: &Output) -> String {
    let mut labels = Vec::new();
    if let Some((_, node)) = pipeline.node(step) {
        let argument = match &node.kind {
            NodeKind::Call(call) => error.argument.as_ref().and_then(|name| call.arg_spans.get(name)),
            _ => None,
        };
        let span: Span = argument.copied().unwrap_or(node.span);
        let text = if argument.is_some() { "this argument" } else { "this step" };
        labels.push(Label { span, text: text.to_owned(), primary: true });
    }
    let code = error.code.clone();
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        code: code.into(),
        message: format!("step `{step}`: {error}"),
        labels,
        help: error.help.clone(),
        notes: error.detail.clone(),
    };
    mlp_dsl::render(&diagnostic, &pipeline.sources, output.colour, output.width())
}

fn parse_params(params: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut parsed = BTreeMap::new();
    for param in params {
        let Some((name, value)) = param.split_once('=') else {
            return Err(Failure::usage(format!("`--param {param}` has no `=`")).with_help("write --param NAME=VALUE"));
        };
        if parsed.insert(name.trim().to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("parameter `{name}` is given twice")));
        }
    }
    Ok(parsed)
}

/// The compiler's view of the real file system.
pub struct Disk;

impl World for Disk {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        let bytes = std::fs::read(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => WorldError::NotFound,
            _ => WorldError::Other(e.to_string()),
        })?;
        String::from_utf8(bytes).map_err(|e| WorldError::NotUtf8 { offset: e.utf8_error().valid_up_to() })
    }

    fn kind(&self, path: &Path) -> PathKind {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => PathKind::Folder,
            Ok(_) => PathKind::File,
            Err(_) => PathKind::Missing,
        }
    }
}

/// Returns whether a text names a file rather than a digest or a model.
pub fn looks_like_file(text: &str) -> bool {
    text.ends_with(".mlp") || PathBuf::from(text).is_file()
}
