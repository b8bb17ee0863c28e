//! Loops and conditions through the binary: rounds are known by their value, and what is skipped says why.

mod support;

use support::{Workspace, small_pipeline};

/// The small pipeline with a loop over plans.
fn by_plan(plans: &str) -> Workspace {
    let workspace = small_pipeline();
    let text = workspace.read("small.mlp");
    let (head, _) = text.split_once("step stayed").expect("it has that step");
    workspace.write(
        "small.mlp",
        format!(
            "{head}param plans: list(str) = {plans}
for plan in plans as by_plan {{
  step rows  = sql(\"select id, tenure from raw where plan = '\" + plan + \"' and tenure >= \" + least + \" order by id\", {{ raw }})
  step table = csv.write(rows)
}}
step counted = sh(\"wc -l in/* > {{n}}\", inputs: by_plan.table, outputs: {{ n: file }})
"
        ),
    );
    workspace
}

#[test]
fn a_value_more_or_in_another_place_runs_nothing_of_the_others() {
    let workspace = by_plan("[\"basic\"]");
    let ran = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[basic].rows", "by_plan[basic].table", "counted", "raw"]);

    let ran = workspace.run("small.mlp", &["--param", "plans=[\"plus\", \"basic\"]"]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[plus].rows", "by_plan[plus].table", "counted"]);
    assert_eq!(ran.steps_of("step_reused").len(), 3);

    let ran = workspace.run("small.mlp", &["--param", "plans=[\"basic\", \"plus\"]"]).exits(0);
    assert_eq!(ran.steps().0, 0, "{ran}");
    let ran = workspace.run("small.mlp", &["--param", "plans=[\"plus\"]"]).exits(0);
    assert_eq!(ran.executed(), ["counted"], "{ran}");
}

#[test]
fn one_node_one_round_and_the_whole_loop_are_targets() {
    let workspace = by_plan("[\"basic\", \"plus\"]");
    let ran = workspace.run("small.mlp", &["by_plan[plus].rows"]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[plus].rows", "raw"]);
    let ran = workspace.run("small.mlp", &["by_plan[plus]"]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[plus].table"]);
    let ran = workspace.run("small.mlp", &["by_plan"]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[basic].rows", "by_plan[basic].table"]);
    workspace.mlp(&["why", "small.mlp", "by_plan[basic].rows"]).exits(0).says(&["by_plan[basic].rows"]);
    workspace.run("small.mlp", &["by_plan[other]"]).exits(2).says(&["by_plan[other]"]);
}

#[test]
fn a_step_whose_condition_is_false_is_skipped_with_what_needs_it_and_the_reason() {
    let workspace = small_pipeline();
    workspace.edit("small.mlp", "csv.write(parts.test)", "csv.write(parts.test) when least > 5");
    let reason = "when least > 5 is false";
    workspace.mlp(&["plan", "small.mlp"]).exits(0).says(&[reason]);
    let ran = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!((ran.executed(), ran.steps().3), (["parts", "raw", "stayed"].map(str::to_owned).to_vec(), 2));
    let skipped: Vec<_> = ran.events().into_iter().filter(|event| event["event"] == "step_skipped").collect();
    assert!(skipped.iter().all(|event| event["because"] == reason), "{ran}");
    let ran = workspace.run("small.mlp", &["--param", "least=6"]).exits(0);
    assert_eq!(ran.executed(), ["counted", "exported"]);
}

/// A pipeline over one file a month.
fn by_month(months: &[&str]) -> Workspace {
    let workspace = Workspace::new();
    for month in months {
        add_month(&workspace, month);
    }
    workspace.write(
        "months.mlp",
        r#"pipeline months

schema Sale { id: str key, amount: int }

for file in files("sales/*.csv") as month {
  source rows = csv.read(file, schema: Sale)
  step large  = sql("select id, amount from rows where amount > 10 order by id", { rows })
  step table  = csv.write(large)
}
step counted = sh("cat in/* > {n}", inputs: month.table, outputs: { n: file })
"#,
    );
    workspace
}

fn add_month(workspace: &Workspace, month: &str) {
    workspace.write(&format!("sales/{month}.csv"), format!("id,amount\n{month}a,5\n{month}b,50\n"));
}

#[test]
fn a_new_or_changed_file_runs_its_own_round_alone() {
    let workspace = by_month(&["2026-01", "2026-02"]);
    let ran = workspace.run("months.mlp", &[]).exits(0);
    assert_eq!(ran.steps().0, 7, "{ran}");
    assert!(ran.executed().contains(&"month[2026-01].rows".to_owned()), "{ran}");

    add_month(&workspace, "2026-03");
    let ran = workspace.run("months.mlp", &[]).exits(0);
    assert_eq!(ran.executed(), ["counted", "month[2026-03].large", "month[2026-03].rows", "month[2026-03].table"]);

    workspace.write("sales/2026-01.csv", "id,amount\n2026-01a,50\n");
    let ran = workspace.run("months.mlp", &["month[2026-01]"]).exits(0);
    assert_eq!(ran.executed(), ["month[2026-01].large", "month[2026-01].rows", "month[2026-01].table"]);
}

#[test]
fn a_kept_answer_notices_a_new_file() {
    let workspace = by_month(&["2026-01", "2026-02"]);
    workspace.run("months.mlp", &[]).exits(0);
    // A folder must have been left alone for a while before its time stamp can be trusted.
    let mut n_tries = 0;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let ran = workspace.run("months.mlp", &[]).exits(0);
        assert_eq!(ran.steps().0, 0, "{ran}");
        if ran.events()[0]["recorded"] == false {
            break;
        }
        n_tries += 1;
        assert!(n_tries < 200, "no answer is kept: {ran}");
    }
    add_month(&workspace, "2026-03");
    let ran = workspace.run("months.mlp", &[]).exits(0);
    assert_eq!(ran.steps().0, 4, "{ran}");
    std::fs::remove_file(workspace.path("sales/2026-03.csv")).expect("a file less");
    let ran = workspace.run("months.mlp", &[]).exits(0);
    assert_eq!((ran.executed(), ran.steps().1), (Vec::new(), 7), "{ran}");
}

#[test]
fn a_pattern_without_files_is_refused_before_anything_runs() {
    let workspace = by_month(&[]);
    let told = workspace.mlp(&["check", "months.mlp"]).exits(2);
    told.says(&["E0220", "no file matches `sales/*.csv`", "`months.mlp`"]);
}

/// Sales of stores, by store and amount.
fn sales(rows: &[(u32, i64)]) -> String {
    let rows = rows.iter().enumerate().map(|(i, (store, amount))| format!("s{i},{store},{amount}\n"));
    format!("id,store,amount\n{}", rows.collect::<String>())
}

/// A pipeline with a round for each store that the sales have.
fn by_store(rows: &[(u32, i64)]) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("sales.csv", sales(rows));
    workspace.write(
        "stores.mlp",
        r#"pipeline stores

param most: int = 100000

schema Sale { id: str key, store: int, amount: int }

source sales = csv.read("sales.csv", schema: Sale)
step kept    = sql("select store, amount from sales where amount <= " + most + " order by id", { sales })
for store in values(kept.store) as network {
  step rows   = table.where(kept, column: store, equals: store)
  step table  = csv.write(rows)
  step fitted = sh("sort -n {table} | tail -n 1 > {model}", inputs: { table }, outputs: { model: file })
}
step all = sh("cat in/* > {models} || true", inputs: network.fitted, outputs: { models: file })
"#,
    );
    workspace
}

#[test]
fn a_loop_over_a_column_is_unfolded_within_the_run_that_makes_the_column() {
    let workspace = by_store(&[(1, 5), (2, 7), (1, 9)]);
    workspace.mlp(&["check", "stores.mlp"]).exits(0).says(&["network[..]: unknown until `kept` has run"]);
    let planned = workspace.mlp(&["plan", "stores.mlp"]).exits(0);
    planned.says(&["network[..].rows", "unknown until `sales` has run"]);

    let ran = workspace.run("stores.mlp", &[]).exits(0);
    let of = |store: u32| ["fitted", "rows", "table"].map(|step| format!("network[{store}].{step}"));
    let mut expected = vec!["all".to_owned(), "kept".to_owned(), "sales".to_owned()];
    expected.extend(of(1).into_iter().chain(of(2)));
    expected.sort();
    assert_eq!(ran.executed(), expected, "{ran}");
    assert_eq!(ran.steps(), (9, 0, 0, 0), "{ran}");
    let count = |name: &str| ran.events().iter().filter(|event| event["event"] == name).count();
    assert_eq!(["run_started", "planned", "loop_unfolded", "run_finished"].map(count), [1, 1, 1, 1], "{ran}");

    let ran = workspace.run("stores.mlp", &[]).exits(0);
    assert_eq!(ran.steps(), (0, 9, 0, 0), "{ran}");
    let runs = workspace.json(&["runs"]);
    assert_eq!(runs.as_array().map(Vec::len), Some(2), "{runs}");
}

#[test]
fn a_changed_row_of_one_store_and_a_new_store_run_no_other() {
    let workspace = by_store(&[(1, 5), (2, 7), (1, 9)]);
    workspace.run("stores.mlp", &[]).exits(0);

    workspace.write("sales.csv", sales(&[(1, 5), (2, 8), (1, 9)]));
    let ran = workspace.run("stores.mlp", &[]).exits(0);
    let expected =
        ["all", "kept", "network[1].rows", "network[2].fitted", "network[2].rows", "network[2].table", "sales"];
    assert_eq!(ran.executed(), expected, "{ran}");

    workspace.write("sales.csv", sales(&[(1, 5), (2, 8), (1, 9), (30, 4)]));
    let ran = workspace.run("stores.mlp", &[]).exits(0);
    let executed = ran.executed();
    assert!(executed.contains(&"network[30].fitted".to_owned()), "{ran}");
    let untouched = ["network[1].table", "network[1].fitted", "network[2].table", "network[2].fitted"];
    assert!(untouched.iter().all(|step| !executed.contains(&(*step).to_owned())), "{ran}");
}

#[test]
fn rounds_of_a_column_are_named_in_every_command() {
    let workspace = by_store(&[(1, 5), (2, 7), (1, 9)]);
    // Known only by this very run.
    let ran = workspace.run("stores.mlp", &["network[2].fitted"]).exits(0);
    let expected = ["kept", "network[2].fitted", "network[2].rows", "network[2].table", "sales"];
    assert_eq!(ran.executed(), expected, "{ran}");
    workspace.run("stores.mlp", &["network[3].fitted"]).exits(2).says(&["network[3].fitted"]);

    let ran = workspace.run("stores.mlp", &[]).exits(0);
    let digest = &ran.digests()["network[1].fitted.model"];
    workspace.mlp(&["plan", "stores.mlp"]).exits(0).says(&["network[1].fitted", "0 steps to run"]);
    workspace.mlp(&["why", "stores.mlp", "network[1].fitted"]).exits(0).says(&["network[1].fitted"]);
    workspace.mlp(&["graph", "stores.mlp"]).exits(0).says(&["network[1].fitted"]);
    workspace.mlp(&["show", "stores.mlp", "network[1].rows"]).exits(0).says(&["amount"]);
    workspace.mlp(&["lineage", digest]).exits(0).says(&["network[1].rows", "sales.csv"]);
    workspace.mlp(&["log"]).exits(0).says(&["network[1].fitted"]);
    workspace.mlp(&["run", "stores.mlp", "--force", "network[2].table"]).exits(0).says(&["1 step run"]);
}

#[test]
fn what_a_loop_goes_over_fails_or_has_no_rows() {
    let workspace = by_store(&[(1, 5)]);
    let ran = workspace.run("stores.mlp", &["--param", "most=0"]).exits(0);
    assert_eq!(ran.executed(), ["all", "kept", "sales"], "{ran}");

    workspace.write("sales.csv", "id,store,amount\ns1,one,5\n");
    let ran = workspace.run("stores.mlp", &["--keep-going"]).exits(12);
    let (_, _, failed, skipped) = ran.steps();
    assert_eq!((failed, skipped), (1, 5), "{ran}");
    let told = ran.steps_of("step_skipped");
    assert!(told.contains(&"network[..].fitted".to_owned()) && told.contains(&"all".to_owned()), "{ran}");
}

#[test]
fn a_value_that_a_step_cannot_take_is_told_with_its_round() {
    let workspace = by_store(&[(1, 5), (2, 7)]);
    workspace.edit(
        "stores.mlp",
        "step table  = csv.write(rows)",
        "step parts = table.split_rows(rows, every: store, at: 0)\n  step table  = csv.write(parts.test)",
    );
    workspace.mlp(&["check", "stores.mlp"]).exits(0);
    let ran = workspace.run("stores.mlp", &[]).exits(1);
    ran.says(&["E0302", "argument `every` of `table.split_rows`", "in the round with store = 1"]);
}

#[test]
fn combinations_of_values_are_rounds_and_to_draw_more_of_them_runs_none_again() {
    let workspace = small_pipeline();
    let text = workspace.read("small.mlp");
    let (head, _) = text.split_once("step stayed").expect("it has that step");
    workspace.write(
        "small.mlp",
        format!(
            "{head}param n: int = 3
for plan in [\"basic\", \"plus\"], low in [0, 10, 20] random n seed 7 as tried {{
  step rows = sql(\"select id, tenure from raw where plan = '\" + plan + \"' and tenure >= \" + low + \" order by id\", {{ raw }})
}}
"
        ),
    );
    let first = workspace.run("small.mlp", &[]).exits(0).executed();
    assert_eq!(first.len(), 4, "{first:?}");
    let more = workspace.run("small.mlp", &["--param", "n=5"]).exits(0);
    assert_eq!((more.steps().0, more.steps().1), (2, 4), "{more}");
    let all = workspace.run("small.mlp", &["--param", "n=100"]).exits(0);
    assert_eq!((all.steps().0, all.steps().1), (1, 6), "{all}");
    workspace.run("small.mlp", &["--param", "n=100", "tried[plus,20].rows"]).exits(0);
}

#[test]
fn loops_in_loops_and_defs_unfold_in_one_run_whatever_their_values_look_like() {
    let workspace = Workspace::new();
    workspace.write(
        "sales.csv",
        "id,store,region,amount\na,North St,n,1\nb,North St,s,2\nc,\"Old \"\"Inn\"\"\",n,3\nd,../up,n,4\n",
    );
    workspace.write(
        "nested.mlp",
        r#"pipeline nested

schema Sale { id: str key, store: str, region: str, amount: int }

def written(data: table) {
  for region in values(data.region) as regions {
    step rows = table.where(data, column: region, equals: region)
    step text = csv.write(rows)
  }
  step all = sh("cat in/* > {o}", inputs: regions.text, outputs: { o: file })
  result = all
}

source sales = csv.read("sales.csv", schema: Sale)
for store in values(sales.store) as network {
  step rows = table.where(sales, column: store, equals: store)
  step out  = written(rows)
  for amount in values(rows.amount) as amounts {
    step said = sh("echo said; test " + amount + " != 2; echo ok > {o}", outputs: { o: file })
  }
}
step all = sh("cat in/* > {o}", inputs: network.out, outputs: { o: file })
"#,
    );
    let ran = workspace.run("nested.mlp", &["--keep-going"]).exits(1);
    let failed: Vec<_> = ran.steps_of("step_failed");
    assert_eq!(failed, ["network[\"North St\"].amounts[2].said"], "{ran}");
    assert_eq!(ran.steps(), (19, 0, 1, 0), "{ran}");
    let run = ran.finished()["run"].as_str().expect("an id").to_owned();
    let log = format!(".mlp/runs/{run}/network[\"..%2fup\"].amounts[4].said.log");
    assert_eq!(workspace.read(&log), "said\n");
    let step = "network[\"../up\"].amounts[4].said";
    let told = workspace.mlp(&["log", &run, step]).exits(0);
    assert_eq!(told.stdout, "said\n", "{told}");
    workspace.mlp(&["graph", "nested.mlp"]).exits(0).says(&[r#""network[\"../up\"].rows" ["#]);
    workspace.edit("nested.mlp", "!= 2", "!= 9");
    let ran = workspace.run("nested.mlp", &[]).exits(0);
    assert_eq!(ran.steps().0, 4, "only the commands changed: {ran}");
}

#[test]
fn a_failure_before_a_loop_is_known_stops_the_run_once_and_is_told_once() {
    let workspace = by_store(&[(1, 5)]);
    workspace.edit(
        "stores.mlp",
        "step all =",
        "step other = sh(\"echo other > {o}\", outputs: { o: file })\nstep all =",
    );
    workspace.write("sales.csv", "id,store,amount\ns1,one,5\n");
    let ran = workspace.run("stores.mlp", &[]).exits(12);
    assert_eq!(ran.steps(), (0, 0, 1, 6), "{ran}");
    let told = ran.steps_of("step_skipped");
    assert_eq!(told.len(), 6, "each once: {ran}");
    let ran = workspace.run("stores.mlp", &["--keep-going"]).exits(12);
    assert_eq!((ran.executed(), ran.steps().3), (vec!["other".to_owned()], 5), "{ran}");
}

#[test]
fn a_round_that_demands_too_much_is_refused_by_name_and_a_stored_one_needs_nothing() {
    let workspace = Workspace::new();
    workspace.write("n.csv", "n\n1\n2\n");
    workspace.write(
        "p.mlp",
        r#"pipeline p
schema Row { n: int }
source rows = csv.read("n.csv", schema: Row)
for n in values(rows.n) as each_n {
  step made = sh("echo " + n + " > {o}", outputs: { o: file }) with { cpu: n }
}
"#,
    );
    let short = workspace.mlp(&["run", "p.mlp", "-j", "1"]);
    short.exits(3).says(&["`each_n[2].made`", "needs 2 cores, this run may use 1"]);
    workspace.mlp(&["run", "p.mlp", "-j", "2"]).exits(0);
    workspace.mlp(&["run", "p.mlp", "-j", "1", "--force", "rows"]).exits(0).says(&["1 step run, 2 reused"]);
}

#[test]
fn a_limited_loop_runs_so_many_of_its_steps_at_once_and_the_limit_is_no_part_of_the_key() {
    let workspace = Workspace::new();
    let lock = workspace.path("lock");
    // Two at once would be in each other's way.
    workspace.write(
        "limited.mlp",
        format!(
            r#"pipeline limited

param most: int = 1

for a in [1, 2] as outer {{
  for b in range(0, 4) limit most as inner {{
    step alone = sh("mkdir '{lock}' && sleep 0.1 && rmdir '{lock}' && echo " + a + b + " > {{o}}", outputs: {{ o: file }}, confine: off)
  }}
}}
step all = sh("cat in/* > {{o}}", inputs: outer.inner.alone, outputs: {{ o: file }})
"#,
            lock = lock.display()
        ),
    );
    let ran = workspace.run("limited.mlp", &["--jobs", "8"]).exits(0);
    assert_eq!(ran.steps(), (9, 0, 0, 0), "{ran}");
    let ran = workspace.run("limited.mlp", &["--jobs", "8", "--param", "most=3"]).exits(0);
    assert_eq!(ran.steps(), (0, 9, 0, 0), "{ran}");
}

/// A pipeline with a round for each row of a sheet of experiments.
fn by_config(rows: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("configs.csv", format!("name,lr,epochs,note\n{rows}"));
    workspace.write(
        "fits.mlp",
        r#"pipeline fits

schema Config { name: str key, lr: float, epochs: int?, note: str? }

source configs = csv.read("configs.csv", schema: Config)
for c in rows(configs) as fitted {
  step m = sh("echo $LR $EPOCHS > {o}", outputs: { o: file }, env: { LR: "" + c.lr, EPOCHS: "" + (c.epochs ?? 10) })
}
step all = sh("cat in/* > {o}", inputs: fitted.m, outputs: { o: file })
"#,
    );
    workspace
}

#[test]
fn a_row_runs_its_round_when_a_cell_of_it_that_is_read_changes() {
    let workspace = by_config("wide,0.1,30,first\nbase,0.01,,\n");
    workspace.mlp(&["check", "fits.mlp"]).exits(0).says(&["fitted[..]: unknown until `configs` has run"]);
    let ran = workspace.run("fits.mlp", &[]).exits(0);
    assert_eq!(ran.executed(), ["all", "configs", "fitted[base].m", "fitted[wide].m"], "{ran}");

    let rows = |rows: &str| workspace.write("configs.csv", format!("name,lr,epochs,note\n{rows}")).run("fits.mlp", &[]);
    // A cell that is read.
    let ran = rows("wide,0.2,30,first\nbase,0.01,,\n").exits(0);
    assert_eq!(ran.executed(), ["all", "configs", "fitted[wide].m"], "{ran}");
    workspace.mlp(&["why", "fits.mlp", "fitted[wide].m"]).exits(0).says(&["0.1", "0.2"]);
    // One that is not; and the order of rows.
    let ran = rows("base,0.01,,other\nwide,0.2,30,first\n").exits(0);
    assert_eq!(ran.executed(), ["configs"], "{ran}");
    // What a blank stood for is written out.
    let ran = rows("base,0.01,10,other\nwide,0.2,30,first\n").exits(0);
    assert_eq!(ran.executed(), ["configs"], "{ran}");
    let ran = rows("base,0.01,10,\nwide,0.2,30,\ndeep,0.3,5,\n").exits(0);
    assert_eq!(ran.executed(), ["all", "configs", "fitted[deep].m"], "{ran}");
    let ran = rows("deep,0.3,5,\n").exits(0);
    assert_eq!(ran.executed(), ["all", "configs"], "{ran}");
}

#[test]
fn a_table_with_too_many_rows_makes_no_rounds() {
    let rows: String = (0..10_001).map(|n| format!("c{n},0.1,1,\n")).collect();
    let workspace = by_config(&rows);
    let ran = workspace.run("fits.mlp", &[]).exits(12);
    ran.says(&["a loop goes over a table with more than 10000 rows"]);
}
