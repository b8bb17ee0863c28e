//! What each word of a declaration means: the one walk that hover, definition, references, rename and colours share.
//!
//! Follows the checker's rules about what a bare name is in each place, and never complains.

use std::ops::Range;
use std::rc::Rc;

use mlp_model::{Catalogue, TableType, Type};

use super::callee::{self, Binding, Callee, Formal, Takes, Template};
use super::document::Document;
use super::index::{Index, SymbolKind};
use super::tree::{self, Decl, Group, Item, Kind, Label, Path, Term, Word};
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

/// A word with what it means.
#[derive(Debug, Clone)]
pub struct Mention<'a> {
    pub word: Word<'a>,
    pub meaning: Meaning<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning<'a> {
    Keyword,
    /// The name of a symbol, by its index, where it is declared.
    Declared(usize),
    /// The name of a symbol, by its index.
    Symbol(usize),
    /// A name that nothing has.
    Unknown,
    Champion,
    /// An output of a source or step.
    Output {
        node: usize,
    },
    /// Of a report that a source or step gives.
    Metric {
        node: usize,
    },
    /// Of a release: where it is declared, and behind `champion`.
    Part,
    /// Something that a module declares: the module's place in [`View::modules`], and a symbol of it.
    Export {
        module: usize,
        symbol: usize,
    },
    Operation,
    Constructor,
    Argument(&'a str),
    /// The name of a record's member.
    Member,
    /// A column, with the schema that declares it where that is known.
    Column {
        schema: Option<&'a str>,
        /// The node whose table it is looked up in.
        node: Option<usize>,
    },
    ColumnDeclared {
        schema: &'a str,
    },
    Choice,
    Type,
    Mark,
    CheckDeclared,
    /// The name of a check behind `first`.
    Check,
}

pub const VALUE_WORDS: [&str; 3] = ["true", "false", "none"];
const OPERATORS: [&str; 8] = ["and", "or", "not", "in", "if", "then", "else", "when"];

impl<'a> View<'a> {
    pub fn new(document: &'a Document, catalogue: &'a Catalogue, facts: &'a Facts) -> Self {
        Self { document, index: Index::new(document), catalogue, facts, modules: Vec::new() }
    }

