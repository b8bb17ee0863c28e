//! Messages in, commands compared: no threads, no store. What is random stands in `random_tests`, what is about rounds in
//! `round_tests`.

use mlp_model::{Demand, Machine, Round};

use super::*;
use crate::tolerance::Member;

pub(super) fn pool(jobs: usize) -> Pool {
    Pool::new(jobs, &Machine::default())
}

/// What a step needs that says nothing: one core.
pub(super) fn one_core() -> Option<Need> {
    Some(pool(1).need(&Demand::default(), &Demand::default()).unwrap())
}

pub(super) fn call(inputs: &[usize]) -> Step {
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

pub(super) fn with_retries(retries: u32) -> Step {
    Step { kind: StepKind::Call { retries }, ..call(&[]) }
}

pub(super) fn of_kind(kind: StepKind, inputs: &[usize]) -> Step {
    Step { kind, ..call(inputs) }
}

pub(super) fn started(steps: Vec<Step>, jobs: usize, keep_going: bool) -> Scheduler {
    let mut scheduler = Scheduler::new(steps, pool(jobs), Tolerance::default(), keep_going);
    scheduler.on_started();
    scheduler
}

pub(super) fn tolerance(rounds: &[Vec<Round>]) -> Tolerance {
    Tolerance::new(rounds.iter().map(|rounds| Member { rounds, may_fail: false }))
}

pub(super) fn commands(scheduler: &mut Scheduler) -> Vec<Command> {
    std::iter::from_fn(|| scheduler.next_command()).collect()
}

/// Resolves `step` as a miss and grants its claim.
pub(super) fn run(scheduler: &mut Scheduler, step: usize) {
    scheduler.on_key_resolved(step, Lookup::Miss);
    scheduler.on_claimed(step, &[]);
}

pub(super) fn finish(scheduler: &mut Scheduler, step: usize) {
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
    scheduler.on_claimed(0, &[]);
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
    scheduler.on_claimed(0, &[]);
    scheduler.on_claimed(1, &[]);
    commands(&mut scheduler);
    scheduler.on_written(1);
    assert_eq!(commands(&mut scheduler), [Claim { step: 2 }]);
}

#[test]
fn light_steps_take_no_slot_and_only_so_many_are_under_way() {
    let n_light = 70;
    let mut scheduler = started((0..n_light + 2).map(|_| call(&[])).collect(), 1, true);
    commands(&mut scheduler);
    scheduler.on_key_resolved(0, Lookup::Miss);
    scheduler.on_key_resolved(1, Lookup::Miss);
    (2..n_light + 2).for_each(|step| scheduler.on_key_resolved(step, Lookup::LightMiss));
    let claimed = commands(&mut scheduler);
    // The one slot is taken, and none of them waits for it.
    assert_eq!(claimed, [0].into_iter().chain(2..66).map(|step| Claim { step }).collect::<Vec<_>>());
    (2..66).for_each(|step| scheduler.on_claimed(step, &[]));
    commands(&mut scheduler);
    assert!(scheduler.is_light(2) && !scheduler.is_light(0));
    // One that is done, one that fails, and one that waits for another run make room; the slot is not theirs.
    scheduler.on_written(2);
    assert_eq!(commands(&mut scheduler), [Claim { step: 66 }]);
    scheduler.on_failed(3, ErrorClass::Step);
    assert_eq!(commands(&mut scheduler), [Claim { step: 67 }]);
    scheduler.on_claim_delayed(66);
    assert_eq!(commands(&mut scheduler), [Claim { step: 68 }]);
    scheduler.on_cancel(Cancel::Gently);
    let told = commands(&mut scheduler);
    assert_eq!(told.iter().filter(|command| matches!(command, CancelStep { .. })).count(), 62);
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
            scheduler.on_claimed(step, &[]);
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
        assert_eq!(commands(&mut scheduler), [Claim { step: 0 }]);
        scheduler.on_claimed(0, &[]);
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
fn a_step_that_waits_for_its_next_attempt_holds_no_slot_and_claims_its_key_again() {
    let mut scheduler = started(vec![with_retries(1), call(&[])], 1, false);
    (0..2).for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
    scheduler.on_claimed(0, &[]);
    commands(&mut scheduler);
    scheduler.on_failed(0, ErrorClass::Step);
    assert_eq!(commands(&mut scheduler), [Pause { step: 0 }, Claim { step: 1 }]);
    scheduler.on_claimed(1, &[]);
    commands(&mut scheduler);
    scheduler.on_paused(0);
    assert_eq!((commands(&mut scheduler), scheduler.state(0)), (vec![], State::Ready));
    scheduler.on_written(1);
    assert_eq!(commands(&mut scheduler), [Claim { step: 0 }]);
    scheduler.on_claimed(0, &[]);
    assert_eq!(commands(&mut scheduler), [StartStep { step: 0, attempt: 2 }]);
}

#[test]
fn a_run_that_ends_gives_up_what_waits_for_its_next_attempt() {
    // While it pauses, and while it waits for a slot after the pause.
    for is_over in [false, true] {
        let mut scheduler = started(vec![with_retries(1), call(&[0]), call(&[])], 1, false);
        (0..3).for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
        scheduler.on_claimed(0, &[]);
        scheduler.on_failed(0, ErrorClass::Step);
        scheduler.on_claimed(2, &[]);
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
    scheduler.on_claimed(2, &[]);
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
    scheduler.on_claimed(2, &[]);
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
    scheduler.on_claimed(1, &[]);
    commands(&mut scheduler);
    // The other run gave up: the right is ours, but the slot is taken.
    scheduler.on_claimed(0, &[]);
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
