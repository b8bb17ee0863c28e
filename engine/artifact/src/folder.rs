//! Folders: a sorted list of files, each by its own digest.

use std::collections::BTreeSet;

use mlp_model::Digest;
use serde::{Deserialize, Serialize};

use crate::json;

/// What a folder holds. Empty folders, times and owners are no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// Sorted by path.
    pub entries: Vec<Entry>,
}

/// One file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Below the folder, with `/` between names.
    pub path: String,
    pub digest: Digest,
    pub size_bytes: u64,
    pub executable: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    entries: Vec<Entry>,
}

const VERSION: u32 = 1;

impl Manifest {
    /// Sorts and checks the entries.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, FolderError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Self { entries };
        manifest.check()?;
        Ok(manifest)
    }

    /// Returns the canonical bytes, whatever the order of the entries.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut entries = self.entries.clone();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let value = serde_json::to_value(Stored { version: VERSION, entries }).unwrap_or_default();
        let mut text = String::new();
        json::write(&value, &mut text);
        text.into_bytes()
    }

    /// Reads a manifest; every path in the result lies below the folder, once.
    pub fn parse(bytes: &[u8]) -> Result<Self, FolderError> {
        let stored: Stored = serde_json::from_slice(bytes)?;
        if stored.version != VERSION {
            return Err(FolderError::Version(stored.version));
        }
        let manifest = Self { entries: stored.entries };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), FolderError> {
        let mut before: Option<&str> = None;
        let mut folders = BTreeSet::new();
        for entry in &self.entries {
            let path = entry.path.as_str();
            let is_plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255 && !part.contains('\0');
            if !path.split('/').all(is_plain) {
                return Err(FolderError::Path(path.to_owned()));
            }
            match before {
                Some(before) if before == path => return Err(FolderError::Duplicate(path.to_owned())),
                Some(before) if before > path => return Err(FolderError::Unsorted(path.to_owned())),
                _ => before = Some(path),
            }
            folders.extend(path.match_indices('/').map(|(i, _)| &path[..i]));
        }
        match self.entries.iter().find(|entry| folders.contains(entry.path.as_str())) {
            Some(entry) => Err(FolderError::FileAndFolder(entry.path.clone())),
            None => Ok(()),
        }
    }
}

/// What is wrong with a folder's list of files.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("it is no list of a folder's files: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has version {0} of the form; this mlp reads version {VERSION}")]
    Version(u32),
    #[error("`{0}` is no path below the folder")]
    Path(String),
    #[error("`{0}` is listed twice")]
    Duplicate(String),
    #[error("`{0}` is not in sorted order")]
    Unsorted(String),
    #[error("`{0}` is listed as a file and as a folder")]
    FileAndFolder(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            path: path.into(),
            digest: Digest::of(path.as_bytes()),
            size_bytes: 3,
            executable: path.ends_with(".sh"),
        }
    }

    #[test]
    fn order_of_entries_does_not_change_the_bytes() {
        let paths = ["b.sh", "a/c.txt", "a.txt", "a/b/é.txt"];
        let manifest = Manifest::new(paths.map(entry).to_vec()).unwrap();
        let unsorted = Manifest { entries: paths.map(entry).to_vec() };
        assert_eq!(manifest.to_bytes(), unsorted.to_bytes());
        assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        // When this fails, stored digests no longer fit: raise `VERSION`.
        assert_eq!(Digest::of(&manifest.to_bytes()).short(), "842a591a84f5");
    }

    #[test]
    fn paths_that_leave_the_folder_or_collide_are_refused() {
        for paths in [
            &["../a"][..],
            &["/a"],
            &["a/"],
            &["a//b"],
            &["./a"],
            &["a/../b"],
            &[""],
            &["a\0b"],
            &["a", "a"],
            &["a", "a/b"],
            &["a", "a.txt", "a/b"],
        ] {
            let entries: Vec<_> = paths.iter().map(|path| entry(path)).collect();
            assert!(Manifest::new(entries.clone()).is_err(), "{paths:?}");
            assert!(Manifest::parse(&Manifest { entries }.to_bytes()).is_err(), "{paths:?}");
        }
        assert!(Manifest::new(vec![entry(&"a".repeat(256))]).is_err());
    }

    #[test]
    fn unsorted_or_foreign_bytes_are_refused() {
        let text = String::from_utf8(Manifest::new(vec![entry("a"), entry("b")]).unwrap().to_bytes()).unwrap();
        assert!(Manifest::parse(text.replace("\"path\":\"a\"", "\"path\":\"z\"").as_bytes()).is_err());
        assert!(Manifest::parse(text.replace("\"version\":1", "\"version\":2").as_bytes()).is_err());
        assert!(Manifest::parse(&text.as_bytes()[1..]).is_err());
    }
}
