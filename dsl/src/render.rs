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
        .with_context_lines(WHOLE_LINES)
        .without_syntax_highlighting();
    let word = diagnostic.severity.word();
    let head = format!("{word}[{}]", diagnostic.code);
    let mut text = if colour {
        let number = if diagnostic.severity == Severity::Error { 31 } else { 33 };
        format!("\u{1b}[1;{number}m{head}\u{1b}[0m\u{1b}[1m: {}\u{1b}[0m\n", diagnostic.message)
    } else {
        format!("{head}: {}\n", diagnostic.message)
    };
    for (source, labels) in clusters(diagnostic, sources) {
        let snippet = Snippet { diagnostic, labels, source: Some(Named(source)), help: None };
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

/// Groups labels on neighbouring lines, so that each group is shown by itself: the primary place first, then the others.
fn clusters<'d>(diagnostic: &'d Diagnostic, sources: &'d [SourceText]) -> Vec<(&'d SourceText, Vec<&'d Label>)> {
    let mut placed: Vec<(usize, usize, usize, &Label)> = Vec::new();
    for label in &diagnostic.labels {
        let Some(source) = sources.get(label.span.source) else { continue };
        let span = fitted(label.span, &source.text);
        let first = line_and_column(&source.text, span.start).0;
        let last = first + source.text[span.start..span.end].matches('\n').count();
        placed.push((label.span.source, first, last, label));
    }
    placed.sort_by_key(|(source, first, ..)| (*source, *first));
    let mut clusters: Vec<(usize, usize, Vec<&Label>)> = Vec::new();
    for (source, first, last, label) in placed {
        match clusters.last_mut() {
            Some((in_source, until, labels)) if *in_source == source && first <= *until + 1 => {
                *until = last.max(*until);
                labels.push(label);
            }
            _ => clusters.push((source, last, vec![label])),
        }
    }
    let primary = diagnostic.primary();
    let is_primary = |label: &&Label| primary.is_some_and(|primary| std::ptr::eq(primary, *label));
    clusters.sort_by_key(|(.., labels)| !labels.iter().any(is_primary));
    clusters.into_iter().filter_map(|(source, _, labels)| Some((sources.get(source)?, labels))).collect()
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
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = before.as_bytes().iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// Moves a span onto the lines of the text and onto character borders, whatever it says.
pub(crate) fn fitted(span: Span, text: &str) -> Span {
    let last = text.trim_end().len();
    let on_border = |mut at: usize| {
        at = at.min(last);
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

/// What miette asks for, where it wants to show lines, and not only to know where a label is.
const WHOLE_LINES: usize = 1;

impl SourceCode for Named<'_> {
    /// Returns the span, or the whole lines it touches. miette's own impl would count columns in bytes.
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let SourceText { path, text } = self.0;
        let (start, end) = (span.offset(), span.offset() + span.len());
        let inside = text.get(..start).zip(text.get(end..));
        let (head, _) = inside.ok_or(MietteError::OutOfBounds)?;
        let line_start = head.rfind('\n').map_or(0, |n| n + 1);
        // A span that ends with a line break does not touch the next line.
        let last = start.max(end.saturating_sub(1));
        let line_end =
            text.as_bytes()[last..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |n| last + n + 1);
        let (from, to) = if before == WHOLE_LINES { (line_start, line_end) } else { (start, end) };
        let n_lines = |text: &str| text.as_bytes().iter().filter(|byte| **byte == b'\n').count();
        Ok(Box::new(miette::MietteSpanContents::new_named(
            path.display().to_string(),
            &text.as_bytes()[from..to],
            (from, to - from).into(),
            n_lines(&text[..from]),
            text[line_start..from].chars().count(),
            n_lines(&text[from..to]),
        )))
    }
}
