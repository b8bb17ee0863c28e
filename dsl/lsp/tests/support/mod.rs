//! An editor in memory, and a catalogue of a few operations.

#![allow(dead_code)]

pub mod everything;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ls_types::notification::{self, Notification as _};
use ls_types::request::{self, Request as _};
use ls_types::*;
use lsp_server::{Connection, Message, Notification, RequestId, ResponseError};
use mlp_dsl::analysis::Document;
use mlp_dsl::{PathKind, World, WorldError};
use mlp_lsp::{Encoding, Setup, States};
use mlp_model::{
    ArgType, Argument, CallClass, Catalogue, CheckedCall, Column, Constructor, Inferred, InputType, ModelType,
    ParamType, ReportType, Role, RoleRule, Scalar, Signature, TableType, Task, Type, Value, Word,
};

pub const CHURN: &str = r#"//! Who leaves?
pipeline churn

/// Passes over the rows.
param epochs: int = 30 in 1..=500
param lr: float = 1e-3
schema Customer {
  id: str key
  tenure: int
  Churn: bool label
}
source raw   = csv.read("customers.csv", schema: Customer)
step parts   = table.split(raw, test: 0.2)
step model   = torch.train(parts.train, target: Churn, net: torch.mlp([64]), epochs, lr)
step quality = eval.binary(model, parts.test)
step before  = eval.binary(champion.model, parts.test)
gate good {
  floor   quality.auc >= 0.80
  better  quality.auc >= before.auc - 0.005
  first   floor only
}
release churn = bundle { model, cut: epochs } when good
"#;

const WAIT: Duration = Duration::from_secs(60);

pub struct Editor {
    connection: Option<Connection>,
    server: Option<JoinHandle<()>>,
    uri: Uri,
    version: i32,
    last_id: i32,
    pub text: String,
    document: Document,
    waiting: Vec<Message>,
}

impl Editor {
    pub fn start() -> Self {
        Self::start_with(Box::new(Customers), None)
    }

    /// Starts it with a world, and with something that tells states of steps.
    pub fn start_with(world: Box<dyn World + Send>, states: Option<Box<dyn States>>) -> Self {
        let (client, server) = Connection::memory();
        let setup = Setup { catalogue: catalogue(), world, format: None, states, version: "0" };
        let server = std::thread::spawn(move || mlp_lsp::serve(setup, &server).expect("a good end"));
        let mut editor = Self {
            connection: Some(client),
            server: Some(server),
            uri: "file:///flows/churn.mlp".parse().expect("an address"),
            version: 0,
            last_id: 0,
            text: String::new(),
            document: Document::default(),
            waiting: Vec::new(),
        };
        let capabilities = serde_json::json!({
            "workspace": { "inlayHint": { "refreshSupport": true } },
            "textDocument": {
                "publishDiagnostics": { "relatedInformation": true },
                "documentSymbol": { "hierarchicalDocumentSymbolSupport": true },
                "completion": { "completionItem": { "snippetSupport": true } },
                "rename": { "prepareSupport": true },
            },
        });
        let params = serde_json::json!({ "processId": null, "rootUri": null, "capabilities": capabilities });
        let params: InitializeParams = serde_json::from_value(params).expect("good parameters");
        let result = editor.ask::<request::Initialize>(params);
        assert_eq!(result.capabilities.position_encoding, Some(PositionEncodingKind::UTF16));
        assert!(result.capabilities.document_formatting_provider.is_none(), "nothing formats here");
        editor.notify::<notification::Initialized>(InitializedParams {});
        editor
    }

    pub fn open(&mut self, text: &str) {
        self.text = text.to_owned();
        self.document = Document::new(text);
        self.version += 1;
        let (uri, version) = (self.uri.clone(), self.version);
        let text_document = TextDocumentItem { uri, language_id: "mlp".to_owned(), version, text: text.to_owned() };
        self.notify::<notification::DidOpenTextDocument>(DidOpenTextDocumentParams { text_document });
    }

    pub fn change(&mut self, range: Range, text: &str) {
        self.version += 1;
        let bytes = Encoding::Utf16.bytes(&self.document, range);
        self.text.replace_range(bytes.clone(), text);
        self.document.edit(bytes, text);
        let change = TextDocumentContentChangeEvent { range: Some(range), range_length: None, text: text.to_owned() };
        let text_document = VersionedTextDocumentIdentifier { uri: self.uri.clone(), version: self.version };
        self.notify::<notification::DidChangeTextDocument>(DidChangeTextDocumentParams {
            text_document,
            content_changes: vec![change],
        });
    }

    pub fn document(&self) -> TextDocumentIdentifier {
        TextDocumentIdentifier { uri: self.uri.clone() }
    }

