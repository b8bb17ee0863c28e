//! A file with all that is known of it: what names mean at a place, and of which types things are.

use std::rc::Rc;

use mlp_model::{Catalogue, TableType, Type, Value};

use super::callee::{self, Binding, Callee, Formal, Takes, Template};
use super::document::Document;
use super::index::{Index, Symbol, SymbolKind, loop_head};
use super::tree::{self, Decl, Group, Item, Kind, Path, Term, Word};
use crate::check::{Facts, NodeFacts};

/// A file with all that is known of it.
pub struct View<'a> {
    pub document: &'a Document,
    pub index: Index<'a>,
    pub catalogue: &'a Catalogue,
    pub facts: &'a Facts,
    /// The files that it uses.
    pub modules: Vec<Module<'a>>,
}

/// A file that another one uses.
pub struct Module<'a> {
    /// The name behind `as`.
    pub alias: &'a str,
    /// Its number, from 1; 0 is the file at hand.
    pub file: usize,
    pub document: &'a Document,
    pub index: Index<'a>,
}

impl<'a> Module<'a> {
    pub fn new(alias: &'a str, file: usize, document: &'a Document) -> Self {
        Self { alias, file, document, index: Index::new(document) }
    }
}

/// Where something is written, as far as that matters to what it means.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope {
    /// The declaration around it whose names are known there, by its symbol.
    pub within: Option<usize>,
    /// An `effect`: what it calls is another operation than that of a step.
    pub is_effect: bool,
}

/// What a path leads to: a symbol, and how many of its words that has taken.
#[derive(Debug, Clone, Copy)]
pub struct Led {
    pub symbol: usize,
    pub n_words: usize,
    /// From outside of a loop: one for each of its rounds.
    pub is_list: bool,
}

impl<'a> View<'a> {
    pub fn new(document: &'a Document, catalogue: &'a Catalogue, facts: &'a Facts) -> Self {
        Self { document, index: Index::new(document), catalogue, facts, modules: Vec::new() }
    }

    /// Returns the place of a symbol under which [`Facts`] know it: `judged.model`.
    pub fn place(&self, symbol: &Symbol<'_>) -> String {
        let mut words: Vec<&str> =
            self.index.around(symbol.within).map(|holder| self.index.symbols[holder].name.text).collect();
        words.reverse();
        words.push(symbol.name.text);
        words.join(".")
    }

    /// Returns the documentation of a symbol.
    pub fn doc_of(&self, symbol: &Symbol<'_>) -> String {
        match symbol.within {
            None => self.document.doc_of(symbol.piece),
            Some(_) => self.document.doc_within(symbol.piece, symbol.start),
        }
    }

