//! The names that a file declares. Reads heads of declarations only; what stands behind them does not matter.

use std::collections::HashMap;
use std::ops::Range;

use super::document::{Document, Piece};
use super::lex::TokenKind;
use super::tree::{self, Decl, Kind, Term, Word};

/// Something with a name of its own.
#[derive(Debug, Clone, Copy)]
pub struct Symbol<'t> {
    pub name: Word<'t>,
    pub kind: SymbolKind,
    /// The piece it is declared in.
    pub piece: usize,
    /// The declaration that holds it, by index; its name is known only there.
    pub within: Option<usize>,
    /// From the declaring word to the end of what is declared.
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    Pipeline,
    Param,
    Constant,
    Schema,
    Source,
    Step,
    Effect,
    /// Rows that a test gives under a name that the file does not have.
    Given,
    Gate,
    Release,
    Module,
    Template,
    /// A parameter of a template that is given a table, a model, or the like.
    Artifact,
    /// A `for`, by the name behind `as`.
    Loop,
    /// What a loop goes over, one after the other.
    Variable,
    /// By its title.
    Test,
    /// Of a kind that has no part in the name space, or none yet.
    Other,
}

impl SymbolKind {
    pub fn of(keyword: &str) -> Self {
        match keyword {
            "pipeline" => Self::Pipeline,
            "param" => Self::Param,
            "let" => Self::Constant,
            "schema" => Self::Schema,
            "source" => Self::Source,
            "step" => Self::Step,
            "effect" => Self::Effect,
            "given" => Self::Given,
            "for" => Self::Loop,
            "test" => Self::Test,
            "gate" => Self::Gate,
            "release" => Self::Release,
            "use" => Self::Module,
            "def" => Self::Template,
            _ => Self::Other,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Param => "param",
            Self::Constant => "let",
            Self::Schema => "schema",
            Self::Source => "source",
            Self::Step => "step",
            Self::Effect => "effect",
            Self::Given => "given",
            Self::Gate => "gate",
            Self::Release => "release",
            Self::Module => "use",
            Self::Template => "def",
            Self::Artifact => "parameter",
            Self::Loop => "loop",
            Self::Variable => "value",
            Self::Test => "test",
            Self::Other => "name",
        }
    }

    /// Returns whether outputs are known by its name.
    pub fn is_node(self) -> bool {
        matches!(self, Self::Source | Self::Step | Self::Effect | Self::Given | Self::Artifact)
    }

    /// Returns whether it stands for a constant value.
    pub fn is_value(self) -> bool {
        matches!(self, Self::Param | Self::Constant | Self::Variable)
    }

    /// Returns whether it is the same in every call of a template, so that bodies of templates see it.
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::Schema | Self::Constant | Self::Module | Self::Template)
    }

    /// Returns whether other declarations stand in it.
    fn is_holder(self) -> bool {
        matches!(self, Self::Template | Self::Loop | Self::Test | Self::Module | Self::Other)
    }
}

impl Symbol<'_> {
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// All symbols of a file, in the order in which they stand there.
#[derive(Debug, Default)]
pub struct Index<'t> {
    pub symbols: Vec<Symbol<'t>>,
    /// The first of each name outside of other declarations.
    by_name: HashMap<&'t str, usize>,
    /// The first of each name within another declaration.
    within: HashMap<(usize, &'t str), usize>,
}

impl<'t> Index<'t> {
    pub fn new(document: &'t Document) -> Self {
        let mut index = Self::default();
        index.by_name.reserve(document.pieces().len());
        for (at, piece) in document.pieces().iter().enumerate() {
            index.add_piece(document, at, piece);
        }
        index
    }

    /// Returns what a name means within the declaration `within`, or outside of all.
    pub fn get(&self, name: &str, within: Option<usize>) -> Option<usize> {
        let of_file = self.by_name.get(name).copied();
        let mut is_in_template = false;
        for holder in self.around(within) {
            let own = self.within.get(&(holder, name)).copied();
            match self.symbols.get(holder)?.kind {
                // What a test declares stands in the place of what the file declares: that is still meant.
                SymbolKind::Test => return of_file.or(own),
                kind => is_in_template |= kind == SymbolKind::Template,
            }
            if own.is_some() {
                return own;
            }
        }
        of_file.filter(|at| !is_in_template || self.symbols[*at].kind.is_lasting())
    }

