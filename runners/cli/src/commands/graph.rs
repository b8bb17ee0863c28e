//! `mlp graph FILE`: the pipeline's graph for Graphviz or Mermaid.

use std::fmt::Write;

use mlp_model::{Input, Node, NodeKind, NumExpr, Part, Pipeline};

use crate::args::{GraphFormat, PipelineArgs};
use crate::compile::compile;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::wiring;

pub fn graph(args: &PipelineArgs, format: GraphFormat, output: &Output) -> Result<Exit, Failure> {
    let mut compiled = compile(args, output)?;
    if compiled.unfolder.is_some() {
        // Only then is the store asked for anything.
        let engine = wiring::engine(wiring::open_store(&compiled.workspace)?)?;
        compiled.unfold(&engine, &[], output)?;
    }
    let edges = edges(&compiled.pipeline);
    if output.json {
        let nodes: Vec<_> = compiled
            .pipeline
            .nodes
            .iter()
            .map(|node| serde_json::json!({ "name": node.name, "kind": kind_word(node), "op": op(node) }))
            .collect();
        let edges: Vec<_> = edges
            .iter()
            .map(|edge| serde_json::json!({ "from": edge.from, "to": edge.to, "what": edge.what }))
            .collect();
        output.print_json(&serde_json::json!({ "pipeline": compiled.pipeline.name, "nodes": nodes, "edges": edges }));
        return Ok(Exit::Done);
    }
    output.print(match format {
        GraphFormat::Dot => dot(&compiled.pipeline, &edges),
        GraphFormat::Mermaid => mermaid(&compiled.pipeline, &edges),
    });
    Ok(Exit::Done)
}

struct Edge {
    from: String,
    to: String,
    /// The output that flows, when it has a name of its own.
    what: String,
}

fn edges(pipeline: &Pipeline) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut add = |from: usize, to: &Node, what: &str| {
        if let Some(source) = pipeline.nodes.get(from) {
            let what = if what == "out" { "" } else { what };
            edges.push(Edge { from: source.name.clone(), to: to.name.clone(), what: what.to_owned() });
        }
    };
    for node in &pipeline.nodes {
        match &node.kind {
            NodeKind::Call(call) => {
                for input in call.inputs.values() {
                    if let Input::Output { node: from, output } = input {
                        add(*from, node, output);
                    }
                }
            }
            NodeKind::Gate(gate) => {
                let mut read = Vec::new();
                for check in &gate.checks {
                    metrics(&check.left, &mut read);
                    metrics(&check.right, &mut read);
                }
                read.sort_unstable();
                read.dedup();
                read.into_iter().for_each(|from| add(from, node, ""));
            }
            NodeKind::Release(release) => {
                for part in release.parts.values() {
                    match part {
                        Part::Output { node: from, output } => add(*from, node, output),
                        Part::Transform { node: from } => add(*from, node, "transform"),
                        Part::Value(_) => {}
                    }
                }
                release.gates.iter().for_each(|from| add(*from, node, ""));
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

fn kind_word(node: &Node) -> &'static str {
    match &node.kind {
        NodeKind::Call(call) if call.class == mlp_model::CallClass::Source => "source",
        NodeKind::Call(_) => "step",
        NodeKind::Gate(_) => "gate",
        NodeKind::Release(_) => "release",
    }
}

fn op(node: &Node) -> &str {
    if let NodeKind::Call(call) = &node.kind { &call.op } else { "" }
}

fn dot(pipeline: &Pipeline, edges: &[Edge]) -> String {
    let mut text = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n", pipeline.name);
    for node in &pipeline.nodes {
        let shape = match kind_word(node) {
            "source" => "cylinder",
            "gate" => "diamond",
            "release" => "house",
            _ => "box",
        };
        let op = op(node);
        let name = escaped(&node.name);
        let label = if op.is_empty() { name.clone() } else { format!("{name}\\n{op}") };
        let _ = writeln!(text, "  \"{name}\" [shape={shape}, label=\"{label}\"];");
    }
    for edge in edges {
        let label = if edge.what.is_empty() { String::new() } else { format!(" [label=\"{}\"]", edge.what) };
        let _ = writeln!(text, "  \"{}\" -> \"{}\"{label};", escaped(&edge.from), escaped(&edge.to));
    }
    text.push_str("}\n");
    text
}

/// Writes a name for a string of Graphviz: those of rounds can hold quotes.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}

fn mermaid(pipeline: &Pipeline, edges: &[Edge]) -> String {
    // What an id cannot hold is written as its number.
    let id = |name: &str| {
        let letter = |c: char| match c {
            '.' => "_".to_owned(),
            c if c.is_ascii_alphanumeric() || c == '_' => c.to_string(),
            c => format!("_{:x}", u32::from(c)),
        };
        name.chars().map(letter).collect::<String>()
    };
    let mut text = String::from("flowchart LR\n");
    for node in &pipeline.nodes {
        let op = op(node);
        let name = node.name.replace('"', "#quot;");
        let label = if op.is_empty() { name } else { format!("{name}<br/>{op}") };
        let (open, close) = match kind_word(node) {
            "source" => ("[(", ")]"),
            "gate" => ("{", "}"),
            "release" => ("([", "])"),
            _ => ("[", "]"),
        };
        let _ = writeln!(text, "  {}{open}\"{label}\"{close}", id(&node.name));
    }
    for edge in edges {
        let label = if edge.what.is_empty() { String::new() } else { format!("|{}|", edge.what) };
        let _ = writeln!(text, "  {} -->{label} {}", id(&edge.from), id(&edge.to));
    }
    text
}
