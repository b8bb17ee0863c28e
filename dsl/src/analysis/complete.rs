//! What could stand where the cursor is.

use std::ops::Range;

use mlp_model::{CallClass, InputType, ParamType, Type, Value};

use super::callee::{Callee, Takes};
use super::describe;
use super::hover;
use super::index::SymbolKind;
use super::lex::TokenKind;
use super::meaning::{VALUE_WORDS, View};
use super::spot::{self, Spot};
use super::tree::{self, Decl, Kind, Label, Path, Term, Word};
use crate::check::{MARKS, TYPE_NAMES};
use crate::outline::DECLARING;

/// More are cut off, and the list says so: what is typed next narrows it.
const MOST_ITEMS: usize = 400;

/// What could stand at a place.
#[derive(Debug, Default)]
pub struct Completions {
    /// The bytes that are replaced.
    pub range: Range<usize>,
    pub items: Vec<Completion>,
    pub is_incomplete: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Completion {
    pub label: String,
    pub kind: CompletionKind,
    /// On one line.
    pub detail: String,
    /// Markdown.
    pub doc: String,
    pub insert: String,
    /// `insert` has places to fill in: `$0`, `${1:name}`.
    pub is_snippet: bool,
    /// Smaller comes first.
    pub rank: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CompletionKind {
    #[default]
    Keyword,
    Operation,
    Constructor,
    Argument,
    Node,
    Output,
    Param,
    Schema,
    Gate,
    Release,
    Module,
    Column,
    Choice,
    Metric,
    Type,
    Mark,
    Value,
}

/// Returns what could stand at byte `at`.
pub fn complete(view: &View<'_>, at: usize) -> Completions {
    let document = view.document;
    let at = document.floor(at);
    let mut list = List { view, prefix: "", items: Vec::new(), is_full: false };
    let piece_index = document.piece_at(at);
    let Some(piece) = document.pieces().get(piece_index) else { return list.done(at..at) };
    let text = document.piece_text(piece);
    let inside = piece.tokens.iter().find(|token| {
        let (start, end) = (piece.start + token.start as usize, piece.start + token.end as usize);
        start < at && (at < end || (at == end && (token.is_comment() || is_open_string(token.text(text)))))
    });
    let mut string = None;
    match inside {
        Some(token) if token.is_comment() => return list.done(at..at),
        Some(token) if token.kind == TokenKind::String => {
            string = Some(piece.start + token.start as usize..piece.start + token.end as usize);
        }
        Some(token) if token.kind == TokenKind::Number => return list.done(at..at),
        _ => {}
    }
    let (word_start, word_end) = word_around(document.text(), at);
    let range = if string.is_some() { word_start..at } else { word_start..word_end };
    list.prefix = &document.text()[word_start..at];
    let decl = tree::read(document, piece);

    if let Some(string) = string {
        if let Some(decl) = &decl {
            let spot = spot::find(view, decl, at);
            let content = string.start + 1..string.end;
            let shown = document.text().get(content.start..at).unwrap_or_default();
            if spot.takes.column_of().is_some() || !spot.takes.choices().is_empty() {
                list.prefix = shown;
                list.in_string(&spot);
                let is_closed = document.text()[string.clone()].len() > 1 && document.text()[string].ends_with('"');
                let end = if is_closed { content.end - 1 } else { at };
                return list.done(content.start..end.max(at));
            }
        }
        return list.done(at..at);
    }

    let before_word = document.text()[..word_start].trim_end_matches([' ', '\t']);
    let is_fresh = before_word.is_empty() || before_word.ends_with('\n') || before_word == "\u{feff}";
    let Some(decl) = decl else {
        list.declaring(is_fresh);
        return list.done(range);
    };
    if word_start < decl.keyword.start {
        list.declaring(is_fresh);
        return list.done(range);
    }
    let starts = decl.keyword.start == word_start;
    let is_behind = at > decl.end && before_word.ends_with('\n');
    if is_fresh && (starts || is_behind) {
        list.declaring(true);
        return list.done(range);
    }
    if let Some(path) = path_before(document.text(), word_start) {
        list.behind_point(&path, &decl, at);
        return list.done(range);
    }
    list.in_decl(&decl, at, word_start);
    list.done(range)
}

fn is_open_string(text: &str) -> bool {
    let is_long = text.starts_with("\"\"\"");
    let closing = if is_long { "\"\"\"" } else { "\"" };
    text.len() < 2 * closing.len() || !text.ends_with(closing)
}

fn word_around(text: &str, at: usize) -> (usize, usize) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start =
        text[..at].rfind(|c: char| !is_word(c)).map_or(0, |n| n + text[n..].chars().next().map_or(1, char::len_utf8));
    (start, super::lex::word_end(text, at))
}

/// Returns the words before the point that stands before `start`.
fn path_before(text: &str, start: usize) -> Option<Vec<&str>> {
    let mut rest = text.get(..start)?.strip_suffix('.')?;
    if rest.ends_with('.') {
        return None;
    }
    let mut words = Vec::new();
    loop {
        let (word_start, _) = word_around(rest, rest.len());
        let word = &rest[word_start..];
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        words.push(word);
        match rest[..word_start].strip_suffix('.') {
            Some(before) => rest = before,
            None => break,
        }
    }
    words.reverse();
    Some(words)
}

struct List<'v, 'a> {
    view: &'v View<'a>,
    prefix: &'v str,
    items: Vec<Completion>,
    is_full: bool,
}

impl<'a> List<'_, 'a> {
    fn done(mut self, range: Range<usize>) -> Completions {
        self.items.sort_by(|a, b| (a.rank, &a.label).cmp(&(b.rank, &b.label)));
        self.items.dedup_by(|a, b| a.label == b.label && a.kind == b.kind);
        Completions { range, items: self.items, is_incomplete: self.is_full }
    }

