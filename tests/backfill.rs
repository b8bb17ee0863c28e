//! Pipelines for a day: `--as-of`, partitions by day, and one run for each of many days.

mod support;

use support::{Ran, Workspace};

const FILE: &str = "sales/sales.mlp";

fn run(workspace: &Workspace, day: &str) -> Ran {
    workspace.run(FILE, &["--as-of", day]).exits(0)
}

#[test]
fn a_day_more_reads_the_file_of_that_day_alone() {
    let workspace = Workspace::with_pipeline("sales");
    let first = run(&workspace, "2026-08-30");
    assert_eq!(first.executed().len(), 7 + 3, "{first}");
    let next = run(&workspace, "2026-08-31");
    assert_eq!(next.executed(), ["part[2026-08-30].rows", "stores", "week", "written"]);
    assert_eq!(next.steps(), (4, 6, 0, 0), "{next}");
    // Back again, nothing is left to be done; and once more, nothing is looked at.
    assert_eq!(run(&workspace, "2026-08-30").steps(), (0, 10, 0, 0));
    assert_eq!(run(&workspace, "2026-08-30").events()[0]["recorded"], false);

    // A day that changed wakes what reads it, and no day outside of the window.
    workspace.edit("sales/data/2026-08-24.csv", ",1,", ",2,");
    assert_eq!(run(&workspace, "2026-08-31").executed(), ["part[2026-08-24].rows", "stores", "week", "written"]);
    workspace.edit("sales/data/2026-08-18.csv", ",1,", ",2,");
    assert_eq!(run(&workspace, "2026-08-31").steps(), (0, 10, 0, 0));
}

#[test]
fn the_tables_of_days_follow_each_other() {
    let workspace = Workspace::with_pipeline("sales");
    run(&workspace, "2026-08-25");
    let week = workspace.json(&["show", FILE, "week", "--as-of", "2026-08-25", "-n", "1000"]);
    let mut expected = Vec::new();
    for day in 18..25 {
        let text = workspace.read(&format!("sales/data/2026-08-{day}.csv"));
        expected.extend(text.lines().skip(1).map(|line| line.split(',').next().expect("an id").to_owned()));
    }
    let rows = week["rows"].as_array().expect("rows");
    let found: Vec<_> = rows.iter().map(|row| row["sale"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_key_that_stands_in_two_days_is_refused_without_its_value() {
    let workspace = Workspace::with_pipeline("sales");
    let line = workspace.read("sales/data/2026-08-24.csv").lines().nth(3).expect("a line").to_owned();
    let day = workspace.read("sales/data/2026-08-28.csv");
    workspace.write("sales/data/2026-08-28.csv", format!("{day}{line}\n"));
    let ran = workspace.mlp(&["run", FILE, "--as-of", "2026-08-30"]).exits(12);
    ran.says(&["row 3 of `part[2026-08-24].rows", "part[2026-08-28].rows", "`sale` says the same in both"]);
}

#[test]
fn a_missing_day_is_named_before_anything_runs() {
    let workspace = Workspace::with_pipeline("sales");
    let ran = workspace.mlp(&["run", FILE, "--as-of", "2026-09-03"]).exits(2);
    ran.says(&["cannot read `data/2026-09-01.csv`", "file not found", "day = 2026-09-01", "day = 2026-09-02"]);
    assert!(!workspace.path(".mlp/journal").exists(), "nothing was started");
    workspace.mlp(&["run", FILE, "--as-of", "next week"]).exits(2).says(&["`--as-of next week`", "2026-09-01"]);
}

#[test]
fn the_day_comes_from_wherever_values_come_from() {
    let workspace = Workspace::with_pipeline("sales");
    let shown = |args: &[&str]| {
        let ran = workspace.mlp(&[&["plan", FILE, "--values"][..], args].concat()).exits(0);
        ran.stdout.lines().nth(1).expect("a value").trim().to_owned()
    };
    assert_eq!(shown(&[]), "as_of = 2026-09-01   default, sales.mlp:5");
    assert_eq!(shown(&["--as-of", "2026-08-28"]), "as_of = 2026-08-28   --as-of");
    workspace.write("mlp.yaml", "profile: dev\nprofiles:\n  dev:\n    params: { as_of: 2026-08-29 }\n");
    assert_eq!(shown(&[]), "as_of = 2026-08-29   profile dev, mlp.yaml:4");
    // Other pipelines of the workspace need none.
    workspace.write("other.mlp", "pipeline other\nparam n: int = 3\n");
    workspace.mlp(&["check", "other.mlp"]).exits(0);
    workspace.mlp(&["check", "other.mlp", "--as-of", "2026-08-28"]).exits(2).says(&["takes no `as_of`"]);
    workspace.mlp(&["check", FILE, "--as-of", "2026-08-28", "--param", "as_of=2026-08-28"]).exits(2).says(&["both"]);
}

#[test]
fn a_backfill_runs_each_day_and_goes_on_where_it_was() {
    let workspace = Workspace::with_pipeline("sales");
    let ran = workspace.mlp(&["backfill", FILE, "2026-08-25..2026-08-28"]).exits(0);
    let lines: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with("  2026-")).collect();
    assert_eq!(lines.len(), 3, "{ran}");
    let words = |line: &str| line.split_whitespace().take(5).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0]), ["2026-08-25", "succeeded", "10", "0", "0"]);
    assert_eq!(words(lines[1]), ["2026-08-26", "succeeded", "4", "6", "0"]);
    assert_eq!(words(lines[2]), ["2026-08-27", "succeeded", "4", "6", "0"]);
    ran.says(&["3 days: 3 succeeded."]);

    let plan = workspace.json(&["backfill", FILE, "2026-08-25..=2026-09-01", "every", "1w", "--dry-run"]);
    assert_eq!((&plan["days"][0]["as_of"], &plan["days"][0]["reuse"]), (&"2026-08-25".into(), &10.into()));
    assert_eq!((&plan["days"][1]["as_of"], &plan["days"][1]["run"]), (&"2026-09-01".into(), &5.into()));

    let ran = workspace.mlp(&["backfill", FILE, "2026-08-25..=2026-08-28", "every", "1d", "--json"]).exits(0);
    let last = ran.events().pop().expect("a line");
    assert_eq!((&last["event"], &last["exit"]), (&"backfill_finished".into(), &0.into()));
    let executed: Vec<_> = last["days"].as_array().expect("days").iter().map(|day| day["executed"].as_u64()).collect();
    assert_eq!(executed, [Some(0), Some(0), Some(0), Some(4)]);
    let runs = workspace.json(&["runs"]).to_string();
    assert!(runs.contains(last["days"][3]["run"].as_str().expect("a run")), "each is a run like any other");
}

