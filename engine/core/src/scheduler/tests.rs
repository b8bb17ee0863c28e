//! Messages in, commands compared: no threads, no store. At the end, random runs that must keep the invariants.

use std::collections::BTreeMap;

use mlp_model::{Demand, Machine, Round};
use proptest::prelude::*;

use super::*;
use crate::tolerance::Member;

fn pool(jobs: usize) -> Pool {
    Pool::new(jobs, &Machine::default())
}

/// What a step needs that says nothing: one core.
fn one_core() -> Option<Need> {
    Some(pool(1).need(&Demand::default(), &Demand::default()).unwrap())
}

fn call(inputs: &[usize]) -> Step {
    Step {
        kind: StepKind::Call { retries: 0 },
        inputs: inputs.to_vec(),
        collects: vec![],
        awaits: vec![],
        twin: None,
        priority: 1,
        need: one_core(),
    }
}

fn with_retries(retries: u32) -> Step {
    Step { kind: StepKind::Call { retries }, ..call(&[]) }
}

fn of_kind(kind: StepKind, inputs: &[usize]) -> Step {
    Step { kind, ..call(inputs) }
}

fn started(steps: Vec<Step>, jobs: usize, keep_going: bool) -> Scheduler {
    let mut scheduler = Scheduler::new(steps, pool(jobs), Tolerance::default(), keep_going);
    scheduler.on_started();
    scheduler
}

fn tolerance(rounds: &[Vec<Round>]) -> Tolerance {
    Tolerance::new(rounds.iter().map(|rounds| Member { rounds, may_fail: false }))
}

fn commands(scheduler: &mut Scheduler) -> Vec<Command> {
    std::iter::from_fn(|| scheduler.next_command()).collect()
}

/// Resolves `step` as a miss and grants its claim.
fn run(scheduler: &mut Scheduler, step: usize) {
    scheduler.on_key_resolved(step, Lookup::Miss);
    scheduler.on_claimed(step);
}

fn finish(scheduler: &mut Scheduler, step: usize) {
    scheduler.on_written(step);
    scheduler.on_committed(step);
}

use Command::*;

#[test]
fn a_step_starts_once_its_inputs_are_written() {
    let mut scheduler = started(vec![call(&[]), call(&[0])], 4, false);
    assert_eq!(commands(&mut scheduler), [ResolveKey { step: 0 }]);
    scheduler.on_key_resolved(0, Lookup::Miss);
    assert_eq!(commands(&mut scheduler), [Claim { step: 0 }]);
    scheduler.on_claimed(0);
    assert_eq!(commands(&mut scheduler), [StartStep { step: 0, attempt: 1 }]);
    // Written is enough; the disk may take its time.
    scheduler.on_written(0);
    assert_eq!(commands(&mut scheduler), [ResolveKey { step: 1 }]);
    scheduler.on_committed(0);
    assert_eq!(commands(&mut scheduler), []);
    scheduler.on_key_resolved(1, Lookup::Hit);
    assert!(scheduler.is_done());
    assert_eq!((scheduler.state(0), scheduler.state(1)), (State::Executed, State::Reused));
}

#[test]
fn an_effect_begins_when_all_before_it_is_on_the_disk_and_decided() {
    let effect = of_kind(StepKind::Effect { retries: 0 }, &[0, 1]);
    let steps = vec![call(&[]), of_kind(StepKind::Gate, &[0]), effect];
    let begun = || {
        let mut scheduler = started(steps.clone(), 4, false);
        run(&mut scheduler, 0);
        commands(&mut scheduler);
        scheduler.on_written(0);
        assert_eq!(commands(&mut scheduler), []);
        scheduler.on_committed(0);
        assert_eq!(commands(&mut scheduler), [DecideGate { step: 1 }]);
        scheduler.on_decided(1);
        assert_eq!(commands(&mut scheduler), [ResolveKey { step: 2 }]);
        scheduler
    };
    let mut scheduler = begun();
    run(&mut scheduler, 2);
    assert_eq!(commands(&mut scheduler), [Claim { step: 2 }, StartStep { step: 2, attempt: 1 }]);
    finish(&mut scheduler, 2);
    assert_eq!((scheduler.is_done(), scheduler.state(2)), (true, State::Executed));

    let mut scheduler = begun();
    scheduler.on_refused(2, 1);
    assert_eq!(commands(&mut scheduler), [Skip { step: 2, because: Because::Refused { step: 1 } }]);
    assert!(scheduler.is_done());

    // A gate that could not be decided keeps an effect from being done as a failed step does.
    let mut scheduler = started(steps.clone(), 4, true);
    run(&mut scheduler, 0);
    finish(&mut scheduler, 0);
    commands(&mut scheduler);
    scheduler.on_failed(1, ErrorClass::Bug);
    assert_eq!(commands(&mut scheduler), [Skip { step: 2, because: Because::Failed { step: 1 } }]);
}

#[test]
fn the_run_ends_only_when_everything_is_on_the_disk() {
    let mut scheduler = started(vec![call(&[])], 1, false);
    run(&mut scheduler, 0);
    scheduler.on_written(0);
    assert!(!scheduler.is_done());
    scheduler.on_committed(0);
    assert!(scheduler.is_done());
}