    /// Adds one that fits what is typed: its letters in order, in either case.
    fn add(&mut self, item: Completion) {
        if !is_like(&item.label, self.prefix) {
            return;
        }
        if self.items.len() >= MOST_ITEMS {
            self.is_full = true;
            return;
        }
        self.items.push(item);
    }

    fn word(&mut self, label: &str, kind: CompletionKind, detail: impl Into<String>, rank: u8) {
        if !is_like(label, self.prefix) {
            return;
        }
        let label = label.to_owned();
        self.add(Completion {
            insert: label.clone(),
            label,
            kind,
            detail: detail.into(),
            rank,
            ..Completion::default()
        });
    }

    fn declaring(&mut self, is_fresh: bool) {
        if !is_fresh {
            return;
        }
        for word in DECLARING {
            let body = match word {
                "pipeline" => "pipeline ${1:name}",
                "param" => "param ${1:name}: ${2:int} = ${3:0}",
                "schema" => "schema ${1:Name} {\n  ${2:column}: ${3:str}\n}",
                "source" => "source ${1:name} = ${2:csv.read}($0)",
                "step" => "step ${1:name} = $0",
                "gate" => "gate ${1:name} {\n  ${2:floor} $0\n}",
                "release" => "release ${1:name} = ${2:model} when ${3:gate}",
                "use" => "use \"${1:lib/module.mlp}\" as ${2:name}",
                "def" => "def ${1:name}(${2:data: table}) {\n  step ${3:done} = $0\n  result = ${3:done}\n}",
                "let" => "let ${1:name} = $0",
                other => other,
            };
            let doc = hover::keyword(word).unwrap_or_default().to_owned();
            self.add(Completion {
                label: word.to_owned(),
                kind: CompletionKind::Keyword,
                detail: "declaration".to_owned(),
                doc,
                insert: body.to_owned(),
                is_snippet: true,
                rank: 0,
            });
        }
    }

    fn in_string(&mut self, spot: &Spot<'_, 'a>) {
        for (name, detail) in columns(self.view, spot) {
            self.add(Completion {
                insert: name.replace('\\', "\\\\").replace('"', "\\\""),
                label: name,
                kind: CompletionKind::Column,
                detail,
                ..Completion::default()
            });
        }
        for word in spot.takes.choices() {
            self.word(word, CompletionKind::Choice, "", 0);
        }
    }

