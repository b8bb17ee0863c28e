//! `mlp import dvc.yaml`: a DVC project becomes a pipeline that does the same work.
//!
//! `tree` reads files of values, `stages` what `dvc.yaml` says, with `interpolate` and `params` for its values; `files`
//! `undeclared` and `implied` find what each stage reads and makes; `write`, `command` and `texts` write it down. What the pipeline
//! does otherwise than DVC did is told, and stands in it as a comment.

mod command;
mod files;
mod implied;
mod interpolate;
mod notes;
mod params;
mod paths;
mod stages;
mod texts;
mod tree;
mod undeclared;
mod write;

use std::io::Write;
use std::path::{Path, PathBuf};

use mlp_dsl::{Assignments, CheckInput, Listed, PathKind, Severity, World, WorldError};
use serde_json::json;

use crate::args::ImportPipelineArgs;
use crate::compile::Disk;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring;
use notes::Notes;
use params::{Files, Names, Parameters};

pub fn import(args: &ImportPipelineArgs, output: &Output) -> Result<Exit, Failure> {
    let file = if args.file.is_dir() { args.file.join("dvc.yaml") } else { args.file.clone() };
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(&file).map_err(|e| {
        Failure::usage(format!("cannot read `{shown}`: {e}"))
            .with_help("name the `dvc.yaml` of a project, or its folder")
    })?;
    let root = tree::parse_yaml(&text)
        .map_err(|e| Failure::usage(format!("cannot read `{shown}`, line {}: {}", e.line, e.message)))?;
    let project = absolute(file.parent().unwrap_or(Path::new("")))?;
    let name = Names::default().take(&project.file_name().unwrap_or_default().to_string_lossy());
    let target = args.out.clone().unwrap_or_else(|| file.with_file_name(format!("{name}.mlp")));
    if target.exists() && !args.force {
        let help = "`--force` replaces it, `--out FILE` writes another";
        return Err(Failure::usage(format!("`{}` is there already", target.display())).with_help(help));
    }
    let place = write::Place {
        project: without_slash(&project)?,
        pipeline: without_slash(&absolute(target.parent().unwrap_or(Path::new("")))?)?,
    };

    let mut notes = Notes::default();
    let mut files = Files::new(project.clone());
    let (stages, fixed) = stages::Reader::new(&mut files, &mut notes).read(&root);
    let mut names = Names::default();
    let options = files::Options { whole_params: args.whole_params };
    let steps = files::steps(stages, &project, &mut files, &mut names, &options, &mut notes);
    let mut parameters = Parameters::new(names, fixed);
    let declarations = write::pipeline(&steps, &place, &mut files, &mut parameters, &mut notes);
    if notes.mistakes.is_empty() && steps.is_empty() {
        notes.mistake(0, "stages", "none of them can be carried over");
    }
    refuse_mistakes(&mut notes, &shown, output)?;

    notes.told.sort();
    let told: Vec<String> = notes.told.iter().map(|note| note.line_of("dvc.yaml")).collect();
    let written = document(&name, &told, &declarations);
    let written = mlp_dsl::format(&written)
        .map_err(|e| Failure::new(Exit::Bug, format!("the pipeline of `{shown}` cannot be written: {e}")))?;
    check(&target, &written, output)?;
    replace(&target, &written)
        .map_err(|e| Failure::new(Exit::Environment, format!("cannot write `{}`: {e}", target.display())))?;
    tell(&target, &steps, &parameters, &notes, &told, output);
    Ok(Exit::Done)
}

/// Tells everything for which the project cannot be carried over.
fn refuse_mistakes(notes: &mut Notes, shown: &str, output: &Output) -> Result<(), Failure> {
    if notes.mistakes.is_empty() {
        return Ok(());
    }
    notes.mistakes.sort();
    let lines: Vec<String> = notes.mistakes.iter().map(|note| note.line_of(shown)).collect();
    let n = words::plural(lines.len(), "reason");
    lines.iter().for_each(|line| output.note(line));
    let help = "mend them, or bring what is missing, and import again";
    Err(Failure::usage(format!("`{shown}` cannot be carried over, for {n}; nothing was written")).with_help(help))
}

fn document(name: &str, told: &[String], declarations: &str) -> String {
    let mut text = String::from("//! Made by `mlp import` from dvc.yaml.\n");
    text.push_str(&format!("pipeline {name}\n"));
    if !told.is_empty() {
        text.push_str("\n// What is not as DVC did it:\n");
        told.iter().for_each(|line| text.push_str(&format!("// - {line}\n")));
    }
    text.push_str(declarations);
    text
}

fn tell(
    target: &Path,
    steps: &[files::Step],
    parameters: &Parameters,
    notes: &Notes,
    told: &[String],
    output: &Output,
) {
    let shown = target.display().to_string();
    if output.json {
        let notes = notes.told.iter().map(|note| {
            let line = (note.line > 0).then_some(note.line);
            json!({ "line": line, "about": note.about, "text": note.text })
        });
        output.print_json(&json!({
            "file": shown,
            "steps": steps.iter().map(|step| &step.name).collect::<Vec<_>>(),
            "n_params": parameters.n_params(),
            "notes": notes.collect::<Vec<_>>(),
        }));
    } else {
        let (n_steps, n_params) =
            (words::plural(steps.len(), "step"), words::plural(parameters.n_params(), "parameter"));
        output.print(format!("wrote {shown}: {n_steps}, {n_params}"));
    }
    if !told.is_empty() {
        output.note("What is not as DVC did it; the file says so, too:");
        told.iter().for_each(|line| output.note(format!("  {line}")));
    }
}

/// The disk, with a pipeline that is not written yet.
struct Drafted<'a> {
    target: &'a Path,
    text: &'a str,
}

impl World for Drafted<'_> {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        if path == self.target { Ok(self.text.to_owned()) } else { Disk.read(path) }
    }

    fn kind(&self, path: &Path) -> PathKind {
        Disk.kind(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        Disk.list(path)
    }
}

fn check(target: &Path, text: &str, output: &Output) -> Result<(), Failure> {
    let catalogue = wiring::catalogue();
    let world = Drafted { target, text };
    let checked = mlp_dsl::check(&CheckInput {
        file: target,
        params: &Assignments::default(),
        catalogue: &catalogue,
        world: &world,
    });
    if checked.pipeline.is_some() {
        return Ok(());
    }
    for diagnostic in checked.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error) {
        output.note(mlp_dsl::render(diagnostic, &checked.sources, output.colour, output.width()));
    }
    let message = "what the project becomes does not check; nothing was written";
    Err(Failure::usage(message).with_help("mend what the project says there, and import again"))
}

/// Writes the file in one moment.
fn replace(target: &Path, text: &str) -> std::io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut new = std::fs::File::create_new(&beside)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&beside, target)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn absolute(folder: &Path) -> Result<PathBuf, Failure> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.canonicalize().map_err(|e| Failure::usage(format!("cannot find folder `{}`: {e}", folder.display())))
}

fn without_slash(folder: &Path) -> Result<String, Failure> {
    let text =
        folder.to_str().ok_or_else(|| Failure::usage(format!("the name of `{}` is not UTF-8", folder.display())))?;
    Ok(text.trim_start_matches('/').to_owned())
}
