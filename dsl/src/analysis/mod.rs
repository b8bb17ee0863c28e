//! What an editor asks about a file: what a word means, where it is declared, what could stand here.
//!
//! Works on any text, however wrong: it reads the text by itself (`lex`, `document`, `tree`), takes from the checker what
//! that has found out about names ([`crate::Facts`]), and answers in bytes of the file. Pure: it reads no file, knows
//! nothing of editors and their protocol, and keeps nothing between questions but the [`Document`].

mod callee;
mod complete;
pub mod describe;
mod document;
mod fixes;
mod hover;
mod index;
mod lex;
mod meaning;
mod navigate;
mod shown;
mod spot;
mod tree;
mod view;

pub use callee::{Callee, Formal, Takes};
pub use complete::{Completion, CompletionKind, Completions, complete};
pub use document::{Document, Piece};
pub use fixes::{Fix, fix};
pub use hover::{Hover, hover};
pub use index::{Index, Symbol, SymbolKind, module_path};
pub use meaning::{Meaning, Mention};
pub use navigate::{Place, RenameError, definition, references, rename, renameable};
pub use shown::{CallHelp, Colour, Coloured, Entry, EntryKind, Hint, call_help, colours, hints, outline};
pub use view::{Module, View};

impl Document {
    /// Returns the names that are declared.
    pub fn declared(&self) -> impl Iterator<Item = &str> {
        Index::new(self).symbols.into_iter().map(|symbol| symbol.name.text)
    }

    /// Returns the files that are used, as `(alias, path)`, the path as it is written.
    pub fn uses(&self) -> Vec<(String, String)> {
        let decls = self.pieces().iter().filter(|piece| self.piece_text(piece).starts_with("use"));
        let decls = decls.filter_map(|piece| tree::read(self, piece));
        let named = decls.filter_map(|decl| Some((index::alias(&decl)?, index::module_path(&decl)?)));
        named.map(|(alias, path)| (alias.text.to_owned(), path.text.trim_matches('"').to_owned())).collect()
    }
}
