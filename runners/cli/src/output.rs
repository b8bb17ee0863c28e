//! Where results, diagnostics and failures go: results to standard output, everything else to standard error.

use std::io::{IsTerminal, Write};

use crate::args::Colour;
use crate::exit::Exit;

/// What the user asked of the output.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
    /// Standard error is a terminal that wants bars.
    pub live: bool,
    /// Colour on standard error.
    pub colour: bool,
    /// Nothing is printed at all.
    quiet: bool,
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    pub help: Option<String>,
    /// What `--json` prints of it; the message and the help, if nothing else.
    pub document: Option<serde_json::Value>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: None, document: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn with_document(mut self, document: serde_json::Value) -> Self {
        self.document = Some(document);
        self
    }
}

impl Output {
    pub fn new(json: bool, colour: Colour) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !dumb && !no_colour,
        };
        Self { json, live: terminal && !dumb && !json, colour, quiet: false }
    }

    /// Returns the same, for a command that has an option of its own to ask for JSON.
    pub fn with_json(self, json: bool) -> Self {
        let json = self.json || json;
        Self { json, live: self.live && !json, ..self }
    }

    /// Returns the same without a voice, for what is only tried.
    pub fn silent(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Prints a result. A reader that went away is no error.
    pub fn print(&self, text: impl AsRef<str>) {
        if self.quiet {
            return;
        }
        let text = text.as_ref();
        let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        let _ = write!(std::io::stdout(), "{text}{newline}");
    }

    pub fn print_json(&self, value: &impl serde::Serialize) {
        if let Ok(text) = serde_json::to_string_pretty(value) {
            self.print(text);
        }
    }

    /// Prints what is no result: progress, warnings, hints.
    pub fn note(&self, text: impl AsRef<str>) {
        if self.quiet {
            return;
        }
        let text = text.as_ref();
        let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        let _ = write!(std::io::stderr(), "{text}{newline}");
    }

    pub fn failure(&self, failure: &Failure) {
        if self.json {
            let plain = || serde_json::json!({ "error": { "message": failure.message, "help": failure.help } });
            self.print_json(&failure.document.clone().unwrap_or_else(plain));
        }
        let red = |text: &str| if self.colour { format!("\u{1b}[31m{text}\u{1b}[0m") } else { text.to_owned() };
        self.note(format!("{}: {}", red("error"), failure.message));
        if let Some(help) = &failure.help {
            self.note(format!("  help: {help}"));
        }
    }

    /// Returns how wide a diagnostic may be.
    pub fn width(&self) -> usize {
        std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).unwrap_or(100).clamp(40, 200)
    }
}
