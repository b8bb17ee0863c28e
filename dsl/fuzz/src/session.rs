//! The language server itself, with an editor that sends any edits and asks at any place. A panic in one of its threads
//! ends the program, whether or not the server would have lived on.

#![no_main]

mod stream;
#[path = "../../lsp/tests/support/mod.rs"]
mod support;
mod watch;

use libfuzzer_sys::fuzz_target;
use ls_types::*;
use mlp_dsl::analysis::Document;
use mlp_lsp::Encoding;
use support::Editor;

fuzz_target!(|bytes: &[u8]| {
    let (text, edits) = stream::read(bytes);
    let mut editor = Editor::start();
    editor.open(text);
    for edit in edits.into_iter().take(8) {
        let document = Document::new(editor.text.as_str());
        let start = document.floor(edit.at % (document.text().len() + 1));
        let end = document.floor((start + edit.len).min(document.text().len())).max(start);
        let place = |at| Encoding::Utf16.position(&document, at);
        let (range, at) = (Range::new(place(start), place(end)), place(start));
        editor.change(range, &edit.new);
        let position = editor.at(at);
        let asked = match edit.len % 4 {
            0 => editor.send::<request::HoverRequest>(HoverParams {
                text_document_position_params: position,
                work_done_progress_params: WorkDoneProgressParams::default(),
            }),
            1 => editor.send::<request::GotoDefinition>(GotoDefinitionParams {
                text_document_position_params: position,
                work_done_progress_params: WorkDoneProgressParams::default(),
                partial_result_params: PartialResultParams::default(),
            }),
            2 => editor.send::<request::Completion>(CompletionParams {
                text_document_position: position,
                work_done_progress_params: WorkDoneProgressParams::default(),
                partial_result_params: PartialResultParams::default(),
                context: None,
            }),
            _ => editor.send::<request::SignatureHelpRequest>(SignatureHelpParams {
                text_document_position_params: position,
                work_done_progress_params: WorkDoneProgressParams::default(),
                context: None,
            }),
        };
        // A refusal is an answer, too; a panic has ended the program by now.
        let _ = watch::in_time("an answer", || editor.answer(asked));
    }
    editor.diagnostics();
});
