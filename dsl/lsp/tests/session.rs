//! The server as an editor meets it, over a connection in memory: what is sent and received are types of the protocol.

mod support;

use ls_types::request::*;
use ls_types::*;
use support::{CHURN, Editor, place};

#[test]
fn mistakes_are_published_as_one_types_and_go_when_they_are_mended() {
    let mut editor = Editor::start();
    editor.open(&CHURN.replace("target: Churn", "target: Chrun"));
    let found = editor.diagnostics();
    assert_eq!(found.diagnostics.len(), 1, "{found:?}");
    let wrong = &found.diagnostics[0];
    assert_eq!(wrong.code, Some(NumberOrString::String("E0312".into())));
    assert_eq!(wrong.severity, Some(DiagnosticSeverity::ERROR));
    assert!(wrong.message.ends_with("help: did you mean `Churn`?"), "{}", wrong.message);

    let actions = editor.ask::<CodeActionRequest>(CodeActionParams {
        text_document: editor.document(),
        range: wrong.range,
        context: CodeActionContext::default(),
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    let actions = actions.expect("actions");
    let [CodeActionOrCommand::CodeAction(action)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(action.is_preferred, Some(true));
    let edits = action.edit.clone().expect("an edit").changes.expect("changes");
    let edit = edits.into_values().next().expect("of this file").remove(0);
    assert_eq!(edit.new_text, "Churn");

    editor.change(edit.range, &edit.new_text);
    assert_eq!(editor.diagnostics().diagnostics, []);
    assert_eq!(editor.text, CHURN);
}

#[test]
fn labels_elsewhere_are_related_information() {
    let mut editor = Editor::start();
    editor.open(&format!("{CHURN}step parts = table.head(raw, rows: 3)\n"));
    let found = editor.diagnostics();
    let twice = found.diagnostics.iter().find(|d| d.code == Some(NumberOrString::String("E0201".into())));
    let related = twice.expect("declared twice").related_information.clone().expect("two places");
    assert_eq!(related[0].message, "first here, as a step");
    assert_eq!(related[0].location.range.start, place(CHURN, "parts   =", 0));
}

#[test]
fn positions_count_utf16_and_lines_may_end_in_crlf() {
    let mut editor = Editor::start();
    let text = CHURN.replace("param epochs: int = 30", "param goal: str = \"😀ß\" // 😀\nparam epochs: int = 30");
    let text = text.replace('\n', "\r\n").replace("epochs, lr", "/* */ epochs, lr");
    let text = text.replace("/* */ ", "");
    editor.open(&text);
    assert_eq!(editor.diagnostics().diagnostics, []);
    // Behind the emojis on the same line, and on a later line.
    let line = text.lines().position(|line| line.contains("goal")).expect("there") as u32;
    let end = Position { line, character: 22 };
    let behind = Range { start: end, end };
    editor.change(behind, "x");
    assert!(editor.text.contains("\"😀ßx\""), "{}", editor.text);
    assert_eq!(editor.diagnostics().diagnostics, []);
    let at = place(&editor.text, "parts.train", 0);
    let hover = editor.ask::<HoverRequest>(HoverParams {
        text_document_position_params: editor.at(at),
        work_done_progress_params: WorkDoneProgressParams::default(),
    });
    let range = hover.expect("known").range.expect("a range");
    assert_eq!((range.start, range.end.character - range.start.character), (at, 5));
}

#[test]
fn every_request_of_an_editing_session_is_answered() {
    let mut editor = Editor::start();
    editor.open(CHURN);
    assert_eq!(editor.diagnostics().diagnostics, []);
    let position = editor.at(place(CHURN, "parts.train", 0));

    let definition = editor.ask::<GotoDefinition>(GotoDefinitionParams {
        text_document_position_params: position.clone(),
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    let Some(GotoDefinitionResponse::Scalar(location)) = definition else { panic!("{definition:?}") };
    assert_eq!(location.range.start, place(CHURN, "parts   =", 0));

    let references = editor.ask::<References>(ReferenceParams {
        text_document_position: position.clone(),
        context: ReferenceContext { include_declaration: true },
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    assert_eq!(references.expect("some").len(), 4);

    let completion = editor.ask::<Completion>(CompletionParams {
        text_document_position: editor.at(place(CHURN, "train, target", 0)),
        context: None,
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    let Some(CompletionResponse::List(list)) = completion else { panic!("{completion:?}") };
    let labels: Vec<_> = list.items.iter().map(|item| item.label.as_str()).collect();
    assert_eq!(labels, ["test", "train"]);

    let help = editor.ask::<SignatureHelpRequest>(SignatureHelpParams {
        context: None,
        text_document_position_params: editor.at(place(CHURN, "Churn, net", 0)),
        work_done_progress_params: WorkDoneProgressParams::default(),
    });
    assert_eq!(help.expect("in a call").active_parameter, Some(1));

    let symbols = editor.ask::<DocumentSymbolRequest>(DocumentSymbolParams {
        text_document: editor.document(),
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    let Some(DocumentSymbolResponse::Nested(symbols)) = symbols else { panic!("{symbols:?}") };
    assert!(symbols.iter().any(|symbol| symbol.name == "Customer" && symbol.children.is_some()));

    let hints = editor.ask::<InlayHintRequest>(InlayHintParams {
        text_document: editor.document(),
        range: Range { start: Position::default(), end: Position { line: 1000, character: 0 } },
        work_done_progress_params: WorkDoneProgressParams::default(),
    });
    let hints = hints.expect("some");
    let is_shown =
        |wanted: &str| hints.iter().any(|hint| matches!(&hint.label, InlayHintLabel::String(text) if text == wanted));
    assert!(is_shown(": 3 columns each, train and test rows"), "{hints:?}");

    let renamed = editor.ask::<Rename>(RenameParams {
        text_document_position: position,
        new_name: "halves".to_owned(),
        work_done_progress_params: WorkDoneProgressParams::default(),
    });
    assert_eq!(renamed.expect("edits").changes.expect("changes").into_values().next().expect("one file").len(), 4);

    let refused = editor.try_ask::<Rename>(RenameParams {
        text_document_position: editor.at(place(CHURN, "parts   =", 0)),
        new_name: "raw".to_owned(),
        work_done_progress_params: WorkDoneProgressParams::default(),
    });
    assert!(refused.expect_err("refused").message.contains("`raw` is declared already, on line"));
}

#[test]
fn colours_come_whole_or_as_a_difference() {
    let mut editor = Editor::start();
    editor.open(CHURN);
    let whole = editor.colours();
    assert!(whole.data.len() > 50);
    editor.change(Range { start: Position::default(), end: Position::default() }, "// 😀\n");
    let delta = editor.ask::<SemanticTokensFullDeltaRequest>(SemanticTokensDeltaParams {
        text_document: editor.document(),
        previous_result_id: whole.result_id.expect("an id"),
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    let Some(SemanticTokensFullDeltaResult::TokensDelta(delta)) = delta else { panic!("{delta:?}") };
    let [edit] = delta.edits.as_slice() else { panic!("{delta:?}") };
    assert!(edit.data.as_ref().is_some_and(|data| data.len() < 4), "{edit:?}");
    let mut flat: Vec<u32> = support::flat(&whole.data);
    let (start, end) = (edit.start as usize, (edit.start + edit.delete_count) as usize);
    flat.splice(start..end, support::flat(edit.data.as_deref().unwrap_or_default()));
    assert_eq!(flat, support::flat(&editor.colours().data));
}

#[test]
fn half_typed_lines_keep_what_was_known() {
    let mut editor = Editor::start();
    editor.open(CHURN);
    editor.diagnostics();
    let from = place(CHURN, "eval.binary(model, parts.test)", 0);
    let to = Position { line: from.line, character: from.character + 30 };
    editor.change(Range { start: from, end: to }, "eval.binary(model, parts.");
    assert!(!editor.diagnostics().diagnostics.is_empty());
    let completion = editor.ask::<Completion>(CompletionParams {
        text_document_position: editor.at(Position { line: from.line, character: from.character + 25 }),
        context: None,
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    let Some(CompletionResponse::List(list)) = completion else { panic!("{completion:?}") };
    assert_eq!(list.items.len(), 2, "{list:?}");
}

#[test]
fn unknown_requests_and_files_that_are_not_open_are_no_harm() {
    let mut editor = Editor::start();
    let hover = editor.ask::<HoverRequest>(HoverParams {
        text_document_position_params: editor.at(Position::default()),
        work_done_progress_params: WorkDoneProgressParams::default(),
    });
    assert_eq!(hover, None);
    let refused = editor.try_ask::<ls_types::request::MonikerRequest>(MonikerParams {
        text_document_position_params: editor.at(Position::default()),
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    assert_eq!(refused.expect_err("not known").code, -32601);
}