#[test]
fn failed_step_skips_its_dependents() {
    for keep_going in [false, true] {
        let mut scheduler = started(vec![call(&[]), call(&[0]), call(&[1])], 4, keep_going);
        run(&mut scheduler, 0);
        commands(&mut scheduler);
        assert!(!scheduler.on_failed(0, ErrorClass::Step));
        let because = Because::Failed { step: 0 };
        assert_eq!(commands(&mut scheduler), [Skip { step: 1, because }, Skip { step: 2, because }]);
        assert!(scheduler.is_done());
    }
}

#[test]
fn after_a_failure_nothing_new_is_started_and_running_steps_finish() {
    let mut scheduler = started(vec![call(&[]), call(&[]), call(&[1]), call(&[])], 2, false);
    run(&mut scheduler, 0);
    run(&mut scheduler, 1);
    scheduler.on_key_resolved(3, Lookup::Miss);
    commands(&mut scheduler);
    scheduler.on_failed(0, ErrorClass::Step);
    let because = Because::Stopped { step: 0 };
    assert_eq!(commands(&mut scheduler), [Skip { step: 2, because }, Skip { step: 3, because }]);
    assert!(!scheduler.is_done());
    finish(&mut scheduler, 1);
    assert_eq!(commands(&mut scheduler), []);
    assert!(scheduler.is_done());
    assert_eq!(scheduler.state(1), State::Executed);
}

#[test]
fn keep_going_runs_what_does_not_depend_on_the_failure() {
    let mut scheduler = started(vec![call(&[]), call(&[0]), call(&[]), call(&[2]), call(&[1, 3])], 4, true);
    run(&mut scheduler, 0);
    run(&mut scheduler, 2);
    scheduler.on_failed(0, ErrorClass::Step);
    finish(&mut scheduler, 2);
    run(&mut scheduler, 3);
    finish(&mut scheduler, 3);
    assert!(scheduler.is_done());
    let states: Vec<State> = (0..5).map(|step| scheduler.state(step)).collect();
    assert_eq!(states, [State::Failed, State::Skipped, State::Executed, State::Executed, State::Skipped]);
}

#[test]
fn no_more_steps_run_than_there_are_jobs() {
    let mut scheduler = started((0..5).map(|_| call(&[])).collect(), 2, false);
    commands(&mut scheduler);
    (0..5).for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
    assert_eq!(commands(&mut scheduler), [Claim { step: 0 }, Claim { step: 1 }]);
    scheduler.on_claimed(0);
    scheduler.on_claimed(1);
    commands(&mut scheduler);
    scheduler.on_written(1);
    assert_eq!(commands(&mut scheduler), [Claim { step: 2 }]);
}

#[test]
fn the_longest_way_goes_first_then_the_order_of_declaration() {
    let lengths = [1, 3, 2, 3];
    let steps = lengths.map(|priority| Step { priority, ..call(&[]) }).to_vec();
    // A blocker holds the only slot until all others are ready.
    let mut scheduler = started([vec![call(&[])], steps].concat(), 1, false);
    commands(&mut scheduler);
    (0..5).for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
    let mut order = Vec::new();
    while let Some(command) = scheduler.next_command() {
        if let Claim { step } = command {
            order.push(step);
            scheduler.on_claimed(step);
            finish(&mut scheduler, step);
        }
    }
    assert_eq!(order, [0, 2, 4, 3, 1]);
}

#[test]
fn only_steps_and_the_environment_are_worth_another_attempt() {
    use ErrorClass::*;
    for (class, expected) in
        [(Step, true), (Environment, true), (Data, false), (User, false), (Bug, false), (Cancelled, false)]
    {
        let mut scheduler = started(vec![with_retries(2)], 1, false);
        run(&mut scheduler, 0);
        assert_eq!(scheduler.on_failed(0, class), expected, "{class:?}");
    }
}

#[test]
fn a_step_is_tried_as_often_as_it_may_be() {
    let mut scheduler = started(vec![with_retries(2)], 1, false);
    run(&mut scheduler, 0);
    commands(&mut scheduler);
    for attempt in [2, 3] {
        assert!(scheduler.on_failed(0, ErrorClass::Step));
        assert_eq!(commands(&mut scheduler), [Pause { step: 0 }]);
        scheduler.on_paused(0);
        assert_eq!(commands(&mut scheduler), [StartStep { step: 0, attempt }]);
    }
    assert!(!scheduler.on_failed(0, ErrorClass::Step));
    assert_eq!((commands(&mut scheduler), scheduler.state(0)), (vec![], State::Failed));
}

#[test]
fn nothing_is_tried_again_once_the_run_is_ending() {
    let mut failed = started(vec![with_retries(2), call(&[])], 2, false);
    let mut cancelled = started(vec![with_retries(2), call(&[])], 2, false);
    run(&mut failed, 0);
    run(&mut failed, 1);
    failed.on_failed(1, ErrorClass::Step);
    run(&mut cancelled, 0);
    cancelled.on_cancel(Cancel::Gently);
    assert!(!failed.on_failed(0, ErrorClass::Step));
    assert!(!cancelled.on_failed(0, ErrorClass::Step));
}

#[test]
fn a_step_that_waits_for_its_next_attempt_holds_no_slot() {
    let mut scheduler = started(vec![with_retries(1), call(&[])], 1, false);
    (0..2).for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
    scheduler.on_claimed(0);
    commands(&mut scheduler);
    scheduler.on_failed(0, ErrorClass::Step);
    assert_eq!(commands(&mut scheduler), [Pause { step: 0 }, Claim { step: 1 }]);
    scheduler.on_claimed(1);
    commands(&mut scheduler);
    scheduler.on_paused(0);
    assert_eq!((commands(&mut scheduler), scheduler.state(0)), (vec![], State::Granted));
    scheduler.on_written(1);
    assert_eq!(commands(&mut scheduler), [StartStep { step: 0, attempt: 2 }]);
}

