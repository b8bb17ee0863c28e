//! A session of an editor with the real program: `mlp lsp` over its standard input and output, about a pipeline of this
//! repository, in types of the protocol.

mod support;

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ls_types::notification::{self, Notification as _};
use ls_types::request;
use ls_types::*;
use lsp_server::{Message, Notification, Request, RequestId};
use support::Workspace;

struct Editor {
    program: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last_id: i32,
}

impl Editor {
    fn start() -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_mlp"))
            .arg("lsp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = program.stdin.take().unwrap();
        let output = BufReader::new(program.stdout.take().unwrap());
        Self { program, input, output, last_id: 0 }
    }

    fn tell<N: notification::Notification>(&mut self, params: N::Params) {
        Message::Notification(Notification::new(N::METHOD.to_owned(), params)).write(&mut self.input).unwrap();
    }

    fn ask<R: request::Request>(&mut self, params: R::Params) -> R::Result {
        self.last_id += 1;
        let id = RequestId::from(self.last_id);
        Message::Request(Request::new(id.clone(), R::METHOD.to_owned(), params)).write(&mut self.input).unwrap();
        loop {
            if let Message::Response(response) = self.next()
                && response.id == id
            {
                return serde_json::from_value(response.response_result.unwrap()).unwrap();
            }
        }
    }

    fn diagnostics(&mut self, version: i32) -> Vec<Diagnostic> {
        loop {
            if let Message::Notification(notification) = self.next()
                && notification.method == notification::PublishDiagnostics::METHOD
            {
                let params: PublishDiagnosticsParams = serde_json::from_value(notification.params).unwrap();
                if params.version == Some(version) {
                    return params.diagnostics;
                }
            }
        }
    }

    fn next(&mut self) -> Message {
        Message::read(&mut self.output).unwrap().expect("the server answers")
    }
}

fn churn() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/churn/churn.mlp")
}

fn place(text: &str, needle: &str) -> Position {
    let at = text.find(needle).unwrap_or_else(|| panic!("no `{needle}`"));
    let line = text[..at].matches('\n').count();
    let column = at - text[..at].rfind('\n').map_or(0, |n| n + 1);
    Position { line: u32::try_from(line).unwrap(), character: u32::try_from(column).unwrap() }
}