    fn in_decl(&mut self, decl: &Decl<'a>, at: usize, word_start: usize) {
        // Behind a character that belongs to no word, the word at the cursor can begin before the declaration.
        let before = self.view.document.text().get(decl.keyword.start..word_start).unwrap_or_default().trim_end();
        match &decl.kind {
            Kind::Pipeline => {}
            Kind::Param { ty, .. } => {
                if before.ends_with(':') {
                    self.types();
                } else if before.contains(':') && !ty.is_empty() {
                    self.word("in", CompletionKind::Keyword, "which values fit", 0);
                    if before.ends_with('=') {
                        VALUE_WORDS.iter().for_each(|word| self.word(word, CompletionKind::Value, "", 1));
                    }
                }
            }
            Kind::Schema { columns } => match columns.iter().rev().find(|column| column.name.word.end < word_start) {
                _ if before.ends_with(':') => self.types(),
                Some(column) if column.ty.is_some() && !is_new_line(self.view, column.end, word_start) => {
                    for mark in MARKS {
                        let is_set =
                            before[..].lines().last().is_some_and(|line| line.split_whitespace().any(|w| w == mark));
                        if !is_set {
                            self.word(mark, CompletionKind::Mark, hover::mark(mark).unwrap_or_default(), 0);
                        }
                    }
                    self.word("in", CompletionKind::Keyword, "which values fit", 1);
                }
                _ if !before.contains('{') => {
                    self.word("open", CompletionKind::Keyword, "further columns pass, typed as found", 0);
                    self.word("closed", CompletionKind::Keyword, "further columns are an error (the default)", 1);
                }
                _ => {}
            },
            Kind::Call { value, options } => {
                let spot = spot::find(self.view, decl, at);
                if spot.group.is_some() {
                    return self.in_group(&spot, at, Some(decl), false);
                }
                if value.is_empty() || starts_at(value, word_start) {
                    let is_source = decl.keyword.text == "source";
                    if before.ends_with('=') {
                        self.operations("", Some(is_source));
                    }
                } else if options.is_none() {
                    self.add(Completion {
                        label: "with".to_owned(),
                        detail: "options: how to run".to_owned(),
                        doc: hover::keyword("with").unwrap_or_default().to_owned(),
                        insert: "with { $0 }".to_owned(),
                        is_snippet: true,
                        ..Completion::default()
                    });
                }
            }
            Kind::Gate { checks } => {
                let is_new = checks.iter().any(|check| check.name.start == word_start) || before.ends_with(['{', ',']);
                let is_line = is_new_line(self.view, decl.keyword.start + before.len(), word_start);
                let rule = checks.iter().rev().find(|check| check.name.end < word_start);
                if is_new || is_line && !before.ends_with(['+', '-', '*', '/', '=', '<', '>']) {
                    self.add(Completion {
                        label: "first".to_owned(),
                        detail: "what the gate does before the first release".to_owned(),
                        doc: hover::keyword("first").unwrap_or_default().to_owned(),
                        insert: "first ".to_owned(),
                        ..Completion::default()
                    });
                    return;
                }
                match rule {
                    Some(rule) if rule.name.text == "first" => {
                        for check in checks.iter().filter(|check| check.name.text != "first") {
                            self.word(check.name.text, CompletionKind::Gate, "check", 0);
                        }
                        self.word("only", CompletionKind::Keyword, "just these checks decide", 1);
                        self.word("refuse", CompletionKind::Keyword, "the gate refuses", 1);
                    }
                    Some(_) => self.figures(),
                    None => {}
                }
            }
            Kind::Release { bundle, .. } => self.in_release(decl, bundle.is_some(), before, at),
            Kind::Other { body, .. } => match body.iter().find(|inner| inner.keyword.start <= at && at <= inner.end) {
                Some(inner) if inner.keyword.start < word_start => self.in_decl(inner, at, word_start),
                _ if before.ends_with(['{', '\n'])
                    || is_new_line(self.view, decl.keyword.start + before.len(), word_start) =>
                {
                    self.word("step", CompletionKind::Keyword, "declaration", 0);
                    self.word("result", CompletionKind::Keyword, "what the template gives", 0);
                }
                _ => {}
            },
        }
    }

    fn in_release(&mut self, decl: &Decl<'a>, has_bundle: bool, before: &str, at: usize) {
        let spot = spot::find(self.view, decl, at);
        if spot.group.is_some() {
            self.nodes(|ty| !matches!(ty, Type::Table(_)), 0);
            self.symbols(SymbolKind::Param, CompletionKind::Param, 1);
            self.symbols(SymbolKind::Schema, CompletionKind::Schema, 1);
            self.word("step", CompletionKind::Keyword, "what a step does, to be done again when serving", 1);
            return;
        }
        if before.ends_with("when") || before.ends_with(" and") {
            return self.symbols(SymbolKind::Gate, CompletionKind::Gate, 0);
        }
        if before.ends_with('=') {
            self.nodes(|ty| matches!(ty, Type::Model(_)), 0);
            self.add(Completion {
                label: "bundle".to_owned(),
                detail: "several things that move as one".to_owned(),
                doc: hover::keyword("bundle").unwrap_or_default().to_owned(),
                insert: "bundle { $0 }".to_owned(),
                is_snippet: true,
                rank: 1,
                ..Completion::default()
            });
            return;
        }
        if has_bundle || before.contains('=') {
            self.word("when", CompletionKind::Keyword, "which gates guard it", 0);
        }
    }