    /// Returns the declarations around a place, from the inside out.
    pub fn around(&self, within: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(within, |holder| self.symbols.get(*holder)?.within)
    }

    /// Returns whether a place is in the body of a template.
    pub fn is_in_template(&self, within: Option<usize>) -> bool {
        self.around(within).any(|holder| self.symbols[holder].kind == SymbolKind::Template)
    }

    /// Returns what a loop has under a name in each round: a step of it, or a loop within it.
    pub fn member(&self, of_loop: usize, name: &str) -> Option<usize> {
        let at = self.within.get(&(of_loop, name)).copied()?;
        (self.symbols[at].kind != SymbolKind::Variable).then_some(at)
    }

    /// Returns the symbol whose declaration, or name, begins at a byte.
    pub fn starting_at(&self, start: usize) -> Option<usize> {
        let at = self.symbols.partition_point(|symbol| symbol.start < start);
        (self.symbols.get(at)?.start == start).then_some(at)
    }

    pub fn of_kind(&self, kind: SymbolKind) -> impl Iterator<Item = &Symbol<'t>> {
        self.symbols.iter().filter(move |symbol| symbol.kind == kind && symbol.within.is_none())
    }

    /// Returns the symbols of a piece and of those behind it, in order.
    pub fn symbols_from(&self, piece: usize) -> impl Iterator<Item = (usize, &Symbol<'t>)> {
        let first = self.symbols.partition_point(|symbol| symbol.piece < piece);
        self.symbols.iter().enumerate().skip(first)
    }

    /// Returns the first symbol of a piece.
    pub fn of_piece(&self, piece: usize) -> Option<usize> {
        let at = self.symbols.partition_point(|symbol| symbol.piece < piece);
        (self.symbols.get(at)?.piece == piece).then_some(at)
    }

    fn add_piece(&mut self, document: &'t Document, at: usize, piece: &'t Piece) {
        let text = document.piece_text(piece);
        let mut tokens = piece.tokens.iter().filter(|token| !token.is_comment());
        let (Some(first), second) = (tokens.next(), tokens.next()) else { return };
        let keyword = first.text(text);
        let kind = SymbolKind::of(keyword);
        match kind {
            kind if kind.is_holder() => {
                if let Some(decl) = tree::read(document, piece) {
                    self.add_decl(&decl, at, None);
                }
            }
            _ => {
                let Some(second) = second.filter(|token| token.kind == TokenKind::Word) else { return };
                let place = |at: u32| piece.start + at as usize;
                let name = Word { text: second.text(text), start: place(second.start), end: place(second.end) };
                let last = piece.tokens.iter().rev().find(|token| !token.is_comment()).unwrap_or(second);
                let (start, end) = (place(first.start), place(last.end));
                // A name on the next line belongs to something else.
                if text[first.end as usize..second.start as usize].contains('\n') {
                    return;
                }
                self.add(Symbol { name, kind, piece: at, within: None, start, end });
                // `pipeline NAME(as_of: date)` declares a value, too.
                let param = tokens.nth(1).filter(|token| kind == SymbolKind::Pipeline && token.kind == TokenKind::Word);
                if let Some(param) = param {
                    let name = Word { text: param.text(text), start: place(param.start), end: place(param.end) };
                    let (start, kind) = (name.start, SymbolKind::Param);
                    self.add(Symbol { name, kind, piece: at, within: None, start, end });
                }
            }
        }
    }

    fn add_decl(&mut self, decl: &Decl<'t>, piece: usize, within: Option<usize>) {
        let kind = SymbolKind::of(decl.keyword.text);
        let name = decl.name.or_else(|| alias(decl)).or_else(|| title(decl));
        let (start, end) = (decl.keyword.start, decl.end);
        let holder = name.map(|name| self.add(Symbol { name, kind, piece, within, start, end }));
        if let Kind::Other { terms, body, .. } = &decl.kind {
            let inner = match kind {
                SymbolKind::Template => template_params(terms),
                SymbolKind::Loop => {
                    let named = loop_head(terms).bindings.into_iter();
                    named.map(|(name, _)| (name, SymbolKind::Variable, name.end)).collect()
                }
                _ => Vec::new(),
            };
            for (name, kind, end) in inner {
                self.add(Symbol { name, kind, piece, within: holder, start: name.start, end });
            }
            body.iter().for_each(|decl| self.add_decl(decl, piece, holder.or(within)));
        }
    }

    fn add(&mut self, symbol: Symbol<'t>) -> usize {
        let at = self.symbols.len();
        if symbol.kind != SymbolKind::Pipeline {
            match symbol.within {
                Some(within) => self.within.entry((within, symbol.name.text)).or_insert(at),
                None => self.by_name.entry(symbol.name.text).or_insert(at),
            };
        }
        self.symbols.push(symbol);
        at
    }
}

