//! What of a pipeline is drawn: its nodes, with the rounds of a long loop as one.

use std::collections::{BTreeMap, BTreeSet};

use mlp_model::{CallClass, Node, NodeKind, Pipeline};

use super::edges::{Edge, edges};

/// A loop with more rounds than this is drawn as one round.
const MOST_ROUNDS: usize = 4;

/// The graph as it is drawn.
pub struct Graph {
    pub nodes: Vec<Shown>,
    /// Sorted, each once.
    pub edges: Vec<Edge>,
}

/// One box.
pub struct Shown {
    /// A name of the pipeline, or one for all rounds: `by_width[..].model`.
    pub name: String,
    pub kind: Kind,
    /// What it does; empty for gates and releases.
    pub op: String,
    /// What there is to say about it beyond that.
    pub remarks: Vec<String>,
    /// How many nodes it stands for; `None` while no run has told.
    pub n_nodes: Option<usize>,
    pub is_skipped: bool,
    /// The first of its nodes, by its place in the pipeline.
    pub first: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Source,
    Step,
    Effect,
    Gate,
    Release,
}

impl Kind {
    pub fn of(node: &Node) -> Self {
        match &node.kind {
            NodeKind::Call(call) if call.class == CallClass::Source => Self::Source,
            NodeKind::Call(call) if call.class == CallClass::Effect => Self::Effect,
            NodeKind::Call(_) => Self::Step,
            NodeKind::Gate(_) => Self::Gate,
            NodeKind::Release(_) => Self::Release,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Step => "step",
            Self::Effect => "effect",
            Self::Gate => "gate",
            Self::Release => "release",
        }
    }
}

impl Graph {
    pub fn of(pipeline: &Pipeline) -> Self {
        let mut members: BTreeMap<String, usize> = BTreeMap::new();
        for node in &pipeline.nodes {
            *members.entry(of_all_rounds(&node.name)).or_default() += 1;
        }
        let mut nodes: Vec<Shown> = Vec::new();
        let mut place_of_folded: BTreeMap<String, usize> = BTreeMap::new();
        let mut places = Vec::with_capacity(pipeline.nodes.len());
        for (at, node) in pipeline.nodes.iter().enumerate() {
            let folded = of_all_rounds(&node.name);
            let n_rounds = members.get(&folded).copied().unwrap_or(1);
            if n_rounds <= MOST_ROUNDS {
                places.push(nodes.len());
                nodes.push(shown(node, node.name.clone(), Some(1), at));
                continue;
            }
            let place = *place_of_folded.entry(folded.clone()).or_insert(nodes.len());
            places.push(place);
            if place == nodes.len() {
                let mut one = shown(node, folded, Some(n_rounds), at);
                one.remarks = vec![format!("stands for {n_rounds} steps")];
                nodes.push(one);
            } else if let Some(first) = nodes.get_mut(place) {
                first.is_skipped &= is_skipped(node);
            }
        }
        // The rounds of a loop never feed each other, so that folding them makes no circle.
        let moved =
            edges(pipeline).into_iter().map(|edge| Edge { from: places[edge.from], to: places[edge.to], ..edge });
        let edges: BTreeSet<Edge> = moved.collect();
        Self { nodes, edges: edges.into_iter().collect() }
    }
}

fn shown(node: &Node, name: String, n_nodes: Option<usize>, first: usize) -> Shown {
    let (op, mut remarks) = match &node.kind {
        NodeKind::Call(call) => {
            (call.op.to_string(), call.options.skip.iter().map(|why| format!("skipped: {why}")).collect())
        }
        _ => (String::new(), Vec::new()),
    };
    let waits = node.waits();
    if let Some(waits) = waits {
        remarks.push(format!("one round stands for all: those of `{}` are not known yet", waits.name));
    }
    let n_nodes = if waits.is_some() { None } else { n_nodes };
    Shown { name, kind: Kind::of(node), op, remarks, n_nodes, is_skipped: is_skipped(node), first }
}

fn is_skipped(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::Call(call) if call.options.skip.is_some())
}

/// Returns a name with `..` for what stands in its brackets: `by_width[..].model`.
fn of_all_rounds(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        folded.push(letter);
        if letter != '[' {
            continue;
        }
        folded.push_str("..");
        let (mut in_string, mut is_escaped) = (false, false);
        for inner in letters.by_ref() {
            match inner {
                _ if is_escaped => is_escaped = false,
                '\\' if in_string => is_escaped = true,
                '"' => in_string = !in_string,
                ']' if !in_string => break,
                _ => {}
            }
        }
        folded.push(']');
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_brackets_is_left_out_of_the_name_of_all_rounds() {
        for (name, folded) in [
            ("clean.filled", "clean.filled"),
            ("by_width[16].model", "by_width[..].model"),
            ("network[117].cv[3].fit", "network[..].cv[..].fit"),
            (r#"part["a]b\"]"].rows"#, "part[..].rows"),
            ("network[..].fit", "network[..].fit"),
        ] {
            assert_eq!(of_all_rounds(name), folded);
        }
    }
}
