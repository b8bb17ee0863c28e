//! Doubts about files that check: what is not wrong, but is hardly meant.
//!
//! Only lints that a demanding team would leave on. Each can be silenced where it is told, with a reason:
//! `// lint: allow L0606 the solver does not draw`. Unlike the checker, lints know some operations and metrics of the
//! standard catalogue by name; all such names stand in `known`.

mod allow;
mod checks;
mod known;
mod learning;
mod unused;

use std::collections::{BTreeSet, HashSet};

use mlp_model::{Call, Catalogue, Input, Node, NodeKind, NumExpr, Part, Pipeline, Span};

pub use allow::Allowed;

use crate::diagnostic::Diagnostic;
use crate::format::lex::{self, Token};
use crate::outline::{self, Outline};

/// Code and meaning, in order.
pub const ALL: &[(&str, &str)] = &[
    ("L0601", "a parameter that nothing uses"),
    ("L0602", "a schema that nothing uses"),
    ("L0603", "a source or step whose result nothing uses"),
    ("L0604", "rows that are set aside and never read"),
    ("L0605", "a gate that trusts few rows"),
    ("L0606", "a random choice without a written seed"),
    ("L0607", "a gate on figures of a threshold that is not written"),
    ("L0608", "a check that can never fail"),
    ("L0609", "a check that can never pass"),
    ("L0610", "personal data handed to a program"),
    ("L0611", "a category without the list of its values"),
    ("L0612", "a name that says the wrong role"),
    ("L0613", "a release without the transform that its rows went through"),
    ("L0621", "an `allow` that silences nothing"),
    ("L0622", "an `allow` that is not well formed"),
];

/// What linting found.
#[derive(Debug, Default)]
pub struct Linted {
    /// Ordered by position.
    pub diagnostics: Vec<Diagnostic>,
    /// What the file silences, with its reasons.
    pub allowed: Vec<Allowed>,
}

/// Looks for doubts in a checked pipeline. `warnings` are those of its check, which `allow` silences too.
///
/// Only what stands in the pipeline's own file is told.
pub fn lint(pipeline: &Pipeline, warnings: &[Diagnostic], catalogue: &Catalogue) -> Linted {
    let Some(source) = pipeline.sources.first() else { return Linted::default() };
    // The text checks, so the outline has nothing to say that is not among the warnings.
    let outline = outline::cut(0, &source.text, &mut Vec::new());
    let subject =
        Subject { pipeline, catalogue, text: &source.text, tokens: lex::tokens(&source.text), outline: &outline };
    let mut found = Vec::new();
    unused::lint(&subject, &mut found);
    learning::lint(&subject, &mut found);
    checks::lint(&subject, &mut found);
    // A step in a body is many nodes, and one place of the text.
    let mut told = HashSet::new();
    found.retain(|d| told.insert((d.code.clone(), d.primary().map(|label| label.span), d.message.clone())));
    found.extend(warnings.iter().cloned());
    found.retain(|diagnostic| diagnostic.primary().is_none_or(|label| label.span.source == 0));
    let mut linted = allow::apply(&subject, found);
    linted.diagnostics.sort_by_key(|diagnostic| {
        let place = diagnostic.primary().map(|label| label.span.start);
        (place, diagnostic.code.clone())
    });
    linted
}

/// Returns whether a text is a module: what it declares is for pipelines that use it, and it declares none itself.
pub fn is_module(text: &str) -> bool {
    let outline = outline::cut(0, text, &mut Vec::new());
    let shared = ["use", "let", "schema", "def"];
    !outline.chunks.is_empty() && outline.chunks.iter().all(|chunk| shared.contains(&chunk.keyword))
}

/// What the lints look at.
struct Subject<'a> {
    pipeline: &'a Pipeline,
    catalogue: &'a Catalogue,
    text: &'a str,
    tokens: Vec<Token<'a>>,
    outline: &'a Outline<'a>,
}

