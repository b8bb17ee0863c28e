//! Cuts a text into tokens and into pieces of one declaration each. Never fails: an editor's text is wrong most of the
//! time.
//!
//! Follows the same rules as `outline.rs`, about which it differs in two ways: it keeps comments, and it can begin in the
//! middle of a file, at any place where a declaration begins. Knows no grammar.

use crate::outline::{DECLARING, LATER};

/// Words that go on with a declaration at the beginning of a line.
const CONTINUING: [&str; 6] = ["with", "when", "in", "and", "or", "not"];

/// A part of the text that means one thing; blanks are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    /// Counted from the start of the piece.
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Word,
    /// Numbers, durations, dates and timestamps.
    Number,
    String,
    /// `//`.
    Comment,
    /// `///` alone on its line.
    Doc,
    /// `//!` alone on its line.
    FileDoc,
    /// `(`, `[` or `{`.
    Open(u8),
    Close(u8),
    /// `..` or `..=`.
    Range,
    /// A sign of two characters: `==`, `>=` and their like.
    Operator,
    /// Any other sign; its first byte.
    Sign(u8),
}

impl Token {
    pub fn text<'t>(&self, piece: &'t str) -> &'t str {
        piece.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub fn is_comment(&self) -> bool {
        matches!(self.kind, TokenKind::Comment | TokenKind::Doc | TokenKind::FileDoc)
    }

    pub fn is_sign(&self, sign: u8) -> bool {
        self.kind == TokenKind::Sign(sign)
    }
}

/// The tokens from the beginning of one declaration to that of the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub end: usize,
    pub tokens: Vec<Token>,
    /// It has a `"""` that is never closed, so that what is written far below can change it.
    pub is_open_ended: bool,
}

/// Reads the piece that begins at byte `start` of the text; the text before it does not matter.
pub fn cut_piece(text: &str, start: usize) -> Cut {
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        start,
        at: start,
        line_start: line_start(text, start),
        fresh_line: text[line_start(text, start)..start].trim_matches([' ', '\t', '\u{feff}']).is_empty(),
        depth: 0,
        cut: Cut { end: text.len(), tokens: Vec::new(), is_open_ended: false },
    };
    lexer.run();
    lexer.cut
}

fn line_start(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |n| n + 1)
}

struct Lexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    start: usize,
    at: usize,
    line_start: usize,
    /// Only blanks have been seen on this line.
    fresh_line: bool,
    depth: usize,
    cut: Cut,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(byte) = self.bytes.get(self.at).copied() {
            let start = self.at;
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line_start = self.at;
                    self.fresh_line = true;
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                // A byte order mark.
                0xEF if start == 0 && self.text.starts_with('\u{feff}') => {
                    self.at = 3;
                    self.line_start = 3;
                }
                b'/' if self.bytes.get(start + 1) == Some(&b'/') => self.comment(),
                _ => {
                    let is_fresh = std::mem::replace(&mut self.fresh_line, false);
                    let first = self.text[start..].chars().next().unwrap_or(' ');
                    if first.is_alphabetic() || first == '_' {
                        let end = word_end(self.text, start);
                        if start > self.start && is_fresh && self.begins(start, end) {
                            self.cut.end = start;
                            return;
                        }
                        self.at = end;
                        self.push(TokenKind::Word, start);
                    } else {
                        self.other(byte, first);
                    }
                }
            }
        }
        self.cut.end = self.text.len();
    }

    /// Returns whether the word, the first of its line, begins a declaration.
    fn begins(&self, start: usize, end: usize) -> bool {
        let word = &self.text[start..end];
        let in_first_column = start == self.line_start;
        let is_declaring = DECLARING.contains(&word);
        if self.depth > 0 {
            return in_first_column && is_declaring && self.name_follows(end);
        }
        is_declaring
            || (LATER.contains(&word) && (self.name_follows(end) || self.string_follows(end)))
            || (in_first_column && !CONTINUING.contains(&word))
    }

    fn name_follows(&self, end: usize) -> bool {
        let rest = self.text[end..].trim_start_matches([' ', '\t']);
        rest.len() < self.text.len() - end && rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }

    fn string_follows(&self, end: usize) -> bool {
        self.text[end..].trim_start_matches([' ', '\t']).starts_with('"')
    }

    fn comment(&mut self) {
        let start = self.at;
        let length = self.bytes[start..].iter().position(|byte| *byte == b'\n');
        let mut end = length.map_or(self.bytes.len(), |n| start + n);
        if self.bytes[..end].ends_with(b"\r") {
            end -= 1;
        }
        self.at = end;
        let text = &self.text[start..end];
        let is_alone = self.fresh_line && self.depth == 0;
        let kind = if is_alone && text.starts_with("//!") {
            TokenKind::FileDoc
        } else if is_alone && text.starts_with("///") && !text.starts_with("////") {
            TokenKind::Doc
        } else {
            TokenKind::Comment
        };
        self.push(kind, start);
    }

    fn other(&mut self, byte: u8, first: char) {
        let start = self.at;
        match byte {
            b'"' => self.string(),
            b'(' | b'[' | b'{' => {
                self.depth += 1;
                self.at += 1;
                self.push(TokenKind::Open(byte), start);
            }
            b')' | b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                self.at += 1;
                self.push(TokenKind::Close(byte), start);
            }
            b'0'..=b'9' => {
                self.at = number_end(self.bytes, start);
                self.push(TokenKind::Number, start);
            }
            _ => {
                let rest = &self.bytes[start..];
                let (kind, length) = match rest {
                    [b'=' | b'!' | b'<' | b'>', b'=', ..] | [b'?', b'?', ..] => (TokenKind::Operator, 2),
                    [b'.', b'.', b'=', ..] => (TokenKind::Range, 3),
                    [b'.', b'.', ..] => (TokenKind::Range, 2),
                    _ => (TokenKind::Sign(byte), first.len_utf8()),
                };
                self.at += length;
                self.push(kind, start);
            }
        }
    }

    fn string(&mut self) {
        let start = self.at;
        if self.text[start..].starts_with("\"\"\"") {
            match self.text[start + 3..].find("\"\"\"") {
                Some(n) => self.at = start + 3 + n + 3,
                None => {
                    self.at = self.next_declaration(start);
                    self.cut.is_open_ended = true;
                }
            }
            if let Some(n) = self.text[start..self.at].rfind('\n') {
                self.line_start = start + n + 1;
            }
        } else {
            let mut end = start + 1;
            loop {
                match self.bytes.get(end) {
                    Some(b'"') => {
                        end += 1;
                        break;
                    }
                    Some(b'\\') if self.bytes.get(end + 1).is_some_and(|byte| *byte != b'\n') => end += 2,
                    Some(b'\n') | None => break,
                    Some(_) => end += 1,
                }
            }
            end = end.min(self.bytes.len());
            if self.bytes[..end].ends_with(b"\r") {
                end -= 1;
            }
            while !self.text.is_char_boundary(end) {
                end += 1;
            }
            self.at = end;
        }
        self.push(TokenKind::String, start);
    }

    /// Returns the end of the line before the one that can only be a declaration, or the end of the text.
    fn next_declaration(&self, from: usize) -> usize {
        let mut line = from;
        while let Some(n) = self.text[line..].find('\n') {
            line += n + 1;
            let end = word_end(self.text, line);
            if DECLARING.contains(&&self.text[line..end]) && self.name_follows(end) {
                return line - 1;
            }
        }
        self.bytes.len()
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        let place = |at: usize| u32::try_from(at - self.start).unwrap_or(u32::MAX);
        self.cut.tokens.push(Token { kind, start: place(start), end: place(self.at) });
    }
}

