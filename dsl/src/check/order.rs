//! Finds the order in which calls can be checked, and refuses cycles.

use mlp_model::{ArgType, InputType, Span};

use super::Scope;
use super::calls::{CallInfo, Slot};
use super::champion::{Champion, ChampionPart};
use super::names::Entity;
use crate::ast::{Expr, ExprKind};
use crate::diagnostic::Diagnostic;

/// At most so many edges of a cycle are shown.
const MOST_LABELS: usize = 8;

/// An order of calls in which each comes after all it depends on.
pub struct Order {
    pub calls: Vec<usize>,
    /// By call: part of a cycle, so its type is unknown.
    pub in_cycle: Vec<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    to: usize,
    span: Span,
    /// Only the type depends: the bytes come from an earlier run.
    through_champion: bool,
}

pub fn sort(scope: &Scope<'_>, infos: &[CallInfo<'_>], champion: &Champion<'_>) -> Order {
    let edges: Vec<Vec<Edge>> = infos.iter().map(|info| edges_of(scope, info, champion)).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); infos.len()];
    let mut n_waiting: Vec<usize> = edges.iter().map(Vec::len).collect();
    for (call, edges) in edges.iter().enumerate() {
        for edge in edges {
            dependents[edge.to].push(call);
        }
    }
    let mut order = Order { calls: Vec::with_capacity(infos.len()), in_cycle: vec![false; infos.len()] };
    let mut is_done = vec![false; infos.len()];
    let mut ready: Vec<usize> = (0..infos.len()).rev().filter(|call| n_waiting[*call] == 0).collect();
    let mut next_stuck = 0;
    loop {
        while let Some(call) = ready.pop() {
            if std::mem::replace(&mut is_done[call], true) {
                continue;
            }
            order.calls.push(call);
            for dependent in &dependents[call] {
                n_waiting[*dependent] -= 1;
                if n_waiting[*dependent] == 0 {
                    ready.push(*dependent);
                }
            }
        }
        // Everything left is in a cycle or waits for one.
        while is_done.get(next_stuck) == Some(&true) {
            next_stuck += 1;
        }
        if next_stuck == infos.len() {
            return order;
        }
        let cycle = find_cycle(next_stuck, &edges, &is_done);
        refuse_cycle(scope, infos, &cycle);
        for (call, _) in &cycle {
            order.in_cycle[*call] = true;
            ready.push(*call);
        }
    }
}

fn edges_of(scope: &Scope<'_>, info: &CallInfo<'_>, champion: &Champion<'_>) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (formal, value) in info.formals.iter().zip(&info.bound) {
        let Some(value) = value else { continue };
        match formal.slot {
            Slot::Whole(argument) => match &argument.ty {
                ArgType::Input(InputType::Record) => match &value.kind {
                    ExprKind::Record(fields) => {
                        fields.iter().for_each(|field| add_edge(scope, &field.value, champion, &mut edges));
                    }
                    _ => add_edge(scope, value, champion, &mut edges),
                },
                ArgType::Input(_) => add_edge(scope, value, champion, &mut edges),
                ArgType::Param(_) => {}
            },
            Slot::Model(_) | Slot::Data(_) => add_edge(scope, value, champion, &mut edges),
        }
    }
    edges
}

fn add_edge(scope: &Scope<'_>, expr: &Expr<'_>, champion: &Champion<'_>, edges: &mut Vec<Edge>) {
    let ExprKind::Path(path) = &expr.kind else { return };
    let Some(first) = path.first() else { return };
    if first.text == "champion" {
        if let Some((_, _, ChampionPart::Output { call, .. })) = champion.part(path) {
            edges.push(Edge { to: call, span: expr.span, through_champion: true });
        }
    } else if let Some(Entity::Call(call)) = scope.names.get(first.text) {
        edges.push(Edge { to: call, span: expr.span, through_champion: false });
    }
}

/// Walks along dependencies from `start`, which waits for a cycle, until it closes.
fn find_cycle(start: usize, edges: &[Vec<Edge>], is_done: &[bool]) -> Vec<(usize, Edge)> {
    let mut path: Vec<(usize, Edge)> = Vec::new();
    let mut place_of: std::collections::HashMap<usize, usize> = std::collections::HashMap::new();
    let mut at = start;
    loop {
        if let Some(place) = place_of.get(&at) {
            return path.split_off(*place);
        }
        let Some(edge) = edges[at].iter().find(|edge| !is_done[edge.to]).copied() else {
            // Cannot be: something that is not done waits for something that is not done.
            return vec![(at, Edge { to: at, span: Span::default(), through_champion: false })];
        };
        place_of.insert(at, path.len());
        path.push((at, edge));
        at = edge.to;
    }
}

fn refuse_cycle(scope: &Scope<'_>, infos: &[CallInfo<'_>], cycle: &[(usize, Edge)]) {
    let name = |call: usize| infos[call].decl.name.text;
    let Some((first, first_edge)) = cycle.first() else { return };
    let mut chain: Vec<_> = cycle.iter().take(MOST_LABELS).map(|(call, _)| format!("`{}`", name(*call))).collect();
    if cycle.len() > MOST_LABELS {
        chain.push("..".to_owned());
    }
    chain.push(format!("`{}`", name(*first)));
    let chain = chain.join(" -> ");
    let mut problem = if let Some((call, edge)) = cycle.iter().find(|(_, edge)| edge.through_champion) {
        let _ = call;
        Diagnostic::error(
            "E0210",
            format!("the type of `{}` depends on itself: {chain}", scope.source.written(edge.span)),
        )
        .help("what is released must not be made from the champion")
    } else if cycle.len() == 1 {
        Diagnostic::error("E0209", format!("step `{}` depends on itself", name(*first)))
    } else {
        Diagnostic::error("E0209", format!("steps depend on each other: {chain}"))
    };
    let needs = |call: usize, edge: &Edge| {
        let verb = if edge.through_champion { "has the type of" } else { "needs" };
        format!("`{}` {verb} `{}`", name(call), name(edge.to))
    };
    problem = problem.at(first_edge.span, needs(*first, first_edge));
    for (call, edge) in cycle.iter().skip(1).take(MOST_LABELS - 1) {
        problem = problem.and(edge.span, needs(*call, edge));
    }
    scope.report.add(problem);
}
