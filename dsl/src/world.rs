//! What the compiler may ask about the world. Knows no file system: the caller brings one.

use std::path::Path;

/// The compiler's only view of the world. Threads that check a long file together ask the same one.
pub trait World: Sync {
    /// Reads a whole text file.
    fn read(&self, path: &Path) -> Result<String, WorldError>;

    fn kind(&self, path: &Path) -> PathKind;

    /// Returns what a folder holds, in any order.
    fn list(&self, _path: &Path) -> Result<Vec<Listed>, WorldError> {
        Err(WorldError::Other("folders cannot be listed here".to_owned()))
    }

    /// Returns whether the text of another pipeline of the workspace has something: what a profile gives may be for that one.
    fn another_has(&self, _is_it: &dyn Fn(&str) -> bool) -> bool {
        false
    }

    /// Returns the line, from 1, of byte `offset` of a file that is not UTF-8; `None` where that is not known.
    fn line_of(&self, _path: &Path, _offset: usize) -> Option<usize> {
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    File,
    Folder,
    Missing,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What is not UTF-8 in it has become U+FFFD.
    pub name: String,
    /// Of what it leads to, where it is a link.
    pub kind: PathKind,
    pub is_link: bool,
}

/// Why a file could not be read as text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    #[error("file not found")]
    NotFound,
    /// The first byte that is not UTF-8.
    #[error("byte {offset} is not UTF-8")]
    NotUtf8 { offset: usize },
    #[error("{0}")]
    Other(String),
}
