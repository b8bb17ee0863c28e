//! A checked pipeline as a directed acyclic graph: which node needs which, in what order, and how far the way is.
//!
//! Nodes keep the indices of [`Pipeline::nodes`]. Knows nothing of keys, results or what a node does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use mlp_model::{Input, Node, NodeKind, NumExpr, Part, Pipeline};
use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed};

/// A pipeline's nodes and the edges from each to those that need it.
#[derive(Debug)]
pub struct Graph {
    dag: DiGraph<(), ()>,
    order: Vec<usize>,
}

/// The pipeline is no directed acyclic graph; the checker lets none of these through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("steps depend on each other: {}", in_backticks(.names))]
    Cycle { names: Vec<String> },
    #[error("`{node}` needs something that the pipeline does not make: {what}")]
    Dangling { node: String, what: String },
}

impl Graph {
    pub fn new(pipeline: &Pipeline) -> Result<Self, GraphError> {
        let n_nodes = pipeline.nodes.len();
        let mut dag = DiGraph::with_capacity(n_nodes, n_nodes);
        for _ in 0..n_nodes {
            dag.add_node(());
        }
        let mut of_loops: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (idx, node) in pipeline.nodes.iter().enumerate() {
            node.rounds().iter().for_each(|round| of_loops.entry(&round.of).or_default().push(idx));
        }
        for (idx, node) in pipeline.nodes.iter().enumerate() {
            let mut inputs = needs(pipeline, node)?;
            for collected in loops_collected(pipeline, node, &inputs) {
                inputs.extend(&of_loops[collected]);
            }
            for input in inputs {
                dag.add_edge(NodeIndex::new(input), NodeIndex::new(idx), ());
            }
        }
        let order = topological_order(&dag);
        if order.len() < n_nodes {
            return Err(GraphError::Cycle { names: names_of_a_cycle(&dag, pipeline) });
        }
        Ok(Self { dag, order })
    }

    /// Returns all nodes, each after those it needs; among those that could be next, the one declared first.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Returns the nodes that `node` needs, each once, in the order of declaration. Who reads of a round of a loop that may lose
    /// some, without being in it, waits for all of all rounds: only then it is known which there are.
    pub fn inputs(&self, node: usize) -> Vec<usize> {
        let mut inputs: Vec<usize> = neighbours(&self.dag, node, Direction::Incoming).collect();
        inputs.sort_unstable();
        inputs
    }

    /// Returns, for each node, whether it is one of `targets` or needed by one.
    pub fn with_ancestors(&self, targets: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut is_wanted = vec![false; self.order.len()];
        let reversed = Reversed(&self.dag);
        let mut search = Dfs::empty(reversed);
        for target in targets {
            search.move_to(NodeIndex::new(target));
            while let Some(found) = search.next(reversed) {
                is_wanted[found.index()] = true;
            }
        }
        is_wanted
    }

    /// Returns, for each node, whether it is one of `starts` or needs one.
    pub fn with_descendants(&self, starts: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut is_found = vec![false; self.order.len()];
        let mut search = Dfs::empty(&self.dag);
        for start in starts {
            search.move_to(NodeIndex::new(start));
            while let Some(found) = search.next(&self.dag) {
                is_found[found.index()] = true;
            }
        }
        is_found
    }

    /// Returns, for each node, how long the longest way from it to an end is, itself included: the sum of the lengths
    /// on it. Only wanted nodes count.
    pub fn longest_ways(&self, is_wanted: &[bool], lengths: &[u64]) -> Vec<u64> {
        let mut ways = vec![0_u64; self.order.len()];
        for &node in self.order.iter().rev().filter(|&&node| is_wanted[node]) {
            let longest = neighbours(&self.dag, node, Direction::Outgoing).map(|next| ways[next]).max();
            ways[node] = longest.unwrap_or(0).saturating_add(lengths[node]);
        }
        ways
    }
}

fn neighbours(dag: &DiGraph<(), ()>, node: usize, direction: Direction) -> impl Iterator<Item = usize> + '_ {
    dag.neighbors_directed(NodeIndex::new(node), direction).map(|found| found.index())
}

