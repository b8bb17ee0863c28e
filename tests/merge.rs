//! Merging two workspaces through the binary.

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::Workspace;

const PIPELINE: &str = r#"pipeline words

param least: int = 1

source list   = file("list.txt")
step sorted   = sh("sort {list} > {out}; head -c 9000 /dev/zero >> {out}", inputs: { list }, outputs: { out: file })
step dice     = sh("od -An -N8 -tx8 /dev/urandom > {n}", inputs: { list }, outputs: { n: file })
step counted  = sh("wc -l < {sorted} > {n}; echo " + least + " >> {n}", inputs: { sorted }, outputs: { n: file })

release words = bundle { counted }
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("words.mlp", PIPELINE);
    workspace.write("list.txt", "pear\napple\nfig\n");
    workspace
}

fn name(workspace: &Workspace) -> String {
    workspace.root.to_str().expect("a name").to_owned()
}

#[test]
fn two_workspaces_with_releases_of_one_name_know_the_same_after_merging_both_ways() {
    let (here, there) = (workspace(), workspace());
    here.run("words.mlp", &[]).exits(0);
    here.run("words.mlp", &["--param", "least=2"]).exits(0);
    there.run("words.mlp", &[]).exits(0);
    there.run("words.mlp", &["--param", "least=3"]).exits(0);
    there.run("words.mlp", &["--param", "least=4"]).exits(0);
    there.mlp(&["models", "rollback", "words", "--reason", "too long"]).exits(0);

    let merged = here.mlp(&["store", "merge", &name(&there)]).exits(0);
    merged.says(&[
        "3 new runs",
        "words: v2-",
        "it was v2 here and v2 there",
        "What happened last decides: the rollback from version 3 to 2",
        "both workspaces had given a number: these versions are words@2-",
        "1 key has another result there than here",
        "`words.dice`",
    ]);
    let back = there.json(&["store", "merge", &format!("{}/.mlp", name(&here))]);
    assert_eq!((back["runs"].as_array().map(Vec::len), back["left_out"].as_array().map(Vec::len)), (Some(2), Some(0)));
    for (workspace, other) in [(&here, &there), (&there, &here)] {
        let again = workspace.mlp(&["store", "merge", &name(other)]).exits(0);
        again.says(&["is here already: nothing was added"]);
        workspace.mlp(&["store", "verify"]).exits(0).says(&["The store is sound"]);
    }
    assert_eq!(here.json(&["models"]), there.json(&["models"]));
    here.mlp(&["models"]).exits(0).says(&["v2-", "v3", "held: too long"]);
    assert_eq!(here.json(&["runs"]).as_array().map(Vec::len), Some(5));

    // A number that both had given is refused, and says what to write instead.
    here.mlp(&["lineage", "words@2"]).exits(2).says(&["was given to 2 bundles", "write `words@2-"]);
    let models = here.json(&["models"]);
    for version in models[0]["versions"].as_array().expect("versions") {
        let number = version["version"].as_u64().expect("a number");
        let bundle = version["bundle"].as_str().expect("a digest");
        let name = if number == 2 { format!("words@2-{}", &bundle[..8]) } else { format!("words@{number}") };
        let told = [&here, &there].map(|workspace| workspace.mlp(&["lineage", &name]).exits(0));
        assert_eq!(told[0].stdout, told[1].stdout);
        for text in ["step `counted`", "list.txt", "present and whole."] {
            assert!(told[0].stdout.contains(text), "{}", told[0]);
        }
    }
    // What one has made, the other one reuses.
    for (workspace, least) in [(&here, "4"), (&here, "3"), (&there, "2")] {
        let ran = workspace.run("words.mlp", &["--param", &format!("least={least}")]).exits(0);
        assert_eq!(ran.steps(), (0, 4, 0, 0), "{ran}");
    }
    here.mlp(&["why", "words.mlp", "counted"]).exits(0);
    here.mlp(&["gc", "--keep-runs", "1"]).exits(0);
    here.mlp(&["store", "verify"]).exits(0);
}

#[test]
fn a_wrong_path_and_the_workspace_itself_are_refused_and_damage_is_named() {
    let (here, there) = (workspace(), workspace());
    here.mlp(&["store", "merge", "nowhere"]).exits(2).says(&["nowhere"]);
    here.mlp(&["store", "merge", "/"]).exits(2).says(&["there is no store in it"]);
    here.run("words.mlp", &[]).exits(0);
    here.mlp(&["store", "merge", "."]).exits(2).says(&["is this workspace itself"]);
    let sorted = there.run("words.mlp", &["--param", "least=2"]).exits(0).digests()["sorted.out"].clone();
    let object = there.path(&format!(".mlp/objects/{}/{}", &sorted[..2], &sorted[2..]));
    std::fs::remove_file(here.path(&format!(".mlp/objects/{}/{}", &sorted[..2], &sorted[2..]))).expect("an object");
    let mut bytes = std::fs::read(&object).expect("an object");
    bytes[5] ^= 1;
    std::fs::remove_file(&object).expect("removed");
    std::fs::write(&object, bytes).expect("written");
    let merged = here.mlp(&["store", "merge", &name(&there)]).exits(1);
    merged.says(&["Left out: 1 item", &format!("object {}: it is damaged there", &sorted[..12])]);
    here.mlp(&["store", "verify"]).exits(0);
}

#[test]
fn a_merge_killed_at_any_point_is_completed_by_the_next() {
    let there = workspace();
    for least in 0..6 {
        there.run("words.mlp", &["--param", &format!("least={least}")]).exits(0);
    }
    let whole = workspace();
    whole.mlp(&["store", "merge", &name(&there)]).exits(0);
    for delay in [0, 2, 4, 6, 8, 12, 16, 24] {
        let here = workspace();
        here.mlp(&["runs"]).exits(0);
        let there = name(&there);
        let mut command = here.command(&["store", "merge", &there]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mlp starts");
        std::thread::sleep(Duration::from_millis(delay));
        _ = child.kill();
        child.wait().expect("a child");
        here.mlp(&["store", "merge", &there]).exits(0);
        here.mlp(&["store", "merge", &there]).exits(0).says(&["nothing was added"]);
        assert_eq!(here.json(&["models"]), whole.json(&["models"]), "after {delay} ms");
        assert_eq!(here.json(&["runs"]), whole.json(&["runs"]), "after {delay} ms");
        here.mlp(&["store", "verify"]).exits(0).says(&["The store is sound"]);
        assert_eq!(here.run("words.mlp", &["--param", "least=3"]).exits(0).steps(), (0, 4, 0, 0));
    }
}
