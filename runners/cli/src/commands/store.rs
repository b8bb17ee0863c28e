//! `mlp store`: checks, repairs and measures what a workspace keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mlp_engine::Survey;
use mlp_model::{ArtifactKind, Digest, Keep, Record, Store, StoreError, Timestamp, show_size};
use mlp_store::{Clock, IndexCheck, Inspection, LostRecords, Repair, StoreStats, SystemClock};
use serde::Serialize;

use super::runs::when;
use crate::args::StoreAction;
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring::{self, store_failure};
use crate::workspace::Workspace;

pub fn store(action: &StoreAction, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    match action {
        StoreAction::Verify => verify(&workspace, output),
        StoreAction::Repair { cut_journal } => repair(&workspace, *cut_journal, output),
        StoreAction::Stats => stats(&workspace, output),
        StoreAction::Merge { path } => super::merge::merge(&workspace, path, output),
    }
}

/// What `mlp store verify --json` prints.
#[derive(Serialize)]
struct Verified {
    sound: bool,
    #[serde(flatten)]
    inspection: Inspection,
    /// Objects that records name, that nobody collected, and that are not there.
    missing: Vec<Lost>,
    n_collected: usize,
}

/// An object that is not there, and whose steps will run again.
#[derive(Serialize)]
struct Lost {
    object: Digest,
    steps: Vec<String>,
}

fn verify(workspace: &Workspace, output: &Output) -> Result<Exit, Failure> {
    let opened = wiring::connect(workspace);
    let inspection = mlp_store::inspect(&workspace.root, opened.as_deref()).map_err(store_failure)?;
    let (mut missing, mut n_collected) = (Vec::new(), 0);
    if let Ok(store) = &opened {
        let survey = Survey::read(&**store).map_err(store_failure)?;
        let collected = collected(&**store).map_err(store_failure)?;
        let files: BTreeSet<Digest> =
            store.object_files().map_err(store_failure)?.iter().map(|file| file.digest).collect();
        for digest in survey.objects.keys().chain(&survey.records).collect::<BTreeSet<_>>() {
            if files.contains(digest) || inspection.journal.inline.contains(digest) {
                continue;
            }
            if collected.contains(digest) {
                n_collected += 1;
            } else {
                missing.push(Lost { object: *digest, steps: makers(&**store, digest).map_err(store_failure)? });
            }
        }
    }
    let verified = Verified { sound: inspection.is_sound(), inspection, missing, n_collected };
    if output.json {
        output.print_json(&verified);
    } else {
        output.print(verified_text(&verified));
    }
    Ok(if verified.sound { Exit::Done } else { Exit::StepFailed })
}

fn verified_text(verified: &Verified) -> String {
    let Inspection { journal, index, objects } = &verified.inspection;
    let mut lines = vec![format!(
        "journal   {}: {} in {}, {}",
        if journal.damaged.is_some() || !journal.damaged_objects.is_empty() { "DAMAGED" } else { "sound" },
        words::plural(count(journal.n_records), "record"),
        words::plural(journal.n_segments, "file"),
        show_size(journal.size_bytes)
    )];
    lines.extend(journal.damaged.iter().map(|what| format!("          {what}")));
    lines.extend(journal.torn.iter().map(|what| format!("          an incomplete write, told to nobody: {what}")));
    lines.extend(journal.damaged_objects.iter().map(|digest| format!("          object {digest}")));
    lines.push(match index {
        IndexCheck::Sound { n_rows } => {
            format!("index     sound: {} as the journal makes them", words::plural(count(*n_rows), "row"))
        }
        IndexCheck::Differs { what } => format!("index     DIFFERS: {what}"),
        IndexCheck::Unknown { why } => format!("index     not checked: {why}"),
    });
    let n_bad = objects.damaged.len() + objects.unreadable.len();
    lines.push(format!(
        "objects   {}: {}, {}, and {} in the journal",
        if n_bad == 0 { "sound".to_owned() } else { format!("{n_bad} DAMAGED") },
        words::plural(count(objects.n_files), "file"),
        show_size(objects.size_bytes),
        journal.n_inline
    ));
    lines.extend(objects.damaged.iter().map(|digest| format!("          {digest}")));
    lines.extend(objects.unreadable.iter().map(|what| format!("          {what}")));
    if !objects.erased.is_empty() {
        lines.push(format!("          {} erased: their keys were destroyed", objects.erased.len()));
    }
    if !objects.locked.is_empty() {
        lines.push(format!("          {} not checked: they are encrypted", objects.locked.len()));
        lines.extend(objects.keys.iter().map(|what| format!("          {what}")));
    }
    if verified.n_collected > 0 {
        lines.push(format!("          {} collected by `mlp gc`", verified.n_collected));
    }
    for lost in &verified.missing {
        lines.push(format!("          missing: {}{}", lost.object.short(), again(&lost.steps)));
    }
    lines.push(if verified.sound {
        "The store is sound.".to_owned()
    } else {
        "The store is damaged. `mlp store repair` makes it usable; nothing was changed yet.".to_owned()
    });
    lines.join("\n")
}

