//! Finds an order in which things can be checked, each after what it depends on, and refuses cycles.

use std::collections::HashMap;

use mlp_model::{ArgType, InputType, Span};

use super::Scope;
use super::calls::{CallInfo, Slot, WORTH_A_THREAD};
use super::champion::{Champion, ChampionPart};
use super::lists;
use super::names::{Entity, Followed};
use crate::ast::{Expr, ExprKind};
use crate::diagnostic::Diagnostic;
use crate::threads;

/// At most so many edges of a cycle are shown.
const MOST_LABELS: usize = 8;

/// An order in which each comes after all it depends on.
pub struct Order {
    pub order: Vec<usize>,
    /// By index: part of a cycle, so nothing is known of it.
    pub in_cycle: Vec<bool>,
}

/// Sorts by dependencies. Each cycle is told once, as a way along dependencies that closes.
pub fn sort<E: Copy>(edges: &[Vec<E>], to: impl Fn(&E) -> usize, mut on_cycle: impl FnMut(&[(usize, E)])) -> Order {
    let n_nodes = edges.len();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); n_nodes];
    let mut n_waiting: Vec<usize> = edges.iter().map(Vec::len).collect();
    for (node, edges) in edges.iter().enumerate() {
        for edge in edges {
            dependents[to(edge)].push(node);
        }
    }
    let mut order = Order { order: Vec::with_capacity(n_nodes), in_cycle: vec![false; n_nodes] };
    let mut is_done = vec![false; n_nodes];
    let mut ready: Vec<usize> = (0..n_nodes).rev().filter(|node| n_waiting[*node] == 0).collect();
    let mut next_stuck = 0;
    loop {
        while let Some(node) = ready.pop() {
            if std::mem::replace(&mut is_done[node], true) {
                continue;
            }
            order.order.push(node);
            for dependent in &dependents[node] {
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
        if next_stuck == n_nodes {
            return order;
        }
        let cycle = find_cycle(next_stuck, edges, &to, &is_done);
        on_cycle(&cycle);
        for (node, _) in &cycle {
            order.in_cycle[*node] = true;
            ready.push(*node);
        }
        if cycle.is_empty() {
            // Cannot be: something that is not done waits for something that is not done.
            ready.push(next_stuck);
        }
    }
}

/// Walks along dependencies from `start`, which waits for a cycle, until it closes.
fn find_cycle<E: Copy>(start: usize, edges: &[Vec<E>], to: &impl Fn(&E) -> usize, is_done: &[bool]) -> Vec<(usize, E)> {
    let mut path: Vec<(usize, E)> = Vec::new();
    let mut place_of: HashMap<usize, usize> = HashMap::new();
    let mut at = start;
    loop {
        if let Some(place) = place_of.get(&at) {
            return path.split_off(*place);
        }
        let Some(edge) = edges[at].iter().find(|edge| !is_done[to(edge)]).copied() else { return Vec::new() };
        place_of.insert(at, path.len());
        path.push((at, edge));
        at = to(&edge);
    }
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    to: usize,
    span: Span,
    /// Only the type depends: the bytes come from an earlier run.
    through_champion: bool,
    /// Only waits until it has ended.
    is_of_round: bool,
}

/// Sorts the calls and refuses cycles among them.
pub fn sort_calls(scope: &Scope<'_>, infos: &[CallInfo<'_>], champion: &Champion<'_>) -> CallOrder {
    let parts = threads::in_parts(infos, WORTH_A_THREAD, |part| {
        part.iter().map(|info| edges_of(&scope.of(info.inst), info, champion)).collect::<Vec<_>>()
    });
    let mut edges: Vec<Vec<Edge>> = parts.into_iter().flatten().collect();
    add_whole_rounds(infos, &mut edges);
    let Order { order, in_cycle } = sort(&edges, |edge| edge.to, |cycle| refuse_cycle(scope, infos, cycle));
    CallOrder { order, in_cycle, edges }
}

/// The order of calls, and what each depends on.
pub struct CallOrder {
    pub order: Vec<usize>,
    pub in_cycle: Vec<bool>,
    edges: Vec<Vec<Edge>>,
}

