//! The one loop: messages of the editor and outcomes of checks, one after the other.
//!
//! All messages that have arrived are taken at once, so that what has become pointless is not answered: a request that is
//! cancelled by a later message, and a drawing (colours, hints, outline) of a text that a later message changes.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, select, unbounded};
use ls_types::notification::{self as notify, Notification as _};
use ls_types::request::{self, Request as _};
use ls_types::*;
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, RequestId, Response};
use mlp_dsl::Severity;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::capabilities::{self, Client};
use crate::checks::{Checker, Job, Outcome};
use crate::file::{File, Findings};
use crate::states::{self, Teller, Told};
use crate::{ServeError, Setup, actions, answers, colours, completion, published};

pub fn run(setup: Arc<Setup>, client: Client, connection: &Connection) -> Result<(), ServeError> {
    let messages = pump(connection.receiver.clone())?;
    let checker = Checker::start(Arc::clone(&setup))?;
    let teller = Teller::start(Arc::clone(&setup))?;
    let mut server = Server {
        setup,
        client,
        connection,
        checker,
        teller,
        files: HashMap::new(),
        shown: HashMap::new(),
        n_sent: 0,
        n_colours: 0,
        changed: BTreeSet::new(),
    };
    if server.client.watches_files {
        server.ask::<request::RegisterCapability>(&capabilities::watch_files());
    }
    let outcomes = server.checker.outcomes.clone();
    let told = server.teller.told.clone();
    loop {
        select! {
            recv(messages) -> message => {
                let Ok(message) = message else { return Err(ServeError::NoShutdown) };
                let mut queue = VecDeque::from([message]);
                queue.extend(messages.try_iter());
                if server.take(queue)? {
                    return await_exit(connection, &messages);
                }
            }
            recv(outcomes) -> outcome => {
                if let Ok(outcome) = outcome {
                    server.take_outcome(outcome);
                }
            }
            recv(told) -> told => {
                if let Ok(told) = told {
                    server.take_states(told);
                }
            }
        }
    }
}

/// Takes messages off the connection, which holds none itself, so that those that wait can be looked through.
fn pump(from: Receiver<Message>) -> std::io::Result<Receiver<Message>> {
    let (sender, messages) = unbounded();
    let forward = move || from.into_iter().try_for_each(|message| sender.send(message));
    std::thread::Builder::new().name("messages".to_owned()).spawn(forward)?;
    Ok(messages)
}

/// After `shutdown`, waits for `exit` and refuses everything else.
fn await_exit(connection: &Connection, messages: &Receiver<Message>) -> Result<(), ServeError> {
    for message in messages {
        match message {
            Message::Notification(notification) if notification.method == notify::Exit::METHOD => return Ok(()),
            Message::Request(request) => {
                let message = "the server has been asked to shut down".to_owned();
                let refusal = Response::new_err(request.id, ErrorCode::InvalidRequest as i32, message);
                // An editor that has gone needs no answer.
                let _ = connection.sender.send(Message::Response(refusal));
            }
            _ => {}
        }
    }
    Ok(())
}

struct Server<'c> {
    setup: Arc<Setup>,
    client: Client,
    connection: &'c Connection,
    checker: Checker,
    teller: Teller,
    /// By address.
    files: HashMap<String, File>,
    /// By the file whose check found it: what is shown where.
    shown: HashMap<String, HashMap<Uri, Vec<Diagnostic>>>,
    /// Requests to the editor.
    n_sent: i32,
    n_colours: u64,
    /// Files whose text has changed since they were last given to the checker.
    changed: BTreeSet<String>,
}

