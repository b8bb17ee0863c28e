//! What can be proposed: nodes, figures, parameters, operations, columns, outputs behind a point.

use mlp_model::{CallClass, InputType, ParamType, Type, Value};

use super::{Completion, CompletionKind, List, MOST_ITEMS, begins_like};
use crate::analysis::callee::{Callee, Takes};
use crate::analysis::describe;
use crate::analysis::index::SymbolKind;
use crate::analysis::meaning::View;
use crate::analysis::spot::{self, Spot};
use crate::analysis::tree::{Decl, Kind, Label, Word};
use crate::check::TYPE_NAMES;

impl<'a> List<'_, 'a> {
    pub(super) fn artifacts(&mut self, input: &InputType) {
        match input {
            InputType::Table(_) | InputType::Predictions { .. } => self.nodes(|ty| matches!(ty, Type::Table(_)), 0),
            InputType::Model => self.nodes(|ty| matches!(ty, Type::Model(_)), 0),
            InputType::Report => self.nodes(|ty| matches!(ty, Type::Report(_)), 0),
            InputType::File => {
                self.nodes(|ty| matches!(ty, Type::File), 0);
                self.params(|value| matches!(value, Value::Str(_)), 1);
            }
            InputType::Folder => {
                self.nodes(|ty| matches!(ty, Type::Folder), 0);
                self.params(|value| matches!(value, Value::Str(_)), 1);
            }
            InputType::Record => self.nodes(|_| true, 0),
        }
        self.champion(input);
    }

    pub(super) fn champion(&mut self, input: &InputType) {
        for (name, ty) in parts(self.view) {
            let fits = match input {
                InputType::Model => matches!(ty, Some(Type::Model(_))),
                InputType::File => matches!(ty, Some(Type::File)),
                InputType::Folder => matches!(ty, Some(Type::Folder)),
                InputType::Report => matches!(ty, Some(Type::Report(_))),
                InputType::Record => ty.is_some(),
                InputType::Table(_) | InputType::Predictions { .. } => false,
            };
            if fits {
                let detail = ty.map(describe::short).unwrap_or_default();
                self.word(&format!("champion.{name}"), CompletionKind::Release, detail, 2);
            }
        }
    }

    /// Adds the outputs of nodes that fit; a node of which nothing is known is added by its name.
    pub(super) fn nodes(&mut self, fits: impl Fn(&Type) -> bool, rank: u8) {
        let view = self.view;
        for (at, symbol) in view.index.symbols.iter().enumerate().filter(|(_, symbol)| symbol.kind.is_node()) {
            let name = symbol.name.text;
            // Every label begins with the name.
            if !begins_like(name, self.prefix) {
                continue;
            }
            if self.items.len() >= MOST_ITEMS {
                self.is_full = true;
                return;
            }
            let Some(node) = view.node(at) else {
                self.word(name, CompletionKind::Node, "", rank + 1);
                continue;
            };
            match node.outputs.as_slice() {
                [only] if fits(&only.ty) => self.word(name, CompletionKind::Node, describe::short(&only.ty), rank),
                [_] => {}
                outputs => {
                    for output in outputs.iter().filter(|output| fits(&output.ty)) {
                        let label = format!("{name}.{}", output.name);
                        self.word(&label, CompletionKind::Output, describe::short(&output.ty), rank);
                    }
                }
            }
        }
    }

    /// Adds what a gate can compare.
    pub(super) fn figures(&mut self) {
        self.nodes(|ty| matches!(ty, Type::Report(_)), 0);
        self.params(|value| value.as_float().is_some(), 1);
    }

    pub(super) fn params(&mut self, fits: impl Fn(&Value) -> bool, rank: u8) {
        let view = self.view;
        for symbol in view.index.symbols.iter().filter(|symbol| symbol.kind.is_value()) {
            let name = symbol.name.text;
            match view.facts.params.get(name) {
                Some(value) if fits(value) => self.word(name, CompletionKind::Param, describe::value(value), rank),
                Some(_) => {}
                None => self.word(name, CompletionKind::Param, "", rank + 1),
            }
        }
    }

    pub(super) fn symbols(&mut self, kind: SymbolKind, shown: CompletionKind, rank: u8) {
        let names: Vec<_> = self.view.index.of_kind(kind).map(|symbol| (symbol.name.text, symbol.piece)).collect();
        for (name, piece) in names {
            let doc = self.view.document.doc_of(piece);
            self.word(name, shown, describe::first_line(&doc), rank);
        }
    }

    pub(super) fn types(&mut self) {
        for name in TYPE_NAMES {
            let insert = match name {
                "decimal" => "decimal(${1:18}, ${2:2})",
                "list" => "list(${1:int})",
                other => other,
            };
            self.add(Completion {
                label: name.to_owned(),
                kind: CompletionKind::Type,
                insert: insert.to_owned(),
                is_snippet: insert != name,
                ..Completion::default()
            });
        }
    }

    /// Adds the operations that begin with `namespace`; for a source or a step, those that fit it first.
    pub(super) fn operations(&mut self, namespace: &str, is_source: Option<bool>) {
        for signature in self.view.catalogue.iter() {
            let Some(rest) = signature.name.strip_prefix(namespace) else { continue };
            if signature.class == CallClass::Effect {
                continue; // called by the name of its step
            }
            let is_expected = is_source.is_none_or(|is_source| is_source == (signature.class == CallClass::Source));
            let callee = Callee::Operation(signature);
            self.add(Completion {
                label: rest.to_owned(),
                kind: CompletionKind::Operation,
                detail: describe::first_line(signature.doc).to_owned(),
                doc: describe::callee(&callee),
                insert: format!("{rest}($0)"),
                is_snippet: true,
                rank: if is_expected { 0 } else { 3 },
            });
        }
        if namespace.is_empty() {
            self.symbols(SymbolKind::Module, CompletionKind::Module, 1);
            self.symbols(SymbolKind::Template, CompletionKind::Operation, 1);
        }
    }

    pub(super) fn operation(&mut self, name: &str) {
        if let Some(signature) = self.view.catalogue.get(name) {
            self.add(Completion {
                label: name.to_owned(),
                kind: CompletionKind::Operation,
                detail: describe::first_line(signature.doc).to_owned(),
                doc: describe::callee(&Callee::Operation(signature)),
                insert: format!("{name}(\"$0\")"),
                is_snippet: true,
                rank: 2,
            });
        }
    }

    /// Adds what can follow `a.b.`.
    pub(super) fn behind_point(&mut self, path: &[&str], decl: &Decl<'a>, at: usize) {
        let view = self.view;
        let [first, ..] = path else { return };
        let in_gate = matches!(decl.kind, Kind::Gate { .. });
        if *first == "champion" && path.len() == 1 {
            for (name, ty) in parts(view) {
                let detail = ty.map(describe::short).unwrap_or_default();
                self.word(&name, CompletionKind::Release, detail, 0);
            }
            return;
        }
        if let Some(module) = view.modules.iter().find(|module| module.alias == *first) {
            for symbol in module.index.symbols.iter().filter(|symbol| symbol.within.is_none()) {
                let kind = match symbol.kind {
                    SymbolKind::Template => CompletionKind::Operation,
                    SymbolKind::Schema => CompletionKind::Schema,
                    _ => continue,
                };
                let doc = module.document.doc_of(symbol.piece);
                self.word(symbol.name.text, kind, describe::first_line(&doc), 0);
            }
            return;
        }
        let words: Vec<_> = path.iter().map(|text| Word { text, start: 0, end: 0 }).collect();
        if let Some(node) = view.index.get(first, None).filter(|node| view.index.symbols[*node].kind.is_node()) {
            let Some(known) = view.node(node) else { return };
            if path.len() == 1 && known.outputs.len() > 1 {
                for output in &known.outputs {
                    self.word(&output.name, CompletionKind::Output, describe::short(&output.ty), 0);
                }
            }
            if let Some(Type::Report(report)) = view.type_of(&words, None) {
                for metric in &report.metrics {
                    self.word(metric, CompletionKind::Metric, "metric", u8::from(!in_gate));
                }
            }
            return;
        }
        let namespace = format!("{}.", path.join("."));
        let spot = spot::find(view, decl, at);
        if let Takes::Param(ParamType::Call(constructors)) = spot.takes {
            for constructor in constructors {
                let Some(rest) = constructor.name.strip_prefix(&namespace) else { continue };
                self.add(Completion {
                    label: rest.to_owned(),
                    kind: CompletionKind::Constructor,
                    detail: describe::first_line(constructor.doc).to_owned(),
                    doc: describe::callee(&Callee::Constructor(constructor)),
                    insert: format!("{rest}($0)"),
                    is_snippet: true,
                    rank: 0,
                });
            }
        } else if spot.group.is_none() {
            self.operations(&namespace, Some(decl.keyword.text == "source"));
        }
    }
}