pub fn word_end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').map_or(text.len(), |n| start + n)
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_date = (0..4).all(|n| is_digit(start + n))
        && bytes.get(start + 4) == Some(&b'-')
        && (5..7).all(|n| is_digit(start + n))
        && bytes.get(start + 7) == Some(&b'-')
        && (8..10).all(|n| is_digit(start + n));
    let mut at = if is_date { start + 10 } else { start };
    loop {
        at += match bytes.get(at) {
            Some(b'e' | b'E') if !is_date && matches!(bytes.get(at + 1), Some(b'+' | b'-')) && is_digit(at + 2) => 2,
            Some(b':') if is_date => 1,
            Some(b'.') if is_digit(at + 1) => 1,
            Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_' => 1,
            _ => break,
        };
    }
    // A size: `8 GiB`.
    let rest = &bytes[at..];
    let unit = rest.iter().position(|byte| *byte != b' ').filter(|n_blanks| *n_blanks > 0);
    let unit = unit.and_then(|start| {
        let word = &rest[start..];
        let end = word.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(word.len());
        matches!(&word[..end], b"B" | [b'K' | b'M' | b'G' | b'T', b'B'] | [b'K' | b'M' | b'G' | b'T', b'i', b'B'])
            .then_some(start + end)
    });
    at + unit.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<&str> {
        cut_piece(text, 0).tokens.iter().map(|token| token.text(text)).collect()
    }

    #[test]
    fn signs_numbers_and_words_are_told_apart() {
        assert_eq!(
            tokens("param a: int? = 1e-3 in 0..=1.5 >= 2026-09-01T10:00:00Z"),
            ["param", "a", ":", "int", "?", "=", "1e-3", "in", "0", "..=", "1.5", ">=", "2026-09-01T10:00:00Z"]
        );
        assert_eq!(tokens("a = 8 GiB + 2 MB - 1 GiBx"), ["a", "=", "8 GiB", "+", "2 MB", "-", "1", "GiBx"]);
        assert_eq!(tokens("a.b 2026 - 9 x==y 1..3"), ["a", ".", "b", "2026", "-", "9", "x", "==", "y", "1", "..", "3"]);
    }

    #[test]
    fn a_piece_ends_where_the_next_declaration_begins() {
        let text = "step a = f(\n  step: 1,\n  x)\n// note\n  step b = g()\n";
        assert_eq!(&text[cut_piece(text, 0).end..], "step b = g()\n");
        let half_typed = "step a = f(x, {\nstep b = g()\n";
        assert_eq!(&half_typed[cut_piece(half_typed, 0).end..], "step b = g()\n");
    }

    #[test]
    fn unclosed_strings_end_with_the_line_or_before_the_next_declaration() {
        assert_eq!(tokens("step a = \"x\\\" ß\r\n  b"), ["step", "a", "=", "\"x\\\" ß", "b"]);
        let text = "step a = sql(\"\"\"\n select 1\nstep b = g()";
        let cut = cut_piece(text, 0);
        assert_eq!(&text[cut.end..], "step b = g()");
        assert!(cut.is_open_ended);
    }
}
