//! `mlp erase`: destroys the key of a partition and shows that what it was needed for is gone.

use mlp_engine::erase::{EraseError, ErasedArtifact, ErasedVersion, Erasure, erase as erase_from};
use mlp_model::show_size;
use mlp_store::{Clock, SystemClock};

use super::store::kind_word;
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring::{self, store_failure};

pub fn erase(partition: &str, yes: bool, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let store = wiring::open_store(&workspace)?;
    let erasure = erase_from(&*store, partition, SystemClock.now(), !yes).map_err(failure)?;
    if output.json {
        output.print_json(&erasure);
    } else {
        output.print(text(&erasure));
    }
    Ok(if erasure.still_readable.is_empty() { Exit::Done } else { Exit::StepFailed })
}

fn text(erasure: &Erasure) -> String {
    let Erasure { partition, dry_run, n_objects, size_bytes, versions, artifacts, n_logs, still_readable, .. } =
        erasure;
    let mut lines: Vec<String> = versions
        .iter()
        .map(|ErasedVersion { release, version, live }| {
            let (is_live, will_be) = (if *live { ", live" } else { "" }, if *dry_run { "would be" } else { "is" });
            format!("released: {release}@{version}{is_live} {will_be} unreadable")
        })
        .collect();
    let made_by = |steps: &[String]| match steps {
        [] => String::new(),
        steps => format!("   made by {}", steps.join(", ")),
    };
    lines.extend(artifacts.iter().map(|ErasedArtifact { digest, kind, steps }| {
        let state = if *dry_run {
            "would be erased"
        } else if still_readable.contains(digest) {
            "CAN STILL BE READ"
        } else {
            "cannot be decrypted"
        };
        let kind = kind.map_or("object", kind_word);
        format!("{} {kind:<7}{state}{}", digest.short(), made_by(steps))
    }));
    let objects = format!("{} ({})", words::plural(*n_objects, "object"), show_size(*size_bytes));
    let logs = words::plural(*n_logs, "run");
    if *dry_run {
        lines.push(format!("Erasing partition `{partition}` would make {objects} unreadable, for good."));
        lines.push(format!("What {logs} printed would go, too. Nothing was erased yet: --yes does it."));
    } else if still_readable.is_empty() {
        lines.push(format!(
            "Partition `{partition}` is erased: its key is destroyed. {objects} were tried, none can be read."
        ));
        lines.push(format!("What {logs} printed went, too. Journal, lineage and figures stay."));
    } else {
        lines.push(format!(
            "{} of {objects} can still be read: a copy of the key is told in its place. Remove it and erase again.",
            still_readable.len()
        ));
    }
    lines.join("\n")
}

fn failure(error: EraseError) -> Failure {
    let help = error.help();
    let mut failure = match error {
        EraseError::Store(error) => store_failure(error),
        other => Failure::usage(other.to_string()),
    };
    failure.help = help.or(failure.help);
    failure
}