#[test]
fn a_run_that_ends_gives_up_what_waits_for_its_next_attempt() {
    // While it pauses, and while it waits for a slot after the pause.
    for is_over in [false, true] {
        let mut scheduler = started(vec![with_retries(1), call(&[0]), call(&[])], 1, false);
        (0..3).for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
        scheduler.on_claimed(0);
        scheduler.on_failed(0, ErrorClass::Step);
        scheduler.on_claimed(2);
        if is_over {
            scheduler.on_paused(0);
        }
        commands(&mut scheduler);
        scheduler.on_cancel(Cancel::Gently);
        let because = Because::Cancelled;
        let of_first = Because::Failed { step: 0 };
        let told = commands(&mut scheduler);
        assert_eq!(told[0], GiveUp { step: 0, because });
        assert!(
            told[1..].contains(&Skip { step: 1, because }) || told[1..].contains(&Skip { step: 1, because: of_first })
        );
        assert_eq!(scheduler.state(0), State::Failed);
        // The end of the pause comes too late.
        scheduler.on_paused(0);
        assert_eq!(commands(&mut scheduler), []);
    }
}

#[test]
fn what_would_end_after_the_budget_is_skipped_and_shorter_steps_go_on() {
    let mut scheduler = started(vec![call(&[]), call(&[0]), call(&[])], 1, false);
    [0, 2].into_iter().for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
    commands(&mut scheduler);
    scheduler.on_over_budget(0);
    let because = Because::OverBudget { step: 0 };
    assert_eq!(commands(&mut scheduler), [Skip { step: 0, because }, Skip { step: 1, because }, Claim { step: 2 }]);
    scheduler.on_claimed(2);
    finish(&mut scheduler, 2);
    assert!(scheduler.is_done());
}

#[test]
fn cancel_ends_what_runs_and_skips_the_rest() {
    let mut scheduler = started(vec![call(&[]), call(&[0]), call(&[]), call(&[])], 2, true);
    run(&mut scheduler, 0);
    scheduler.on_key_resolved(2, Lookup::Miss);
    commands(&mut scheduler);
    scheduler.on_cancel(Cancel::Gently);
    let because = Because::Cancelled;
    assert_eq!(
        commands(&mut scheduler),
        [
            Skip { step: 1, because },
            Skip { step: 2, because },
            Skip { step: 3, because },
            CancelStep { step: 0, how: Cancel::Gently },
        ]
    );
    // Answers that were under way come too late.
    scheduler.on_claimed(2);
    scheduler.on_key_resolved(3, Lookup::Hit);
    scheduler.on_cancel(Cancel::Now);
    assert_eq!(commands(&mut scheduler), [CancelStep { step: 0, how: Cancel::Now }]);
    // It finished all the same: its result counts.
    finish(&mut scheduler, 0);
    assert!(scheduler.is_done());
    assert_eq!((scheduler.state(0), scheduler.state(2)), (State::Executed, State::Skipped));
}

#[test]
fn what_ended_in_an_earlier_part_of_the_run_is_neither_repeated_nor_forgotten() {
    let steps = || {
        vec![
            of_kind(StepKind::Done, &[]),
            of_kind(StepKind::Broken { is_tolerable: true }, &[]),
            call(&[0]),
            call(&[0, 1]),
            of_kind(StepKind::Gate, &[0, 2]),
            of_kind(StepKind::Gate, &[1]),
        ]
    };
    let mut scheduler = started(steps(), 1, true);
    let failed = Because::Failed { step: 1 };
    let expected = [Skip { step: 3, because: failed }, Skip { step: 5, because: failed }, ResolveKey { step: 2 }];
    assert_eq!(commands(&mut scheduler), expected);
    scheduler.on_key_resolved(2, Lookup::Hit);
    assert_eq!(commands(&mut scheduler), [DecideGate { step: 4 }]);
    scheduler.on_decided(4);
    assert!(scheduler.is_done());

    let mut scheduler = started(steps(), 1, false);
    let stopped = Because::Stopped { step: 1 };
    let expected = [(3, failed), (5, failed), (2, stopped), (4, stopped)];
    assert_eq!(commands(&mut scheduler), expected.map(|(step, because)| Skip { step, because }));
    assert!(scheduler.is_done());
}

#[test]
fn an_absent_champion_is_no_failure() {
    let steps = vec![
        of_kind(StepKind::WithoutChampion, &[]),
        call(&[0]),
        call(&[]),
        of_kind(StepKind::Gate, &[1, 2]),
        of_kind(StepKind::Release, &[3]),
    ];
    let mut scheduler = started(steps, 1, false);
    let because = Because::NoChampion { step: 0 };
    assert_eq!(
        commands(&mut scheduler),
        [Skip { step: 0, because }, ResolveKey { step: 2 }, Skip { step: 1, because }]
    );
    scheduler.on_key_resolved(2, Lookup::Hit);
    assert_eq!(commands(&mut scheduler), [DecideGate { step: 3 }]);
    scheduler.on_decided(3);
    assert_eq!(commands(&mut scheduler), [DecideRelease { step: 4, blocked: None }]);
    scheduler.on_decided(4);
    assert!(scheduler.is_done());
}

