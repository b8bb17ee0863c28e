//! `kill -9` of `mlp run` at any moment: the next run completes, gives the same artifacts and repeats nothing that was
//! finished. `MLP_KILLS` and `MLP_SEED` change how many and which moments.

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{Ran, Workspace, small_pipeline};

#[test]
fn a_killed_run_is_resumed_with_equal_artifacts_and_no_step_twice() {
    let n_kills: u32 = from_env("MLP_KILLS").unwrap_or(50);
    let seed = from_env("MLP_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64));
    println!("{n_kills} kills, MLP_SEED={seed}");
    let mut random = SplitMix(seed);

    let started = Instant::now();
    let undisturbed = slow_pipeline().run("small.mlp", &[]).exits(0);
    let length = started.elapsed();
    let (expected, all) = (undisturbed.digests(), undisturbed.executed());
    println!("an undisturbed run takes {length:?}");

    let (mut n_cut, mut n_kept) = (0, 0);
    for _ in 0..n_kills {
        let workspace = slow_pipeline();
        let moment = length.mul_f64(random.unit());
        let killed = run_and_kill(&workspace, moment);
        let finished = killed.complete_events("step_finished");
        n_cut += usize::from(!killed.stdout.contains("run_finished"));
        n_kept += finished.len();

        let resumed = workspace.run("small.mlp", &[]).exits(0);
        assert_eq!(resumed.digests(), expected, "seed {seed}, killed after {moment:?}: {resumed}");
        let repeated: Vec<_> = resumed.executed().into_iter().filter(|step| finished.contains(step)).collect();
        assert!(repeated.is_empty(), "seed {seed}, killed after {moment:?}: {repeated:?} ran twice{killed}{resumed}");
        assert_eq!(workspace.run("small.mlp", &[]).steps(), (0, all.len() as u64, 0, 0));
    }
    println!("{n_cut} of {n_kills} runs were cut short; {n_kept} finished steps were kept");
    assert!(n_cut * 2 > n_kills as usize, "most kills must hit a run that is still going");
    assert!(n_kept > 0, "some kills must come after a step was finished");
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

fn run_and_kill(workspace: &Workspace, after: Duration) -> Ran {
    let args = ["run", "small.mlp", "--json"];
    let mut child: std::process::Child = Command::new(env!("CARGO_BIN_EXE_mlp"))
        .args(args)
        .current_dir(&workspace.root)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(workspace.path("killed.out")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
    Ran { args: args.join(" "), code: -9, stdout: workspace.read("killed.out"), stderr: String::new() }
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
