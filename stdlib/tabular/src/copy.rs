//! `file` and `folder`: bytes from outside become artifacts as they are.
//!
//! The file system shares the blocks where it can (reflink); else the bytes are copied.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mlp_model::{ErrorClass, Facts, InputFile, SmallFiles, StartStep, StepError};

use crate::context::Context;
use crate::error::{cannot_read, cannot_write, input};

const CHUNK_BYTES: u64 = 8 << 20;

pub(crate) fn file(step: &StartStep, ctx: &Context, out: &Path) -> Result<Facts, StepError> {
    let source = input(step, "path")?;
    let failed = |error: Failure| error.told(&source.shown);
    copy(&source.path, out, Some(source.size_bytes), ctx).map_err(failed)?;
    Ok(size(source))
}

/// As [`file()`], in memory; returns also where the bytes are put.
pub(crate) fn small_file(step: &StartStep, files: &SmallFiles) -> Result<(Facts, PathBuf), StepError> {
    let source = input(step, "path")?;
    let len = usize::try_from(source.size_bytes).unwrap_or(usize::MAX);
    let mut bytes = fs::read(&source.path).map_err(|error| cannot_read(&source.shown, &error))?;
    if bytes.len() < len {
        return Err(cannot_read(&source.shown, &io::ErrorKind::UnexpectedEof.into()));
    }
    bytes.truncate(len);
    let path = step.work_dir.join("out");
    files.put(path.clone(), bytes.into());
    Ok((size(source), path))
}

fn size(source: &InputFile) -> Facts {
    Facts::from([("bytes".into(), source.size_bytes as f64)])
}

pub(crate) fn folder(step: &StartStep, ctx: &Context, out: &Path) -> Result<Facts, StepError> {
    let source = input(step, "path")?;
    let mut total = Total::default();
    copy_folder(&source.path, out, &source.shown, ctx, &mut total)?;
    Ok(Facts::from([("files".into(), total.n_files as f64), ("bytes".into(), total.n_bytes as f64)]))
}

#[derive(Default)]
struct Total {
    n_files: u64,
    n_bytes: u64,
}

/// Which side of a copy failed.
enum Failure {
    Read(io::Error),
    Write(io::Error),
    Stopped(StepError),
}

impl Failure {
    fn told(self, shown: &str) -> StepError {
        match self {
            Self::Read(error) => cannot_read(shown, &error),
            Self::Write(error) => cannot_write(&error),
            Self::Stopped(error) => error,
        }
    }
}

/// Copies the first `size_bytes` bytes, or all.
fn copy(from: &Path, to: &Path, size_bytes: Option<u64>, ctx: &Context) -> Result<u64, Failure> {
    let mut source = File::open(from).map_err(Failure::Read)?;
    let mut target = File::create(to).map_err(Failure::Write)?;
    let metadata = source.metadata().map_err(Failure::Read)?;
    if metadata.is_dir() {
        return Err(Failure::Read(io::ErrorKind::IsADirectory.into()));
    }
    let size_bytes = size_bytes.unwrap_or(metadata.len());
    if metadata.len() < size_bytes {
        return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
    }
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        target.set_len(size_bytes).map_err(Failure::Write)?;
        return Ok(size_bytes);
    }
    let mut n_left = size_bytes;
    while n_left > 0 {
        ctx.check().map_err(Failure::Stopped)?;
        let n = n_left.min(CHUNK_BYTES);
        let copied = io::copy(&mut (&mut source).take(n), &mut target).map_err(Failure::Write)?;
        if copied < n {
            return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        n_left -= n;
    }
    target.flush().map_err(Failure::Write)?;
    Ok(size_bytes)
}

fn copy_folder(from: &Path, to: &Path, shown: &str, ctx: &Context, total: &mut Total) -> Result<(), StepError> {
    ctx.check()?;
    fs::create_dir(to).map_err(|error| cannot_write(&error))?;
    let entries = fs::read_dir(from).map_err(|error| cannot_read(shown, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| cannot_read(shown, &error))?;
        let name = entry.file_name();
        let shown = format!("{}/{}", shown.trim_end_matches('/'), name.to_string_lossy());
        let refused = |what: &str| {
            let message = format!("`{shown}` {what}");
            Err(StepError::new(ErrorClass::User, "D1109", message)
                .with_argument("path")
                .with_help("a folder may hold plain files and folders, with names in UTF-8"))
        };
        if name.to_str().is_none() {
            return refused("has a name that is not UTF-8");
        }
        let kind = entry.file_type().map_err(|error| cannot_read(&shown, &error))?;
        let target = to.join(&name);
        if kind.is_dir() {
            copy_folder(&entry.path(), &target, &shown, ctx, total)?;
        } else if kind.is_file() {
            total.n_bytes += copy(&entry.path(), &target, None, ctx).map_err(|error| error.told(&shown))?;
            total.n_files += 1;
            let mode = entry.metadata().map_err(|error| cannot_read(&shown, &error))?.permissions().mode();
            let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(|error| cannot_write(&error))?;
        } else {
            return refused(if kind.is_symlink() { "is a symbolic link" } else { "is neither a file nor a folder" });
        }
    }
    Ok(())
}
