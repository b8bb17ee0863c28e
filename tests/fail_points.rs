//! A process killed at each named place of the program (`fail_point("NAME")`): whoever follows completes its work, with equal
//! artifacts, nothing twice and one release. The places are read from the sources, so that none is forgotten.
//!
//! `MLP_FAIL_ROUNDS` (1) says how often for each place, `MLP_SEED` the how-manieth time that it is reached.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{Ran, Workspace, repository, small_pipeline};

/// So many times a place is passed at most before its process dies; where it is reached less often, the first time counts.
const MOST_PASSES: u64 = 6;

#[test]
fn whoever_dies_at_a_named_place_its_work_is_completed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let n_rounds = number("MLP_FAIL_ROUNDS").unwrap_or(1);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    let mut seed = number("MLP_SEED").unwrap_or(since);
    println!("MLP_SEED={seed}");
    let expected = Expected::new();
    let (mut n_dead, mut n_points) = (0, 0);
    for name in all_names() {
        let scene = Scene::of(&name);
        n_points += 1;
        for _ in 0..n_rounds {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let nth = 1 + (seed >> 33) % MOST_PASSES;
            let died = scene.play(&expected, &name, nth) || scene.play(&expected, &name, 1);
            assert!(died, "no process reaches `{name}`");
            n_dead += 1;
        }
    }
    println!("{n_points} places, {n_dead} processes killed, all work completed");
    assert!(n_points >= 50, "only {n_points} places were found in the sources");
}

#[test]
fn a_plan_that_cannot_be_read_is_refused() {
    let workspace = small_pipeline();
    for plan in ["", "journal.synced", "journal.synced 0 dead", "journal.synced once dead", "journal.synced 1"] {
        let args = ["run", "small.mlp"];
        let output = workspace.command(&args).env("MLP_FAIL_POINT", plan).output().expect("mlp starts");
        Ran::of(&args, output).exits(2).says(&["MLP_FAIL_POINT must be `NAME NTH FILE`"]);
    }
    assert!(!workspace.path(".mlp").exists());
}

/// Returns the names of all places.
fn all_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["engine/store/src", "engine/core/src"] {
        for path in sources_below(&repository().join(folder)) {
            let text = std::fs::read_to_string(&path).expect("a source file");
            names.extend(
                text.split("fail_point(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
            );
        }
    }
    names
}

fn sources_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { sources_below(&path) } else { vec![path] }).collect()
}

/// What is done when the process dies.
#[derive(Debug, Clone, Copy)]
enum Scene {
    Run,
    RunAgain,
    RunEncrypted,
    Collect,
    Merge,
    Erase,
    Repair,
}

/// What comes of each scene when nobody dies.
struct Expected {
    run: BTreeMap<String, String>,
    encrypted: BTreeMap<String, String>,
}

impl Expected {
    fn new() -> Self {
        let run = |workspace: Workspace| workspace.run("small.mlp", &[]).exits(0).digests();
        Self { run: run(released()), encrypted: run(encrypted()) }
    }
}

impl Scene {
    fn of(name: &str) -> Self {
        match name.split_once('.').expect("names have two parts") {
            (_, "reused") => Self::RunAgain,
            ("gc", _) => Self::Collect,
            ("merge", _) => Self::Merge,
            ("erase", _) => Self::Erase,
            ("repair", _) => Self::Repair,
            (_, "sealing" | "sealed") => Self::RunEncrypted,
            _ => Self::Run,
        }
    }

    /// Returns whether a process has died there.
    fn play(self, expected: &Expected, name: &str, nth: u64) -> bool {
        match self {
            Self::Run => run(&released(), &expected.run, (name, nth)),
            Self::RunEncrypted => run(&encrypted(), &expected.encrypted, (name, nth)),
            Self::RunAgain => {
                let workspace = released();
                workspace.run("small.mlp", &["--until", "parts"]).exits(0);
                run(&workspace, &expected.run, (name, nth))
            }
            Self::Collect => collect((name, nth)),
            Self::Merge => merge((name, nth)),
            Self::Erase => erase((name, nth)),
            Self::Repair => repair(&expected.run, (name, nth)),
        }
    }
}

/// The small pipeline with a gate and a release.
fn released() -> Workspace {
    let workspace = small_pipeline();
    let text = workspace.read("small.mlp");
    let more = "gate fine { least 1.0 <= 2.0 }\nrelease small = bundle { exported, counted } when fine\n";
    workspace.write("small.mlp", text + more);
    workspace
}

fn encrypted() -> Workspace {
    let workspace = released();
    let settings = "owner_idle_seconds: 0\nencryption: { partition: customers, keys: { folder: keys } }\n";
    workspace.write("mlp.yaml", settings).write("keys/customers.key", "5a".repeat(32) + "\n");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(workspace.path("keys/customers.key"), mode).expect("rights");
    workspace
}

