//! From the syntax tree to a checked pipeline: names, types and the safety of learning.
//!
//! The phases run over the whole file, each collecting every mistake: names, parameters, schemas, the binding of
//! arguments, the order of steps, then each call in that order, gates and releases. Something that is wrong is `None`
//! from there on, and what depends on it is passed over in silence.

mod arguments;
mod bind;
mod call;
mod calls;
mod champion;
mod facts;
mod gates;
mod infer;
mod inputs;
mod names;
mod order;
mod params;
mod releases;
mod report;
mod roles;
mod schemas;
mod types;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

use mlp_model::{Catalogue, Node, NodeKind, Pipeline, Schema, SourceText, Span, Value};

pub use facts::{Facts, NodeFacts};
pub use names::RESERVED;
pub use schemas::MARKS;
pub use types::{TYPE_NAMES, written};
pub use value::show;

use crate::diagnostic::{Diagnostic, Severity};
use crate::outline;
use crate::parse;
use crate::world::{World, WorldError};
use names::{Item, Names};
use report::Report;
use value::Eval;

/// What a check looks at.
pub struct CheckInput<'a> {
    /// The pipeline file, as the user named it.
    pub file: &'a Path,
    /// The parameters that the command line gives, as text.
    pub params: &'a BTreeMap<String, String>,
    pub catalogue: &'a Catalogue,
    pub world: &'a dyn World,
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// `None` if and only if there are errors.
    pub pipeline: Option<Pipeline>,
    /// Ordered by position.
    pub diagnostics: Vec<Diagnostic>,
    /// What spans refer to.
    pub sources: Vec<SourceText>,
}

/// Checks a pipeline file as a whole and reports every mistake in it.
pub fn check(input: &CheckInput<'_>) -> Checked {
    check_file(input, None)
}

/// Checks a file for an editor: what is known of its right parts goes into `facts`, and no pipeline is made.
pub fn inspect(input: &CheckInput<'_>, facts: &mut Facts) -> Checked {
    check_file(input, Some(facts))
}

fn check_file(input: &CheckInput<'_>, facts: Option<&mut Facts>) -> Checked {
    let text = match input.world.read(input.file) {
        Ok(text) => text,
        Err(error) => {
            return Checked { pipeline: None, diagnostics: vec![unreadable(input, &error)], sources: Vec::new() };
        }
    };
    let sources = vec![SourceText { path: input.file.to_owned(), text }];
    let (pipeline, mut diagnostics) = check_text(input, &sources[0].text, facts);
    diagnostics.sort_by_key(|diagnostic| {
        let place = diagnostic.primary().map(|label| (label.span.source, label.span.start));
        (place.is_some(), place, diagnostic.severity)
    });
    diagnostics.dedup();
    let has_errors = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let pipeline = pipeline.filter(|_| !has_errors).map(|pipeline| Pipeline { sources: sources.clone(), ..pipeline });
    Checked { pipeline, diagnostics, sources }
}

fn unreadable(input: &CheckInput<'_>, error: &WorldError) -> Diagnostic {
    let file = input.file.display();
    match error {
        WorldError::NotFound => Diagnostic::error("E0101", format!("cannot read `{file}`: file not found")),
        WorldError::Other(reason) => Diagnostic::error("E0101", format!("cannot read `{file}`: {reason}")),
        WorldError::NotUtf8 { offset } => {
            let line = input.world.line_of(input.file, *offset);
            let place = line.map_or(String::new(), |line| format!(", on line {line},"));
            Diagnostic::error("E0102", format!("`{file}` is not UTF-8 text: byte {offset}{place} begins no character"))
                .help("save the file as UTF-8")
        }
    }
}

