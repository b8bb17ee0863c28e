//! The files and folders beside a pipeline that a run reads, each digested once, at its start.
//!
//! One view of the outside world for all steps of a run: two steps that read the same file see the same bytes, and a
//! file that changes later is noticed by the step that read it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use mlp_model::{Digest, ErrorClass, Input, StepError, Store};

use crate::fault::{plain_words, store_trouble};
use crate::folders::{self, FolderTrouble};
use crate::shared_out::by_shares;

/// What was found at a path.
pub(crate) type Found = Result<Content, StepError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// Of the file, or of the folder's manifest.
    pub digest: Digest,
    /// Of the file, or of all files of the folder.
    pub size_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Sources(HashMap<OsString, [Option<Found>; 2]>);

impl Sources {
    /// Digests every path among `inputs`, on as many threads as the machine has.
    pub(crate) fn read<'a>(store: &dyn Store, inputs: impl Iterator<Item = &'a Input>) -> Self {
        let mut paths: HashMap<(&Path, bool), &str> = HashMap::new();
        for input in inputs {
            if let Input::Path { path, shown, folder } = input {
                paths.entry((path, *folder)).or_insert(shown);
            }
        }
        // Neighbours stand together, so that the kernel finds them quickly.
        let mut paths: Vec<_> = paths.into_iter().collect();
        paths.sort_unstable();
        let found = by_shares(&paths, |share| read_all(store, share));
        let mut by_path: HashMap<OsString, [Option<Found>; 2]> = HashMap::with_capacity(found.len());
        for ((path, folder), found) in found {
            by_path.entry(path.into_os_string()).or_default()[usize::from(folder)] = Some(found);
        }
        Self(by_path)
    }

    /// Returns what was found at a path that was among the inputs.
    pub(crate) fn get(&self, path: &Path, folder: bool) -> Option<&Found> {
        self.0.get(path.as_os_str())?[usize::from(folder)].as_ref()
    }
}

/// A path, whether it is a folder, and how it is written.
type Wanted<'a> = ((&'a Path, bool), &'a str);

fn read_all(store: &dyn Store, share: &[Wanted<'_>]) -> Vec<((PathBuf, bool), Found)> {
    let files: Vec<&Path> = share.iter().filter(|((_, folder), _)| !folder).map(|((path, _), _)| *path).collect();
    let mut digests = store.digest_files(&files).into_iter();
    let content = |((path, folder), shown): &Wanted<'_>| {
        let digested = if *folder { None } else { digests.next() };
        let content = match digested {
            Some(Ok((digest, size_bytes))) => Ok(Content { digest, size_bytes }),
            // Looked at again, for a folder or to tell what is wrong with a file.
            _ => read(store, path, shown, *folder),
        };
        (((*path).to_owned(), *folder), content)
    };
    share.iter().map(content).collect()
}

/// Digests a file, or a folder as a tree. Errors name the path as `shown`, and neither step nor argument.
pub(crate) fn read(store: &dyn Store, path: &Path, shown: &str, folder: bool) -> Found {
    let user = |code: &str, message: String| StepError::new(ErrorClass::User, code, message);
    let found = fs::metadata(path).map_err(|error| {
        let fault = user("N6101", format!("cannot read `{shown}`: {}", plain_words(&error)));
        match error.kind() {
            std::io::ErrorKind::NotFound => fault.with_help("paths are relative to the file that names them"),
            _ => StepError { class: ErrorClass::Environment, code: "N6102".to_owned(), ..fault },
        }
    })?;
    match (folder, found.is_dir(), found.is_file()) {
        (true, true, _) => match folders::scan(store, path) {
            Ok(manifest) => Ok(Content {
                digest: Digest::of(&manifest.to_bytes()),
                size_bytes: manifest.entries.iter().map(|entry| entry.size_bytes).sum(),
            }),
            Err(FolderTrouble::Store(error)) => Err(store_trouble(&error)),
            Err(trouble @ FolderTrouble::Unreadable { .. }) => {
                Err(StepError::new(ErrorClass::Environment, "N6102", trouble.to_string()))
            }
            Err(trouble) => Err(user("N6103", format!("cannot read folder `{shown}`: {trouble}"))),
        },
        (false, _, true) => {
            let content = store.digest_file(path).map(|(digest, size_bytes)| Content { digest, size_bytes });
            content.map_err(|error| store_trouble(&error))
        }
        (true, ..) => Err(user("N6103", format!("`{shown}` is no folder"))),
        (false, true, _) => {
            Err(user("N6103", format!("`{shown}` is a folder")).with_help(format!("write `folder({shown:?})`")))
        }
        (false, ..) => Err(user("N6103", format!("`{shown}` is no regular file"))),
    }
}
