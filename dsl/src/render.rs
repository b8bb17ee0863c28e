//! Shows diagnostics: for people by miette, for programs as JSON. Knows nothing of how they came about.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, SourceCode, SourceSpan, SpanContents};
use mlp_model::{SourceText, Span};
use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Label, Severity};

/// Writes a diagnostic with the lines it is about, `width` columns wide, with a line break at the end.
pub fn render(diagnostic: &Diagnostic, sources: &[SourceText], colour: bool, width: usize) -> String {
    let width = width.max(40);
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_links(false)
        .with_context_lines(0)
        .without_syntax_highlighting();
    let word = diagnostic.severity.word();
    let head = format!("{word}[{}]", diagnostic.code);
    let mut text = if colour {
        let number = if diagnostic.severity == Severity::Error { 31 } else { 33 };
        format!("\u{1b}[1;{number}m{head}\u{1b}[0m\u{1b}[1m: {}\u{1b}[0m\n", diagnostic.message)
    } else {
        format!("{head}: {}\n", diagnostic.message)
    };
    // One snippet for each text; that of the primary place first, the help behind the last.
    let primary_source = diagnostic.primary().map(|label| label.span.source);
    let mut shown: Vec<usize> = primary_source.into_iter().collect();
    for label in &diagnostic.labels {
        if !shown.contains(&label.span.source) {
            shown.push(label.span.source);
        }
    }
    for source in shown {
        let Some(source_text) = sources.get(source) else { continue };
        let labels = diagnostic.labels.iter().filter(|label| label.span.source == source);
        let snippet = Snippet { diagnostic, labels: labels.collect(), source: Some(Named(source_text)), help: None };
        text.push_str(&without_first_line(&handler, &snippet));
    }
    if let Some(help) = &diagnostic.help {
        let snippet = Snippet { diagnostic, labels: Vec::new(), source: None, help: Some(help) };
        text.push_str(&without_first_line(&handler, &snippet));
    }
    for note in &diagnostic.notes {
        text.push_str("  note: ");
        text.push_str(&note.replace('\n', "\n        "));
        text.push('\n');
    }
    text
}

/// Returns the diagnostic as one JSON object; `docs/language.md` describes it.
pub fn to_json(diagnostic: &Diagnostic, sources: &[SourceText]) -> Value {
    let place = |label: &Label| {
        let source = sources.get(label.span.source)?;
        let span = fitted(label.span, &source.text);
        let (line, column) = line_and_column(&source.text, span.start);
        let (end_line, end_column) = line_and_column(&source.text, span.end);
        let file = source.path.display().to_string();
        Some((file, line, column, json!({ "line": end_line, "column": end_column })))
    };
    let labels: Vec<Value> = diagnostic
        .labels
        .iter()
        .filter_map(|label| {
            let (file, line, column, end) = place(label)?;
            let Label { text, primary, .. } = label;
            Some(json!({ "file": file, "line": line, "column": column, "end": end, "text": text, "primary": primary }))
        })
        .collect();
    let (file, line, column, end) = match diagnostic.primary().and_then(place) {
        Some((file, line, column, end)) => (json!(file), json!(line), json!(column), end),
        None => (Value::Null, Value::Null, Value::Null, Value::Null),
    };
    json!({
        "severity": diagnostic.severity.word(),
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": file,
        "line": line,
        "column": column,
        "end": end,
        "help": diagnostic.help,
        "notes": diagnostic.notes,
        "labels": labels,
    })
}

/// Returns line and column of a byte, both from 1, the column in characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = before.as_bytes().iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// Moves a span into the text and onto character borders, whatever it says.
fn fitted(span: Span, text: &str) -> Span {
    let on_border = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = on_border(span.start);
    Span { start, end: on_border(span.end.max(start)), ..span }
}

/// miette begins with a line for the message; ours stands above already.
fn without_first_line(handler: &GraphicalReportHandler, snippet: &Snippet<'_>) -> String {
    let mut text = String::new();
    // Writing to a string does not fail, and what miette cannot show it says in the text.
    let _ = handler.render_report(&mut text, snippet);
    text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default()
}

/// The part of a diagnostic that miette draws at once.
#[derive(Debug)]
struct Snippet<'a> {
    diagnostic: &'a Diagnostic,
    labels: Vec<&'a Label>,
    source: Option<Named<'a>>,
    help: Option<&'a String>,
}

impl fmt::Display for Snippet<'_> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Snippet<'_> {}

impl miette::Diagnostic for Snippet<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.help.map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let source = self.source.as_ref()?;
        Some(Box::new(self.labels.iter().map(|label| {
            let span = fitted(label.span, &source.0.text);
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            let place = SourceSpan::from(span.start..span.end);
            if label.primary {
                LabeledSpan::new_primary_with_span(text, place)
            } else {
                LabeledSpan::new_with_span(text, place)
            }
        })))
    }
}

#[derive(Debug)]
struct Named<'a>(&'a SourceText);

impl SourceCode for Named<'_> {
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let found = self.0.text.read_span(span, before, after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.0.path.display().to_string(),
            found.data(),
            *found.span(),
            found.line(),
            found.column(),
            found.line_count(),
        )))
    }
}
