//! The text of one file as an editor has it: cut into pieces, kept up to date by edits.
//!
//! An edit costs what it touches: pieces before and behind it stay. Knows no meaning of anything.

use std::ops::Range;
use std::sync::Arc;

use super::lex::{Cut, Token, TokenKind, cut_piece};
use crate::outline::{DECLARING, LATER};

/// A text and its pieces.
#[derive(Debug, Clone, Default)]
pub struct Document {
    text: Arc<String>,
    pieces: Vec<Piece>,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// A declaration with what follows it up to the next one; the first piece may be only what stands before.
#[derive(Debug, Clone)]
pub struct Piece {
    pub start: usize,
    pub end: usize,
    pub tokens: Arc<[Token]>,
    is_open_ended: bool,
}

impl Piece {
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

impl Document {
    pub fn new(text: impl Into<String>) -> Self {
        let mut document = Self { text: Arc::new(text.into()), pieces: Vec::new(), lines: Vec::new() };
        document.lines = line_starts(&document.text, 0);
        document.lines.insert(0, 0);
        document.pieces = document.cut_from(0, |_| false).0;
        document
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text as it is now; later edits do not change it.
    pub fn snapshot(&self) -> Arc<String> {
        Arc::clone(&self.text)
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub fn piece_text(&self, piece: &Piece) -> &str {
        &self.text[piece.range()]
    }

    /// Returns the index of the piece that byte `at` is in; one that ends there is meant when `at` is the end of the text.
    pub fn piece_at(&self, at: usize) -> usize {
        self.pieces.partition_point(|piece| piece.start <= at).saturating_sub(1)
    }

    /// Returns the pieces that touch a range of bytes.
    pub fn pieces_in(&self, range: Range<usize>) -> impl Iterator<Item = (usize, &Piece)> {
        let first = self.piece_at(range.start);
        self.pieces
            .iter()
            .enumerate()
            .skip(first)
            .take_while(move |(at, piece)| *at == first || piece.start < range.end)
    }

    pub fn n_lines(&self) -> usize {
        self.lines.len()
    }

    /// Returns the line, from 0, that byte `at` is on.
    pub fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Returns the bytes of a line without its line break; lines behind the last are empty.
    pub fn line(&self, line: usize) -> Range<usize> {
        let Some(start) = self.lines.get(line).copied() else { return self.text.len()..self.text.len() };
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let end = if end > start && self.text.as_bytes().get(end - 1) == Some(&b'\r') { end - 1 } else { end };
        start..end
    }

    /// Returns the `///` lines above the piece, or of the file for its first.
    pub fn doc_of(&self, index: usize) -> String {
        let Some(before) = index.checked_sub(1).and_then(|index| self.pieces.get(index)) else { return String::new() };
        self.doc_at_end(before, &before.tokens, |token, _| token.kind == TokenKind::Doc)
    }

    /// Returns the `///` lines above what begins at byte `at` within a piece.
    pub fn doc_within(&self, index: usize, at: usize) -> String {
        let Some(piece) = self.pieces.get(index) else { return String::new() };
        let n_before = piece.tokens.partition_point(|token| piece.start + (token.start as usize) < at);
        // Within brackets, tokens do not tell documentation from comments.
        self.doc_at_end(piece, &piece.tokens[..n_before], |_, line| line.starts_with("///"))
    }

    fn doc_at_end(&self, piece: &Piece, tokens: &[Token], is_doc: impl Fn(&Token, &str) -> bool) -> String {
        let text = self.piece_text(piece);
        let comments = tokens.iter().rev().take_while(|token| token.is_comment());
        let comments = comments.map(|token| (token, token.text(text)));
        let docs = comments.filter(|(token, line)| is_doc(token, line)).map(|(_, line)| line);
        let mut lines: Vec<&str> = docs.map(|line| doc_line(line, "///")).collect();
        lines.reverse();
        lines.join("\n")
    }

    /// Returns the `//!` lines of the file.
    pub fn file_doc(&self) -> String {
        let Some(first) = self.pieces.first() else { return String::new() };
        let text = self.piece_text(first);
        let docs = first.tokens.iter().take_while(|token| token.is_comment());
        let docs = docs.filter(|token| token.kind == TokenKind::FileDoc).map(|token| token.text(text));
        docs.map(|line| doc_line(line, "//!")).collect::<Vec<_>>().join("\n")
    }

    /// Replaces bytes; a range that is outside the text or splits a character is moved onto it.
    pub fn edit(&mut self, range: Range<usize>, new: &str) {
        let start = self.floor(range.start);
        let end = self.floor(range.end.max(range.start)).max(start);
        let old_end = end;
        let new_end = start + new.len();
        Arc::make_mut(&mut self.text).replace_range(start..end, new);
        let moved = |at: usize| at - old_end + new_end;

        let first_line = self.lines.partition_point(|line| *line <= start);
        let last_line = self.lines.partition_point(|line| *line <= old_end);
        let mut new_lines = line_starts(new, start);
        new_lines.extend(self.lines[last_line..].iter().map(|line| moved(*line)));
        self.lines.truncate(first_line);
        self.lines.extend(new_lines);

        // The piece before may swallow the one that is edited, and a string that is not closed reaches far.
        let touched = self.piece_at(start).saturating_sub(1);
        let open_ended = self.pieces[..touched.min(self.pieces.len())].iter().position(|piece| piece.is_open_ended);
        let first = open_ended.unwrap_or(touched);
        let from = self.pieces.get(first).map_or(0, |piece| piece.start);
        // Cut anew until a piece begins where one began before, behind the edit.
        let old = std::mem::take(&mut self.pieces);
        let behind = |at: usize| {
            let at_before = (at >= new_end).then(|| at - new_end + old_end)?;
            if at_before < old_end {
                return None;
            }
            old.binary_search_by_key(&at_before, |piece| piece.start).ok()
        };
        let (new_pieces, met) = self.cut_from(from, |at| behind(at).is_some());
        let rest = met.and_then(behind).unwrap_or(old.len());
        let mut pieces = Vec::with_capacity(first + new_pieces.len() + old.len() - rest);
        pieces.extend(old[..first.min(old.len())].iter().cloned());
        pieces.extend(new_pieces);
        pieces.extend(old[rest..].iter().cloned().map(|piece| Piece {
            start: moved(piece.start),
            end: moved(piece.end),
            ..piece
        }));
        self.pieces = pieces;
    }

    /// Cuts from a place on until `meets` says that what follows is known; returns where that was.
    fn cut_from(&self, from: usize, meets: impl Fn(usize) -> bool) -> (Vec<Piece>, Option<usize>) {
        let (mut pieces, mut at) = (Vec::new(), from);
        loop {
            let Cut { end, tokens, is_open_ended } = cut_piece(&self.text, at);
            // What stands before the first declaration is a piece of its own, empty or not.
            pieces.push(Piece { start: at, end, tokens: tokens.into(), is_open_ended });
            if end >= self.text.len() {
                return (pieces, None);
            }
            at = end;
            if meets(at) {
                return (pieces, Some(at));
            }
        }
    }

    /// Returns the nearest border of a character at or before `at`.
    pub fn floor(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

fn line_starts(text: &str, base: usize) -> Vec<usize> {
    memchr_lines(text).map(|at| base + at + 1).collect()
}

fn memchr_lines(text: &str) -> impl Iterator<Item = usize> {
    text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at)
}

fn doc_line<'t>(line: &'t str, mark: &str) -> &'t str {
    let line = line.strip_prefix(mark).unwrap_or(line);
    line.strip_prefix(' ').unwrap_or(line).trim_end()
}

/// Returns whether the word begins declarations, now or in a later version, in a file or within another declaration.
pub fn begins_declarations(word: &str) -> bool {
    DECLARING.contains(&word) || LATER.contains(&word) || matches!(word, "result" | "given" | "expect")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(document: &Document) -> Vec<(usize, usize, Vec<Token>)> {
        document.pieces.iter().map(|piece| (piece.start, piece.end, piece.tokens.to_vec())).collect()
    }

    #[test]
    fn pieces_cover_the_text() {
        let document =
            Document::new("//! Doc.\n\n/// One.\nparam a: int = 1\n/// Two.\n// note\n/// More.\nstep b = f()\n");
        let pieces: Vec<_> = document.pieces().iter().map(|piece| document.piece_text(piece)).collect();
        assert_eq!(pieces.concat(), document.text());
        assert_eq!(pieces.len(), 3);
        assert_eq!(document.doc_of(1), "One.");
        assert_eq!(document.doc_of(2), "Two.\nMore.");
        assert_eq!(document.file_doc(), "Doc.");
    }

    #[test]
    fn lines_end_before_their_line_break() {
        let document = Document::new("a\r\nß\n\n");
        let lines: Vec<_> = (0..document.n_lines()).map(|line| &document.text()[document.line(line)]).collect();
        assert_eq!(lines, ["a", "ß", "", ""]);
        assert_eq!(document.line_of(4), 1);
    }

    fn edits() -> impl Strategy<Value = Vec<(usize, usize, String)>> {
        let parts = [
            "\n",
            "step b = g(",
            ")",
            "\"",
            "\"\"\"",
            "// x",
            "///",
            "param",
            " ",
            "{",
            "}",
            "\r\n",
            "ß😀",
            "use \"x\"",
            "1.",
            "\u{feff}",
        ];
        let new = prop::collection::vec(prop::sample::select(parts.to_vec()), 0..4).prop_map(|parts| parts.concat());
        prop::collection::vec((0_usize..400, 0_usize..30, new), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn edited_pieces_are_those_of_the_new_text(edits in edits()) {
            let text = "\u{feff}//! D\npipeline p\n\nparam a: int = 1 // c\n/// doc\nstep x = sql(\"\"\"\n  select 1\n\"\"\",\n   { a })\nschema S {\n  a: int\n}\nstep y = f(x)\r\n  with { retries: 1 }\nrelease r = y\n";
            let mut document = Document::new(text);
            for (start, length, new) in edits {
                let start = document.floor(start % (document.text().len() + 1));
                document.edit(start..start + length, &new);
                let fresh = Document::new(document.text());
                prop_assert_eq!(shape(&document), shape(&fresh));
                prop_assert_eq!(&document.lines, &fresh.lines);
            }
        }
    }
}
