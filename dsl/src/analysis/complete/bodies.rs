//! What fits in declarations that hold others, and in those that stand only in them: `def`, `for`, `result`, `test`, `given`, `expect`.

use mlp_model::Value;

use super::{Completion, CompletionKind, List, is_new_line};
use crate::analysis::hover;
use crate::analysis::index::SymbolKind;
use crate::analysis::spot::{self, Inner, Spot};
use crate::analysis::tree::Decl;
use crate::outline::declaring_within;

impl<'a> List<'_, 'a> {
    /// Adds the words that begin a declaration in the body of another.
    pub(super) fn declaring_within(&mut self, holder: &Decl<'a>) {
        for word in declaring_within(holder.keyword.text) {
            self.word(word, CompletionKind::Keyword, hover::keyword(word).unwrap_or_default(), 0);
        }
    }

    pub(super) fn in_other(&mut self, inner: &Inner<'_, 'a>, at: usize, before: &str, word_start: usize) {
        let decl = inner.decl;
        let spot = spot::find_in(self.view, *inner, at);
        match decl.keyword.text {
            "def" | "test" if before.ends_with('{') => self.declaring_within(decl),
            "for" if before.ends_with('{') && spot.group.is_none() => self.declaring_within(decl),
            "def" | "test" if is_new_line(self.view, decl.keyword.start + before.len(), word_start) => {
                self.declaring_within(decl);
            }
            "def" if spot.group.is_some() && before.ends_with(':') => {
                self.types();
                for word in ["table", "model", "report", "file", "folder", "column", "columns", "schema"] {
                    self.word(word, CompletionKind::Type, "", 0);
                }
            }
            "def" => {}
            "for" => self.in_loop_head(&spot, before),
            "given" if before == "given" => self.nodes(|_| true, 0),
            "given" if before.ends_with(':') => self.symbols(SymbolKind::Schema, CompletionKind::Schema, 0),
            "result" if before.ends_with(['=', '{', ',', ':']) => self.nodes(|_| true, 0),
            "expect" => {
                self.nodes(|_| true, 0);
                self.params(|value| value.as_float().is_some(), 1);
                self.snippet("rows", "rows($0)", "how many rows a table has");
            }
            _ => {}
        }
    }

    fn in_loop_head(&mut self, spot: &Spot<'_, 'a>, before: &str) {
        if spot.group.is_some() {
            return self.values(spot);
        }
        if before.ends_with(" in") {
            self.params(|value| matches!(value, Value::List(_)), 0);
            self.snippet("values", "values($0)", "the values of a table's column");
            self.snippet("rows", "rows($0)", "the rows of a table, called after their key");
            self.snippet("files", "files(\"$0\")", "the files that match a pattern");
            self.snippet("range", "range($0)", "ints");
            self.snippet("days", "days($0)", "dates");
        } else if before.contains(" in ") {
            for (word, detail) in [
                ("as", "the name of the loop"),
                ("limit", "how many of its steps run at once"),
                ("tolerate", "how many of its rounds may fail"),
                ("random", "so many of the combinations, drawn by chance"),
            ] {
                self.word(word, CompletionKind::Keyword, detail, 0);
            }
        }
    }

    /// Adds a call with a place to fill in.
    pub(super) fn snippet(&mut self, label: &str, insert: &str, detail: &str) {
        self.add(Completion {
            label: label.to_owned(),
            kind: CompletionKind::Operation,
            detail: detail.to_owned(),
            insert: insert.to_owned(),
            is_snippet: true,
            rank: 1,
            ..Completion::default()
        });
    }
}
