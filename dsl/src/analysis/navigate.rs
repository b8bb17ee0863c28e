//! Where things are declared and used, and how to give one another name.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::Document;
use super::index::{Symbol, SymbolKind};
use super::meaning::{Meaning, Mention};
use super::tree::{self, Kind, Label, Term, Word};
use super::view::{Module, View};
use crate::check::RESERVED;

/// Bytes of a file: 0 is the one at hand, others are the [`super::Module::file`] of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: usize,
    pub range: Range<usize>,
}

/// What a name stands for, so that uses of one thing can be told from those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Symbol(usize),
    Output { node: usize, name: String },
    Metric { node: usize, name: String },
    Column { schema: String, name: String },
    Part(String),
    Check { piece: usize, name: String },
    Export { module: usize, symbol: usize },
}

/// Returns where the word at a byte is declared.
pub fn definition(view: &View<'_>, at: usize) -> Option<Place> {
    let mention = view.mention_at(at)?;
    let here = |range: Range<usize>| Some(Place { file: 0, range });
    match mention.meaning {
        Meaning::Declared(symbol) | Meaning::Symbol(symbol) => here(view.index.symbols.get(symbol)?.name.range()),
        Meaning::Output { node } => here(result(view, node, mention.word.text).unwrap_or(node_name(view, node)?)),
        Meaning::Metric { node } => here(node_name(view, node)?),
        Meaning::ShortFor(param) => here(view.index.symbols.get(param)?.name.range()),
        Meaning::Export { module, symbol } => {
            let module = view.modules.get(module)?;
            Some(Place { file: module.file, range: module.index.symbols.get(symbol)?.name.range() })
        }
        Meaning::Column { schema, .. } => here(column(view, schema?, Label { word: mention.word }.name())?),
        Meaning::ColumnDeclared { .. } | Meaning::CheckDeclared => here(mention.word.range()),
        Meaning::Champion => {
            let (_, release) = view.release()?;
            here(view.index.symbols.get(release)?.name.range())
        }
        Meaning::Part => here(part(view, mention.word.text)?),
        Meaning::Check => {
            let piece = view.document.piece_at(at);
            let mentions = view.mentions_in(view.document.pieces().get(piece)?.range());
            let declared = mentions
                .into_iter()
                .find(|other| other.meaning == Meaning::CheckDeclared && other.word.text == mention.word.text);
            here(declared?.word.range())
        }
        _ => None,
    }
}

fn node_name(view: &View<'_>, node: usize) -> Option<Range<usize>> {
    Some(view.index.symbols.get(node)?.name.range())
}

/// Returns where the `def` that a step calls says what a result of it is.
fn result(view: &View<'_>, step: usize, name: &str) -> Option<Range<usize>> {
    let template = view.index.get(&view.node(step)?.op, None)?;
    let symbol = view.index.symbols.get(template).filter(|symbol| symbol.kind == SymbolKind::Template)?;
    let decl = tree::read(view.document, view.document.pieces().get(symbol.piece)?)?;
    let Kind::Other { body, .. } = decl.kind else { return None };
    let results = body.into_iter().filter(|decl| decl.keyword.text == "result");
    let groups = results.filter_map(|decl| match decl.kind {
        Kind::Other { terms, .. } => terms.into_iter().next(),
        _ => None,
    });
    let mut items = groups.flat_map(|term| match term {
        Term::Group(group) => group.items,
        _ => Vec::new(),
    });
    items
        .find_map(|item| item.name.map(|label| label.word).or(item.bare()).filter(|word| word.text == name))
        .map(|word| word.range())
}

fn column(view: &View<'_>, schema: &str, name: &str) -> Option<Range<usize>> {
    let symbol = view.index.symbols.get(view.index.get(schema, None)?)?;
    let decl = tree::read(view.document, view.document.pieces().get(symbol.piece)?)?;
    let Kind::Schema { columns } = decl.kind else { return None };
    columns.iter().find(|column| column.name.name() == name).map(|column| column.name.word.range())
}

