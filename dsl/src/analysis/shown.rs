//! What an editor draws into a text: its outline, colours, hints, and the call at hand.

use std::ops::Range;

use mlp_model::Type;

use super::describe;
use super::index::SymbolKind;
use super::lex::TokenKind;
use super::meaning::Meaning;
use super::spot;
use super::tree::{self, Kind};
use super::view::View;

/// A declaration, or something in it, as an outline shows it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub kind: EntryKind,
    /// In a few words.
    pub detail: String,
    pub range: Range<usize>,
    pub name_range: Range<usize>,
    pub children: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Symbol(SymbolKind),
    Column,
    Check,
}

/// Returns the outline of the file.
pub fn outline(view: &View<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    // The way from the last entry to where the next may belong: symbols, the outermost first.
    let mut holders: Vec<usize> = Vec::new();
    for (at, symbol) in view.index.symbols.iter().enumerate() {
        let detail = match symbol.kind {
            kind if kind.is_node() => view.node(at).map_or(String::new(), |node| node.op.clone()),
            SymbolKind::Param => view.value(symbol).map_or(String::new(), describe::value),
            _ => String::new(),
        };
        let mut entry = Entry {
            name: symbol.name.text.to_owned(),
            kind: EntryKind::Symbol(symbol.kind),
            detail,
            range: symbol.start..symbol.end.max(symbol.name.end),
            name_range: symbol.name.range(),
            children: Vec::new(),
        };
        if symbol.within.is_none() && matches!(symbol.kind, SymbolKind::Schema | SymbolKind::Gate) {
            entry.children = children(view, symbol.piece);
        }
        while holders.last().copied() != symbol.within && holders.pop().is_some() {}
        let depth = holders.len();
        let siblings = (0..depth).fold(&mut entries, |siblings, _| match siblings.is_empty() {
            // Every holder has an entry.
            true => siblings,
            false => {
                let last = siblings.len() - 1;
                &mut siblings[last].children
            }
        });
        siblings.push(entry);
        holders.push(at);
    }
    entries
}

fn children(view: &View<'_>, piece: usize) -> Vec<Entry> {
    let Some(decl) = view.document.pieces().get(piece).and_then(|piece| tree::read(view.document, piece)) else {
        return Vec::new();
    };
    let entry = |name: &str, kind, detail: &str, range: Range<usize>, name_range: Range<usize>| Entry {
        name: name.to_owned(),
        kind,
        detail: detail.to_owned(),
        range: range.start..range.end.max(name_range.end),
        name_range,
        children: Vec::new(),
    };
    match &decl.kind {
        Kind::Schema { columns } => columns
            .iter()
            .filter(|column| !column.name.name().is_empty())
            .map(|column| {
                let word = column.name.word;
                let ty = column.ty.map_or("", |ty| ty.text);
                entry(column.name.name(), EntryKind::Column, ty, word.start..column.end, word.range())
            })
            .collect(),
        Kind::Gate { checks } => checks
            .iter()
            .map(|check| entry(check.name.text, EntryKind::Check, "", check.name.start..check.end, check.name.range()))
            .collect(),
        _ => Vec::new(),
    }
}

/// What a part of the text is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Keyword,
    Comment,
    Doc,
    String,
    Number,
    Operation,
    Constructor,
    Argument,
    Node,
    Param,
    Schema,
    Gate,
    Release,
    Module,
    Output,
    Column,
    Metric,
    Choice,
    Type,
    Mark,
    Check,
}

/// A coloured part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coloured {
    pub range: Range<usize>,
    pub colour: Colour,
    pub is_declaration: bool,
}

/// Returns the coloured parts within a range of bytes, in order and apart from each other.
pub fn colours(view: &View<'_>, range: Range<usize>) -> Vec<Coloured> {
    let mut coloured = Vec::new();
    for (_, piece) in view.document.pieces_in(range.clone()) {
        for token in piece.tokens.iter() {
            let colour = match token.kind {
                TokenKind::Comment => Colour::Comment,
                TokenKind::Doc | TokenKind::FileDoc => Colour::Doc,
                TokenKind::String => Colour::String,
                TokenKind::Number => Colour::Number,
                _ => continue,
            };
            let range = piece.start + token.start as usize..piece.start + token.end as usize;
            coloured.push(Coloured { range, colour, is_declaration: false });
        }
    }
    for mention in view.mentions_in(range.clone()) {
        let is_declaration =
            matches!(mention.meaning, Meaning::Declared(_) | Meaning::ColumnDeclared { .. } | Meaning::CheckDeclared);
        let Some(colour) = colour_of(view, mention.meaning) else { continue };
        coloured.push(Coloured { range: mention.word.range(), colour, is_declaration });
    }
    // A column written as a string is a column first.
    coloured.sort_by_key(|part| (part.range.start, part.colour == Colour::String));
    let mut until = 0;
    coloured.retain(|part| {
        let is_apart = part.range.start >= until && !part.range.is_empty();
        let is_in = part.range.end > range.start && part.range.start < range.end;
        if is_apart && is_in {
            until = part.range.end;
        }
        is_apart && is_in
    });
    coloured
}

