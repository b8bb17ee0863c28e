//! The shape of one declaration, however much of it is there yet.
//!
//! A second reading of the text beside `parse`, because it has another purpose: that one refuses what is wrong, this one
//! makes the best of it. Places are bytes of the whole file. Knows brackets, commas and the words that begin
//! declarations; no names, no types.

use std::ops::Range;

use super::document::{Document, Piece, begins_declarations};
use super::lex::{Token, TokenKind};
use crate::outline::declaring_within;

/// Deeper brackets are passed over.
const MAX_DEPTH: usize = 160;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'t> {
    pub text: &'t str,
    pub start: usize,
    pub end: usize,
}

impl Word<'_> {
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Returns whether a cursor at `at` is in it or at its end.
    pub fn touches(&self, at: usize) -> bool {
        self.start <= at && at <= self.end
    }
}

#[derive(Debug)]
pub struct Decl<'t> {
    pub keyword: Word<'t>,
    pub name: Option<Word<'t>>,
    pub kind: Kind<'t>,
    /// Behind its last token.
    pub end: usize,
}

impl<'t> Decl<'t> {
    /// Returns the declaration that begins at a byte: this one, or one in its body.
    pub fn find(&self, start: usize) -> Option<&Self> {
        if self.keyword.start == start {
            return Some(self);
        }
        let Kind::Other { body, .. } = &self.kind else { return None };
        body.iter().rev().find(|inner| inner.keyword.start <= start)?.find(start)
    }
}

#[derive(Debug)]
pub enum Kind<'t> {
    Pipeline,
    Param {
        ty: Vec<Term<'t>>,
        /// Default and rules.
        rest: Vec<Term<'t>>,
    },
    Schema {
        columns: Vec<Column<'t>>,
    },
    /// `source`, `step` or `effect`.
    Call {
        value: Vec<Term<'t>>,
        options: Option<Group<'t>>,
        /// `when ..`, behind the options.
        condition: Vec<Term<'t>>,
    },
    Gate {
        checks: Vec<Check<'t>>,
    },
    Release {
        value: Vec<Term<'t>>,
        bundle: Option<Group<'t>>,
        gates: Vec<Word<'t>>,
    },
    /// A declaration of another kind, with the declarations in its braces.
    Other {
        terms: Vec<Term<'t>>,
        body: Vec<Decl<'t>>,
        /// Where the brace stands that closes the body.
        closing: Option<usize>,
    },
}

#[derive(Debug)]
pub struct Column<'t> {
    pub name: Label<'t>,
    pub ty: Option<Word<'t>>,
    /// All behind the name: type, rules and marks.
    pub terms: Vec<Term<'t>>,
    pub end: usize,
}

/// A check of a gate, or its `first` rule.
#[derive(Debug)]
pub struct Check<'t> {
    pub name: Word<'t>,
    pub terms: Vec<Term<'t>>,
    pub end: usize,
}

/// A name that may be written as a string.
#[derive(Debug, Clone, Copy)]
pub struct Label<'t> {
    /// As written, with quotes if there are any.
    pub word: Word<'t>,
}

impl<'t> Label<'t> {
    /// Returns the name without quotes. One with escapes stays as it is written: nothing is called so.
    pub fn name(&self) -> &'t str {
        let text = self.word.text;
        text.strip_prefix('"').map_or(text, |text| text.strip_suffix('"').unwrap_or(text))
    }
}

/// A part of an expression; operators stand between parts.
#[derive(Debug)]
pub enum Term<'t> {
    Path(Path<'t>),
    Number(Word<'t>),
    String(Word<'t>),
    Group(Group<'t>),
    Sign(Word<'t>),
}

/// `parts.train`, `torch.mlp(..)`, or `parts.` while it is being typed.
#[derive(Debug)]
pub struct Path<'t> {
    pub words: Vec<Word<'t>>,
    /// Behind a point with nothing behind it.
    pub open_end: Option<usize>,
    pub arguments: Option<Group<'t>>,
}

/// Something in brackets.
#[derive(Debug)]
pub struct Group<'t> {
    pub bracket: u8,
    pub start: usize,
    /// Behind the closing bracket, or where the declaration ends without one.
    pub end: usize,
    pub is_closed: bool,
    pub items: Vec<Item<'t>>,
}

/// What stands between two commas of a group.
#[derive(Debug)]
pub struct Item<'t> {
    pub name: Option<Label<'t>>,
    pub terms: Vec<Term<'t>>,
    /// Behind the bracket or comma before it.
    pub start: usize,
    /// Before the comma or bracket behind it.
    pub end: usize,
}

impl<'t> Item<'t> {
    /// Returns the name when the item is nothing but one.
    pub fn bare(&self) -> Option<Word<'t>> {
        if self.name.is_some() { None } else { self.value_name() }
    }

    /// Returns the value's name when it is nothing but one.
    pub fn value_name(&self) -> Option<Word<'t>> {
        match self.terms.as_slice() {
            [Term::Path(Path { words, arguments: None, open_end: None })] if words.len() == 1 => words.first().copied(),
            _ => None,
        }
    }
}

