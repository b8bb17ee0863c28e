//! `mlp doctor`: what is found on this machine, what is missing and how to get it.

use std::process::Command;

use mlp_model::show_size;
use mlp_torch_client::{Located, locate};
use serde::Serialize;

use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring;

/// One thing that was looked for.
#[derive(Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    text: String,
    help: Option<String>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    None,
    Missing,
}

pub fn doctor(output: &Output) -> Result<Exit, Failure> {
    let located = locate();
    let findings = vec![store(), libtorch(&located), devices(&located), gpus(), transforms(), steps()];
    let n_missing = findings.iter().filter(|finding| finding.state == State::Missing).count();
    if output.json {
        output.print_json(&serde_json::json!({ "mlp": env!("CARGO_PKG_VERSION"), "findings": findings }));
    } else {
        output.print(format!("mlp {}  {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH));
        for finding in &findings {
            let state = match finding.state {
                State::Ok => "ok",
                State::None => "none",
                State::Missing => "missing",
            };
            output.print(format!("  {:<12}{state:<9}{}", finding.name, finding.text));
            if let Some(help) = &finding.help {
                output.print(format!("  {:<21}help: {help}", ""));
            }
        }
        output.print(match n_missing {
            0 => "Nothing is missing.".to_owned(),
            n => format!("{} missing.", words::plural(n, "thing")),
        });
    }
    Ok(if n_missing == 0 { Exit::Done } else { Exit::Environment })
}

/// How well the kernel keeps `sh` steps from what they do not declare.
fn steps() -> Finding {
    let name = "confinement";
    match mlp_process::confinement() {
        (text, None) => Finding { name, state: State::Ok, text: text.to_owned(), help: None },
        (text, Some(lack)) => Finding { name, state: State::None, text: text.to_owned(), help: Some(lack.to_owned()) },
    }
}

fn store() -> Finding {
    let opened = super::here().and_then(|here| open_workspace(&here)).and_then(|workspace| {
        let store = wiring::open_store(&workspace)?;
        Ok((workspace, store))
    });
    let found = opened.and_then(|(workspace, store)| {
        let stats = store.stats().map_err(wiring::store_failure)?;
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        Ok(format!(
            "{}  {}, {:.1} GiB free; {} in {:.2} GiB, {} in the journal",
            workspace.root.join(".mlp").display(),
            stats.filesystem,
            gib(stats.free_bytes),
            words::plural(stats.n_objects as usize, "object file"),
            gib(stats.objects_bytes),
            words::plural(stats.n_records as usize, "record"),
        ))
    });
    match found {
        Ok(text) => Finding { name: "store", state: State::Ok, text, help: None },
        Err(failure) => Finding { name: "store", state: State::Missing, text: failure.message, help: failure.help },
    }
}

fn libtorch(located: &Result<Located, mlp_model::StepError>) -> Finding {
    let name = "libtorch";
    match located {
        Ok(located) => {
            let side = if located.has_cuda { "CPU and CUDA" } else { "CPU" };
            let (version, folder, program) = (&located.version, located.libtorch.display(), located.program.display());
            Finding {
                name,
                state: State::Ok,
                text: format!("{version} ({side}) in {folder}, worker {program}"),
                help: None,
            }
        }
        Err(error) => Finding { name, state: State::Missing, text: error.to_string(), help: error.help.clone() },
    }
}

/// The compiler of Python transforms; what is built already runs without it.
fn transforms() -> Finding {
    let name = "transforms";
    match mlp_wasm::find_compiler() {
        Ok(tool) => Finding { name, state: State::Ok, text: format!("Python by {}", tool.display()), help: None },
        Err(error) => Finding { name, state: State::Missing, text: error.to_string(), help: error.help.clone() },
    }
}

/// The GPUs that steps can be given.
fn gpus() -> Finding {
    let finding = |state, text| Finding { name: "gpus", state, text, help: None };
    match crate::gpus::find() {
        Ok(found) => {
            let shown = found.iter().map(|gpu| format!("`{}` ({}, {})", gpu.uuid, gpu.name, show_size(gpu.mem_bytes)));
            finding(State::Ok, shown.collect::<Vec<_>>().join(", "))
        }
        Err(why) => finding(State::None, why),
    }
}

/// Asks the worker itself: only a process with libtorch loaded knows which devices it can use.
fn devices(located: &Result<Located, mlp_model::StepError>) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let cpu = words::plural(cores, "core");
    let none =
        |text: String| Finding { name: "devices", state: State::None, text: format!("{cpu}; {text}"), help: None };
    let Ok(located) = located else { return none("no GPU looked for, since libtorch is missing".to_owned()) };
    let folders = std::env::join_paths(&located.library_folders).unwrap_or_default();
    let described = Command::new(&located.program).arg("--describe").env("LD_LIBRARY_PATH", folders).output();
    let described = described.ok().filter(|output| output.status.success());
    let Some(document) = described.and_then(|output| serde_json::from_slice::<serde_json::Value>(&output.stdout).ok())
    else {
        return Finding {
            name: "devices",
            state: State::Missing,
            text: format!("{cpu}; the worker {} does not start", located.program.display()),
            help: Some("run runners/setup.sh again".to_owned()),
        };
    };
    let gpus: Vec<String> = document["devices"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|device| device["name"].as_str().map_or_else(|| device.to_string(), str::to_owned))
        .filter(|name| name != "cpu" && name != "\"cpu\"")
        .collect();
    if gpus.is_empty() {
        let why = document["why_not"].as_str().or(document["why"].as_str()).unwrap_or("no GPU that libtorch can use");
        return none(why.to_owned());
    }
    Finding { name: "devices", state: State::Ok, text: format!("{cpu}; {}", gpus.join(", ")), help: None }
}
