//! The one style of `.mlp` files.
//!
//! Works on tokens, brackets and the places at which declarations begin, not on the syntax tree: a text keeps its tokens
//! in their order, and only what stands between them changes. So no comment can be lost, and what the grammar learns
//! later is formatted without a change here.

mod align;
mod layout;
pub(crate) mod lex;
mod rows;
mod tree;

use crate::diagnostic::{Diagnostic, Severity};
use crate::{outline, parse};

/// How often a text is laid out until it no longer changes. The first time is enough unless a call breaks in the middle
/// of another one; each further time sees the lines of the one before.
const MOST_PASSES: usize = 5;

/// Why a text is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It cannot be read. Spans refer to source 0.
    #[error("the text does not follow the grammar")]
    Syntax(Vec<Diagnostic>),
    /// A mistake of the formatter, found before anything was written.
    #[error("the formatter would change more than blanks")]
    Changed,
}

/// Returns the text in the one style. Formatting what is formatted changes nothing.
///
/// # Errors
/// [`FormatError::Syntax`] for what cannot be read; names and types need not be right.
pub fn format(text: &str) -> Result<String, FormatError> {
    let starts = check_syntax(text).map_err(FormatError::Syntax)?;
    let mut formatted = pass(text, &starts);
    for _ in 1..MOST_PASSES {
        let again = match check_syntax(&formatted) {
            Ok(starts) => pass(&formatted, &starts),
            Err(_) => break,
        };
        if again == formatted {
            break;
        }
        formatted = again;
    }
    if same_tokens(text, &formatted) { Ok(formatted) } else { Err(FormatError::Changed) }
}

/// Returns where declarations begin.
fn check_syntax(text: &str) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let outline = outline::cut(0, text, &mut diagnostics);
    parse::parse_file(0, &outline, &mut diagnostics);
    diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
    if diagnostics.is_empty() {
        Ok(outline.chunks.iter().map(|chunk| chunk.start).collect())
    } else {
        diagnostics.sort_by_key(|diagnostic| diagnostic.primary().map(|label| label.span.start));
        Err(diagnostics)
    }
}

fn pass(text: &str, starts: &[usize]) -> String {
    let is_crlf = text.find('\n').is_some_and(|n| text[..n].ends_with('\r'));
    layout::lay_out(&tree::tree(lex::tokens(text)), starts, if is_crlf { "\r\n" } else { "\n" })
}

/// Commas between columns and between checks mean nothing and may go.
fn same_tokens(before: &str, after: &str) -> bool {
    let (before, after) = (lex::tokens(before), lex::tokens(after));
    let without_commas = |tokens: &[lex::Token<'_>]| -> Vec<String> {
        tokens.iter().filter(|token| !token.is(",")).map(|token| token.text.to_owned()).collect()
    };
    without_commas(&before) == without_commas(&after)
}