    /// Returns what stands in a range of bytes, declaration by declaration, in the order of the text.
    pub fn mentions_in(&self, range: Range<usize>) -> Vec<Mention<'a>> {
        let mut mentions = Vec::new();
        for (at, piece) in self.document.pieces_in(range.clone()) {
            if let Some(decl) = tree::read(self.document, piece) {
                let mut walk = Walk { view: self, within: None, mentions: &mut mentions };
                walk.decl(&decl, self.index.of_piece(at));
            }
        }
        mentions.retain(|mention| mention.word.end >= range.start && mention.word.start <= range.end);
        mentions.sort_by_key(|mention| (mention.word.start, mention.word.end));
        mentions
    }

    /// Returns the word at a byte with its meaning.
    pub fn mention_at(&self, at: usize) -> Option<Mention<'a>> {
        let mut touching: Vec<_> = self.mentions_in(at..at).into_iter().filter(|m| m.word.touches(at)).collect();
        // Between two words, the one that begins here is meant; of two at one place, the more exact.
        touching.sort_by_key(|mention| (mention.word.end == at, mention.word.end - mention.word.start));
        touching.into_iter().next()
    }

    pub fn node(&self, symbol: usize) -> Option<&'a NodeFacts> {
        let symbol = self.index.symbols.get(symbol)?;
        if !symbol.kind.is_node() {
            return None;
        }
        let name = match symbol.within.and_then(|within| self.index.symbols.get(within)) {
            Some(holder) => {
                return self.facts.nodes.get(&format!("{}.{}", holder.name.text, symbol.name.text)).map(AsRef::as_ref);
            }
            None => symbol.name.text,
        };
        self.facts.nodes.get(name).map(AsRef::as_ref)
    }

    /// Returns the type of what a path names.
    pub fn type_of(&self, words: &[Word<'_>], within: Option<usize>) -> Option<&'a Type> {
        let (first, rest) = words.split_first()?;
        if first.text == "champion" {
            let [part] = rest else { return None };
            let path = self.part(part.text)?;
            // A part that is the champion's own has no type; the checker says so.
            let is_circle = path.first().is_some_and(|word| word.text == "champion");
            return if is_circle { None } else { self.type_of(&path, None) };
        }
        let node = self.node(self.index.get(first.text, within)?)?;
        match (rest, node.outputs.as_slice()) {
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
        let node = self.index.get(path.words.first()?.text, within);
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

    /// Returns what a path calls.
    pub fn callee(&self, path: &Path<'_>, takes: Takes<'a>, within: Option<usize>) -> Option<Callee<'a>> {
        let (document, index, at) = match (self.export(&path.words), path.words.as_slice()) {
            (Some((module, symbol)), _) => {
                let module = &self.modules[module];
                (module.document, &module.index, symbol)
            }
            (None, [word]) => match self.index.get(word.text, within) {
                Some(at) => (self.document, &self.index, at),
                None => return callee::find(self.catalogue, word.text, Some(takes)),
            },
            _ => return callee::find(self.catalogue, &path.text(), Some(takes)),
        };
        let symbol = index.symbols.get(at)?;
        if symbol.kind != SymbolKind::Template {
            return callee::find(self.catalogue, &path.text(), Some(takes));
        }
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

/// Words of an expectation.
const EXPECTING: [&str; 5] = ["in", "any", "order", "within", "fails"];

struct Walk<'v, 'a> {
    view: &'v View<'a>,
    /// The declaration that we are in, where its names are its own.
    within: Option<usize>,
    mentions: &'v mut Vec<Mention<'a>>,
}

impl<'a> Walk<'_, 'a> {
    fn decl(&mut self, decl: &Decl<'a>, symbol: Option<usize>) {
        if super::document::begins_declarations(decl.keyword.text) {
            self.add(decl.keyword, Meaning::Keyword);
        }
        let symbol = symbol.filter(|at| {
            let symbol = self.view.index.symbols.get(*at);
            symbol.is_some_and(|symbol| symbol.start == decl.keyword.start)
        });
        if let (Some(name), Some(symbol)) = (decl.name, symbol) {
            self.add(name, Meaning::Declared(symbol));
        }
        match &decl.kind {
            Kind::Pipeline => {}
            Kind::Param { ty, rest } => {
                self.types(ty);
                self.values(rest, Takes::Value, None);
            }
            Kind::Schema { columns } => {
                let schema = decl.name.map_or("", |name| name.text);
                for column in columns {
                    self.add(column.name.word, Meaning::ColumnDeclared { schema });
                    self.column(&column.terms);
                }
            }
            Kind::Call { value, options } => {
                self.values(value, Takes::Value, None);
                if let Some(options) = options {
                    self.arguments(&Callee::Options, options);
                }
            }
            Kind::Gate { checks } => {
                for check in checks {
                    self.check(check);
                }
            }
            Kind::Release { value, bundle, gates } => {
                self.values(value, Takes::Artifact, None);
                if let Some(bundle) = bundle {
                    self.bundle(bundle);
                }
                gates.iter().for_each(|gate| self.name(*gate));
            }
            Kind::Other { terms, body } => self.other(decl, symbol, terms, body),
        }
    }

    fn other(&mut self, decl: &Decl<'a>, symbol: Option<usize>, terms: &[Term<'a>], body: &[Decl<'a>]) {
        if decl.name.is_none()
            && let Some(symbol) = symbol
            && let Some(alias) = self.view.index.symbols.get(symbol)
        {
            self.add(alias.name, Meaning::Declared(symbol));
        }
        let outer = self.within;
        self.within = symbol.or(outer);
        match (decl.keyword.text, terms) {
            ("def", [Term::Group(params), rest @ ..]) => {
                for item in &params.items {
                    if let Some(name) = item.name
                        && let Some(param) = self.view.index.get(name.name(), self.within)
                    {
                        self.add(name.word, Meaning::Declared(param));
                    }
                    let split = item.terms.iter().position(|term| matches!(term, Term::Sign(sign) if sign.text == "="));
                    let (ty, rest) = item.terms.split_at(split.unwrap_or(item.terms.len()));
                    self.types(ty);
                    self.values(rest, Takes::Value, None);
                }
                self.values(rest, Takes::Value, None);
            }
            ("use", terms) => {
                for term in terms {
                    if let Term::Path(path) = term
                        && let Some(word) = path.words.first().filter(|word| word.text == "as")
                    {
                        self.add(*word, Meaning::Keyword);
                    }
                }
            }
            ("expect", terms) => {
                for term in terms {
                    match term {
                        Term::Path(path) if path.words.len() == 1 && EXPECTING.contains(&path.words[0].text) => {
                            self.add(path.words[0], Meaning::Keyword);
                        }
                        term => self.values(std::slice::from_ref(term), Takes::Value, None),
                    }
                }
            }
            ("result", [Term::Group(group)]) => self.members(group, Takes::Artifact, None),
            (_, terms) => self.values(terms, Takes::Value, None),
        }
        for decl in body {
            let symbol = self.view.index.symbols.iter().position(|symbol| symbol.start == decl.keyword.start);
            self.decl(decl, symbol);
        }
        self.within = outer;
    }

    fn check(&mut self, check: &tree::Check<'a>) {
        if check.name.text == "first" {
            self.add(check.name, Meaning::Keyword);
            for term in &check.terms {
                let Term::Path(path) = term else { continue };
                let Some(word) = path.words.first() else { continue };
                let is_keyword = matches!(word.text, "only" | "refuse");
                self.add(*word, if is_keyword { Meaning::Keyword } else { Meaning::Check });
            }
            return;
        }
        self.add(check.name, Meaning::CheckDeclared);
        self.values(&check.terms, Takes::Value, None);
    }

    fn bundle(&mut self, bundle: &Group<'a>) {
        for item in &bundle.items {
            if let Some(name) = item.name {
                self.add(name.word, Meaning::Part);
            }
            match item.terms.as_slice() {
                [Term::Path(word), Term::Path(step)] if word.words.first().is_some_and(|word| word.text == "step") => {
                    self.add(word.words[0], Meaning::Keyword);
                    self.path(step, Takes::Artifact, None);
                }
                terms => self.values(terms, Takes::Value, None),
            }
        }
    }

    fn types(&mut self, terms: &[Term<'a>]) {
        for term in terms {
            let Term::Path(path) = term else { continue };
            if let Some(word) = path.words.first() {
                self.add(*word, Meaning::Type);
            }
            for item in path.arguments.iter().flat_map(|group| &group.items) {
                self.types(&item.terms);
            }
        }
    }

    /// Reads the type, the rules and the marks of a column.
    fn column(&mut self, terms: &[Term<'a>]) {
        let mut is_first = true;
        for term in terms {
            let was_first = std::mem::take(&mut is_first);
            match term {
                Term::Path(path) if was_first => {
                    if let Some(word) = path.words.first() {
                        self.add(*word, Meaning::Type);
                    }
                    path.arguments.iter().flat_map(|group| &group.items).for_each(|item| self.types(&item.terms));
                }
                Term::Path(path) => match path.words.as_slice() {
                    [word] if word.text == "in" => self.add(*word, Meaning::Keyword),
                    [word] if crate::check::MARKS.contains(&word.text) => self.add(*word, Meaning::Mark),
                    _ => self.path(path, Takes::Value, None),
                },
                Term::Group(group) => self.members(group, Takes::Value, None),
                _ => {}
            }
        }
    }

    fn values(&mut self, terms: &[Term<'a>], takes: Takes<'a>, call: Option<&Call<'_, 'a>>) {
        for term in terms {
            match term {
                Term::Path(path) => self.path(path, takes, call),
                Term::Group(group) => self.members(group, takes.inside(group.bracket), call),
                Term::String(word) if takes.column_of().is_some() => self.column_name(*word, takes, call),
                Term::String(_) | Term::Number(_) | Term::Sign(_) => {}
            }
        }
    }

    fn members(&mut self, group: &Group<'a>, takes: Takes<'a>, call: Option<&Call<'_, 'a>>) {
        for item in &group.items {
            if let Some(name) = item.name {
                self.add(name.word, Meaning::Member);
            }
            self.values(&item.terms, takes, call);
        }
    }

    fn column_name(&mut self, word: Word<'a>, takes: Takes<'a>, call: Option<&Call<'_, 'a>>) {
        let table = takes.column_of().and_then(|of| call?.table(self.view, of, self.within));
        let node = table.and_then(|(_, node)| node);
        let schema = self.view.schema_of(node, Label { word }.name());
        self.add(word, Meaning::Column { schema, node });
    }

    fn path(&mut self, path: &Path<'a>, takes: Takes<'a>, call: Option<&Call<'_, 'a>>) {
        let Some(first) = path.words.first().copied() else { return };
        if let Some(group) = &path.arguments {
            return self.call(path, group, takes);
        }
        let is_alone = path.words.len() == 1;
        if is_alone {
            if OPERATORS.contains(&first.text) || VALUE_WORDS.contains(&first.text) || first.text == "with" {
                return self.add(first, Meaning::Keyword);
            }
            if let Some(of) = takes.column_of() {
                let table = call.and_then(|call| call.table(self.view, of, self.within));
                let is_column = table.is_none_or(|(table, _)| table.column(first.text).is_some());
                let named = self.view.index.get(first.text, self.within);
                let is_value = named.is_some_and(|at| self.view.index.symbols[at].kind.is_value());
                if is_column || !is_value {
                    return self.column_name(first, takes, call);
                }
            }
            if takes.choices().contains(&first.text) {
                return self.add(first, Meaning::Choice);
            }
        }
        if let Takes::Param(ty) = takes
            && callee::constructors(ty).iter().any(|known| known.name == path.text())
        {
            return self.add(whole(self.view.document, path), Meaning::Constructor);
        }
        if first.text == "champion" {
            self.add(first, Meaning::Champion);
            if let Some(part) = path.words.get(1) {
                self.add(*part, Meaning::Part);
            }
            return;
        }
        self.name(first);
        if let Some((module, symbol)) = self.view.export(&path.words) {
            return self.add(path.words[1], Meaning::Export { module, symbol });
        }
        let Some(node) = self.view.index.get(first.text, self.within) else { return };
        if !self.view.index.symbols[node].kind.is_node() {
            return;
        }
        let known = self.view.node(node);
        for (position, word) in path.words.iter().enumerate().skip(1) {
            let is_output = position == 1
                && known.is_none_or(|node| node.outputs.len() > 1 || node.outputs.iter().any(|o| o.name == word.text));
            let is_report = known
                .is_some_and(|node| matches!(node.outputs.as_slice(), [only] if matches!(only.ty, Type::Report(_))));
            let meaning = if is_output && !is_report { Meaning::Output { node } } else { Meaning::Metric { node } };
            self.add(*word, meaning);
        }
    }

    fn call(&mut self, path: &Path<'a>, group: &Group<'a>, takes: Takes<'a>) {
        let Some(callee) = self.view.callee(path, takes, self.within) else {
            self.add(whole(self.view.document, path), Meaning::Unknown);
            return self.members(group, Takes::Value, None);
        };
        match (&callee, self.view.export(&path.words)) {
            (Callee::Template(_), Some((module, symbol))) => {
                self.name(path.words[0]);
                self.add(path.words[1], Meaning::Export { module, symbol });
            }
            (Callee::Template(_), None) => self.name(path.words[0]),
            (Callee::Constructor(_), _) => self.add(whole(self.view.document, path), Meaning::Constructor),
            _ => self.add(whole(self.view.document, path), Meaning::Operation),
        }
        self.arguments(&callee, group);
    }

    fn arguments(&mut self, callee: &Callee<'a>, group: &Group<'a>) {
        let formals = callee.formals();
        let bindings = callee.bind(&formals, group);
        let call = Call { formals: &formals, bindings: &bindings, group };
        for (item, binding) in group.items.iter().zip(&bindings) {
            let formal = match binding {
                Binding::Formal(formal) | Binding::Short(formal) => formals.get(*formal),
                Binding::Nothing => None,
            };
            if let Some(name) = item.name {
                let known = formal.map_or(Meaning::Unknown, |formal| Meaning::Argument(formal.name));
                self.add(name.word, known);
            }
            let takes = formal.map_or(Takes::Value, |formal| formal.takes);
            self.values(&item.terms, takes, Some(&call));
        }
    }

    fn name(&mut self, word: Word<'a>) {
        let meaning = self.view.index.get(word.text, self.within).map_or(Meaning::Unknown, Meaning::Symbol);
        self.add(word, meaning);
    }

    fn add(&mut self, word: Word<'a>, meaning: Meaning<'a>) {
        self.mentions.push(Mention { word, meaning });
    }
}

/// The call that a value is an argument of.
struct Call<'w, 'a> {
    formals: &'w [Formal<'a>],
    bindings: &'w [Binding],
    group: &'w Group<'a>,
}

impl<'a> Call<'_, 'a> {
    fn table(&self, view: &View<'a>, of: &str, within: Option<usize>) -> Option<(&'a TableType, Option<usize>)> {
        view.table_of(of, self.formals, self.bindings, self.group, within)
    }
}

/// Returns the words of a path as one.
pub fn whole<'a>(document: &'a Document, path: &Path<'_>) -> Word<'a> {
    let (start, end) = (path.words.first().map_or(0, |word| word.start), path.words.last().map_or(0, |word| word.end));
    Word { text: document.text().get(start..end).unwrap_or_default(), start, end }
}