    fn in_group(&mut self, spot: &Spot<'_, 'a>, at: usize, decl: Option<&Decl<'a>>, is_nested: bool) {
        let _ = is_nested;
        let own = decl.and_then(|decl| decl.name).map(|name| name.text);
        if let Some(call) = spot.call() {
            let item = spot.item;
            let is_name =
                item.is_none_or(|item| item.name.is_none() && (item.terms.is_empty() || is_only(&item.terms, at)));
            if item.is_some_and(|item| item.name.is_some_and(|name| name.word.touches(at))) {
                return self.arguments(spot, false);
            }
            if is_name {
                self.arguments(spot, true);
                if call.is_behind_named() {
                    return;
                }
            }
        }
        self.values(spot, own);
    }

    /// Adds the arguments of the innermost call that are not given yet.
    fn arguments(&mut self, spot: &Spot<'_, 'a>, with_colon: bool) {
        let Some(call) = spot.call() else { return };
        for (at, formal) in call.formals.iter().enumerate() {
            if call.is_given(at) {
                continue;
            }
            let insert = if with_colon { format!("{}: ", formal.name) } else { formal.name.to_owned() };
            let rank = if formal.default.is_none() { 1 } else { 3 };
            self.add(Completion {
                label: format!("{}:", formal.name),
                kind: CompletionKind::Argument,
                detail: describe::formal(formal),
                doc: formal.doc.to_owned(),
                insert,
                rank,
                ..Completion::default()
            });
            // A parameter of the same name can stand for both.
            let named = self.view.index.get(formal.name, None).and_then(|at| self.view.index.symbols.get(at));
            if with_colon && call.is_behind_named() && named.is_some_and(|symbol| symbol.kind.is_value()) {
                self.word(formal.name, CompletionKind::Param, format!("short for {0}: {0}", formal.name), 0);
            }
        }
    }

    /// Adds what fits the argument at hand.
    fn values(&mut self, spot: &Spot<'_, 'a>, own: Option<&str>) {
        match spot.takes {
            Takes::Input(input) => self.artifacts(input, own),
            Takes::Artifact => {
                self.nodes(|_| true, 0);
                self.operation("file");
                self.operation("folder");
            }
            Takes::Column(_) | Takes::Param(ParamType::Column { .. }) => {
                for (name, detail) in columns(self.view, spot) {
                    self.add(Completion {
                        insert: describe::label(&name),
                        label: name,
                        kind: CompletionKind::Column,
                        detail,
                        ..Completion::default()
                    });
                }
                self.params(|value| matches!(value, Value::Str(_)), 2);
            }
            Takes::Param(ty) => self.param_values(ty),
            Takes::Columns(_) => self.add(Completion {
                label: "[..]".to_owned(),
                kind: CompletionKind::Value,
                detail: "a list of columns".to_owned(),
                insert: "[$0]".to_owned(),
                is_snippet: true,
                ..Completion::default()
            }),
            Takes::Value => {
                self.params(|_| true, 0);
                self.nodes(|_| true, 1);
                VALUE_WORDS.iter().for_each(|word| self.word(word, CompletionKind::Value, "", 2));
            }
        }
        if let Some(formal) = spot.call().and_then(|call| call.formal())
            && formal.default == Some(Value::Null)
            && matches!(formal.takes, Takes::Param(_))
        {
            self.word("none", CompletionKind::Value, "left out", 4);
        }
    }