#[test]
fn a_release_of_what_needs_the_champion_is_blocked() {
    let steps = vec![of_kind(StepKind::WithoutChampion, &[]), of_kind(StepKind::Release, &[0])];
    let mut scheduler = started(steps, 1, false);
    let because = Because::NoChampion { step: 0 };
    let blocked = Some(because);
    assert_eq!(commands(&mut scheduler), [Skip { step: 0, because }, DecideRelease { step: 1, blocked }]);
}

#[test]
fn a_gate_without_its_report_is_skipped_and_the_release_blocked() {
    for keep_going in [false, true] {
        let steps = vec![call(&[]), call(&[]), of_kind(StepKind::Gate, &[0, 1]), of_kind(StepKind::Release, &[1, 2])];
        let mut scheduler = started(steps, 2, keep_going);
        run(&mut scheduler, 0);
        run(&mut scheduler, 1);
        commands(&mut scheduler);
        scheduler.on_failed(0, ErrorClass::Data);
        finish(&mut scheduler, 1);
        let because = Because::Failed { step: 0 };
        let blocked = Some(because);
        assert_eq!(commands(&mut scheduler), [Skip { step: 2, because }, DecideRelease { step: 3, blocked }]);
    }
}

#[test]
fn decisions_wait_for_the_disk() {
    let steps = vec![call(&[]), of_kind(StepKind::Gate, &[0]), of_kind(StepKind::Release, &[0, 1])];
    let mut scheduler = started(steps, 1, false);
    run(&mut scheduler, 0);
    scheduler.on_written(0);
    commands(&mut scheduler);
    scheduler.on_committed(0);
    assert_eq!(commands(&mut scheduler), [DecideGate { step: 1 }]);
}

#[test]
fn a_failed_commit_fails_the_step_and_what_has_not_started() {
    let mut scheduler = started(vec![call(&[]), call(&[0]), call(&[0])], 4, true);
    run(&mut scheduler, 0);
    scheduler.on_written(0);
    run(&mut scheduler, 1);
    commands(&mut scheduler);
    scheduler.on_failed(0, ErrorClass::Environment);
    assert_eq!(commands(&mut scheduler), [Skip { step: 2, because: Because::Failed { step: 0 } }]);
    finish(&mut scheduler, 1);
    assert!(scheduler.is_done());
}

#[test]
fn waiting_for_another_run_holds_no_slot() {
    let mut scheduler = started(vec![call(&[]), call(&[])], 1, false);
    (0..2).for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
    commands(&mut scheduler);
    scheduler.on_claim_delayed(0);
    assert_eq!(commands(&mut scheduler), [Claim { step: 1 }]);
    scheduler.on_claimed(1);
    commands(&mut scheduler);
    // The other run gave up: the right is ours, but the slot is taken.
    scheduler.on_claimed(0);
    assert_eq!((commands(&mut scheduler), scheduler.state(0)), (vec![], State::Granted));
    scheduler.on_written(1);
    assert_eq!(commands(&mut scheduler), [StartStep { step: 0, attempt: 1 }]);
}

#[test]
fn what_another_run_executed_is_reused() {
    let mut scheduler = started(vec![call(&[]), call(&[0])], 1, false);
    scheduler.on_key_resolved(0, Lookup::Miss);
    scheduler.on_claim_delayed(0);
    commands(&mut scheduler);
    scheduler.on_key_resolved(0, Lookup::Hit);
    assert_eq!(commands(&mut scheduler), [ResolveKey { step: 1 }]);
}

/// Three rounds of one step each, of a loop that tolerates so many failed ones, then a step that collects them and one that needs
/// the first.
fn three_rounds(tolerated: u32, keep_going: bool) -> Scheduler {
    let of = |key: &str| vec![Round { of: "l".into(), key: key.into(), tolerated }];
    let rounds = [of("a"), of("b"), of("c"), vec![], vec![], vec![]];
    let steps = vec![
        call(&[]),
        call(&[]),
        call(&[]),
        Step { collects: vec![0, 1, 2], ..call(&[]) },
        Step { awaits: vec![1, 2], ..call(&[0]) },
        call(&[]),
    ];
    let mut scheduler = Scheduler::new(steps, pool(8), tolerance(&rounds), keep_going);
    scheduler.on_started();
    [0, 1, 2, 5].into_iter().for_each(|step| run(&mut scheduler, step));
    commands(&mut scheduler);
    scheduler
}

#[test]
fn what_collects_goes_on_without_failed_rounds_once_all_have_ended() {
    let mut scheduler = three_rounds(1, false);
    scheduler.on_failed(0, ErrorClass::Step);
    // Nothing stops; what needs the failed step itself does not run.
    assert_eq!(commands(&mut scheduler), [Skip { step: 4, because: Because::Failed { step: 0 } }]);
    finish(&mut scheduler, 1);
    assert_eq!(commands(&mut scheduler), []);
    finish(&mut scheduler, 2);
    assert_eq!(commands(&mut scheduler), [ResolveKey { step: 3 }]);
    let lost = [0, 1, 2].map(|step| scheduler.tolerance().is_lost(step, 3));
    assert_eq!(lost, [true, false, false]);
    run(&mut scheduler, 3);
    finish(&mut scheduler, 3);
    finish(&mut scheduler, 5);
    assert!(scheduler.is_done());
}

