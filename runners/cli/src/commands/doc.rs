//! `mlp doc`: the reference of a workspace as HTML pages.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use mlp_dsl::{Assignments, CheckInput, Facts, Severity, World, WorldError};

use super::{files, here};
use crate::args::ValueArgs;
use crate::compile::{Disk, open_workspace};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::site::{Page, Site, Source, page_path};
use crate::{values, wiring};

/// Says that a folder was made by this command, and which files it wrote, one a line.
const LIST: &str = ".mlp-doc";

/// Where the pages go when nothing else is said, in the workspace.
const FOLDER: &str = "mlp-doc";

pub fn doc(arguments: &[PathBuf], folder: Option<&Path>, values: &ValueArgs, output: &Output) -> Result<Exit, Failure> {
    let files = files::pipelines(arguments)?;
    let near = files.first().cloned().map_or_else(here, Ok)?;
    let workspace = open_workspace(&near)?;
    let (root, params) = (workspace.root, values::assignments(values, &workspace.settings)?.assignments);
    let folder = folder.map_or_else(|| root.join(FOLDER), Path::to_owned);
    let before = may_write(&folder)?;
    let catalogue = wiring::catalogue();
    let mut sources = Vec::new();
    let mut broken = Vec::new();
    for file in &files {
        let text = read(file)?;
        let is_module = mlp_dsl::lint::is_module(&text);
        let own = own_params(&text, &params);
        let input = CheckInput { file, params: &own, catalogue: &catalogue, world: &Disk };
        let checked = (!is_module).then(|| mlp_dsl::check(&input));
        let mut facts = Facts::default();
        if checked.as_ref().is_some_and(|checked| checked.pipeline.is_none()) {
            mlp_dsl::inspect(&input, &mut facts);
            let errors = checked.iter().flat_map(|checked| &checked.diagnostics);
            broken.push((file, errors.filter(|one| one.severity == Severity::Error).count()));
        }
        sources.push(Source { path: shown(&root, file), text, checked, facts });
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources.dedup_by(|a, b| a.path == b.path);
    let pages = Site::new(&catalogue, &sources).pages();
    write(&folder, &pages, before)?;
    let index = folder.join("index.html");
    if output.json {
        let broken: Vec<_> = broken.iter().map(|(file, _)| file.display().to_string()).collect();
        let pages: Vec<_> = pages.iter().map(|page| page.path.as_str()).collect();
        output.print_json(&serde_json::json!({
            "ok": broken.is_empty(), "folder": folder.display().to_string(), "pages": pages, "broken": broken,
        }));
    } else {
        for (file, n_errors) in &broken {
            let n_errors = words::plural(*n_errors, "error");
            output.note(format!("warning: {} has {n_errors}; its page shows what is known.", file.display()));
        }
        output.print(format!(
            "{}: {} about {}",
            index.display(),
            words::plural(pages.len(), "page"),
            words::plural(sources.len(), "file")
        ));
    }
    Ok(if broken.is_empty() { Exit::Done } else { Exit::Usage })
}

/// Returns the path relative to the workspace, with `/`; that of a file outside without what leads there.
fn shown(root: &Path, file: &Path) -> String {
    let absolute = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let relative = absolute.strip_prefix(root).unwrap_or(&absolute);
    let parts = relative.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Returns what is given to the parameters that the file declares: the others belong to other files.
fn own_params(text: &str, params: &Assignments) -> Assignments {
    let reference = mlp_dsl::reference::read(text);
    let is_declared =
        |name: &str| reference.declared.iter().any(|one| one.word == "param" && one.name.as_deref() == Some(name));
    let mut own = params.clone();
    own.list.retain(|assignment| is_declared(&assignment.name));
    own
}

fn read(file: &Path) -> Result<String, Failure> {
    Disk.read(file).map_err(|error| {
        let reason = match &error {
            WorldError::NotUtf8 { .. } => "it is not UTF-8 text".to_owned(),
            other => other.to_string(),
        };
        let exit = if matches!(error, WorldError::Other(_)) { Exit::Environment } else { Exit::Usage };
        Failure::new(exit, format!("cannot read `{}`: {reason}", file.display()))
    })
}

/// Returns what this command wrote into the folder before, or refuses a folder that holds anything else.
fn may_write(folder: &Path) -> Result<BTreeSet<String>, Failure> {
    let trouble =
        |e: std::io::Error| Failure::new(Exit::Environment, format!("cannot look into `{}`: {e}", folder.display()));
    match std::fs::read_to_string(folder.join(LIST)) {
        Ok(list) => return Ok(list.lines().map(str::to_owned).collect()),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(e) => return Err(trouble(e)),
    }
    match std::fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => Ok(BTreeSet::new()),
        Ok(_) => Err(Failure::usage(format!("`{}` holds files that `mlp doc` did not write", folder.display()))
            .with_help("name a new or an empty folder: `--out site`")),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(e) if e.kind() == ErrorKind::NotADirectory => {
            Err(Failure::usage(format!("`{}` is not a folder", folder.display())))
        }
        Err(e) => Err(trouble(e)),
    }
}

/// Writes the pages and removes those of before that are no more.
fn write(folder: &Path, pages: &[Page], mut before: BTreeSet<String>) -> Result<(), Failure> {
    let trouble = |path: &Path, e: std::io::Error| {
        Failure::new(Exit::Environment, format!("cannot write `{}`: {e}", path.display()))
    };
    let mut list = String::new();
    for page in pages {
        let path = folder.join(page_path(&page.path));
        let within = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(within).map_err(|e| trouble(within, e))?;
        // What is as it was stays untouched, for who looks at times.
        if std::fs::read(&path).ok().as_deref() != Some(page.text.as_bytes()) {
            std::fs::write(&path, &page.text).map_err(|e| trouble(&path, e))?;
        }
        before.remove(&page.path);
        list.push_str(&page.path);
        list.push('\n');
    }
    let is_ours = |path: &String| page_path(path).components().all(|part| matches!(part, Component::Normal(_)));
    for gone in before.iter().filter(|path| is_ours(path)) {
        let _ = std::fs::remove_file(folder.join(page_path(gone)));
    }
    let path = folder.join(LIST);
    std::fs::write(&path, list).map_err(|e| trouble(&path, e))
}
