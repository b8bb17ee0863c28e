//! `mlp lsp`: the language server, wired to the catalogue and to the files of this machine.

use mlp_lsp::{ServeError, Setup};

use crate::compile::Disk;
use crate::exit::Exit;
use crate::output::Failure;
use crate::wiring;

pub fn lsp() -> Result<Exit, Failure> {
    let setup = Setup {
        catalogue: wiring::catalogue(),
        world: Box::new(Disk),
        format: Some(|text| mlp_dsl::format(text).ok()),
        version: env!("CARGO_PKG_VERSION"),
    };
    mlp_lsp::serve_stdio(setup).map_err(|error| {
        let failure = Failure::usage(format!("the language server ended: {error}"));
        match error {
            ServeError::Protocol(_) | ServeError::Message(_) => {
                failure.with_help("`mlp lsp` is started by an editor; see docs/editors.md")
            }
            ServeError::Io(_) | ServeError::NoShutdown => failure,
        }
    })?;
    Ok(Exit::Done)
}
