//! `kill -9` of `mlp run`, of the store's owner, or of what a step has started, at any moment: the next run completes,
//! gives the same artifacts and repeats nothing that was finished. `MLP_KILLS` (60) and `MLP_SEED` change how many and
//! which moments.

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{Ran, Workspace, small_pipeline};

#[test]
fn a_killed_run_is_resumed_with_equal_artifacts_and_no_step_twice() {
    let n_kills: u32 = from_env("MLP_KILLS").unwrap_or(60);
    let seed = from_env("MLP_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64));
    println!("{n_kills} kills, MLP_SEED={seed}");
    let mut random = SplitMix(seed);

    let started = Instant::now();
    let undisturbed = slow_pipeline().run("small.mlp", &[]).exits(0);
    let length = started.elapsed();
    let (expected, all) = (undisturbed.digests(), undisturbed.executed());
    println!("an undisturbed run takes {length:?}");

    let (mut n_cut, mut n_kept, mut n_hit) = (0, 0, BTreeMap::<Victim, u32>::new());
    for round in 0..n_kills {
        let workspace = slow_pipeline();
        let victim = [Victim::Run, Victim::Owner, Victim::Run, Victim::Program][round as usize % 4];
        let moment = length.mul_f64(random.unit());
        let context = format!("seed {seed}, {victim:?} killed after {moment:?}");
        let (killed, was_hit) = run_and_kill(&workspace, victim, moment);
        *n_hit.entry(victim).or_default() += u32::from(was_hit);
        let finished = killed.complete_events("step_finished");
        n_cut += u32::from(victim == Victim::Run && !killed.stdout.contains("run_finished"));
        n_kept += finished.len();
        // A run outlives its owner: it finds the next one and goes on as if nothing had been.
        assert!(victim != Victim::Owner || killed.code == 0, "{context}: {killed}");
        assert!(victim == Victim::Run || (0..=1).contains(&killed.code), "{context}: {killed}");
        let mut once = finished.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), finished.len(), "{context}: a step ran twice {killed}");

        let resumed = workspace.run("small.mlp", &[]).exits(0);
        assert_eq!(resumed.digests(), expected, "{context}: {resumed}");
        let repeated: Vec<_> = resumed.executed().into_iter().filter(|step| finished.contains(step)).collect();
        assert!(repeated.is_empty(), "{context}: {repeated:?} ran twice{killed}{resumed}");
        assert_eq!(workspace.run("small.mlp", &[]).steps(), (0, all.len() as u64, 0, 0));
    }
    println!("hit: {n_hit:?}; {n_cut} runs were cut short; {n_kept} finished steps were kept");
    assert!(n_cut * 4 > n_kills, "most kills of a run must hit one that is still going");
    assert!(n_kept > 0, "some kills must come after a step was finished");
    assert!(n_kills < 20 || n_hit.values().filter(|n| **n > 0).count() == 3, "each victim must be hit: {n_hit:?}");
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Run,
    Owner,
    /// A process that the run has started for a step.
    Program,
}

impl Victim {
    /// Kills it; false, if there is none at the moment.
    fn kill(self, run: &mut std::process::Child, workspace: &Workspace) -> bool {
        let root = workspace.root.to_str().unwrap_or_default();
        let is_owner = |words: &[&str]| words.contains(&"__owner") && words.contains(&root);
        let victim = match self {
            Self::Run => return run.try_wait().is_ok_and(|ended| ended.is_none()) && run.kill().is_ok(),
            Self::Owner => find_process(|_, words| is_owner(words)),
            Self::Program => find_process(|parent, words| parent == run.id() && !is_owner(words)),
        };
        victim.is_some_and(|pid| {
            Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status().unwrap().success()
        })
    }
}

/// Returns a process by its parent and the words of its command line.
fn find_process(is_wanted: impl Fn(u32, &[&str]) -> bool) -> Option<u32> {
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        is_wanted(parent, &line.split('\0').collect::<Vec<_>>()).then_some(pid)
    })
}

/// Five quick steps and three programs that take their time.
fn slow_pipeline() -> Workspace {
    let workspace = small_pipeline();
    let text = workspace.read("small.mlp");
    let slow = r#"
step slow_a = sh("sleep 0.1; sort {rows} > {sorted}", inputs: { rows: exported }, outputs: { sorted: file })
step slow_b = sh("sleep 0.1; sort -r {rows} > {sorted}", inputs: { rows: slow_a }, outputs: { sorted: file })
step slow_c = sh("sleep 0.1; cksum < {rows} > {sum}", inputs: { rows: slow_b }, outputs: { sum: file })
"#;
    workspace.write("small.mlp", text + slow);
    workspace
}

/// Returns how the run went, and whether the victim was there to be killed.
fn run_and_kill(workspace: &Workspace, victim: Victim, after: Duration) -> (Ran, bool) {
    let args = ["run", "small.mlp", "--json"];
    let mut child: std::process::Child = Command::new(env!("CARGO_BIN_EXE_mlp"))
        .args(args)
        .current_dir(&workspace.root)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(workspace.path("killed.out")).unwrap())
        .stderr(std::fs::File::create(workspace.path("killed.err")).unwrap())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let was_hit = victim.kill(&mut child, workspace);
    let code = child.wait().unwrap().code().unwrap_or(-9);
    let (stdout, stderr) = (workspace.read("killed.out"), workspace.read("killed.err"));
    (Ran { args: args.join(" "), code, stdout, stderr }, was_hit)
}

impl Ran {
    /// Returns the steps of an event, passing over a last line that the kill cut.
    fn complete_events(&self, event: &str) -> Vec<String> {
        self.stdout
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|value| value["event"] == event)
            .filter_map(|value| value["step"].as_str().map(str::to_owned))
            .collect()
    }
}

fn from_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// A tiny seeded generator: the moments must be repeatable from the printed seed.
struct SplitMix(u64);

impl SplitMix {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
