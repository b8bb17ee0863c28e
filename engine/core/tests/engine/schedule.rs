//! What starts when, and on what: parts of a pipeline, demands, pauses between attempts, budgets, what a cut-off saves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use mlp_engine::{Engine, RunError, RunRequest};
use mlp_model::{
    Cancel, Decision, Demand, ErrorClass, Event, Gpu, GpuDemand, Machine, Node, NodeKind, Outcome, Pipeline, Round,
    RunStatus, Runner, Timestamp, Value,
};
use proptest::prelude::*;
use tokio::sync::watch;

use crate::support::*;

/// Steps by name, each with the steps that it reads.
fn steps(made: &[(&str, &[usize])]) -> Pipeline {
    let node = |(name, inputs): &(&str, &[usize])| {
        let inputs: Vec<(String, _)> = inputs.iter().map(|&input| (format!("in{input}"), out(input))).collect();
        let inputs: Vec<(&str, _)> = inputs.iter().map(|(name, input)| (name.as_str(), input.clone())).collect();
        step(name, "join", &inputs, &[("name", Value::Str((*name).into()))], table())
    };
    pipeline(made.iter().map(node).collect())
}

/// a -> b -> d, a -> c.
fn diamond() -> Pipeline {
    steps(&[("a", &[]), ("b", &[0]), ("c", &[0]), ("d", &[1])])
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn until_from_and_targets_choose_a_part_and_what_it_needs() {
    type Edit = fn(&mut mlp_engine::RunRequest);
    let cases: [(Edit, &[&str]); 5] = [
        (|request| request.until = names(&["b"]), &["a", "b"]),
        (|request| request.from = names(&["b"]), &["a", "b", "d"]),
        (|request| (request.from, request.until) = (names(&["b"]), names(&["b"])), &["a", "b"]),
        (|request| (request.targets, request.from) = (names(&["c", "d"]), names(&["b"])), &["a", "b", "d"]),
        (|request| request.from = names(&["c", "d"]), &["a", "b", "c", "d"]),
    ];
    for (edit, expected) in cases {
        let told = Desk::new().run_with(&diamond(), edit);
        let expected: Vec<String> = expected.iter().map(|name| format!("{name} executed")).collect();
        assert_eq!(told.sorted_story(), expected);
    }
}

#[test]
fn a_part_that_is_empty_or_leaves_a_forced_step_out_is_refused() {
    let desk = Desk::new();
    let refused = |edit: fn(&mut mlp_engine::RunRequest)| {
        let mut request = desk.request();
        edit(&mut request);
        let error = desk.try_run(&diamond(), request).err().unwrap();
        (error.to_string(), error.help().is_some())
    };
    let nothing = refused(|request| (request.targets, request.from) = (names(&["c"]), names(&["b"])));
    assert_eq!(nothing, ("nothing that was asked for needs `b`".to_owned(), true));
    let outside = refused(|request| (request.targets, request.force) = (names(&["b"]), names(&["c"])));
    assert_eq!(outside, ("step `c` is forced, but it is not among the steps that were asked for".to_owned(), true));
    assert!(desk.store.records().is_empty());
}

#[test]
fn a_demand_that_cannot_be_met_is_refused_before_anything_runs_unless_the_result_is_there() {
    let desk = Desk::new();
    let mut pipeline = diamond();
    desk.run(&pipeline);
    let n_records = desk.store.records().len();
    edit_call(&mut pipeline, "b", |call| call.options.demand = Demand { cpu: Some(9), ..Demand::default() });
    // Nothing changed: nobody needs nine cores to look at what is there.
    assert_eq!(desk.run(&pipeline).outcome.steps.reused, 4);
    edit_call(&mut pipeline, "a", |call| _ = call.params.insert("more", Value::Int(1)));
    let request = desk.request();
    let planned = desk.engine.plan(&pipeline, &request).unwrap_err();
    let error = desk.try_run(&pipeline, request).err().unwrap();
    assert_eq!(planned, error);
    let RunError::Unmet(unmet) = error else { panic!("{error}") };
    assert_eq!((unmet.len(), unmet[0].step.as_str()), (1, "b"));
    assert_eq!(unmet[0].error.argument.as_deref(), Some("with.cpu"));
    assert_eq!((unmet[0].error.class, unmet[0].error.help.is_some()), (ErrorClass::Environment, true));
    // The two records of the run before, and of each of its steps.
    assert_eq!(desk.store.records().len(), n_records + 6);
}

#[test]
fn a_step_is_told_its_gpus_and_no_others() {
    let desk = Desk::new();
    let seen: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let told = Arc::clone(&seen);
    desk.runner.add("look", move |step| {
        told.lock().unwrap().insert(step.step.clone(), step.gpus.clone());
        write_out(step, &step.step)
    });
    let mut pipeline = steps(&[("a", &[]), ("b", &[]), ("c", &[])]);
    for (name, gpu) in [("a", Some(GpuDemand::Device("GPU-2".into()))), ("b", Some(GpuDemand::Count(2))), ("c", None)] {
        edit_call(&mut pipeline, name, |call| {
            call.op = "look".into();
            call.options.demand.gpu = gpu;
        });
    }
    let gpu = |uuid: &str| Gpu { uuid: uuid.into(), name: "card".into(), mem_bytes: 1 << 30 };
    let gpus = vec![gpu("GPU-1"), gpu("GPU-2")];
    desk.run_with(&pipeline, |request| request.machine = Machine { gpus, ..Machine::default() });
    let seen = seen.lock().unwrap();
    assert_eq!((&seen["a"], &seen["b"]), (&names(&["GPU-2"]), &names(&["GPU-1", "GPU-2"])));
    assert!(seen["c"].is_empty());
}

#[test]
fn a_step_is_given_the_memory_it_took_last_time() {
    let desk = Desk::new();
    let (n_running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let both = Arc::new(Barrier::new(2));
    let (counted, highest, meet) = (Arc::clone(&n_running), Arc::clone(&most), Arc::clone(&both));
    desk.runner.add("hungry", move |step| {
        highest.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        match step.params.get("salt") {
            // Nobody knows yet how much they take: they run at once, or this never ends.
            None => _ = meet.wait(),
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        counted.fetch_sub(1, Ordering::SeqCst);
        Ok(Outcome { peak_mem_bytes: Some(6 << 30), ..write_out(step, &step.step)? })
    });
    let mut pipeline = steps(&[("a", &[]), ("b", &[])]);
    for name in ["a", "b"] {
        edit_call(&mut pipeline, name, |call| call.op = "hungry".into());
    }
    let machine = |request: &mut RunRequest| {
        request.jobs = 2;
        request.machine = Machine { mem_bytes: Some(10 << 30), ..Machine::default() };
    };
    desk.run_with(&pipeline, machine);
    assert_eq!(most.swap(0, Ordering::SeqCst), 2);
    for name in ["a", "b"] {
        edit_call(&mut pipeline, name, |call| _ = call.params.insert("salt", Value::Int(1)));
    }
    let mut request = desk.request();
    machine(&mut request);
    let plan = desk.engine.plan(&pipeline, &request).unwrap();
    assert!(plan.steps.iter().all(|step| step.mem_bytes == Some(6 << 30)));
    assert_eq!(desk.run_with(&pipeline, machine).outcome.steps.executed, 2);
    assert_eq!(most.swap(0, Ordering::SeqCst), 1);
    // What a step says itself goes before what is known of it.
    for name in ["a", "b"] {
        edit_call(&mut pipeline, name, |call| {
            call.params.remove("salt");
            call.params.insert("more", Value::Int(1));
            call.options.demand.mem_bytes = 1 << 30;
        });
    }
    desk.run_with(&pipeline, machine);
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

/// A step that fails so often, and waits so long for its second attempt.
fn flaky(n_failures: i64, backoff: Duration) -> Pipeline {
    let mut pipeline = pipeline(vec![
        step("flaky", "fail", &[], &[("times", Value::Int(n_failures))], table()),
        step("next", "join", &[("data", out(0))], &[], table()),
    ]);
    edit_call(&mut pipeline, "flaky", |call| {
        call.options.retries = 5;
        call.options.backoff = Some(backoff);
    });
    pipeline
}

#[test]
fn attempts_wait_twice_as_long_each_time_and_a_late_success_is_called_flaky() {
    let desk = Desk::new();
    let started = std::time::Instant::now();
    let told = desk.run(&flaky(2, Duration::from_millis(20)));
    let waits: Vec<f64> = told
        .events
        .iter()
        .filter_map(|event| match event {
            Event::StepFailed { retry_in_seconds, will_retry: true, .. } => *retry_in_seconds,
            _ => None,
        })
        .collect();
    assert!(waits.len() == 2 && (0.015..=0.02).contains(&waits[0]) && (0.03..=0.04).contains(&waits[1]), "{waits:?}");
    assert!(started.elapsed().as_secs_f64() >= waits.iter().sum());
    assert_eq!(told.story(), ["flaky failed attempt 1", "flaky failed attempt 2", "flaky executed", "next executed"]);
    assert_eq!((told.outcome.steps.flaky, told.outcome.steps.executed), (1, 2));
    assert!(told.events.iter().any(|event| matches!(event, Event::StepFinished { attempt: 3, .. })));
    // So does `why`, also after a run that reuses it.
    for _ in 0..2 {
        let why = desk.engine.why(&desk.id("flaky"), None).unwrap();
        let failed: Vec<u32> = why.failed_before.iter().map(|failed| failed.attempt).collect();
        assert_eq!((failed, why.failed_since), (vec![1, 2], None));
        assert_eq!(desk.run(&flaky(2, Duration::from_millis(20))).outcome.steps.reused, 2);
    }
}

#[test]
fn a_cancel_during_a_pause_ends_the_run_at_once_and_the_failure_stands() {
    let desk = Desk::new();
    let pipeline = flaky(9, Duration::from_secs(600));
    let (cancel, hear) = watch::channel(None);
    let told = run_to_the_end(&desk.engine, &pipeline, desk.request(), hear, |event| {
        if matches!(event, Event::StepFailed { .. }) {
            let _ = cancel.send(Some(Cancel::Gently));
        }
    });
    let told = told.unwrap();
    assert_eq!(told.story(), ["flaky failed attempt 1", "flaky failed", "next skipped: `flaky` failed"]);
    assert_eq!((told.outcome.status, told.outcome.steps.failed), (RunStatus::Cancelled, 1));
    assert_eq!(told.only_failure().message, "step `flaky` failed");
}

/// A desk whose clock goes on by what each step's parameter `ms` says.
fn timed_desk() -> (Desk, Engine) {
    let desk = Desk::new();
    let now = Arc::new(AtomicI64::new(1_000));
    let clock = Arc::clone(&now);
    desk.runner.add("timed", move |step| {
        now.fetch_add(step.params["ms"].as_int().unwrap(), Ordering::SeqCst);
        write_out(step, &format!("{} {:?}", step.step, step.params.get("salt")))
    });
    let runners: BTreeMap<String, Arc<dyn Runner>> = BTreeMap::from([("test".to_owned(), desk.runner.clone() as _)]);
    let engine = Engine::new(desk.store.clone(), runners, Arc::new(move || Timestamp(clock.load(Ordering::SeqCst))));
    (desk, engine)
}

fn timed(made: &[(&str, i64, &[usize])], salt: i64) -> Pipeline {
    let mut pipeline = steps(&made.iter().map(|(name, _, inputs)| (*name, *inputs)).collect::<Vec<_>>());
    for (name, ms, _) in made {
        edit_call(&mut pipeline, name, |call| {
            call.op = "timed".into();
            call.params = [("ms".to_owned(), Value::Int(*ms)), ("salt".to_owned(), Value::Int(salt))].into();
        });
    }
    pipeline
}

#[test]
fn a_budget_leaves_out_what_would_end_after_it() {
    let (desk, engine) = timed_desk();
    let made: [(&str, i64, &[usize]); 4] =
        [("long", 60_000, &[]), ("short", 5_000, &[]), ("after", 10, &[0]), ("new", 1, &[])];
    let run = |pipeline: &Pipeline, budget: Option<u64>| {
        let request = mlp_engine::RunRequest { budget: budget.map(Duration::from_secs), jobs: 1, ..desk.request() };
        let (_cancel, never) = watch::channel(None);
        run_to_the_end(&engine, pipeline, request, never, |_| {}).unwrap()
    };
    // Without a past everything is tried, as long as there is time.
    let first = run(&timed(&made[..3], 1), Some(30));
    assert_eq!(
        first.sorted_story(),
        [
            "after skipped: `after` would end after the run's time budget",
            "long executed",
            "short skipped: `short` would end after the run's time budget"
        ]
    );
    assert_eq!((first.outcome.status, first.outcome.steps.skipped), (RunStatus::OverBudget, 2));
    assert_eq!(run(&timed(&made[..3], 1), None).outcome.status, RunStatus::Succeeded);
    // With a past, the long one is not begun, and the short one is.
    let second = run(&timed(&made, 2), Some(30));
    assert_eq!(
        second.sorted_story(),
        [
            "after skipped: `long` would end after the run's time budget (it took 60 s last time)",
            "long skipped: `long` would end after the run's time budget (it took 60 s last time)",
            "new executed",
            "short executed"
        ]
    );
    assert_eq!(second.outcome.status, RunStatus::OverBudget);
    assert_eq!(run(&timed(&made, 2), Some(300)).outcome.status, RunStatus::Succeeded);
}

#[test]
fn the_plan_says_how_long_it_takes_and_the_longest_way_goes_first() {
    let (desk, engine) = timed_desk();
    let made: [(&str, i64, &[usize]); 4] =
        [("long", 9_000, &[]), ("short", 1_000, &[]), ("way", 20_000, &[1]), ("end", 2_000, &[0, 2])];
    let request = |jobs| mlp_engine::RunRequest { jobs, ..desk.request() };
    let unknown = engine.plan(&timed(&made, 1), &request(2)).unwrap();
    assert_eq!((unknown.seconds, unknown.n_without_past), (0.0, 4));
    let (_cancel, never) = watch::channel(None);
    run_to_the_end(&engine, &timed(&made, 1), request(1), never.clone(), |_| {}).unwrap();
    desk.runner.take_started();

    let again = timed(&made, 2);
    let plan = engine.plan(&again, &request(2)).unwrap();
    let seconds: Vec<Option<f64>> = plan.steps.iter().map(|step| step.seconds).collect();
    assert_eq!(seconds, [Some(9.0), Some(1.0), Some(20.0), Some(2.0)]);
    // Only `short` and `long` are sure to run, side by side; if all do, `way` and `end` follow `short`.
    assert_eq!((plan.seconds, plan.seconds_at_most, plan.n_without_past), (9.0, 23.0, 0));
    assert_eq!(engine.plan(&again, &request(1)).unwrap().seconds, 10.0);
    // `short` has 22 seconds of work behind it, `long` has 2.
    run_to_the_end(&engine, &again, request(1), never, |_| {}).unwrap();
    assert_eq!(desk.runner.take_started(), ["short", "long", "way", "end"]);
}

#[test]
fn a_cut_off_tells_how_many_steps_it_saved() {
    let desk = Desk::new();
    desk.write("a.csv", "a\n");
    let read = step("raw", "read", &[("file", desk.file("a.csv"))], &[], table());
    let mut pipeline = steps(&[("raw", &[]), ("b", &[0]), ("c", &[0]), ("d", &[1, 2]), ("e", &[3])]);
    pipeline.nodes[0] = read;
    desk.run(&pipeline);
    desk.write("a.csv", "a\n\n");
    let told = desk.run(&pipeline);
    let cut_offs = |told: &Told| -> Vec<(String, usize)> {
        let told = told.events.iter().filter_map(|event| match event {
            Event::CutOff { step, n_saved, .. } => Some((step.clone(), *n_saved)),
            _ => None,
        });
        told.collect()
    };
    assert_eq!(cut_offs(&told).iter().map(|(_, n_saved)| n_saved).sum::<usize>(), 4);
    assert!(cut_offs(&told).iter().all(|(step, _)| step == "raw"));
    assert_eq!((told.outcome.steps.executed, told.outcome.steps.cut_off), (1, 4));
    // What was sure to be reused is not saved by anything.
    let nothing = desk.run(&pipeline);
    assert_eq!((cut_offs(&nothing), nothing.outcome.steps.cut_off), (vec![], 0));
}

/// One step of a random pipeline: where it reads, from a file or from earlier steps, whether it forgets blank lines, and which round
/// of a loop it is in, if it is in one.
#[derive(Debug, Clone)]
struct Random {
    inputs: Vec<prop::sample::Index>,
    file: Option<usize>,
    forgets: bool,
    round: Option<u8>,
}

#[derive(Debug, Clone)]
enum Edit {
    /// Other content.
    Write(usize),
    /// A blank line more.
    Blank(usize),
    Param(prop::sample::Index),
    Rename(prop::sample::Index),
    Damage(prop::sample::Index),
    Force(prop::sample::Index),
    Remove(usize),
}

const N_FILES: usize = 3;

fn random_pipeline() -> impl Strategy<Value = Vec<Random>> {
    let inputs = proptest::collection::vec(any::<prop::sample::Index>(), 0..3);
    let file = proptest::option::of(0..N_FILES);
    let step = (inputs, file, any::<bool>(), proptest::option::of(0..3u8));
    let step = step.prop_map(|(inputs, file, forgets, round)| Random { inputs, file, forgets, round });
    proptest::collection::vec(step, 1..9)
}

fn random_edits() -> impl Strategy<Value = Vec<Edit>> {
    let index = any::<prop::sample::Index>;
    let edit = prop_oneof![
        3 => (0..N_FILES).prop_map(Edit::Write),
        3 => (0..N_FILES).prop_map(Edit::Blank),
        2 => index().prop_map(Edit::Param),
        1 => index().prop_map(Edit::Rename),
        1 => index().prop_map(Edit::Damage),
        1 => index().prop_map(Edit::Force),
        1 => (0..N_FILES).prop_map(Edit::Remove),
    ];
    proptest::collection::vec(edit, 0..4)
}

/// The loop tolerates so many failed rounds. Whoever reads of it from outside collects, and is the last word about it: later steps
/// are in no round.
fn made_of(desk: &Desk, randoms: &[Random], tolerated: u32) -> Pipeline {
    let (mut nodes, mut rounds, mut is_closed): (Vec<Node>, Vec<Option<u8>>, bool) = (vec![], vec![], false);
    for (idx, random) in randoms.iter().enumerate() {
        let round = random.round.filter(|_| !is_closed);
        let mut inputs: BTreeMap<String, mlp_model::Input> = BTreeMap::new();
        let mut collects = BTreeSet::new();
        if let Some(file) = random.file {
            inputs.insert("file".into(), desk.file(&format!("{file}.csv")));
        }
        for input in random.inputs.iter().filter(|_| idx > 0).map(|input| input.index(idx)) {
            // No round reads another one.
            if rounds[input].is_some() && round.is_some() && rounds[input] != round {
                continue;
            }
            if rounds[input].is_some() && round.is_none() {
                collects.insert(format!("in{input}"));
                is_closed = true;
            }
            inputs.insert(format!("in{input}"), out(input));
        }
        let inputs: Vec<(&str, mlp_model::Input)> =
            inputs.iter().map(|(name, input)| (name.as_str(), input.clone())).collect();
        let op = if random.forgets { "forget" } else { "join" };
        let mut node = step(&format!("s{idx}"), op, &inputs, &[("n", Value::Int(0))], table());
        let NodeKind::Call(call) = &mut node.kind else { panic!("a step is a call") };
        let of = |key: u8| Round { of: "l".into(), key: key.to_string(), tolerated };
        (call.options.rounds, call.options.collects) = (round.map(of).into_iter().collect(), collects);
        nodes.push(node);
        rounds.push(round);
    }
    pipeline(nodes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// A plan and the run after it agree in every step: what is said to run runs, for the reason that was told; what is
    /// said to be reused is, from that run; what fails or is skipped does; and what was open is cut off or runs.
    #[test]
    fn a_run_does_what_its_plan_said(
        randoms in random_pipeline(),
        rounds in proptest::collection::vec(random_edits(), 1..4),
        keep_going in any::<bool>(),
        tolerated in 0..3u32,
    ) {
        let desk = Desk::new();
        desk.runner.add("forget", |step| {
            let texts: Vec<String> = step.inputs.keys().map(|name| read(step, name).trim().to_owned()).collect();
            write_out(step, &texts.join("+"))
        });
        (0..N_FILES).for_each(|file| desk.write(&format!("{file}.csv"), "a\n"));
        let mut pipeline = made_of(&desk, &randoms, tolerated);
        let mut outputs: Vec<mlp_model::Digest> = Vec::new();
        let mut n_edits = 0;
        for edits in std::iter::once(Vec::new()).chain(rounds) {
            let mut force = Vec::new();
            for edit in edits {
                n_edits += 1;
                let n_nodes = pipeline.nodes.len();
                match edit {
                    Edit::Write(file) => desk.write(&format!("{file}.csv"), &format!("b{n_edits}\n")),
                    Edit::Blank(file) => {
                        let text = std::fs::read_to_string(desk.path(&format!("{file}.csv"))).unwrap_or_default();
                        desk.write(&format!("{file}.csv"), &(text + "\n"));
                    }
                    Edit::Param(step) => {
                        let name = pipeline.nodes[step.index(n_nodes)].name.clone();
                        edit_call(&mut pipeline, &name, |call| _ = call.params.insert("n", Value::Int(n_edits)));
                    }
                    Edit::Rename(step) => pipeline.nodes[step.index(n_nodes)].name = format!("r{n_edits}"),
                    Edit::Damage(output) if !outputs.is_empty() => {
                        let digest = outputs[output.index(outputs.len())];
                        if desk.store.has(&digest) {
                            desk.store.damage(&digest);
                        }
                    }
                    Edit::Damage(_) => {}
                    Edit::Force(step) => force.push(step.index(n_nodes)),
                    Edit::Remove(file) => _ = std::fs::remove_file(desk.path(&format!("{file}.csv"))),
                }
            }
            let force = force.into_iter().map(|idx| pipeline.nodes[idx].name.clone()).collect();
            let request = mlp_engine::RunRequest { keep_going, force, ..desk.request() };
            let plan = desk.engine.plan(&pipeline, &request).unwrap();
            let told = desk.try_run(&pipeline, request).unwrap();
            for event in &told.events {
                if let Event::StepFinished { outputs: made, .. } = event {
                    outputs.extend(made.iter().map(|output| output.digest));
                }
            }
            let fails = told.events.iter().any(|event| matches!(event, Event::StepFailed { .. }));
            let stops = told.outcome.status != RunStatus::Succeeded && !keep_going;
            for planned in &plan.steps {
                let of_step = |event: &&Event| match event {
                    Event::StepStarted { step, .. } | Event::StepFinished { step, .. } | Event::StepReused { step, .. }
                    | Event::StepFailed { step, .. } | Event::StepSkipped { step, .. } => *step == planned.step,
                    _ => false,
                };
                let happened: Vec<&Event> = told.events.iter().filter(of_step).collect();
                let fits = match (&planned.decision, happened.as_slice()) {
                    (Decision::Run, [Event::StepStarted { reason, .. }, Event::StepFinished { .. }]) => *reason == planned.reason,
                    (Decision::Reuse { from_run }, [Event::StepReused { from_run: found, early_cutoff: false, .. }]) => {
                        found.0 == *from_run
                    }
                    (Decision::Unknown { .. }, [Event::StepStarted { .. }, Event::StepFinished { .. }]) => true,
                    (Decision::Unknown { .. }, [Event::StepReused { .. }]) => true,
                    // Whether its own file can be read is looked at when its turn comes.
                    (Decision::Unknown { .. }, [Event::StepFailed { error, .. }]) => error.class == ErrorClass::User,
                    // Another step made the same bytes again, before this one's turn came.
                    (Decision::Run, [Event::StepReused { .. }]) => planned.reason.ends_with("is missing or damaged"),
                    // What it needs was open as well, and failed.
                    (Decision::Unknown { .. }, [Event::StepSkipped { .. }]) if fails => true,
                    (Decision::Fail, [Event::StepFailed { error, .. }]) => error.message == planned.reason,
                    (Decision::Skip, [Event::StepSkipped { .. }]) => true,
                    // Whoever does not keep going starts nothing after a failure.
                    (_, [Event::StepSkipped { .. }]) => stops,
                    _ => false,
                };
                prop_assert!(fits, "planned {:?}, and then {:?}", planned, happened);
            }
        }
    }
}
