//! Lists that are folded together: `min(network.quality.auc - baseline.quality.auc)`. What belongs together is said by the values
//! of the loops, never by the place in a list.

use std::collections::{HashMap, HashSet};

use mlp_model::Span;

use super::Scope;
use super::columns::OPEN_KEY;
use super::lists;
use super::names::{Entity, Followed};
use crate::ast::{Expr, Name};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// So many rounds that one list lacks are named.
const MOST_NAMED: usize = 4;

/// One round: what each list, by the place where it is written, stands for in it.
pub struct Round<'a> {
    items: HashMap<Span, Option<(usize, Vec<Name<'a>>)>>,
}

impl<'a> Round<'a> {
    /// Returns the call, and what of it, that a list stands for; `None` within is something that has no figures.
    pub fn item(&self, written: Span) -> Option<&Option<(usize, Vec<Name<'a>>)>> {
        self.items.get(&written)
    }
}

struct List<'a> {
    span: Span,
    /// By round.
    items: Vec<(String, Option<(usize, Vec<Name<'a>>)>)>,
}

/// Returns the rounds of the lists that stand in an expression, each with what they are in it; `None` if there is no list in it.
pub fn rounds<'a>(scope: &Scope<'a>, expr: &Expr<'a>) -> Option<Result<Vec<Round<'a>>, Box<Diagnostic>>> {
    let mut paths: Vec<&[Name<'a>]> = Vec::new();
    expr.each_path(&mut |path| paths.push(path));
    let mut all = Vec::new();
    for path in paths {
        let Followed::Found { entity: Entity::Loop(index), rest, .. } = scope.follow(path) else { continue };
        if scope.names.loops[index].rounds.is_none() {
            // What it goes over is wrong, which has been told.
            return Some(Ok(Vec::new()));
        }
        let (first, last) = (path.first()?, path.last()?);
        let span = Span { end: last.span.end, ..first.span };
        match lists::items(scope, index, &rest, span) {
            Ok(items) => {
                let of = |followed| match followed {
                    Followed::Found { entity: Entity::Call(call), rest, .. } => Some((call, rest.into_owned())),
                    _ => None,
                };
                let items = items.into_iter().map(|item| (item.round, of(item.followed))).collect();
                all.push(List { span, items });
            }
            Err(problem) => return Some(Err(problem)),
        }
    }
    let (first, others) = all.split_first()?;
    for other in others {
        if let Some(problem) = difference(scope, first, other) {
            return Some(Err(Box::new(problem)));
        }
    }
    // Of lists whose rounds are not known yet, one round stands for all.
    let is_open = |list: &&List<'_>| list.items.iter().any(|(round, _)| has_open(round));
    let shortest = all.iter().find(is_open).unwrap_or(first);
    let by_round: Vec<HashMap<&str, &Option<_>>> =
        all.iter().map(|list| list.items.iter().map(|(round, item)| (round.as_str(), item)).collect()).collect();
    let rounds = shortest.items.iter().map(|(round, _)| {
        let items = all.iter().zip(&by_round).map(|(list, by_round)| {
            let item = by_round.get(round.as_str()).copied().or(list.items.first().map(|(_, item)| item));
            (list.span, item.cloned().flatten())
        });
        Round { items: items.collect() }
    });
    Some(Ok(rounds.collect()))
}

fn has_open(round: &str) -> bool {
    round.split(',').any(|key| key == OPEN_KEY)
}

/// Says which rounds two lists do not share.
fn difference(scope: &Scope<'_>, one: &List<'_>, other: &List<'_>) -> Option<Diagnostic> {
    if one.items.iter().chain(&other.items).any(|(round, _)| has_open(round)) {
        return None;
    }
    let missing = |from: &List<'_>, of: &List<'_>| {
        let there: HashSet<&str> = from.items.iter().map(|(round, _)| round.as_str()).collect();
        of.items
            .iter()
            .map(|(round, _)| round.clone())
            .filter(|round| !there.contains(round.as_str()))
            .collect::<Vec<_>>()
    };
    let (in_one, in_other) = (missing(one, other), missing(other, one));
    if in_one.is_empty() && in_other.is_empty() {
        return None;
    }
    let label = |missing: &[String]| match missing {
        [] => "has all rounds of the other".to_owned(),
        [only] => format!("has no round `{only}`"),
        several => {
            let named = several.iter().take(MOST_NAMED).map(String::as_str);
            let more = several.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            format!("has no rounds {}{more}", listed(named, "and"))
        }
    };
    let (shown, other_shown) = (scope.source.written(one.span), scope.source.written(other.span));
    let message = format!("`{shown}` and `{other_shown}` are folded together, and their loops have other rounds");
    Some(
        Diagnostic::error("E0234", message)
            .at(other.span, label(&in_other))
            .and(one.span, label(&in_one))
            .help("let both loops go over the same values, or fold each by itself: `min(a.figure) - min(b.figure)`"),
    )
}
