//! The runner: promises about results, cancelling, time limits and plain sources.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use mlp_model::{Cancel, Digest, ErrorClass, Handle, Named, Runner, RunnerEvent, SmallFiles, Type, Value};
use mlp_stdlib::BuiltinRunner;

use crate::support::{Bench, Cells, digest, infer, mistakes, operations, text, texts, weyl};

fn people(n: usize) -> [(&'static str, Cells); 4] {
    let u = weyl(n, 3.0);
    [
        ("row", Cells::ints(0..n as i64)),
        ("amount", Cells::Float(u.iter().map(|u| (*u > 0.1).then_some(u * 100.0)).collect())),
        ("class", Cells::Str(u.iter().map(|u| (*u < 0.9).then_some(if *u < 0.5 { "a" } else { "b" })).collect())),
        ("day", Cells::Date(u.iter().map(|u| Some((u * 50.0) as i32)).collect())),
    ]
}

/// A step of each operation over fixed inputs.
fn sample(op: &str) -> Bench {
    let n = 70_000;
    let score = Cells::Float(weyl(n, 1.0).into_iter().map(Some).collect());
    match op {
        "table.split" => {
            let params = [("test", Value::Float(0.2)), ("seed", Value::Int(7)), ("stratify", text("class"))];
            Bench::new(op, &params).table("data", &people(n))
        }
        "table.split_rows" => {
            Bench::new(op, &[("every", Value::Int(5)), ("at", Value::Int(4))]).table("data", &people(n))
        }
        "table.split_time" => {
            Bench::new(op, &[("by", text("day")), ("test", Value::Float(0.2))]).table("data", &people(n))
        }
        "table.split_groups" => {
            let params = [("by", text("class")), ("test", Value::Float(0.5)), ("seed", Value::Int(7))];
            Bench::new(op, &params).table("data", &people(n))
        }
        "table.join" => {
            let classes = Cells::Str(vec![Some("a"), Some("b"), None]);
            let params = [
                ("on", texts(&["class"])),
                ("right_on", texts(&["name"])),
                ("cardinality", text("many_to_one")),
                ("unmatched", text("keep")),
                ("expect", Value::Float(0.0)),
                ("prefix", text("of_")),
            ];
            let right = [("name", classes), ("weight", Cells::ints([3, 5, 7]))];
            Bench::new(op, &params).table("left", &people(n)).table("right", &right)
        }
        "table.concat" => Bench::new(op, &[]).table("tables.a", &people(n)).table("tables.b", &people(n / 2)),
        "table.where" => Bench::new(op, &[("column", text("class")), ("equals", text("a"))]).table("data", &people(n)),
        "eval.binary" => {
            let actual = Cells::Bool(weyl(n, 7.0).iter().zip(weyl(n, 1.0)).map(|(u, s)| Some(*u < s * s)).collect());
            let params = [("threshold", Value::Float(0.4))];
            Bench::new(op, &params).table("predictions", &[("actual", actual), ("score", score)])
        }
        "eval.regression" => {
            let actual = Cells::Float(weyl(n, 7.0).iter().map(|u| Some(u + 0.01)).collect());
            Bench::new(op, &[]).table("predictions", &[("actual", actual), ("score", score)])
        }
        "pick.best" => {
            let params = [("metric", text("auc")), ("by", text("max")), ("order", texts(&["b", "a"]))];
            let mut bench = Bench::new(op, &params);
            // `a` and `b` are equally good, `c` could not be measured.
            for (name, auc) in [("a", "0.75"), ("b", "0.75"), ("c", "null")] {
                let (model, report) = (bench.path().join(name), bench.path().join(format!("{name}.json")));
                fs::write(&model, format!("model {name}")).unwrap();
                fs::write(&report, format!("{{\"auc\":{auc}}}")).unwrap();
                bench.input(&format!("candidates.m_{name}"), &model, Type::File);
                bench.input(&format!("reports.q_{name}"), &report, Type::File);
                // The files of a store hold more than the artifact.
                for file in [model, report] {
                    let text = fs::read_to_string(&file).unwrap();
                    fs::write(&file, format!("{text}a footer")).unwrap();
                }
            }
            bench
        }
        other => panic!("no sample of {other}"),
    }
}

#[test]
fn results_change_only_with_the_version_of_their_operation() {
    // When this fails, stored results no longer fit: raise the operation's version, then put the new digests here.
    let golden = [
        ("eval.binary", 1, "out", "af13c09d2d77"),
        ("eval.regression", 1, "out", "33bee62068e2"),
        ("pick.best", 1, "out", "0427db0ef94d"),
        ("table.concat", 1, "out", "7ea5aa84219a"),
        ("table.join", 1, "out", "a2cd9cd2e010"),
        ("table.split", 1, "train", "ceeecdb0c7a1"),
        ("table.split", 1, "test", "9fb724776072"),
        ("table.split_groups", 1, "train", "fe55faefc796"),
        ("table.split_groups", 1, "test", "c1b00549163d"),
        ("table.split_rows", 1, "train", "3d34dbd39a94"),
        ("table.split_rows", 1, "test", "8f4605587a6f"),
        ("table.split_time", 1, "train", "f8b4c2e6a797"),
        ("table.split_time", 1, "test", "b1731b3f586d"),
        ("table.where", 1, "out", "c1b00549163d"),
    ];
    let operations = operations();
    let mut found = Vec::new();
    for op in BuiltinRunner::OPS {
        let bench = sample(op);
        let outcome = bench.run().unwrap();
        let version = operations.get(op).unwrap().version;
        let mut outputs: Vec<&String> = outcome.outputs.keys().collect();
        outputs.sort_by_key(|name| *name == "test");
        found.extend(outputs.into_iter().map(|name| (op, version, name.clone(), digest(&outcome, name).short())));
    }
    let golden: Vec<_> = golden
        .iter()
        .map(|(op, version, out, digest)| (*op, *version, (*out).to_owned(), (*digest).to_owned()))
        .collect();
    assert_eq!(found, golden);
}

#[test]
fn in_memory_a_step_makes_the_same_as_on_the_disk_and_writes_nothing() {
    let nowhere = Path::new("/dev/null/out");
    for op in BuiltinRunner::OPS.into_iter().filter(|op| *op != "table.join") {
        let bench = sample(op);
        let expected = bench.run().unwrap();
        let files = SmallFiles::default();
        let mut step = bench.step.clone();
        step.work_dir = nowhere.to_owned();
        for (n, input) in step.inputs.values_mut().enumerate() {
            let mut bytes = fs::read(&input.path).unwrap();
            bytes.truncate(input.size_bytes as usize);
            input.path = Path::new("/dev/null").join(format!("in{n}"));
            files.put(input.path.clone(), bytes.into());
        }
        let made = BuiltinRunner.execute(&step, &files, &AtomicBool::new(false)).unwrap();
        assert_eq!(made.facts, expected.facts, "{op}");
        assert_eq!(made.outputs.keys().collect::<Vec<_>>(), expected.outputs.keys().collect::<Vec<_>>());
        for (name, produced) in &made.outputs {
            assert_eq!(
                (produced.kind, &produced.path),
                (expected.outputs[name].kind, &nowhere.join(expected.outputs[name].path.file_name().unwrap()))
            );
            assert_eq!(Digest::of(&files.get(&produced.path).unwrap()), digest(&expected, name), "{op}: {name}");
        }
        let error = BuiltinRunner.execute(&step, &files, &AtomicBool::new(true)).unwrap_err();
        assert_eq!(error.class, ErrorClass::Cancelled);
    }
}

#[test]
fn the_best_figure_wins_the_first_in_order_of_equal_ones_and_none_that_is_missing() {
    let mut bench = sample("pick.best");
    let chosen = |bench: &Bench| bench.run().map(|outcome| fs::read_to_string(&outcome.outputs["out"].path).unwrap());
    assert_eq!(chosen(&bench).unwrap(), "model b");
    let again = |mut bench: Bench, params: &[(&str, Value)]| {
        bench.step.params.extend(params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        chosen(&bench)
    };
    assert_eq!(again(sample("pick.best"), &[("order", texts(&[]))]).unwrap(), "model a");
    assert_eq!(again(sample("pick.best"), &[("by", text("min"))]).unwrap(), "model b");
    for name in ["a", "b"] {
        bench.step.inputs.remove(&format!("candidates.m_{name}"));
        bench.step.inputs.remove(&format!("reports.q_{name}"));
    }
    let error = chosen(&bench).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Step, "D1151"));
}

