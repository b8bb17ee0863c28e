//! Between bytes of a text and positions of the protocol, which count lines and code units.

use std::ops::Range;

use ls_types::{Position, PositionEncodingKind};
use mlp_dsl::analysis::Document;

/// What a position counts on its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    Utf8,
    #[default]
    Utf16,
    Utf32,
}

impl Encoding {
    /// Returns the first of the editor's that costs least here; every editor knows UTF-16.
    pub fn of(offered: Option<&[PositionEncodingKind]>) -> Self {
        let offered = offered.unwrap_or_default();
        if offered.contains(&PositionEncodingKind::UTF8) { Self::Utf8 } else { Self::Utf16 }
    }

    pub fn kind(self) -> PositionEncodingKind {
        match self {
            Self::Utf8 => PositionEncodingKind::UTF8,
            Self::Utf16 => PositionEncodingKind::UTF16,
            Self::Utf32 => PositionEncodingKind::UTF32,
        }
    }

    /// Returns how long a text is.
    pub fn length(self, text: &str) -> u32 {
        let length = match self {
            Self::Utf8 => text.len(),
            Self::Utf16 => text.chars().map(char::len_utf16).sum(),
            Self::Utf32 => text.chars().count(),
        };
        u32::try_from(length).unwrap_or(u32::MAX)
    }

    pub fn position(self, document: &Document, at: usize) -> Position {
        let at = document.floor(at);
        let line = document.line_of(at);
        let start = document.line(line).start;
        let before = document.text().get(start..at).unwrap_or_default();
        Position { line: u32::try_from(line).unwrap_or(u32::MAX), character: self.length(before) }
    }

    pub fn range(self, document: &Document, range: Range<usize>) -> ls_types::Range {
        ls_types::Range { start: self.position(document, range.start), end: self.position(document, range.end) }
    }

    /// Returns the byte of a position. Behind the end of a line is its end, behind the last line the end of the text,
    /// and within a character is its start.
    pub fn offset(self, document: &Document, position: Position) -> usize {
        let line = usize::try_from(position.line).unwrap_or(usize::MAX);
        let range = document.line(line);
        let text = document.text().get(range.clone()).unwrap_or_default();
        let mut left = position.character;
        for (at, character) in text.char_indices() {
            let width = match self {
                Self::Utf8 => character.len_utf8(),
                Self::Utf16 => character.len_utf16(),
                Self::Utf32 => 1,
            };
            let width = u32::try_from(width).unwrap_or(1);
            if left < width {
                return range.start + at;
            }
            left -= width;
        }
        range.end
    }

    pub fn bytes(self, document: &Document, range: ls_types::Range) -> Range<usize> {
        let start = self.offset(document, range.start);
        start..self.offset(document, range.end).max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, character: u32) -> Position {
        Position { line, character }
    }

    #[test]
    fn utf16_counts_an_emoji_as_two() {
        let document = Document::new("a😀ß\r\nx");
        let encoding = Encoding::Utf16;
        for (byte, position) in
            [(0, at(0, 0)), (1, at(0, 1)), (5, at(0, 3)), (7, at(0, 4)), (9, at(1, 0)), (10, at(1, 1))]
        {
            assert_eq!(encoding.position(&document, byte), position, "byte {byte}");
            assert_eq!(encoding.offset(&document, position), byte, "{position:?}");
        }
        // Within the emoji, behind the line, between `\r` and `\n`, behind the text.
        assert_eq!(encoding.offset(&document, at(0, 2)), 1);
        assert_eq!(encoding.offset(&document, at(0, 99)), 7);
        assert_eq!(encoding.offset(&document, at(7, 0)), 10);
        assert_eq!(Encoding::Utf8.offset(&document, at(0, 7)), 7);
    }
}
