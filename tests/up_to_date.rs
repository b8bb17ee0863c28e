//! A run with nothing to do is answered from what the run before left behind, and never wrongly.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::{Ran, Workspace};

const PIPELINE: &str = r#"pipeline words

param least: int = 1

source list   = file("data/list.txt")
source more   = folder("data/more")
step sorted   = sh("sort {list} > {out}", inputs: { list }, outputs: { out: file })
step counted  = sh("echo $SEED > {n}; find {more} -type f | wc -l >> {n}", inputs: { more }, outputs: { n: file },
                   pass_env: ["SEED"])
step long     = sh("for i in 0 1 2 3 4 5 6 7 8 9; do cat {big} >> {out}; done; echo " + least + " >> {out}",
                   inputs: { big: file("data/big.txt") }, outputs: { out: file })

release words = bundle { sorted, long }
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("words.mlp", PIPELINE);
    workspace.write("data/list.txt", "pear\napple\nfig\n");
    workspace.write("data/big.txt", "0123456789abcdef\n".repeat(100));
    workspace.write("data/more/a.txt", "a\n");
    workspace.write("data/more/deep/b.txt", "b\n");
    workspace.write("other.mlp", "pipeline other\n\nsource list = file(\"data/list.txt\")\n");
    workspace
}

fn run(workspace: &Workspace, args: &[&str], seed: &str) -> Ran {
    let mut all = vec!["run", "words.mlp", "--json"];
    all.extend(args);
    Ran::of(&all, workspace.command(&all).env("SEED", seed).output().expect("mlp starts"))
}

/// Whether the answer was a kept one.
fn was_kept(ran: &Ran) -> bool {
    ran.events()[0]["recorded"] == false
}

/// What a run told, without what differs from run to run, and without its order.
fn told(ran: &Ran) -> Vec<Value> {
    let mut events = ran.events();
    for event in &mut events {
        let event = event.as_object_mut().expect("an event is an object");
        for name in ["run", "at", "seconds", "recorded"] {
            event.remove(name);
        }
    }
    events.sort_by_key(ToString::to_string);
    events
}

/// Lets time stamps grow old enough to be trusted.
fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}

#[test]
fn the_second_run_is_answered_without_the_store_and_says_the_same() {
    let workspace = workspace();
    settle();
    let first = run(&workspace, &[], "1").exits(0);
    assert_eq!(first.steps().0, 5);
    let kept = run(&workspace, &[], "1").exits(0);
    assert!(was_kept(&kept), "{kept}");
    assert_eq!(kept.steps(), (0, 5, 0, 0));
    assert_eq!(kept.digests(), first.digests());

    let snapshots = workspace.path(".mlp/snapshot");
    let plain = |args: &[&str]| {
        let ran = Ran::of(args, workspace.command(args).env("SEED", "1").output().expect("mlp starts")).exits(0);
        let since = ran
            .stdout
            .split_once('(')
            .map(|(said, rest)| (said.to_owned(), rest.split_once(';').map(|r| r.1.to_owned())));
        (ran.stderr, since)
    };
    let plain_kept = plain(&["run", "words.mlp"]);
    std::fs::remove_dir_all(&snapshots).expect("there are answers");
    let ordinary = run(&workspace, &[], "1").exits(0);
    assert!(!was_kept(&ordinary));
    assert_eq!(told(&kept), told(&ordinary));
    std::fs::remove_dir_all(&snapshots).expect("the answer is kept again");
    assert_eq!(plain_kept, plain(&["run", "words.mlp"]));

    // A kept answer is no run; `mlp runs` lists the three that did something or asked the store.
    assert_eq!(workspace.json(&["runs"]).as_array().map(Vec::len), Some(3));
}

#[test]
fn warnings_are_given_again() {
    let workspace = workspace();
    settle();
    let said = |workspace: &Workspace| {
        let args = ["run", "words.mlp"];
        Ran::of(&args, workspace.command(&args).env("SEED", "1").output().expect("mlp starts")).exits(0).stderr
    };
    said(&workspace);
    let kept = said(&workspace);
    assert!(kept.contains("E0533"), "{kept}");
    std::fs::remove_dir_all(workspace.path(".mlp/snapshot")).expect("there are answers");
    assert_eq!(said(&workspace), kept);
}

#[test]
fn two_pipelines_of_a_workspace_are_both_answered() {
    let workspace = workspace();
    settle();
    let other = |workspace: &Workspace| workspace.run("other.mlp", &[]).exits(0);
    run(&workspace, &[], "1").exits(0);
    other(&workspace);
    for _ in 0..2 {
        run(&workspace, &[], "1").exits(0);
        other(&workspace);
    }
    assert!(was_kept(&run(&workspace, &[], "1")) && was_kept(&other(&workspace)));
}

