//! What formatting promises, checked on any text.

use mlp_dsl::{FormatError, Span, format};
use mlp_model::{NodeKind, Pipeline};

#[track_caller]
pub fn formatted(text: &str) -> String {
    format(text).unwrap_or_else(|e| panic!("{e}: {e:?}\n{text}"))
}

/// Checks all that formatting promises; returns whether the text could be formatted at all.
#[track_caller]
pub fn is_harmless(text: &str) -> bool {
    let found = match format(text) {
        Ok(found) => found,
        Err(FormatError::Syntax(_)) => return false,
        Err(e) => panic!("{e}\n{text}"),
    };
    let again = formatted(&found);
    assert!(again == found, "formatting again changes\n{text}\n--- once\n{found}\n--- twice\n{again}");
    assert_eq!(comments(&found), comments(text), "\n{text}\n--- formatted\n{found}");
    assert_eq!(meaning(&found), meaning(text), "\n{text}\n--- formatted\n{found}");
    let is_text_line = |line: &str| found.contains("\"\"\"") || line.trim_end() == line;
    assert!(found.lines().all(is_text_line), "blanks at the end of a line\n{found}");
    true
}

/// Returns the comments in order, read without the formatter's own tokens.
fn comments(text: &str) -> Vec<String> {
    let mut comments = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '/']) {
        rest = &rest[at..];
        if let Some(inside) = rest.strip_prefix("\"\"\"") {
            rest = inside.split_once("\"\"\"").map_or("", |(_, after)| after);
        } else if let Some(inside) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = inside.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            rest = end.map_or("", |end| &inside[end + 1..]);
        } else if rest.starts_with("//") {
            let line = rest.lines().next().unwrap_or_default();
            comments.push(line.trim_end().to_owned());
            rest = &rest[line.len()..];
        } else {
            rest = &rest[1..];
        }
    }
    comments
}

/// Returns what a check makes of the text, but for places and blanks.
///
/// Of diagnostics it returns the codes: messages quote the text as it is laid out.
fn meaning(text: &str) -> String {
    let checked = super::check(text);
    let mut told: Vec<_> = checked.diagnostics.iter().map(|found| found.code.clone()).collect();
    told.sort_unstable();
    format!("{told:?}\n{:#?}", checked.pipeline.map(without_places))
}

fn without_places(mut pipeline: Pipeline) -> Pipeline {
    pipeline.sources.clear();
    pipeline.params.values_mut().for_each(|param| param.span = Span::default());
    for node in &mut pipeline.nodes {
        node.span = Span::default();
        match &mut node.kind {
            NodeKind::Call(call) => call.arg_spans.values_mut().for_each(|span| *span = Span::default()),
            NodeKind::Gate(gate) => {
                for check in &mut gate.checks {
                    check.span = Span::default();
                    check.text.retain(|c| c != ' ');
                }
            }
            NodeKind::Release(_) => {}
        }
    }
    pipeline
}
