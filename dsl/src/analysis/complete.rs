//! What could stand where the cursor is.

use std::ops::Range;

use super::lex::TokenKind;
use super::spot;
use super::tree::{self, Path, Term};
use super::view::{Scope, View};

mod bodies;
mod places;
mod proposals;

/// More are cut off, and the list says so: what is typed next narrows it.
const MOST_ITEMS: usize = 400;

/// What could stand at a place.
#[derive(Debug, Default)]
pub struct Completions {
    /// The bytes that are replaced.
    pub range: Range<usize>,
    pub items: Vec<Completion>,
    pub is_incomplete: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Completion {
    pub label: String,
    pub kind: CompletionKind,
    /// On one line.
    pub detail: String,
    /// Markdown.
    pub doc: String,
    pub insert: String,
    /// `insert` has places to fill in: `$0`, `${1:name}`.
    pub is_snippet: bool,
    /// Smaller comes first.
    pub rank: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CompletionKind {
    #[default]
    Keyword,
    Operation,
    Constructor,
    Argument,
    Node,
    Output,
    Param,
    Schema,
    Gate,
    Release,
    Module,
    Column,
    Choice,
    Metric,
    Type,
    Mark,
    Value,
}

/// Returns what could stand at byte `at`.
pub fn complete(view: &View<'_>, at: usize) -> Completions {
    let document = view.document;
    let at = document.floor(at);
    let mut list =
        List { view, scope: Scope::default(), is_loop_head: false, prefix: "", items: Vec::new(), is_full: false };
    let piece_index = document.piece_at(at);
    let Some(piece) = document.pieces().get(piece_index) else { return list.done(at..at) };
    let text = document.piece_text(piece);
    let inside = piece.tokens.iter().find(|token| {
        let (start, end) = (piece.start + token.start as usize, piece.start + token.end as usize);
        start < at && (at < end || (at == end && (token.is_comment() || is_open_string(token.text(text)))))
    });
    let mut string = None;
    match inside {
        Some(token) if token.is_comment() => return list.done(at..at),
        Some(token) if token.kind == TokenKind::String => {
            string = Some(piece.start + token.start as usize..piece.start + token.end as usize);
        }
        Some(token) if token.kind == TokenKind::Number => return list.done(at..at),
        _ => {}
    }
    let (word_start, word_end) = word_around(document.text(), at);
    let range = if string.is_some() { word_start..at } else { word_start..word_end };
    list.prefix = &document.text()[word_start..at];
    let decl = tree::read(document, piece);

    if let Some(string) = string {
        if let Some(decl) = &decl {
            let spot = spot::find(view, decl, at);
            let content = string.start + 1..string.end;
            let shown = document.text().get(content.start..at).unwrap_or_default();
            if spot.takes.column_of().is_some() || !spot.takes.choices().is_empty() {
                list.prefix = shown;
                list.in_string(&spot);
                let is_closed = document.text()[string.clone()].len() > 1 && document.text()[string].ends_with('"');
                let end = if is_closed { content.end - 1 } else { at };
                return list.done(content.start..end.max(at));
            }
        }
        return list.done(at..at);
    }

    let before_word = document.text()[..word_start].trim_end_matches([' ', '\t']);
    let is_fresh = before_word.is_empty() || before_word.ends_with('\n') || before_word == "\u{feff}";
    let Some(decl) = decl else {
        list.declaring(is_fresh);
        return list.done(range);
    };
    if word_start < decl.keyword.start {
        list.declaring(is_fresh);
        return list.done(range);
    }
    let inner = spot::innermost(view, &decl, at);
    list.scope = inner.scope;
    list.is_loop_head = inner.decl.keyword.text == "for";
    let starts = inner.decl.keyword.start == word_start;
    let is_behind = at > inner.decl.end && before_word.ends_with('\n');
    if is_fresh && (starts || is_behind) {
        match inner.holder {
            Some(holder) => list.declaring_within(holder),
            None => list.declaring(true),
        }
        return list.done(range);
    }
    if let Some(path) = path_before(document.text(), word_start) {
        list.behind_point(&path, &decl, at);
        return list.done(range);
    }
    list.in_decl(&inner, at, word_start);
    list.done(range)
}

fn is_open_string(text: &str) -> bool {
    let is_long = text.starts_with("\"\"\"");
    let closing = if is_long { "\"\"\"" } else { "\"" };
    text.len() < 2 * closing.len() || !text.ends_with(closing)
}

fn word_around(text: &str, at: usize) -> (usize, usize) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start =
        text[..at].rfind(|c: char| !is_word(c)).map_or(0, |n| n + text[n..].chars().next().map_or(1, char::len_utf8));
    (start, super::lex::word_end(text, at))
}

/// Returns the words before the point that stands before `start`.
fn path_before(text: &str, start: usize) -> Option<Vec<&str>> {
    let mut rest = text.get(..start)?.strip_suffix('.')?;
    if rest.ends_with('.') {
        return None;
    }
    let mut words = Vec::new();
    loop {
        let (word_start, _) = word_around(rest, rest.len());
        let word = &rest[word_start..];
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        words.push(word);
        match rest[..word_start].strip_suffix('.') {
            Some(before) => rest = before,
            None => break,
        }
    }
    words.reverse();
    Some(words)
}

struct List<'v, 'a> {
    view: &'v View<'a>,
    scope: Scope,
    /// The cursor is in the head of a `for`.
    is_loop_head: bool,
    prefix: &'v str,
    items: Vec<Completion>,
    is_full: bool,
}

impl<'a> List<'_, 'a> {
    fn done(mut self, range: Range<usize>) -> Completions {
        self.items.sort_by(|a, b| (a.rank, &a.label).cmp(&(b.rank, &b.label)));
        self.items.dedup_by(|a, b| a.label == b.label && a.kind == b.kind);
        Completions { range, items: self.items, is_incomplete: self.is_full }
    }

