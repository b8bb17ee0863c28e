//! A file that is open in the editor, and what has been found out about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ls_types::{TextDocumentContentChangeEvent, Uri};
use mlp_dsl::analysis::{Document, Module, View};
use mlp_dsl::{Diagnostic, Facts};
use mlp_model::{Catalogue, SourceText};

use crate::position::Encoding;
use crate::states::Known;

pub struct File {
    pub uri: Uri,
    pub path: PathBuf,
    /// The editor's, of the text as it is.
    pub version: i32,
    pub document: Document,
    /// What the last check found out, perhaps of an earlier version.
    pub facts: Arc<Facts>,
    pub checked: Option<Findings>,
    /// The files it uses, as they were at the last check.
    pub modules: Vec<(String, PathBuf, Document)>,
    /// What a run would do with the text as it is; empty until that is known.
    pub states: Known,
    /// The last colours that were sent, to tell the next ones as a difference.
    pub colours: Option<(u64, Vec<ls_types::SemanticToken>)>,
}

/// What a check found wrong.
pub struct Findings {
    pub version: i32,
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Vec<SourceText>,
}

impl File {
    pub fn new(uri: Uri, version: i32, text: String) -> Self {
        let path = path_of(&uri);
        let document = Document::new(text);
        let (facts, modules) = (Arc::default(), Vec::new());
        Self { uri, path, version, document, facts, checked: None, modules, states: Known::default(), colours: None }
    }

    /// Applies what was typed, one change after the other.
    pub fn change(&mut self, encoding: Encoding, version: i32, changes: Vec<TextDocumentContentChangeEvent>) {
        self.version = version;
        self.states = Known::default();
        for change in changes {
            match change.range {
                Some(range) => {
                    let range = encoding.bytes(&self.document, range);
                    self.document.edit(range, &change.text);
                }
                None => self.document = Document::new(change.text),
            }
        }
    }

    pub fn view<'a>(&'a self, catalogue: &'a Catalogue) -> View<'a> {
        let mut view = View::new(&self.document, catalogue, &self.facts);
        view.modules = self
            .modules
            .iter()
            .enumerate()
            .map(|(at, (alias, _, document))| Module::new(alias, at + 1, document))
            .collect();
        view
    }

    /// Returns what the last check found, if the text has not changed since.
    pub fn current(&self) -> Option<&Findings> {
        self.checked.as_ref().filter(|findings| findings.version == self.version)
    }
}

/// Returns the path of a file; what is no file has its address for a path.
pub fn path_of(uri: &Uri) -> PathBuf {
    uri.to_file_path().map_or_else(|| PathBuf::from(uri.as_str()), |path| path.into_owned())
}

/// Returns the address of a path; `None` for one that has none.
pub fn uri_of(path: &Path) -> Option<Uri> {
    if path.is_absolute() { Uri::from_file_path(path) } else { path.to_str()?.parse().ok() }
}
