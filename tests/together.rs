//! Two people, a schedule and somebody who looks, on one workspace whose owner is killed again and again: nothing is
//! lost and nothing is done twice. `MLP_TOGETHER_SECONDS` (20) makes it longer; the owner then dies every 5 s.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::small_pipeline;

#[test]
fn runs_of_several_people_lose_nothing_while_the_owner_is_killed() {
    let asked: Option<u64> = std::env::var("MLP_TOGETHER_SECONDS").ok().and_then(|text| text.parse().ok());
    let length = Duration::from_secs(asked.unwrap_or(20));
    let between_kills = Duration::from_secs(if asked.is_some() { 5 } else { 1 });
    let workspace = &small_pipeline();
    // Each execution leaves a mark outside, by which executions of one key are counted.
    let marks = |name: &str| workspace.path(name).display().to_string();
    workspace.edit("small.mlp", "int = 3 in 0..=72", "int = 3 in 0..=1000000");
    let text = workspace.read("small.mlp");
    workspace.write(
        "small.mlp",
        text + &format!(
            "step marked = sh(\"echo \" + least + \" >> '{}'; sleep 0.02; sort {{rows}} > {{sorted}}\", inputs: {{ rows: exported }}, outputs: {{ sorted: file }}, confine: off)\n",
            marks("marks.people")
        ),
    );
    workspace.write(
        "nightly.mlp",
        format!(
            "pipeline nightly\nparam night: int = 0\nstep made = sh(\"echo \" + night + \" >> '{}'; echo \" + night + \" > {{o}}\", outputs: {{ o: file }}, confine: off)\n",
            marks("marks.nightly")
        ),
    );
    let is_over = &AtomicBool::new(false);
    let goes_on = || !is_over.load(Ordering::Relaxed);
    let repeat = |file: &'static str, param: &'static str| {
        let (mut runs, mut n) = (Vec::new(), 0);
        while goes_on() {
            let ran = workspace.run(file, &["--param", &format!("{param}={n}")]).exits(0);
            // An answer that was kept is no run: somebody else has just done the same.
            let is_run = ran.events()[0]["recorded"] != false;
            runs.extend(is_run.then(|| ran.finished()["run"].as_str().expect("an id").to_owned()));
            n += 1;
        }
        runs
    };
    let (started, mut n_kills, mut n_looks) = (Instant::now(), 0, 0);
    let (people, nightly) = thread::scope(|scope| {
        // Both go through the same values, each at its own pace.
        let people: Vec<_> = (0..2).map(|_| scope.spawn(|| repeat("small.mlp", "least"))).collect();
        let nightly = scope.spawn(|| repeat("nightly.mlp", "night"));
        let reader = scope.spawn(|| {
            let mut n_looks = 0;
            while goes_on() {
                for args in [&["runs"][..], &["log"], &["store", "stats"], &["why", "small.mlp", "parts"]] {
                    // The newest run may have told nothing yet, and there may be none: but the store answers.
                    let ran = workspace.mlp(args);
                    assert!([0, 2].contains(&ran.code), "{ran}");
                    n_looks += 1;
                }
            }
            n_looks
        });
        while started.elapsed() < length {
            thread::sleep(between_kills);
            n_kills += u32::from(workspace.kill_owner());
        }
        is_over.store(true, Ordering::Relaxed);
        n_looks += reader.join().expect("the reader is answered");
        let people: Vec<String> = people.into_iter().flat_map(|run| run.join().expect("all runs succeed")).collect();
        (people, nightly.join().expect("all runs succeed"))
    });

    for (name, n_least) in [("marks.people", people.len() / 2), ("marks.nightly", nightly.len())] {
        let mut times: BTreeMap<String, u32> = BTreeMap::new();
        workspace.read(name).lines().for_each(|line| *times.entry(line.to_owned()).or_default() += 1);
        let twice: Vec<_> = times.iter().filter(|(_, n)| **n > 1).collect();
        assert!(twice.is_empty(), "{name}: executed more than once: {twice:?}");
        assert!(times.len() >= n_least, "{name}: {} keys executed by {n_least} runs", times.len());
    }
    let ids: BTreeSet<&String> = people.iter().chain(&nightly).collect();
    let listed = workspace.json(&["runs", "-n", "100000"]);
    let listed: BTreeSet<String> =
        listed.as_array().expect("runs").iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect();
    let lost: Vec<_> = ids.iter().filter(|id| !listed.contains(**id)).collect();
    assert!(lost.is_empty(), "runs that were told to be finished are not listed: {lost:?}");
    workspace.mlp(&["store", "verify"]).exits(0);
    println!("{n_kills} owners killed, {} runs, {n_looks} looks: 0 lost, no key executed twice", ids.len());
    assert!(n_kills > 3, "the owner was hardly ever there to be killed");
}
