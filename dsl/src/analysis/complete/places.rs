//! Which proposals fit at a place: in a declaration, in brackets, behind an argument's name.

use mlp_model::{ParamType, Type, Value};

use super::proposals::columns;
use super::{Completion, CompletionKind, List, is_new_line, is_only, starts_at};
use crate::analysis::callee::{Callee, Takes};
use crate::analysis::describe;
use crate::analysis::hover;
use crate::analysis::index::SymbolKind;
use crate::analysis::meaning::VALUE_WORDS;
use crate::analysis::spot::{self, Inner, Spot};
use crate::analysis::tree::{Kind, Term};
use crate::check::MARKS;
use crate::outline::DECLARING;

/// What makes one number of the figures of a loop's rounds.
const FOLDS: [&str; 5] = ["count", "max", "mean", "min", "sum"];

impl<'a> List<'_, 'a> {
    pub(super) fn declaring(&mut self, is_fresh: bool) {
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
                "effect" => "effect ${1:name} = sh(\"$0\", network: true)",
                "gate" => "gate ${1:name} {\n  ${2:floor} $0\n}",
                "release" => "release ${1:name} = ${2:model} when ${3:gate}",
                "use" => "use \"${1:lib/module.mlp}\" as ${2:name}",
                "def" => "def ${1:name}(${2:data: table}) {\n  step ${3:done} = $0\n  result = ${3:done}\n}",
                "let" => "let ${1:name} = $0",
                "for" => "for ${1:value} in ${2:values} as ${3:name} {\n  step ${4:done} = $0\n}",
                "test" => {
                    "test \"${1:what it shows}\" {\n  given ${2:raw} = \"\"\"\n    ${3:id}\n    \"\"\"\n  expect $0\n}"
                }
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

    pub(super) fn in_string(&mut self, spot: &Spot<'_, 'a>) {
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

    pub(super) fn in_decl(&mut self, inner: &Inner<'_, 'a>, at: usize, word_start: usize) {
        let decl = inner.decl;
        // Behind a character that belongs to no word, the word at the cursor can begin before the declaration.
        let before = self.view.document.text().get(decl.keyword.start..word_start).unwrap_or_default().trim_end();
        match &decl.kind {
            Kind::Pipeline => {}
            Kind::Param { ty, .. } => {
                if before.ends_with(':') {
                    self.types();
                } else if before == "param" && inner.holder.is_some() {
                    self.symbols(SymbolKind::Param, CompletionKind::Param, 0);
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
            Kind::Call { value, options, condition } => {
                let spot = spot::find_in(self.view, *inner, at);
                if spot.group.is_some() {
                    return self.in_group(&spot, at);
                }
                if value.is_empty() || starts_at(value, word_start) {
                    if before.ends_with('=') {
                        self.operations("", Some(decl.keyword.text));
                    }
                } else if is_condition(value, word_start) || !condition.is_empty() {
                    self.params(|_| true, 0);
                    if decl.keyword.text == "effect" {
                        self.symbols(SymbolKind::Gate, CompletionKind::Gate, 0);
                    }
                } else if options.is_some() {
                    self.word("when", CompletionKind::Keyword, "under which condition", 0);
                } else {
                    self.add(Completion {
                        label: "with".to_owned(),
                        detail: "options: how to run".to_owned(),
                        doc: hover::keyword("with").unwrap_or_default().to_owned(),
                        insert: "with { $0 }".to_owned(),
                        is_snippet: true,
                        ..Completion::default()
                    });
                    self.word("when", CompletionKind::Keyword, "under which condition", 1);
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
                    Some(_) => {
                        self.figures();
                        for word in FOLDS {
                            self.snippet(word, &format!("{word}($0)"), "of the figures of a loop's rounds");
                        }
                    }
                    None => {}
                }
            }
            Kind::Release { bundle, .. } => self.in_release(inner, bundle.is_some(), before, at),
            Kind::Other { .. } => self.in_other(inner, at, before, word_start),
        }
    }

    pub(super) fn in_release(&mut self, inner: &Inner<'_, 'a>, has_bundle: bool, before: &str, at: usize) {
        let spot = spot::find_in(self.view, *inner, at);
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

    pub(super) fn in_group(&mut self, spot: &Spot<'_, 'a>, at: usize) {
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
        self.values(spot);
    }

    /// Adds the arguments of the innermost call that are not given yet.
    pub(super) fn arguments(&mut self, spot: &Spot<'_, 'a>, with_colon: bool) {
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
            let named =
                self.view.index.get(formal.name, self.scope.within).and_then(|at| self.view.index.symbols.get(at));
            if with_colon && call.is_behind_named() && named.is_some_and(|symbol| symbol.kind.is_value()) {
                self.word(formal.name, CompletionKind::Param, format!("short for {0}: {0}", formal.name), 0);
            }
        }
    }

    /// Adds what fits the argument at hand.
    pub(super) fn values(&mut self, spot: &Spot<'_, 'a>) {
        match spot.takes {
            Takes::Input(input) => self.artifacts(input),
            Takes::Artifact => {
                self.nodes(|_| true, 0);
                self.lists(|_| true, 1);
                self.operation("file");
                self.operation("folder");
            }
            Takes::Column(_) | Takes::Param(ParamType::Column { .. }) => {
                self.columns(columns(self.view, spot));
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

    pub(super) fn columns(&mut self, columns: Vec<(String, String)>) {
        for (name, detail) in columns {
            self.add(Completion {
                insert: describe::label(&name),
                label: name,
                kind: CompletionKind::Column,
                detail,
                ..Completion::default()
            });
        }
    }

    pub(super) fn param_values(&mut self, ty: &'a ParamType) {
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
            ParamType::StrOrSecret => {
                self.params(|value| matches!(value, Value::Str(_)), 0);
                self.add(Completion {
                    label: "secret".to_owned(),
                    kind: CompletionKind::Value,
                    detail: "a value from outside, known here by its name alone".to_owned(),
                    insert: "secret(\"$0\")".to_owned(),
                    is_snippet: true,
                    rank: 1,
                    ..Completion::default()
                });
            }
            ParamType::Duration => self.params(|value| matches!(value, Value::DurationMs(_)), 0),
            ParamType::List(_) => self.params(|value| matches!(value, Value::List(_)), 0),
            ParamType::Map(_) | ParamType::Column { .. } => {}
            ParamType::Literal => self.params(|_| true, 0),
        }
    }
}

/// Returns whether the condition of a step that has no options has begun before the cursor.
fn is_condition(value: &[Term<'_>], at: usize) -> bool {
    value.iter().any(|term| term.word().is_some_and(|word| word.text == "when" && word.end < at))
}
