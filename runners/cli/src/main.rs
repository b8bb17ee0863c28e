//! The `mlp` binary: arguments, settings, wiring of the crates, and everything that is printed.
//!
//! Only this crate knows all the others. It decides nothing about pipelines: the compiler checks, the engine plans and
//! runs, the store keeps; here their answers become text, JSON and an exit code.

mod args;
mod commands;
mod compile;
mod exit;
mod fail_point;
mod gpus;
mod keyring;
mod machine;
mod output;
mod picture;
mod quantities;
mod report;
mod secrets;
mod settings;
mod site;
mod snapshot;
mod unfold;
mod values;
mod wiring;
mod workspace;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::Exit;
use crate::output::Output;

/// Checking, planning and the owner of a store make very many small things on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(message) = fail_point::arm() {
        eprintln!("error: {message}");
        return Exit::Usage.into();
    }
    if let Some(exit) = snapshot::answer(std::env::args_os().skip(1)) {
        return exit.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let output = Output::new(cli.json, cli.color);
    let result = match cli.command {
        Command::Check { pipeline, format } => commands::check::check(&pipeline, format, &output),
        Command::Lint { files, values, format } => commands::lint::lint(&files, &values, format, &output),
        Command::Explain { code } => commands::explain::explain(code.as_deref(), &output),
        Command::Diff { before, after, values } => commands::diff::diff(&before, &after, &values, &output),
        Command::Completions { shell } => commands::completions::completions(shell, &output),
        Command::Man { dir } => commands::completions::man(dir.as_deref(), &output),
        Command::Test { files, filter, junit } => {
            let asked = commands::test::Asked { files: &files, filter: filter.as_deref(), junit: junit.as_deref() };
            commands::test::test(&asked, &output)
        }
        Command::Doc { files, out, values } => commands::doc::doc(&files, out.as_deref(), &values, &output),
        Command::Init { template, dir, list } => {
            commands::init::init(template.as_deref(), dir.as_deref(), list, &output)
        }
        Command::Fmt { files, check } => commands::fmt::fmt(&files, check, &output),
        Command::Plan { pipeline, work, values } => match values {
            true => commands::values::values(&pipeline, &output),
            false => commands::plan::plan(&pipeline, &work, &output),
        },
        Command::Run(args) => commands::run::run(&args, &output),
        Command::Backfill(args) => commands::backfill::backfill(&args, &output),
        Command::Why { pipeline, step, all } => commands::why::why(&pipeline, &step, all, &output),
        Command::Runs { limit } => commands::runs::runs(limit, &output),
        Command::Log { effects: true, .. } => commands::effects::effects(&output),
        Command::Log { run, step, follow, .. } => commands::log::log(run.as_deref(), step.as_deref(), follow, &output),
        Command::Lineage { what, openlineage: true, .. } => commands::lineage::openlineage(&what, &output),
        Command::Lineage { what, down, .. } => commands::lineage::lineage(&what, down, &output),
        Command::Show { what, rows, values } => commands::show::show(&what, rows, &values, &output),
        Command::Graph { pipeline, format, svg, output: file } => {
            let format = if svg { args::GraphFormat::Svg } else { format };
            commands::graph::graph(&pipeline, format, file.as_deref(), &output)
        }
        Command::Verify(args) => commands::verify::verify(&args, &output),
        Command::Gc(args) => commands::gc::gc(&args, &output),
        Command::Export(args) => commands::export::export(&args, &output),
        Command::Import(args) => commands::import::import(&args, &output),
        Command::ImportBundle(args) => commands::export::import_bundle(&args, &output),
        Command::Erase { partition, yes } => commands::erase::erase(&partition, yes, &output),
        Command::Store { action } => commands::store::store(&action, &output),
        Command::Models { action } => commands::models::models(action, &output),
        Command::Lsp { stdio: _ } => commands::lsp::lsp(),
        Command::Doctor => commands::doctor::doctor(&output),
        Command::WasmWorker => return mlp_wasm::worker_main(),
        Command::Owner { workspace, idle } => wiring::serve_owner(&workspace, idle),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}