#[test]
fn more_failed_rounds_than_tolerated_fail_the_run() {
    for keep_going in [false, true] {
        let mut scheduler = three_rounds(1, keep_going);
        scheduler.on_failed(0, ErrorClass::Step);
        commands(&mut scheduler);
        scheduler.on_failed(1, ErrorClass::Step);
        let because = Because::Failed { step: 0 };
        let expected = if keep_going { vec![] } else { vec![Skip { step: 3, because }] };
        assert_eq!(commands(&mut scheduler), expected);
        finish(&mut scheduler, 2);
        finish(&mut scheduler, 5);
        let expected = if keep_going { vec![Skip { step: 3, because }] } else { vec![] };
        assert_eq!(commands(&mut scheduler), expected);
        assert!(scheduler.is_done());
    }
}

#[test]
fn what_the_machine_lacks_is_no_matter_of_a_round() {
    let mut scheduler = three_rounds(2, false);
    scheduler.on_failed(0, ErrorClass::Environment);
    let because = Because::Failed { step: 0 };
    assert_eq!(commands(&mut scheduler), [Skip { step: 4, because }, Skip { step: 3, because }]);
}

#[test]
fn what_was_written_and_lost_is_collected_by_nobody() {
    let mut scheduler = three_rounds(2, true);
    scheduler.on_written(0);
    scheduler.on_failed(0, ErrorClass::Environment);
    let because = Because::Failed { step: 0 };
    assert_eq!(commands(&mut scheduler), [Skip { step: 3, because }, Skip { step: 4, because }]);
    [1, 2, 5].into_iter().for_each(|step| finish(&mut scheduler, step));
    assert!(scheduler.is_done() && commands(&mut scheduler).is_empty());
}

#[test]
fn what_does_the_same_as_a_failed_round_tries_for_itself() {
    let of = |key: &str| vec![Round { of: "l".into(), key: key.into(), tolerated: 1 }];
    let rounds = [of("a"), of("b"), vec![]];
    let twin = Step { twin: Some(0), ..call(&[]) };
    let mut scheduler = Scheduler::new(vec![call(&[]), call(&[]), twin], pool(8), tolerance(&rounds), false);
    scheduler.on_started();
    [0, 1].into_iter().for_each(|step| run(&mut scheduler, step));
    commands(&mut scheduler);
    scheduler.on_failed(0, ErrorClass::Step);
    assert_eq!(commands(&mut scheduler), [ResolveKey { step: 2 }]);
    // With a failure that is not tolerated, it shares it.
    run(&mut scheduler, 2);
    commands(&mut scheduler);
    scheduler.on_failed(2, ErrorClass::Step);
    finish(&mut scheduler, 1);
    assert_eq!((scheduler.is_done(), scheduler.state(2)), (true, State::Failed));
}

#[test]
fn a_step_that_may_fail_stops_nothing_and_gates_decide_without_its_report() {
    let steps =
        vec![call(&[]), call(&[0]), call(&[]), of_kind(StepKind::Gate, &[1, 2]), of_kind(StepKind::Release, &[0, 3])];
    for (class, is_tolerated) in [(ErrorClass::Step, true), (ErrorClass::Data, true), (ErrorClass::Environment, false)]
    {
        let tolerance = Tolerance::new((0..5).map(|step| Member { rounds: &[], may_fail: step == 0 }));
        let mut scheduler = Scheduler::new(steps.clone(), pool(2), tolerance, false);
        scheduler.on_started();
        [0, 2].into_iter().for_each(|step| run(&mut scheduler, step));
        commands(&mut scheduler);
        scheduler.on_failed(0, class);
        let (forgone, failed) = (Because::Forgone { step: 0 }, Because::Failed { step: 0 });
        let because = if is_tolerated { forgone } else { failed };
        let skipped = |step| Skip { step, because };
        let told = commands(&mut scheduler);
        assert_eq!(told[0], skipped(1));
        finish(&mut scheduler, 2);
        let told = [told, commands(&mut scheduler)].concat();
        assert_eq!(told.contains(&DecideGate { step: 3 }), is_tolerated, "{told:?}");
        scheduler.on_decided(3);
        // A release has no rule for what is not there.
        assert!([told, commands(&mut scheduler)].concat().contains(&DecideRelease { step: 4, blocked: Some(because) }));
    }
}

#[test]
fn rounds_that_failed_in_an_earlier_part_of_the_run_still_count() {
    for (is_tolerable, expected) in [(true, vec![ResolveKey { step: 1 }]), (false, vec![])] {
        let of = |key: &str| vec![Round { of: "l".into(), key: key.into(), tolerated: 1 }];
        let rounds = [of("a"), of("b"), vec![]];
        let steps = vec![
            of_kind(StepKind::Broken { is_tolerable }, &[]),
            call(&[]),
            Step { collects: vec![0, 1], ..call(&[]) },
        ];
        let mut scheduler = Scheduler::new(steps, pool(8), tolerance(&rounds), false);
        scheduler.on_started();
        let begun: Vec<Command> =
            commands(&mut scheduler).into_iter().filter(|command| matches!(command, ResolveKey { .. })).collect();
        assert_eq!(begun, expected);
        scheduler.on_key_resolved(1, Lookup::Hit);
        let expected = if is_tolerable { vec![ResolveKey { step: 2 }] } else { vec![] };
        assert_eq!(commands(&mut scheduler), expected);
    }
}

