//! `mlp export` and `mlp import-bundle`: a run or a released version on its way to another workspace.

use std::path::Path;

use mlp_engine::export::{ExportError, ExportTarget, Exported, Manifest, export as export_to};
use mlp_engine::import::{ImportError, Imported, ImportedRelease, import as import_from};
use mlp_model::{Store, show_size};

use super::models::parse_model;
use crate::args::{ExportArgs, ImportArgs};
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring::{self, store_failure};

pub fn export(args: &ExportArgs, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let store = wiring::open_store(&workspace)?;
    let (name, version) = parse_model(&args.what);
    let releases = store.releases().map_err(store_failure)?;
    let target = if args.what.contains('@') || releases.iter().any(|release| release == name) {
        ExportTarget::Model { release: name.to_owned(), version }
    } else {
        ExportTarget::Run(super::find_run(&*store, &args.what)?.run)
    };
    let manifest = export_to(&*store, &target, args.with_personal, &args.output).map_err(export_failure)?;
    if output.json {
        output.print_json(&manifest);
    } else {
        output.print(exported_text(&manifest, &args.output));
    }
    Ok(Exit::Done)
}

fn exported_text(manifest: &Manifest, path: &Path) -> String {
    let size: u64 = manifest.objects.iter().map(|packed| packed.size_bytes).sum();
    let mut text = format!(
        "{} of pipeline {} is in {}: {}, {}, {}.",
        what(&manifest.what, &manifest.run.0),
        manifest.pipeline,
        path.display(),
        words::plural(manifest.objects.len(), "object"),
        show_size(size),
        words::plural(usize::try_from(manifest.n_records).unwrap_or(usize::MAX), "record"),
    );
    if !manifest.left_out.is_empty() {
        text.push_str(&format!(
            "\n{} with personal values left out; their steps run again there. `--with-personal` takes them along.",
            words::plural(manifest.left_out.len(), "object")
        ));
    }
    text
}

pub fn import_bundle(args: &ImportArgs, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let store = wiring::open_store(&workspace)?;
    let imported =
        import_from(&*store, &args.file, args.rename.as_deref()).map_err(|error| import_failure(args, error))?;
    if output.json {
        output.print_json(&imported);
    } else {
        output.print(imported_text(&imported));
    }
    Ok(Exit::Done)
}

fn imported_text(imported: &Imported) -> String {
    let mut lines = vec![format!(
        "{} of pipeline {}: {} taken in, {}, {}.",
        what(&imported.what, &imported.run.0),
        imported.pipeline,
        words::plural(imported.runs.len(), "run"),
        words::plural(imported.n_objects, "object"),
        show_size(imported.size_bytes)
    )];
    if imported.n_left_out > 0 {
        lines.push(format!(
            "{} with personal values are not in the archive: their steps run again where they are needed.",
            words::plural(imported.n_left_out, "object")
        ));
    }
    match &imported.release {
        Some(ImportedRelease::Taken { release, version }) => {
            lines.push(format!("{release} v{version} is live here.\n  where from      mlp lineage {release}@{version}"))
        }
        Some(ImportedRelease::Known { release, version }) => {
            lines.push(format!("{release} v{version} was here already."));
        }
        Some(ImportedRelease::NameInUse { release, version }) => lines.push(format!(
            "Release `{release}` has a history of its own here and stays as it is. \
             To take v{version} over under another name: --as NAME."
        )),
        None => {}
    }
    lines.join("\n")
}

fn what(exported: &Exported, run: &str) -> String {
    match exported {
        Exported::Run => format!("Run {run}"),
        Exported::Release { release, version } => format!("{release} v{version}, made by run {run}"),
    }
}

fn export_failure(error: ExportError) -> Failure {
    let help = error.help();
    let mut failure = match error {
        ExportError::Store(error) => store_failure(error),
        ExportError::Incomplete(_) | ExportError::Bundle { .. } => Failure::new(Exit::Environment, error.to_string()),
        other => Failure::usage(other.to_string()),
    };
    failure.help = help.or(failure.help);
    failure
}

fn import_failure(args: &ImportArgs, error: ImportError) -> Failure {
    let help = error.help();
    let mut failure = match error {
        ImportError::Store(error) => store_failure(error),
        other => Failure::usage(format!("`{}` was not taken in: {other}", args.file.display())),
    };
    failure.help = help.or(failure.help);
    failure
}
