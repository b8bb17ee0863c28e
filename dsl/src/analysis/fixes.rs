//! What an editor can change by itself about a mistake: each "did you mean", and each help that says what to write.

use mlp_model::{SourceText, Span};

use crate::diagnostic::Diagnostic;

/// A change that takes a mistake away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What it does, as a menu shows it.
    pub title: String,
    pub span: Span,
    pub new: String,
    /// There is no doubt that this was meant.
    pub is_certain: bool,
}

/// Returns the change that a diagnostic's help asks for, if it says it exactly.
pub fn fix(diagnostic: &Diagnostic, sources: &[SourceText]) -> Option<Fix> {
    let help = diagnostic.help.as_deref()?;
    let span = diagnostic.primary()?.span;
    let text = &sources.get(span.source)?.text;
    let written = text.get(span.start..span.end)?;
    if let Some(word) = quoted(help, "did you mean `") {
        return Some(Fix { title: format!("replace by `{word}`"), span, new: like(written, word), is_certain: true });
    }
    match diagnostic.code.as_ref() {
        "E0215" => {
            // ``write `source raw = ..` ``: only the declaring word is wrong.
            let word = quoted(help, "write `")?.split(' ').next()?;
            let (start, end) = declaring_word(text, span.start)?;
            let title = format!("declare it as a {word}");
            Some(Fix { title, span: Span { start, end, ..span }, new: word.to_owned(), is_certain: true })
        }
        "E0521" => {
            // ``add `first floor only` ``: goes before the brace that closes the gate.
            let rule = quoted(help, "add `")?;
            let at = closing_brace(text, span.end)?;
            let is_own_line = text[..at].trim_end_matches([' ', '\t']).ends_with('\n');
            let new = if is_own_line { format!("  {rule}\n") } else { format!(" {rule} ") };
            let at = if is_own_line { text[..at].rfind('\n')? + 1 } else { at };
            Some(Fix {
                title: format!("add `{rule}`"),
                span: Span { start: at, end: at, ..span },
                new,
                is_certain: false,
            })
        }
        "E0110" => {
            // `///` or `//!` that documents nothing becomes a comment, on each of its lines.
            let new = written.replace("///", "//").replace("//!", "//");
            (new != written).then(|| Fix { title: "make it a comment".to_owned(), span, new, is_certain: false })
        }
        "E0211" => {
            // One of several outputs as an example, or the node alone.
            let new = quoted(help, "write `")?;
            let (span, is_certain) =
                if help.ends_with(" alone") { (whole_path(text, span)?, true) } else { (span, false) };
            Some(Fix { title: format!("write `{new}`"), span, new: new.to_owned(), is_certain })
        }
        "E0217" | "E0301" | "E0304" | "E0322" => {
            // Not an example or a shape.
            let new = quoted(help, "write `").filter(|new| !new.contains("..") && !new.contains("name: value"))?;
            let is_exact = !help.contains(", for example");
            is_exact.then(|| Fix { title: format!("write `{new}`"), span, new: new.to_owned(), is_certain: true })
        }
        _ => None,
    }
}

/// Returns what stands in backquotes behind `before`.
fn quoted<'h>(help: &'h str, before: &str) -> Option<&'h str> {
    let (_, rest) = help.split_once(before)?;
    rest.split_once('`').map(|(word, _)| word)
}

/// Writes a suggested name as the wrong one is written: between quotes, or as a name.
fn like(written: &str, word: &str) -> String {
    if written.starts_with('"') {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        super::describe::label_or_path(word)
    }
}

/// Returns the `source` or `step` that begins the declaration at a byte.
fn declaring_word(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text.get(..at)?;
    let mut from = before.len();
    loop {
        let line = before[..from].rfind('\n').map_or(0, |n| n + 1);
        let blank = before[line..].len() - before[line..].trim_start().len();
        let start = line + blank;
        for word in ["source", "step"] {
            if text[start..].starts_with(word) && text[start + word.len()..].starts_with([' ', '\t']) {
                return Some((start, start + word.len()));
            }
        }
        from = line.checked_sub(1)?;
    }
}

/// Returns where the brace stands that closes the block around a byte.
fn closing_brace(text: &str, at: usize) -> Option<usize> {
    let cut = super::lex::cut_piece(text, at);
    let mut depth = 0_usize;
    for token in &cut.tokens {
        match token.kind {
            super::lex::TokenKind::Open(_) => depth += 1,
            super::lex::TokenKind::Close(b'}') if depth == 0 => return Some(at + token.start as usize),
            super::lex::TokenKind::Close(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Widens the span of a path's last name to the whole path.
fn whole_path(text: &str, span: Span) -> Option<Span> {
    let before = text.get(..span.start)?;
    let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').map_or(0, |n| n + 1);
    text.is_char_boundary(start).then_some(Span { start, ..span })
}