    /// Adds one that fits what is typed: its letters in order, in either case.
    fn add(&mut self, item: Completion) {
        if !is_like(&item.label, self.prefix) {
            return;
        }
        if self.items.len() >= MOST_ITEMS {
            self.is_full = true;
            return;
        }
        self.items.push(item);
    }

    fn word(&mut self, label: &str, kind: CompletionKind, detail: impl Into<String>, rank: u8) {
        if !is_like(label, self.prefix) {
            return;
        }
        let label = label.to_owned();
        self.add(Completion {
            insert: label.clone(),
            label,
            kind,
            detail: detail.into(),
            rank,
            ..Completion::default()
        });
    }
}

/// Returns whether the letters of `typed` stand in `label` in this order, whatever their case.
fn is_like(label: &str, typed: &str) -> bool {
    let mut letters = label.chars().flat_map(char::to_lowercase);
    typed.chars().flat_map(char::to_lowercase).all(|typed| letters.any(|letter| letter == typed))
}

/// As [`is_like`], for a label that goes on behind `name`.
fn begins_like(name: &str, typed: &str) -> bool {
    let first = typed.chars().flat_map(char::to_lowercase).next();
    first.is_none_or(|first| name.chars().flat_map(char::to_lowercase).any(|letter| letter == first))
}

fn is_only(terms: &[Term<'_>], at: usize) -> bool {
    match terms {
        [Term::Path(Path { words, arguments: None, .. })] => {
            words.len() == 1 && words.iter().all(|word| word.touches(at))
        }
        _ => false,
    }
}

fn starts_at(terms: &[Term<'_>], at: usize) -> bool {
    match terms.first() {
        Some(Term::Path(path)) => path.words.first().is_some_and(|word| word.start == at),
        _ => false,
    }
}

fn is_new_line(view: &View<'_>, from: usize, to: usize) -> bool {
    view.document.text().get(from..to).is_some_and(|between| between.contains('\n'))
}
