//! Copies an artifact to an output as it is.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use mlp_model::{ArtifactKind, StepError};

use crate::builtin::Work;

/// Copies input `name`, whatever it is, to output `out`.
pub(crate) fn copy_artifact(work: &Work<'_>, name: &str, kind: ArtifactKind) -> Result<(), StepError> {
    let original = work.input(name)?;
    let to = work.output_path("out");
    if kind == ArtifactKind::Folder {
        return copy_folder(work, name, &original.path, &to);
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

/// Copies what is below `from`: files and folders, as the store has laid them out.
fn copy_folder(work: &Work<'_>, name: &str, from: &Path, to: &Path) -> Result<(), StepError> {
    let unreadable = |error: io::Error| work.cannot_read(name, error);
    fs::create_dir(to).map_err(|error| work.cannot_write("out", error))?;
    for entry in fs::read_dir(from).map_err(unreadable)? {
        work.go_on()?;
        let entry = entry.map_err(unreadable)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(unreadable)?.is_dir() {
            copy_folder(work, name, &from, &to)?;
        } else {
            // Permissions come along: whether a file is executable is part of the result.
            fs::copy(&from, &to).map_err(|error| work.cannot_write("out", error))?;
        }
    }
    Ok(())
}