    fn param_values(&mut self, ty: &'a ParamType) {
        match ty {
            ParamType::Bool => {
                self.word("true", CompletionKind::Value, "", 0);
                self.word("false", CompletionKind::Value, "", 0);
                self.params(|value| matches!(value, Value::Bool(_)), 1);
            }
            ParamType::Choice(words) => {
                words.iter().for_each(|word| self.word(word, CompletionKind::Choice, "", 0));
                self.params(|value| value.as_str().is_some_and(|word| words.contains(&word)), 1);
            }
            ParamType::Schema => self.symbols(SymbolKind::Schema, CompletionKind::Schema, 0),
            ParamType::Call(constructors) => {
                for constructor in constructors {
                    let callee = Callee::Constructor(constructor);
                    self.add(Completion {
                        label: constructor.name.to_owned(),
                        kind: CompletionKind::Constructor,
                        detail: describe::first_line(constructor.doc).to_owned(),
                        doc: describe::callee(&callee),
                        insert: format!("{}($0)", constructor.name),
                        is_snippet: true,
                        rank: 0,
                    });
                }
            }
            ParamType::Columns { .. } => self.add(Completion {
                label: "[..]".to_owned(),
                kind: CompletionKind::Value,
                detail: "a list of columns".to_owned(),
                insert: "[$0]".to_owned(),
                is_snippet: true,
                ..Completion::default()
            }),
            ParamType::Int { .. } => self.params(|value| matches!(value, Value::Int(_)), 0),
            ParamType::Float { .. } => self.params(|value| matches!(value, Value::Int(_) | Value::Float(_)), 0),
            ParamType::Str => self.params(|value| matches!(value, Value::Str(_)), 0),
            ParamType::Duration => self.params(|value| matches!(value, Value::DurationMs(_)), 0),
            ParamType::List(_) => self.params(|value| matches!(value, Value::List(_)), 0),
            ParamType::Map(_) | ParamType::Column { .. } => {}
            ParamType::Literal => self.params(|_| true, 0),
        }
    }

    fn artifacts(&mut self, input: &InputType, own: Option<&str>) {
        let _ = own;
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

    fn champion(&mut self, input: &InputType) {
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
    fn nodes(&mut self, fits: impl Fn(&Type) -> bool, rank: u8) {
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
    fn figures(&mut self) {
        self.nodes(|ty| matches!(ty, Type::Report(_)), 0);
        self.params(|value| value.as_float().is_some(), 1);
    }

    fn params(&mut self, fits: impl Fn(&Value) -> bool, rank: u8) {
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

    fn symbols(&mut self, kind: SymbolKind, shown: CompletionKind, rank: u8) {
        let names: Vec<_> = self.view.index.of_kind(kind).map(|symbol| (symbol.name.text, symbol.piece)).collect();
        for (name, piece) in names {
            let doc = self.view.document.doc_of(piece);
            self.word(name, shown, describe::first_line(&doc), rank);
        }
    }

    fn types(&mut self) {
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
    fn operations(&mut self, namespace: &str, is_source: Option<bool>) {
        for signature in self.view.catalogue.iter() {
            let Some(rest) = signature.name.strip_prefix(namespace) else { continue };
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

    fn operation(&mut self, name: &str) {
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
    fn behind_point(&mut self, path: &[&str], decl: &Decl<'a>, at: usize) {
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
fn columns(view: &View<'_>, spot: &Spot<'_, '_>) -> Vec<(String, String)> {
    let Some(of) = spot.takes.column_of() else { return Vec::new() };
    let mut calls = spot.calls.iter().rev();
    let table = calls.find_map(|call| view.table_of(of, &call.formals, &call.bindings, call.group, None));
    let Some((table, _)) = table else { return Vec::new() };
    table.columns.iter().map(|column| (column.name.clone(), describe::column(column))).collect()
}

/// Returns the parts of the file's release with their types.
fn parts<'a>(view: &View<'a>) -> Vec<(String, Option<&'a Type>)> {
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

/// Returns whether the letters of `typed` stand in `label` in this order, whatever their case.
fn is_like(label: &str, typed: &str) -> bool {
    let mut letters = label.chars().flat_map(char::to_lowercase);
    typed.chars().flat_map(char::to_lowercase).all(|typed| letters.any(|letter| letter == typed))
}

/// As [`is_like`], for a label that goes on behind `name`.
fn begins_like(name: &str, typed: &str) -> bool {
    let first = typed.chars().flat_map(char::to_lowercase).next();
    first.is_none_or(|first| name.chars().flat_map(char::to_lowercase).any(|letter| letter == first))
}

fn is_only(terms: &[Term<'_>], at: usize) -> bool {
    match terms {
        [Term::Path(Path { words, arguments: None, .. })] => {
            words.len() == 1 && words.iter().all(|word| word.touches(at))
        }
        _ => false,
    }
}

fn starts_at(terms: &[Term<'_>], at: usize) -> bool {
    match terms.first() {
        Some(Term::Path(path)) => path.words.first().is_some_and(|word| word.start == at),
        _ => false,
    }
}

fn is_new_line(view: &View<'_>, from: usize, to: usize) -> bool {
    view.document.text().get(from..to).is_some_and(|between| between.contains('\n'))
}