/// What `mlp store repair --json` prints.
#[derive(Serialize)]
struct Repaired {
    #[serde(flatten)]
    repair: Repair,
    lost: Vec<Lost>,
}

fn repair(workspace: &Workspace, cut_journal: bool, output: &Output) -> Result<Exit, Failure> {
    let lost = if cut_journal { LostRecords::Accept } else { LostRecords::Refuse };
    let repair = mlp_store::repair(&workspace.root, lost, Arc::new(SystemClock)).map_err(|error| match error {
        StoreError::JournalDamaged { .. } => store_failure(error).with_help(
            "records that had been acknowledged are damaged: restore the journal from a backup, or give up those that \
             cannot be read with `mlp store repair --cut-journal`; the original files are kept",
        ),
        StoreError::Owner { .. } => store_failure(error).with_help("`mlp runs` lists running runs"),
        other => store_failure(other),
    })?;
    let store = wiring::open_store(workspace)?;
    let mut lost = Vec::new();
    for object in &repair.moved_aside {
        let is_back = store.read(object).map_err(store_failure)?.is_some();
        if !is_back {
            lost.push(Lost { object: *object, steps: makers(&*store, object).map_err(store_failure)? });
        }
    }
    let repaired = Repaired { repair, lost };
    if output.json {
        output.print_json(&repaired);
    } else {
        output.print(repaired_text(&repaired));
    }
    Ok(Exit::Done)
}

fn repaired_text(repaired: &Repaired) -> String {
    let Repaired { repair, lost } = repaired;
    let mut lines: Vec<String> = repair.notes.iter().map(|note| format!("journal   {note}")).collect();
    if let Some(journal) = &repair.journal {
        lines.push(format!("journal   {}", journal.what));
        lines.push(format!(
            "          {} behind it kept, {} lost; the original files are in {}",
            words::plural(count(journal.n_saved), "commit"),
            journal.n_lost,
            journal.originals.display()
        ));
    }
    lines.push(format!("index     made anew from {}", words::plural(count(repair.n_records), "record")));
    lines.push(match repair.moved_aside.len() {
        0 => "objects   all are sound".to_owned(),
        n => format!("objects   {} moved aside to `.mlp/objects/damaged`", words::plural(n, "damaged file")),
    });
    lines.extend(repair.unreadable.iter().map(|what| format!("          unreadable: {what}")));
    lines.extend(lost.iter().map(|lost| format!("          lost: {}{}", lost.object.short(), again(&lost.steps))));
    lines.push("The store is usable. What is lost is made again by the next run that needs it.".to_owned());
    lines.join("\n")
}

