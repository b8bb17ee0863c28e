//! A session of an editor with the real program: `mlp lsp` over its standard input and output, about a pipeline of this
//! repository, in types of the protocol.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ls_types::notification::{self, Notification as _};
use ls_types::request;
use ls_types::*;
use lsp_server::{Message, Notification, Request, RequestId};

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

#[test]
fn an_editor_that_leaves_without_a_word_ends_the_server() {
    let mut editor = Editor::start();
    editor.ask::<request::Initialize>(InitializeParams::default());
    editor.tell::<notification::Initialized>(InitializedParams {});
    let Editor { mut program, input, .. } = editor;
    drop(input);
    assert_eq!(program.wait().unwrap().code(), Some(2));
}
