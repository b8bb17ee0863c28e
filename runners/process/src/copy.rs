//! Copies of files and folders that share nothing writable with what they are made of. Unaware of their meaning.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::ioctl_ficlone;

/// Copied between two looks at whether to go on.
const CHUNK_BYTES: u64 = 32 << 20;

/// Copies the first `size_bytes` bytes of `from` to the new file `to`: by reference where the filesystem can, so that
/// it costs neither time nor space. `go_on` is asked now and then.
pub fn copy_file(from: &Path, size_bytes: u64, to: &Path, mode: u32, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    copy_into(File::create_new(to)?, from, size_bytes, mode, go_on)
}

/// As [`copy_file`], into an empty file.
pub fn copy_into(
    mut target: File,
    from: &Path,
    size_bytes: u64,
    mode: u32,
    go_on: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut source = File::open(from)?;
    let source_bytes = source.metadata()?.len();
    if source_bytes < size_bytes {
        return Err(io::Error::new(
            ErrorKind::UnexpectedEof,
            format!("it has {source_bytes} bytes instead of {size_bytes}"),
        ));
    }
    if ioctl_ficlone(&target, &source).is_ok() {
        target.set_len(size_bytes)?;
    } else {
        let mut left_bytes = size_bytes;
        while left_bytes > 0 {
            if !go_on() {
                return Err(ErrorKind::Interrupted.into());
            }
            let copied = io::copy(&mut (&mut source).take(left_bytes.min(CHUNK_BYTES)), &mut target)?;
            if copied == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "it became shorter while it was read"));
            }
            left_bytes -= copied;
        }
    }
    target.set_permissions(Permissions::from_mode(mode))
}

/// Copies a folder of files and folders; files become read-only and stay executable. A link to a file counts as that
/// file, as it does where folders are hashed.
pub fn copy_folder(from: &Path, to: &Path, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    let mut open = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = open.pop() {
        fs::create_dir(&to)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let found = fs::metadata(&from)?;
            if found.is_dir() && !entry.file_type()?.is_symlink() {
                open.push((from, to));
            } else if found.is_file() {
                let mode = if found.permissions().mode() & 0o100 == 0 { 0o444 } else { 0o555 };
                copy_file(&from, found.len(), &to, mode, go_on)?;
            } else {
                let what = format!("`{}` is neither a file nor a folder", from.display());
                return Err(io::Error::new(ErrorKind::InvalidInput, what));
            }
        }
    }
    Ok(())
}
