//! Secrets are known by name alone: their values reach the step that names them, and nothing else.

mod support;

use std::path::Path;

use support::{Ran, Workspace};

/// Unlike anything else that is written here.
const SECRET: &str = "tr0ub4dor-Zq9%x\"7";

fn with(workspace: &Workspace, secret: Option<&str>, args: &[&str]) -> Ran {
    let mut command = workspace.command(args);
    command.envs(secret.map(|secret| ("MLP_SECRET_db", secret)));
    Ran::of(args, command.output().expect("mlp starts"))
}

/// A workspace whose one step has the secret as a variable.
fn workspace(command: &str, options: &str) -> Workspace {
    let workspace = Workspace::new();
    let step = format!(
        "pipeline p\n\nstep said = sh(\"\"\"\n{command}\n    \"\"\", outputs: {{ n: file }}, env: {{ PGPASSWORD: secret(\"db\") }}){options}\n"
    );
    workspace.write("p.mlp", step);
    workspace
}

/// Asserts that the secret, plain or as JSON writes it, is in no file below `.mlp` and in nothing that was printed.
#[track_caller]
fn is_nowhere(workspace: &Workspace, ran: &Ran) {
    let forms = [SECRET.to_owned(), SECRET.replace('"', "\\\""), SECRET[..8].to_owned()];
    let holds = |bytes: &[u8]| forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form.as_bytes()));
    assert!(!holds(ran.stdout.as_bytes()) && !holds(ran.stderr.as_bytes()), "printed: {ran}");
    let mut n_files = 0;
    for file in files_below(&workspace.path(".mlp")) {
        n_files += 1;
        assert!(!std::fs::read(&file).is_ok_and(|bytes| holds(&bytes)), "in {}", file.display());
    }
    assert!(n_files > 3, "the store was looked at");
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Prints it whole, in two writes, without a line's end, behind a cut-off long line, and to both outputs.
const PRINTS: &str = r#"
    echo "it is $PGPASSWORD." ; echo "$PGPASSWORD" >&2
    first=$(printf %.9s "$PGPASSWORD"); printf %s "$first"; sleep 0.1; echo "${{PGPASSWORD#"$first"}}"
    head -c 8185 /dev/zero | tr '\0' x; echo "$PGPASSWORD"
    printf %s "$PGPASSWORD" | wc -c > {n}
    printf %s "$PGPASSWORD" >&2"#;

#[test]
fn a_step_has_the_value_and_nobody_else() {
    for json in [&["--json"][..], &[]] {
        let workspace = workspace(PRINTS, "");
        let ran = with(&workspace, Some(SECRET), &[&["run", "p.mlp"][..], json].concat()).exits(0);
        is_nowhere(&workspace, &ran);
        let shown = with(&workspace, Some(SECRET), &["log"]).exits(0);
        is_nowhere(&workspace, &shown);
        shown.says(&["said"]);
        let printed = workspace.mlp(&["log", &run_id(&workspace), "said"]).exits(0);
        printed.says(&["it is ***.", "***\n"]);
        // The step had it in full.
        assert_eq!(counted(&workspace), SECRET.len());
        for args in [&["plan", "p.mlp"][..], &["why", "p.mlp", "said", "--all"], &["run", "p.mlp"], &["run", "p.mlp"]] {
            let ran = with(&workspace, Some(SECRET), &[args, json].concat()).exits(0);
            is_nowhere(&workspace, &ran);
        }
    }
}

/// Returns the number that the step has written: how many bytes the value has.
fn counted(workspace: &Workspace) -> usize {
    let shown = workspace.mlp(&["show", "p.mlp", "said"]).exits(0);
    let object = std::fs::read(shown.stdout.lines().nth(1).expect("its path").trim()).expect("the object");
    let line = object.split(|byte| *byte == b'\n').next().expect("a line");
    std::str::from_utf8(line).expect("digits").trim().parse().expect("a number")
}

fn run_id(workspace: &Workspace) -> String {
    let runs = workspace.json(&["runs"]);
    let first = runs.as_array().or_else(|| runs["runs"].as_array()).and_then(|runs| runs.first()).expect("a run");
    first["run"].as_str().expect("an id").to_owned()
}

#[test]
fn a_step_that_fails_or_takes_too_long_tells_nothing() {
    let fails = format!("{PRINTS}\n    exit 3");
    let names = "cat \"/etc/$PGPASSWORD\" > {n}";
    let outside = "cat \"../../../../secret/$PGPASSWORD\" > {n}";
    let hangs = format!("{PRINTS}\n    printf %.12s \"$PGPASSWORD\"; sleep 60");
    for (command, options, said) in [
        (fails.as_str(), "", "exit code 3"),
        (names, "", "step `said`"),
        (outside, "", "step `said`"),
        (hangs.as_str(), " with { timeout: 1500ms, retries: 1 }", "timed out"),
    ] {
        for json in [&["--json"][..], &[]] {
            let workspace = workspace(command, options);
            let ran = with(&workspace, Some(SECRET), &[&["run", "p.mlp"][..], json].concat()).exits(1);
            is_nowhere(&workspace, &ran);
            ran.says(&[said]);
        }
    }
}

