//! `mlp import dvc.yaml` through the binary: DVC projects become pipelines that run, and whose second run reuses all.

mod support;

use support::{Ran, Workspace};

/// A project with every feature that a stage can have.
fn project() -> Workspace {
    let workspace = Workspace::new();
    workspace.write(
        "shop/dvc.yaml",
        r#"vars:
  - paths.yaml:files
  - greeting: "hello {world}"

stages:
  prepare:
    desc: Keeps the first lines.
    cmd: sh scripts/head.sh ${files.raw} data/prepared
    deps:
      - scripts/head.sh
      - ${files.raw}
    params:
      - prepare.n_lines
      - prepare.mark
    outs:
      - data/prepared/
  by_word:
    foreach: ${words}
    do:
      cmd: grep -c ${item.pattern} data/prepared/head.txt > counts/${key}.txt
      deps: [data/prepared/head.txt]
      outs:
        - counts/${key}.txt: {cache: false}
  grid:
    matrix:
      size: [1, 2]
      kind: [x, y]
    cmd: echo ${item.kind}${item.size} > grid/${key}.txt
    outs: ['grid/${key}.txt']
  fit:
    wdir: models
    cmd:
      - cat ../data/prepared/head.txt > all.txt && . ./fit.env
      - 'echo "$(cat fit.toml) ${fit}" > model.txt; echo done >> model.txt'
    deps: [../data/prepared, fit.env]
    params:
      - fit.toml:
          - solver
      - fit.json:
    outs: [model.txt]
    metrics:
      - metrics.json: {cache: false}
  report:
    cmd: |
      test -f counts/a.txt
      printf '%s\n' "${greeting}" '\${HOME}'; sh scripts/report.sh counts grid models/model.txt
    deps: [counts, grid, models/model.txt, scripts/report.sh]
    plots:
      - report.csv: {x: step, y: value}
  notify:
    cmd: grep value report.csv
    deps: [report.csv]
"#,
    );
    workspace.write("shop/paths.yaml", "files: {raw: data/raw.txt}\nunused: 1\n");
    workspace.write(
        "shop/params.yaml",
        "prepare: {n_lines: 3, mark: it's, unused: 9}\nwords:\n  a: {pattern: apple}\n  b: {pattern: pear}\n\
         fit: {lr: 0.00001, verbose: true, quiet: false, names: [u, v w]}\n",
    );
    workspace.write("shop/models/fit.toml", "solver = \"sgd\"\nday = 2020-01-01\n");
    workspace.write("shop/models/fit.json", "{\"depth\": {\"max\": 3}, \"on\": null}");
    workspace.write("shop/models/fit.env", "cat fit.json > metrics.json\n");
    workspace.write("shop/data/raw.txt", "apple\npear\napple\nplum\n");
    workspace.write("shop/data/raw.txt.dvc", "outs:\n- path: raw.txt\n  md5: x\n");
    workspace.write(
        "shop/scripts/head.sh",
        "mkdir -p $2; n=$(sed -n 's/.*n_lines: //p' params.yaml); head -n $n $1 > $2/head.txt\n\
         sed -n \"s/.*mark: '\\(.*\\)'/\\1/p\" params.yaml\n",
    );
    workspace.write(
        "shop/scripts/report.sh",
        "for f in $1/*.txt $2/*.txt; do echo $f $(cat $f); done; cat $3; echo step,value > report.csv\n",
    );
    workspace
}

fn printed(ran: &Ran, step: &str) -> Vec<String> {
    let events = ran.events().into_iter().filter(|event| event["event"] == "step_printed" && event["step"] == step);
    events.map(|event| event["line"].as_str().unwrap_or("?").to_owned()).collect()
}