fn topological_order(dag: &DiGraph<(), ()>) -> Vec<usize> {
    let n_nodes = dag.node_count();
    let mut n_missing: Vec<usize> =
        (0..n_nodes).map(|node| neighbours(dag, node, Direction::Incoming).count()).collect();
    let mut next: BinaryHeap<Reverse<usize>> = (0..n_nodes).filter(|&node| n_missing[node] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(n_nodes);
    while let Some(Reverse(node)) = next.pop() {
        order.push(node);
        for dependent in neighbours(dag, node, Direction::Outgoing) {
            n_missing[dependent] -= 1;
            if n_missing[dependent] == 0 {
                next.push(Reverse(dependent));
            }
        }
    }
    order
}

/// Returns the loops that may lose rounds, of which a node reads from outside.
fn loops_collected<'p>(pipeline: &'p Pipeline, node: &Node, inputs: &BTreeSet<usize>) -> BTreeSet<&'p str> {
    let read = inputs.iter().flat_map(|&input| pipeline.nodes[input].rounds());
    let is_outside = |of: &&str| node.rounds().iter().all(|own| own.of != **of);
    read.map(|round| round.of.as_str()).filter(is_outside).collect()
}

/// What a node reads of others; what it waits for besides is not here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// It cannot do without.
    pub needs: BTreeSet<usize>,
    /// It goes on without those whose rounds have failed.
    pub collects: BTreeSet<usize>,
}

impl Reads {
    pub(crate) fn of(pipeline: &Pipeline, idx: usize) -> Self {
        let mut reads = Self::default();
        match &pipeline.nodes[idx].kind {
            NodeKind::Call(call) => {
                for (name, input) in call.inputs.iter() {
                    let Input::Output { node, .. } = input else { continue };
                    let is_collected = call.options.collects.contains(name);
                    let set = if is_collected { &mut reads.collects } else { &mut reads.needs };
                    set.insert(*node);
                }
                reads.needs.extend(call.options.waits.iter().map(|waits| waits.node));
                reads.needs.extend(&call.options.gates);
            }
            NodeKind::Gate(gate) => {
                for side in gate.checks.iter().flat_map(|check| [&check.left, &check.right]) {
                    read_by(side, false, pipeline, &mut reads);
                }
            }
            NodeKind::Release(release) => {
                reads.needs.extend(release.parts.values().filter_map(|part| match part {
                    Part::Output { node, .. } | Part::Transform { node } => Some(*node),
                    Part::Value(_) => None,
                }));
                reads.needs.extend(&release.gates);
            }
        }
        let needs = &reads.needs;
        reads.collects.retain(|node| !needs.contains(node));
        reads
    }
}

/// Adds what an expression of a gate reads: one number of many is made of those that there are.
fn read_by(expr: &NumExpr, is_folded: bool, pipeline: &Pipeline, reads: &mut Reads) {
    match expr {
        NumExpr::Number(_) => {}
        NumExpr::Metric { node, .. } => {
            let may_be_lost = is_folded && !pipeline.nodes[*node].rounds().is_empty();
            let set = if may_be_lost { &mut reads.collects } else { &mut reads.needs };
            set.insert(*node);
        }
        NumExpr::Negate(inner) => read_by(inner, is_folded, pipeline, reads),
        NumExpr::Fold { of, .. } => of.iter().for_each(|expr| read_by(expr, true, pipeline, reads)),
        NumExpr::Add(left, right)
        | NumExpr::Subtract(left, right)
        | NumExpr::Multiply(left, right)
        | NumExpr::Divide(left, right) => {
            [left, right].into_iter().for_each(|side| read_by(side, is_folded, pipeline, reads));
        }
    }
}

/// Returns the nodes that `node` needs, checked to exist and to make what is asked of them.
fn needs(pipeline: &Pipeline, node: &Node) -> Result<BTreeSet<usize>, GraphError> {
    let mut found = BTreeSet::new();
    let dangling = |what: String| GraphError::Dangling { node: node.name.clone(), what };
    let mut add = |idx: usize, output: Option<&str>| match pipeline.nodes.get(idx) {
        None => Err(dangling(format!("node number {idx}"))),
        Some(maker) => match (&maker.kind, output) {
            (NodeKind::Call(call), Some(output)) if call.output(output).is_none() => {
                Err(dangling(format!("`{}.{output}`", maker.name)))
            }
            (NodeKind::Gate(_) | NodeKind::Release(_), Some(output)) => {
                Err(dangling(format!("`{}.{output}`", maker.name)))
            }
            _ => {
                found.insert(idx);
                Ok(())
            }
        },
    };
    match &node.kind {
        NodeKind::Call(call) => {
            for input in call.inputs.values() {
                if let Input::Output { node, output } = input {
                    add(*node, Some(output))?;
                }
            }
            if let Some(waits) = &call.options.waits {
                add(waits.node, Some(&waits.output))?;
            }
            for gate in &call.options.gates {
                add(*gate, None)?;
            }
        }
        NodeKind::Gate(gate) => {
            for metric_node in gate.checks.iter().flat_map(|check| [&check.left, &check.right]).flat_map(metric_nodes) {
                add(metric_node, None)?;
            }
        }
        NodeKind::Release(release) => {
            for part in release.parts.values() {
                match part {
                    Part::Output { node, output } => add(*node, Some(output))?,
                    Part::Transform { node } => add(*node, None)?,
                    Part::Value(_) => {}
                }
            }
            for gate in &release.gates {
                add(*gate, None)?;
            }
        }
    }
    Ok(found)
}