#[test]
fn what_is_chosen_from_has_one_type_and_a_report_each() {
    let report = |metrics: &[&str]| {
        Type::Report(mlp_model::ReportType { metrics: metrics.iter().map(|name| (*name).to_owned()).collect() }.into())
    };
    let params = [("metric", text("auc")), ("by", text("max"))];
    let check = |inputs: &[(&str, Type)]| mistakes(infer("pick.best", inputs, &params));
    let (a, b) = (("candidates.m_1", Type::File), ("candidates.m_2", Type::File));
    let (p, q) = (("reports.q_1", report(&["auc"])), ("reports.q_2", report(&["auc"])));
    assert_eq!(check(&[a.clone(), b.clone(), p.clone(), q.clone()]), Vec::<String>::new());
    for (inputs, expected) in [
        (vec![p.clone()], "there is nothing to choose from"),
        (vec![a.clone(), b.clone(), p.clone()], "2 candidates and 1 reports do not belong together"),
        (
            vec![a.clone(), b.clone(), p.clone(), ("reports.q_3", report(&["auc"]))],
            "do not belong together: there is no report for `2`, and there is no candidate for `3`",
        ),
        (vec![a.clone(), ("candidates.m_2", Type::Folder), p.clone(), q.clone()], "`m_2` is a folder, and the first"),
        (vec![a.clone(), ("reports.q_1", report(&["aucc", "f1"]))], "report `q_1` has no metric `auc`"),
        (vec![a.clone(), ("reports.q_1", Type::File)], "`q_1` is a file, not a report"),
    ] {
        let found = check(&inputs);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
}

#[test]
fn a_cancelled_step_ends_as_cancelled() {
    for (how, op) in [(Cancel::Gently, "table.split"), (Cancel::Now, "eval.binary")] {
        let bench = sample(op);
        let (started, handle) = mpsc::channel::<Box<dyn Handle>>();
        let handle = Mutex::new(handle);
        let (sender, finished) = mpsc::channel();
        // The first progress cancels; another batch follows, before which the step looks.
        let report = move |event| match event {
            RunnerEvent::Progressed(_) => handle.lock().unwrap().recv().unwrap().cancel(how),
            RunnerEvent::Finished(result) => sender.send(result).unwrap(),
            RunnerEvent::Printed(line) => panic!("{line}"),
        };
        started.send(BuiltinRunner.start(bench.step.clone(), Box::new(report))).unwrap();
        assert_eq!(finished.recv().unwrap().unwrap_err().class, ErrorClass::Cancelled, "{op}");
        assert!(finished.recv().is_err(), "{op} finished twice");
    }
}

#[test]
fn a_step_that_takes_too_long_fails_with_its_limit() {
    let mut bench = sample("table.split");
    bench.step.timeout = Some(Duration::ZERO);
    let error = bench.run().unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Step, "N6904"));
    assert_eq!(error.message, "the step took longer than 0s");
}

#[test]
fn a_damaged_table_is_an_error_that_names_it() {
    for op in ["table.split", "eval.binary"] {
        let bench = sample(op);
        let (name, input) = bench.step.inputs.iter().next().unwrap();
        let bytes = fs::read(&input.path).unwrap();
        fs::write(&input.path, &bytes[..bytes.len() - 100]).unwrap();
        let error = bench.run().unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Environment, "N6905"));
        assert!(error.message.starts_with(&format!("cannot read `shown {name}`: ")), "{}", error.message);
    }
}

#[test]
fn a_work_folder_that_cannot_be_written_is_the_machines_trouble() {
    let bench = sample("table.split");
    fs::remove_dir(&bench.step.work_dir).unwrap();
    let error = bench.run().unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Environment, "N6906"));
}

#[test]
fn a_step_without_its_parameters_or_of_another_runner_is_our_mistake() {
    let mut bench = sample("table.split");
    bench.step.params = Named::new();
    assert_eq!(bench.run().unwrap_err().class, ErrorClass::Bug);
    let mut bench = sample("table.split");
    bench.step.op = "sql".into();
    assert_eq!(bench.run().unwrap_err().message, "operation `sql` was given to the wrong runner");
}