impl Server<'_> {
    /// Works off messages; returns whether the editor has asked to shut down.
    fn take(&mut self, mut queue: VecDeque<Message>) -> Result<bool, ServeError> {
        while let Some(message) = queue.pop_front() {
            match message {
                Message::Request(request) => {
                    if request.method == request::Shutdown::METHOD {
                        self.send(Message::Response(Response::new_ok(request.id, ())));
                        return Ok(true);
                    }
                    let response = self.respond_or_refuse(request, &queue);
                    self.send(Message::Response(response));
                }
                Message::Notification(notification) => {
                    if notification.method == notify::Exit::METHOD {
                        return Err(ServeError::NoShutdown);
                    }
                    self.hear(notification);
                }
                // To our own requests the editor only says that it has heard them.
                Message::Response(_) => {}
            }
        }
        // Only what the text has become is worth a check.
        for key in std::mem::take(&mut self.changed) {
            self.check_with_users(&key);
        }
        Ok(false)
    }

    fn respond_or_refuse(&mut self, request: Request, queue: &VecDeque<Message>) -> Response {
        let later = || {
            queue.iter().filter_map(|message| match message {
                Message::Notification(notification) => Some(notification),
                _ => None,
            })
        };
        let refuse = |code: ErrorCode, text: &str| Response::new_err(request.id.clone(), code as i32, text.to_owned());
        let is_cancelled = later().filter(|later| later.method == notify::Cancel::METHOD).any(|later| {
            let id = later.params.get("id");
            let number = id.and_then(serde_json::Value::as_i64).and_then(|id| i32::try_from(id).ok());
            let text = id.and_then(serde_json::Value::as_str);
            number.map(RequestId::from).or(text.map(|id| RequestId::from(id.to_owned()))).as_ref() == Some(&request.id)
        });
        if is_cancelled {
            return refuse(ErrorCode::RequestCanceled, "cancelled");
        }
        let uri = |params: &serde_json::Value| params.pointer("/textDocument/uri").cloned();
        let is_drawing = DRAWINGS.contains(&request.method.as_str());
        let is_stale = is_drawing
            && later().any(|later| {
                later.method == notify::DidChangeTextDocument::METHOD && uri(&later.params) == uri(&request.params)
            });
        if is_stale {
            return refuse(ErrorCode::ContentModified, "the text has changed");
        }
        let id = request.id.clone();
        let method = request.method.clone();
        // A panic is a bug of ours; it costs one answer and not the editor's session.
        catch_unwind(AssertUnwindSafe(|| self.respond(request))).unwrap_or_else(|_| {
            Response::new_err(id, ErrorCode::InternalError as i32, format!("mlp could not answer `{method}`"))
        })
    }

    fn respond(&mut self, request: Request) -> Response {
        let id = request.id.clone();
        match self.answer(request) {
            // Not by `new_ok`, which would copy the whole answer.
            Ok(answer) => Response { id, response_result: Ok(answer) },
            Err(Refusal { code, message }) => Response::new_err(id, code as i32, message),
        }
    }

    fn answer(&mut self, request: Request) -> Result<serde_json::Value, Refusal> {
        let params = request.params;
        match request.method.as_str() {
            request::HoverRequest::METHOD => {
                let params: HoverParams = read(params)?;
                let place = params.text_document_position_params;
                self.about(&place.text_document, |server, file| {
                    answers::hover(&server.client, &file.view(&server.setup.catalogue), place.position)
                })
            }
            request::GotoDefinition::METHOD => {
                let params: GotoDefinitionParams = read(params)?;
                let place = params.text_document_position_params;
                self.about(&place.text_document, |server, file| {
                    answers::definition(&server.client, file, &file.view(&server.setup.catalogue), place.position)
                })
            }
            request::References::METHOD => {
                let params: ReferenceParams = read(params)?;
                self.about(&params.text_document_position.text_document, |server, file| {
                    answers::references(&server.client, file, &file.view(&server.setup.catalogue), &params)
                })
            }
            request::DocumentHighlightRequest::METHOD => {
                let params: DocumentHighlightParams = read(params)?;
                let place = params.text_document_position_params;
                self.about(&place.text_document, |server, file| {
                    answers::highlights(&server.client, &file.view(&server.setup.catalogue), place.position)
                })
            }
            request::DocumentSymbolRequest::METHOD => {
                let params: DocumentSymbolParams = read(params)?;
                self.about(&params.text_document, |server, file| {
                    answers::symbols(&server.client, file, &file.view(&server.setup.catalogue))
                })
            }
            request::Completion::METHOD => {
                let params: CompletionParams = read(params)?;
                let place = params.text_document_position;
                self.about(&place.text_document, |server, file| {
                    let at = server.client.encoding.offset(&file.document, place.position);
                    completion::completion(&server.client, &file.view(&server.setup.catalogue), at)
                })
            }
            request::SignatureHelpRequest::METHOD => {
                let params: SignatureHelpParams = read(params)?;
                let place = params.text_document_position_params;
                self.about(&place.text_document, |server, file| {
                    answers::signature(&server.client, &file.view(&server.setup.catalogue), place.position)
                })
            }
            request::CodeActionRequest::METHOD => {
                let params: CodeActionParams = read(params)?;
                self.about(&params.text_document, |server, file| actions::actions(&server.client, file, params.range))
            }
            request::InlayHintRequest::METHOD => {
                let params: InlayHintParams = read(params)?;
                self.about(&params.text_document, |server, file| {
                    answers::hints(&server.client, &file.view(&server.setup.catalogue), &file.states, params.range)
                })
            }
            request::SemanticTokensRangeRequest::METHOD => {
                let params: SemanticTokensRangeParams = read(params)?;
                self.about(&params.text_document, |server, file| {
                    let range = server.client.encoding.bytes(&file.document, params.range);
                    let view = file.view(&server.setup.catalogue);
                    SemanticTokens { result_id: None, data: colours::tokens(server.client.encoding, &view, range) }
                })
            }
            request::SemanticTokensFullRequest::METHOD => {
                let params: SemanticTokensParams = read(params)?;
                self.colours(&params.text_document, None)
            }
            request::SemanticTokensFullDeltaRequest::METHOD => {
                let params: SemanticTokensDeltaParams = read(params)?;
                self.colours(&params.text_document, Some(&params.previous_result_id))
            }
            request::PrepareRenameRequest::METHOD => {
                let place: TextDocumentPositionParams = read(params)?;
                let file = self.files.get(place.text_document.uri.as_str());
                let Some(file) = file else { return Ok(serde_json::Value::Null) };
                let view = file.view(&self.setup.catalogue);
                write(answers::prepare_rename(&self.client, &view, place.position).map_err(refused)?)
            }
            request::Rename::METHOD => {
                let params: RenameParams = read(params)?;
                let place = params.text_document_position;
                let file = self.files.get(place.text_document.uri.as_str());
                let Some(file) = file else { return Ok(serde_json::Value::Null) };
                let view = file.view(&self.setup.catalogue);
                let edit = answers::rename(&self.client, file, &view, place.position, &params.new_name);
                write(edit.map_err(refused)?)
            }
            request::Formatting::METHOD => {
                let params: DocumentFormattingParams = read(params)?;
                let Some(format) = self.setup.format else { return Err(unknown(&request.method)) };
                self.about(&params.text_document, |server, file| {
                    format(file.document.text()).map(|text| answers::formatting(&server.client, file, &text))
                })
            }
            other => Err(unknown(other)),
        }
    }

    /// Answers about a file that is open; about others there is nothing to say.
    fn about<T: Serialize>(
        &self,
        document: &TextDocumentIdentifier,
        answer: impl FnOnce(&Self, &File) -> T,
    ) -> Result<serde_json::Value, Refusal> {
        match self.files.get(document.uri.as_str()) {
            Some(file) => write(answer(self, file)),
            None => Ok(serde_json::Value::Null),
        }
    }

    fn colours(
        &mut self,
        document: &TextDocumentIdentifier,
        previous: Option<&str>,
    ) -> Result<serde_json::Value, Refusal> {
        let Some(file) = self.files.get_mut(document.uri.as_str()) else { return Ok(serde_json::Value::Null) };
        let length = file.document.text().len();
        let data = colours::tokens(self.client.encoding, &file.view(&self.setup.catalogue), 0..length);
        self.n_colours += 1;
        let result_id = Some(self.n_colours.to_string());
        let before = file.colours.take().filter(|(id, _)| previous == Some(id.to_string().as_str()));
        let answer = match before {
            Some((_, old)) => {
                let edits = colours::difference(&old, &data);
                write(SemanticTokensFullDeltaResult::TokensDelta(SemanticTokensDelta { result_id, edits }))
            }
            None => write(SemanticTokens { result_id, data: data.clone() }),
        };
        file.colours = Some((self.n_colours, data));
        answer
    }

    fn hear(&mut self, notification: Notification) {
        let params = notification.params;
        match notification.method.as_str() {
            notify::DidOpenTextDocument::METHOD => {
                let Ok(DidOpenTextDocumentParams { text_document: opened }) = read(params) else { return };
                // Some editors show us all plain text.
                if opened.language_id != "mlp" && !opened.uri.as_str().ends_with(".mlp") {
                    return;
                }
                let key = opened.uri.as_str().to_owned();
                self.files.insert(key.clone(), File::new(opened.uri, opened.version, opened.text));
                self.changed.insert(key);
            }
            notify::DidChangeTextDocument::METHOD => {
                let Ok(params) = read::<DidChangeTextDocumentParams>(params) else { return };
                let key = params.text_document.uri.as_str().to_owned();
                let Some(file) = self.files.get_mut(&key) else { return };
                file.change(self.client.encoding, params.text_document.version, params.content_changes);
                self.changed.insert(key);
            }
            notify::DidCloseTextDocument::METHOD => {
                let Ok(params) = read::<DidCloseTextDocumentParams>(params) else { return };
                let key = params.text_document.uri.as_str();
                self.teller.forget(params.text_document.uri.clone());
                self.files.remove(key);
                self.show(key, HashMap::new());
                self.changed.extend(self.files.keys().cloned());
            }
            // Files that are not open have changed, or may have.
            notify::DidSaveTextDocument::METHOD => self.changed.extend(self.files.keys().cloned()),
            notify::DidChangeWatchedFiles::METHOD => {
                let Ok(params) = read::<DidChangeWatchedFilesParams>(params) else { return };
                // What a run writes into a store is read by no check.
                if params.changes.iter().any(|change| !change.uri.as_str().contains("/.mlp/")) {
                    self.changed.extend(self.files.keys().cloned());
                }
            }
            _ => {}
        }
    }

    /// Has a file checked, and those that use it.
    fn check_with_users(&self, key: &str) {
        let Some(changed) = self.files.get(key) else { return };
        self.check(changed);
        for file in self.files.values().filter(|file| !std::ptr::eq(*file, changed)) {
            if file.modules.iter().any(|(_, path, _)| *path == changed.path) {
                self.check(file);
            }
        }
    }

    fn check(&self, file: &File) {
        let open: HashMap<PathBuf, _> =
            self.files.values().map(|file| (file.path.clone(), file.document.snapshot())).collect();
        self.checker.add(Job {
            uri: file.uri.clone(),
            path: file.path.clone(),
            version: file.version,
            document: file.document.clone(),
            open,
            facts: Arc::clone(&file.facts),
        });
    }

    fn take_outcome(&mut self, outcome: Outcome) {
        let key = outcome.uri.as_str().to_owned();
        let Some(file) = self.files.get_mut(&key) else { return };
        file.facts = Arc::new(outcome.facts);
        file.modules = outcome.modules;
        let is_current = outcome.version == file.version;
        if is_current {
            if outcome.diagnostics.iter().all(|found| found.severity == Severity::Warning) {
                let (path, text) = (file.path.clone(), file.document.snapshot());
                self.teller.add(states::Job { uri: file.uri.clone(), path, version: file.version, text });
            }
            let shown =
                published::published(&self.client, (&file.uri, &file.document), &outcome.diagnostics, &outcome.sources);
            file.checked =
                Some(Findings { version: outcome.version, diagnostics: outcome.diagnostics, sources: outcome.sources });
            self.show(&key, shown);
            if self.client.refreshes_hints {
                self.ask::<request::InlayHintRefreshRequest>(&());
            }
        }
    }

    fn take_states(&mut self, told: Told) {
        let Some(file) = self.files.get_mut(told.uri.as_str()) else { return };
        if told.version != file.version || told.states.is_same(&file.states) {
            return;
        }
        file.states = told.states;
        if self.client.refreshes_hints {
            self.ask::<request::InlayHintRefreshRequest>(&());
        }
    }

    /// Shows what the check of a file has found, and hides what its last check had found.
    fn show(&mut self, key: &str, shown: HashMap<Uri, Vec<Diagnostic>>) {
        let before = self.shown.remove(key).unwrap_or_default();
        let mut touched: HashSet<Uri> = before.into_keys().collect();
        touched.extend(shown.keys().cloned());
        if let Some(file) = self.files.get(key) {
            touched.insert(file.uri.clone());
        }
        if !shown.is_empty() {
            self.shown.insert(key.to_owned(), shown);
        }
        for uri in touched {
            let mut diagnostics: Vec<Diagnostic> =
                self.shown.values().filter_map(|shown| shown.get(&uri)).flatten().cloned().collect();
            diagnostics.dedup();
            let version = self.files.get(uri.as_str()).map(|file| file.version);
            let params = PublishDiagnosticsParams { uri, diagnostics, version };
            let message = Notification::new(notify::PublishDiagnostics::METHOD.to_owned(), params);
            self.send(Message::Notification(message));
        }
    }

    fn ask<R: request::Request>(&mut self, params: &R::Params)
    where
        R::Params: Serialize,
    {
        self.n_sent += 1;
        let request = Request::new(RequestId::from(self.n_sent), R::METHOD.to_owned(), params);
        self.send(Message::Request(request));
    }

    fn send(&self, message: Message) {
        // An editor that has gone needs no message; the next one received says so.
        let _ = self.connection.sender.send(message);
    }
}

