//! From a file and what is given to its parameters to a checked pipeline, with every diagnostic printed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mlp_dsl::lint::Linted;
use mlp_dsl::{
    Assignments, CheckInput, Checked, Diagnostic, Found, Label, Listed, PathKind, Severity, SourceText, World,
    WorldError,
};
use mlp_engine::Loops;
use mlp_model::{KnownValues, NodeKind, Pipeline, Span, StepError};
use mlp_store::SystemClock;
use mlp_store::snapshot::{Kind, Seen, look};

use crate::args::PipelineArgs;
use crate::commands::below;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::unfold::Unfolder;
use crate::values::{self, Values};
use crate::wiring;
use crate::workspace::Workspace;

/// A pipeline that checks.
pub struct Compiled {
    pub workspace: Workspace,
    pub pipeline: Arc<Pipeline>,
    /// The file, as a person knows it.
    pub shown: String,
    /// What is given to its parameters.
    pub values: Values,
    /// What was printed about it.
    pub warnings: String,
    /// The same, as `--json` has it.
    pub diagnostics: Vec<serde_json::Value>,
    /// Every path that was looked at; `None`, if one cannot be described.
    pub looked_at: Option<Vec<(PathBuf, Seen)>>,
    /// Compiles it again where it has loops over what a run tells.
    pub unfolder: Option<Arc<Unfolder>>,
    /// What is known of those loops.
    pub loops: Option<Loops>,
}

/// Checks a pipeline file. Mistakes are printed; the failure then only counts them.
pub fn compile(args: &PipelineArgs, output: &Output) -> Result<Compiled, Failure> {
    let started = Instant::now();
    let workspace = open_workspace(&args.file)?;
    let values = values::assignments(&args.values, &workspace.settings)?;
    let disk = RememberingDisk::new(&workspace.root);
    let checked = check_on(&disk, &args.file, &values.assignments, &KnownValues::new());
    let shown = args.file.display().to_string();
    let mut warnings = String::new();
    for diagnostic in &checked.diagnostics {
        let text = mlp_dsl::render(diagnostic, &checked.sources, output.colour, output.width());
        warnings.push_str(&text);
        if !text.ends_with('\n') {
            warnings.push('\n');
        }
    }
    if !output.json {
        output.note(&warnings);
    }
    let told = diagnostics(&checked);
    match checked.pipeline {
        Some(pipeline) => Ok(Compiled {
            diagnostics: told,
            unfolder: (!pipeline.open_loops().is_empty())
                .then(|| Arc::new(Unfolder::new(args.file.clone(), values.assignments.clone(), &workspace.root))),
            loops: None,
            pipeline: Arc::new(pipeline),
            shown: workspace_name(args),
            looked_at: disk.into_seen(),
            workspace,
            values,
            warnings,
        }),
        None => {
            let n_errors = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
            let took = words::seconds(started.elapsed().as_secs_f64());
            let told = format!("{shown} has {}; nothing was run (checked in {took})", words::plural(n_errors, "error"));
            let failure = Failure::usage(told).with_document(diagnostics_json(&checked));
            let mut errors = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error);
            // One line for the whole report: with one behind each mistake nobody would see the mistakes.
            Err(match errors.find(|error| mlp_dsl::explain::page(&error.code).is_some()) {
                Some(error) => failure.with_help(format!("`mlp explain {}` tells more, with an example", error.code)),
                None => failure,
            })
        }
    }
}

/// Checks a pipeline file and prints nothing.
pub fn check(args: &PipelineArgs) -> Result<Checked, Failure> {
    let workspace = open_workspace(&args.file)?;
    let values = values::assignments(&args.values, &workspace.settings)?;
    let disk = RememberingDisk::new(&workspace.root);
    Ok(check_on(&disk, &args.file, &values.assignments, &KnownValues::new()))
}

fn check_on(disk: &dyn World, file: &Path, params: &Assignments, known: &KnownValues) -> Checked {
    let catalogue = wiring::catalogue();
    mlp_dsl::check_known(&CheckInput { file, params, catalogue: &catalogue, world: disk }, known)
}

/// Checks a pipeline file with the values of loops that a run has told. Also returns the paths that were looked at.
pub fn check_known(
    file: &Path,
    params: &Assignments,
    root: &Path,
    known: &KnownValues,
) -> (Checked, Option<Vec<(PathBuf, Seen)>>) {
    let disk = RememberingDisk::new(root);
    let checked = check_on(&disk, file, params, known);
    (checked, disk.into_seen())
}

impl Compiled {
    /// Returns what is given to parameters, as text, by name; not what the file itself says.
    pub fn params_given(&self) -> BTreeMap<String, String> {
        let given = |name: &String| Some(self.values.assignments.of(name, &self.pipeline.name)?.written.shown());
        self.pipeline.params.keys().filter_map(|name| Some((name.clone(), given(name)?))).collect()
    }
}

/// Returns what was found as a SARIF log, with paths relative to the workspace: so code hosts look for files.
pub fn sarif(found: &[(&[SourceText], &Linted)]) -> Result<serde_json::Value, Failure> {
    let mut shown = Vec::new();
    for (sources, _) in found {
        let relative = |source: &SourceText| -> Result<SourceText, Failure> {
            let path = PathBuf::from(open_workspace(&source.path)?.shown(&source.path));
            Ok(SourceText { path, text: source.text.clone() })
        };
        shown.push(sources.iter().map(relative).collect::<Result<Vec<_>, _>>()?);
    }
    let found: Vec<_> = shown
        .iter()
        .zip(found)
        .map(|(sources, (_, linted))| Found { sources, diagnostics: &linted.diagnostics, allowed: &linted.allowed })
        .collect();
    Ok(mlp_dsl::sarif(&found, env!("CARGO_PKG_VERSION")))
}

