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
    Gate,
    Release,
    Module,
    Template,
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
            "step" | "effect" => Self::Step,
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
            Self::Gate => "gate",
            Self::Release => "release",
            Self::Module => "use",
            Self::Template => "def",
            Self::Other => "name",
        }
    }

    pub fn is_node(self) -> bool {
        matches!(self, Self::Source | Self::Step)
    }

    /// Returns whether it stands for a constant value.
    pub fn is_value(self) -> bool {
        matches!(self, Self::Param | Self::Constant)
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
        let local = within.and_then(|within| self.within.get(&(within, name)).copied());
        local.or_else(|| self.by_name.get(name).copied())
    }

    pub fn of_kind(&self, kind: SymbolKind) -> impl Iterator<Item = &Symbol<'t>> {
        self.symbols.iter().filter(move |symbol| symbol.kind == kind && symbol.within.is_none())
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
            SymbolKind::Other | SymbolKind::Module | SymbolKind::Template => {
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
        if let Kind::Other { terms, body } = &decl.kind {
            if kind == SymbolKind::Template {
                for name in template_params(terms) {
                    self.add(Symbol {
                        name,
                        kind: SymbolKind::Param,
                        piece,
                        within: holder,
                        start: name.start,
                        end: name.end,
                    });
                }
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

/// Returns the names of a template's parameters, which stand in brackets behind its own.
fn template_params<'t>(terms: &[Term<'t>]) -> Vec<Word<'t>> {
    let Some(Term::Group(group)) = terms.first() else { return Vec::new() };
    group.items.iter().filter_map(|item| item.name.map(|label| label.word)).collect()
}
