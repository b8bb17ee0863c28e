//! `mlp gc`: takes objects out of the store that no kept run or release needs.

use mlp_engine::collect::{Collection, KeepRules, collect};
use mlp_model::{Timestamp, show_size};
use mlp_store::{Clock, SystemClock};

use crate::args::GcArgs;
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring::{self, store_failure};

pub fn gc(args: &GcArgs, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let store = wiring::open_store(&workspace)?;
    let now = SystemClock.now();
    let rules = KeepRules {
        runs: args.keep_runs,
        since: args
            .older_than
            .map(|age| Timestamp(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))),
        versions: args.versions,
        max_bytes: args.max_size,
        shown: shown(args),
    };
    let collection = collect(&*store, &rules, now, args.dry_run).map_err(store_failure)?;
    if output.json {
        output.print_json(&collection);
    } else {
        output.print(text(&collection, args.max_size));
    }
    Ok(Exit::Done)
}

/// Writes the rules as a person typed them, for the record.
fn shown(args: &GcArgs) -> String {
    let mut words = Vec::new();
    words.extend(args.keep_runs.map(|n| format!("--keep-runs {n}")));
    words.extend(args.older_than.map(|age| format!("--older-than {}s", age.as_secs())));
    words.extend(args.versions.map(|n| format!("--versions {n}")));
    words.extend(args.max_size.map(|bytes| format!("--max-size {bytes}")));
    words.join(" ")
}

fn text(collection: &Collection, max_size: Option<u64>) -> String {
    let Collection { runs, versions, removed, .. } = collection;
    let kept = format!(
        "Kept: {} of {}, {} of {}, with all that they used.",
        runs.kept,
        words::plural(runs.total, "run"),
        versions.kept,
        words::plural(versions.total, "released version")
    );
    let left = collection.n_objects - removed.n_objects;
    let mut lines = Vec::new();
    if collection.dry_run {
        lines.push(format!(
            "{} of {} would be freed: {} that nothing kept needs. Nothing was removed.",
            show_size(collection.unneeded_bytes),
            show_size(collection.size_bytes),
            objects(collection.n_unneeded)
        ));
    } else {
        lines.push(format!(
            "{} freed: {} removed, {} of {} stay.",
            show_size(removed.size_bytes + collection.damaged_bytes),
            objects(removed.n_objects),
            objects(left),
            show_size(collection.size_bytes - removed.size_bytes)
        ));
    }
    lines.push(kept);
    if removed.n_in_use > 0 {
        lines.push(format!("{} stay because a running process uses them.", objects(removed.n_in_use)));
    }
    if collection.n_damaged > 0 {
        lines.push(format!(
            "{} that had been put aside as damaged went, too ({}).",
            words::plural(usize::try_from(collection.n_damaged).unwrap_or(usize::MAX), "file"),
            show_size(collection.damaged_bytes)
        ));
    }
    if collection.logs.n_runs > 0 {
        lines.push(format!(
            "What {} told and printed {} ({}); what they did is still in the journal.",
            words::plural(usize::try_from(collection.logs.n_runs).unwrap_or(usize::MAX), "run"),
            if collection.dry_run { "would go, too" } else { "went, too" },
            show_size(collection.logs.size_bytes)
        ));
    }
    if let (Some(false), Some(max_size)) = (collection.fits, max_size) {
        lines.push(format!(
            "More than {} is needed by what is kept. To keep less: --keep-runs, --versions.",
            show_size(max_size)
        ));
    }
    lines.join("\n")
}

fn objects(n: u64) -> String {
    words::plural(usize::try_from(n).unwrap_or(usize::MAX), "object")
}