    pub fn at(&self, position: Position) -> TextDocumentPositionParams {
        TextDocumentPositionParams { text_document: self.document(), position }
    }

    pub fn notify<N: notification::Notification>(&mut self, params: N::Params) {
        self.post(Message::Notification(Notification::new(N::METHOD.to_owned(), params)));
    }

    pub fn send<R: request::Request>(&mut self, params: R::Params) -> i32 {
        self.last_id += 1;
        let id = self.last_id;
        self.post(Message::Request(lsp_server::Request::new(RequestId::from(id), R::METHOD.to_owned(), params)));
        id
    }

    fn post(&mut self, message: Message) {
        self.connection.as_ref().expect("open").sender.send(message).expect("a server");
    }

    pub fn ask<R: request::Request>(&mut self, params: R::Params) -> R::Result {
        self.try_ask::<R>(params).unwrap_or_else(|error| panic!("`{}`: {error:?}", R::METHOD))
    }

    pub fn try_ask<R: request::Request>(&mut self, params: R::Params) -> Result<R::Result, ResponseError> {
        let id = self.send::<R>(params);
        let answer = self.answer(id)?;
        Ok(serde_json::from_value(answer).unwrap_or_else(|e| panic!("`{}`: {e}", R::METHOD)))
    }

    pub fn answer(&mut self, id: i32) -> Result<serde_json::Value, ResponseError> {
        let message = self.wait(|message| matches!(message, Message::Response(r) if r.id == RequestId::from(id)));
        let Message::Response(response) = message else { unreachable!("waited for a response") };
        response.response_result
    }

    /// Returns the next diagnostics of the text as it is.
    pub fn diagnostics(&mut self) -> PublishDiagnosticsParams {
        let version = self.version;
        let read = |message: &Message| match message {
            Message::Notification(notification) if notification.method == notification::PublishDiagnostics::METHOD => {
                serde_json::from_value::<PublishDiagnosticsParams>(notification.params.clone()).ok()
            }
            _ => None,
        };
        let message = self.wait(|message| read(message).is_some_and(|params| params.version == Some(version)));
        read(&message).expect("just read")
    }

    /// Returns the hints of the whole text that say what a run would do, with their lines.
    pub fn states(&mut self) -> Vec<(u32, String)> {
        let hints = self.ask::<request::InlayHintRequest>(InlayHintParams {
            text_document: self.document(),
            range: Range { start: Position::default(), end: Position { line: 1000, character: 0 } },
            work_done_progress_params: WorkDoneProgressParams::default(),
        });
        let told = hints.unwrap_or_default().into_iter().filter(|hint| hint.kind.is_none());
        told.map(|hint| match hint.label {
            InlayHintLabel::String(text) => (hint.position.line, text),
            InlayHintLabel::LabelParts(parts) => panic!("{parts:?}"),
        })
        .collect()
    }

    /// Waits until the server asks to draw hints anew and they are as wanted.
    pub fn await_states(&mut self, wanted: impl Fn(&[(u32, String)]) -> bool) -> Vec<(u32, String)> {
        loop {
            let states = self.states();
            if wanted(&states) {
                return states;
            }
            let is_refresh =
                |m: &Message| matches!(m, Message::Request(r) if r.method == request::InlayHintRefreshRequest::METHOD);
            self.wait(is_refresh);
        }
    }

    pub fn save(&mut self) {
        let text_document = self.document();
        self.notify::<notification::DidSaveTextDocument>(DidSaveTextDocumentParams { text_document, text: None });
    }

    pub fn colours(&mut self) -> SemanticTokens {
        let answer = self.ask::<request::SemanticTokensFullRequest>(SemanticTokensParams {
            text_document: self.document(),
            work_done_progress_params: WorkDoneProgressParams::default(),
            partial_result_params: PartialResultParams::default(),
        });
        match answer {
            Some(SemanticTokensResult::Tokens(tokens)) => tokens,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, wanted: impl Fn(&Message) -> bool) -> Message {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at);
        }
        let end = Instant::now() + WAIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let receiver = &self.connection.as_ref().expect("open").receiver;
            let message = receiver.recv_timeout(left).expect("the server answers in time");
            if wanted(&message) {
                return message;
            }
            self.waiting.push(message);
        }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.ask::<request::Shutdown>(());
        self.notify::<notification::Exit>(());
        drop(self.connection.take());
        if let Some(server) = self.server.take() {
            server.join().expect("the server ends well");
        }
    }
}