/// Returns the nodes whose metrics an expression reads.
pub(crate) fn metric_nodes(expr: &NumExpr) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            NumExpr::Number(_) => {}
            NumExpr::Metric { node, .. } => found.push(*node),
            NumExpr::Negate(inner) => open.push(inner),
            NumExpr::Fold { of, .. } => open.extend(of),
            NumExpr::Add(left, right)
            | NumExpr::Subtract(left, right)
            | NumExpr::Multiply(left, right)
            | NumExpr::Divide(left, right) => open.extend([&**left, &**right]),
        }
    }
    found
}

fn names_of_a_cycle(dag: &DiGraph<(), ()>, pipeline: &Pipeline) -> Vec<String> {
    let is_circular = |group: &Vec<NodeIndex>| match group.as_slice() {
        [only] => dag.contains_edge(*only, *only),
        _ => true,
    };
    let mut group = tarjan_scc(dag).into_iter().find(is_circular).unwrap_or_default();
    group.sort();
    group.iter().map(|found| pipeline.nodes[found.index()].name.clone()).collect()
}

fn in_backticks(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mlp_model::{Call, CallClass, Named, Options, Output, Span, Type};

    use super::*;

    /// A pipeline of steps `s0`, `s1`, .. with these nodes as inputs.
    fn pipeline(inputs: &[&[usize]]) -> Pipeline {
        let step = |(idx, inputs): (usize, &&[usize])| {
            let bind = |&node: &usize| (format!("in{node}"), Input::Output { node, output: "out".into() });
            let call = Call {
                class: CallClass::Step,
                op: "sh".into(),
                op_version: 1,
                runner: "process".into(),
                params: Named::new(),
                inputs: inputs.iter().map(bind).collect(),
                outputs: vec![Output { name: "out".into(), ty: Type::File, optional: false }],
                options: Options::default(),
                arg_spans: Named::new(),
            };
            Node {
                name: format!("s{idx}"),
                doc: String::new(),
                span: Span::default(),
                kind: NodeKind::Call(Box::new(call)),
            }
        };
        let nodes = inputs.iter().enumerate().map(step).collect();
        Pipeline { name: "p".into(), doc: String::new(), params: BTreeMap::new(), nodes, sources: vec![] }
    }

    #[test]
    fn order_follows_needs_then_declaration() {
        // s0 needs s3, which is declared after it.
        let graph = Graph::new(&pipeline(&[&[3], &[], &[1], &[], &[]])).unwrap();
        assert_eq!(graph.order(), [1, 2, 3, 0, 4]);
    }

    #[test]
    fn only_ancestors_of_the_targets_are_wanted_and_counted() {
        let graph = Graph::new(&pipeline(&[&[], &[0], &[1], &[0], &[2, 3]])).unwrap();
        let all = graph.with_ancestors([4]);
        assert_eq!((&all, graph.longest_ways(&all, &[1; 5])), (&vec![true; 5], vec![4, 3, 2, 2, 1]));
        let some = graph.with_ancestors([3]);
        assert_eq!(some, [true, false, false, true, false]);
        assert_eq!(graph.longest_ways(&some, &[1; 5]), [2, 0, 0, 1, 0]);
        assert_eq!(graph.longest_ways(&all, &[1, 0, 5, 20, 2]), [23, 7, 7, 22, 2]);
        assert_eq!(graph.with_descendants([1]), [false, true, true, false, true]);
    }

    #[test]
    fn a_circle_or_a_missing_output_is_named() {
        let message = |pipeline: &Pipeline| Graph::new(pipeline).unwrap_err().to_string();
        assert_eq!(message(&pipeline(&[&[], &[0, 3], &[1], &[2]])), "steps depend on each other: `s1`, `s2`, `s3`");
        assert_eq!(message(&pipeline(&[&[0]])), "steps depend on each other: `s0`");
        let nowhere = "`s0` needs something that the pipeline does not make: node number 7";
        assert_eq!(message(&pipeline(&[&[7]])), nowhere);
        let mut no_output = pipeline(&[&[], &[0]]);
        let NodeKind::Call(call) = &mut no_output.nodes[0].kind else { panic!() };
        call.outputs.clear();
        let nothing = "`s1` needs something that the pipeline does not make: `s0.out`";
        assert_eq!(message(&no_output), nothing);
    }
}
