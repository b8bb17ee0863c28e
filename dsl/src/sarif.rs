//! Diagnostics as SARIF 2.1.0, the form that code hosts and editors read from a checker. Knows nothing of how they came about.

use std::collections::BTreeMap;
use std::path::Path;

use mlp_model::{SourceText, Span};
use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Severity};
use crate::lint::Allowed;
use crate::render::{fitted, line_and_column};
use crate::{codes, explain, lint};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// What was found in one pipeline.
pub struct Found<'a> {
    pub sources: &'a [SourceText],
    pub diagnostics: &'a [Diagnostic],
    /// What the file itself silences: told, with the reason, as suppressed.
    pub allowed: &'a [Allowed],
}

/// Returns one SARIF log. `version` is that of the program; relative paths stay relative.
pub fn sarif(found: &[Found<'_>], version: &str) -> Value {
    let mut rules = Rules::default();
    let mut results = Vec::new();
    for Found { sources, diagnostics, allowed } in found {
        results.extend(diagnostics.iter().map(|diagnostic| result(diagnostic, sources, &mut rules)));
        for Allowed { diagnostic, reason } in *allowed {
            let mut silenced = result(diagnostic, sources, &mut rules);
            silenced["suppressions"] = json!([{ "kind": "inSource", "justification": reason }]);
            results.push(silenced);
        }
    }
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "mlp",
                "version": version,
                "semanticVersion": version,
                "rules": rules.list,
            } },
            // Characters, not UTF-16 units.
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// The rules that the results name, in the order in which they came up.
#[derive(Default)]
struct Rules {
    list: Vec<Value>,
    places: BTreeMap<String, usize>,
}

impl Rules {
    fn place(&mut self, diagnostic: &Diagnostic) -> usize {
        let code = diagnostic.code.as_ref();
        if let Some(place) = self.places.get(code) {
            return *place;
        }
        let page = explain::page(code);
        let title =
            page.map(|page| page.title).or_else(|| meaning(code)).unwrap_or("a mistake that an operation finds");
        let mut rule = json!({
            "id": code,
            "shortDescription": { "text": sentence(title) },
            "defaultConfiguration": { "level": level(diagnostic) },
        });
        if let Some(page) = page {
            rule["fullDescription"] = json!({ "text": page.prose().replace('\n', " ") });
            rule["help"] = json!({ "text": page.prose(), "markdown": page.text });
        }
        self.list.push(rule);
        self.places.insert(code.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}

fn meaning(code: &str) -> Option<&'static str> {
    codes::ALL.iter().chain(lint::ALL).find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

fn level(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn result(diagnostic: &Diagnostic, sources: &[SourceText], rules: &mut Rules) -> Value {
    let mut text = sentence(&diagnostic.message);
    for more in diagnostic.help.iter().map(|help| format!("Help: {help}")).chain(diagnostic.notes.iter().cloned()) {
        text.push('\n');
        text.push_str(&sentence(&more));
    }
    let mut result = json!({
        "ruleId": diagnostic.code,
        "ruleIndex": rules.place(diagnostic),
        "level": level(diagnostic),
        "message": { "text": text },
    });
    let primary = diagnostic.primary();
    if let Some(mut place) = primary.and_then(|label| place(label.span, sources)) {
        if let Some(label) = primary.filter(|label| !label.text.is_empty()) {
            place["message"] = json!({ "text": sentence(&label.text) });
        }
        result["locations"] = json!([place]);
    }
    let others = diagnostic.labels.iter().filter(|label| !primary.is_some_and(|primary| std::ptr::eq(primary, *label)));
    let related: Vec<Value> = others
        .filter_map(|label| {
            let mut place = place(label.span, sources)?;
            if !label.text.is_empty() {
                place["message"] = json!({ "text": sentence(&label.text) });
            }
            Some(place)
        })
        .collect();
    if !related.is_empty() {
        result["relatedLocations"] = json!(related);
    }
    if let Some((span, text)) = diagnostic.fix(sources)
        && let Some(source) = sources.get(span.source)
    {
        result["fixes"] = json!([{
            "description": { "text": sentence(&format!("Write `{text}`")) },
            "artifactChanges": [{
                "artifactLocation": { "uri": uri(&source.path) },
                "replacements": [{
                    "deletedRegion": region(span, &source.text),
                    "insertedContent": { "text": text },
                }],
            }],
        }]);
    }
    result
}

fn place(span: Span, sources: &[SourceText]) -> Option<Value> {
    let source = sources.get(span.source)?;
    Some(json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(&source.path) },
        "region": region(span, &source.text),
    } }))
}

fn region(span: Span, text: &str) -> Value {
    let span = fitted(span, text);
    let (line, column) = line_and_column(text, span.start);
    let (end_line, end_column) = line_and_column(text, span.end);
    let mut region = json!({ "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column });
    if span.end > span.start {
        region["snippet"] = json!({ "text": &text[span.start..span.end] });
    }
    region
}

/// Returns a text that ends like a sentence, as readers of SARIF expect.
fn sentence(text: &str) -> String {
    let mut sentence = text.trim_end().trim_end_matches(" (warning)").to_owned();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

/// Returns a path as a URI: relative ones as they are, with what a URI cannot hold escaped.
fn uri(path: &Path) -> String {
    let mut uri = if path.is_absolute() { "file://".to_owned() } else { String::new() };
    for byte in path.strip_prefix("./").unwrap_or(path).to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(byte as char);
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
