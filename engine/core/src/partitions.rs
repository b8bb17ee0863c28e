//! What the results of a pipeline belong to, in a store that encrypts: a step's outputs to whatever its inputs belong to, and to
//! what it says itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use mlp_model::{Input, NodeKind, Part, Pipeline};

use crate::context::call_of;

/// The partitions of each node's outputs; none: they belong to the store's own.
pub(crate) struct Partitions {
    /// Empty where nobody says anything.
    of_nodes: Vec<Arc<[String]>>,
}

impl Partitions {
    pub fn new(pipeline: &Pipeline) -> Self {
        let calls = || pipeline.nodes.iter().enumerate().filter_map(|(idx, node)| Some((idx, call_of(node)?)));
        if calls().all(|(_, call)| call.options.partition.is_none()) {
            return Self { of_nodes: Vec::new() };
        }
        let mut of_nodes: Vec<BTreeSet<String>> = vec![BTreeSet::new(); pipeline.nodes.len()];
        let n_all = |of_nodes: &[BTreeSet<String>]| of_nodes.iter().map(BTreeSet::len).sum::<usize>();
        // Nodes read of those before them; but what is read of a release belongs to what the pipeline makes for it, further down.
        loop {
            let n_before = n_all(&of_nodes);
            for (idx, call) in calls() {
                let mut partitions = std::mem::take(&mut of_nodes[idx]);
                partitions.extend(call.options.partition.iter().map(|name| name.to_string()));
                for made in call.inputs.iter().filter_map(|(_, input)| made_by(pipeline, input)) {
                    partitions.extend(of_nodes[made].iter().cloned());
                }
                of_nodes[idx] = partitions;
            }
            if n_all(&of_nodes) == n_before {
                break;
            }
        }
        Self { of_nodes: of_nodes.into_iter().map(|names| names.into_iter().collect()).collect() }
    }

    pub fn of(&self, node: usize) -> Arc<[String]> {
        self.of_nodes.get(node).cloned().unwrap_or_default()
    }
}

/// Returns the node that makes what is read.
fn made_by(pipeline: &Pipeline, input: &Input) -> Option<usize> {
    match input {
        Input::Path { .. } => None,
        Input::Output { node, .. } => Some(*node),
        Input::Champion { release, part } => pipeline.nodes.iter().find_map(|node| match &node.kind {
            NodeKind::Release(declared) if declared.name == *release => match declared.parts.get(part)? {
                Part::Output { node, .. } | Part::Transform { node } => Some(*node),
                Part::Value(_) => None,
            },
            _ => None,
        }),
    }
}