#[test]
fn an_editor_works_on_the_churn_pipeline() {
    let text = std::fs::read_to_string(churn()).unwrap();
    let uri = Uri::from_file_path(churn()).unwrap();
    let mut editor = Editor::start();
    let initialized = editor.ask::<request::Initialize>(InitializeParams::default());
    assert_eq!(initialized.server_info.unwrap().name, "mlp");
    assert!(initialized.capabilities.rename_provider.is_some());
    editor.tell::<notification::Initialized>(InitializedParams {});
    let item = TextDocumentItem { uri: uri.clone(), language_id: "mlp".into(), version: 1, text: text.clone() };
    editor.tell::<notification::DidOpenTextDocument>(DidOpenTextDocumentParams { text_document: item });
    assert_eq!(editor.diagnostics(1), []);

    // A column is misspelt, and the data beside the pipeline is read from a file that is not there.
    let wrong = text.replace("target: Churn", "target: Chrun").replace("data/telco.csv", "data/telco.tsv");
    editor.tell::<notification::DidChangeTextDocument>(DidChangeTextDocumentParams {
        text_document: VersionedTextDocumentIdentifier { uri: uri.clone(), version: 2 },
        content_changes: vec![TextDocumentContentChangeEvent { range: None, range_length: None, text: wrong }],
    });
    let codes: Vec<_> = editor.diagnostics(2).into_iter().filter_map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, ["E0219", "E0312"].map(|code| NumberOrString::String(code.into())));

    let change = TextDocumentContentChangeEvent { range: None, range_length: None, text: text.clone() };
    editor.tell::<notification::DidChangeTextDocument>(DidChangeTextDocumentParams {
        text_document: VersionedTextDocumentIdentifier { uri: uri.clone(), version: 3 },
        content_changes: vec![change],
    });
    assert_eq!(editor.diagnostics(3), []);

    let at =
        |position| TextDocumentPositionParams { text_document: TextDocumentIdentifier { uri: uri.clone() }, position };
    let hover = editor.ask::<request::HoverRequest>(HoverParams {
        text_document_position_params: at(place(&text, "torch.train")),
        work_done_progress_params: WorkDoneProgressParams::default(),
    });
    let HoverContents::Markup(markup) = hover.unwrap().contents else { panic!("not Markdown") };
    assert!(markup.value.contains("Trains a model with libtorch.") && markup.value.contains("- `target`: the column"));

    let completion = editor.ask::<request::Completion>(CompletionParams {
        text_document_position: at(place(&text, "auc >= 0.80")),
        context: None,
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    let Some(CompletionResponse::List(list)) = completion else { panic!("no list") };
    assert!(list.items.iter().any(|item| item.label == "log_loss"), "{list:?}");

    let definition = editor.ask::<request::GotoDefinition>(GotoDefinitionParams {
        text_document_position_params: at(place(&text, "TotalCharges, SeniorCitizen]")),
        work_done_progress_params: WorkDoneProgressParams::default(),
        partial_result_params: PartialResultParams::default(),
    });
    let Some(GotoDefinitionResponse::Scalar(location)) = definition else { panic!("no place") };
    assert_eq!(location, Location { uri: uri.clone(), range: location.range });
    assert_eq!(location.range.start, place(&text, "TotalCharges:     float?"));

    editor.ask::<request::Shutdown>(());
    editor.tell::<notification::Exit>(());
    let Editor { mut program, input, mut output, .. } = editor;
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing but messages goes to standard output");
    assert!(program.wait().unwrap().success());
    program.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn an_editor_works_across_modules_and_formats() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let module = "/// Keeps the first rows.\ndef first(data: table, n: int = 2 in 1..=9) {\n  step parts = table.split_rows(data, every: 10, at: n)\n  result = parts.test\n}\n";
    let text = "pipeline p\nuse \"shared.mlp\" as shared\nschema Row { id: str key, n: int }\nsource raw = csv.read(\"rows.csv\", schema: Row)\nstep few   =   shared.first(raw, n: 3)\nstep out = csv.write(few)\n";
    std::fs::write(root.join("shared.mlp"), module).unwrap();
    std::fs::write(root.join("rows.csv"), "id,n\na,1\n").unwrap();
    std::fs::write(root.join("p.mlp"), text).unwrap();
    let uri = Uri::from_file_path(root.join("p.mlp")).unwrap();
    let mut editor = Editor::start();
    let initialized = editor.ask::<request::Initialize>(InitializeParams::default());
    assert_eq!(initialized.capabilities.document_formatting_provider, Some(OneOf::Left(true)));
    editor.tell::<notification::Initialized>(InitializedParams {});
    let item = TextDocumentItem { uri: uri.clone(), language_id: "mlp".into(), version: 1, text: text.to_owned() };
    editor.tell::<notification::DidOpenTextDocument>(DidOpenTextDocumentParams { text_document: item });
    assert_eq!(editor.diagnostics(1), []);
    let document = || TextDocumentIdentifier { uri: uri.clone() };
    let at = |position| TextDocumentPositionParams { text_document: document(), position };
    let (work, partial) = (WorkDoneProgressParams::default, PartialResultParams::default);
    let called = place(text, "first(raw");

    let definition = editor.ask::<request::GotoDefinition>(GotoDefinitionParams {
        text_document_position_params: at(called),
        work_done_progress_params: work(),
        partial_result_params: partial(),
    });
    let Some(GotoDefinitionResponse::Scalar(location)) = definition else { panic!("{definition:?}") };
    assert_eq!(location.uri, Uri::from_file_path(root.join("shared.mlp")).unwrap());
    assert_eq!(location.range.start, place(module, "first(data"));

    let hover = editor.ask::<request::HoverRequest>(HoverParams {
        text_document_position_params: at(called),
        work_done_progress_params: work(),
    });
    let HoverContents::Markup(markup) = hover.unwrap().contents else { panic!("not Markdown") };
    assert!(markup.value.contains("Keeps the first rows.") && markup.value.contains("n: int = 2"), "{}", markup.value);

    let help = editor.ask::<request::SignatureHelpRequest>(SignatureHelpParams {
        context: None,
        text_document_position_params: at(place(text, "n: 3)")),
        work_done_progress_params: work(),
    });
    let help = help.unwrap();
    assert!(help.signatures[0].label.starts_with("shared.first(data: table"), "{help:?}");
    assert_eq!(help.active_parameter, Some(1));

    let completion = editor.ask::<request::Completion>(CompletionParams {
        text_document_position: at(called),
        context: None,
        work_done_progress_params: work(),
        partial_result_params: partial(),
    });
    let Some(CompletionResponse::List(list)) = completion else { panic!("no list") };
    assert_eq!(list.items.iter().map(|item| item.label.as_str()).collect::<Vec<_>>(), ["first"]);

    let edits = editor.ask::<request::Formatting>(DocumentFormattingParams {
        text_document: document(),
        options: FormattingOptions::default(),
        work_done_progress_params: work(),
    });
    let mut formatted: Vec<String> = text.lines().map(str::to_owned).collect();
    let [edit] = <[TextEdit; 1]>::try_from(edits.unwrap()).unwrap();
    let (start, end) = (edit.range.start, edit.range.end);
    let head: String = formatted[start.line as usize].chars().take(start.character as usize).collect();
    let tail: String = formatted[end.line as usize].chars().skip(end.character as usize).collect();
    let lines: Vec<String> = format!("{head}{}{tail}", edit.new_text).lines().map(str::to_owned).collect();
    formatted.splice(start.line as usize..=end.line as usize, lines);
    assert_eq!(formatted.join("\n") + "\n", mlp_dsl::format(text).unwrap());
}

/// Returns what a run would do, by the line it is told behind.
fn states(editor: &mut Editor, document: &TextDocumentIdentifier) -> Vec<(u32, String)> {
    let hints = editor.ask::<request::InlayHintRequest>(InlayHintParams {
        text_document: document.clone(),
        range: Range { start: Position::default(), end: Position { line: 100, character: 0 } },
        work_done_progress_params: WorkDoneProgressParams::default(),
    });
    let told = hints.unwrap_or_default().into_iter().filter(|hint| hint.kind.is_none());
    told.filter_map(|hint| match hint.label {
        InlayHintLabel::String(text) => Some((hint.position.line, text)),
        InlayHintLabel::LabelParts(_) => None,
    })
    .collect()
}

/// Waits until the server says that hints have changed, and they are as wanted.
fn await_states(
    editor: &mut Editor,
    document: &TextDocumentIdentifier,
    wanted: impl Fn(&[(u32, String)]) -> bool,
) -> Vec<(u32, String)> {
    loop {
        let found = states(editor, document);
        if wanted(&found) {
            return found;
        }
        let is_refresh = |m: &Message| matches!(m, Message::Request(r) if r.method == "workspace/inlayHint/refresh");
        while !is_refresh(&editor.next()) {}
    }
}

#[test]
fn steps_tell_what_a_run_would_do_with_them() {
    let ws = Workspace::new();
    let text = r#"pipeline p

param keep: int = 1

def counted(rows: file) {
  step lines = sh("wc -l < {rows} > {o}", inputs: { rows }, outputs: { o: file })
  result = lines
}

step first = sh("head -n $KEEP {raw} > {o}", inputs: { raw: file("rows.csv") }, outputs: { o: file }, env: { KEEP: "" + keep })
step few   = counted(first)
for n in [1, 2] as tried {
  step made = sh("echo {first} $N > {o}", inputs: { first }, outputs: { o: file }, env: { N: "" + n })
}
"#;
    ws.write("rows.csv", "a\nb\nc\n").write("p.mlp", text);
    let uri = Uri::from_file_path(ws.path("p.mlp")).unwrap();
    let document = TextDocumentIdentifier { uri: uri.clone() };
    let mut editor = Editor::start();
    let capabilities =
        serde_json::json!({ "capabilities": { "workspace": { "inlayHint": { "refreshSupport": true } } } });
    editor.ask::<request::Initialize>(serde_json::from_value(capabilities).unwrap());
    editor.tell::<notification::Initialized>(InitializedParams {});
    let item = TextDocumentItem { uri: uri.clone(), language_id: "mlp".into(), version: 1, text: text.to_owned() };
    editor.tell::<notification::DidOpenTextDocument>(DidOpenTextDocumentParams { text_document: item });
    assert_eq!(editor.diagnostics(1), []);
    // Without a store nothing is told, and none is made.
    assert_eq!(states(&mut editor, &document), []);
    assert!(!ws.path(".mlp").exists());

    // A run elsewhere is noticed.
    ws.run("p.mlp", &[]).exits(0);
    let stored = |line: u32| (line, "stored".to_owned());
    let found = await_states(&mut editor, &document, |states| !states.is_empty());
    assert_eq!(found, [stored(5), stored(9), stored(10), stored(12)]);

    let edited = text.replace("keep: int = 1", "keep: int = 2");
    editor.tell::<notification::DidChangeTextDocument>(DidChangeTextDocumentParams {
        text_document: VersionedTextDocumentIdentifier { uri, version: 2 },
        content_changes: vec![TextDocumentContentChangeEvent { range: None, range_length: None, text: edited.clone() }],
    });
    assert_eq!(editor.diagnostics(2), []);
    assert_eq!(states(&mut editor, &document), []);
    ws.write("p.mlp", &edited);
    let saved = DidSaveTextDocumentParams { text_document: document.clone(), text: None };
    editor.tell::<notification::DidSaveTextDocument>(saved);
    let found = await_states(&mut editor, &document, |states| !states.is_empty());
    let [lines, first, few, made] = <[(u32, String); 4]>::try_from(found).unwrap();
    assert_eq!((first.0, &*first.1), (9, r#"runs: param env: {KEEP: "1"} -> {KEEP: "2"}"#));
    let unknown = "unknown until first";
    assert_eq!([&*lines.1, &*few.1, &*made.1], [unknown; 3]);
}

#[test]
fn an_editor_that_leaves_without_a_word_ends_the_server() {
    let mut editor = Editor::start();
    editor.ask::<request::Initialize>(InitializeParams::default());
    editor.tell::<notification::Initialized>(InitializedParams {});
    let Editor { mut program, input, .. } = editor;
    drop(input);
    assert_eq!(program.wait().unwrap().code(), Some(2));
}