impl<'a> Subject<'a> {
    /// Returns the calls that somebody wrote, with their nodes: those in the bodies of `def`s and loops as often as they are
    /// expanded.
    fn calls(&self) -> impl Iterator<Item = (usize, &'a Node, &'a Call)> {
        self.pipeline.nodes.iter().enumerate().filter_map(|(i, node)| match &node.kind {
            NodeKind::Call(call) if !self.is_implicit(i) => Some((i, node, &**call)),
            _ => None,
        })
    }

    /// Returns whether a node scores a table for the one behind it, and is written nowhere.
    fn is_implicit(&self, node: usize) -> bool {
        let (Some(node), Some(next)) = (self.pipeline.nodes.get(node), self.pipeline.nodes.get(node + 1)) else {
            return false;
        };
        node.span == next.span && node.name.strip_suffix(".predictions") == Some(&next.name)
    }

    /// Returns the name of a node as it is written where it is declared, without what it is in.
    fn written(&self, node: &'a Node) -> &'a str {
        let written = self.text.get(node.span.start..node.span.end).filter(|_| node.span.source == 0);
        written.unwrap_or(&node.name)
    }

    fn call(&self, node: usize) -> Option<&'a Call> {
        match &self.pipeline.nodes.get(node)?.kind {
            NodeKind::Call(call) => Some(call),
            _ => None,
        }
    }

    /// Returns the calls whose results a call reads, and theirs, nearest first; the call itself is not among them.
    fn before(&self, node: usize) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        let mut is_found = vec![false; self.pipeline.nodes.len()];
        let mut next = vec![node];
        while let Some(node) = next.pop() {
            for input in self.call(node).into_iter().flat_map(|call| call.inputs.values()) {
                if let Input::Output { node, .. } = input
                    && !std::mem::replace(&mut is_found[*node], true)
                {
                    found.push(*node);
                    next.push(*node);
                }
            }
        }
        found
    }

    /// Returns what is read of the nodes that come from each place of the text: an output, or `None` for the node as a whole.
    fn reads(&self) -> BTreeSet<((usize, usize), Option<&'a str>)> {
        let mut reads: BTreeSet<(usize, Option<&'a str>)> = BTreeSet::new();
        for node in &self.pipeline.nodes {
            match &node.kind {
                NodeKind::Call(call) => reads.extend(call.inputs.values().filter_map(|input| match input {
                    Input::Output { node, output } => Some((*node, Some(output.as_ref()))),
                    _ => None,
                })),
                NodeKind::Gate(gate) => {
                    for check in &gate.checks {
                        metrics(&check.left, &mut |node, _| _ = reads.insert((node, None)));
                        metrics(&check.right, &mut |node, _| _ = reads.insert((node, None)));
                    }
                }
                NodeKind::Release(release) => reads.extend(release.parts.values().filter_map(|part| match part {
                    Part::Output { node, output } => Some((*node, Some(output.as_ref()))),
                    Part::Transform { node } => Some((*node, None)),
                    Part::Value(_) => None,
                })),
            }
        }
        let written = reads.into_iter().filter(|(node, _)| !self.is_implicit(*node));
        written.filter_map(|(node, output)| Some((place(self.pipeline.nodes.get(node)?), output))).collect()
    }
}

/// Returns where a node is written, as what it is told by: in which file, and where there.
fn place(node: &Node) -> (usize, usize) {
    (node.span.source, node.span.start)
}

/// Calls `found` for each metric in the expression, with its node.
fn metrics<'a>(expr: &'a NumExpr, found: &mut dyn FnMut(usize, &'a str)) {
    match expr {
        NumExpr::Number(_) => {}
        NumExpr::Metric { node, metric } => found(*node, metric),
        NumExpr::Negate(inner) => metrics(inner, found),
        NumExpr::Fold { of, .. } => of.iter().for_each(|expr| metrics(expr, found)),
        NumExpr::Add(a, b) | NumExpr::Subtract(a, b) | NumExpr::Multiply(a, b) | NumExpr::Divide(a, b) => {
            metrics(a, found);
            metrics(b, found);
        }
    }
}

fn span_of(token: &Token<'_>) -> Span {
    Span { source: 0, start: token.start, end: token.start + token.text.len() }
}