#[test]
fn every_feature_of_a_stage_is_carried_over_and_a_second_run_reuses_all() {
    let workspace = project();
    workspace.mlp(&["import", "shop"]).exits(0).says(&["wrote shop/shop.mlp: 10 steps, 9 parameters"]);
    workspace.mlp(&["fmt", "--check", "shop/shop.mlp"]).exits(0);
    let ran = workspace.run("shop/shop.mlp", &[]).exits(0);
    assert_eq!(ran.steps(), (10, 0, 0, 0), "{ran}");
    assert_eq!(printed(&ran, "prepare"), ["it''s"], "the text of params.yaml quotes it");
    let expected = [
        "hello {world}",
        "${HOME}",
        "counts/a.txt 2",
        "counts/b.txt 1",
        "grid/1-x.txt x1",
        "grid/1-y.txt y1",
        "grid/2-x.txt x2",
        "grid/2-y.txt y2",
        "solver = \"sgd\" --lr 1e-5 --verbose  --names u v w",
        "done",
    ];
    let lines = printed(&ran, "report");
    // The words of a list are quoted for the shell, inside of quotes here.
    let lines: Vec<_> = lines.iter().map(|line| line.replace('\'', "")).collect();
    assert_eq!(lines, expected);
    assert_eq!(printed(&ran, "notify"), ["step,value"]);
    let ran = workspace.run("shop/shop.mlp", &[]).exits(0);
    assert_eq!(ran.steps(), (0, 10, 0, 0), "{ran}");
}

#[test]
fn a_parameter_wakes_the_stages_that_declare_it_and_is_what_they_see() {
    let workspace = project();
    workspace.mlp(&["import", "shop/dvc.yaml", "--out", "all.mlp"]).exits(0);
    workspace.run("all.mlp", &[]).exits(0);
    let ran = workspace.run("all.mlp", &["--param", "prepare_mark=other"]).exits(0);
    assert_eq!((ran.executed(), printed(&ran, "prepare")), (vec!["prepare".to_owned()], vec!["other".to_owned()]));
    let ran = workspace.run("all.mlp", &["--param", "solver=adam", "--param", "fit_verbose=false"]).exits(0);
    assert_eq!(ran.executed(), ["fit", "report"], "the plot has the bytes it had");
    assert!(printed(&ran, "report").iter().any(|line| line.starts_with("solver = \"adam\" --lr 1e-5  ")), "{ran}");
    let ran = workspace.run("all.mlp", &["--param", "words_b_pattern=le"]).exits(0);
    assert!(
        ran.executed().contains(&"by_word_b".to_owned()) && !ran.executed().contains(&"by_word_a".to_owned()),
        "{ran}"
    );
}

