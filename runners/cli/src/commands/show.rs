//! `mlp show`: the head of a table, the metrics of a report, the card of a model, a released bundle.

use std::path::PathBuf;
use std::sync::Arc;

use mlp_artifact::model::{Encoding, ModelCard, read_card};
use mlp_artifact::report::Report;
use mlp_engine::{BundlePart, Engine, VersionName};
use mlp_model::{ArtifactKind, Digest, NodeKind, OutputRecord, Pipeline, Record, StepId, StepResult, Store, Type};

use super::models::{parse_model, registry_failure};
use super::table_head;
use crate::args::{PipelineArgs, ValueArgs};
use crate::compile::{compile, looks_like_file, open_workspace};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring::{self, store_failure};

pub fn show(what: &[String], rows: usize, values: &ValueArgs, output: &Output) -> Result<Exit, Failure> {
    if let [file, step] = what {
        let mut compiled = compile(&PipelineArgs { file: PathBuf::from(file), values: values.clone() }, output)?;
        let store = wiring::open_store(&compiled.workspace)?;
        if compiled.unfolder.is_some() {
            compiled.unfold(&wiring::engine(Arc::clone(&store))?, &[], output)?;
        }
        let found = of_step(&*store, &compiled.pipeline, step)?;
        return artifact(&*store, &found, rows, output);
    }
    let Some(what) = what.first() else {
        return Err(Failure::usage("nothing to show"));
    };
    if looks_like_file(what) {
        return Err(
            Failure::usage(format!("which step of `{what}`?")).with_help(format!("write `mlp show {what} STEP`"))
        );
    }
    let workspace = open_workspace(&super::here()?)?;
    let store = wiring::open_store(&workspace)?;
    let (name, version) = parse_model(what);
    let releases = store.releases().map_err(store_failure)?;
    if releases.iter().any(|release| release == name) {
        let engine = wiring::engine(store.clone())?;
        return released(&engine, &*store, name, version, output);
    }
    let found = of_digest(&*store, what, &releases)?;
    artifact(&*store, &found, rows, output)
}

/// An artifact to show, with what is known of its columns.
struct Found {
    output: OutputRecord,
    /// `None`: no pipeline at hand says which columns are personal, so text is masked.
    personal: Option<Vec<String>>,
}

fn of_step(store: &dyn Store, pipeline: &Pipeline, step: &str) -> Result<Found, Failure> {
    let unknown = || {
        let names: Vec<&str> = pipeline.nodes.iter().map(|node| node.name.as_str()).collect();
        let failure = Failure::usage(format!("pipeline `{}` has no step `{step}`", pipeline.name));
        match mlp_engine::most_similar(step, names) {
            Some(name) => failure.with_help(format!("did you mean `{name}`?")),
            None => failure,
        }
    };
    // `parts.train` is an output of `parts`; `quality.predictions` is a step of its own.
    let (node, output) = match (pipeline.node(step), step.rsplit_once('.')) {
        (Some((_, node)), _) => (node, None),
        (None, Some((name, output))) => (pipeline.node(name).ok_or_else(unknown)?.1, Some(output)),
        (None, None) => return Err(unknown()),
    };
    let NodeKind::Call(call) = &node.kind else {
        return Err(Failure::usage(format!("`{step}` is no step: it has no artifact"))
            .with_help("`mlp models` and `mlp log` tell of gates and releases"));
    };
    let id = StepId { pipeline: pipeline.name.clone(), step: node.name.clone() };
    let result = latest_result(store, &id)?.ok_or_else(|| {
        Failure::usage(format!("step `{}` has no result yet", node.name)).with_help("run the pipeline first")
    })?;
    let names: Vec<&str> = call.outputs.iter().map(|output| output.name.as_ref()).collect();
    let name = match (output, names.as_slice()) {
        (Some(name), _) => name,
        (None, [name]) => name,
        (None, _) => {
            return Err(Failure::usage(format!("step `{step}` has several outputs: {}", names.join(", ")))
                .with_help(format!("write `{step}.{}`", names.first().unwrap_or(&"NAME"))));
        }
    };
    let record = result.outputs.iter().find(|record| record.name == name).ok_or_else(|| match call.output(name) {
        Some(output) if output.optional => Failure::usage(format!("step `{}` left out its output `{name}`", node.name))
            .with_help("`mlp plan` says what is skipped for that"),
        _ => unknown(),
    })?;
    let personal = match call.output(name).map(|output| &output.ty) {
        Some(Type::Table(table)) => {
            Some(table.columns.iter().filter(|c| c.marks.personal).map(|c| c.name.clone()).collect())
        }
        _ => Some(Vec::new()),
    };
    Ok(Found { output: record.clone(), personal })
}

