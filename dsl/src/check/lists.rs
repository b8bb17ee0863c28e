//! What the rounds of a loop give, seen from outside: `by_season.model` is a list, one item for each value.

use mlp_model::Span;

use super::Scope;
use super::names::{Entity, Followed};
use super::rounds::plain_key;
use crate::ast::Name;
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// One item of a list.
pub struct Item<'p, 'a> {
    /// The values of the loops it is within, as a name: `north`, `1_2`.
    pub key: String,
    /// The same as nodes are called: `north`, `1,2`.
    pub round: String,
    pub followed: Followed<'p, 'a>,
}

/// Returns what `rest` means in each round of a loop; the empty list where that is not known.
pub fn items<'p, 'a>(
    scope: &Scope<'a>,
    index: usize,
    rest: &'p [Name<'a>],
    span: Span,
) -> Result<Vec<Item<'p, 'a>>, Box<Diagnostic>> {
    let mut found = Vec::new();
    collect(scope, index, rest, span, ("", ""), &mut found)?;
    Ok(found)
}

fn collect<'p, 'a>(
    scope: &Scope<'a>,
    index: usize,
    rest: &'p [Name<'a>],
    span: Span,
    (outer_key, outer_round): (&str, &str),
    found: &mut Vec<Item<'p, 'a>>,
) -> Result<(), Box<Diagnostic>> {
    let info = &scope.names.loops[index];
    let names = || info.decl.body.iter().filter_map(|decl| decl.head().1).map(|name| name.text);
    let shown = info.decl.name.text;
    let Some(first) = rest.first() else {
        let message = format!("`{shown}` is a whole loop, one step of it is needed");
        let problem = Diagnostic::error("E0211", message).at(span, format!("its steps are {}", listed(names(), "and")));
        let help = names().next().map(|name| format!("write `{shown}.{name}`, for example"));
        return Err(Box::new(problem.maybe_help(help)));
    };
    if !names().any(|name| name == first.text) {
        let problem = Diagnostic::error("E0211", format!("loop `{shown}` has no step `{}`", first.text))
            .at(first.span, format!("its steps are {}", listed(names(), "and")));
        return Err(Box::new(problem.maybe_help(scope.report.suggest(first.text, names()))));
    }
    for round in info.rounds.iter().flatten() {
        let key = plain_key(&round.key);
        let key = if outer_key.is_empty() { key } else { format!("{outer_key}_{key}") };
        let round_key = if outer_round.is_empty() { round.key.clone() } else { format!("{outer_round},{}", round.key) };
        match scope.names.follow(round.env, rest) {
            Followed::Found { entity: Entity::Loop(inner), rest: inner_rest, .. } => {
                // The way into a loop within the loop is the same path, further on.
                let rest = rest.get(rest.len() - inner_rest.len()..).unwrap_or_default();
                collect(scope, inner, rest, span, (&key, &round_key), found)?;
            }
            followed => found.push(Item { key, round: round_key, followed }),
        }
    }
    Ok(())
}

/// Says that a list stands where one thing is needed.
pub fn not_one(scope: &Scope<'_>, span: Span, needed: Option<&str>) -> Diagnostic {
    let written = scope.source.written(span);
    let needed = needed.map_or(String::new(), |needed| format!(", not {needed}"));
    Diagnostic::error("E0230", format!("`{written}` is a list, one item for each round{needed}"))
        .at(span, "which one?")
        .help(
            "a list can be the named artifacts of a step, and gates read it by `min`, `max`, `mean`, `sum` or `count`",
        )
}