/// Returns the columns of the table that the argument at hand takes columns of.
pub(super) fn columns(view: &View<'_>, spot: &Spot<'_, '_>) -> Vec<(String, String)> {
    let Some(of) = spot.takes.column_of() else { return Vec::new() };
    let mut calls = spot.calls.iter().rev();
    let table = calls.find_map(|call| view.table_of(of, &call.formals, &call.bindings, call.group, None));
    let Some((table, _)) = table else { return Vec::new() };
    table.columns.iter().map(|column| (column.name.clone(), describe::column(column))).collect()
}

/// Returns the parts of the file's release with their types.
pub(super) fn parts<'a>(view: &View<'a>) -> Vec<(String, Option<&'a Type>)> {
    let Some((decl, _)) = view.release() else { return Vec::new() };
    let names: Vec<String> = match &decl.kind {
        Kind::Release { bundle: Some(bundle), .. } => {
            let names =
                bundle.items.iter().filter_map(|item| item.name.map(|label: Label<'_>| label.word).or(item.bare()));
            names.map(|word| word.text.to_owned()).collect()
        }
        Kind::Release { .. } => vec!["model".to_owned()],
        _ => Vec::new(),
    };
    let typed = names.into_iter().map(|name| {
        let words = [Word { text: "champion", start: 0, end: 0 }, Word { text: &name, start: 0, end: 0 }];
        let ty = view.type_of(&words, None);
        (name, ty)
    });
    typed.collect()
}