/// What is drawn again when the text has changed anyway.
const DRAWINGS: [&str; 6] = [
    request::SemanticTokensFullRequest::METHOD,
    request::SemanticTokensFullDeltaRequest::METHOD,
    request::SemanticTokensRangeRequest::METHOD,
    request::InlayHintRequest::METHOD,
    request::DocumentSymbolRequest::METHOD,
    request::DocumentHighlightRequest::METHOD,
];

/// A request that is not answered.
struct Refusal {
    code: ErrorCode,
    message: String,
}

fn refused(message: String) -> Refusal {
    Refusal { code: ErrorCode::RequestFailed, message }
}

fn unknown(method: &str) -> Refusal {
    Refusal { code: ErrorCode::MethodNotFound, message: format!("`{method}` is not known") }
}

fn read<T: DeserializeOwned>(params: serde_json::Value) -> Result<T, Refusal> {
    serde_json::from_value(params).map_err(|e| Refusal { code: ErrorCode::InvalidParams, message: e.to_string() })
}

fn write<T: Serialize>(answer: T) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(answer).map_err(|e| Refusal { code: ErrorCode::InternalError, message: e.to_string() })
}

#[cfg(test)]
mod tests {
    use mlp_dsl::{PathKind, World, WorldError};
    use mlp_model::Catalogue;
    use serde_json::json;

