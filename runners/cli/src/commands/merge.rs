//! `mlp store merge`: brings what another workspace keeps into this one.

use std::path::Path;

use mlp_engine::merge::{Differing, LeftOut, Merged, MergedRelease, merge as merge_from};
use mlp_model::{StoreError, show_size};
use mlp_store::Other;

use crate::exit::Exit;
use crate::keyring::encryption;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring::{self, store_failure};
use crate::workspace::Workspace;

/// How many things of a kind are named one by one.
const N_NAMED: usize = 10;

pub fn merge(workspace: &Workspace, path: &Path, output: &Output) -> Result<Exit, Failure> {
    let keys = encryption(&workspace.root, &workspace.settings);
    let other = Other::open_with(path, keys).map_err(|error| match error {
        StoreError::Io { .. } => Failure::usage(error.to_string()).with_help("name a workspace, or its `.mlp` folder"),
        StoreError::JournalDamaged { .. } => {
            store_failure(error).with_help("repair it there first, or a copy of it: `mlp store repair`")
        }
        other => store_failure(other),
    })?;
    let store = wiring::open_store(workspace)?;
    if other.folder().parent() == Some(store.workspace()) {
        return Err(Failure::usage(format!("`{}` is this workspace itself", path.display())));
    }
    let merged = merge_from(&*store, &other).map_err(store_failure)?;
    if output.json {
        output.print_json(&merged);
    } else {
        output.print(text(&merged, path));
    }
    Ok(if merged.left_out.is_empty() { Exit::Done } else { Exit::StepFailed })
}

fn text(merged: &Merged, path: &Path) -> String {
    if merged.is_nothing() {
        return format!("Everything that `{}` keeps is here already: nothing was added.", path.display());
    }
    let mut lines = vec![format!(
        "Merged `{}`: {}, {}, {} ({}).",
        path.display(),
        words::plural(merged.runs.len(), "new run"),
        words::plural(merged.n_records, "record"),
        words::plural(merged.n_objects, "object"),
        show_size(merged.size_bytes)
    )];
    merged.releases.iter().for_each(|release| lines.extend(release_lines(release)));
    if !merged.differing.is_empty() {
        lines.push(format!(
            "{} another result there than here: not deterministic. Both are kept; this workspace's own are used.",
            if merged.differing.len() == 1 {
                "1 key has".to_owned()
            } else {
                format!("{} keys have", merged.differing.len())
            },
        ));
        let line = |Differing { step, here, there, .. }: &Differing| {
            format!("  `{step}`   here by run {here}, there by run {there}")
        };
        lines.extend(some(&merged.differing, line));
    }
    if !merged.left_out.is_empty() {
        lines.push(format!("Left out: {}.", words::plural(merged.left_out.len(), "item")));
        lines.extend(some(&merged.left_out, |LeftOut { what, why }: &LeftOut| format!("  {what}: {why}")));
    }
    lines.join("\n")
}

fn release_lines(release: &MergedRelease) -> Vec<String> {
    let MergedRelease { release, live_here, live_there, live, decided_by, shared, .. } = release;
    let shown = |live: &Option<String>| live.as_ref().map_or("nothing".to_owned(), |version| format!("v{version}"));
    let mut lines = vec![if live_here == live_there && live_here == live {
        format!("{release}: {} is live, as it was in both.", shown(live))
    } else {
        format!(
            "{release}: {} is live now; it was {} here and {} there. What happened last decides: {decided_by}.",
            shown(live),
            shown(live_here),
            shown(live_there)
        )
    }];
    if !shared.is_empty() {
        let names: Vec<String> = shared.iter().map(|version| format!("{release}@{version}")).collect();
        lines.push(format!("  both workspaces had given a number: these versions are {}", names.join(", ")));
    }
    lines
}

/// Returns a line for each of the first, and how many there are beyond them.
fn some<T>(all: &[T], line: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = all.iter().take(N_NAMED).map(line).collect();
    if all.len() > N_NAMED {
        lines.push(format!("  and {} more; `--json` names all", all.len() - N_NAMED));
    }
    lines
}