#[test]
fn days_that_are_wrong_are_told_before_the_first_one_runs() {
    let workspace = Workspace::with_pipeline("sales");
    let range = "2026-08-31..2026-09-04";
    let ran = workspace.mlp(&["backfill", FILE, range]).exits(2);
    ran.says(&["as of 2026-09-02", "data/2026-09-01.csv", "wrong for 2 days of 4; nothing was run", "--keep-going"]);
    assert!(!workspace.path(".mlp/journal").exists(), "nothing was started");
    let ran = workspace.mlp(&["backfill", FILE, range, "--keep-going"]).exits(2);
    ran.says(&["2026-09-01  succeeded", "2026-09-03  refused by the check", "4 days: 2 succeeded, 2 failed."]);
    workspace.write("plain.mlp", "pipeline plain\n");
    workspace.mlp(&["backfill", "plain.mlp", range]).exits(2).says(&["takes no `as_of`", "wrong for 4 days of 4"]);
}

#[test]
fn a_day_that_fails_ends_a_backfill_unless_it_keeps_going() {
    let workspace = Workspace::with_pipeline("sales");
    workspace.edit("sales/data/2026-08-25.csv", ",1,", ",7,");
    let range = "2026-08-25..2026-08-28";
    let ran = workspace.mlp(&["backfill", FILE, range]).exits(12);
    ran.says(&["2026-08-25  succeeded", "2026-08-26  rejected", "2026-08-27  not run", "1 failed, 1 not run"]);
    let ran = workspace.mlp(&["backfill", FILE, range, "-k"]).exits(12);
    ran.says(&["2026-08-27  rejected", "3 days: 1 succeeded, 2 failed."]);
    for (args, said) in [
        (&["2026-08-25"][..], "no range of days"),
        (&["2026-08-25..2026-08-28", "weekly"], "does not say how often"),
        (&["2026-08-25..2026-08-28", "every", "36h"], "not whole days"),
        (&["2026-08-25..2026-08-28", "--as-of", "2026-08-25"], "leave out `--as-of`"),
    ] {
        workspace.mlp(&[&["backfill", FILE][..], args].concat()).exits(2).says(&[said]);
    }
}
