//! The page of a pipeline, or of a module of the workspace.

use std::collections::BTreeMap;

use mlp_dsl::Severity;
use mlp_dsl::analysis::describe;
use mlp_dsl::reference::{Content, Declared};
use mlp_model::{NodeKind, Output};

use super::declared::Place;
use super::page::{Page, Writer, block, code};
use super::{File, Site, Target, columns, library, markdown};
use crate::picture::{self, escaped};
use crate::report::words;

pub fn page(site: &Site<'_>, file: &File<'_>) -> Page {
    let place = Place { site, reference: &file.reference, page: &file.page, file: Some(&file.source.path) };
    let mut writer = Writer::new(&file.page);
    let title = file.title();
    let word = if file.is_module() { "module" } else { "pipeline" };
    writer.html(format!("<h1>{word} {}</h1>", code(&title)));
    writer.html(format!("<p class=\"path\">{}</p>", escaped(&file.source.path)));
    place.doc(&mut writer, &file.reference.doc);
    for one in file.reference.declared.iter().filter(|one| one.word == "pipeline") {
        place.doc(&mut writer, &one.doc);
    }
    mistakes(&mut writer, file);
    if let Some(pipeline) = file.pipeline() {
        // Names of rounds and of expanded steps lead to the declaration that makes them.
        let link = |node: &mlp_model::Node| Some(format!("#{}", node.name.split(['.', '[']).next()?));
        writer.heading(2, "section-graph", "Graph");
        match picture::draw(pipeline, &link) {
            Ok(svg) => writer.html(format!("<div class=\"graph\">{}</div>", svg.trim_end())),
            Err(picture::TooLarge) => writer
                .text("p", &format!("{} nodes are too many for a picture.", words::count(pipeline.nodes.len() as u64))),
        };
    }
    place.uses(&mut writer);
    place.values(&mut writer);
    place.schemas(&mut writer);
    place.defs(&mut writer);
    Steps { place: &place, known: known(file) }.write(&mut writer);
    decisions(&place, &mut writer);
    others(&place, &mut writer);
    writer.finish(&format!("{word} {title}"))
}

fn mistakes(writer: &mut Writer, file: &File<'_>) {
    let Some(checked) = file.source.checked.as_ref().filter(|checked| checked.pipeline.is_none()) else { return };
    let errors: Vec<_> = checked.diagnostics.iter().filter(|one| one.severity == Severity::Error).collect();
    writer.html("<div class=\"mistakes\">");
    writer.text("p", "This file does not check; what depends on its mistakes is left out here.");
    writer.html("<ul>");
    for error in errors {
        writer.text("li", &format!("{}: {}", error.code, error.message));
    }
    writer.html("</ul></div>");
}

/// What a check found out about a node.
struct Known {
    op: String,
    outputs: Vec<Output>,
}

fn known(file: &File<'_>) -> BTreeMap<String, Known> {
    match file.pipeline() {
        Some(pipeline) => pipeline
            .nodes
            .iter()
            .filter_map(|node| match &node.kind {
                NodeKind::Call(call) => {
                    Some((node.name.clone(), Known { op: call.op.to_string(), outputs: call.outputs.clone() }))
                }
                _ => None,
            })
            .collect(),
        None => {
            let facts = &file.source.facts;
            let nodes = facts.nodes.iter();
            let known = nodes.map(|(place, node)| {
                let known = Known { op: node.op.clone(), outputs: node.outputs.clone() };
                (node.of.as_ref().unwrap_or(place).clone(), known)
            });
            known.collect()
        }
    }
}

struct Steps<'p> {
    place: &'p Place<'p>,
    known: BTreeMap<String, Known>,
}