/// What is under way in a random run, waiting for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Key(usize),
    Claim(usize),
    Delayed(usize),
    Run(usize),
    Pause(usize),
    Commit(usize),
    Decide(usize),
}

/// A random graph, and the rounds of its steps.
#[derive(Debug, Clone)]
struct Graph {
    steps: Vec<Step>,
    rounds: Vec<Vec<Round>>,
    /// By itself.
    may_fail: Vec<bool>,
}

/// What may be known of a random node: its kind, retries, earlier nodes as inputs, whether it can do without those of lost rounds and
/// whether the run can do without it, and its rounds of the outer and the inner loop, if it is in any.
type RandomNode = (u8, u32, Vec<prop::sample::Index>, (bool, bool), Option<u8>, Option<u8>);

/// A random graph: steps of two loops, one in the other, that tolerate so many failed rounds; steps that are in none, gates,
/// releases, effects. Whoever reads of a round from outside waits for all rounds, and the loop has no steps after it.
fn random_graph() -> impl Strategy<Value = Graph> {
    let round = || proptest::option::weighted(0.6, 0..3u8);
    let inputs = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    let flags = (any::<bool>(), proptest::bool::weighted(0.2));
    let node = (0..12u8, 0..3u32, inputs, flags, round(), round());
    let nodes = proptest::collection::vec(node, 1..24);
    (nodes, 0..3u32, 0..3u32).prop_map(|(nodes, outer, inner)| graph_of(nodes, outer, inner))
}

fn graph_of(nodes: Vec<RandomNode>, outer: u32, inner: u32) -> Graph {
    let mut graph = Graph { steps: Vec::new(), rounds: Vec::new(), may_fail: Vec::new() };
    let mut closed: Vec<String> = Vec::new();
    for (kind, retries, inputs, (collects, may_fail), in_outer, in_inner) in nodes {
        let kind = match kind {
            0 => StepKind::Gate,
            1 => StepKind::Release,
            2 => StepKind::WithoutChampion,
            3 => StepKind::Effect { retries },
            _ => StepKind::Call { retries },
        };
        let mut rounds = Vec::new();
        if let (StepKind::Call { .. } | StepKind::WithoutChampion, Some(key)) = (kind, in_outer) {
            let within = in_inner.map(|n| Round { of: format!("o[{key}].i"), key: n.to_string(), tolerated: inner });
            rounds.extend(within.filter(|round| !closed.contains(&round.of)));
            rounds.push(Round { of: "o".into(), key: key.to_string(), tolerated: outer });
        }
        if closed.contains(&"o".to_owned()) {
            rounds.clear();
        }
        // Calls read calls, gates read calls, releases and effects read both; nobody reads those. No round reads another one.
        let may_read = |input: usize| {
            let may_be_read = match graph.steps[input].kind {
                StepKind::Gate => matches!(kind, StepKind::Release | StepKind::Effect { .. }),
                StepKind::Call { .. } | StepKind::WithoutChampion => true,
                _ => false,
            };
            let another = |of: &Round| rounds.iter().any(|own| own.of == of.of && own.key != of.key);
            may_be_read && !graph.rounds[input].iter().any(another)
        };
        let n_steps = graph.steps.len();
        let mut inputs: Vec<usize> =
            if n_steps == 0 { vec![] } else { inputs.iter().map(|input| input.index(n_steps)).collect() };
        inputs.retain(|&input| may_read(input));
        inputs.sort_unstable();
        inputs.dedup();
        let left = |input: &usize| graph.rounds[*input].iter().filter(|round| !rounds.contains(round));
        let is_collected = |input: &usize| collects && kind != StepKind::Release && left(input).next().is_some();
        let loops: Vec<String> = inputs.iter().flat_map(left).map(|round| round.of.clone()).collect();
        let (of_rounds, inputs): (Vec<usize>, Vec<usize>) = inputs.iter().partition(|input| is_collected(input));
        let is_read = |node: &usize| of_rounds.contains(node) || inputs.contains(node);
        let in_loops = |node: &usize| graph.rounds[*node].iter().any(|round| loops.contains(&round.of));
        let awaits = (0..n_steps).filter(|node| !is_read(node) && in_loops(node)).collect();
        closed.extend(loops);
        graph.steps.push(Step { kind, inputs, collects: of_rounds, awaits, twin: None, priority: 0, need: one_core() });
        graph.rounds.push(rounds);
        graph.may_fail.push(may_fail);
    }
    let steps = &mut graph.steps;
    for idx in (0..steps.len()).rev() {
        let longest = (idx + 1..steps.len()).filter(|&next| steps[next].bonds().any(|(other, _)| other == idx));
        steps[idx].priority = 1 + longest.map(|next| steps[next].priority).max().unwrap_or(0);
    }
    graph
}

