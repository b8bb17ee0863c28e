//! Looking after a workspace through the binary: verifying results, collecting, checking the store, archives.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{Workspace, small_pipeline};

/// Runs the pipeline on other rows each time, so that every run makes objects of its own.
fn runs_of_files(workspace: &Workspace, n_runs: usize) -> Vec<String> {
    (0..n_runs)
        .map(|n| {
            let rows: String = (0..300).map(|row| format!("c{row:03},{},plus,No\n", (row + n) % 70 + 1)).collect();
            workspace.write("data/customers.csv", format!("id,tenure,plan,left\n{rows}"));
            let ran = workspace.run("small.mlp", &[]).exits(0);
            ran.finished()["run"].as_str().expect("an id").to_owned()
        })
        .collect()
}

fn seed() -> u64 {
    let drawn = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let seed = std::env::var("MLP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(drawn);
    println!("MLP_SEED={seed}");
    seed
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

#[test]
fn a_step_that_is_not_deterministic_is_named_and_the_rest_is_the_same() {
    let workspace = small_pipeline();
    workspace.edit(
        "small.mlp",
        "step counted ",
        "step dice     = sh(\"od -An -N8 -tx8 /dev/urandom > {n}\", inputs: { rows: exported }, outputs: { n: file })\nstep counted ",
    );
    workspace.run("small.mlp", &[]).exits(0);
    let verified = workspace.mlp(&["verify", "small.mlp"]).exits(1);
    let verified = verified.says(&["same          stayed", "DIFFERS       dice.n", "first at byte", "is `dice`"]);
    assert!(!verified.stdout.contains("not verified"), "{verified}");
    workspace.mlp(&["verify", "small.mlp", "counted", "raw"]).exits(0).says(&["2 steps executed again"]);
    // The cache is as it was: nothing runs.
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 6, 0, 0));
    let found = workspace.json(&["verify", "small.mlp", "--sample", "40%", "--seed", "7"]);
    assert_eq!(found["checked"].as_array().expect("a list").len(), 3);
    assert_eq!(found, workspace.json(&["verify", "small.mlp", "--sample", "40%", "--seed", "7"]));
    workspace.mlp(&["verify", "small.mlp", "stayd"]).exits(2).says(&["did you mean `stayed`"]);
    workspace.mlp(&["verify", "small.mlp", "--sample", "0%"]).exits(2).says(&["20%"]);
}

#[test]
fn a_step_without_a_stored_result_is_not_verified_and_says_why() {
    let workspace = small_pipeline();
    workspace.mlp(&["verify", "small.mlp"]).exits(0).says(&["Nothing could be verified", "not verified  raw"]);
    workspace.mlp(&["verify", "small.mlp", "raw"]).exits(2).says(&["`raw` was not verified", "mlp run small.mlp"]);
}

#[test]
fn collected_results_are_made_again_and_kept_ones_are_reused() {
    let workspace = small_pipeline();
    runs_of_files(&workspace, 4);
    let before = workspace.json(&["store", "stats"]);
    let first = workspace.json(&["runs", "-n", "10"])[3]["run"].as_str().expect("an id").to_owned();
    let digest = workspace.mlp(&["log", &first, "--json"]).digests()["stayed.out"].clone();
    let outputs = workspace.json(&["gc", "--dry-run", "--keep-runs", "2"]);
    assert_eq!(outputs["logs"]["n_runs"], 2, "{outputs}");
    workspace.mlp(&["log", &first]).exits(0);
    assert!(outputs["n_unneeded"].as_u64() > Some(3) && outputs["removed"]["n_objects"] == 0, "{outputs}");
    assert_eq!(workspace.json(&["store", "stats"])["n_objects"], before["n_objects"]);
    let done = workspace.json(&["gc", "--keep-runs", "2"]);
    assert_eq!(done["removed"]["n_objects"], outputs["n_unneeded"], "{done}");
    assert_eq!(done["runs"], serde_json::json!({ "kept": 2, "total": 4 }));
    assert_eq!(done["logs"], outputs["logs"]);
    // What the last run used is there; the file of the first run brings steps back that must run again.
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0));
    workspace.mlp(&["store", "verify"]).exits(0).says(&["collected by `mlp gc`", "The store is sound"]);
    workspace.mlp(&["log", &first]).exits(2).says(&["`mlp gc` took it"]);
    workspace.mlp(&["log", &first, "counted"]).exits(2).says(&["`mlp gc` took it"]);
    workspace.mlp(&["runs", "-n", "10"]).exits(0).says(&[&first]);
    workspace.mlp(&["lineage", &digest]).exits(0).says(&["collected by `mlp gc`"]);
    // The first file again: what was made of it is gone, and says why.
    runs_of_files(&workspace, 1);
    // Nothing more to do.
    assert_eq!(workspace.json(&["gc", "--keep-runs", "9"])["n_unneeded"], 0);
    workspace.mlp(&["gc", "--older-than", "soon"]).exits(2).says(&["30d"]);
}