impl<'t> Item<'t> {
    /// Returns the word behind the name of a parameter: its type.
    pub fn type_word(&self) -> &'t str {
        self.terms.first().and_then(Term::word).map_or("", |word| word.text)
    }
}

impl<'t> Term<'t> {
    /// Returns the first name of a path.
    pub fn word(&self) -> Option<Word<'t>> {
        match self {
            Self::Path(path) => path.words.first().copied(),
            _ => None,
        }
    }
}

impl Group<'_> {
    /// Returns whether a cursor at `at` is between the brackets.
    pub fn holds(&self, at: usize) -> bool {
        self.start < at && (at < self.end || (!self.is_closed && at <= self.end))
    }

    /// Returns the index of the item that a cursor at `at` is in.
    pub fn item_at(&self, at: usize) -> Option<usize> {
        self.items.iter().rposition(|item| item.start <= at)
    }
}

impl<'t> Path<'t> {
    /// Returns the words as they are joined by points.
    pub fn text(&self) -> String {
        self.words.iter().map(|word| word.text).collect::<Vec<_>>().join(".")
    }

    pub fn range(&self) -> Range<usize> {
        let start = self.words.first().map_or(0, |word| word.start);
        start..self.open_end.or(self.words.last().map(|word| word.end)).unwrap_or(start)
    }
}

/// Reads the declaration of a piece; `None` when there is only blank space and comments.
pub fn read<'t>(document: &'t Document, piece: &'t Piece) -> Option<Decl<'t>> {
    let tokens: Vec<Token> = piece.tokens.iter().filter(|token| !token.is_comment()).copied().collect();
    let mut reader = Reader {
        text: document.piece_text(piece),
        base: piece.start,
        tokens: &tokens,
        at: 0,
        depth: 0,
        end: piece.end,
    };
    reader.decl()
}

struct Reader<'t, 'k> {
    text: &'t str,
    base: usize,
    tokens: &'k [Token],
    at: usize,
    depth: usize,
    /// The end of the piece.
    end: usize,
}

