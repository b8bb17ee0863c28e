//! Takes the outputs of a finished step out of its folder: each must be there, be what was declared, and be the
//! step's own. Unaware of how they were made.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mlp_model::{ArtifactKind, ErrorClass, Produced, StartStep, StepError, Value};

use crate::copy::copy_file;
use crate::ended;
use crate::project::folders_above;
use crate::sandbox::Sandbox;

/// Moves the declared outputs to where they are expected, but for those that the command may leave out and did.
pub fn take(step: &StartStep, sandbox: &Sandbox) -> Result<BTreeMap<String, Produced>, StepError> {
    unlock_own(&sandbox.folder, sandbox)?;
    let target = &sandbox.outputs;
    if let Err(error) = fs::create_dir(target)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(ended::no_folder("make", &target.display().to_string(), &error));
    }

    let mut outputs = BTreeMap::new();
    'outputs: for (name, ty) in &step.outputs {
        let kind = match ty.artifact_kind() {
            Some(kind @ (ArtifactKind::File | ArtifactKind::Folder)) => kind,
            _ => {
                let message = format!("output `{name}` of a `sh` step is declared as {ty}");
                return Err(StepError::new(ErrorClass::Bug, "P2001", message));
            }
        };
        let from =
            sandbox.paths.get(name).map_or_else(|| sandbox.folder.join("out").join(name), |p| sandbox.folder.join(p));
        for folder in folders_above(&sandbox.folder, &from) {
            // `out/` is ours; other folders may be gone, and the output with them.
            if sandbox.is_placed(name) && !folder.exists() && !folder.is_symlink() {
                if is_optional(step, name) {
                    continue 'outputs;
                }
                return Err(missing(name, kind, &from, sandbox));
            }
            unlock_own(&folder, sandbox)?;
        }
        let is_absent = || fs::symlink_metadata(&from).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_optional(step, name) && is_absent() {
            continue;
        }
        let to = target.join(name);
        check(name, kind, &from, sandbox)?;
        let tidied = if kind == ArtifactKind::Folder { tidy_folder(&from, sandbox) } else { tidy_file(&from, sandbox) };
        tidied?;
        fs::rename(&from, &to).map_err(|error| ended::no_folder("take", &shown(&from, sandbox), &error))?;
        outputs.insert(name.clone(), Produced { kind, path: to });
    }
    Ok(outputs)
}

/// Returns whether the command may leave an output out: it is a `file?` or a `folder?`.
fn is_optional(step: &StartStep, output: &str) -> bool {
    let declared = step.params.get("outputs").and_then(Value::as_record).and_then(|outputs| outputs.get(output));
    declared.and_then(Value::as_str).is_some_and(|kind| kind.ends_with('?'))
}

/// Makes a folder of the step accessible. The command could have put anything in its place.
fn unlock_own(folder: &Path, sandbox: &Sandbox) -> Result<(), StepError> {
    let Some(found) = fs::symlink_metadata(folder).ok().filter(Metadata::is_dir) else {
        let message = format!("the command removed or replaced its own folder `{}`", shown(folder, sandbox));
        return Err(step_error("P2013", message));
    };
    unlock(folder, &found).map_err(|error| ended::no_folder("read", &shown(folder, sandbox), &error))
}

fn check(name: &str, kind: ArtifactKind, path: &Path, sandbox: &Sandbox) -> Result<(), StepError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(name, kind, path, sandbox)),
        Err(error) => return Err(ended::no_folder("read", &shown(path, sandbox), &error)),
    };
    match kind {
        ArtifactKind::Folder if found.is_dir() => Ok(()),
        ArtifactKind::File if found.is_file() => Ok(()),
        ArtifactKind::Folder if found.is_file() => {
            let message = format!("output `{name}` is declared as a folder, but the command made a file");
            Err(step_error("P2012", message).with_help(format!("declare it so: `outputs: {{ {name}: file }}`")))
        }
        ArtifactKind::File if found.is_dir() => {
            let message = format!("output `{name}` is declared as a file, but the command made a folder");
            Err(step_error("P2012", message).with_help(format!("declare it so: `outputs: {{ {name}: folder }}`")))
        }
        _ => Err(refused(&format!("output `{name}`"), &found)),
    }
}

