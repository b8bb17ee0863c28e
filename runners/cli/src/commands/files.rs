//! Which files a command means that takes many: those named, all below a named folder, or all of the workspace.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::here;
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::Failure;

/// A folder that holds a file of this name has nothing for mlp, whatever its files are called.
const IGNORE_FILE: &str = ".mlpignore";

/// Folders of build tools, which may hold copies of pipelines.
const SKIPPED: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// Returns the pipeline files that the arguments mean, in order, each once. A named file is taken whatever it is called.
pub fn pipelines(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if arguments.is_empty() {
        let here = here()?;
        let root = open_workspace(&here)?.root;
        let files = below(&root)?;
        if files.is_empty() {
            return Err(Failure::usage(format!("there is no `.mlp` file in the workspace `{}`", root.display()))
                .with_help("name a file or a folder"));
        }
        let short = |file: PathBuf| file.strip_prefix(&here).map(Path::to_owned).unwrap_or(file);
        return Ok(files.into_iter().map(short).collect());
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for argument in arguments {
        let found = if argument.is_dir() {
            let found = below(argument)?;
            if found.is_empty() {
                return Err(Failure::usage(format!("there is no `.mlp` file in `{}`", argument.display())));
            }
            found
        } else if argument.exists() {
            vec![argument.clone()]
        } else {
            return Err(Failure::usage(format!("cannot read `{}`: file not found", argument.display())));
        };
        for file in found {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Returns the `.mlp` files below a folder, sorted; without hidden folders and what git ignores.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = |e: std::io::Error| {
            Failure::new(Exit::Environment, format!("cannot look into `{}`: {e}", folder.display()))
        };
        if folder.join(IGNORE_FILE).exists() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            // Links to folders are not followed: they may lead in a circle.
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&&*name) {
                    folders.push(path);
                }
            } else if path.extension() == Some(OsStr::new("mlp")) && path.is_file() {
                files.push(path);
            }
        }
    }
    let ignored = ignored_by_git(folder, &files);
    files.retain(|file| !ignored.contains(file));
    files.sort();
    Ok(files)
}

/// Asks git which of the files it ignores; none where there is no git or no repository.
fn ignored_by_git(folder: &Path, files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let Ok(absolute) = files.iter().map(std::path::absolute).collect::<Result<Vec<_>, _>>() else {
        return BTreeSet::new();
    };
    let git = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["check-ignore", "--stdin", "-z"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut git) = git else { return BTreeSet::new() };
    let input: Vec<u8> = absolute.iter().flat_map(|file| [file.as_os_str().as_bytes(), b"\0"].concat()).collect();
    // In a thread of its own: git answers while it reads.
    let stdin = git.stdin.take();
    let writer = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let answer = git.wait_with_output();
    let _ = writer.join();
    let Ok(answer) = answer else { return BTreeSet::new() };
    let ignored: BTreeSet<PathBuf> = answer
        .stdout
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())))
        .collect();
    files
        .iter()
        .zip(&absolute)
        .filter(|(_, absolute)| ignored.contains(*absolute))
        .map(|(file, _)| file.clone())
        .collect()
}