    use super::*;

    struct Nothing;

    impl World for Nothing {
        fn read(&self, _: &std::path::Path) -> Result<String, WorldError> {
            Err(WorldError::NotFound)
        }

        fn kind(&self, _: &std::path::Path) -> PathKind {
            PathKind::Missing
        }
    }

    /// Gives all messages to a server at once, and returns the code of each answer that is an error, by its id.
    fn refused(messages: Vec<Message>) -> HashMap<String, i64> {
        let (client, connection) = Connection::memory();
        let world = Box::new(Nothing);
        let setup =
            Arc::new(Setup { catalogue: Catalogue::default(), world, format: None, states: None, version: "0" });
        let heard = std::thread::spawn(move || client.receiver.into_iter().collect::<Vec<_>>());
        {
            let connection = connection;
            let mut server = Server {
                checker: Checker::start(Arc::clone(&setup)).expect("a thread"),
                teller: Teller::start(Arc::clone(&setup)).expect("no thread"),
                setup,
                client: Client::default(),
                connection: &connection,
                files: HashMap::new(),
                shown: HashMap::new(),
                n_sent: 0,
                n_colours: 0,
                changed: BTreeSet::new(),
            };
            assert!(!server.take(VecDeque::from(messages)).expect("good messages"));
        }
        let answers = heard.join().expect("heard all").into_iter().filter_map(|message| match message {
            Message::Response(response) => serde_json::to_value(response).ok(),
            _ => None,
        });
        let errors = answers.filter_map(|answer| Some((answer["id"].to_string(), answer["error"]["code"].as_i64()?)));
        errors.collect()
    }