/// Returns the newest result that a step gave or reused.
pub fn latest_result(store: &dyn Store, step: &StepId) -> Result<Option<StepResult>, Failure> {
    for stored in store.step_history(step, 100).map_err(store_failure)? {
        match stored.record {
            Record::StepFinished { result, .. } => return Ok(Some(result)),
            Record::StepReused { run, key, .. } => {
                let reused = store.result_reused(&key, &run, stored.seq).map_err(store_failure)?;
                if let Some((_, result)) = reused {
                    return Ok(Some(result));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

fn of_digest(store: &dyn Store, prefix: &str, releases: &[String]) -> Result<Found, Failure> {
    let digest = find_artifact(store, prefix, releases)?;
    let outputs =
        store.producers(&digest).map_err(store_failure)?.into_iter().filter_map(|stored| match stored.record {
            Record::StepFinished { result, .. } => result.outputs.into_iter().find(|output| output.digest == digest),
            _ => None,
        });
    let output = outputs.last().ok_or_else(|| Failure::usage(format!("no step made artifact {}", digest.short())))?;
    Ok(Found { output, personal: None })
}

/// Finds the artifact that a person means by the beginning of its digest.
pub fn find_artifact(store: &dyn Store, prefix: &str, releases: &[String]) -> Result<Digest, Failure> {
    let is_hex = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_hexdigit());
    let found =
        if is_hex { store.find_artifacts(&prefix.to_ascii_lowercase(), 6).map_err(store_failure)? } else { Vec::new() };
    match found.as_slice() {
        [digest] => Ok(*digest),
        [] => {
            let failure =
                Failure::usage(format!("`{prefix}` is neither a released model nor an artifact of this workspace"));
            Err(match mlp_engine::most_similar(prefix, releases.iter().map(String::as_str)) {
                Some(name) => failure.with_help(format!("did you mean `{name}`?")),
                None => failure
                    .with_help("`mlp models` lists releases; `mlp log --json` tells the digests of a run's artifacts"),
            })
        }
        many => {
            let digests: Vec<String> = many.iter().map(Digest::short).collect();
            Err(Failure::usage(format!("several artifacts begin with `{prefix}`: {}", digests.join(", ")))
                .with_help("write more of the digest"))
        }
    }
}

fn artifact(store: &dyn Store, found: &Found, rows: usize, output: &Output) -> Result<Exit, Failure> {
    let digest = found.output.digest;
    let lost = || {
        Failure::new(Exit::Environment, format!("artifact {} is no longer in the store", digest.short()))
            .with_help("run the pipeline: the step that makes it will run")
    };
    let file = store.object(&digest).map_err(store_failure)?.ok_or_else(lost)?;
    let damaged =
        |error: String| Failure::new(Exit::Environment, format!("artifact {} cannot be read: {error}", digest.short()));
    match found.output.kind {
        ArtifactKind::Table => {
            let head = table_head::read(&file, rows, found.personal.as_deref()).map_err(|e| damaged(e.to_string()))?;
            if output.json { output.print_json(&head.json()) } else { output.print(head.text(&digest)) }
        }
        ArtifactKind::Report => {
            let bytes = store.read(&digest).map_err(store_failure)?.ok_or_else(lost)?;
            let report = Report::parse(&bytes).map_err(|e| damaged(e.to_string()))?;
            if output.json { output.print_json(&report.metrics) } else { output.print(report_text(&report)) }
        }
        ArtifactKind::Model => {
            let card = read_card(&file.path, file.size_bytes).map_err(|e| damaged(e.to_string()))?;
            if output.json { output.print_json(&card) } else { output.print(card_text(&card, &digest)) }
        }
        kind @ (ArtifactKind::File | ArtifactKind::Folder) => {
            let word = if kind == ArtifactKind::File { "file" } else { "folder" };
            if output.json {
                let size_bytes = found.output.size_bytes;
                output.print_json(&serde_json::json!({ "kind": word, "digest": digest, "size_bytes": size_bytes }));
            } else {
                output.print(format!(
                    "{word} {digest}, {} bytes\n{}",
                    words::count(file.size_bytes),
                    file.path.display()
                ));
            }
        }
    }
    Ok(Exit::Done)
}

fn report_text(report: &Report) -> String {
    let width = report.metrics.keys().map(String::len).max().unwrap_or(0);
    let line = |(name, value): (&String, &Option<f64>)| {
        format!("{name:<width$}  {}", value.map_or_else(|| "not measurable".to_owned(), words::number))
    };
    report.metrics.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn card_text(card: &ModelCard, digest: &Digest) -> String {
    let mut lines = vec![
        format!("{} model {}, {}", card.flavour, digest.short(), card.task),
        format!("  predicts  {} ({})", card.target.name, card.target.scalar),
        format!("  net       {}", card.net),
        format!("  columns   {}", card.encoding.len()),
    ];
    for encoded in &card.encoding {
        let how = match &encoded.how {
            Encoding::Scale { fill, mean, std } => format!(
                "scaled: mean {}, deviation {}, blanks as {}",
                words::number(*mean),
                words::number(*std),
                words::number(*fill)
            ),
            Encoding::OneHot { categories } => {
                format!("one of {}", words::plural(categories.len(), "category").replace("categorys", "categories"))
            }
        };
        lines.push(format!("    {:<20} {:<6} {how}", encoded.column, encoded.scalar.to_string()));
    }
    lines.join("\n")
}

fn released(
    engine: &Engine,
    store: &dyn Store,
    name: &str,
    version: Option<VersionName>,
    output: &Output,
) -> Result<Exit, Failure> {
    let registry = engine.versions(name).map_err(registry_failure)?;
    let version = registry.find(version.as_ref()).map_err(registry_failure)?;
    let number = version.name();
    let bundle = engine
        .bundle(&version.bundle)
        .map_err(|e| Failure::new(Exit::Environment, format!("release `{name}` v{number} cannot be read: {e}")))?;
    let metrics = gate_metrics(store, &version.run)?;
    if output.json {
        output.print_json(&metrics);
        return Ok(Exit::Done);
    }
    let state = match (registry.is_live(version), version.held) {
        (true, _) => "live",
        (false, true) => "held",
        (false, false) => "not live",
    };
    let mut lines = vec![format!(
        "{name} v{number}, {state}: bundle {}, released {} by run {}",
        version.bundle.short(),
        super::runs::when(version.released_at),
        version.run
    )];
    for (part, value) in &bundle.parts {
        let text = match value {
            BundlePart::Artifact(pinned) => {
                format!("{} {}", format!("{:?}", pinned.kind).to_lowercase(), pinned.digest.short())
            }
            BundlePart::Transform { op, inputs, .. } => {
                let code: Vec<String> = inputs.values().map(|pinned| pinned.digest.short()).collect();
                format!("{op} {}", code.join(" "))
            }
            BundlePart::Value { value } => value.to_string(),
        };
        lines.push(format!("  {part:<12} {text}"));
    }
    for (metric, value) in &metrics {
        lines.push(format!("  {metric:<28} {}", value.map_or_else(|| "absent".to_owned(), words::number)));
    }
    output.print(lines.join("\n"));
    if let Some(BundlePart::Artifact(model)) = bundle.parts.get("model")
        && let Some(file) = store.object(&model.digest).map_err(store_failure)?
        && let Ok(card) = read_card(&file.path, file.size_bytes)
    {
        output.print(card_text(&card, &model.digest));
    }
    Ok(Exit::Done)
}

/// Returns the metrics that the gates of a run read; a metric that only one report has goes by its own name.
fn gate_metrics(
    store: &dyn Store,
    run: &mlp_model::RunId,
) -> Result<std::collections::BTreeMap<String, Option<f64>>, Failure> {
    let mut full = std::collections::BTreeMap::new();
    for stored in store.run_records(run).map_err(store_failure)? {
        if let Record::GateDecided { checks, .. } = stored.record {
            checks.into_iter().for_each(|check| full.extend(check.metrics));
        }
    }
    let metric_of = |name: &str| name.rsplit_once('.').map_or(name, |(_, metric)| metric).to_owned();
    let shared = |metric: &str| full.keys().filter(|name| metric_of(name) == metric).count() > 1;
    let name = |full: &String| if shared(&metric_of(full)) { full.clone() } else { metric_of(full) };
    Ok(full.iter().map(|(full, value)| (name(full), *value)).collect())
}
