//! `mlp diff A B`: what changed in meaning between two versions of a pipeline.

mod compare;
mod version;

use serde_json::json;

use crate::args::ValueArgs;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use compare::{Change, Difference, Verdict};

pub fn diff(before: &str, after: &str, values: &ValueArgs, output: &Output) -> Result<Exit, Failure> {
    let old = version::load(before, values, output)?;
    let new = version::load(after, values, output)?;
    let difference = compare::compare(&old, &new);
    if output.json {
        output.print_json(&as_json(&difference));
    } else {
        output.print(as_text(&difference));
    }
    Ok(Exit::Done)
}

fn verdict(difference: &Difference) -> String {
    let models: Vec<String> = difference.retrained().map(|name| format!("`{name}`")).collect();
    match difference.verdict() {
        Verdict::Nothing => "Nothing changed in meaning: no step would run again.".into(),
        Verdict::Decisions => "Only decisions and options changed: no step would run again.".into(),
        Verdict::Reports => "Only reports would be made again; no model is trained.".into(),
        Verdict::Steps => {
            let n = words::plural(difference.steps.len(), "step");
            format!("{n} would run again; no model is trained again.")
        }
        Verdict::Retrains => format!("Retrains {}.", models.join(", ")),
    }
}

fn as_text(difference: &Difference) -> String {
    let mut text = verdict(difference);
    text.push('\n');
    let mut section = |title: &str, changes: &[Change]| {
        if changes.is_empty() {
            return;
        }
        text.push_str(&format!("\n{title}\n"));
        for change in changes {
            let mark = if change.trains { "  (training)" } else { "" };
            text.push_str(&format!("  {}{mark}\n", change.name));
            for why in &change.why {
                text.push_str(&format!("      {why}\n"));
            }
        }
    };
    section("Steps that would run again, as far as their inputs really change:", &difference.steps);
    section("Gone:", &difference.gone);
    section("Gates and releases:", &difference.decisions);
    section("How steps are run, which changes no result:", &difference.options);
    section("Parameters:", &difference.params);
    section("Renamed, so that results are kept:", &difference.renamed);
    text
}

fn as_json(difference: &Difference) -> serde_json::Value {
    let list = |changes: &[Change]| -> Vec<serde_json::Value> {
        changes.iter().map(|c| json!({ "name": c.name, "trains": c.trains, "why": c.why })).collect()
    };
    json!({
        "verdict": difference.verdict().word(),
        "retrains": difference.retrained().collect::<Vec<_>>(),
        "steps": list(&difference.steps),
        "gone": list(&difference.gone),
        "decisions": list(&difference.decisions),
        "options": list(&difference.options),
        "params": list(&difference.params),
        "renamed": list(&difference.renamed),
    })
}