#[test]
fn what_is_not_as_dvc_did_it_is_told_and_stands_in_the_file() {
    let workspace = Workspace::new();
    workspace.write("p/made.txt", "as it is\n").write("p/big.bin", "x");
    workspace.write(
        "p/dvc.yaml",
        "stages:
  old:
    cmd: never-run
    frozen: true
    outs: [made.txt]
  use:
    cmd: cat made.txt big.bin > used && echo $TOKEN
    always_changed: true
    meta: {owner: us}
    deps: [made.txt, 's3://bucket/x', remote://r/y]
    params: [gone]
    outs:
      - used: {persist: true, cache: false}
    plots:
      - curve.json: {x: a, title: t}
    unheard_of: 1
  away:
    cmd: make away
    outs: [/tmp/away]
  odd:
    cmd: set -o pipefail; cat <(echo in bash)
  net:
    cmd: curl https://example.org > page.html
    outs: [page.html]
  guess:
    cmd: make thing
    outs: [thing]
plots: []
artifacts: {m: {path: used}}
strange: 1
",
    );
    workspace.write("p/params.yaml", "a: 1\n");
    let ran = workspace.mlp(&["import", "p"]).exits(0).says(&["wrote p/p.mlp: 4 steps"]);
    let text = workspace.read("p/p.mlp");
    let told = [
        "dvc.yaml:2: `old`: it is frozen, so it is no step: what it made is taken as it is",
        "dvc.yaml:6: `use`: `always_changed` is left out",
        "dvc.yaml:6: `use`: `big.bin` is no dependency, but the command names it: it is an input",
        "dvc.yaml:6: `use`: its command reads the variable `TOKEN`, which steps do not see: add `pass_env: [\"TOKEN\"]`",
        "dvc.yaml:9: `use`: `meta` is left out",
        "dvc.yaml:10: `use`: its input `s3://bucket/x` is an address",
        "dvc.yaml:10: `use`: its input `remote://r/y` is an address",
        "dvc.yaml:11: `use`: `params.yaml` has no `gone`: it is left out",
        "dvc.yaml:13: `use`: `persist` of `used` is left out: a step never sees what it made before",
        "dvc.yaml:19: `away`: it is left out: its output `/tmp/away` is an absolute path",
        "dvc.yaml:27: `guess`: `thing` is taken for a folder, since its name has no ending; if it is a file, write `file`",
        "dvc.yaml:15: `use`: how `curve.json` is drawn is left out: `x`, `title`",
        "dvc.yaml:16: `use`: `unheard_of` is not known and is left out",
        "dvc.yaml:20: `odd`: bash runs it, since `sh` would not understand it",
        "dvc.yaml:22: `net`: it is given the network",
        "dvc.yaml:28: `plots`:",
        "dvc.yaml:29: `artifacts`:",
        "dvc.yaml:30: `strange`:",
    ];
    for line in told {
        assert!(ran.stderr.contains(line), "{line}: {ran}");
        assert!(text.contains(&format!("// - {line}")), "{line}: {text}");
    }
    assert!(text.contains("network: true"), "{text}");
    let ran = workspace.run("p/p.mlp", &["odd"]).exits(0);
    assert_eq!(printed(&ran, "odd"), ["in bash"]);
    let json = workspace.json(&["import", "p", "--force"]);
    assert_eq!((&json["file"], json["notes"].as_array().map(Vec::len)), (&"p/p.mlp".into(), Some(19)), "{json}");
}

#[test]
fn files_that_programs_use_without_a_word_are_found() {
    let workspace = Workspace::new();
    workspace.write("p/dvc.yaml", "stages:\n  fit:\n    cmd: sh -c 'cat src/fit.py src/lib/read.py conf/extra.txt params.yaml'\n    deps: [src/fit.py]\n    params: [fit.seed]\n    outs: [out.txt]\n  all: {cmd: cat notes/params.yaml, deps: [notes], outs: [x.txt]}\n");
    workspace.write("p/params.yaml", "fit: {seed: 1, lr: 0.5, more: 2}\nconf: conf/extra.txt\nunused: 3\n");
    workspace.write("p/src/fit.py", "from lib import read\np = load('params.yaml')\nuse(p['fit']['lr'], p['conf'])\n");
    workspace.write("p/src/lib/__init__.py", "").write("p/src/lib/read.py", "import os\n");
    workspace.write("p/conf/extra.txt", "extra\n").write("p/notes/params.yaml", "a: 1\n");
    workspace.edit("p/dvc.yaml", "notes/params.yaml, deps", "notes/params.yaml > x.txt, deps");
    workspace.edit("p/dvc.yaml", "params.yaml'\n", "params.yaml > out.txt; cat out.txt'\n");
    let ran = workspace.mlp(&["import", "p"]).exits(0);
    for text in [
        "`src/lib/__init__.py` is no dependency, but `src/fit.py` imports it: it is an input",
        "`src/lib/read.py` is no dependency, but the command names it: it is an input",
        "`conf/extra.txt` is no dependency, but the command names it: it is an input",
        "its programs ask for `fit.lr`, `conf` of `params.yaml`, which it does not declare: it depends on them",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {ran}");
    }
    let ran = workspace.run("p/p.mlp", &["--param", "fit_seed=7"]).exits(0);
    let lines = printed(&ran, "fit");
    assert_eq!(lines[lines.len() - 4..], ["fit:", "  seed: 7", "  lr: !!float 0.5", "conf: 'conf/extra.txt'"], "{ran}");
    workspace.mlp(&["import", "p", "--force", "--whole-params"]).exits(0);
    let ran = workspace.run("p/p.mlp", &["--param", "unused=4"]).exits(0);
    assert!(printed(&ran, "fit").contains(&"unused: 4".to_owned()), "{ran}");
    assert_eq!(workspace.run("p/p.mlp", &["--param", "unused=4"]).exits(0).steps().0, 0);
}

#[test]
fn a_stage_that_reaches_above_its_folder_finds_everything_in_its_place() {
    let workspace = Workspace::new();
    workspace.write("repo/common/words.txt", "b\na\n").write("repo/team/data/x.txt", "x\n");
    workspace.write(
        "repo/team/dvc.yaml",
        "stages:
  sorted:
    cmd: sort ../common/words.txt data/x.txt > ../made/sorted.txt
    deps: [../common/words.txt, data]
    outs: [../made/sorted.txt]
  shown:
    wdir: ../made
    cmd: cat sorted.txt ../team/data/x.txt
    deps: [sorted.txt, ../team/data/x.txt]
",
    );
    workspace.mlp(&["import", "repo/team", "-o", "repo/flows.mlp"]).exits(0);
    let ran = workspace.run("repo/flows.mlp", &[]).exits(0);
    assert_eq!(printed(&ran, "shown"), ["a", "b", "x", "x"]);
    assert_eq!(workspace.run("repo/flows.mlp", &[]).exits(0).steps(), (0, 2, 0, 0));
}

#[test]
fn mistakes_are_told_all_at_once_and_nothing_is_written() {
    let workspace = Workspace::new();
    workspace.write(
        "p/dvc.yaml",
        "vars: [none.yaml]
stages:
  a: {cmd: 'x ${nope}', deps: [gone.csv, data/big.csv], outs: [o.txt]}
  b: {deps: [o.txt], outs: [o.txt]}
  c: {cmd: y, outs: [o.txt, z.txt], deps: [z.txt]}
",
    );
    workspace.write("p/data/big.csv.dvc", "outs: []\n");
    workspace.mlp(&["import", "p"]).exits(2).says(&[
        "p/dvc.yaml:1: `none.yaml`: cannot read it:",
        "p/dvc.yaml:3: `a`: `${nope}` is not known; there are no values at all",
        "p/dvc.yaml:3: `a`: its input `gone.csv` is not there",
        "p/dvc.yaml:3: `a`: its input `data/big.csv` is not there; `dvc pull` brings it",
        "p/dvc.yaml:4: `b`: it has no `cmd`",
        "p/dvc.yaml:5: `c`: `o.txt` is made by `a`, too",
        "p/dvc.yaml:5: `c`: it depends on `z.txt`, which it makes itself",
        "`p/dvc.yaml` cannot be carried over, for 7 reasons; nothing was written",
    ]);
    assert!(!workspace.path("p/p.mlp").exists());
    workspace.write("p/dvc.yaml", "stages:\n  a: {cmd: [x\n");
    workspace.mlp(&["import", "p"]).exits(2).says(&["cannot read `p/dvc.yaml`, line"]);
    workspace.write("p/dvc.yaml", "stages: {}\n");
    workspace.mlp(&["import", "p"]).exits(2).says(&["`stages`: there are none"]);
    workspace.mlp(&["import", "nowhere"]).exits(2).says(&["cannot read `nowhere`"]);
}

#[test]
fn stages_that_wait_for_each_other_are_refused_by_the_checker() {
    let workspace = Workspace::new();
    workspace.write(
        "p/dvc.yaml",
        "stages:\n  a: {cmd: x, deps: [b.txt], outs: [a.txt]}\n  b: {cmd: y, deps: [a.txt], outs: [b.txt]}\n",
    );
    workspace.mlp(&["import", "p"]).exits(2).says(&["E0209", "does not check; nothing was written"]);
    assert!(!workspace.path("p/p.mlp").exists());
}

#[test]
fn a_pipeline_that_is_there_is_kept_unless_forced() {
    let workspace = Workspace::new();
    workspace.write("p/dvc.yaml", "stages: {a: {cmd: echo 1 > a.txt, outs: [a.txt]}}\n").write("p/p.mlp", "mine");
    workspace.mlp(&["import", "p"]).exits(2).says(&["`p/p.mlp` is there already", "--force"]);
    assert_eq!(workspace.read("p/p.mlp"), "mine");
    workspace.mlp(&["import", "p", "--force"]).exits(0);
    workspace.run("p/p.mlp", &[]).exits(0);
}
