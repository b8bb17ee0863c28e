//! `mlp lineage`: where an artifact or a released model comes from, or what came of it.

use std::sync::Arc;

use mlp_engine::{Direction, Fact, Lineage, LineageError, LineageStart};
use mlp_model::Store;

use super::models::{parse_model, registry_failure};
use super::runs::when;
use super::show::find_artifact;
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring::{self, store_failure};

pub fn lineage(what: &str, down: bool, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let store = wiring::open_store(&workspace)?;
    let (name, version) = parse_model(what);
    let releases = store.releases().map_err(store_failure)?;
    let start = if releases.iter().any(|release| release == name) {
        LineageStart::Model { release: name.to_owned(), version }
    } else {
        LineageStart::Artifact(find_artifact(&*store, what, &releases)?)
    };
    let direction = if down { Direction::Down } else { Direction::Up };
    let lineage = wiring::engine(store)?.lineage(start, direction).map_err(failure)?;
    if output.json {
        output.print_json(&lineage);
    } else {
        output.print(text(&lineage));
    }
    Ok(Exit::Done)
}

/// Prints a run as OpenLineage events.
pub fn openlineage(what: &str, output: &Output) -> Result<Exit, Failure> {
    // OpenLineage wants a URI; a name is one, too, and claims no address on the web.
    const PRODUCER: &str = concat!("urn:x-mlp:", env!("CARGO_PKG_VERSION"));
    let workspace = open_workspace(&super::here()?)?;
    let store = wiring::open_store(&workspace)?;
    let (name, version) = parse_model(what);
    let releases = store.releases().map_err(store_failure)?;
    let run = if releases.iter().any(|release| release == name) {
        let registry = wiring::engine(Arc::clone(&store))?.versions(name).map_err(registry_failure)?;
        registry.find(version.as_ref()).map_err(registry_failure)?.run.clone()
    } else {
        super::find_run(&*store, what)?.run
    };
    let records = store.run_records(&run).map_err(store_failure)?;
    let namespace = format!("file://{}", workspace.root.display());
    for event in mlp_engine::openlineage::events(&records, &namespace, PRODUCER) {
        output.print(event.to_string());
    }
    Ok(Exit::Done)
}

fn failure(error: LineageError) -> Failure {
    match error {
        LineageError::Registry(error) => registry_failure(error),
        LineageError::Store(error) => store_failure(error),
        LineageError::Bundle { .. } => Failure::new(Exit::Environment, error.to_string()),
        LineageError::UnknownArtifact(_) => Failure::usage(error.to_string()),
    }
}

fn text(lineage: &Lineage) -> String {
    let mut lines = Vec::new();
    let mut shown = vec![false; lineage.nodes.len()];
    branch(lineage, 0, "", "", "", &mut shown, &mut lines);
    let objects = &lineage.objects;
    let told = |n: usize, what: &str| if n > 0 { format!("; {n} {what}") } else { String::new() };
    let collected = told(objects.collected, "collected by `mlp gc`") + &told(objects.erased, "erased");
    lines.push(format!(
        "{} of {} present and whole{collected}.",
        objects.present,
        words::plural(objects.total, "object")
    ));
    lines.join("\n")
}

/// Writes a node and what it leads to; one that was written before is only named.
fn branch(
    lineage: &Lineage,
    index: usize,
    label: &str,
    mark: &str,
    indent: &str,
    shown: &mut [bool],
    lines: &mut Vec<String>,
) {
    let Some(node) = lineage.nodes.get(index) else { return };
    let again = std::mem::replace(&mut shown[index], true);
    let label = if label.is_empty() { String::new() } else { format!("{label}: ") };
    let seen = if again && !node.edges.is_empty() { "  (above)" } else { "" };
    let mut facts = fact_lines(&node.fact).into_iter();
    lines.push(format!("{mark}{label}{}{seen}", facts.next().unwrap_or_default()));
    if again {
        return;
    }
    lines.extend(facts.map(|line| format!("{indent}     {line}")));
    let last = node.edges.len().saturating_sub(1);
    for (i, edge) in node.edges.iter().enumerate() {
        let (corner, bar) = if i == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (mark, deeper) = (format!("{indent}{corner}"), format!("{indent}{bar}"));
        branch(lineage, edge.node, &edge.label, &mark, &deeper, shown, lines);
    }
}

fn fact_lines(fact: &Fact) -> Vec<String> {
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    match fact {
        Fact::Release { release, version, bundle, run, at, live, held } => {
            let state = match (live, held) {
                (true, _) => "live",
                (_, true) => "held",
                _ => "not live",
            };
            vec![format!(
                "{release} v{version}, {state}: bundle {}, released {} by run {run}",
                bundle.short(),
                when(*at)
            )]
        }
        Fact::Artifact { digest, artifact, size_bytes, present, collected, erased } => {
            let kind = artifact.map_or_else(|| "artifact".to_owned(), |kind| format!("{kind:?}").to_lowercase());
            let size = size_bytes.map(|size| format!(", {} bytes", words::count(size))).unwrap_or_default();
            let missing = match (present, erased, collected) {
                (true, ..) => String::new(),
                (false, Some(partition), _) => format!(", erased with partition `{partition}`"),
                (false, None, true) => ", collected by `mlp gc`".to_owned(),
                (false, None, false) => ", MISSING".to_owned(),
            };
            vec![format!("{kind} {}{size}{missing}", digest.short())]
        }
        Fact::Attempt { step, op, run, at, seconds, params, environment, facts, .. } => {
            let mut lines =
                vec![format!("step `{}`: {op}, run {run}, {}, {}", step.step, when(*at), words::seconds(*seconds))];
            for (word, text) in
                [("params", pairs(params)), ("made with", pairs(environment)), ("facts", words::facts(facts))]
            {
                if !text.is_empty() {
                    lines.push(format!("{word}: {text}"));
                }
            }
            lines
        }
        Fact::Transform { op, params, .. } => vec![format!("{op} {}", pairs(params))],
        Fact::Value { value } => vec![value.clone()],
        Fact::Source { shown, digest } => vec![format!("{shown}, digest {}", digest.short())],
    }
}
