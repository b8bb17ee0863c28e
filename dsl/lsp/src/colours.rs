//! Semantic tokens: the colours of a text as the protocol counts them, whole, of a range, or as a difference.

use std::ops::Range;

use ls_types::{SemanticToken, SemanticTokenModifier, SemanticTokenType, SemanticTokensEdit, SemanticTokensLegend};
use mlp_dsl::analysis::{Colour, View, colours};

use crate::position::Encoding;

/// In the order of [`index`].
const TYPES: [SemanticTokenType; 15] = [
    SemanticTokenType::KEYWORD,
    SemanticTokenType::COMMENT,
    SemanticTokenType::STRING,
    SemanticTokenType::NUMBER,
    SemanticTokenType::FUNCTION,
    SemanticTokenType::CLASS,
    SemanticTokenType::PARAMETER,
    SemanticTokenType::VARIABLE,
    SemanticTokenType::TYPE,
    SemanticTokenType::NAMESPACE,
    SemanticTokenType::PROPERTY,
    SemanticTokenType::ENUM_MEMBER,
    SemanticTokenType::MODIFIER,
    SemanticTokenType::EVENT,
    SemanticTokenType::STRUCT,
];

const DECLARATION: u32 = 1;
const DOCUMENTATION: u32 = 2;
const READONLY: u32 = 4;

pub fn legend() -> SemanticTokensLegend {
    SemanticTokensLegend {
        token_types: TYPES.to_vec(),
        token_modifiers: vec![
            SemanticTokenModifier::DECLARATION,
            SemanticTokenModifier::DOCUMENTATION,
            SemanticTokenModifier::READONLY,
        ],
    }
}

/// Returns the place of a colour in the legend, and its modifiers.
fn index(colour: Colour) -> (u32, u32) {
    match colour {
        Colour::Keyword => (0, 0),
        Colour::Comment => (1, 0),
        Colour::Doc => (1, DOCUMENTATION),
        Colour::String => (2, 0),
        Colour::Number => (3, 0),
        Colour::Operation => (4, 0),
        Colour::Constructor => (5, 0),
        Colour::Argument => (6, 0),
        Colour::Node => (7, 0),
        Colour::Param => (7, READONLY),
        Colour::Type => (8, 0),
        Colour::Module => (9, 0),
        Colour::Output | Colour::Column | Colour::Metric => (10, 0),
        Colour::Choice => (11, 0),
        Colour::Mark => (12, 0),
        Colour::Gate | Colour::Release | Colour::Check => (13, 0),
        Colour::Schema => (14, 0),
    }
}

/// Returns the tokens of a range of bytes. One over several lines is cut into one for each.
pub fn tokens(encoding: Encoding, view: &View<'_>, range: Range<usize>) -> Vec<SemanticToken> {
    let document = view.document;
    let text = document.text();
    let mut tokens = Vec::new();
    let (mut last_line, mut last_start) = (0_u32, 0_u32);
    // Where the last token was measured to, so that a long line is not measured from its beginning each time.
    let (mut line, mut measured, mut column) = (usize::MAX, 0_usize, 0_u32);
    for part in colours(view, range) {
        let (token_type, mut modifiers) = index(part.colour);
        if part.is_declaration {
            modifiers |= DECLARATION;
        }
        let mut start = part.range.start;
        while start < part.range.end {
            let this_line =
                if line != usize::MAX && document.line(line).contains(&start) { line } else { document.line_of(start) };
            let bounds = document.line(this_line);
            if this_line != line {
                (line, measured, column) = (this_line, bounds.start, 0);
            }
            let end = part.range.end.min(bounds.end);
            if end > start {
                column += encoding.length(text.get(measured..start).unwrap_or_default());
                let length = encoding.length(text.get(start..end).unwrap_or_default());
                measured = start;
                let line_number = u32::try_from(line).unwrap_or(u32::MAX);
                let delta_line = line_number - last_line;
                let delta_start = if delta_line == 0 { column - last_start } else { column };
                tokens.push(SemanticToken {
                    delta_line,
                    delta_start,
                    length,
                    token_type,
                    token_modifiers_bitset: modifiers,
                });
                (last_line, last_start) = (line_number, column);
            }
            if part.range.end <= bounds.end {
                break;
            }
            start = document.line(this_line + 1).start.max(start + 1);
        }
    }
    tokens
}

/// Returns the one edit that makes the new tokens of the old ones.
pub fn difference(old: &[SemanticToken], new: &[SemanticToken]) -> Vec<SemanticTokensEdit> {
    let n_before = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[n_before..], &new[n_before..]);
    let n_after = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let (removed, added) = (old_rest.len() - n_after, &new_rest[..new_rest.len() - n_after]);
    if removed == 0 && added.is_empty() {
        return Vec::new();
    }
    let count = |n: usize| u32::try_from(n * 5).unwrap_or(u32::MAX);
    vec![SemanticTokensEdit { start: count(n_before), delete_count: count(removed), data: Some(added.to_vec()) }]
}
