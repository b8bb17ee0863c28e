//! The values of secrets, which pipelines know by name only: from the environment, or from where `mlp.yaml` says. Asked for
//! once a run, and never told to anybody but the runner of the step that names it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use mlp_model::{ErrorClass, StepError};
use mlp_process::Secrets;

use crate::settings::{SETTINGS_FILE, SecretFrom, Settings};

/// Begins the variables that hold secrets.
const VARIABLE: &str = "MLP_SECRET_";

/// Returns whether a variable of this name holds a secret.
pub fn is_secret(variable: &OsString) -> bool {
    variable.as_bytes().starts_with(VARIABLE.as_bytes())
}

/// Where the secrets of a workspace come from.
struct Source {
    root: PathBuf,
    /// What was found. A command is not asked twice.
    found: Mutex<HashMap<String, Result<Vec<u8>, StepError>>>,
}

/// Returns what tells the secrets of a workspace.
pub fn secrets(root: &Path) -> Secrets {
    let source = Source { root: root.to_owned(), found: Mutex::default() };
    Arc::new(move |name| source.get(name))
}

impl Source {
    fn get(&self, name: &str) -> Result<Vec<u8>, StepError> {
        // Held while it is found out: steps that start together ask once.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.entry(name.to_owned()).or_insert_with(|| self.find(name)).clone()
    }

    fn find(&self, name: &str) -> Result<Vec<u8>, StepError> {
        let variable = format!("{VARIABLE}{name}");
        let said = || {
            let settings = Settings::read(&self.root.join(SETTINGS_FILE));
            settings.map(|mut settings| settings.secrets.remove(name)).map_err(|e| missing(name, e.to_string()))
        };
        let (value, from) = match (std::env::var_os(&variable), said()?) {
            (Some(value), _) => (value.as_bytes().to_vec(), format!("`{variable}`")),
            (None, Some(SecretFrom::File(path))) => {
                let path = self.root.join(path);
                let read = std::fs::read(&path);
                let trouble = |e: std::io::Error| missing(name, format!("`{}` cannot be read: {e}", path.display()));
                (without_line_break(read.map_err(trouble)?), format!("`{}`", path.display()))
            }
            (None, Some(SecretFrom::Command(command))) => {
                (without_line_break(self.ask(name, &command)?), "its command".to_owned())
            }
            (None, None) => {
                let help = format!(
                    "set `{variable}`, or say in {SETTINGS_FILE} where it comes from: \
                     `secrets: {{ {name}: {{ file: /run/secrets/{name} }} }}`"
                );
                return Err(missing(name, "nothing gives it a value".to_owned()).with_help(help));
            }
        };
        if value.is_empty() || value.contains(&0) {
            let what =
                if value.is_empty() { "is empty" } else { "holds a NUL character, which no program can be given" };
            return Err(missing(name, format!("what {from} gives {what}")));
        }
        Ok(value)
    }

    /// Runs the command that tells a secret. What it prints on standard error is the user's to see, and not kept.
    fn ask(&self, name: &str, command: &str) -> Result<Vec<u8>, StepError> {
        let ran = Command::new("/bin/sh")
            .args([OsStr::new("-e"), OsStr::new("-c"), OsStr::new(command)])
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| missing(name, format!("its command cannot be run: {e}")))?;
        if !ran.status.success() {
            return Err(missing(name, format!("its command failed: {}", ran.status)));
        }
        Ok(ran.stdout)
    }
}

fn missing(name: &str, why: String) -> StepError {
    StepError::new(ErrorClass::Environment, "P2016", format!("secret `{name}` is not there: {why}"))
        .with_argument("env")
        .with_help(format!("`secrets` in {SETTINGS_FILE} says where it comes from"))
}

fn without_line_break(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}