#[test]
fn a_size_is_reached_oldest_first_and_the_newest_run_stays() {
    let workspace = small_pipeline();
    runs_of_files(&workspace, 3);
    let all = workspace.json(&["gc", "--dry-run"])["size_bytes"].as_u64().expect("a number");
    let wanted = format!("{}B", all * 2 / 3);
    let done = workspace.json(&["gc", "--max-size", &wanted]);
    assert_eq!(done["fits"], true, "{done}");
    assert!(done["removed"]["size_bytes"].as_u64().expect("a number") < all / 2, "{done}");
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0));
    let done = workspace.json(&["gc", "--max-size", "1B"]);
    assert_eq!(done["fits"], false, "{done}");
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0));
}

#[test]
fn collecting_killed_at_any_point_leaves_the_kept_results_whole() {
    let mut random = seed();
    let workspace = small_pipeline();
    let n_kills: usize = std::env::var("MLP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let mut n_died = 0;
    for round in 0..n_kills {
        runs_of_files(&workspace, 2);
        let rows: String = (0..10).map(|row| format!("c{row},{},plus,No\n", round % 60 + row + 3)).collect();
        workspace.write("data/customers.csv", format!("id,tenure,plan,left\n{rows}"));
        workspace.run("small.mlp", &[]).exits(0);
        let delay = Duration::from_micros(next(&mut random) % 60_000);
        let mut command = workspace.command(&["gc", "--keep-runs", "1"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mlp starts");
        std::thread::sleep(delay);
        if next(&mut random).is_multiple_of(2) {
            workspace.kill_owner();
        } else {
            let _ = child.kill();
        }
        let status = child.wait().expect("a child");
        n_died += usize::from(status.signal().is_some() || !status.success());
        assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0), "round {round}, after {delay:?}");
        workspace.mlp(&["store", "verify"]).exits(0).says(&["The store is sound"]);
    }
    println!("{n_died} of {n_kills} were killed before their end");
    workspace.mlp(&["gc", "--keep-runs", "1"]).exits(0);
}

#[test]
fn collecting_beside_running_runs_takes_nothing_from_them() {
    let workspace = small_pipeline();
    for round in 0..6 {
        let rows: String = (0..300).map(|row| format!("c{row:03},{},plus,No\n", (row + round) % 70 + 1)).collect();
        workspace.write("data/customers.csv", format!("id,tenure,plan,left\n{rows}"));
        let run = workspace.spawn(&["run", "small.mlp", "--json"]);
        let collected = workspace.mlp(&["gc", "--keep-runs", "0"]);
        assert_eq!(collected.code, 0, "{collected}");
        let output = run.wait_with_output().expect("a child");
        assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_damaged_object_is_found_repaired_and_made_again() {
    let workspace = small_pipeline();
    let ran = workspace.run("small.mlp", &[]).exits(0);
    let digest = ran.digests()["stayed.out"].clone();
    let path = workspace.path(&format!(".mlp/objects/{}/{}", &digest[..2], &digest[2..]));
    let mut bytes = std::fs::read(&path).expect("an object");
    bytes[100] ^= 1;
    let mut permissions = std::fs::metadata(&path).expect("a file").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(&path, permissions).expect("rights");
    std::fs::write(&path, bytes).expect("a written file");
    workspace.mlp(&["store", "verify"]).exits(1).says(&["1 DAMAGED", &digest]);
    workspace.mlp(&["store", "repair"]).exits(0).says(&["1 damaged file moved aside", "`small.stayed` will run again"]);
    workspace.mlp(&["store", "verify"]).exits(0).says(&["missing: ", "`small.stayed` will run again"]);
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).executed(), ["stayed"]);
}

#[test]
fn a_run_becomes_cache_hits_in_another_workspace_without_its_personal_objects() {
    let (here, there) = (small_pipeline(), small_pipeline());
    let ran = here.run("small.mlp", &[]).exits(0);
    let run = ran.finished()["run"].as_str().expect("an id").to_owned();
    let archive = here.path("run.mlpx");
    let archive = archive.to_str().expect("a name");
    here.mlp(&["export", &run, "-o", archive]).exits(0).says(&["personal values left out", "--with-personal"]);
    there.mlp(&["import-bundle", archive]).exits(0).says(&["1 run taken in", "are not in the archive"]);
    // What holds customers' ids, or was made by a program from it, is personal and is made again; it comes out the same.
    let again = there.run("small.mlp", &[]).exits(0);
    assert_eq!((again.steps(), again.digests()), ((5, 0, 0, 0), ran.digests()));
    there.mlp(&["lineage", &ran.digests()["counted.n"]]).exits(0);

    let (plain, taker, whole) = (small_pipeline(), small_pipeline(), small_pipeline());
    for workspace in [&plain, &taker] {
        workspace.edit("small.mlp", "key personal", "key");
    }
    let of_plain = plain.run("small.mlp", &[]).exits(0).finished()["run"].as_str().expect("an id").to_owned();
    plain.mlp(&["export", &of_plain, "-o", "run.mlpx"]).exits(0);
    taker.mlp(&["import-bundle", plain.path("run.mlpx").to_str().expect("a name")]).exits(0);
    // A file says nothing of what is personal in it, so it stays at home in any case.
    assert_eq!(taker.run("small.mlp", &[]).exits(0).steps(), (2, 3, 0, 0));

    here.mlp(&["export", &run[..6], "-o", archive, "--with-personal"]).exits(0);
    whole.mlp(&["import-bundle", archive]).exits(0);
    whole.mlp(&["import-bundle", archive]).exits(0).says(&["0 runs taken in"]);
    assert_eq!(whole.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0));
    let digest = ran.digests()["counted.n"].clone();
    whole.mlp(&["lineage", &digest]).exits(0).says(&["step `raw`", "data/customers.csv", "present and whole."]);
    whole.mlp(&["store", "verify"]).exits(0);
    here.mlp(&["export", "none", "-o", archive]).exits(2);
}