    fn request(id: i32, method: &str, uri: &str) -> Message {
        let params = json!({ "textDocument": { "uri": uri }, "position": { "line": 0, "character": 0 } });
        Message::Request(Request::new(RequestId::from(id), method.to_owned(), params))
    }

    fn notification(method: &str, params: serde_json::Value) -> Message {
        Message::Notification(Notification::new(method.to_owned(), params))
    }

    #[test]
    fn what_is_cancelled_or_overtaken_is_not_worked_on() {
        let change = json!({
            "textDocument": { "uri": "file:///a.mlp", "version": 2 },
            "contentChanges": [{ "text": "x" }],
        });
        let errors = refused(vec![
            request(1, "textDocument/hover", "file:///a.mlp"),
            request(2, "textDocument/hover", "file:///a.mlp"),
            request(3, "textDocument/semanticTokens/full", "file:///a.mlp"),
            request(4, "textDocument/semanticTokens/full", "file:///b.mlp"),
            notification("$/cancelRequest", json!({ "id": 1 })),
            notification("textDocument/didChange", change),
            request(5, "textDocument/semanticTokens/full", "file:///a.mlp"),
        ]);
        assert_eq!(errors, HashMap::from([("1".to_owned(), -32800), ("3".to_owned(), -32801)]));
    }
}
