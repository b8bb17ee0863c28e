//! `file` and `folder`: copies that later changes of the original cannot reach.
//!
//! Whether the original changed while it was copied is for the engine to notice: it knows what it looked like before.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use mlp_model::{ArtifactKind, ErrorClass, Facts, Outcome, Produced, StepError};

use crate::builtin::Work;

/// How much is copied between two looks at whether to go on.
const CHUNK_BYTES: u64 = 64 << 20;

pub(crate) fn run_file(work: &Work<'_>) -> Result<Outcome, StepError> {
    let original = work.input("path")?;
    let facts = [("size_bytes", original.size_bytes)];
    if work.is_in_memory() {
        let bytes = work.bytes("path")?;
        let n_missing = original.size_bytes.saturating_sub(bytes.len() as u64);
        if n_missing > 0 {
            return Err(ends_early(work, n_missing));
        }
        work.write("out", bytes)?;
        return Ok(outcome(work, ArtifactKind::File, &facts));
    }
    let mut from = File::open(&original.path).map_err(|error| work.cannot_read("path", error))?;
    let mut to = File::create_new(work.output_path("out")).map_err(|error| work.cannot_write("out", error))?;
    let mut left = original.size_bytes;
    while left > 0 {
        work.go_on()?;
        let mut chunk = (&mut from).take(left.min(CHUNK_BYTES));
        let n_copied = io::copy(&mut chunk, &mut to).map_err(|error| work.cannot_write("out", error))?;
        if n_copied == 0 {
            return Err(ends_early(work, left));
        }
        left -= n_copied;
    }
    Ok(outcome(work, ArtifactKind::File, &facts))
}

fn ends_early(work: &Work<'_>, n_missing: u64) -> StepError {
    work.cannot_read("path", format!("it ends {n_missing} bytes early"))
}

pub(crate) fn run_folder(work: &Work<'_>) -> Result<Outcome, StepError> {
    let original = work.input("path")?;
    let mut copied = Copied::default();
    copy_folder(work, &original.path, &work.output_path("out"), &mut copied)?;
    Ok(outcome(work, ArtifactKind::Folder, &[("files", copied.n_files), ("size_bytes", copied.size_bytes)]))
}

/// Copies input `name`, whatever it is, to output `out`.
pub(crate) fn copy_artifact(work: &Work<'_>, name: &str, kind: ArtifactKind) -> Result<(), StepError> {
    let original = work.input(name)?;
    let to = work.output_path("out");
    if kind == ArtifactKind::Folder {
        return copy_folder(work, &original.path, &to, &mut Copied::default());
    }
    if work.is_in_memory() {
        return work.write("out", work.bytes(name)?).map(|_| ());
    }
    // An object is longer than what it holds.
    let from = File::open(&original.path).map_err(|error| work.cannot_read(name, error))?;
    let mut to = File::create_new(to).map_err(|error| work.cannot_write("out", error))?;
    let n_copied = io::copy(&mut from.take(original.size_bytes), &mut to);
    n_copied.map(|_| ()).map_err(|error| work.cannot_write("out", error))
}

fn outcome(work: &Work<'_>, kind: ArtifactKind, facts: &[(&str, u64)]) -> Outcome {
    let produced = Produced { kind, path: work.output_path("out") };
    let facts: Facts = facts.iter().map(|(name, n)| ((*name).to_owned(), *n as f64)).collect();
    Outcome { outputs: [("out".into(), produced)].into(), facts, ..Outcome::default() }
}

#[derive(Default)]
struct Copied {
    n_files: u64,
    size_bytes: u64,
}

/// Copies what is below `from`. A link to a file counts as that file.
fn copy_folder(work: &Work<'_>, from: &Path, to: &Path, copied: &mut Copied) -> Result<(), StepError> {
    let unreadable = |error: io::Error| work.cannot_read("path", error);
    fs::create_dir(to).map_err(|error| work.cannot_write("out", error))?;
    for entry in fs::read_dir(from).map_err(unreadable)? {
        work.go_on()?;
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(work, &from, &to, copied)?;
        } else if fs::metadata(&from).map_err(unreadable)?.is_file() {
            copied.n_files += 1;
            // Permissions come along: whether a file is executable is part of the result.
            copied.size_bytes += fs::copy(&from, &to).map_err(|error| work.cannot_write("out", error))?;
        } else {
            return Err(no_file(work, &from)?);
        }
    }
    Ok(())
}

fn no_file(work: &Work<'_>, path: &Path) -> Result<StepError, StepError> {
    let folder = work.input("path")?;
    let shown = path.strip_prefix(&folder.path).unwrap_or(path).display();
    let message = format!("`{shown}` in folder `{}` is neither a file nor a folder", folder.shown);
    let error = StepError::new(ErrorClass::User, "D1142", message).with_argument("path");
    Ok(error.with_help(
        "links to folders, devices and sockets have no bytes of their own: replace it by a file, or move it out",
    ))
}
