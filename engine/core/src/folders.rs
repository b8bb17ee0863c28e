//! Folders as artifacts: reads a folder's files into a manifest, brings one into the store, lays one out again.
//!
//! The manifest's own form is `mlp-artifact`'s. Empty folders are no part of an artifact.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mlp_artifact::folder::{Entry, FolderError, Manifest};
use mlp_model::{Digest, ObjectFile, Sensitivity, Store, StoreError};
use rustix::fs::ioctl_ficlone;

use crate::fault::{io_trouble, plain_words};
use crate::shared_out::by_shares;

/// Why a folder cannot be an artifact.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderTrouble {
    #[error("cannot read `{path}`: {message}")]
    Unreadable { path: String, message: String },
    #[error("`{path}` is {what}; a folder may hold files and folders")]
    NoFile { path: String, what: &'static str },
    #[error("the name of `{path}` is not UTF-8")]
    Name { path: String },
    #[error(transparent)]
    Manifest(#[from] FolderError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to do about a link inside the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// A link to a file counts as that file.
    Follow,
    /// An output must not point out of its work folder.
    Refuse,
}

/// One file that was found.
struct Found {
    /// Below the folder, with `/` between names.
    name: String,
    path: PathBuf,
    executable: bool,
}

/// Digests every file below `folder`, without storing it.
pub(crate) fn scan(store: &dyn Store, folder: &Path) -> Result<Manifest, FolderTrouble> {
    list(store, folder, Links::Follow)
}

fn list(store: &dyn Store, folder: &Path, links: Links) -> Result<Manifest, FolderTrouble> {
    let files = find_files(folder, links)?;
    let digests = by_shares(&files, |share| {
        let paths: Vec<&Path> = share.iter().map(|file| file.path.as_path()).collect();
        store.digest_files(&paths)
    });
    manifest(files, digests)
}

fn manifest(files: Vec<Found>, digests: Vec<Result<(Digest, u64), StoreError>>) -> Result<Manifest, FolderTrouble> {
    let entry = |(file, digest): (Found, Result<(Digest, u64), StoreError>)| {
        let (digest, size_bytes) = digest?;
        Ok::<_, FolderTrouble>(Entry { path: file.name, digest, size_bytes, executable: file.executable })
    };
    Ok(Manifest::new(files.into_iter().zip(digests).map(entry).collect::<Result<_, _>>()?)?)
}

/// Digests every file below an output's folder, without storing it.
pub(crate) fn digest(store: &dyn Store, folder: &Path) -> Result<Manifest, FolderTrouble> {
    list(store, folder, Links::Refuse)
}

/// Moves every file below `folder` into the store and stores the manifest; returns its digest and size.
pub(crate) fn adopt(
    store: &dyn Store,
    folder: &Path,
    (kept, partitions): (Sensitivity, &[String]),
) -> Result<(Digest, u64), FolderTrouble> {
    let files = find_files(folder, Links::Refuse)?;
    let adopted =
        by_shares(&files, |share| share.iter().map(|file| store.adopt(&file.path, kept, partitions)).collect());
    let bytes = manifest(files, adopted)?.to_bytes();
    // Names of files may be values, too.
    Ok((store.put_data(&bytes, kept, partitions)?, bytes.len() as u64))
}

/// Lays a stored folder out under `target`, which must not exist, as read-only copies. Returns the size of its files.
pub(crate) fn lay_out(store: &dyn Store, manifest: &Manifest, target: &Path) -> Result<u64, StoreError> {
    let folders: BTreeSet<&Path> =
        manifest.entries.iter().filter_map(|entry| Path::new(&entry.path).parent()).collect();
    for folder in std::iter::once(target.to_owned()).chain(folders.iter().map(|folder| target.join(folder))) {
        fs::create_dir_all(&folder).map_err(|error| io_trouble("make", &folder, &error))?;
    }
    let written = by_shares(&manifest.entries, |share| {
        let digests: Vec<Digest> = share.iter().map(|entry| entry.digest).collect();
        let objects = store.objects(&digests).into_iter().zip(share);
        objects.map(|(object, entry)| lay_out_file(object, entry, &target.join(&entry.path))).collect()
    });
    written.into_iter().sum()
}

/// Copies an object to `path`, a new file. Returns its size.
fn lay_out_file(object: Result<Option<ObjectFile>, StoreError>, entry: &Entry, path: &Path) -> Result<u64, StoreError> {
    let object = object?.ok_or_else(|| StoreError::Io {
        action: "find the object of".to_owned(),
        path: entry.path.clone(),
        message: "it is missing or damaged".to_owned(),
    })?;
    let mode = if entry.executable { 0o555 } else { 0o444 };
    let copy = || -> io::Result<()> {
        let from = fs::File::open(&object.path)?;
        let mut to = fs::File::create_new(path)?;
        // By reference where the filesystem can; the store's footer is cut off.
        if ioctl_ficlone(&to, &from).is_ok() {
            to.set_len(object.size_bytes)?;
        } else {
            io::copy(&mut from.take(object.size_bytes), &mut to)?;
        }
        to.set_permissions(fs::Permissions::from_mode(mode))
    };
    copy().map_err(|error| io_trouble("write", path, &error))?;
    Ok(entry.size_bytes)
}

fn find_files(folder: &Path, links: Links) -> Result<Vec<Found>, FolderTrouble> {
    let unreadable = |path: &Path, error: &io::Error| FolderTrouble::Unreadable {
        path: path.display().to_string(),
        message: plain_words(error),
    };
    let mut files = Vec::new();
    let mut open = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))? {
            let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
            let shown = || path.display().to_string();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(FolderTrouble::Name { path: shown() });
            };
            let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let mut found = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, &error))?;
            if found.is_symlink() {
                if links == Links::Refuse {
                    return Err(FolderTrouble::NoFile { path: shown(), what: "a link" });
                }
                found = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
                if found.is_dir() {
                    return Err(FolderTrouble::NoFile { path: shown(), what: "a link to a folder" });
                }
            }
            if found.is_dir() {
                open.push((path, name));
            } else if found.is_file() {
                files.push(Found { name, path, executable: found.permissions().mode() & 0o100 != 0 });
            } else {
                return Err(FolderTrouble::NoFile { path: shown(), what: "no regular file" });
            }
        }
    }
    Ok(files)
}
