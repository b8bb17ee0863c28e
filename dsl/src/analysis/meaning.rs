//! What each word of a declaration means: the one walk that hover, definition, references, rename and colours share.
//!
//! Follows the checker's rules about what a bare name is in each place, and never complains.

use std::ops::Range;

use mlp_model::{TableType, Type};

use super::callee::{self, Binding, Callee, Formal, Takes};
use super::document::Document;
use super::index::{BEHIND_VALUES, SymbolKind, loop_head};
use super::tree::{self, Decl, Group, Kind, Label, Path, Term, Word};
use super::view::{Scope, View};

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
    Operation {
        is_effect: bool,
    },
    Constructor,
    Argument(&'a str),
    /// Of a bare name that stands for an argument as well: the parameter, by its symbol, of a `def` of this file. The
    /// same word has a meaning of its own beside.
    ShortFor(usize),
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
    /// Returns what stands in a range of bytes, declaration by declaration, in the order of the text.
    pub fn mentions_in(&self, range: Range<usize>) -> Vec<Mention<'a>> {
        let mut mentions = Vec::new();
        for (at, piece) in self.document.pieces_in(range.clone()) {
            if let Some(decl) = tree::read(self.document, piece) {
                let mut walk = Walk { view: self, scope: Scope::default(), mentions: &mut mentions };
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
        let is_second = |mention: &Mention<'_>| matches!(mention.meaning, Meaning::ShortFor(_));
        touching
            .sort_by_key(|mention| (mention.word.end == at, mention.word.end - mention.word.start, is_second(mention)));
        touching.into_iter().next()
    }
}

/// What a loop can go over besides a list.
pub const LOOP_SOURCES: [&str; 3] = ["values", "rows", "files"];

/// Words of an expectation.
const EXPECTING: [&str; 5] = ["in", "any", "order", "within", "fails"];

struct Walk<'v, 'a> {
    view: &'v View<'a>,
    scope: Scope,
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
            // In a test, it may stand in the place of what the file declares.
            let meant = self.view.index.get(name.text, self.scope.within).filter(|at| {
                let within = |at: usize| self.view.index.symbols.get(at).and_then(|symbol| symbol.within);
                within(*at).is_none() && within(symbol).is_some()
            });
            self.add(name, meant.map_or(Meaning::Declared(symbol), Meaning::Symbol));
        }
        self.scope.is_effect = decl.keyword.text == "effect";
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
            Kind::Call { value, options, condition } => {
                self.values(value, Takes::Value, None);
                if let Some(options) = options {
                    self.arguments(&Callee::Options, None, options);
                }
                self.values(condition, Takes::Value, None);
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
            Kind::Other { terms, body, .. } => self.other(decl, symbol, terms, body),
        }
    }

    fn other(&mut self, decl: &Decl<'a>, symbol: Option<usize>, terms: &[Term<'a>], body: &[Decl<'a>]) {
        if decl.name.is_none()
            && let Some(symbol) = symbol
            && let Some(alias) = self.view.index.symbols.get(symbol)
        {
            self.add(alias.name, Meaning::Declared(symbol));
        }
        let outer = self.scope;
        let inner = Scope { within: symbol.or(outer.within), ..outer };
        self.scope = inner;
        match (decl.keyword.text, terms) {
            ("def", [Term::Group(params), rest @ ..]) => {
                for item in &params.items {
                    if let Some(name) = item.name
                        && let Some(param) = self.view.index.starting_at(name.word.start)
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
            ("for", terms) => {
                // What a loop goes over is written outside of it.
                self.scope = outer;
                self.loop_head(terms);
                self.scope = inner;
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
            self.decl(decl, self.view.index.starting_at(decl.keyword.start));
        }
        self.scope = outer;
    }

    fn loop_head(&mut self, terms: &[Term<'a>]) {
        let head = loop_head(terms);
        for (name, values) in head.bindings {
            if let Some(variable) = self.view.index.starting_at(name.start) {
                self.add(name, Meaning::Declared(variable));
            }
            match values {
                [Term::Path(Path { words, arguments: Some(group), .. })] if words.len() == 1 => {
                    self.loop_source(words[0], group);
                }
                values => self.values(values, Takes::Value, None),
            }
        }
        let mut was_as = false;
        for term in head.rest {
            match term.word() {
                Some(word) if BEHIND_VALUES.contains(&word.text) => self.add(word, Meaning::Keyword),
                // The name of the loop is declared, not meant.
                Some(_) if was_as => {}
                _ => self.values(std::slice::from_ref(term), Takes::Value, None),
            }
            was_as = term.word().is_some_and(|word| word.text == "as");
        }
    }

    /// Reads `values(sales.store)`, `values(sales, store)`, `rows(configs)` and `files(..)`.
    fn loop_source(&mut self, word: Word<'a>, group: &Group<'a>) {
        if !LOOP_SOURCES.contains(&word.text) {
            self.add(word, Meaning::Unknown);
            return self.members(group, Takes::Value, None);
        }
        self.add(word, Meaning::Keyword);
        let mut node = None;
        for (at, item) in group.items.iter().enumerate() {
            match (at, item.terms.as_slice()) {
                (0, [Term::Path(path)]) => {
                    node = self.view.follow(&path.words, self.scope.within).map(|led| led.symbol);
                    self.path(path, Takes::Value, None);
                }
                (1, [Term::String(word)]) => self.column_of(*word, node),
                (1, [Term::Path(path)]) if path.words.len() == 1 => self.column_of(path.words[0], node),
                (_, terms) => self.values(terms, Takes::Value, None),
            }
        }
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
        let table = takes.column_of().and_then(|of| call?.table(self.view, of, self.scope.within));
        self.column_of(word, table.and_then(|(_, node)| node));
    }

    fn column_of(&mut self, word: Word<'a>, node: Option<usize>) {
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
            // What the author of a template calls so comes before what its callers' columns are called.
            let is_given = self.view.is_given(first.text, self.scope);
            if let Some(of) = takes.column_of().filter(|_| !is_given) {
                let table = call.and_then(|call| call.table(self.view, of, self.scope.within));
                let is_column = table.is_none_or(|(table, _)| table.column(first.text).is_some());
                let named = self.view.index.get(first.text, self.scope.within);
                let is_value = named.is_some_and(|at| self.view.index.symbols[at].kind.is_value());
                if is_column || !is_value {
                    return self.column_name(first, takes, call);
                }
            }
            if takes.choices().contains(&first.text) && !is_given {
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
        let Some(led) = self.view.follow(&path.words, self.scope.within) else { return };
        let mut outer = self.view.index.get(first.text, self.scope.within);
        for word in &path.words[1..led.n_words] {
            outer = outer.and_then(|outer| self.view.index.member(outer, word.text));
            self.add(*word, outer.map_or(Meaning::Unknown, Meaning::Symbol));
        }
        let (node, rest) = (led.symbol, &path.words[led.n_words..]);
        let kind = self.view.index.symbols[node].kind;
        if kind == SymbolKind::Variable
            && let Some((node, _)) = self.view.rows_of(node)
        {
            return rest.iter().take(1).for_each(|word| self.column_of(*word, Some(node)));
        }
        if kind == SymbolKind::Loop {
            return rest.iter().take(1).for_each(|word| self.add(*word, Meaning::Unknown));
        }
        if !kind.is_node() {
            return;
        }
        let known = self.view.node(node);
        let only = known.and_then(|node| match node.outputs.as_slice() {
            [only] => Some(&only.ty),
            _ => None,
        });
        let mut ty = only;
        for (position, word) in rest.iter().enumerate() {
            let output = known.and_then(|node| node.outputs.iter().find(|output| output.name == word.text));
            let is_output = position == 0
                && !matches!(only, Some(Type::Report(_)))
                && known.is_none_or(|node| node.outputs.len() > 1 || output.is_some());
            match ty {
                _ if is_output => {
                    ty = output.map(|output| &output.ty);
                    self.add(*word, Meaning::Output { node });
                }
                Some(Type::Table(_)) => self.column_of(*word, Some(node)),
                _ => self.add(*word, Meaning::Metric { node }),
            }
        }
    }

    fn call(&mut self, path: &Path<'a>, group: &Group<'a>, takes: Takes<'a>) {
        let Some(callee) = self.view.callee(path, takes, self.scope) else {
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
            _ => {
                let is_effect = self.scope.is_effect;
                self.add(whole(self.view.document, path), Meaning::Operation { is_effect });
            }
        }
        self.arguments(&callee, self.view.template(path, self.scope.within), group);
    }

    /// Reads the arguments of a call; `template` is the `def` of this file that is called.
    fn arguments(&mut self, callee: &Callee<'a>, template: Option<usize>, group: &Group<'a>) {
        let formals = callee.formals();
        let bindings = callee.bind(&formals, group);
        let call = Call { formals: &formals, bindings: &bindings, group };
        let param = |name: &str| self.view.index.member(template?, name);
        for (item, binding) in group.items.iter().zip(&bindings) {
            let formal = match binding {
                Binding::Formal(formal) | Binding::Short(formal) => formals.get(*formal),
                Binding::Nothing => None,
            };
            let declared = formal.and_then(|formal| param(formal.name));
            match (item.name, item.bare(), declared) {
                (Some(name), _, Some(param)) => self.add(name.word, Meaning::Symbol(param)),
                (Some(name), _, None) => {
                    let known = formal.map_or(Meaning::Unknown, |formal| Meaning::Argument(formal.name));
                    self.add(name.word, known);
                }
                (None, Some(word), Some(param)) if matches!(binding, Binding::Short(_)) => {
                    self.add(word, Meaning::ShortFor(param));
                }
                _ => {}
            }
            let takes = formal.map_or(Takes::Value, |formal| formal.takes);
            self.values(&item.terms, takes, Some(&call));
        }
    }

    fn name(&mut self, word: Word<'a>) {
        let meaning = self.view.index.get(word.text, self.scope.within).map_or(Meaning::Unknown, Meaning::Symbol);
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
