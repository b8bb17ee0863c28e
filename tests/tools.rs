//! The tools of the language through the binary: `fmt`, `lint`, `explain`, `diff`, SARIF, completions and manual pages.

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Ran, Workspace, small_pipeline};

const UGLY: &str = "pipeline   p // name\nparam a:int=3\n";
const NEAT: &str = "pipeline p  // name\nparam a: int = 3\n";

fn git(workspace: &Workspace, args: &[&str]) {
    let ran = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(&workspace.root)
        .output()
        .expect("git runs");
    assert!(ran.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

fn with_input(workspace: &Workspace, args: &[&str], input: &str) -> Ran {
    let mut child = workspace
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mlp starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    Ran::of(args, child.wait_with_output().expect("ends"))
}

#[test]
fn fmt_writes_what_is_not_formatted_and_leaves_broken_files_alone() {
    let workspace = Workspace::new();
    let broken = "pipeline q\nparam a int\n";
    workspace.write("a.mlp", UGLY).write("lib/b.mlp", NEAT).write("lib/broken.mlp", broken);
    std::fs::set_permissions(workspace.path("a.mlp"), std::fs::Permissions::from_mode(0o640)).expect("mode");
    let checked = workspace.mlp(&["fmt", "--check"]).exits(2);
    assert!(
        checked.stdout.contains("-pipeline   p // name\n-param a:int=3\n+pipeline p  // name\n+param a: int = 3\n")
    );
    checked.says(&["expected `:` after `a`", "lib/broken.mlp:2", "left as it is"]);
    assert_eq!(workspace.read("a.mlp"), UGLY, "--check writes nothing");

    workspace.mlp(&["fmt", "a.mlp", "lib/b.mlp"]).exits(0).says(&["formatted a.mlp"]);
    assert_eq!(workspace.read("a.mlp"), NEAT);
    assert_eq!(workspace.path("a.mlp").metadata().expect("there").permissions().mode() & 0o777, 0o640);
    workspace.mlp(&["fmt", "--check", "a.mlp", "lib/b.mlp"]).exits(0).says(&["2 files formatted already"]);
    workspace.write("a.mlp", UGLY);
    workspace.mlp(&["fmt", "--check", "a.mlp"]).exits(1).says(&["1 of 1 file not formatted", "`mlp fmt` does it"]);
    workspace.mlp(&["fmt", "lib"]).exits(2);
    assert_eq!(workspace.read("lib/broken.mlp"), broken);
    let left: Vec<_> =
        std::fs::read_dir(&workspace.root).expect("there").map(|e| e.expect("there").file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");

    std::os::unix::fs::symlink("a.mlp", workspace.path("link.mlp")).expect("a link");
    workspace.mlp(&["fmt", "link.mlp"]).exits(0);
    assert!(workspace.path("link.mlp").is_symlink(), "a link stays a link");
    assert_eq!(workspace.read("a.mlp"), NEAT);
    workspace.write("a.mlp", UGLY);
    std::fs::set_permissions(workspace.path("a.mlp"), std::fs::Permissions::from_mode(0o440)).expect("mode");
    workspace.mlp(&["fmt", "a.mlp"]).exits(3).says(&["write-protected", "the file is as it was"]);
    workspace.mlp(&["fmt", "nowhere"]).exits(2).says(&["`nowhere`", "not found"]);
}

#[test]
fn fmt_reads_standard_input_for_editors() {
    let workspace = Workspace::new();
    assert_eq!(with_input(&workspace, &["fmt", "-"], UGLY).exits(0).stdout, NEAT);
    assert_eq!(with_input(&workspace, &["fmt", "-", "--check"], NEAT).exits(0).stdout, "");
    with_input(&workspace, &["fmt", "-", "--check"], UGLY).exits(1).says(&["+param a: int = 3"]);
    let refused = with_input(&workspace, &["fmt", "-"], "param a int\n").exits(2);
    assert_eq!(refused.stdout, "", "nothing that an editor could take for the text");
    workspace.mlp(&["fmt", "-", "a.mlp"]).exits(2).says(&["stands alone"]);
    let told: Value =
        serde_json::from_str(&with_input(&workspace, &["fmt", "-", "--json"], UGLY).exits(0).stdout).expect("JSON");
    assert_eq!(told["files"][0]["text"], NEAT);
}

#[test]
fn a_workspace_is_looked_through_without_what_git_ignores() {
    let workspace = Workspace::new();
    for file in ["a.mlp", "build/b.mlp", "target/c.mlp", ".hidden/d.mlp", "cases/e.mlp"] {
        workspace.write(file, UGLY);
    }
    workspace.write(".gitignore", "build/\n").write("cases/.mlpignore", "");
    git(&workspace, &["init", "-q"]);
    let told = workspace.json(&["fmt"]);
    let files: Vec<_> =
        told["files"].as_array().expect("a list").iter().map(|f| f["file"].as_str().expect("a name")).collect();
    assert_eq!(files, ["a.mlp"]);
    assert_eq!(told["files"][0]["status"], "formatted");
    assert_eq!(workspace.read("cases/e.mlp"), UGLY);
    workspace.mlp(&["fmt", "--check", "cases/e.mlp"]).exits(1);
}

#[test]
fn lint_tells_doubts_and_shows_what_is_allowed() {
    let workspace = small_pipeline();
    workspace.mlp(&["lint", "small.mlp"]).exits(1).says(&[
        "L0601",
        "parameter `least` is used nowhere",
        "mlp explain L06",
    ]);
    workspace
        .edit(
            "small.mlp",
            "param least: int = 3 in 0..=72",
            "// lint: allow L0601 callers still give it\nparam least: int = 3",
        )
        .edit("small.mlp", "step parts    = ", "step parts    = ")
        .edit("small.mlp", "csv.write(parts.test)", "csv.write(parts.test)  // lint: allow L0604 nothing here");
    let ran = workspace.mlp(&["lint"]).exits(1);
    assert!(!ran.stderr.contains("[L0601]"), "{ran}");
    ran.says(&["L0601 is allowed: callers still give it", "L0621", "nothing here gives `L0604`", "1 allowed"]);
    let told = workspace.mlp(&["lint", "small.mlp", "--json"]).exits(1);
    let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!(told["files"][0]["allowed"][0]["reason"], "callers still give it");
    workspace.write("lib/module.mlp", "schema Row { id: str key }\n");
    let told = workspace.mlp(&["lint", "--json"]).exits(1);
    let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!(told["files"].as_array().expect("a list").len(), 1, "a module is no pipeline: {told:#}");
    workspace.write("broken.mlp", "pipeline q\nparam a int\n");
    workspace.mlp(&["lint"]).exits(2).says(&["E0103", "1 file does not check"]);
}

#[test]
fn the_reference_pipelines_leave_no_doubt() {
    for name in ["churn", "demand"] {
        Workspace::with_pipeline(name).mlp(&["lint"]).exits(0).says(&["no doubts"]);
    }
}

#[test]
fn explain_lists_codes_and_shows_pages() {
    let workspace = Workspace::new();
    workspace.mlp(&["explain"]).exits(0).says(&["E0101  the pipeline file cannot be read", "L0601"]);
    workspace.mlp(&["explain", "e0407"]).exits(0).says(&["E0407: ", "wrong:", "right:", "on_train: true"]);
    workspace.mlp(&["explain", "example"]).exits(0).says(&["source customers"]);
    workspace.mlp(&["explain", "E9999"]).exits(2).says(&["no page about `E9999`"]);
    assert_eq!(workspace.json(&["explain", "E0312"])["examples"][1]["right"], true);
    workspace.write("a.mlp", "pipeline p\nparam a int\nparam b int\n");
    let ran = workspace.mlp(&["check", "a.mlp"]).exits(2);
    assert_eq!(ran.stderr.matches("mlp explain").count(), 1, "one line for the whole report: {ran}");
}

/// Returns the validator of SARIF that the set-up installs; without it this is no test.
fn validator() -> PathBuf {
    let share = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".local/share"));
    let path = share.join("mlp/sarif-multitool-5.7.0/node_modules/@microsoft/sarif-multitool-linux/Sarif.Multitool");
    assert!(path.exists(), "{} is missing: run runners/setup.sh --tools-only", path.display());
    path
}

#[track_caller]
fn is_valid_sarif(workspace: &Workspace, log: &str) {
    workspace.write("log.sarif", log);
    let ran = Command::new(validator())
        .args(["validate", "log.sarif"])
        .current_dir(&workspace.root)
        .env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")
        .output()
        .expect("the validator runs");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(told.contains("Analysis completed successfully"), "{told}");
    assert!(!told.contains(": error "), "{told}\n{log}");
}

#[test]
fn check_and_lint_give_sarif_that_its_own_validator_accepts() {
    let workspace = small_pipeline();
    workspace
        .write("with space/café.mlp", workspace.read("small.mlp").replace("data/", "../data/"))
        .edit("with space/café.mlp", "every: 5", "evry: 5")
        .edit("with space/café.mlp", "schema: Customer", "schema: Custmer")
        .edit("with space/café.mlp", "step counted ", "step raw ");
    let ran = workspace.mlp(&["check", "with space/café.mlp", "--format", "sarif"]).exits(2);
    let log: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    is_valid_sarif(&workspace, &ran.stdout);
    let results = log["runs"][0]["results"].as_array().expect("results");
    let fixed: Vec<_> = results
        .iter()
        .filter_map(|r| r["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"].as_str())
        .collect();
    assert!(fixed.contains(&"every") && fixed.contains(&"Customer"), "{fixed:?}");
    let uri = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, "with%20space/caf%C3%A9.mlp");
    assert!(results.iter().any(|r| r["relatedLocations"].is_array()), "both places of a name declared twice: {log:#}");
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().expect("rules");
    assert!(rules.iter().all(|rule| rule["help"]["markdown"].is_string()), "{rules:#?}");

    workspace.edit("small.mlp", "param least", "// lint: allow L0601 callers still give it\nparam least");
    let ran = workspace.mlp(&["lint", "small.mlp", "--format", "sarif"]);
    is_valid_sarif(&workspace, &ran.stdout);
    let log: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let silenced = log["runs"][0]["results"].as_array().expect("results").iter().find(|r| r["ruleId"] == "L0601");
    assert_eq!(silenced.expect("told")["suppressions"][0]["justification"], "callers still give it");

    let ran = workspace.mlp(&["check", "nowhere.mlp", "--format", "sarif"]).exits(2);
    is_valid_sarif(&workspace, &ran.stdout);
}

