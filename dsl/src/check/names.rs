//! Collects what a file declares: one name space, each name once. Looks at no types.

use std::collections::HashMap;

use mlp_model::Span;

use super::report::Report;
use crate::ast::{CallDecl, DeclKind, File, GateDecl, Name, ParamDecl, ReleaseDecl, SchemaDecl};
use crate::diagnostic::Diagnostic;

/// Words with a meaning of their own, which no declaration can be called.
pub const RESERVED: [&str; 21] = [
    "pipeline", "param", "schema", "source", "step", "gate", "release", "with", "when", "bundle", "champion", "true",
    "false", "none", "and", "or", "not", "in", "if", "else", "as_of",
];

/// What a name stands for: an index into the list of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity {
    Param(usize),
    Schema(usize),
    Call(usize),
    Gate(usize),
    Release(usize),
    /// Declared, but its declaration could not be read.
    Broken,
}

/// A declaration that becomes a node of the pipeline.
#[derive(Debug, Clone, Copy)]
pub enum Item {
    Call(usize),
    Gate(usize),
    Release(usize),
}

#[derive(Default)]
pub struct Names<'a> {
    entries: HashMap<&'a str, Entry>,
    /// In the order of declaration.
    pub order: Vec<&'a str>,
    pub params: Vec<&'a ParamDecl<'a>>,
    pub schemas: Vec<&'a SchemaDecl<'a>>,
    pub calls: Vec<&'a CallDecl<'a>>,
    pub gates: Vec<&'a GateDecl<'a>>,
    pub releases: Vec<&'a ReleaseDecl<'a>>,
    pub items: Vec<Item>,
    /// The doc comment of each of `items`.
    pub docs: Vec<&'a str>,
    pub pipeline: Option<(Name<'a>, &'a str)>,
    /// A release is declared that could not be read.
    pub has_broken_release: bool,
}

struct Entry {
    entity: Entity,
    span: Span,
    word: &'static str,
}

impl<'a> Names<'a> {
    pub fn get(&self, name: &str) -> Option<Entity> {
        self.entries.get(name).map(|entry| entry.entity)
    }

    /// Returns the word that declared the name, such as `param`.
    pub fn word(&self, name: &str) -> &'static str {
        self.entries.get(name).map_or("name", |entry| entry.word)
    }

    pub fn collect(file: &'a File<'a>, report: &Report) -> Self {
        let mut names = Self::default();
        let mut has_broken_pipeline = false;
        for decl in &file.decls {
            let (word, name) = decl.head();
            let entity = match &decl.kind {
                DeclKind::Pipeline(name) => {
                    names.set_pipeline(*name, decl.doc, report);
                    continue;
                }
                DeclKind::Broken { keyword: "pipeline", .. } => {
                    has_broken_pipeline = true;
                    continue;
                }
                DeclKind::Broken { keyword, .. } => {
                    names.has_broken_release |= *keyword == "release";
                    Entity::Broken
                }
                DeclKind::Param(decl) => {
                    names.params.push(decl);
                    Entity::Param(names.params.len() - 1)
                }
                DeclKind::Schema(decl) => {
                    names.schemas.push(decl);
                    Entity::Schema(names.schemas.len() - 1)
                }
                DeclKind::Call(call) => {
                    names.calls.push(call);
                    names.items.push(Item::Call(names.calls.len() - 1));
                    names.docs.push(decl.doc);
                    Entity::Call(names.calls.len() - 1)
                }
                DeclKind::Gate(gate) => {
                    names.gates.push(gate);
                    names.items.push(Item::Gate(names.gates.len() - 1));
                    names.docs.push(decl.doc);
                    Entity::Gate(names.gates.len() - 1)
                }
                DeclKind::Release(release) => {
                    names.releases.push(release);
                    names.items.push(Item::Release(names.releases.len() - 1));
                    names.docs.push(decl.doc);
                    Entity::Release(names.releases.len() - 1)
                }
            };
            if let Some(name) = name {
                names.declare(name, entity, word, report);
            }
        }
        if names.pipeline.is_none() && !has_broken_pipeline && !file.decls.is_empty() {
            let start = Span::default();
            let problem = Diagnostic::error("E0111", "the file declares no pipeline")
                .at(start, "")
                .help("begin it with `pipeline NAME`");
            report.add(problem);
        }
        names
    }

    fn set_pipeline(&mut self, name: Name<'a>, doc: &'a str, report: &Report) {
        refuse_reserved(name, report);
        match self.pipeline {
            None => self.pipeline = Some((name, doc)),
            Some((first, _)) => report.add(
                Diagnostic::error("E0111", "a file declares one pipeline")
                    .at(name.span, "a second one")
                    .and(first.span, "the first one")
                    .help("give each pipeline a file of its own"),
            ),
        }
    }

    fn declare(&mut self, name: Name<'a>, entity: Entity, word: &str, report: &Report) {
        if entity != Entity::Broken {
            refuse_reserved(name, report);
        }
        let word = crate::outline::DECLARING.into_iter().find(|known| *known == word).unwrap_or("name");
        if let Some(first) = self.entries.get(name.text) {
            let what = if first.word == word { format!("{word} `{}`", name.text) } else { format!("`{}`", name.text) };
            report.add(
                Diagnostic::error("E0201", format!("{what} is declared twice"))
                    .at(name.span, "again here")
                    .and(first.span, format!("first here, as a {}", first.word)),
            );
            return;
        }
        self.entries.insert(name.text, Entry { entity, span: name.span, word });
        self.order.push(name.text);
    }
}

fn refuse_reserved(name: Name<'_>, report: &Report) {
    if RESERVED.contains(&name.text) {
        report.add(
            Diagnostic::error("E0113", format!("`{}` is a word of the language", name.text))
                .at(name.span, "cannot be a name")
                .help(format!("call it `{}_`, for example", name.text)),
        );
    }
}
