//! What flows from node to node of a checked pipeline.

use mlp_model::{Input, NodeKind, NumExpr, Part, Pipeline};

/// An arrow of the graph. Nodes are meant by their place in the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    /// The output that flows, when it has a name of its own.
    pub what: String,
}

/// Returns all arrows, in the order of the nodes that they lead to.
pub fn edges(pipeline: &Pipeline) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (to, node) in pipeline.nodes.iter().enumerate() {
        let mut add = |from: usize, what: &str| {
            let what = if what == "out" { "" } else { what };
            edges.push(Edge { from, to, what: what.to_owned() });
        };
        match &node.kind {
            NodeKind::Call(call) => {
                for input in call.inputs.values() {
                    if let Input::Output { node: from, output } = input {
                        add(*from, output);
                    }
                }
                call.options.gates.iter().for_each(|from| add(*from, ""));
            }
            NodeKind::Gate(gate) => {
                let mut read = Vec::new();
                for check in &gate.checks {
                    metrics(&check.left, &mut read);
                    metrics(&check.right, &mut read);
                }
                read.sort_unstable();
                read.dedup();
                read.into_iter().for_each(|from| add(from, ""));
            }
            NodeKind::Release(release) => {
                for part in release.parts.values() {
                    match part {
                        Part::Output { node: from, output } => add(*from, output),
                        Part::Transform { node: from } => add(*from, "transform"),
                        Part::Value(_) => {}
                    }
                }
                release.gates.iter().for_each(|from| add(*from, ""));
            }
        }
    }
    edges
}

fn metrics(expr: &NumExpr, read: &mut Vec<usize>) {
    match expr {
        NumExpr::Number(_) => {}
        NumExpr::Metric { node, .. } => read.push(*node),
        NumExpr::Negate(inner) => metrics(inner, read),
        NumExpr::Fold { of, .. } => of.iter().for_each(|expr| metrics(expr, read)),
        NumExpr::Add(a, b) | NumExpr::Subtract(a, b) | NumExpr::Multiply(a, b) | NumExpr::Divide(a, b) => {
            metrics(a, read);
            metrics(b, read);
        }
    }
}