fn part(view: &View<'_>, name: &str) -> Option<Range<usize>> {
    let (decl, release) = view.release()?;
    let Kind::Release { bundle, .. } = decl.kind else { return None };
    let items = bundle.iter().flat_map(|bundle| &bundle.items);
    let mut words = items.filter_map(|item| item.name.map(|label| label.word).or(item.bare()));
    let found = words.find(|word| word.text == name).map(|word| word.range());
    found.or_else(|| Some(view.index.symbols.get(release)?.name.range()))
}

/// Returns where the thing at a byte is mentioned in this file, in order; with its declaration if asked for.
pub fn references(view: &View<'_>, at: usize, with_declaration: bool) -> Vec<Place> {
    let Some(mention) = view.mention_at(at) else { return Vec::new() };
    let Some(target) = target(view, &mention) else { return Vec::new() };
    let mentions = mentions_of(view, &target, Label { word: mention.word }.name());
    let mentions = mentions.into_iter().filter(|(_, mention)| with_declaration || !is_declaration(mention.meaning));
    mentions.map(|(_, mention)| Place { file: 0, range: mention.word.range() }).collect()
}

fn is_declaration(meaning: Meaning<'_>) -> bool {
    matches!(meaning, Meaning::Declared(_) | Meaning::ColumnDeclared { .. } | Meaning::CheckDeclared)
}

fn target(view: &View<'_>, mention: &Mention<'_>) -> Option<Target> {
    let name = || Label { word: mention.word }.name().to_owned();
    Some(match mention.meaning {
        Meaning::Declared(symbol) | Meaning::Symbol(symbol) | Meaning::ShortFor(symbol) => Target::Symbol(symbol),
        Meaning::Output { node } => Target::Output { node, name: name() },
        Meaning::Metric { node } => Target::Metric { node, name: name() },
        Meaning::Column { schema: Some(schema), .. } | Meaning::ColumnDeclared { schema } => {
            Target::Column { schema: schema.to_owned(), name: name() }
        }
        Meaning::Part => Target::Part(name()),
        Meaning::Check | Meaning::CheckDeclared => {
            Target::Check { piece: view.document.piece_at(mention.word.start), name: name() }
        }
        Meaning::Export { module, symbol } => Target::Export { module, symbol },
        _ => return None,
    })
}

/// Returns every mention of a thing whose name is `name`. Looks only at declarations that have the word.
fn mentions_of<'a>(view: &View<'a>, target: &Target, name: &str) -> Vec<(usize, Mention<'a>)> {
    let text = view.document.text();
    let pieces: BTreeSet<usize> = text.match_indices(name).map(|(at, _)| view.document.piece_at(at)).collect();
    let mut found = Vec::new();
    for at in pieces {
        let Some(piece) = view.document.pieces().get(at) else { continue };
        let mentions = view.mentions_in(piece.range());
        let of_piece = mentions.into_iter().filter(|mention| piece.range().contains(&mention.word.start));
        found.extend(of_piece.filter(|m| self::target(view, m).as_ref() == Some(target)).map(|mention| (at, mention)));
    }
    // In a text that is wrong, one word may be read as two things: it is still one place.
    let mut until = 0;
    found.retain(|(_, mention)| {
        let is_apart = mention.word.start >= until;
        until = until.max(mention.word.end);
        is_apart
    });
    found
}

/// Why a name cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenameError {
    #[error("there is no name here")]
    NoName,
    #[error("`{0}` is a column: its name is that of the data")]
    Column(String),
    #[error("`{0}` is the name of an output or metric, which its operation gives")]
    Output(String),
    #[error("`{0}` is a part of the release, and released versions are asked for it by this name")]
    Part(String),
    #[error("`{0}` is declared in another file: rename it there")]
    Elsewhere(String),
    #[error("`{0}` is not a name: one has ASCII letters, digits and `_`, and does not begin with a digit")]
    NotAName(String),
    #[error("`{0}` is a word of the language")]
    Reserved(String),
    #[error("`{0}` is declared already, on line {1}")]
    Taken(String, usize),
    #[error("`{new}` means something else on line {line}, where `{old}` is used")]
    Shadowed { old: String, new: String, line: usize },
}