fn workspace_name(args: &PipelineArgs) -> String {
    Workspace::of(&args.file).map_or_else(|_| args.file.display().to_string(), |w| w.shown(&args.file))
}

pub fn open_workspace(near: &Path) -> Result<Workspace, Failure> {
    Workspace::of(near).map_err(|e| Failure::usage(e.to_string()))
}

/// Returns the document that `--json` prints for a file with mistakes.
pub fn diagnostics_json(checked: &Checked) -> serde_json::Value {
    serde_json::json!({ "ok": checked.pipeline.is_some(), "diagnostics": diagnostics(checked) })
}

fn diagnostics(checked: &Checked) -> Vec<serde_json::Value> {
    checked.diagnostics.iter().map(|diagnostic| mlp_dsl::to_json(diagnostic, &checked.sources)).collect()
}

/// Writes a failed step as a diagnostic that points at the call in the pipeline.
pub fn render_step_error(pipeline: &Pipeline, step: &str, error: &StepError, output: &Output) -> String {
    render_as(Severity::Error, pipeline, (step, error), output)
}

/// As [`render_step_error`]; a failure for which the run does not fail is a warning.
pub fn render_failure(pipeline: &Pipeline, failure: &mlp_engine::Failure, output: &Output) -> String {
    let severity = if failure.is_tolerated { Severity::Warning } else { Severity::Error };
    render_as(severity, pipeline, (&failure.step, &failure.error), output)
}

fn render_as(severity: Severity, pipeline: &Pipeline, (step, error): (&str, &StepError), output: &Output) -> String {
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
        severity,
        code: code.into(),
        message: format!("step `{step}`: {error}"),
        labels,
        help: error.help.clone(),
        notes: error.detail.clone(),
    };
    mlp_dsl::render(&diagnostic, &pipeline.sources, output.colour, output.width())
}

/// The compiler's view of the real file system. It knows no workspace, so another pipeline may have anything.
pub struct Disk;

impl World for Disk {
    fn another_has(&self, _is_it: &dyn Fn(&str) -> bool) -> bool {
        true
    }

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

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        let trouble = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => WorldError::NotFound,
            _ => WorldError::Other(e.to_string()),
        };
        let folder = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let entries = std::fs::read_dir(folder).map_err(trouble)?.map(|entry| {
            let entry = entry.map_err(trouble)?;
            let kind = entry.file_type().map_err(trouble)?;
            Ok(Listed {
                name: entry.file_name().to_string_lossy().into_owned(),
                kind: match kind {
                    kind if kind.is_dir() => PathKind::Folder,
                    kind if kind.is_symlink() => self.kind(&entry.path()),
                    _ => PathKind::File,
                },
                is_link: kind.is_symlink(),
            })
        });
        entries.collect()
    }
}

/// The same in a workspace, but remembers what was asked for, as it was right before; `None` once something could not be
/// told.
struct RememberingDisk<'a> {
    root: &'a Path,
    seen: Mutex<Option<Vec<(PathBuf, Seen)>>>,
}

impl<'a> RememberingDisk<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, seen: Mutex::new(Some(Vec::new())) }
    }

    fn into_seen(self) -> Option<Vec<(PathBuf, Seen)>> {
        self.seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, path: &Path, seen: Option<Seen>) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (std::path::absolute(path), seen, &mut *all) {
            (Ok(path), Some(seen), Some(all)) => all.push((path, seen)),
            _ => *all = None,
        }
    }
}

impl World for RememberingDisk<'_> {
    fn another_has(&self, is_it: &dyn Fn(&str) -> bool) -> bool {
        let files = below(self.root).unwrap_or_default();
        let found = files.iter().find(|file| Disk.read(file).is_ok_and(|text| is_it(&text)));
        // As long as this one has it, the others do not matter.
        if let Some(file) = found {
            self.remember(file, look(file, &SystemClock));
        }
        found.is_some()
    }

    fn read(&self, path: &Path) -> Result<String, WorldError> {
        self.remember(path, look(path, &SystemClock));
        Disk.read(path)
    }

    fn kind(&self, path: &Path) -> PathKind {
        let kind = Disk.kind(path);
        let seen = match kind {
            PathKind::Folder => Seen::Kind(Kind::Folder),
            PathKind::File => Seen::Kind(Kind::File),
            PathKind::Missing => Seen::Missing,
        };
        self.remember(path, Some(seen));
        kind
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        let folder = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // A new file changes the folder; what a link leads to changes nothing in it.
        self.remember(folder, look(folder, &SystemClock));
        let listed = Disk.list(folder)?;
        for link in listed.iter().filter(|entry| entry.is_link) {
            self.kind(&folder.join(&link.name));
        }
        Ok(listed)
    }
}

/// Returns whether a text names a file rather than a digest or a model.
pub fn looks_like_file(text: &str) -> bool {
    text.ends_with(".mlp") || PathBuf::from(text).is_file()
}
