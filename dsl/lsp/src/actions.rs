//! Code actions: each diagnostic whose help says exactly what to write becomes one.

use std::collections::HashMap;

use ls_types::{CodeAction, CodeActionKind, CodeActionOrCommand, Range, TextEdit, WorkspaceEdit};
use mlp_dsl::analysis;

use crate::capabilities::Client;
use crate::file::File;
use crate::published::Places;

pub fn actions(client: &Client, file: &File, range: Range) -> Vec<CodeActionOrCommand> {
    // What was found in an earlier text is found again in a moment, and fits then.
    let Some(findings) = file.current() else { return Vec::new() };
    let wanted = client.encoding.bytes(&file.document, range);
    let near = findings.diagnostics.iter().filter(|diagnostic| {
        diagnostic.primary().is_some_and(|label| {
            label.span.source == 0 && label.span.start <= wanted.end && wanted.start <= label.span.end
        })
    });
    let fixed = near.filter_map(|diagnostic| Some((diagnostic, analysis::fix(diagnostic, &findings.sources)?)));
    let fixed: Vec<_> = fixed.collect();
    if fixed.is_empty() {
        return Vec::new();
    }
    let places = Places::new(client, (&file.uri, &file.document), &findings.sources);
    let actions = fixed.into_iter().filter_map(|(diagnostic, fix)| {
        let (uri, range) = places.place(fix.span)?;
        let edit = TextEdit { range, new_text: fix.new };
        Some(CodeActionOrCommand::CodeAction(CodeAction {
            title: fix.title,
            kind: Some(CodeActionKind::QUICKFIX),
            diagnostics: Some(vec![places.diagnostic(diagnostic).1]),
            edit: Some(changes(uri, vec![edit])),
            is_preferred: Some(fix.is_certain),
            ..CodeAction::default()
        }))
    });
    actions.collect()
}

/// Returns a change of one file.
pub fn changes(uri: ls_types::Uri, edits: Vec<TextEdit>) -> WorkspaceEdit {
    WorkspaceEdit { changes: Some(HashMap::from([(uri, edits)])), ..WorkspaceEdit::default() }
}