#[test]
fn diff_tells_what_a_change_means() {
    let workspace = Workspace::with_pipeline("churn");
    let good = workspace.read("churn/churn.mlp");
    let cases: &[(&[(&str, &str)], &str, &[&str])] = &[
        (
            &[("//! Who is about", "//! Which customer is about"), ("step parts   =\u{20}", "step parts =\n  ")],
            "nothing",
            &[],
        ),
        (&[("step parts ", "step halves "), ("parts.", "halves.")], "nothing", &["was `parts`"]),
        (&[("schema Customer ", "schema Client "), ("schema: Customer", "schema: Client")], "nothing", &[]),
        (&[("quality.auc >= 0.80", "quality.auc >= 0.85")], "decisions", &["good_enough", "0.85", "0.80"]),
        (&[("seed: 7)", "seed: 7) with { retries: 2 }")], "decisions", &["model", "retries is 2 instead of 0"]),
        (
            &[("= 0.5  in 0.0..=1.0", "= 0.4  in 0.0..=1.0")],
            "reports",
            &["quality", "`threshold` is 0.4 instead of 0.5"],
        ),
        (&[("= 30   in 1..=500", "= 40   in 1..=500")], "retrains", &["`epochs` is 40 instead of 30", "model"]),
        (
            &[("every: 5, at: 4", "every: 5, at: 3")],
            "retrains",
            &["`at` is 3 instead of 4", "`parts.train` would run again"],
        ),
        (
            &[("tenure:           int   in 0..=120", "tenure:           int   in 0..=100")],
            "retrains",
            &["raw", "`tenure`"],
        ),
    ];
    for (edits, verdict, texts) in cases {
        let mut text = good.clone();
        for (from, to) in *edits {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        workspace.write("churn/after.mlp", text);
        let told = workspace.json(&["diff", "churn/churn.mlp", "churn/after.mlp"]);
        assert_eq!(told["verdict"], *verdict, "{edits:?}: {told:#}");
        workspace.mlp(&["diff", "churn/churn.mlp", "churn/after.mlp"]).exits(0).says(texts);
    }
}

#[test]
fn diff_reads_a_version_from_git() {
    let workspace = Workspace::with_pipeline("churn");
    git(&workspace, &["init", "-q"]);
    git(&workspace, &["add", "churn/churn.mlp", "churn/transforms"]);
    git(&workspace, &["commit", "-qm", "one"]);
    workspace.mlp(&["diff", "HEAD:churn/churn.mlp", "churn/churn.mlp"]).exits(0).says(&["Nothing changed in meaning"]);
    workspace.edit("churn/churn.mlp", "= 30   in", "= 50   in");
    let ran = workspace.mlp(&["diff", "HEAD:churn/churn.mlp", "churn/churn.mlp"]).exits(0);
    ran.says(&["Retrains `model`", "`epochs` is 50 instead of 30"]);
    let same = ["diff", "HEAD:churn/churn.mlp", "churn/churn.mlp", "--param", "epochs=10"];
    workspace.mlp(&same).exits(0).says(&["Nothing changed in meaning"]);
    workspace.mlp(&["diff", "nosuch:churn/churn.mlp", "churn/churn.mlp"]).exits(2).says(&["no revision `nosuch`"]);
    workspace.mlp(&["diff", "HEAD:churn/no.mlp", "churn/churn.mlp"]).exits(2).says(&["cannot read `churn/no.mlp`"]);
    workspace.edit("churn/churn.mlp", "epochs:", "epochs");
    workspace
        .mlp(&["diff", "HEAD:churn/churn.mlp", "churn/churn.mlp"])
        .exits(2)
        .says(&["E0103", "its meaning is not known"]);
}

#[test]
fn check_tells_warnings_as_json_too() {
    let workspace = small_pipeline();
    workspace.edit(
        "small.mlp",
        "schema Customer {",
        "gate loose { least 1.0 <= 2.0 first refuse }\n\nschema Customer {",
    );
    let told = workspace.json(&["check", "small.mlp"]);
    assert_eq!(told["ok"], true, "{told}");
    assert_eq!(
        (&told["diagnostics"][0]["code"], &told["diagnostics"][0]["severity"]),
        (&"E0523".into(), &"warning".into())
    );
}

#[test]
fn graph_draws_a_picture_that_holds_every_step() {
    let workspace = small_pipeline();
    workspace.mlp(&["graph", "small.mlp", "--svg", "-o", "small.svg"]).exits(0);
    let svg = workspace.read("small.svg");
    for text in ["<svg ", "</svg>", ">raw</text>", ">table.split_rows</text>", ">test</text>", "class=\"source\""] {
        assert!(svg.contains(text), "no {text} in {svg}");
    }
    assert_eq!(workspace.mlp(&["graph", "small.mlp", "--format", "svg"]).exits(0).stdout, svg, "the same every time");
    assert_eq!(svg.matches("class=\"arrow\"").count(), 4);
    workspace.mlp(&["graph", "small.mlp", "--svg", "-o", "nowhere/small.svg"]).exits(3).says(&["nowhere/small.svg"]);

    // A long loop is one stack of boxes, and values are text.
    workspace.edit(
        "small.mlp",
        "step counted",
        "for i in range(0, 9) as tried {\n  step made = sh(\"echo \" + i + \" > {o}\", outputs: { o: file })\n}\n\
         for word in [\"a<b>&'\\\"\"] as odd {\n  step made = sh(\"echo > {o}\", outputs: { o: file }) when word == \"\"\n}\n\
         step counted",
    );
    let svg = workspace.mlp(&["graph", "small.mlp", "--svg"]).exits(0).stdout;
    assert!(svg.contains(">tried[..].made</text>") && svg.contains(">sh × 9</text>"), "{svg}");
    assert!(svg.contains("class=\"step skipped\"") && svg.contains("a&lt;b&gt;&amp;&#39;"), "{svg}");
    assert!(!svg.contains("<b>"), "{svg}");

    let many: String = (0..7_000).map(|i| format!("source s{i} = file(\"data/customers.csv\")\n")).collect();
    workspace.write("many.mlp", format!("pipeline many\n{many}"));
    workspace.mlp(&["graph", "many.mlp", "--svg"]).exits(2).says(&["7000 nodes", "--format dot"]);
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let workspace = Workspace::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = workspace.mlp(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("lineage") && script.contains("keep-going"), "{shell}");
        assert!(!script.contains("__owner"), "{shell} offers what is not for people");
    }
    let page = workspace.mlp(&["man"]).exits(0).stdout;
    assert!(page.contains(".TH mlp 1") && page.contains("mlp\\-run"), "{page}");
    workspace.mlp(&["man", "--dir", "man"]).exits(0);
    assert!(workspace.read("man/mlp-fmt.1").contains("standard input"));
    let script = workspace.mlp(&["completions", "bash"]).stdout;
    let ran = Command::new("bash").args(["-n", "/dev/stdin"]).stdin(Stdio::piped()).spawn().and_then(|mut bash| {
        bash.stdin.take().expect("piped").write_all(script.as_bytes())?;
        bash.wait()
    });
    assert!(ran.expect("bash runs").success(), "bash reads its completions");
}