#[test]
fn a_hostile_archive_is_refused_and_leaves_nothing() {
    let here = small_pipeline();
    let ran = here.run("small.mlp", &[]).exits(0);
    let run = ran.finished()["run"].as_str().expect("an id").to_owned();
    let archive = here.path("run.mlpx");
    here.mlp(&["export", &run, "-o", "run.mlpx", "--with-personal"]).exits(0);
    let bytes = std::fs::read(&archive).expect("an archive");
    let mut random = seed();
    let there = small_pipeline();
    let refuse = |what: &str, bytes: &[u8]| {
        there.write("bad.mlpx", bytes);
        let refused = there.mlp(&["import-bundle", "bad.mlpx"]);
        assert_eq!(refused.code, 2, "{what}: {refused}");
        assert!(refused.stderr.contains("was not taken in"), "{what}: {refused}");
        assert_eq!(there.json(&["runs"]).as_array().map(Vec::len), Some(0), "{what}");
        let n_objects = there.json(&["store", "stats"])["n_objects"].clone();
        assert_eq!(n_objects, 0, "{what}");
    };
    refuse("nothing", b"");
    refuse("text", b"not an archive at all, but a text of some length".repeat(40).as_slice());
    for _ in 0..6 {
        let cut = next(&mut random) as usize % (bytes.len() - 1024);
        refuse(&format!("cut at {cut}"), &bytes[..cut]);
    }
    // A flip in the padding between entries changes nothing that is read; elsewhere it is noticed.
    for _ in 0..6 {
        let mut flipped = bytes.clone();
        let at = next(&mut random) as usize % 1000 + 512;
        flipped[at] ^= 1;
        refuse(&format!("flip at {at}"), &flipped);
    }
    // The second entry becomes a link, then a path upwards, with headers that are right in themselves.
    let second =
        (bytes[124..135].iter().filter(|b| b.is_ascii_digit()).fold(0_usize, |n, b| n * 8 + usize::from(b - b'0')))
            .next_multiple_of(512)
            + 512;
    for (what, edit) in [
        ("a link", &(|header: &mut [u8]| header[156] = b'2') as &dyn Fn(&mut [u8])),
        ("a device", &|header: &mut [u8]| header[156] = b'3'),
        ("a long name", &|header: &mut [u8]| header[156] = b'L'),
        ("a path upwards", &|header: &mut [u8]| header[..14].copy_from_slice(b"../../seal\0\0\0\0")),
        ("an absolute path", &|header: &mut [u8]| header[..10].copy_from_slice(b"/tmp/seal\0")),
        ("a huge size", &|header: &mut [u8]| header[124..135].copy_from_slice(b"77777777777")),
    ] {
        let mut hostile = bytes.clone();
        let header = &mut hostile[second..second + 512];
        edit(header);
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        refuse(what, &hostile);
    }
    // A newer version says so.
    let text = String::from_utf8_lossy(&bytes[512..512 + 40]).into_owned();
    assert!(text.starts_with(r#"{"format":"mlpx","version":1,"#), "{text}");
    let mut newer = bytes.clone();
    newer[512 + 27] = b'9';
    there.write("newer.mlpx", &newer);
    there.mlp(&["import-bundle", "newer.mlpx"]).exits(2).says(&["newer mlp"]);
}

#[test]
fn a_run_is_told_as_openlineage_events() {
    let workspace = small_pipeline();
    let ran = workspace.run("small.mlp", &[]).exits(0);
    let run = ran.finished()["run"].as_str().expect("an id").to_owned();
    let told = workspace.mlp(&["lineage", &run, "--openlineage"]).exits(0);
    let events = told.events();
    let n_of = |kind: &str| events.iter().filter(|event| event["eventType"] == kind).count();
    assert_eq!((n_of("START"), n_of("COMPLETE")), (6, 6), "{told}");
    assert!(!told.stdout.contains("c001"), "{told}");
}
