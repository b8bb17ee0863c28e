//! The language server of `.mlp` files.
//!
//! Speaks the Language Server Protocol (3.17) and decides nothing about the language: every answer comes from
//! [`mlp_dsl::analysis`], every diagnostic from [`mlp_dsl::inspect`]. One thread answers requests, another one checks, and a
//! third one asks what a run would do, so that no answer waits for either. Sees files and operations only through what it is given, and prints nothing.

#![forbid(unsafe_code)]

mod actions;
mod answers;
mod capabilities;
mod checks;
mod colours;
mod completion;
mod file;
mod main_loop;
mod position;
mod published;
mod states;

use std::sync::Arc;

use lsp_server::Connection;
use mlp_dsl::World;
use mlp_model::Catalogue;

pub use position::Encoding;
pub use states::{Mark, States, StepState};

/// What the server is given.
pub struct Setup {
    pub catalogue: Catalogue,
    /// Files that are not open in the editor.
    pub world: Box<dyn World + Send>,
    /// Formats a whole text; `None` for one that cannot be. Without it, formatting is not offered.
    pub format: Option<Formatter>,
    /// What a run would do with steps; `None`: nothing is told of that.
    pub states: Option<Box<dyn States>>,
    /// As it is told to the editor.
    pub version: &'static str,
}

/// Returns the text in the language's one style, or `None` when it has mistakes that keep it from being read.
pub type Formatter = fn(&str) -> Option<String>;

/// Why the server ended otherwise than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the editor does not follow the protocol: {0}")]
    Protocol(#[from] lsp_server::ProtocolError),
    #[error("a message of the editor cannot be read: {0}")]
    Message(#[from] serde_json::Error),
    #[error("the connection to the editor broke: {0}")]
    Io(#[from] std::io::Error),
    /// `exit` without `shutdown` before it.
    #[error("the editor left without saying so")]
    NoShutdown,
}

/// Serves one editor on standard input and output until it leaves.
pub fn serve_stdio(setup: Setup) -> Result<(), ServeError> {
    let (connection, threads) = Connection::stdio();
    let served = serve(setup, &connection);
    drop(connection);
    served?;
    threads.join()?;
    Ok(())
}

/// Serves one editor until it leaves.
pub fn serve(setup: Setup, connection: &Connection) -> Result<(), ServeError> {
    let (id, params) = connection.initialize_start()?;
    let params: ls_types::InitializeParams = serde_json::from_value(params)?;
    let client = capabilities::Client::of(&params);
    let result = capabilities::result(&client, setup.format.is_some(), setup.version);
    connection.initialize_finish(id, serde_json::to_value(result)?)?;
    main_loop::run(Arc::new(setup), client, connection)
}