/// Returns the name behind `as`.
pub fn alias<'t>(decl: &Decl<'t>) -> Option<Word<'t>> {
    let Kind::Other { terms, .. } = &decl.kind else { return None };
    let words = |term: &Term<'t>| match term {
        Term::Path(path) => path.words.first().copied(),
        _ => None,
    };
    let at = terms.iter().position(|term| words(term).is_some_and(|word| word.text == "as"))?;
    terms.get(at + 1).and_then(words)
}

/// Returns the string that a test is called by: what stands in it is its own.
fn title<'t>(decl: &Decl<'t>) -> Option<Word<'t>> {
    match &decl.kind {
        Kind::Other { terms, .. } if decl.keyword.text == "test" => match terms.first() {
            Some(Term::String(word)) => Some(*word),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the path that a `use` names, without its quotes.
pub fn module_path<'t>(decl: &Decl<'t>) -> Option<Word<'t>> {
    let Kind::Other { terms, .. } = &decl.kind else { return None };
    match terms.first() {
        Some(Term::String(word)) if decl.keyword.text == "use" => Some(*word),
        _ => None,
    }
}

/// Returns the names of a template's parameters, which stand in brackets behind its own, what they are, and where each ends.
fn template_params<'t>(terms: &[Term<'t>]) -> Vec<(Word<'t>, SymbolKind, usize)> {
    let Some(Term::Group(group)) = terms.first() else { return Vec::new() };
    let params = group.items.iter().filter_map(|item| {
        let kind = match item.type_word() {
            "table" | "model" | "report" | "file" | "folder" => SymbolKind::Artifact,
            "schema" => SymbolKind::Schema,
            _ => SymbolKind::Param,
        };
        Some((item.name?.word, kind, item.end))
    });
    params.collect()
}

/// The head of a `for`.
pub struct LoopHead<'d, 't> {
    /// Each variable with what it goes over.
    pub bindings: Vec<(Word<'t>, &'d [Term<'t>])>,
    /// What follows: `random ..`, `limit ..`, `as NAME`.
    pub rest: &'d [Term<'t>],
}

/// The words that go on with the head of a `for` behind what it goes over.
pub const BEHIND_VALUES: [&str; 5] = ["random", "seed", "limit", "tolerate", "as"];

pub fn loop_head<'d, 't>(terms: &'d [Term<'t>]) -> LoopHead<'d, 't> {
    let mut head = LoopHead { bindings: Vec::new(), rest: terms };
    let ends_values = |term: &Term<'_>| match term {
        Term::Sign(sign) => sign.text == ",",
        // `seed` follows only behind `random`, and is a name elsewhere.
        term => term.word().is_some_and(|word| word.text != "seed" && BEHIND_VALUES.contains(&word.text)),
    };
    while let [first, rest @ ..] = head.rest
        && let Some(name) = first.word()
    {
        let values = match rest {
            [is_in, values @ ..] if is_in.word().is_some_and(|word| word.text == "in") => values,
            values => values,
        };
        let end = values.iter().position(ends_values).unwrap_or(values.len());
        head.bindings.push((name, &values[..end]));
        head.rest = &values[end..];
        match head.rest {
            [Term::Sign(_), more @ ..] => head.rest = more,
            _ => break,
        }
    }
    head
}
