//! Two stores become one: whatever happened in either, in whichever direction, however often.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mlp_engine::merge::{Merged, merge};
use mlp_engine::{Direction, Engine, LineageStart, Registry};
use mlp_model::{NodeKind, Part, Pipeline, Release, RunId, Store, Type, Value};
use mlp_store::{Client, Other};
use tempfile::TempDir;

use crate::real_store::{connect, engine_on};
use crate::support::*;

/// A workspace with a store of its own.
struct Shop {
    folder: TempDir,
    store: Arc<Client>,
    engine: Engine,
}

impl Shop {
    fn new(desk: &Desk) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = connect(folder.path());
        Self { engine: engine_on(Arc::clone(&store), &desk.runner), store, folder }
    }

    /// The same, as it is now, in another place; nobody is at work there.
    fn copy(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join(".mlp");
        copy_tree(&self.folder.path().join(".mlp"), &target);
        (folder, target)
    }

    fn take_in(&self, other: &Path) -> Merged {
        merge(&*self.store, &Other::open(other).unwrap()).unwrap()
    }

    fn run(&self, desk: &Desk, pipeline: &Pipeline) -> Told {
        let (_cancel, never) = tokio::sync::watch::channel(None);
        run_to_the_end(&self.engine, pipeline, desk.request(), never, |_| {}).unwrap()
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// raw, model, dice (another result each time), and release `churn` of the model.
fn churn(desk: &Desk, auc: f64) -> Pipeline {
    desk.write("telco.csv", "a\nb\n");
    let parts = BTreeMap::from([("model".to_owned(), Part::Output { node: 1, output: "out".into() })]);
    let release = Release { name: "churn".into(), parts, gates: vec![] };
    pipeline(vec![
        step("raw", "read", &[("file", desk.file("telco.csv"))], &[], table()),
        step("model", "train", &[("data", out(0))], &[("auc", Value::Float(auc))], model()),
        step("dice", "dice", &[("data", out(0))], &[], file()),
        node("churn", NodeKind::Release(release)),
    ])
}

fn file() -> Type {
    Type::File
}

fn with_dice() -> Desk {
    let (desk, thrown) = (Desk::new(), AtomicU64::new(0));
    desk.runner.add("dice", move |step| write_out(step, &thrown.fetch_add(1, Ordering::Relaxed).to_string()));
    desk
}

/// Draws numbers; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Lets something happen in a shop: a run, a rollback, or the lifting of a hold. What cannot be done is not done.
fn happen(shop: &Shop, desk: &Desk, dice: &mut Dice) {
    let releases = shop.engine.releases().unwrap();
    let held = releases.iter().flat_map(|release| &release.versions).find(|version| version.held);
    match (dice.below(4), held) {
        (0, Some(version)) => _ = shop.engine.unhold("churn", &version.name()),
        (1, _) => _ = shop.engine.rollback("churn", None, "declines"),
        _ => _ = shop.run(desk, &churn(desk, 0.5 + dice.below(5) as f64 / 10.0)),
    }
}

/// Everything that can be asked about what deterministic steps made, and about releases.
#[derive(Debug, PartialEq)]
struct Answers {
    registries: Vec<Registry>,
    runs: Vec<RunId>,
    artifacts: Vec<mlp_model::Digest>,
    lineages: Vec<mlp_engine::Lineage>,
    /// How steps of each pipeline come out.
    reuse: Vec<Vec<String>>,
}

fn ask(shop: &Shop, desk: &Desk) -> Answers {
    let registries = shop.engine.releases().unwrap();
    let lineage = |version: &mlp_engine::Version| {
        let start = LineageStart::Model { release: "churn".into(), version: Some(version.name()) };
        shop.engine.lineage(start, Direction::Up).unwrap()
    };
    let lineages = registries.iter().flat_map(|registry| &registry.versions).map(lineage).collect();
    let mut runs: Vec<RunId> = shop.store.runs(1000, None).unwrap().into_iter().map(|run| run.run).collect();
    runs.sort();
    let artifacts = shop.store.find_artifacts("", 1000).unwrap();
    let decisions = |auc: u64| {
        let pipeline = Arc::new(churn(desk, 0.5 + auc as f64 / 10.0));
        let plan = shop.engine.plan(&pipeline, &desk.request()).unwrap();
        plan.steps.iter().map(|step| format!("{} {:?}", step.step, std::mem::discriminant(&step.decision))).collect()
    };
    Answers { registries, runs, artifacts, lineages, reuse: (0..5).map(decisions).collect() }
}

#[test]
fn merging_is_the_same_from_both_sides_and_adds_nothing_twice() {
    let seed = std::env::var("MLP_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| std::process::id().into());
    println!("MLP_SEED={seed}");
    let mut dice = Dice(seed);
    for round in 0..6 {
        let desk = with_dice();
        let (here, there) = (Shop::new(&desk), Shop::new(&desk));
        // Histories that have a part in common, from the second round on.
        if round % 2 == 1 {
            (0..3).for_each(|_| happen(&here, &desk, &mut dice));
            there.take_in(here.folder.path());
        }
        for _ in 0..8 {
            happen(&here, &desk, &mut dice);
            happen(&there, &desk, &mut dice);
        }
        let ((_kept, copy), before) = (here.copy(), here.engine.releases().unwrap());
        here.take_in(there.folder.path());
        there.take_in(&copy);
        assert_eq!(ask(&here, &desk), ask(&there, &desk), "round {round}");
        for (shop, other) in [(&here, &there), (&there, &here)] {
            assert!(shop.take_in(other.folder.path()).is_nothing(), "round {round}");
        }
        // What had a number of its own is still found under it, or the number says that there are two.
        let after = here.engine.releases().unwrap();
        for version in before.iter().flat_map(|registry| &registry.versions) {
            let found = after[0].find(Some(&version.name()));
            assert!(found.is_err() || found.is_ok_and(|found| found.bundle == version.bundle), "round {round}");
            let same = after[0].holder(&version.bundle).unwrap();
            assert!(same.held || !version.held || after[0].n_records > before[0].n_records, "round {round}");
        }
        // And work goes on, with versions behind all.
        let next = here.engine.versions("churn").unwrap().last_number() + 1;
        here.run(&desk, &churn(&desk, 0.11));
        assert_eq!(here.engine.versions("churn").unwrap().live, Some(next));
    }
}

#[test]
fn an_own_result_is_preferred_and_the_other_one_is_told_and_kept() {
    let desk = with_dice();
    let (here, there) = (Shop::new(&desk), Shop::new(&desk));
    let [ours, theirs] = [&here, &there].map(|shop| shop.run(&desk, &churn(&desk, 0.8)).digest("dice", "out"));
    assert_ne!(ours, theirs);
    let merged = here.take_in(there.folder.path());
    let told: Vec<_> = merged.differing.iter().map(|differing| differing.step.step.as_str()).collect();
    assert_eq!(told, ["dice"]);
    let again = here.run(&desk, &churn(&desk, 0.8));
    assert_eq!(again.sorted_story(), ["dice reused", "model reused", "raw reused"]);
    assert_eq!(again.digest("dice", "out"), ours);
    // The other one is history, with its object and its lineage.
    assert!(here.store.object(&theirs).unwrap().is_some());
    let lineage = here.engine.lineage(LineageStart::Artifact(theirs), Direction::Up).unwrap();
    assert_eq!(lineage.objects.missing, []);
    // A store that has none takes the other's.
    let third = Shop::new(&desk);
    third.take_in(there.folder.path());
    assert_eq!(third.run(&desk, &churn(&desk, 0.8)).digest("dice", "out"), theirs);
}

#[test]
fn the_latest_event_decides_what_is_live_and_a_hold_survives() {
    let desk = with_dice();
    let (here, there) = (Shop::new(&desk), Shop::new(&desk));
    here.run(&desk, &churn(&desk, 0.7));
    there.take_in(here.folder.path());
    here.run(&desk, &churn(&desk, 0.8));
    there.run(&desk, &churn(&desk, 0.9));
    here.engine.rollback("churn", None, "declines").unwrap();
    let merged = there.take_in(here.folder.path());
    let [release] = merged.releases.as_slice() else { panic!("{merged:?}") };
    let ends = [&release.live_here, &release.live_there, &release.live].map(|live| live.as_deref());
    assert_eq!(ends, [Some("2"), Some("1"), Some("1")]);
    assert_eq!((release.decided_by.as_str(), release.shared.len()), ("the rollback from version 2 to 1", 2));
    let registry = there.engine.versions("churn").unwrap();
    let held: Vec<bool> = registry.versions.iter().map(|version| version.held).collect();
    assert_eq!(held.iter().filter(|held| **held).count(), 1);
    // The one that was held here is held there, though another bundle has its number.
    let first = registry.versions.iter().find(|version| version.held).unwrap();
    assert_eq!(here.engine.versions("churn").unwrap().numbered(2)[0].bundle, first.bundle);
    let error = there.engine.rollback("churn", Some(&2.into()), "which?").unwrap_err();
    assert!(error.to_string().contains("number 2 of release `churn` was given to 2 bundles"), "{error}");
    assert!(error.help().unwrap().contains(&format!("`churn@{}`", first.name())));
    there.engine.unhold("churn", &first.name()).unwrap();
    there.engine.rollback("churn", Some(&first.name()), "better after all").unwrap();
    assert!(there.engine.versions("churn").unwrap().live_version().unwrap().bundle == first.bundle);
}

#[test]
fn what_is_damaged_there_is_left_out_and_named_and_comes_with_the_next_merge() {
    let desk = with_dice();
    let (here, there) = (Shop::new(&desk), Shop::new(&desk));
    // Personal objects have files of their own.
    desk.runner.add("train", |step| write_out(step, &"large ".repeat(2000)));
    let model = there.run(&desk, &churn(&desk, 0.8)).digest("model", "out");
    let text = model.to_string();
    let path = there.folder.path().join(".mlp/objects").join(&text[..2]).join(&text[2..]);
    let sound = fs::read(&path).unwrap();
    let put = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    put(&[b"LARGE", &sound[5..]].concat());
    let merged = here.take_in(there.folder.path());
    let [left_out] = merged.left_out.as_slice() else { panic!("{merged:?}") };
    assert_eq!(left_out.what, format!("object {}", model.short()));
    assert!(here.store.object(&model).unwrap().is_none());
    put(&sound);
    let merged = here.take_in(there.folder.path());
    assert_eq!((merged.n_objects, merged.n_records, merged.left_out.len()), (1, 0, 0));
    assert!(here.store.object(&model).unwrap().is_some());
    assert_eq!(here.run(&desk, &churn(&desk, 0.8)).sorted_story(), ["dice reused", "model reused", "raw reused"]);
}