impl Graph {
    /// Counts afresh which of the failed steps are tolerated: those of loops that have not failed.
    fn tolerated(&self, failures: &[(usize, bool)]) -> Vec<usize> {
        let (forgone, failures): (Vec<_>, Vec<_>) =
            failures.iter().copied().partition(|(step, is_tolerable)| *is_tolerable && self.may_fail[*step]);
        let mut has_failed: BTreeMap<&str, bool> = BTreeMap::new();
        // The inner loops first: what they do not tolerate fails the round around them.
        for depth in [2, 1] {
            let mut failed_rounds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for &(step, is_tolerable) in &failures {
                let rounds = &self.rounds[step];
                let Some(round) = rounds.len().checked_sub(depth).map(|at| &rounds[at]) else { continue };
                let is_absorbed = depth == 1 && rounds.len() == 2 && !has_failed[rounds[0].of.as_str()];
                if !is_tolerable {
                    has_failed.insert(&round.of, true);
                } else if !is_absorbed {
                    failed_rounds.entry(&round.of).or_default().push(&round.key);
                }
                has_failed.entry(&round.of).or_default();
            }
            for (of, mut keys) in failed_rounds {
                let of_loop = || self.rounds.iter().flatten().filter(|round| round.of == of);
                let mut all: Vec<&str> = of_loop().map(|round| round.key.as_str()).collect();
                for keys in [&mut keys, &mut all] {
                    keys.sort_unstable();
                    keys.dedup();
                }
                let tolerated = of_loop().next().map_or(0, |round| round.tolerated as usize);
                *has_failed.entry(of).or_default() |= keys.len() > tolerated || keys.len() == all.len();
            }
        }
        let is_tolerated = |step: usize| self.rounds[step].iter().any(|round| !has_failed[round.of.as_str()]);
        let of_rounds = failures.iter().filter(|(step, is_tolerable)| *is_tolerable && is_tolerated(*step));
        forgone.iter().chain(of_rounds).map(|(step, _)| *step).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever the graph and whatever happens: nothing starts before its inputs exist, slots and attempts are kept
    /// to, every step ends exactly once, and after a failure or a cancel nothing new begins.
    #[test]
    fn every_run_keeps_the_invariants(
        graph in random_graph(),
        jobs in 1..4usize,
        keep_going in any::<bool>(),
        dice in proptest::collection::vec((any::<prop::sample::Index>(), 0..20u8), 1000),
        cancel_at in proptest::option::of(0..60usize),
    ) {
        let steps = &graph.steps;
        let members = graph.rounds.iter().zip(&graph.may_fail).map(|(rounds, &may_fail)| Member { rounds, may_fail });
        let mut scheduler = Scheduler::new(steps.clone(), pool(jobs), Tolerance::new(members), keep_going);
        scheduler.on_started();
        let mut pending: Vec<Pending> = Vec::new();
        let mut failures: Vec<(usize, bool)> = Vec::new();
        // What each step went on without when it began.
        let mut went_without: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut n_ends = vec![0; steps.len()];
        let mut n_starts = vec![0u32; steps.len()];
        let mut n_running = 0;
        let mut is_stopped = false;
        let mut commit_failed = false;
        for (nth, (pick, luck)) in dice.into_iter().enumerate() {
            while let Some(command) = scheduler.next_command() {
                match command {
                    ResolveKey { step } => {
                        prop_assert!(!is_stopped);
                        let is_lost = |input: &usize| scheduler.tolerance().is_lost(*input, step);
                        went_without.insert(step, steps[step].collects.iter().copied().filter(is_lost).collect());
                        pending.push(Pending::Key(step));
                    }
                    Claim { step } => {
                        prop_assert!(!is_stopped);
                        pending.push(Pending::Claim(step));
                    }
                    StartStep { step, attempt } => {
                        prop_assert!(!is_stopped);
                        for &other in &steps[step].awaits {
                            let state = scheduler.state(other);
                            prop_assert!(state == State::Written || state.has_ended(), "{other} is {state:?}");
                        }
                        let without = &went_without[&step];
                        let collected = steps[step].collects.iter().filter(|input| !without.contains(input));
                        for &input in steps[step].inputs.iter().chain(collected) {
                            let state = scheduler.state(input);
                            let is_there = match steps[step].kind {
                                StepKind::Effect { .. } => {
                                    matches!(state, State::Executed | State::Reused | State::Decided)
                                }
                                _ => matches!(state, State::Written | State::Executed | State::Reused),
                            };
                            prop_assert!(is_there, "step {step} started while {input} was {state:?}");
                        }
                        n_starts[step] += 1;
                        prop_assert_eq!(attempt, n_starts[step]);
                        let (StepKind::Call { retries } | StepKind::Effect { retries }) = steps[step].kind else {
                            panic!("only calls start")
                        };
                        prop_assert!(attempt <= retries + 1);
                        n_running += 1;
                        prop_assert!(n_running <= jobs);
                        pending.push(Pending::Run(step));
                    }
                    DecideGate { step } | DecideRelease { step, .. } => {
                        for (input, _) in steps[step].bonds() {
                            prop_assert!(scheduler.state(input).has_ended());
                        }
                        pending.push(Pending::Decide(step));
                    }
                    Pause { step } => pending.push(Pending::Pause(step)),
                    GiveUp { step, .. } => {
                        n_ends[step] += 1;
                        failures.push((step, false));
                        prop_assert!(n_starts[step] > 0);
                        prop_assert_eq!(scheduler.state(step), State::Failed);
                    }
                    Skip { step, because } => {
                        n_ends[step] += 1;
                        prop_assert_eq!(n_starts[step], 0);
                        match because {
                            Because::Failed { step: root } => {
                                prop_assert_eq!(scheduler.state(root), State::Failed);
                            }
                            Because::Forgone { step: root } => {
                                prop_assert!(graph.may_fail[root] && scheduler.state(root) == State::Failed);
                                prop_assert!(steps[step].kind != StepKind::Gate, "a gate decides without it");
                            }
                            Because::LeftOut { step: root, .. } => {
                                prop_assert!(n_starts[root] > 0 || scheduler.state(root) == State::Reused);
                                prop_assert!(steps[step].kind != StepKind::Gate, "a gate decides without it");
                            }
                            Because::NoChampion { step: root } => {
                                prop_assert_eq!(steps[root].kind, StepKind::WithoutChampion);
                            }
                            Because::Refused { step: gate } => {
                                prop_assert_eq!((steps[gate].kind, scheduler.state(gate)), (StepKind::Gate, State::Decided));
                            }
                            Because::Stopped { .. } => prop_assert!(!keep_going),
                            Because::Cancelled => prop_assert!(cancel_at.is_some()),
                            Because::OverBudget { step: root } => {
                                prop_assert!(matches!(scheduler.state(root), State::Skipped | State::Failed));
                            }
                        }
                    }
                    CancelStep { step, .. } => prop_assert_eq!(scheduler.state(step), State::Running),
                }
            }
            if pending.is_empty() {
                break;
            }
            if cancel_at == Some(nth) {
                scheduler.on_cancel(Cancel::Gently);
                is_stopped = true;
                continue;
            }
            match pending.swap_remove(pick.index(pending.len())) {
                Pending::Key(step) => {
                    let was_open = !scheduler.state(step).has_ended();
                    match luck {
                        0 => {
                            scheduler.on_failed(step, ErrorClass::User);
                            if was_open {
                                failures.push((step, true));
                            }
                            is_stopped |= was_open && !keep_going && !scheduler.tolerance().is_tolerated(step);
                            n_ends[step] += usize::from(was_open);
                        }
                        19 if let Some(&gate) = steps[step].inputs.iter().find(|&&i| steps[i].kind == StepKind::Gate) => {
                            scheduler.on_refused(step, gate);
                        }
                        18 if let Some(&input) = steps[step].inputs.first() && steps[input].kind != StepKind::Gate => {
                            scheduler.on_left_out(step, input, 0);
                        }
                        1..8 => {
                            scheduler.on_key_resolved(step, Lookup::Hit);
                            n_ends[step] += usize::from(was_open);
                        }
                        _ => scheduler.on_key_resolved(step, Lookup::Miss),
                    }
                }
                Pending::Claim(step) if luck < 5 => {
                    scheduler.on_claim_delayed(step);
                    pending.push(Pending::Delayed(step));
                }
                Pending::Delayed(step) if luck < 5 => {
                    let was_open = !scheduler.state(step).has_ended();
                    scheduler.on_key_resolved(step, Lookup::Hit);
                    n_ends[step] += usize::from(was_open);
                }
                Pending::Claim(step) if luck == 19 => scheduler.on_over_budget(step),
                Pending::Pause(step) if luck < 3 => scheduler.on_over_budget(step),
                Pending::Pause(step) => scheduler.on_paused(step),
                Pending::Claim(step) | Pending::Delayed(step) => scheduler.on_claimed(step),
                Pending::Run(step) => {
                    n_running -= 1;
                    if luck < 6 {
                        let class = [ErrorClass::Step, ErrorClass::Data, ErrorClass::Environment][usize::from(luck % 3)];
                        if !scheduler.on_failed(step, class) {
                            n_ends[step] += 1;
                            failures.push((step, class != ErrorClass::Environment));
                            is_stopped |= !keep_going && !scheduler.tolerance().is_tolerated(step);
                        }
                    } else {
                        scheduler.on_written(step);
                        pending.push(Pending::Commit(step));
                    }
                }
                Pending::Commit(step) => {
                    if luck == 0 {
                        scheduler.on_failed(step, ErrorClass::Environment);
                        failures.push((step, false));
                        commit_failed = true;
                        is_stopped |= !keep_going;
                    } else {
                        scheduler.on_committed(step);
                    }
                    n_ends[step] += 1;
                }
                Pending::Decide(step) => {
                    scheduler.on_decided(step);
                    n_ends[step] += 1;
                }
            }
        }
        prop_assert!(pending.is_empty());
        prop_assert!(scheduler.is_done());
        prop_assert!(n_ends.iter().all(|&n| n == 1), "ends: {n_ends:?}");
        for (idx, step) in steps.iter().enumerate() {
            let needs_a_failed = step.inputs.iter().any(|&input| scheduler.state(input) == State::Failed);
            if needs_a_failed && matches!(step.kind, StepKind::Call { .. }) && !commit_failed {
                prop_assert_eq!(scheduler.state(idx), State::Skipped);
            }
            let is_lost = |input: &usize| scheduler.tolerance().is_lost(*input, idx);
            let is_absent = |input: &usize| matches!(scheduler.state(*input), State::Failed | State::Skipped);
            if matches!(step.kind, StepKind::Call { .. }) && !commit_failed {
                // Whoever ran went on without the rounds that are known to have failed in the end, and without no other.
                let lost: Vec<usize> = step.collects.iter().copied().filter(is_lost).collect();
                let has_begun = scheduler.state(idx) != State::Skipped;
                prop_assert!(!has_begun || went_without[&idx] == lost);
                prop_assert!(!has_begun || !step.collects.iter().any(|input| is_absent(input) && !is_lost(input)));
            }
        }
        let tolerated = graph.tolerated(&failures);
        for (step, _) in &failures {
            prop_assert_eq!(scheduler.tolerance().is_tolerated(*step), tolerated.contains(step), "of step {}", step);
        }
    }
}
