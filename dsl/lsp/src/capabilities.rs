//! What editor and server tell each other about themselves at the start.

use ls_types::*;

use crate::colours;
use crate::position::Encoding;

/// What matters about the editor.
#[derive(Debug, Clone, Default)]
pub struct Client {
    pub encoding: Encoding,
    pub snippets: bool,
    /// Places of a diagnostic's further labels.
    pub related: bool,
    /// An outline with levels.
    pub nested_symbols: bool,
    pub watches_files: bool,
    pub refreshes_hints: bool,
    pub renames_prepared: bool,
}

impl Client {
    pub fn of(params: &InitializeParams) -> Self {
        let capabilities = &params.capabilities;
        let general = capabilities.general.as_ref();
        let text = capabilities.text_document.as_ref();
        let workspace = capabilities.workspace.as_ref();
        let completion = text.and_then(|text| text.completion.as_ref()?.completion_item.as_ref());
        let watched = workspace.and_then(|workspace| workspace.did_change_watched_files.as_ref());
        Self {
            encoding: Encoding::of(general.and_then(|general| general.position_encodings.as_deref())),
            snippets: completion.and_then(|item| item.snippet_support).unwrap_or(false),
            related: text.and_then(|text| text.publish_diagnostics.as_ref()?.related_information).unwrap_or(false),
            nested_symbols: text
                .and_then(|text| text.document_symbol.as_ref()?.hierarchical_document_symbol_support)
                .unwrap_or(false),
            watches_files: watched.and_then(|watched| watched.dynamic_registration).unwrap_or(false),
            refreshes_hints: workspace
                .and_then(|workspace| workspace.inlay_hint.as_ref()?.refresh_support)
                .unwrap_or(false),
            renames_prepared: text.and_then(|text| text.rename.as_ref()?.prepare_support).unwrap_or(false),
        }
    }
}

pub fn result(client: &Client, can_format: bool, version: &str) -> InitializeResult {
    let on = |text: &[&str]| Some(text.iter().map(|text| (*text).to_owned()).collect());
    let capabilities = ServerCapabilities {
        position_encoding: Some(client.encoding.kind()),
        text_document_sync: Some(TextDocumentSyncCapability::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            save: Some(TextDocumentSyncSaveOptions::Supported(true)),
            ..TextDocumentSyncOptions::default()
        })),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        definition_provider: Some(OneOf::Left(true)),
        references_provider: Some(OneOf::Left(true)),
        document_highlight_provider: Some(OneOf::Left(true)),
        document_symbol_provider: Some(OneOf::Left(true)),
        rename_provider: Some(if client.renames_prepared {
            OneOf::Right(RenameOptions {
                prepare_provider: Some(true),
                work_done_progress_options: WorkDoneProgressOptions::default(),
            })
        } else {
            OneOf::Left(true)
        }),
        completion_provider: Some(CompletionOptions {
            trigger_characters: on(&[".", ":", "(", "[", "\"", "=", " "]),
            ..CompletionOptions::default()
        }),
        signature_help_provider: Some(SignatureHelpOptions {
            trigger_characters: on(&["(", ",", "{"]),
            retrigger_characters: on(&[":"]),
            ..SignatureHelpOptions::default()
        }),
        code_action_provider: Some(CodeActionProviderCapability::Options(CodeActionOptions {
            code_action_kinds: Some(vec![CodeActionKind::QUICKFIX]),
            ..CodeActionOptions::default()
        })),
        semantic_tokens_provider: Some(
            SemanticTokensOptions {
                legend: colours::legend(),
                range: Some(true),
                full: Some(SemanticTokensFullOptions::Delta { delta: Some(true) }),
                ..SemanticTokensOptions::default()
            }
            .into(),
        ),
        inlay_hint_provider: Some(OneOf::Left(true)),
        document_formatting_provider: can_format.then_some(OneOf::Left(true)),
        ..ServerCapabilities::default()
    };
    InitializeResult {
        capabilities,
        server_info: Some(ServerInfo { name: "mlp".to_owned(), version: Some(version.to_owned()) }),
        ..InitializeResult::default()
    }
}

/// Returns the request that has the editor tell when files change by other hands.
pub fn watch_files() -> RegistrationParams {
    let watcher = FileSystemWatcher { glob_pattern: GlobPattern::String("**/*".to_owned()), kind: None };
    let options = DidChangeWatchedFilesRegistrationOptions { watchers: vec![watcher] };
    let registration = Registration {
        id: "files".to_owned(),
        method: "workspace/didChangeWatchedFiles".to_owned(),
        register_options: serde_json::to_value(options).ok(),
    };
    RegistrationParams { registrations: vec![registration] }
}