    pub fn node(&self, symbol: usize) -> Option<&'a NodeFacts> {
        let symbol = self.index.symbols.get(symbol)?;
        if !symbol.kind.is_node() {
            return None;
        }
        match symbol.within {
            Some(_) => self.facts.nodes.get(&self.place(symbol)),
            None => self.facts.nodes.get(symbol.name.text),
        }
        .map(AsRef::as_ref)
    }

    /// Returns the value of a parameter, or one that it has in a body.
    pub fn value(&self, symbol: &Symbol<'_>) -> Option<&'a Value> {
        match symbol.within {
            Some(_) => self.facts.params.get(&self.place(symbol)),
            None => self.facts.params.get(symbol.name.text),
        }
    }

    /// Follows a path to the symbol it leads to, also into the rounds of loops.
    pub fn follow(&self, words: &[Word<'_>], within: Option<usize>) -> Option<Led> {
        let symbol = self.index.get(words.first()?.text, within)?;
        let mut led = Led { symbol, n_words: 1, is_list: false };
        while self.index.symbols[led.symbol].kind == SymbolKind::Loop
            && let Some(word) = words.get(led.n_words)
            && let Some(inner) = self.index.member(led.symbol, word.text)
        {
            led = Led { symbol: inner, n_words: led.n_words + 1, is_list: true };
        }
        Some(led)
    }

    /// Returns the type of what a path names; of a list, that of an item.
    pub fn type_of(&self, words: &[Word<'_>], within: Option<usize>) -> Option<&'a Type> {
        let (first, rest) = words.split_first()?;
        if first.text == "champion" {
            let [part] = rest else { return None };
            let path = self.part(part.text)?;
            // A part that is the champion's own has no type; the checker says so.
            let is_circle = path.first().is_some_and(|word| word.text == "champion");
            return if is_circle { None } else { self.type_of(&path, None) };
        }
        let led = self.follow(words, within)?;
        let node = self.node(led.symbol)?;
        match (words.get(led.n_words..)?, node.outputs.as_slice()) {
            ([], [only]) => Some(&only.ty),
            ([name, ..], outputs) => Some(&outputs.iter().find(|output| output.name == name.text)?.ty),
            _ => None,
        }
    }

    /// Returns the path that a part of the file's release is.
    fn part(&self, name: &str) -> Option<Vec<Word<'a>>> {
        let (decl, _) = self.release()?;
        match decl.kind {
            Kind::Release { bundle: Some(bundle), .. } => {
                let named = |item: &Item<'_>| {
                    item.name.map(|label| label.name()).or(item.bare().map(|word| word.text)) == Some(name)
                };
                let item = bundle.items.into_iter().find(|item| named(item))?;
                match item.terms.into_iter().next()? {
                    Term::Path(path) => Some(path.words),
                    _ => None,
                }
            }
            Kind::Release { value, .. } if name == "model" => match value.into_iter().next()? {
                Term::Path(path) => Some(path.words),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the release that `champion` speaks of, with its symbol.
    pub fn release(&self) -> Option<(Decl<'a>, usize)> {
        let at = self.index.symbols.iter().position(|symbol| symbol.kind == SymbolKind::Release)?;
        let piece = self.document.pieces().get(self.index.symbols.get(at)?.piece)?;
        Some((tree::read(self.document, piece)?, at))
    }

    /// Returns the table that is bound to an argument, with the node it comes from.
    pub fn table_of(
        &self,
        argument: &str,
        formals: &[Formal<'_>],
        bindings: &[Binding],
        group: &Group<'a>,
        within: Option<usize>,
    ) -> Option<(&'a TableType, Option<usize>)> {
        let formal = formals.iter().position(|formal| formal.name == argument)?;
        let item = bindings.iter().position(|b| matches!(b, Binding::Formal(f) | Binding::Short(f) if *f == formal))?;
        let Some(Term::Path(path)) = group.items.get(item)?.terms.first() else { return None };
        let node = self.follow(&path.words, within).map(|led| led.symbol);
        match self.type_of(&path.words, within)? {
            Type::Table(table) => Some((table, node)),
            _ => None,
        }
    }

    /// Returns the schema that declares a column of a node's table.
    pub fn schema_of(&self, node: Option<usize>, column: &str) -> Option<&'a str> {
        let has = |name: &&'a str| {
            self.facts.schemas.get(*name).is_some_and(|schema| schema.columns.iter().any(|c| c.name == column))
        };
        let own = node.and_then(|node| self.node(node)?.schema.as_deref()).and_then(|name| self.schema_symbol(name));
        own.filter(has)
            .or_else(|| self.index.of_kind(SymbolKind::Schema).map(|symbol| symbol.name.text).find(|name| has(name)))
    }

    fn schema_symbol(&self, name: &str) -> Option<&'a str> {
        let symbol = self.index.symbols.get(self.index.get(name, None)?)?;
        (symbol.kind == SymbolKind::Schema).then_some(symbol.name.text)
    }

    /// Returns whether a name is a parameter of the template that it is written in.
    pub fn is_given(&self, name: &str, scope: Scope) -> bool {
        let symbol = self.index.get(name, scope.within).map(|at| &self.index.symbols[at]);
        symbol.is_some_and(|symbol| symbol.kind == SymbolKind::Param && self.index.is_in_template(symbol.within))
    }

    /// Returns the table whose rows a loop's variable stands for, with the node that it comes from.
    pub fn rows_of(&self, variable: usize) -> Option<(usize, &'a TableType)> {
        let symbol = self.index.symbols.get(variable).filter(|symbol| symbol.kind == SymbolKind::Variable)?;
        let holder = self.index.symbols.get(symbol.within?)?;
        let whole = tree::read(self.document, self.document.pieces().get(symbol.piece)?)?;
        let decl = whole.find(holder.start)?;
        let Kind::Other { terms, .. } = &decl.kind else { return None };
        let head = loop_head(terms);
        let (_, values) = head.bindings.iter().find(|(name, _)| name.start == symbol.name.start)?;
        let [Term::Path(Path { words, arguments: Some(group), .. })] = values else { return None };
        let [Word { text: "rows", .. }] = words.as_slice() else { return None };
        let Term::Path(table) = group.items.first()?.terms.first()? else { return None };
        let node = self.follow(&table.words, holder.within)?.symbol;
        match self.type_of(&table.words, holder.within)? {
            Type::Table(table) => Some((node, table)),
            _ => None,
        }
    }

    /// Returns the `def` of this file that a path calls.
    pub fn template(&self, path: &Path<'_>, within: Option<usize>) -> Option<usize> {
        let [word] = path.words.as_slice() else { return None };
        let at = self.index.get(word.text, within)?;
        (self.index.symbols[at].kind == SymbolKind::Template).then_some(at)
    }

    /// Returns what a path calls.
    pub fn callee(&self, path: &Path<'_>, takes: Takes<'a>, scope: Scope) -> Option<Callee<'a>> {
        let (document, index, at) = match self.export(&path.words) {
            Some((module, symbol)) => {
                let module = &self.modules[module];
                (module.document, &module.index, symbol)
            }
            None => match self.template(path, scope.within) {
                Some(at) => (self.document, &self.index, at),
                None => return callee::find(self.catalogue, &path.text(), Some(takes), scope.is_effect),
            },
        };
        let symbol = index.symbols.get(at).filter(|symbol| symbol.kind == SymbolKind::Template)?;
        let decl = tree::read(document, document.pieces().get(symbol.piece)?)?;
        let template = Template::read(&decl, document.text(), path.text(), document.doc_of(symbol.piece))?;
        Some(Callee::Template(Rc::new(template)))
    }

    /// Returns the module and its symbol that `ALIAS.NAME` means.
    pub fn export(&self, words: &[Word<'_>]) -> Option<(usize, usize)> {
        let [alias, name, ..] = words else { return None };
        let module = self.modules.iter().position(|module| module.alias == alias.text)?;
        Some((module, self.modules[module].index.get(name.text, None)?))
    }
}
