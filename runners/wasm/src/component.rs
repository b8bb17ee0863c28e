//! Python source to component, on first use.
//!
//! A component is kept under the digest of all that decides its behaviour: the source, the kit and the compiler's
//! version. Its bytes differ from build to build (they hold file times), its behaviour does not.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mlp_model::{ErrorClass, StepError};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Deserialize;

use crate::fail;
use crate::kit;
use crate::settings::Settings;
use crate::{cache, guest};

/// The largest component that is built or run.
pub const MAX_BYTES: u64 = 64 << 20;
/// How many components are kept.
const MAX_KEPT: usize = 64;
/// How many lines of the compiler's output are told.
const MAX_LINES: usize = 20;

/// Returns the componentize-py that Python transforms are built with, if it is there and of the right version.
pub fn find_compiler() -> Result<PathBuf, StepError> {
    find_tool(&Settings::from_env()?.tools)
}

/// Returns the component of a Python source; builds it if need be. `say` is told of what takes time.
pub fn of_python(
    settings: &Settings,
    source: &[u8],
    shown: &str,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, StepError> {
    let folder = cache::private_folder(&settings.cache, "components")?;
    let name = key(source);
    let path = folder.join(format!("{name}.wasm"));
    let kept = || cache::read(&path, MAX_BYTES).map_err(|error| fail::cache(&path, "read", &error));
    if let Some(component) = kept()? {
        cache::touch(&path);
        return Ok(component);
    }
    let tool = find_tool(&settings.tools)?;
    let lock_file = folder.join(format!("{name}.lock"));
    let _lock = cache::lock(&lock_file).map_err(|error| fail::cache(&lock_file, "lock", &error))?;
    // Another process may have built it meanwhile.
    if let Some(component) = kept()? {
        return Ok(component);
    }
    say("building the transform, once; this takes about half a minute");
    let component = build(&tool, &folder, source, shown)?;
    cache::write(&path, &[&component]).map_err(|error| fail::cache(&path, "write", &error))?;
    cache::prune(&folder, ".wasm", MAX_KEPT);
    Ok(component)
}

/// Names a component by everything that decides its behaviour.
fn key(source: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("mlp 2026 component of a Python transform, layout 1");
    for part in [source, &kit::digest().0, kit::COMPONENTIZE_PY.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

fn find_tool(candidates: &[PathBuf]) -> Result<PathBuf, StepError> {
    let tool = candidates.iter().find(|path| path.is_file()).ok_or_else(|| fail::no_tool(candidates))?;
    let output = Command::new(tool).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|error| fail::tool_does_not_start(tool, &error))?;
    let found = String::from_utf8_lossy(&output.stdout);
    if found.split_whitespace().last() == Some(kit::COMPONENTIZE_PY) {
        return Ok(tool.clone());
    }
    let found = guest::readable(&found, 80);
    Err(fail::wrong_tool(tool, if found.is_empty() { "something else" } else { &found }))
}

fn build(tool: &Path, folder: &Path, source: &[u8], shown: &str) -> Result<Vec<u8>, StepError> {
    let scratch = tempfile::Builder::new().prefix(".new-").tempdir_in(folder);
    let scratch = scratch.map_err(|error| fail::cache(folder, "write", &error))?;
    let out = scratch.path().join("component.wasm");
    let output = run_tool(tool, scratch.path(), source, &out);
    let output = output.map_err(|error| fail::cache(scratch.path(), "build in", &error))?;
    if !output.status.success() {
        return Err(explain(&String::from_utf8_lossy(&output.stderr), output.status, source, shown));
    }
    match cache::read(&out, MAX_BYTES) {
        Ok(Some(component)) => Ok(component),
        Ok(None) => Err(fail::build(&format!("it is larger than {} MiB", MAX_BYTES >> 20), Vec::new())),
        Err(error) => Err(fail::cache(&out, "read", &error)),
    }
}

fn run_tool(tool: &Path, scratch: &Path, source: &[u8], out: &Path) -> io::Result<std::process::Output> {
    let kit = kit::write_to(scratch)?;
    let user = scratch.join("user");
    fs::create_dir(&user)?;
    fs::write(user.join(kit::SOURCE_FILE), source)?;

    let mut command = Command::new(tool);
    command.args(["--quiet", "--world", kit::WORLD, "--wit-path"]).arg(&kit.wit);
    command.args(["componentize", kit::GUEST_MODULE, "--stub-wasi", "--output"]).arg(out);
    for path in kit.python.iter().chain([&user]) {
        command.arg("--python-path").arg(path);
    }
    // What surrounds the build must not decide what is built: no VIRTUAL_ENV, no PYTHONPATH.
    command.env_clear();
    for variable in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
    command.env("HOME", scratch).env("TMPDIR", scratch).env("LC_ALL", "C.UTF-8").env("LD_PRELOAD", &kit.entropy);
    command.env("PYTHONHASHSEED", "0").env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONNOUSERSITE", "1");
    command.current_dir(scratch).stdin(Stdio::null());
    // SAFETY: between fork and exec only one system call is made; nothing is allocated.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command.output()
}

/// What the guest tells when the source cannot be loaded.
#[derive(Deserialize)]
struct GuestError {
    kind: String,
    message: String,
    frames: Vec<(u32, String)>,
}

fn explain(stderr: &str, status: std::process::ExitStatus, source: &[u8], shown: &str) -> StepError {
    let told = stderr.lines().find_map(|line| line.trim().strip_prefix("mlp-guest "));
    let Some(told) = told.and_then(|json| serde_json::from_str::<GuestError>(json).ok()) else {
        let useful = stderr.lines().map(str::trim_end).take_while(|line| !line.contains("Stack backtrace:"));
        let mut lines: Vec<_> = useful.filter(|l| !l.trim().is_empty()).map(|l| guest::readable(l, 300)).collect();
        let n_surplus = lines.len().saturating_sub(MAX_LINES);
        lines.drain(..n_surplus);
        return fail::build(&format!("componentize-py ended with {status}"), lines);
    };
    let message = guest::readable(&told.message, 500);
    let help = match told.kind.as_str() {
        "ModuleNotFoundError" | "ImportError" => {
            "a transform can import Python's standard library and `mlp`, nothing else; it is a single file"
        }
        "" => "mark the one function that takes the batch: `@transform`",
        _ => "the file runs in ordinary Python too: put `runners/wasm/sdk/python` on PYTHONPATH and try it",
    };
    let message = if told.kind.is_empty() {
        format!("`{shown}` is no transform: {message}")
    } else {
        format!("`{shown}` cannot be loaded: {}: {message}", guest::readable(&told.kind, 80))
    };
    let frames: Vec<_> = told.frames.into_iter().map(|(line, function)| guest::Place { line, function }).collect();
    StepError::new(ErrorClass::User, "W3201", message)
        .with_argument("source")
        .with_detail(guest::traceback(&frames, shown, source))
        .with_help(help)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn the_key_changes_with_the_source_alone() {
        assert_eq!(key(b"a"), key(b"a"));
        assert_ne!(key(b"a"), key(b"b"));
    }

    #[test]
    fn a_mistake_in_the_source_is_told_with_its_line() {
        let stderr = "Traceback (most recent call last):\nAssertionError: \nmlp-guest {\"kind\": \"NameError\", \
                      \"message\": \"name 'mat' is not defined\", \"frames\": [[2, \"<module>\"]]}\n\nStack backtrace:";
        let error = explain(stderr, ExitStatus::from_raw(256), b"import math\nx = mat.pi\n", "t/clean.py");
        assert_eq!(error.class, ErrorClass::User);
        assert_eq!(error.message, "`t/clean.py` cannot be loaded: NameError: name 'mat' is not defined");
        assert_eq!(error.detail, ["`t/clean.py`, line 2", "    x = mat.pi"]);
    }

    #[test]
    fn trouble_of_the_compiler_is_told_without_its_backtrace() {
        let stderr = "\nError: no space left on device\n\nStack backtrace:\n   0: anyhow\n";
        let error = explain(stderr, ExitStatus::from_raw(256), b"", "t.py");
        assert_eq!(error.class, ErrorClass::Environment);
        assert_eq!(error.detail, ["Error: no space left on device"]);
    }

    #[test]
    fn a_missing_or_other_compiler_is_told_with_the_way_out() {
        let error = find_tool(&["/nowhere/componentize-py".into()]).unwrap_err();
        assert_eq!(error.class, ErrorClass::Environment);
        assert!(error.help.unwrap().contains("runners/setup.sh"));
        let error = find_tool(&["/bin/echo".into()]).unwrap_err();
        assert!(error.message.starts_with("`/bin/echo` is "), "{error}");
        assert!(error.message.contains(kit::COMPONENTIZE_PY), "{error}");
    }
}
