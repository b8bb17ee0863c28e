//! Finds the node that a person means, and says what they may have meant when there is none.

use mlp_model::{Digest, NodeKind, Pipeline, Record, Stored, Timestamp};

/// A name that the pipeline does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    pub name: String,
    /// The most similar name, if one is similar enough.
    pub suggestion: Option<String>,
}

/// Finds a node by its name, or by the name of one of its outputs: `parts.test`.
pub fn find_node(pipeline: &Pipeline, name: &str) -> Result<usize, UnknownName> {
    if let Some((idx, _)) = pipeline.node(name) {
        return Ok(idx);
    }
    if let Some((node_name, output)) = name.rsplit_once('.')
        && let Some((idx, node)) = pipeline.node(node_name)
        && matches!(&node.kind, NodeKind::Call(call) if call.output(output).is_some())
    {
        return Ok(idx);
    }
    let suggestion = most_similar(name, pipeline.nodes.iter().map(|node| node.name.as_str()));
    Err(UnknownName { name: name.to_owned(), suggestion })
}

/// Finds the nodes that a name means: one node, or all that came from a call of a `def` or from a loop of that name.
pub fn find_nodes(pipeline: &Pipeline, name: &str) -> Result<Vec<usize>, UnknownName> {
    let unknown = match find_node(pipeline, name) {
        Ok(node) => return Ok(vec![node]),
        Err(unknown) => unknown,
    };
    let is_within = |node: &str| node.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '[']));
    let nodes = pipeline.nodes.iter().enumerate().filter(|(_, node)| is_within(&node.name)).map(|(idx, _)| idx);
    let nodes: Vec<_> = nodes.collect();
    if nodes.is_empty() { Err(unknown) } else { Ok(nodes) }
}

/// Returns the candidate that differs from `name` by the fewest edits, if that is at most a third of its letters.
pub fn most_similar<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let max_edits = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(n_edits, _)| *n_edits <= max_edits)
        .min_by_key(|(n_edits, _)| *n_edits)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Returns an id for a registry record that no other record of any store has.
///
/// Made from what the record says and from the record before it, so that two histories meet in an id only where they
/// are the same history.
pub(crate) fn unique_id(parts: &[&str], version: u64, at: Timestamp, before: &[Stored]) -> String {
    let mut bytes = Vec::new();
    let mut add = |text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    parts.iter().for_each(|part| add(part));
    add(&version.to_string());
    add(&at.0.to_string());
    add(&before.len().to_string());
    if let Some(
        Record::Released { id, .. }
        | Record::RolledBack { id, .. }
        | Record::HoldLifted { id, .. }
        | Record::Collected { id, .. }
        | Record::Erased { id, .. },
    ) = before.last().map(|stored| &stored.record)
    {
        add(id);
    }
    Digest::of(&bytes).to_string()[..32].to_owned()
}
