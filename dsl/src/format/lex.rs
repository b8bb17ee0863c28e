//! Cuts a text into words, numbers, strings, marks and comments. Loses nothing but blanks, and knows no grammar: what it
//! does not recognise becomes a mark of one character.

/// Marks of several characters, longer ones first.
const MARKS: [&str; 13] = ["..=", "..", "->", "=>", "==", "!=", "<=", ">=", "??", "&&", "||", "**", "::"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Word,
    Number,
    Text,
    Mark,
    /// From `//` to the last visible character of the line.
    Comment,
}

#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub start: usize,
    /// How many lines end between the token before and this one.
    pub breaks: usize,
    /// Something separates it from the token before.
    pub spaced: bool,
}

impl Token<'_> {
    pub fn is(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }

    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }
}

pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let (mut breaks, mut spaced) = (0, false);
    while let Some(next) = text[at..].chars().next() {
        if matches!(next, ' ' | '\t' | '\r' | '\n') {
            breaks += usize::from(next == '\n');
            spaced = true;
            at += 1;
            continue;
        }
        let (kind, len) = measure(&text[at..], next);
        let end = at + len;
        let found = if kind == Kind::Comment { text[at..end].trim_end() } else { &text[at..end] };
        tokens.push(Token { kind, text: found, start: at, breaks, spaced });
        (breaks, spaced) = (0, false);
        at = end;
    }
    tokens
}

/// Returns what `rest`, which begins with `next`, begins with, and how many bytes it takes.
fn measure(rest: &str, next: char) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if let Some(inside) = rest.strip_prefix("\"\"\"") {
        return (Kind::Text, inside.find("\"\"\"").map_or(rest.len(), |n| n + 6));
    }
    if next == '"' {
        return (Kind::Text, string_len(rest));
    }
    if next.is_ascii_digit() {
        return (Kind::Number, number_len(rest.as_bytes()));
    }
    if is_word_char(next) {
        return (Kind::Word, rest.find(|c| !is_word_char(c)).unwrap_or(rest.len()));
    }
    let mark = MARKS.iter().find(|mark| rest.starts_with(**mark));
    (Kind::Mark, mark.map_or(next.len_utf8(), |mark| mark.len()))
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Measures what the grammar takes as one number, date or duration.
fn number_len(bytes: &[u8]) -> usize {
    let digits = |at: usize, n: usize| (at..at + n).all(|i| bytes.get(i).is_some_and(u8::is_ascii_digit));
    let is_digit = |at: usize| digits(at, 1);
    let is_date =
        digits(0, 4) && bytes.get(4) == Some(&b'-') && digits(5, 2) && bytes.get(7) == Some(&b'-') && digits(8, 2);
    let mut at = if is_date { 10 } else { 0 };
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'e' | b'E' if !is_date && matches!(bytes.get(at + 1), Some(b'+' | b'-')) && is_digit(at + 2) => at += 3,
            b':' if is_date => at += 1,
            b'.' if is_digit(at + 1) => at += 1,
            b'_' if !is_date => at += 1,
            byte if byte.is_ascii_alphanumeric() => at += 1,
            _ => break,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|token| token.text).collect()
    }

    #[test]
    fn tokens_are_those_of_the_grammar() {
        assert_eq!(
            texts("in 0..=1.5 1e-3 2026-09-01 2026 - 9"),
            ["in", "0", "..=", "1.5", "1e-3", "2026-09-01", "2026", "-", "9"]
        );
        assert_eq!(texts("2026-09-01T12:30:00.5Z..x"), ["2026-09-01T12:30:00.5Z", "..", "x"]);
        assert_eq!(
            texts(r#"a.b("\"//" , """ " // """)"#),
            ["a", ".", "b", "(", r#""\"//""#, ",", "\"\"\" \" // \"\"\"", ")"]
        );
        assert_eq!(texts("x // c \r\ny"), ["x", "// c", "y"]);
        assert_eq!(texts("\u{feff}1h30m 8GiB"), ["1h30m", "8GiB"]);
    }

    #[test]
    fn breaks_count_lines_between_tokens() {
        let breaks: Vec<_> = tokens("a b\nc // x\n\n\nd").iter().map(|token| token.breaks).collect();
        assert_eq!(breaks, [0, 0, 1, 0, 3]);
    }
}
