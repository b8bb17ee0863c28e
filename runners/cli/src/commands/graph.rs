//! `mlp graph FILE`: the pipeline's graph as a picture, or as text for Graphviz or Mermaid.

use std::fmt::Write;
use std::path::Path;

use mlp_model::{Node, NodeKind, Pipeline};

use crate::args::{GraphFormat, PipelineArgs};
use crate::compile::compile;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::picture::{self, Edge, Kind};
use crate::wiring;

pub fn graph(args: &PipelineArgs, format: GraphFormat, file: Option<&Path>, output: &Output) -> Result<Exit, Failure> {
    let mut compiled = compile(args, output)?;
    if compiled.unfolder.is_some() {
        // Only then is the store asked for anything.
        let engine = wiring::engine(wiring::open_store(&compiled.workspace)?)?;
        compiled.unfold(&engine, &[], output)?;
    }
    let pipeline = &compiled.pipeline;
    let edges = picture::edges(pipeline);
    let name = |at: usize| pipeline.nodes.get(at).map_or("", |node| node.name.as_str());
    if output.json {
        let nodes: Vec<_> = pipeline
            .nodes
            .iter()
            .map(|node| serde_json::json!({ "name": node.name, "kind": Kind::of(node).word(), "op": op(node) }))
            .collect();
        let edges: Vec<_> = edges
            .iter()
            .map(|edge| serde_json::json!({ "from": name(edge.from), "to": name(edge.to), "what": edge.what }))
            .collect();
        output.print_json(&serde_json::json!({ "pipeline": pipeline.name, "nodes": nodes, "edges": edges }));
        return Ok(Exit::Done);
    }
    let text = match format {
        GraphFormat::Dot => dot(pipeline, &edges),
        GraphFormat::Mermaid => mermaid(pipeline, &edges),
        GraphFormat::Svg => picture::draw(pipeline, &|_| None).map_err(|_| {
            let message = format!("a picture of {} nodes cannot be read", pipeline.nodes.len());
            Failure::usage(message).with_help("`--format dot` gives the whole graph to other programs")
        })?,
    };
    match file {
        None => output.print(text),
        Some(file) => std::fs::write(file, text)
            .map_err(|e| Failure::new(Exit::Environment, format!("cannot write `{}`: {e}", file.display())))?,
    }
    Ok(Exit::Done)
}

fn op(node: &Node) -> &str {
    if let NodeKind::Call(call) = &node.kind { &call.op } else { "" }
}

fn dot(pipeline: &Pipeline, edges: &[Edge]) -> String {
    let mut text = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n", pipeline.name);
    for node in &pipeline.nodes {
        let shape = match Kind::of(node) {
            Kind::Source => "cylinder",
            Kind::Gate => "diamond",
            Kind::Release => "house",
            Kind::Step => "box",
            Kind::Effect => "cds",
        };
        let op = op(node);
        let name = escaped(&node.name);
        let label = if op.is_empty() { name.clone() } else { format!("{name}\\n{op}") };
        let _ = writeln!(text, "  \"{name}\" [shape={shape}, label=\"{label}\"];");
    }
    for edge in edges {
        let label = if edge.what.is_empty() { String::new() } else { format!(" [label=\"{}\"]", edge.what) };
        let (from, to) = (&pipeline.nodes[edge.from].name, &pipeline.nodes[edge.to].name);
        let _ = writeln!(text, "  \"{}\" -> \"{}\"{label};", escaped(from), escaped(to));
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
        let (open, close) = match Kind::of(node) {
            Kind::Source => ("[(", ")]"),
            Kind::Gate => ("{", "}"),
            Kind::Release => ("([", "])"),
            Kind::Step => ("[", "]"),
            Kind::Effect => (">", "]"),
        };
        let _ = writeln!(text, "  {}{open}\"{label}\"{close}", id(&node.name));
    }
    for edge in edges {
        let label = if edge.what.is_empty() { String::new() } else { format!("|{}|", edge.what) };
        let (from, to) = (&pipeline.nodes[edge.from].name, &pipeline.nodes[edge.to].name);
        let _ = writeln!(text, "  {} -->{label} {}", id(from), id(to));
    }
    text
}