/// Returns the position of a text's `nth` occurrence.
pub fn place(text: &str, needle: &str, nth: usize) -> Position {
    let (at, _) = text.match_indices(needle).nth(nth).unwrap_or_else(|| panic!("no {nth}. `{needle}`"));
    Encoding::Utf16.position(&Document::new(text), at)
}

pub fn flat(tokens: &[SemanticToken]) -> Vec<u32> {
    let five = |t: &SemanticToken| [t.delta_line, t.delta_start, t.length, t.token_type, t.token_modifiers_bitset];
    tokens.iter().flat_map(five).collect()
}

/// A world with one file of data.
pub struct Customers;

impl World for Customers {
    fn read(&self, _: &Path) -> Result<String, WorldError> {
        Err(WorldError::NotFound)
    }

    fn kind(&self, path: &Path) -> PathKind {
        if path.ends_with("customers.csv") { PathKind::File } else { PathKind::Missing }
    }
}

fn required(name: &'static str, ty: ArgType) -> Argument {
    Argument { name, ty, default: None, doc: "an argument" }
}

fn optional(name: &'static str, ty: ParamType, default: Value) -> Argument {
    Argument { name, ty: ArgType::Param(ty), default: Some(default), doc: "" }
}

fn op(
    name: &'static str,
    class: CallClass,
    args: Vec<Argument>,
    outputs: impl Fn(&CheckedCall<'_>) -> Vec<(Word, Type)> + Send + Sync + 'static,
) -> Signature {
    let infer = move |call: &CheckedCall<'_>| Ok(Inferred { outputs: outputs(call), ..Inferred::default() });
    Signature { name, version: 1, runner: "builtin", class, doc: "Does it.", args, infer: Arc::new(infer) }
}

fn table(call: &CheckedCall<'_>) -> TableType {
    match call.inputs.get("data") {
        Some(Type::Table(table)) => table.clone(),
        _ => TableType::default(),
    }
}

fn out(ty: Type) -> Vec<(Word, Type)> {
    vec![("out".into(), ty)]
}

pub fn catalogue() -> Catalogue {
    let data = || required("data", ArgType::Input(InputType::Table(RoleRule::Any)));
    let model = || required("model", ArgType::Input(InputType::Model));
    let share = ParamType::Float { min: 0.0, max: 1.0 };
    let mlp = Constructor {
        name: "torch.mlp",
        doc: "A net.",
        args: vec![required("hidden", ArgType::Param(ParamType::List(Box::new(ParamType::Int { min: 1, max: 4096 }))))],
    };
    let predictions = InputType::Predictions { model: "model", data: "data", data_role: RoleRule::Any };
    Catalogue::new([
        op(
            "csv.read",
            CallClass::Source,
            vec![
                required("file", ArgType::Input(InputType::File)),
                required("schema", ArgType::Param(ParamType::Schema)),
            ],
            |call| {
                let schema = call.params["schema"].as_schema().expect("checked");
                out(Type::Table(TableType {
                    columns: schema.columns.clone().into(),
                    open: schema.open,
                    role: Role::All,
                }))
            },
        ),
        op("table.split", CallClass::Step, vec![data(), required("test", ArgType::Param(share))], |call| {
            let part = |role| Type::Table(TableType { role, ..table(call) });
            vec![("train".into(), part(Role::Train)), ("test".into(), part(Role::Test))]
        }),
        op(
            "table.head",
            CallClass::Step,
            vec![data(), optional("rows", ParamType::Int { min: 0, max: 1000 }, Value::Int(1))],
            |call| out(Type::Table(table(call))),
        ),
        op(
            "torch.train",
            CallClass::Step,
            vec![
                data(),
                required("target", ArgType::Param(ParamType::Column { of: "data" })),
                required("net", ArgType::Param(ParamType::Call(vec![mlp]))),
                optional("epochs", ParamType::Int { min: 1, max: 1000 }, Value::Int(30)),
                optional("lr", ParamType::Float { min: 0.0, max: 10.0 }, Value::Float(0.1)),
            ],
            |_| {
                let target = Column::plain("Churn", Scalar::Bool);
                let flavour = "torch".to_owned();
                out(Type::Model(ModelType { flavour, task: Task::Binary, target, features: Vec::new() }.into()))
            },
        ),
        op("torch.predict", CallClass::Step, vec![model(), data()], |call| {
            let columns = vec![Column::plain("score", Scalar::Float)];
            out(Type::Table(TableType { columns: columns.into(), open: false, role: table(call).role }))
        }),
        op("eval.binary", CallClass::Step, vec![required("predictions", ArgType::Input(predictions))], |_| {
            let metrics = ["auc", "log_loss"].map(str::to_owned).to_vec();
            out(Type::Report(ReportType { metrics }.into()))
        }),
    ])
}