/// Returns the name at a byte, if it can be changed.
pub fn renameable<'a>(view: &View<'a>, at: usize) -> Result<Word<'a>, RenameError> {
    let mention = view.mention_at(at).ok_or(RenameError::NoName)?;
    let name = mention.word.text.to_owned();
    match mention.meaning {
        Meaning::Declared(_) | Meaning::Symbol(_) | Meaning::Check | Meaning::CheckDeclared => Ok(mention.word),
        Meaning::Column { .. } | Meaning::ColumnDeclared { .. } => Err(RenameError::Column(name)),
        Meaning::Output { .. } | Meaning::Metric { .. } => Err(RenameError::Output(name)),
        Meaning::Part => Err(RenameError::Part(name)),
        Meaning::Export { .. } => Err(RenameError::Elsewhere(name)),
        _ => Err(RenameError::NoName),
    }
}

/// Returns the edits that give the thing at a byte another name: bytes and what stands there then.
///
/// Where a bare name stands for a member or an argument of the same name, it is written out. Refuses a name under which
/// anything would mean something else.
pub fn rename(view: &View<'_>, at: usize, new: &str) -> Result<Vec<(Range<usize>, String)>, RenameError> {
    let word = renameable(view, at)?;
    let is_name = new.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && new.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(RenameError::NotAName(new.to_owned()));
    }
    if RESERVED.contains(&new) {
        return Err(RenameError::Reserved(new.to_owned()));
    }
    if new == word.text {
        return Ok(Vec::new());
    }
    let mention = view.mention_at(at).ok_or(RenameError::NoName)?;
    let target = target(view, &mention).ok_or(RenameError::NoName)?;
    let mentions = mentions_of(view, &target, word.text);
    refuse_taken(view, &target, new, &mentions)?;
    let edits: Vec<_> = mentions
        .iter()
        .map(|(piece, mention)| {
            let word = mention.word;
            let text = match mention.meaning {
                // The value keeps its name, and the argument gets its own.
                Meaning::ShortFor(_) => format!("{new}: {}", word.text),
                _ if is_short(view, *piece, &word) => format!("{}: {new}", word.text),
                _ => new.to_owned(),
            };
            (word.range(), text)
        })
        .collect();
    let is_symbol = matches!(target, Target::Symbol(_));
    if is_symbol {
        refuse_shadowed(view, &mentions, &edits, word.text, new)?;
    }
    Ok(edits)
}