fn missing(name: &str, kind: ArtifactKind, path: &Path, sandbox: &Sandbox) -> StepError {
    let beside = path.parent().unwrap_or(&sandbox.folder);
    let mut others: Vec<String> = fs::read_dir(beside)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| format!("made: {}", shown(&entry.path(), sandbox)))
        .take(20)
        .collect();
    others.sort();
    let what = if kind == ArtifactKind::Folder { "folder" } else { "file" };
    step_error("P2011", format!("the command succeeded, but did not make its output `{name}`"))
        .with_detail(others)
        .with_help(format!(
            "it must make the {what} that `{{{name}}}` stands for, `{}`, under exactly this name; if it may leave it out, \
             write `outputs: {{ {name}: {what}? }}`",
            shown(path, sandbox)
        ))
}

/// Checks everything in a folder, and makes it plain.
fn tidy_folder(folder: &Path, sandbox: &Sandbox) -> Result<(), StepError> {
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let trouble = |error: io::Error| ended::no_folder("read", &shown(&folder, sandbox), &error);
        unlock(&folder, &fs::symlink_metadata(&folder).map_err(trouble)?).map_err(trouble)?;
        for entry in fs::read_dir(&folder).map_err(trouble)? {
            let path = entry.map_err(trouble)?.path();
            let found = fs::symlink_metadata(&path).map_err(trouble)?;
            if path.file_name().and_then(|name| name.to_str()).is_none() {
                let message = format!("the name of `{}` is not UTF-8", shown(&path, sandbox));
                return Err(step_error("P2014", message).with_help("give the file another name"));
            }
            if found.is_dir() {
                open.push(path);
            } else if found.is_file() {
                tidy_file(&path, sandbox)?;
            } else {
                return Err(refused(&format!("`{}`", shown(&path, sandbox)), &found));
            }
        }
    }
    Ok(())
}

/// Makes a file the step's own, and its mode one of two.
fn tidy_file(path: &Path, sandbox: &Sandbox) -> Result<(), StepError> {
    let tidy = || -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        let mode = if found.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        if found.permissions().mode() & 0o7777 != mode {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        if found.nlink() > 1 {
            // Whoever holds the other name could change the result later: it gets bytes of its own.
            let own = sandbox.folder.with_file_name("own");
            copy_file(path, found.len(), &own, mode, &|| true)?;
            fs::rename(&own, path)?;
        }
        Ok(())
    };
    tidy().map_err(|error| ended::no_folder("read", &shown(path, sandbox), &error))
}

fn unlock(folder: &Path, found: &Metadata) -> io::Result<()> {
    if found.permissions().mode() & 0o7777 == 0o755 {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

fn refused(what: &str, found: &Metadata) -> StepError {
    let kind = found.file_type();
    if kind.is_symlink() {
        return step_error("P2012", format!("{what} is a link; an output must hold its own bytes"))
            .with_help("copy what it points to instead: `cp -rL`");
    }
    let kind = if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    step_error("P2012", format!("{what} is {kind}; an output consists of files and folders"))
        .with_help("make it elsewhere, such as in `$TMPDIR`")
}

fn step_error(code: &str, message: String) -> StepError {
    StepError::new(ErrorClass::Step, code, message)
}

/// Names a path as the command sees it.
fn shown(path: &Path, sandbox: &Sandbox) -> String {
    let relative = path.strip_prefix(&sandbox.folder).unwrap_or(path);
    if relative.as_os_str().is_empty() { ".".to_owned() } else { relative.to_string_lossy().into_owned() }
}