fn colour_of(view: &View<'_>, meaning: Meaning<'_>) -> Option<Colour> {
    let of_symbol = |kind: SymbolKind| match kind {
        SymbolKind::Param | SymbolKind::Constant | SymbolKind::Variable => Colour::Param,
        SymbolKind::Schema => Colour::Schema,
        SymbolKind::Gate => Colour::Gate,
        SymbolKind::Release => Colour::Release,
        SymbolKind::Module | SymbolKind::Pipeline => Colour::Module,
        SymbolKind::Template => Colour::Operation,
        SymbolKind::Test => Colour::String,
        SymbolKind::Source
        | SymbolKind::Step
        | SymbolKind::Effect
        | SymbolKind::Given
        | SymbolKind::Artifact
        | SymbolKind::Loop
        | SymbolKind::Other => Colour::Node,
    };
    Some(match meaning {
        Meaning::Keyword | Meaning::Champion => Colour::Keyword,
        Meaning::Declared(symbol) | Meaning::Symbol(symbol) => of_symbol(view.index.symbols.get(symbol)?.kind),
        Meaning::Export { module, symbol } => of_symbol(view.modules.get(module)?.index.symbols.get(symbol)?.kind),
        Meaning::Output { .. } => Colour::Output,
        Meaning::Metric { .. } => Colour::Metric,
        Meaning::Part | Meaning::Member => Colour::Output,
        Meaning::Operation { .. } => Colour::Operation,
        Meaning::Constructor => Colour::Constructor,
        Meaning::Argument(_) => Colour::Argument,
        Meaning::Column { .. } | Meaning::ColumnDeclared { .. } => Colour::Column,
        Meaning::Choice => Colour::Choice,
        Meaning::Type => Colour::Type,
        Meaning::Mark => Colour::Mark,
        Meaning::CheckDeclared | Meaning::Check => Colour::Check,
        Meaning::Unknown | Meaning::ShortFor(_) => return None,
    })
}

/// A text that is shown behind a byte, and is not part of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub at: usize,
    pub text: String,
    /// Markdown, for who wants to know more.
    pub doc: String,
}

/// Returns what each source and step of a range gives, in a few words behind its name.
pub fn hints(view: &View<'_>, range: Range<usize>) -> Vec<Hint> {
    let mut hints = Vec::new();
    for (at, symbol) in view.index.symbols_from(view.document.piece_at(range.start)) {
        if symbol.start > range.end {
            break;
        }
        // What a template is given has its type written behind its name.
        if symbol.kind == SymbolKind::Artifact || symbol.name.end < range.start || symbol.name.start > range.end {
            continue;
        }
        let Some(node) = view.node(at) else { continue };
        let tables = node.outputs.iter().filter_map(|output| match &output.ty {
            Type::Table(table) => Some((output, table)),
            _ => None,
        });
        let tables: Vec<_> = tables.collect();
        let text = match (node.outputs.as_slice(), tables.as_slice()) {
            ([only], [_]) => describe::short(&only.ty),
            (_, [(_, first), rest @ ..]) if !rest.is_empty() => {
                let is_same = rest.iter().all(|(_, table)| table.columns.len() == first.columns.len());
                let roles: Vec<_> = tables.iter().map(|(_, table)| table.role.to_string()).collect();
                if is_same {
                    format!("{} each, {} rows", describe::plural(first.columns.len(), "column"), roles.join(" and "))
                } else {
                    continue;
                }
            }
            _ => continue,
        };
        let mut doc = match tables.first() {
            Some((_, table)) => format!("```mlp\n{}\n```", describe::columns(&table.columns)),
            None => String::new(),
        };
        if let Some(whose) = symbol.within.and_then(|_| describe::whose(node, &view.place(symbol))) {
            doc.push_str(&format!("\n\n{whose}"));
        }
        hints.push(Hint { at: symbol.name.end, text: format!(": {text}"), doc });
    }
    hints
}

/// The call that a cursor is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallHelp {
    pub head: String,
    pub doc: String,
    /// Where each argument stands in `head`, in bytes, and what it is.
    pub arguments: Vec<(Range<usize>, String)>,
    pub active: Option<usize>,
}

/// Returns the innermost call around a byte.
pub fn call_help(view: &View<'_>, at: usize) -> Option<CallHelp> {
    let at = view.document.floor(at);
    let piece = view.document.pieces().get(view.document.piece_at(at))?;
    let decl = tree::read(view.document, piece)?;
    let spot = spot::find(view, &decl, at);
    let call = spot.calls.last()?;
    let (head, places) = describe::head(&call.callee, &call.formals);
    let docs = call.formals.iter().map(|formal| formal.doc.to_owned());
    let arguments = places.into_iter().map(|(start, end)| start..end).zip(docs).collect();
    let named = call.formal().map(|formal| formal.name);
    let active = named.and_then(|name| call.formals.iter().position(|formal| formal.name == name));
    Some(CallHelp { head, doc: describe::doc(call.callee.doc()), arguments, active })
}