fn refuse_taken(
    view: &View<'_>,
    target: &Target,
    new: &str,
    mentions: &[(usize, Mention<'_>)],
) -> Result<(), RenameError> {
    match target {
        Target::Symbol(symbol) => {
            let Some(symbol) = view.index.symbols.get(*symbol) else { return Ok(()) };
            if symbol.kind == SymbolKind::Pipeline {
                return Ok(());
            }
            let named = view.index.symbols.iter().filter(|other| other.name.text == new);
            let mut others = named.filter(|other| other.kind != SymbolKind::Pipeline);
            match others.find(|other| are_seen_together(view, symbol, other)) {
                Some(other) => Err(RenameError::Taken(new.to_owned(), view.document.line_of(other.name.start) + 1)),
                None => Ok(()),
            }
        }
        Target::Check { .. } => {
            let Some((piece, _)) = mentions.first() else { return Ok(()) };
            let Some(piece) = view.document.pieces().get(*piece) else { return Ok(()) };
            let mentions = view.mentions_in(piece.range());
            let taken = mentions.iter().find(|m| m.meaning == Meaning::CheckDeclared && m.word.text == new);
            let is_word = matches!(new, "first" | "only" | "refuse");
            match taken {
                _ if is_word => Err(RenameError::Reserved(new.to_owned())),
                Some(other) => Err(RenameError::Taken(new.to_owned(), view.document.line_of(other.word.start) + 1)),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Returns whether there is a place that would see both if they had one name.
fn are_seen_together(view: &View<'_>, one: &Symbol<'_>, other: &Symbol<'_>) -> bool {
    let sees = |from: &Symbol<'_>, to: &Symbol<'_>| {
        let mut is_in_template = false;
        let holders = view.index.around(from.within).map(Some).chain([None]);
        for holder in holders {
            if to.within == holder {
                return !is_in_template || to.kind.is_lasting();
            }
            is_in_template |= holder.is_some_and(|at| view.index.symbols[at].kind == SymbolKind::Template);
        }
        false
    };
    sees(one, other) || sees(other, one)
}

/// Applies the edits and looks whether each changed name still means the same thing, and no other name does.
fn refuse_shadowed(
    view: &View<'_>,
    mentions: &[(usize, Mention<'_>)],
    edits: &[(Range<usize>, String)],
    old: &str,
    new: &str,
) -> Result<(), RenameError> {
    let mut text = view.document.text().to_owned();
    for (range, edit) in edits.iter().rev() {
        text.replace_range(range.clone(), edit);
    }
    let document = Document::new(text);
    let mut facts = view.facts.clone();
    if let Some(Mention { meaning: Meaning::Declared(at) | Meaning::Symbol(at) | Meaning::ShortFor(at), .. }) =
        mentions.first().map(|(_, mention)| mention)
        && let Some(symbol) = view.index.symbols.get(*at)
    {
        let place = view.place(symbol);
        let moved = format!("{}{new}", place.strip_suffix(old).unwrap_or_default());
        move_place(&mut facts.params, &place, &moved);
        move_place(&mut facts.nodes, &place, &moved);
        move_place(&mut facts.schemas, &place, &moved);
    }
    let mut changed = View::new(&document, view.catalogue, &facts);
    changed.modules =
        view.modules.iter().map(|module| Module::new(module.alias, module.file, module.document)).collect();
    let (mut n_added, mut n_removed) = (0, 0);
    for ((range, edit), (_, mention)) in edits.iter().zip(mentions) {
        let end = range.start + n_added + edit.len() - n_removed;
        n_added += edit.len();
        n_removed += range.len();
        if matches!(mention.meaning, Meaning::ShortFor(_)) {
            continue;
        }
        let found = changed.mentions_in(end..end).into_iter().find(|m| m.word.end == end && m.word.text == new);
        let is_same = matches!(
            (found.map(|found| found.meaning), mention.meaning),
            (Some(Meaning::Declared(_)), Meaning::Declared(_)) | (Some(Meaning::Symbol(_)), Meaning::Symbol(_))
        );
        if !is_same {
            let line = view.document.line_of(range.start) + 1;
            return Err(RenameError::Shadowed { old: old.to_owned(), new: new.to_owned(), line });
        }
    }
    Ok(())
}

/// Gives another name to what is known under a place, and under all places in it.
fn move_place<T>(known: &mut HashMap<String, T>, old: &str, new: &str) {
    let is_in = |place: &str| place.strip_prefix(old).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let places: Vec<String> = known.keys().filter(|place| is_in(place)).cloned().collect();
    for place in places {
        if let Some(fact) = known.remove(&place) {
            known.insert(format!("{new}{}", &place[old.len()..]), fact);
        }
    }
}

/// Returns whether a bare name also names the member or argument that it is the value of.
fn is_short(view: &View<'_>, piece: usize, word: &Word<'_>) -> bool {
    let Some(decl) = view.document.pieces().get(piece).and_then(|piece| tree::read(view.document, piece)) else {
        return false;
    };
    let spot = super::spot::find(view, &decl, word.end);
    let Some(item) = spot.item.filter(|item| item.bare().is_some_and(|bare| bare == *word)) else { return false };
    let Some(group) = spot.group else { return false };
    match spot.call() {
        Some(call) => call.is_behind_named() && group.items.iter().any(|other| std::ptr::eq(other, item)),
        None => group.bracket == b'{',
    }
}