/// Lets the first process that reaches the place for the nth time die. Returns how the command went.
fn dying(workspace: &Workspace, args: &[&str], (name, nth): (&str, u64)) -> Ran {
    let plan = format!("{name} {nth} {}", workspace.path("dead").display());
    let output: Output = workspace.command(args).env("MLP_FAIL_POINT", plan).output().expect("mlp starts");
    Ran::of(args, output)
}

/// Returns whether one has died. An owner may do so when it leaves.
fn has_died(workspace: &Workspace) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while workspace.owner().is_some() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    workspace.path("dead").exists()
}

/// Returns the steps that a run, perhaps one that died, has told to be finished. A last line may be cut.
fn finished(ran: &Ran) -> Vec<String> {
    let complete = ran.stdout.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let events = complete.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let finished = events.filter(|event| event["event"] == "step_finished");
    finished.filter_map(|event| event["step"].as_str().map(str::to_owned)).collect()
}

fn is_sound(workspace: &Workspace) {
    workspace.mlp(&["store", "verify"]).exits(0).says(&["The store is sound"]);
}

fn run(workspace: &Workspace, expected: &BTreeMap<String, String>, point: (&str, u64)) -> bool {
    let killed = dying(workspace, &["run", "small.mlp", "--json"], point);
    let is_of_owner = ["owner", "journal", "index", "claim"].iter().any(|part| point.0.starts_with(part));
    // A run outlives its owner.
    assert!(!is_of_owner || killed.code == 0, "{point:?}: {killed}");
    let resumed = workspace.run("small.mlp", &[]).exits(0);
    // An answer that was kept tells no digests: then the run had told them.
    let whole = if resumed.digests().is_empty() { &killed } else { &resumed };
    assert_eq!(&whole.digests(), expected, "{point:?}: {killed}{resumed}");
    let twice: Vec<_> = resumed.executed().into_iter().filter(|step| finished(&killed).contains(step)).collect();
    assert!(twice.is_empty(), "{point:?}: {twice:?} ran twice{killed}{resumed}");
    let models = workspace.json(&["models"]);
    assert_eq!(models[0]["versions"].as_array().map(Vec::len), Some(1), "{point:?}: {models}");
    assert_eq!(models[0]["live"], 1, "{point:?}: {models}");
    is_sound(workspace);
    has_died(workspace)
}

/// Returns a table that differs from round to round.
fn customers(round: u32) -> String {
    let rows = (0..300).map(|row| format!("c{row},{},plus,No\n", (round + row) % 60 + 3));
    std::iter::once("id,tenure,plan,left\n".to_owned()).chain(rows).collect()
}

fn collect(point: (&str, u64)) -> bool {
    let workspace = small_pipeline();
    for round in 0..3 {
        workspace.write("data/customers.csv", customers(round));
        workspace.run("small.mlp", &[]).exits(0);
    }
    dying(&workspace, &["gc", "--keep-runs", "1"], point);
    is_sound(&workspace);
    workspace.mlp(&["gc", "--keep-runs", "1"]).exits(0);
    let left = workspace.json(&["gc", "--keep-runs", "1", "--dry-run"]);
    assert_eq!(left["unneeded"]["n_objects"].as_u64().unwrap_or(0), 0, "{point:?}: {left}");
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0), "{point:?}");
    is_sound(&workspace);
    has_died(&workspace)
}

fn merge(point: (&str, u64)) -> bool {
    let (here, there) = (released(), released());
    here.run("small.mlp", &[]).exits(0);
    there.write("data/customers.csv", customers(0));
    for least in ["4", "5"] {
        there.run("small.mlp", &["--param", &format!("least={least}")]).exits(0);
    }
    let other = there.root.to_str().expect("a name").to_owned();
    dying(&here, &["store", "merge", &other], point);
    is_sound(&here);
    here.mlp(&["store", "merge", &other]).exits(0);
    here.mlp(&["store", "merge", &other]).exits(0).says(&["is here already: nothing was added"]);
    assert_eq!(here.json(&["runs"]).as_array().map(Vec::len), Some(3), "{point:?}");
    here.write("data/customers.csv", customers(0));
    assert_eq!(here.run("small.mlp", &["--param", "least=5"]).exits(0).steps(), (0, 5, 0, 0), "{point:?}");
    is_sound(&here);
    has_died(&here)
}

fn erase(point: (&str, u64)) -> bool {
    let workspace = encrypted();
    workspace.run("small.mlp", &[]).exits(0);
    dying(&workspace, &["erase", "customers", "--yes"], point);
    workspace.mlp(&["erase", "customers", "--yes"]).exits(0);
    assert!(!workspace.path("keys/customers.key").exists(), "{point:?}");
    workspace.mlp(&["store", "verify"]).exits(0);
    workspace.mlp(&["lineage", "small"]).exits(0).says(&["erased"]);
    has_died(&workspace)
}

fn repair(expected: &BTreeMap<String, String>, point: (&str, u64)) -> bool {
    let workspace = released();
    let before = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(&before.digests(), expected);
    dying(&workspace, &["store", "repair"], point);
    workspace.mlp(&["store", "repair"]).exits(0);
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0), "{point:?}");
    is_sound(&workspace);
    has_died(&workspace)
}
