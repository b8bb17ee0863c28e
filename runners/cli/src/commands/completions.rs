//! `mlp completions SHELL` and `mlp man`: made from the command line's own description, so that they are never behind it.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::exit::Exit;
use crate::output::{Failure, Output};

pub fn completions(shell: Shell, output: &Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "mlp", &mut script);
    output.print(String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}

/// Prints the page of `mlp`, or writes it and those of all commands into a folder.
pub fn man(folder: Option<&Path>, output: &Output) -> Result<Exit, Failure> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        let rendered = Man::new(visible()).render(&mut page);
        rendered.map_err(|e| Failure::new(Exit::Bug, format!("the manual page cannot be made: {e}")))?;
        output.print(String::from_utf8_lossy(&page));
        return Ok(Exit::Done);
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(visible(), folder))
        .map_err(|e| Failure::new(Exit::Environment, format!("cannot write into `{}`: {e}", folder.display())))?;
    if !output.json {
        output.note(format!("The manual pages are in `{}`.", folder.display()));
    }
    Ok(Exit::Done)
}

/// Returns the command line without the commands that are not for people.
fn visible() -> Command {
    let whole = Cli::command();
    let about = whole.get_about().cloned().unwrap_or_default();
    Command::new("mlp")
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}
