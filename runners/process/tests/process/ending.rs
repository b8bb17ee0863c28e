//! Facts about how `sh` steps are ended, with real process trees.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{HANG, Running, Step, is_running, runner, wait_until};
use mlp_model::{Cancel, ErrorClass};
use mlp_process::ProcessRunner;

/// Forks twice, leaves its session, ignores what can be ignored, holds the pipe, and has a child of its own. Prints the
/// process ids of both.
const HOSTILE: &str = r#"
    trap '' TERM HUP INT
    ( ( setsid sh -c 'trap "" TERM HUP INT; sleep 600 & echo $$ $!; wait' & ) & )
"#;

/// In the step's session, but in a process group of its own, as `timeout` makes it, and with an empty environment.
const NAMELESS: &str = "env -i timeout 600 sleep 600 & echo $! $!";

/// Without a link to the step but its parent, which lives as long as the step does.
const ORPHAN_TO_BE: &str = r#"env -i /usr/bin/setsid /bin/sh -c 'trap "" TERM; sleep 600 & echo $$ $!; wait' &"#;

fn pids(line: &str) -> [String; 2] {
    let (first, second) = line.split_once(' ').unwrap();
    [first.to_owned(), second.to_owned()]
}

#[test]
fn what_a_successful_step_leaves_behind_is_ended_and_does_not_hold_it_up() {
    for command in [HOSTILE, NAMELESS] {
        // The pipe keeps the shell until the pids are known.
        let step =
            Step::new(&format!("{{{{ {command}\n}}}} | {{{{ read line; echo $line; }}}}; echo done > {{o}}"), &["o"]);
        let (result, lines) = step.run_with(&runner());
        result.unwrap();
        for pid in pids(&lines[0]) {
            assert!(!is_running(&pid), "{command}");
        }
    }
}

#[test]
fn a_background_child_that_holds_the_pipe_does_not_hold_up_the_step() {
    let (result, lines) = Step::new("sleep 600 & echo $! $!", &[]).run_with(&runner());
    result.unwrap();
    assert!(pids(&lines[0]).iter().all(|pid| !is_running(pid)));
}

#[test]
fn a_hostile_tree_is_gone_within_a_second_however_it_is_ended() {
    for command in [HOSTILE, NAMELESS, ORPHAN_TO_BE] {
        for how in [Cancel::Now, Cancel::Gently] {
            let limit = Duration::from_millis(200);
            let step = Step::new(&format!("{command}\nwhile :; do sleep 600; done"), &[]);
            let running = Running::start(&runner().with_cancel_limit(limit), &step);
            let pids = pids(&running.next_line());
            assert!(pids.iter().all(|pid| is_running(pid)));
            let asked = Instant::now();
            running.handle.cancel(how);
            let (result, _) = running.finish();
            let took = asked.elapsed();
            assert_eq!(result.unwrap_err().class, ErrorClass::Cancelled);
            assert!(pids.iter().all(|pid| !is_running(pid)), "{how:?} {command}");
            assert!(took < limit + Duration::from_secs(1), "{took:?}");
        }
    }
}

#[test]
fn a_step_that_takes_too_long_is_ended_with_its_tree() {
    let mut step = Step::new(&format!("{HOSTILE}\nsleep 600"), &[]);
    step.start.timeout = Some(Duration::from_millis(500));
    let (result, lines) = step.run_with(&runner());
    let error = result.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Step, "P2007"));
    assert_eq!(error.message, "timed out after 500ms");
    assert!(pids(&lines[0]).iter().all(|pid| !is_running(pid)));
    assert_eq!(error.detail, lines);
}

#[test]
fn a_step_that_is_asked_to_end_can_put_its_things_in_order() {
    // The shell dies of TERM at once; the program it waits for takes its time.
    let command =
        r#"sh -c 'trap "sleep 0.3; echo tidied; exit 0" TERM; echo ready; while :; do sleep 0.01; done'; true"#;
    let step = Step::new(command, &[]);
    let running = Running::start(&runner(), &step);
    assert_eq!(running.next_line(), "ready");
    running.handle.cancel(Cancel::Gently);
    let (result, lines) = running.finish();
    assert_eq!(result.unwrap_err().class, ErrorClass::Cancelled);
    assert!(lines.contains(&"tidied".to_owned()), "{lines:?}");
}

#[test]
fn a_step_cancelled_at_once_ends_as_cancelled() {
    for how in [Cancel::Now, Cancel::Gently] {
        let step = Step::new("sleep 600", &[]);
        let running = Running::start(&runner(), &step);
        running.handle.cancel(how);
        assert_eq!(running.finish().0.unwrap_err().class, ErrorClass::Cancelled);
    }
}

#[test]
fn a_stopped_step_can_be_ended() {
    let step = Step::new("echo ready; kill -STOP $$", &[]);
    let running = Running::start(&runner(), &step);
    assert_eq!(running.next_line(), "ready");
    running.handle.cancel(Cancel::Gently);
    assert_eq!(running.finish().0.unwrap_err().class, ErrorClass::Cancelled);
}

#[test]
fn dropping_the_handle_does_not_stop_the_step() {
    let step = Step::new("sleep 0.2; echo survived", &[]);
    let Running { handle, events, .. } = Running::start(&runner(), &step);
    drop(handle);
    assert_eq!(events.recv_timeout(HANG), Ok(mlp_model::RunnerEvent::Printed("survived".to_owned())));
}

#[test]
fn ending_one_step_leaves_the_others_alone() {
    let steps = ["echo ready; sleep 0.5; echo fine", "echo ready; sleep 600"].map(|command| Step::new(command, &[]));
    let [other, doomed] = steps.each_ref().map(|step| Running::start(&runner(), step));
    assert_eq!(other.next_line(), "ready");
    assert_eq!(doomed.next_line(), "ready");
    doomed.handle.cancel(Cancel::Now);
    doomed.finish().0.unwrap_err();
    let (result, lines) = other.finish();
    result.unwrap();
    assert_eq!(lines.last().map(String::as_str), Some("fine"));
}

#[test]
fn every_process_group_is_announced_and_its_end_told_and_no_zombie_stays() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let variables = std::env::vars_os();
    let runner = ProcessRunner::new(variables, Arc::new(move |group, alive| log.lock().unwrap().push((group, alive))));
    for command in ["true", "false", "kill -KILL $$", HOSTILE] {
        let _ = Step::new(command, &[]).run_with(&runner);
    }
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 8);
    for pair in told.chunks(2) {
        let [(group, true), (same, false)] = pair else { panic!("{pair:?}") };
        assert_eq!(group, same);
        assert!(!std::path::Path::new(&format!("/proc/{group}")).exists());
    }
}

#[test]
fn many_steps_at_once_leave_nothing() {
    let runner = runner();
    let steps: Vec<_> = (0..20).map(|_| Step::new(&format!("{HOSTILE}\nsleep 0.1"), &[])).collect();
    let running: Vec<_> = steps.iter().map(|step| Running::start(&runner, step)).collect();
    let pids: Vec<_> = running
        .into_iter()
        .flat_map(|step| {
            let (result, lines) = step.finish();
            result.unwrap();
            lines.iter().flat_map(|line| pids(line)).collect::<Vec<_>>()
        })
        .collect();
    wait_until("all gone", || pids.iter().all(|pid| !is_running(pid)));
}