impl Steps<'_> {
    fn write(&self, writer: &mut Writer) {
        let is_step = |one: &&Declared| matches!(one.content, Content::Call { .. } | Content::Loop(_));
        let steps: Vec<&Declared> = self.place.reference.declared.iter().filter(is_step).collect();
        if steps.is_empty() {
            return;
        }
        writer.heading(2, "section-steps", "Sources and steps");
        for one in steps {
            let name = one.name.as_deref().unwrap_or_default();
            match &one.content {
                Content::Loop(body) => self.rounds(writer, one, name, body),
                _ => self.step(writer, one, name, 3),
            }
        }
    }

    /// Adds a source or step; `path` is its name with those of the loops around it.
    fn step(&self, writer: &mut Writer, one: &Declared, path: &str, level: usize) {
        let name = one.name.as_deref().unwrap_or_default();
        writer.heading(level, path, &format!("{} {}", escaped(&one.word), code(name)));
        if let Content::Call { callee: Some(callee) } = &one.content {
            writer.html(format!("<p class=\"calls\">calls {}</p>", self.place.name(writer, callee)));
        }
        self.place.doc(writer, &one.doc);
        writer.html(block(&one.text));
        if let Some(node) = self.known.get(path).or_else(|| self.first_round(path)) {
            columns::outputs(writer, &node.outputs);
        }
        self.made(writer, path);
    }

    /// Returns the first round's node of a step in loops: `by_width[16].model` for `by_width.model`.
    fn first_round(&self, path: &str) -> Option<&Known> {
        let without_rounds = |name: &str| {
            let mut depth = 0;
            let letters = name.chars().filter(|letter| {
                depth += i32::from(*letter == '[');
                let keep = depth == 0;
                depth -= i32::from(*letter == ']');
                keep
            });
            letters.collect::<String>()
        };
        let root = path.split('.').next()?;
        let rounds = self.known.range(format!("{root}[")..).take_while(|(name, _)| name.starts_with(root));
        rounds.into_iter().find(|(name, _)| without_rounds(name) == path).map(|(_, node)| node)
    }

    /// Adds the steps that a call of a def is made of.
    fn made(&self, writer: &mut Writer, path: &str) {
        let prefix = format!("{path}.");
        let made = self.known.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let rows: Vec<_> = made
            .take(MOST_MADE)
            .map(|(name, node)| {
                let gives: Vec<String> =
                    node.outputs.iter().map(|output| markdown::inline(&describe::output(output))).collect();
                let op = if self.place.site.catalogue.get(&node.op).is_some() {
                    let target = Target { page: library::page_of(&node.op), anchor: String::new() };
                    writer.link(&target, &code(&node.op))
                } else {
                    code(&node.op)
                };
                vec![code(name), op, gives.join("; ")]
            })
            .collect();
        writer.table(&["makes", "by", "which gives"], &rows);
    }

    fn rounds(&self, writer: &mut Writer, one: &Declared, path: &str, body: &[Declared]) {
        writer.heading(3, path, &format!("for .. as {}", code(one.name.as_deref().unwrap_or_default())));
        self.place.doc(writer, &one.doc);
        writer.html(block(one.text.split('{').next().unwrap_or_default().trim()));
        writer.html("<div class=\"body\">");
        for inner in body {
            let path = format!("{path}.{}", inner.name.as_deref().unwrap_or_default());
            match &inner.content {
                Content::Loop(body) => self.rounds(writer, inner, &path, body),
                _ => self.step(writer, inner, &path, 4),
            }
        }
        writer.html("</div>");
    }
}

/// More steps of a call are not listed.
const MOST_MADE: usize = 60;

fn decisions(place: &Place<'_>, writer: &mut Writer) {
    let decisions: Vec<&Declared> =
        place.reference.declared.iter().filter(|one| matches!(one.word.as_str(), "gate" | "release")).collect();
    if decisions.is_empty() {
        return;
    }
    writer.heading(2, "section-decisions", "Gates and releases");
    for one in decisions {
        let name = one.name.as_deref().unwrap_or_default();
        writer.heading(3, name, &format!("{} {}", escaped(&one.word), code(name)));
        place.doc(writer, &one.doc);
        match &one.content {
            Content::Gate { checks, first } => {
                let rows: Vec<_> = checks.iter().map(|(name, text)| vec![code(name), code(text)]).collect();
                writer.table(&["check", "passes when"], &rows);
                if let Some(first) = first {
                    writer.html(format!("<p>Without a champion: {}</p>", code(first)));
                }
            }
            _ => {
                writer.html(block(&one.text));
            }
        }
    }
}

/// Adds what has no section of its own, so that nothing is left out in silence.
fn others(place: &Place<'_>, writer: &mut Writer) {
    let is_shown = |one: &&Declared| {
        matches!(one.content, Content::Other) && !matches!(one.word.as_str(), "pipeline" | "let" | "gate" | "release")
    };
    let others: Vec<&Declared> = place.reference.declared.iter().filter(is_shown).collect();
    if !others.is_empty() {
        writer.heading(2, "section-others", "Further declarations");
        others.into_iter().for_each(|one| place.written(writer, one));
    }
}