impl<'t> Reader<'t, '_> {
    fn decl(&mut self) -> Option<Decl<'t>> {
        let keyword = self.word()?;
        let name = match keyword.text {
            // The first word of these is no name.
            "use" | "for" | "test" | "expect" | "sweep" | "on" => None,
            _ => self.name_on_line(),
        };
        let kind = match keyword.text {
            "pipeline" => {
                self.terms(&Stop::Declaration);
                Kind::Pipeline
            }
            "param" => {
                if self.sign(b':') {
                    let ty = self.terms(&Stop::Sign(b'='));
                    Kind::Param { ty, rest: self.terms(&Stop::Declaration) }
                } else {
                    Kind::Param { ty: Vec::new(), rest: self.terms(&Stop::Declaration) }
                }
            }
            "schema" => Kind::Schema { columns: self.columns() },
            "source" | "step" | "effect" => {
                self.sign(b'=');
                let value = self.terms(&Stop::Word(&["with"]));
                let has_options = self.peek_word() == Some("with");
                self.at += usize::from(has_options);
                let options = if has_options { self.group_if(b'{') } else { None };
                Kind::Call { value, options, condition: self.terms(&Stop::Declaration) }
            }
            "gate" => Kind::Gate { checks: self.checks() },
            "release" => self.release(),
            word => self.other(!declaring_within(word).is_empty()),
        };
        let end = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(keyword.end, |t| self.place(t.end));
        Some(Decl { keyword, name, kind, end })
    }

    fn release(&mut self) -> Kind<'t> {
        self.sign(b'=');
        let (mut value, mut bundle) = (Vec::new(), None);
        if self.peek_word() == Some("bundle") {
            self.at += 1;
            bundle = self.group_if(b'{');
        } else {
            value = self.terms(&Stop::Word(&["when"]));
        }
        let mut gates = Vec::new();
        if self.peek_word() == Some("when") {
            self.at += 1;
            while let Some(word) = self.word() {
                if word.text != "and" {
                    gates.push(word);
                }
            }
        }
        self.terms(&Stop::Declaration);
        Kind::Release { value, bundle, gates }
    }

    /// Reads `{ NAME: TYPE .. }`, where columns follow each other with or without commas.
    fn columns(&mut self) -> Vec<Column<'t>> {
        while self.peek_word().is_some() {
            self.at += 1;
        }
        let mut columns = Vec::new();
        if !self.opens(b'{') {
            self.terms(&Stop::Declaration);
            return columns;
        }
        self.at += 1;
        while let Some(token) = self.tokens.get(self.at).copied() {
            match token.kind {
                TokenKind::Close(_) => {
                    self.at += 1;
                    break;
                }
                TokenKind::Word | TokenKind::String if self.is_label() => {
                    let name = Label { word: self.here(&token) };
                    self.at += 2;
                    let terms = self.terms(&Stop::Label);
                    let ty = match terms.first() {
                        Some(Term::Path(path)) => path.words.first().copied(),
                        _ => None,
                    };
                    let end = self.last_end();
                    columns.push(Column { name, ty, terms, end });
                }
                TokenKind::Word => {
                    // A column of which only the name is there.
                    let name = Label { word: self.here(&token) };
                    self.at += 1;
                    columns.push(Column { name, ty: None, terms: Vec::new(), end: self.last_end() });
                }
                _ => self.at += 1,
            }
        }
        self.terms(&Stop::Declaration);
        columns
    }

    /// Reads `{ NAME EXPRESSION .. }`: a check begins on each new line, or where a name follows a whole expression.
    fn checks(&mut self) -> Vec<Check<'t>> {
        let mut checks = Vec::new();
        if !self.opens(b'{') {
            self.terms(&Stop::Declaration);
            return checks;
        }
        self.at += 1;
        while let Some(token) = self.tokens.get(self.at).copied() {
            match token.kind {
                TokenKind::Close(_) => {
                    self.at += 1;
                    break;
                }
                TokenKind::Word => {
                    let name = self.here(&token);
                    self.at += 1;
                    let terms = self.terms(&Stop::Check { is_first: name.text == "first" });
                    checks.push(Check { name, terms, end: self.last_end() });
                }
                _ => self.at += 1,
            }
        }
        self.terms(&Stop::Declaration);
        checks
    }

    fn other(&mut self, has_body: bool) -> Kind<'t> {
        let mut terms = Vec::new();
        let (mut body, mut closing) = (Vec::new(), None);
        while let Some(token) = self.tokens.get(self.at).copied() {
            if token.kind == TokenKind::Open(b'{') && (has_body || self.holds_declarations()) {
                self.at += 1;
                while let Some(token) = self.tokens.get(self.at).copied() {
                    if matches!(token.kind, TokenKind::Close(_)) {
                        closing = Some(self.place(token.start));
                        self.at += 1;
                        break;
                    }
                    if token.kind == TokenKind::Word && self.begins_declaration(self.at) && self.depth < MAX_DEPTH {
                        let (end, until) = self.nested_end();
                        let mut nested = Reader {
                            text: self.text,
                            base: self.base,
                            tokens: &self.tokens[..until],
                            at: self.at,
                            depth: self.depth + 1,
                            end,
                        };
                        body.extend(nested.decl());
                        self.at = until.max(self.at + 1);
                    } else {
                        self.term();
                    }
                }
            } else {
                terms.extend(self.term());
            }
        }
        Kind::Other { terms, body, closing }
    }

    /// Returns whether the brace at hand opens a body of declarations.
    fn holds_declarations(&self) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|token| token.kind == TokenKind::Word)
            && self.begins_declaration(self.at + 1)
    }

    /// Returns where the declaration at hand ends, in bytes and as a token: before the next one of the same body, or
    /// before the brace that closes it.
    fn nested_end(&self) -> (usize, usize) {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(self.at + 1) {
            match token.kind {
                TokenKind::Open(_) => depth += 1,
                TokenKind::Close(_) if depth == 0 => return (self.place(token.start), at),
                TokenKind::Close(_) => depth -= 1,
                TokenKind::Word if depth == 0 && self.begins_declaration(at) => return (self.place(token.start), at),
                _ => {}
            }
        }
        (self.end, self.tokens.len())
    }

    /// Returns whether the word is the first of its line, or of a body, and begins declarations.
    fn begins_declaration(&self, at: usize) -> bool {
        let Some(token) = self.tokens.get(at) else { return false };
        let before = at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let blank = self.text.get(before.map_or(0, |token| token.end as usize)..token.start as usize);
        let is_fresh = blank.is_some_and(|blank| blank.contains('\n'))
            || before.is_some_and(|before| before.kind == TokenKind::Open(b'{'));
        let word = token.text(self.text);
        let next = self.tokens.get(at + 1).map(|next| next.kind);
        let goes_on = match next {
            Some(TokenKind::Word | TokenKind::String | TokenKind::Sign(b'=') | TokenKind::Close(_)) | None => true,
            Some(TokenKind::Open(b'{')) => word == "result",
            _ => false,
        };
        is_fresh && goes_on && begins_declarations(word)
    }

    fn terms(&mut self, stop: &Stop<'_>) -> Vec<Term<'t>> {
        let mut terms = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            if self.stops(stop, token, &terms) {
                break;
            }
            terms.extend(self.term());
        }
        terms
    }

    fn stops(&mut self, stop: &Stop<'_>, token: &Token, terms: &[Term<'_>]) -> bool {
        match stop {
            Stop::Declaration => false,
            Stop::Sign(sign) => {
                if token.is_sign(*sign) {
                    self.at += 1;
                    return true;
                }
                token.kind == TokenKind::Word && token.text(self.text) == "in"
                    || token.kind == TokenKind::Operator
                    || token.is_sign(b'<')
                    || token.is_sign(b'>')
            }
            Stop::Word(words) => token.kind == TokenKind::Word && words.contains(&token.text(self.text)),
            Stop::Item => matches!(token.kind, TokenKind::Close(_)) || token.is_sign(b','),
            Stop::Label => matches!(token.kind, TokenKind::Close(_)) || token.is_sign(b',') || self.is_label(),
            Stop::Check { is_first } => match token.kind {
                TokenKind::Close(_) => true,
                TokenKind::Word => {
                    let text = token.text(self.text);
                    let after_value = terms.last().is_some_and(|term| !matches!(term, Term::Sign(_)));
                    let is_operator = is_operator(text);
                    let fresh = self.is_fresh();
                    if *is_first {
                        fresh
                    } else {
                        (after_value || fresh) && !is_operator && !self.follows_point() && !follows_word_operator(terms)
                    }
                }
                _ => token.is_sign(b','),
            },
        }
    }

    fn is_fresh(&self) -> bool {
        let Some(token) = self.tokens.get(self.at) else { return false };
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |token| token.end as usize);
        self.text.get(before..token.start as usize).is_some_and(|blank| blank.contains('\n'))
    }

    fn follows_point(&self) -> bool {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).is_some_and(|token| token.is_sign(b'.'))
    }

    fn term(&mut self) -> Option<Term<'t>> {
        let token = self.tokens.get(self.at).copied()?;
        let here = self.here(&token);
        Some(match token.kind {
            TokenKind::Word => Term::Path(self.path()),
            TokenKind::Number => {
                self.at += 1;
                Term::Number(here)
            }
            TokenKind::String => {
                self.at += 1;
                Term::String(here)
            }
            TokenKind::Open(bracket) => match self.group_if(bracket) {
                Some(group) => Term::Group(group),
                None => Term::Sign(here),
            },
            _ => {
                self.at += 1;
                Term::Sign(here)
            }
        })
    }

    /// Reads names joined by points, and the arguments behind them.
    fn path(&mut self) -> Path<'t> {
        let mut path = Path { words: Vec::new(), open_end: None, arguments: None };
        path.words.extend(self.word());
        while let Some(point) = self.tokens.get(self.at).copied()
            && point.is_sign(b'.')
        {
            self.at += 1;
            let next = self.tokens.get(self.at).copied().filter(|next| next.kind == TokenKind::Word);
            // A name on the next line, or the next argument, is not meant.
            let next = next.filter(|next| next.start == point.end || !self.is_fresh() && !self.is_label());
            match next {
                Some(_) => path.words.extend(self.word()),
                None => {
                    path.open_end = Some(self.place(point.end));
                    return path;
                }
            }
        }
        let is_operator = path.words.len() == 1 && path.words.iter().all(|word| is_operator(word.text));
        if !is_operator && self.opens(b'(') {
            path.arguments = self.group_if(b'(');
        }
        path
    }

    fn group_if(&mut self, bracket: u8) -> Option<Group<'t>> {
        let open = self.tokens.get(self.at).copied().filter(|token| token.kind == TokenKind::Open(bracket))?;
        self.at += 1;
        let mut group =
            Group { bracket, start: self.place(open.start), end: self.end, is_closed: false, items: Vec::new() };
        if self.depth >= MAX_DEPTH {
            self.skip_group();
            group.end = self.last_end();
            return Some(group);
        }
        self.depth += 1;
        let mut start = self.place(open.end);
        loop {
            let name = self.is_label().then(|| {
                let name = self.tokens[self.at];
                self.at += 2;
                Label { word: self.here(&name) }
            });
            let terms = self.terms(&Stop::Item);
            let next = self.tokens.get(self.at).copied();
            let end = next.map_or(self.end, |next| self.place(next.start));
            let is_last = !next.is_some_and(|next| next.is_sign(b','));
            if name.is_some() || !terms.is_empty() || !is_last || group.items.is_empty() {
                group.items.push(Item { name, terms, start, end });
            } else {
                // Behind a comma, where another one may be typed.
                group.items.push(Item { name: None, terms: Vec::new(), start, end });
            }
            let Some(next) = next else { break };
            self.at += 1;
            start = self.place(next.end);
            if is_last {
                group.end = start;
                group.is_closed = true;
                break;
            }
        }
        self.depth -= 1;
        Some(group)
    }

    fn skip_group(&mut self) {
        let mut depth = 1_usize;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match token.kind {
                TokenKind::Open(_) => depth += 1,
                TokenKind::Close(_) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Returns whether a name and a colon are at hand.
    fn is_label(&self) -> bool {
        let is_name = |token: &Token| matches!(token.kind, TokenKind::Word | TokenKind::String);
        self.tokens.get(self.at).is_some_and(is_name)
            && self.tokens.get(self.at + 1).is_some_and(|token| token.is_sign(b':'))
    }

    fn opens(&self, bracket: u8) -> bool {
        self.tokens.get(self.at).is_some_and(|token| token.kind == TokenKind::Open(bracket))
    }

    fn sign(&mut self, sign: u8) -> bool {
        let is_there = self.tokens.get(self.at).is_some_and(|token| token.is_sign(sign));
        self.at += usize::from(is_there);
        is_there
    }

    fn peek_word(&self) -> Option<&'t str> {
        let token = self.tokens.get(self.at).filter(|token| token.kind == TokenKind::Word)?;
        Some(token.text(self.text))
    }

    fn word(&mut self) -> Option<Word<'t>> {
        let token = self.tokens.get(self.at).copied().filter(|token| token.kind == TokenKind::Word)?;
        self.at += 1;
        Some(self.here(&token))
    }

    /// Reads the declared name, which stands on the line of its word.
    fn name_on_line(&mut self) -> Option<Word<'t>> {
        if self.is_fresh() { None } else { self.word() }
    }

    fn here(&self, token: &Token) -> Word<'t> {
        Word { text: token.text(self.text), start: self.place(token.start), end: self.place(token.end) }
    }

    fn place(&self, at: u32) -> usize {
        self.base + at as usize
    }

    fn last_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(self.base, |token| self.place(token.end))
    }
}

/// Returns whether a word stands between values, and is none.
fn is_operator(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "in" | "if" | "then" | "else" | "when")
}

fn follows_word_operator(terms: &[Term<'_>]) -> bool {
    match terms.last() {
        Some(Term::Path(path)) => matches!(path.words.as_slice(), [word] if is_operator(word.text)),
        _ => false,
    }
}

/// Where a list of terms ends.
enum Stop<'w> {
    /// With the declaration.
    Declaration,
    /// With the sign, which is passed over, or before a rule.
    Sign(u8),
    Word(&'w [&'w str]),
    /// Before a comma or closing bracket.
    Item,
    /// Before the next `NAME:` as well.
    Label,
    /// Before the next check of a gate.
    Check {
        is_first: bool,
    },
}
