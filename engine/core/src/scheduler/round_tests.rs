//! Rounds that may fail, and what collects over them.

use mlp_model::Round;

use super::Command::*;
use super::tests::{call, commands, finish, of_kind, pool, run, tolerance};
use super::*;
use crate::tolerance::Member;

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