#[test]
fn no_change_is_ever_overlooked() {
    let seed = std::env::var("MLP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(7, |since| since.as_nanos() as u64)
    });
    println!("MLP_SEED={seed}");
    let mut random = Random(seed);
    let workspace = workspace();
    let (mut seed_variable, mut param) = ("1", "least=1");
    let (mut n_kept, mut n_ordinary) = (0, 0);
    for round in 0..60 {
        let what = edit(&workspace, &mut random, &mut seed_variable, &mut param);
        if random.below(3) > 0 {
            settle();
        }
        let args = ["--param", param];
        let asked = run(&workspace, &args, seed_variable);
        if asked.code == 0 && was_kept(&asked) {
            n_kept += 1;
            std::fs::remove_dir_all(workspace.path(".mlp/snapshot")).expect("there are answers");
            let ordinary = run(&workspace, &args, seed_variable).exits(0);
            assert_eq!(told(&asked), told(&ordinary), "round {round}, after: {what}");
        } else {
            n_ordinary += 1;
            // Nothing has changed since: what it left behind must serve, or it must be in doubt, but never be wrong.
            let again = run(&workspace, &args, seed_variable);
            if asked.code == 0 && was_kept(&again) {
                n_kept += 1;
                assert_eq!(again.digests(), asked.digests(), "round {round}, after: {what}");
                assert_eq!(again.steps().0, 0);
            }
        }
    }
    assert!(n_kept > 15 && n_ordinary > 10, "{n_kept} answers were kept ones, {n_ordinary} were not");
}

/// Changes something, or nothing that counts; returns what.
fn edit(workspace: &Workspace, random: &mut Random, variable: &mut &str, param: &mut &str) -> &'static str {
    let list = workspace.path("data/list.txt");
    let set_time = |time: SystemTime| {
        std::fs::File::options()
            .write(true)
            .open(&list)
            .and_then(|file| file.set_modified(time))
            .expect("a time stamp");
    };
    let rewrite = |n: u64| workspace.write("data/list.txt", format!("pear\napple\nfig{n}\n"));
    match random.below(17) {
        0 => "nothing",
        1 => {
            set_time(SystemTime::now());
            "the list was touched"
        }
        2 => {
            let before = list.metadata().and_then(|found| found.modified()).expect("a time stamp");
            rewrite(random.below(10));
            set_time(before);
            "the list was edited, its size and time restored"
        }
        3 => {
            let text = workspace.read("data/list.txt");
            workspace.write("equal", text);
            std::fs::rename(workspace.path("equal"), &list).expect("a move");
            "the list was replaced by an equal file"
        }
        4 => {
            _ = std::fs::rename(workspace.path("data/more/a.txt"), workspace.path("data/more/c.txt"))
                .or_else(|_| std::fs::rename(workspace.path("data/more/c.txt"), workspace.path("data/more/a.txt")));
            "a file in the folder was renamed"
        }
        5 => {
            workspace.write(&format!("data/more/deep/{}.txt", random.below(5)), "new\n");
            "a file was added deep in the folder"
        }
        6 => {
            let mode = if random.below(2) == 0 { 0o644 } else { 0o755 };
            std::fs::set_permissions(workspace.path("data/more/deep/b.txt"), std::fs::Permissions::from_mode(mode))
                .expect("a mode");
            "a file in the folder changed its mode"
        }
        7 => {
            for object in objects(workspace) {
                std::fs::remove_file(object).expect("an object");
            }
            "all object files were deleted"
        }
        8 => {
            for object in objects(workspace) {
                let mut bytes = std::fs::read(&object).expect("an object");
                bytes[0] ^= 1;
                std::fs::set_permissions(&object, std::fs::Permissions::from_mode(0o644)).expect("a mode");
                std::fs::write(&object, bytes).expect("a write");
            }
            "all object files were damaged"
        }
        9 => {
            workspace.write("mlp.yaml", format!("owner_idle_seconds: 0\njobs: {}\n", 1 + random.below(3)));
            "the settings changed"
        }
        10 => {
            *variable = ["1", "2"][random.below(2) as usize];
            "a variable that `pass_env` names changed"
        }
        11 => {
            *param = ["least=1", "least=2"][random.below(2) as usize];
            "a parameter changed"
        }
        12 => {
            let line = format!("// {}\n", random.below(1000));
            workspace.write("words.mlp", PIPELINE.to_owned() + &line);
            "a comment was written"
        }
        13 => {
            let edited = PIPELINE.replace("sort {list}", ["sort {list}", "sort -r {list}"][random.below(2) as usize]);
            workspace.write("words.mlp", edited);
            "a command was edited"
        }
        14 => {
            workspace.mlp(&["models", "rollback", "words"]);
            "a release was rolled back, if there were two"
        }
        15 => {
            workspace.run("other.mlp", &[]);
            "another pipeline ran"
        }
        _ => {
            _ = std::fs::remove_file(workspace.path("data/more/deep/0.txt"));
            "a file was removed from the folder"
        }
    }
}

fn objects(workspace: &Workspace) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(workspace.path(".mlp/objects")).into_iter().flatten().flatten() {
        if folder.file_name().len() == 2 {
            found.extend(std::fs::read_dir(folder.path()).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    found
}

/// Random numbers; the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}