fn again(steps: &[String]) -> String {
    match steps {
        [] => ": the fields of a key, or what a release consisted of".to_owned(),
        [one] => format!("; `{one}` will run again"),
        many => {
            format!("; {} will run again", many.iter().map(|step| format!("`{step}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Returns the steps that made an artifact.
fn makers(store: &dyn Store, artifact: &Digest) -> Result<Vec<String>, StoreError> {
    let mut steps = BTreeSet::new();
    for stored in store.producers(artifact)? {
        if let Record::StepFinished { step, .. } = stored.record {
            steps.insert(step.to_string());
        }
    }
    Ok(steps.into_iter().collect())
}

fn collected(store: &dyn Store) -> Result<BTreeSet<Digest>, StoreError> {
    let mut all = BTreeSet::new();
    for stored in store.collections()? {
        if let Record::Collected { objects, .. } = stored.record {
            let list = store.read(&objects)?.unwrap_or_default();
            all.extend(list.as_chunks::<32>().0.iter().map(|bytes| Digest(*bytes)));
        }
    }
    Ok(all)
}

/// What `mlp store stats --json` prints.
#[derive(Serialize)]
struct Stats {
    #[serde(flatten)]
    store: StoreStats,
    runs: RunFigures,
    /// Object files by what they are; `other` are code of releases, files of folders, keys.
    by_kind: BTreeMap<String, Amount>,
    /// What steps made for the first time in the last so many days.
    growth: Vec<Growth>,
    n_collections: usize,
    collected_bytes: u64,
}

#[derive(Serialize, Default)]
struct RunFigures {
    total: usize,
    running: usize,
    first: Option<Timestamp>,
    newest: Option<Timestamp>,
}

#[derive(Serialize, Default, Clone, Copy)]
struct Amount {
    n_objects: u64,
    size_bytes: u64,
}

#[derive(Serialize)]
struct Growth {
    days: u32,
    #[serde(flatten)]
    amount: Amount,
}

fn stats(workspace: &Workspace, output: &Output) -> Result<Exit, Failure> {
    let store = wiring::open_store(workspace)?;
    let figures = store.stats().map_err(store_failure)?;
    let survey = Survey::read(&*store).map_err(store_failure)?;
    let now = SystemClock.now();
    let mut by_kind: BTreeMap<String, Amount> = BTreeMap::new();
    let mut growth: Vec<Growth> =
        [1, 7, 30].into_iter().map(|days| Growth { days, amount: Amount::default() }).collect();
    for file in store.object_files().map_err(store_failure)? {
        let named = survey.objects.get(&file.digest);
        let kind = named.map_or_else(|| "other".to_owned(), |named| kind_word(named.kind).to_owned());
        add(by_kind.entry(kind).or_default(), file.size_bytes);
        for period in &mut growth {
            let since = now.0 - i64::from(period.days) * 86_400_000;
            if named.is_some_and(|named| named.first_at.0 >= since) {
                add(&mut period.amount, file.size_bytes);
            }
        }
    }
    let (mut n_collections, mut collected_bytes) = (0, 0);
    for stored in store.collections().map_err(store_failure)? {
        if let Record::Collected { size_bytes, .. } = stored.record {
            n_collections += 1;
            collected_bytes += size_bytes;
        }
    }
    let runs = RunFigures {
        total: survey.runs.len(),
        running: survey.runs.iter().filter(|run| run.summary.alive).count(),
        first: survey.runs.last().map(|run| run.summary.at),
        newest: survey.runs.first().map(|run| run.summary.at),
    };
    let stats = Stats { store: figures, runs, by_kind, growth, n_collections, collected_bytes };
    if output.json {
        output.print_json(&stats);
    } else {
        output.print(stats_text(&stats));
    }
    Ok(Exit::Done)
}

fn stats_text(stats: &Stats) -> String {
    let store = &stats.store;
    let amount = |amount: &Amount| format!("{:>9}  {}", amount.n_objects, show_size(amount.size_bytes));
    let mut lines =
        vec![format!("objects    {}", amount(&Amount { n_objects: store.n_objects, size_bytes: store.objects_bytes }))];
    lines.extend(stats.by_kind.iter().map(|(kind, found)| format!("  {kind:<9}{}", amount(found))));
    lines.push(format!("journal    {:>9}  {}", store.n_records, show_size(store.journal_bytes)));
    lines.push(format!("index      {:>9}  {}", "", show_size(store.index_bytes)));
    if store.n_damaged > 0 {
        lines.push(format!("damaged    {:>9}  put aside; `mlp gc` removes them", store.n_damaged));
    }
    if store.scratch_bytes > 0 {
        lines.push(format!("scratch    {:>9}  {}", "", show_size(store.scratch_bytes)));
    }
    let between = match (stats.runs.first, stats.runs.newest) {
        (Some(first), Some(newest)) => format!("  from {} to {}", when(first), when(newest)),
        _ => String::new(),
    };
    let running = if stats.runs.running > 0 { format!(", {} running", stats.runs.running) } else { String::new() };
    lines.push(format!("runs       {:>9}{between}{running}", stats.runs.total));
    for period in &stats.growth {
        let days = words::plural(period.days as usize, "day");
        lines.push(format!("  in {days:<7}{}", amount(&period.amount)));
    }
    if stats.n_collections > 0 {
        lines.push(format!("collected  {:>9}  {}", stats.n_collections, show_size(stats.collected_bytes)));
    }
    lines.push(format!(
        "disk                  {} free of {} ({})",
        show_size(store.free_bytes),
        show_size(store.total_bytes),
        store.filesystem
    ));
    lines.join("\n")
}

fn add(amount: &mut Amount, size_bytes: u64) {
    amount.n_objects += 1;
    amount.size_bytes += size_bytes;
}

pub fn kind_word(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Table => "table",
        ArtifactKind::Model => "model",
        ArtifactKind::Report => "report",
        ArtifactKind::File => "file",
        ArtifactKind::Folder => "folder",
    }
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
