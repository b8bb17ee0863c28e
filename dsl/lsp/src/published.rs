//! From the compiler's diagnostics to those of the protocol.

use std::collections::HashMap;
use std::path::Path;

use ls_types::{DiagnosticRelatedInformation, DiagnosticSeverity, Location, NumberOrString, Position, Range, Uri};
use mlp_dsl::analysis::Document;
use mlp_dsl::{Diagnostic, Severity};
use mlp_model::{SourceText, Span};

use crate::capabilities::Client;
use crate::file::uri_of;

/// Returns what to show in each file, for the findings of one check of `own`.
pub fn published(
    client: &Client,
    own: (&Uri, &Document),
    diagnostics: &[Diagnostic],
    sources: &[SourceText],
) -> HashMap<Uri, Vec<ls_types::Diagnostic>> {
    let places = Places::new(client, own, sources);
    let mut shown: HashMap<Uri, Vec<ls_types::Diagnostic>> = HashMap::new();
    for diagnostic in diagnostics {
        let (uri, one) = places.diagnostic(diagnostic);
        shown.entry(uri).or_default().push(one);
    }
    shown
}

/// Finds places in the sources of a check.
pub struct Places<'a> {
    client: &'a Client,
    /// The checked file, whose text is source 0.
    own: (&'a Uri, &'a Document),
    /// The sources behind it.
    others: Vec<(Option<Uri>, Document)>,
}

impl<'a> Places<'a> {
    pub fn new(client: &'a Client, own: (&'a Uri, &'a Document), sources: &[SourceText]) -> Self {
        let others =
            sources.iter().skip(1).map(|source| (uri_of(Path::new(&source.path)), Document::new(source.text.as_str())));
        Self { client, own, others: others.collect() }
    }

    /// Returns the file and the range of a span.
    pub fn place(&self, span: Span) -> Option<(Uri, Range)> {
        let (uri, document) = match span.source.checked_sub(1) {
            None => (self.own.0.clone(), self.own.1),
            Some(other) => {
                let (uri, document) = self.others.get(other)?;
                (uri.clone()?, document)
            }
        };
        Some((uri, self.client.encoding.range(document, span.start..span.end)))
    }

    pub fn diagnostic(&self, diagnostic: &Diagnostic) -> (Uri, ls_types::Diagnostic) {
        let primary = diagnostic.primary();
        let start = Range { start: Position::default(), end: Position::default() };
        let (uri, range) =
            primary.and_then(|label| self.place(label.span)).unwrap_or_else(|| (self.own.0.clone(), start));
        let mut message = diagnostic.message.clone();
        let related = diagnostic.labels.iter().filter_map(|label| {
            let is_primary = primary.is_some_and(|primary| std::ptr::eq(primary, label));
            if is_primary || label.text.is_empty() {
                return None;
            }
            let (uri, range) = self.place(label.span)?;
            Some(DiagnosticRelatedInformation { location: Location { uri, range }, message: label.text.clone() })
        });
        let related: Vec<_> = related.collect();
        if let Some(label) = primary.filter(|label| !label.text.is_empty()) {
            message.push_str(&format!("\n{}", label.text));
        }
        if !self.client.related {
            related.iter().for_each(|other| {
                message.push_str(&format!("\n{} (line {})", other.message, other.location.range.start.line + 1));
            });
        }
        for note in &diagnostic.notes {
            message.push_str(&format!("\nnote: {note}"));
        }
        if let Some(help) = &diagnostic.help {
            message.push_str(&format!("\nhelp: {help}"));
        }
        let severity = match diagnostic.severity {
            // A value that is given when the pipeline is run is no mistake of the file.
            _ if diagnostic.code == "E0214" => DiagnosticSeverity::INFORMATION,
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
        };
        let one = ls_types::Diagnostic {
            range,
            severity: Some(severity),
            code: Some(NumberOrString::String(diagnostic.code.to_string())),
            source: Some("mlp".to_owned()),
            message,
            related_information: (self.client.related && !related.is_empty()).then_some(related),
            ..ls_types::Diagnostic::default()
        };
        (uri, one)
    }
}