fn check_text(input: &CheckInput<'_>, text: &str, facts: Option<&mut Facts>) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let outline = outline::cut(0, text, &mut diagnostics);
    let file = parse::parse_file(0, &outline, &mut diagnostics);
    if file.decls.is_empty() && diagnostics.iter().all(|d| d.severity == Severity::Warning) {
        let problem = Diagnostic::error("E0111", format!("`{}` declares nothing", input.file.display()));
        diagnostics.push(problem.help("begin it with `pipeline NAME`"));
        return (None, diagnostics);
    }
    let report = Report::new(diagnostics);
    let source = Source { text };
    let names = Names::collect(&file, &report);
    let params = params::check(&names, input.params, source, &report);
    let values: Vec<_> = params.iter().map(|param| param.as_ref().map(|param| param.value.clone())).collect();
    let eval = Eval { report: &report, names: &names, params: Some(&values) };
    let schemas: Vec<_> = names.schemas.iter().map(|decl| schemas::check(decl, &eval)).collect();
    let scope = Scope {
        report: &report,
        names: &names,
        values: &values,
        schemas: &schemas,
        catalogue: input.catalogue,
        world: input.world,
        file: input.file,
        source,
    };
    let is_editor = facts.is_some();
    let nodes = check_nodes(&scope, facts);
    if is_editor {
        return (None, report.into_diagnostics());
    }
    let pipeline = names.pipeline.zip(nodes).map(|((name, doc), nodes)| {
        let docs: Vec<_> = [file.doc, doc].into_iter().filter(|doc| !doc.is_empty()).collect();
        let params = names.params.iter().zip(params);
        let params = params.filter_map(|(decl, param)| Some((decl.name.text.to_owned(), param?))).collect();
        Pipeline { name: name.text.to_owned(), doc: docs.join("\n"), params, nodes, sources: Vec::new() }
    });
    (pipeline, report.into_diagnostics())
}

/// Checks sources, steps, gates and releases. `None` when any of them is wrong, or when facts are asked for instead.
fn check_nodes(scope: &Scope<'_>, facts: Option<&mut Facts>) -> Option<Vec<Node>> {
    let infos = calls::bind_all(scope);
    let champion = champion::Champion::find(scope);
    let order = order::sort(scope, &infos, &champion);
    // Places in the checked pipeline are known before any call is checked: an implicit step stands before its node.
    let mut places = Places::default();
    let mut n_nodes = 0;
    for item in &scope.names.items {
        if let Item::Call(call) = item
            && infos[*call].scores()
        {
            n_nodes += 1;
        }
        match item {
            Item::Call(_) => places.calls.push(n_nodes),
            Item::Gate(_) => places.gates.push(n_nodes),
            Item::Release(_) => {}
        }
        n_nodes += 1;
    }
    let mut results = calls::check_all(scope, &infos, &champion, &order, &places);
    let gates: Vec<_> = scope.names.gates.iter().map(|gate| gates::check(scope, gate, &results, &places)).collect();
    let releases = scope.names.releases.iter().map(|release| releases::check(scope, release, &results, &places));
    let releases: Vec<_> = releases.collect();
    if let Some(facts) = facts {
        facts.collect(scope, results);
        return None;
    }

    let mut nodes = Vec::with_capacity(n_nodes);
    let (mut gates, mut releases) = (gates.into_iter(), releases.into_iter());
    for (item, doc) in scope.names.items.iter().zip(&scope.names.docs) {
        let (name, kind) = match item {
            Item::Call(call) => {
                let result = results[*call].take()?;
                let name = infos[*call].decl.name;
                if let Some(predictions) = result.predictions {
                    let name_of_it = format!("{}.predictions", name.text);
                    let doc = String::new();
                    nodes.push(Node { name: name_of_it, doc, span: name.span, kind: NodeKind::Call(*predictions) });
                }
                (name, NodeKind::Call(result.call))
            }
            Item::Gate(gate) => (scope.names.gates[*gate].name, NodeKind::Gate(gates.next()??)),
            Item::Release(release) => (scope.names.releases[*release].name, NodeKind::Release(releases.next()??)),
        };
        nodes.push(Node { name: name.text.to_owned(), doc: (*doc).to_owned(), span: name.span, kind });
    }
    Some(nodes)
}

/// Where calls and gates stand in the checked pipeline, by their index among their kind.
#[derive(Default)]
pub(crate) struct Places {
    pub calls: Vec<usize>,
    pub gates: Vec<usize>,
}

/// What is known before the first call is checked.
pub(crate) struct Scope<'a> {
    pub report: &'a Report,
    pub names: &'a Names<'a>,
    /// The parameters' values, by index; `None` for one that is wrong.
    pub values: &'a [Option<Value>],
    pub schemas: &'a [Option<Schema>],
    pub catalogue: &'a Catalogue,
    pub world: &'a dyn World,
    pub file: &'a Path,
    pub source: Source<'a>,
}

impl<'a> Scope<'a> {
    pub fn eval(&self) -> Eval<'_, 'a> {
        Eval { report: self.report, names: self.names, params: Some(self.values) }
    }
}

/// The text that spans refer to.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// Returns what is written there, on one line and without comments.
    pub fn written(&self, span: Span) -> String {
        let lines = self.slice(span).lines().map(|line| line.split_once("//").map_or(line, |(before, _)| before));
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    /// Returns what is written there, as it is.
    pub fn slice(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Returns the line of the span's start, from 1.
    pub fn line(&self, span: Span) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}
