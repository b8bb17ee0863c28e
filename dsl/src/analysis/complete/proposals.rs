//! What can be proposed: nodes, figures, parameters, operations, columns, outputs behind a point.

use mlp_model::{CallClass, Column, InputType, ParamType, TableType, Type, Value};

use super::{Completion, CompletionKind, List, MOST_ITEMS, begins_like};
use crate::analysis::callee::{Callee, Takes};
use crate::analysis::describe;
use crate::analysis::index::{Symbol, SymbolKind};
use crate::analysis::spot::{self, Spot};
use crate::analysis::tree::{Decl, Kind, Label, Word};
use crate::analysis::view::View;
use crate::check::{EFFECT, TYPE_NAMES};

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
            InputType::Record => {
                self.nodes(|_| true, 0);
                self.lists(|_| true, 1);
            }
        }
        // A template does not know the champion of who calls it.
        if !self.view.index.is_in_template(self.scope.within) {
            self.champion(input);
        }
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
            if symbol.kind == SymbolKind::Effect || !begins_like(name, self.prefix) || !self.is_seen(at, symbol) {
                continue;
            }
            if self.items.len() >= MOST_ITEMS {
                self.is_full = true;
                return;
            }
            let Some(node) = view.node(at) else {
                self.word(name, CompletionKind::Node, describe::written_type(view, symbol), rank + 1);
                continue;
            };
            let is_one = |name| !node.lists.contains(name);
            match node.outputs.as_slice() {
                [only] if fits(&only.ty) && is_one(&only.name) => {
                    self.word(name, CompletionKind::Node, describe::short(&only.ty), rank);
                }
                [_] => {}
                outputs => {
                    for output in outputs.iter().filter(|output| fits(&output.ty) && is_one(&output.name)) {
                        let label = format!("{name}.{}", output.name);
                        self.word(&label, CompletionKind::Output, describe::short(&output.ty), rank);
                    }
                }
            }
        }
    }

    /// Adds what the rounds of loops give, an item for each: `network.model`.
    pub(super) fn lists(&mut self, fits: impl Fn(&Type) -> bool, rank: u8) {
        let view = self.view;
        for (at, symbol) in view.index.symbols.iter().enumerate().filter(|(_, symbol)| symbol.kind.is_node()) {
            let Some(path) = symbol.within.and_then(|_| self.path_into_loops(at, symbol)) else { continue };
            let outputs = view.node(at).map_or(&[][..], |node| node.outputs.as_slice());
            for output in outputs.iter().filter(|output| fits(&output.ty)) {
                let label = if outputs.len() == 1 { path.clone() } else { format!("{path}.{}", output.name) };
                self.word(&label, CompletionKind::Output, format!("list of: {}", describe::short(&output.ty)), rank);
            }
        }
    }

    fn path_into_loops(&self, at: usize, symbol: &Symbol<'_>) -> Option<String> {
        let index = &self.view.index;
        if self.is_seen(at, symbol) {
            return None;
        }
        let mut path = symbol.name.text.to_owned();
        for holder in index.around(symbol.within) {
            let of = &index.symbols[holder];
            if of.kind != SymbolKind::Loop {
                return None;
            }
            path = format!("{}.{path}", of.name.text);
            if self.is_seen(holder, of) {
                return Some(path);
            }
        }
        None
    }

    /// Returns whether a symbol's name means it where the cursor is.
    fn is_seen(&self, at: usize, symbol: &Symbol<'_>) -> bool {
        self.view.index.get(symbol.name.text, self.scope.within) == Some(at)
    }

    /// Adds what a gate can compare.
    pub(super) fn figures(&mut self) {
        self.nodes(|ty| matches!(ty, Type::Report(_)), 0);
        self.lists(|ty| matches!(ty, Type::Report(_)), 1);
        self.params(|value| value.as_float().is_some(), 1);
    }

    /// Adds the names of values that fit; one whose value is not known goes by the type that it is declared with.
    pub(super) fn params(&mut self, fits: impl Fn(&Value) -> bool, rank: u8) {
        let view = self.view;
        for (at, symbol) in view.index.symbols.iter().enumerate().filter(|(_, symbol)| symbol.kind.is_value()) {
            let name = symbol.name.text;
            if !begins_like(name, self.prefix) || !self.is_seen(at, symbol) {
                continue;
            }
            if let Some((_, table)) = view.rows_of(at) {
                for column in table.columns.iter().filter(|column| !column.marks.personal) {
                    let ty = describe::column(column);
                    if describe::example(&column.scalar.to_string()).is_none_or(|value| fits(&value)) {
                        self.word(&format!("{name}.{}", column.name), CompletionKind::Param, ty, rank);
                    }
                }
                continue;
            }
            let written = describe::written_type(view, symbol);
            let value = view.value(symbol).cloned().or_else(|| describe::example(written));
            match value {
                Some(value) if !fits(&value) => {}
                Some(value) if symbol.within.is_none() => {
                    self.word(name, CompletionKind::Param, describe::value(&value), rank);
                }
                Some(_) => self.word(name, CompletionKind::Param, written, rank),
                None => self.word(name, CompletionKind::Param, written, rank + 1),
            }
        }
    }

    pub(super) fn symbols(&mut self, kind: SymbolKind, shown: CompletionKind, rank: u8) {
        let view = self.view;
        for (at, symbol) in view.index.symbols.iter().enumerate().filter(|(_, symbol)| symbol.kind == kind) {
            if self.is_seen(at, symbol) {
                let doc = view.doc_of(symbol);
                self.word(symbol.name.text, shown, describe::first_line(&doc), rank);
            }
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

    /// Adds the operations that begin with `namespace`; for a source or a step, those that fit it first. An effect has
    /// operations of its own, which are called by the names of steps.
    pub(super) fn operations(&mut self, namespace: &str, keyword: Option<&str>) {
        let is_effect = keyword == Some("effect");
        for signature in self.view.catalogue.iter() {
            if is_effect != (signature.class == CallClass::Effect) {
                continue;
            }
            let name = if is_effect { signature.name.strip_prefix(EFFECT) } else { Some(signature.name) };
            let Some(rest) = name.and_then(|name| name.strip_prefix(namespace)) else { continue };
            let is_source = signature.class == CallClass::Source;
            let is_expected = keyword.is_none_or(|keyword| (keyword == "source") == is_source);
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
        if namespace.is_empty() && !is_effect {
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
        if let Some(led) = view.follow(&words, self.scope.within) {
            let kind = view.index.symbols[led.symbol].kind;
            if let Some((_, table)) = view.rows_of(led.symbol).filter(|_| path.len() == 1) {
                return self.columns(columns_of(table, |column| !column.marks.personal));
            }
            if kind == SymbolKind::Loop || kind.is_node() {
                return self.behind_node(&words[led.n_words..], led.symbol, &words, decl);
            }
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
            self.operations(&namespace, Some(spot::innermost(view, decl, at).decl.keyword.text));
        }
    }

    /// Adds what can follow a node or a loop: outputs, metrics, the steps of the loop's body.
    fn behind_node(&mut self, rest: &[Word<'_>], at: usize, path: &[Word<'_>], decl: &Decl<'a>) {
        let view = self.view;
        if view.index.symbols[at].kind == SymbolKind::Loop {
            for (inner, symbol) in view.index.symbols.iter().enumerate().skip(at) {
                if symbol.within == Some(at) && view.index.member(at, symbol.name.text) == Some(inner) {
                    let detail = view.node(inner).map_or(String::new(), |node| node.op.clone());
                    self.word(symbol.name.text, CompletionKind::Node, detail, 0);
                } else if symbol.piece != view.index.symbols[at].piece {
                    break;
                }
            }
            return;
        }
        let Some(known) = view.node(at) else { return };
        if rest.is_empty() && (known.outputs.len() > 1) {
            for output in &known.outputs {
                self.word(&output.name, CompletionKind::Output, describe::short(&output.ty), 0);
            }
            return;
        }
        match view.type_of(path, self.scope.within) {
            Some(Type::Report(report)) => {
                let in_gate = matches!(decl.kind, Kind::Gate { .. });
                for metric in &report.metrics {
                    self.word(metric, CompletionKind::Metric, "metric", u8::from(!in_gate));
                }
            }
            // `values(sales.store)`
            Some(Type::Table(table)) if self.is_loop_head => {
                self.columns(columns_of(table, |_| true));
            }
            _ => {}
        }
    }
}

/// Returns the columns of the table that the argument at hand takes columns of.
pub(super) fn columns(view: &View<'_>, spot: &Spot<'_, '_>) -> Vec<(String, String)> {
    let Some(of) = spot.takes.column_of() else { return Vec::new() };
    let mut calls = spot.calls.iter().rev();
    let table = calls.find_map(|call| view.table_of(of, &call.formals, &call.bindings, call.group, spot.scope.within));
    let Some((table, _)) = table else { return Vec::new() };
    columns_of(table, |_| true)
}

fn columns_of(table: &TableType, is_meant: impl Fn(&Column) -> bool) -> Vec<(String, String)> {
    let meant = table.columns.iter().filter(|column| is_meant(column));
    meant.map(|column| (column.name.clone(), describe::column(column))).collect()
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