#[test]
fn a_secret_that_is_missing_is_told_before_anything_runs() {
    let workspace = workspace("printf %s \"$PGPASSWORD\" | wc -c > {n}", "");
    workspace.write("words.txt", "a\n");
    let text = workspace.read("p.mlp").replace("env: {", "inputs: { before }, env: {");
    let before =
        "step before = sh(\"cat {words} > {o}\", inputs: { words: file(\"words.txt\") }, outputs: { o: file })\n";
    workspace.write("p.mlp", text + before);
    for command in ["run", "plan"] {
        let ran = with(&workspace, None, &[command, "p.mlp"]).exits(3);
        ran.says(&["secret `db` is not there", "MLP_SECRET_db", "secrets: { db:", "p.mlp:5"]);
    }
    let runs = workspace.json(&["runs"]);
    assert_eq!(runs.as_array().or_else(|| runs["runs"].as_array()).map(Vec::len), Some(0), "{runs}");
    with(&workspace, Some(""), &["run", "p.mlp"]).exits(3).says(&["what `MLP_SECRET_db` gives is empty"]);
    // A check asks for none, and a step that is not wanted needs none.
    workspace.mlp(&["check", "p.mlp"]).exits(0);
    workspace.mlp(&["run", "p.mlp", "before"]).exits(0);
}

#[test]
fn a_stored_result_needs_no_secret_and_the_value_decides_nothing() {
    let workspace = workspace("printf %s \"$PGPASSWORD\" | wc -c > {n}", "");
    with(&workspace, Some(SECRET), &["run", "p.mlp", "--json"]).exits(0);
    for secret in [None, Some("another"), Some(SECRET)] {
        assert_eq!(with(&workspace, secret, &["run", "p.mlp", "--json"]).exits(0).steps(), (0, 1, 0, 0));
    }
    // Its name does.
    workspace.edit("p.mlp", "secret(\"db\")", "secret(\"dwh\")");
    let mut command = workspace.command(&["run", "p.mlp", "--json"]);
    command.env("MLP_SECRET_dwh", SECRET);
    let ran = Ran::of(&["run"], command.output().expect("mlp starts")).exits(0);
    assert_eq!(ran.steps(), (1, 0, 0, 0));
    is_nowhere(&workspace, &ran);
}

#[test]
fn settings_say_where_a_secret_comes_from() {
    let counts = "printf %s \"$PGPASSWORD\" | wc -c > {n}; echo \"$PGPASSWORD\"";
    let said = |settings: &str, files: &[(&str, &str)]| {
        let workspace = workspace(counts, "");
        files.iter().for_each(|(name, text)| _ = workspace.write(name, text));
        workspace.write("mlp.yaml", format!("owner_idle_seconds: 0\n{settings}"));
        let ran = workspace.mlp(&["run", "p.mlp"]);
        if ran.code == 0 {
            is_nowhere(&workspace, &ran);
            assert_eq!(counted(&workspace), SECRET.len());
        }
        assert!(!ran.stderr.contains(SECRET), "{ran}");
        ran
    };
    let line = format!("{SECRET}\n");
    said("secrets: { db: { file: keys/db } }\n", &[("keys/db", &line)]).exits(0);
    said("secrets: { db: { command: cat keys/db } }\n", &[("keys/db", &line)]).exits(0);
    said("secrets: { db: { file: keys/db } }\n", &[]).exits(3).says(&["secret `db`", "keys/db", "cannot be read"]);
    said("secrets: { db: { command: exit 7 } }\n", &[]).exits(3).says(&["its command failed", "7"]);
    let wrong = format!("secrets: {{ db: '{SECRET}', two: {{ value: '{SECRET}' }} }}\n");
    said(&wrong, &[]).exits(2).says(&["mlp.yaml:2:12: secret `db` must say where it comes from", "secret `two`"]);
}

#[test]
fn a_secret_cannot_be_passed_where_values_are_kept() {
    let workspace = workspace("date > {n}", "");
    workspace.edit("p.mlp", "env: { PGPASSWORD: secret(\"db\") }", "pass_env: [\"MLP_SECRET_db\"]");
    workspace.mlp(&["check", "p.mlp"]).exits(2).says(&["would be kept with the result", "secret(\"db\")"]);
    workspace.edit("p.mlp", "pass_env: [\"MLP_SECRET_db\"]", "env: { URL: \"pg://\" + secret(\"db\") }");
    workspace.mlp(&["check", "p.mlp"]).exits(2).says(&["`secret(..)` is not a value", "env: { PASSWORD: secret"]);
}