impl CallOrder {
    /// Returns the calls that a call reads from.
    pub fn reads(&self, call: usize) -> impl Iterator<Item = usize> + '_ {
        self.edges[call].iter().filter(|edge| !edge.is_of_round).map(|edge| edge.to)
    }

    /// Sorts calls, which are in order, into groups: within one none reads from another, and each group from earlier ones alone.
    pub fn waves(&self, calls: Vec<usize>) -> Vec<Vec<usize>> {
        let mut wave_of = vec![0; self.edges.len()];
        let mut waves: Vec<Vec<usize>> = Vec::new();
        for call in calls {
            let wave = self.reads(call).map(|read| wave_of[read] + 1).max().unwrap_or(0);
            wave_of[call] = wave;
            waves.resize_with(waves.len().max(wave + 1), Vec::new);
            waves[wave].push(call);
        }
        waves
    }
}

/// What reads of a loop that may lose rounds waits for all steps of all its rounds: only then it is known which there are.
fn add_whole_rounds(infos: &[CallInfo<'_>], edges: &mut [Vec<Edge>]) {
    let mut of_loops: HashMap<&str, Vec<usize>> = HashMap::new();
    for (call, info) in infos.iter().enumerate() {
        info.inst.lossy.iter().for_each(|round| of_loops.entry(&round.of).or_default().push(call));
    }
    for (info, edges) in infos.iter().zip(edges.iter_mut()).filter(|_| !of_loops.is_empty()) {
        let mut collected: Vec<(&str, Span)> = Vec::new();
        for edge in edges.iter().filter(|edge| !edge.through_champion) {
            let outside = infos[edge.to].inst.lossy.iter().filter(|round| !info.inst.lossy.contains(round));
            for round in outside {
                if collected.iter().all(|(known, _)| *known != round.of) {
                    collected.push((&round.of, edge.span));
                }
            }
        }
        let whole = collected.into_iter().flat_map(|(of, span)| of_loops[of].iter().map(move |&to| (to, span)));
        edges.extend(whole.map(|(to, span)| Edge { to, span, through_champion: false, is_of_round: true }));
    }
}

fn edges_of(scope: &Scope<'_>, info: &CallInfo<'_>, champion: &Champion<'_>) -> Vec<Edge> {
    let mut edges = Vec::new();
    // A round of a loop over a column needs the table.
    for index in scope.names.around(info.inst.within) {
        let info = &scope.names.loops[index];
        let Some(of) = &info.over else { continue };
        if let Followed::Found { entity: Entity::Call(call), .. } = scope.names.follow(info.env, &of.table) {
            edges.push(Edge { to: call, span: of.span, through_champion: false, is_of_round: false });
        }
    }
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
    match scope.follow(path) {
        Followed::Champion { path, .. } => {
            if let Some((_, _, ChampionPart::Output { call, .. })) = champion.part(&path) {
                edges.push(Edge { to: call, span: expr.span, through_champion: true, is_of_round: false });
            }
        }
        Followed::Found { entity: Entity::Call(call), .. } => {
            edges.push(Edge { to: call, span: expr.span, through_champion: false, is_of_round: false });
        }
        Followed::Found { entity: Entity::Loop(index), rest, .. } => {
            for item in lists::items(scope, index, &rest, expr.span).into_iter().flatten() {
                if let Followed::Found { entity: Entity::Call(call), .. } = item.followed {
                    edges.push(Edge { to: call, span: expr.span, through_champion: false, is_of_round: false });
                }
            }
        }
        _ => {}
    }
}

fn refuse_cycle(scope: &Scope<'_>, infos: &[CallInfo<'_>], cycle: &[(usize, Edge)]) {
    let name = |call: usize| infos[call].inst.name.as_ref();
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
        let verb = match edge {
            Edge { through_champion: true, .. } => "has the type of",
            Edge { is_of_round: true, .. } => "waits for whole rounds, and so for",
            Edge { .. } => "needs",
        };
        format!("`{}` {verb} `{}`", name(call), name(edge.to))
    };
    problem = problem.at(first_edge.span, needs(*first, first_edge));
    for (call, edge) in cycle.iter().skip(1).take(MOST_LABELS - 1) {
        problem = problem.and(edge.span, needs(*call, edge));
    }
    scope.report.add(problem);
}
