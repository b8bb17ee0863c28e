//! A mistake or a doubt, told so that a person can act on it. Knows neither how it is printed nor what a pipeline is.

use std::borrow::Cow;

use mlp_model::{SourceText, Span};

/// What is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable and searchable: `E0312`. Those of the language are listed in [`crate::codes`].
    pub code: Cow<'static, str>,
    /// Lower case, no final period.
    pub message: String,
    pub labels: Vec<Label>,
    pub help: Option<String>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A marked place in a source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    /// May be empty.
    pub text: String,
    /// The place the diagnostic is about; others explain.
    pub primary: bool,
}

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code: Cow::Borrowed(code),
            message: message.into(),
            labels: Vec::new(),
            help: None,
            notes: Vec::new(),
        }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Says where it is.
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: true });
        self
    }

    /// Marks a further place that explains it.
    pub fn and(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds help when there is some, such as an answer of [`crate::did_you_mean`].
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Returns what to write instead of what, when the help is a single replacement: `` did you mean `x`? `` about a
    /// place that holds one name or string.
    pub fn fix(&self, sources: &[SourceText]) -> Option<(Span, String)> {
        let (wanted, _) = self.help.as_ref()?.strip_prefix("did you mean `")?.split_once("`?")?;
        let span = self.primary()?.span;
        let written = sources.get(span.source)?.text.get(span.start..span.end)?;
        let is_path =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
        if is_path(written) {
            // A column may have a name that is none of the language.
            let text = if is_path(wanted) { wanted.to_owned() } else { format!("\"{wanted}\"") };
            return Some((span, text));
        }
        let inside = written.strip_prefix('"')?.strip_suffix('"')?;
        (!inside.contains(['"', '\\']) && !wanted.contains(['"', '\\'])).then(|| (span, format!("\"{wanted}\"")))
    }

    /// Returns the place it is about.
    pub fn primary(&self) -> Option<&Label> {
        self.labels.iter().find(|label| label.primary).or(self.labels.first())
    }
}
