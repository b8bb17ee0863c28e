//! Facts about pools and workers, with real processes.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use mlp_model::{Cancel, ErrorClass, Handle, Outcome, RunId, RunnerEvent, StartStep, StepError, Value};
use mlp_worker::{Pool, PoolConfig};
use rustix::process::{Pid, Signal, kill_process};

/// Far more than anything here takes; reaching it means that something hangs.
const HANG: Duration = Duration::from_secs(60);

const SAMPLE: &str = env!("CARGO_BIN_EXE_mlp-worker-sample");

fn config(args: &[&str], max_idle: usize) -> PoolConfig {
    PoolConfig {
        name: "sample",
        program: SAMPLE.into(),
        args: args.iter().map(OsString::from).collect(),
        env: Vec::new(),
        memory_bytes: None,
        max_idle,
        watch: Arc::new(|_, _| {}),
    }
}

fn step(op: &str, params: &[(&str, &str)]) -> StartStep {
    StartStep {
        run: RunId("c0ffee".to_owned()),
        step: "fit".to_owned(),
        attempt: 1,
        op: op.to_owned(),
        params: params.iter().map(|(name, text)| ((*name).to_owned(), Value::Str((*text).to_owned()))).collect(),
        inputs: Default::default(),
        outputs: Vec::new(),
        environment: Default::default(),
        work_dir: PathBuf::from("/"),
        timeout: None,
        gpus: Vec::new(),
        idempotency_key: None,
    }
}

struct Running {
    handle: Box<dyn Handle>,
    events: mpsc::Receiver<RunnerEvent>,
}

impl Running {
    fn start(pool: &Arc<Pool>, step: StartStep) -> Self {
        let (sender, events) = mpsc::channel();
        let handle = pool.start(step, Box::new(move |event| sender.send(event).expect("the test waits for the end")));
        Self { handle, events }
    }

    fn next_line(&self) -> String {
        loop {
            match self.events.recv_timeout(HANG).expect("a line") {
                RunnerEvent::Printed(line) => return line,
                RunnerEvent::Progressed(_) => {}
                RunnerEvent::Finished(result) => panic!("finished too early: {result:?}"),
            }
        }
    }

    /// Returns the result and everything that came before it; `Finished` must be the last event and the only one.
    fn finish(self) -> (Result<Outcome, StepError>, Vec<RunnerEvent>) {
        let mut before = Vec::new();
        loop {
            match self.events.recv_timeout(HANG).expect("the step ends") {
                RunnerEvent::Finished(result) => {
                    assert!(
                        self.events
                            .recv_timeout(HANG)
                            .is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected)
                    );
                    return (result, before);
                }
                event => before.push(event),
            }
        }
    }
}

fn run(pool: &Arc<Pool>, step: StartStep) -> Result<Outcome, StepError> {
    Running::start(pool, step).finish().0
}

fn pid_of(outcome: &Outcome) -> u32 {
    outcome.facts["pid"] as u32
}

/// Neither running nor a zombie.
fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Running; a zombie that waits for its parent, who may be nobody of ours, has ended.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

fn wait_until(what: &str, fact: impl Fn() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < HANG, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_worker_is_reused_for_the_next_step() {
    let pool = Pool::new(config(&[], 1));
    let first = run(&pool, step("pid", &[])).unwrap();
    let second = run(&pool, step("pid", &[])).unwrap();
    assert_eq!(pid_of(&first), pid_of(&second));
    let refused = run(&pool, step("refuse", &[])).unwrap_err();
    assert_eq!((refused.class, refused.code.as_str(), refused.row), (ErrorClass::Data, "D1104", Some(3)));
    assert_eq!(
        pid_of(&run(&pool, step("pid", &[])).unwrap()),
        pid_of(&first),
        "an error of the step is not the worker's"
    );
    drop(pool);
    assert!(is_gone(pid_of(&first)), "idle workers end with the pool");
}

#[test]
fn without_idle_workers_each_step_has_its_own_process_which_is_gone_when_it_finishes() {
    let pool = Pool::new(config(&[], 0));
    let pids = [(); 3].map(|()| {
        let pid = pid_of(&run(&pool, step("pid", &[])).unwrap());
        assert!(is_gone(pid));
        pid
    });
    assert!(pids[0] != pids[1] && pids[1] != pids[2]);
}

#[test]
fn steps_at_the_same_time_have_different_workers() {
    let pool = Pool::new(config(&[], 2));
    let waiting = [(); 3].map(|()| Running::start(&pool, step("obey", &[])));
    waiting.iter().for_each(|step| step.handle.cancel(Cancel::Gently));
    waiting.into_iter().for_each(|step| assert_eq!(step.finish().0.unwrap_err().class, ErrorClass::Cancelled));
    let running = [(); 3].map(|()| Running::start(&pool, step("fork", &[])));
    let mut pids = running.map(|step| pid_of(&step.finish().0.unwrap()));
    pids.sort_unstable();
    assert!(pids[0] < pids[1] && pids[1] < pids[2]);
}

#[test]
fn progress_arrives_in_order_also_figures_that_are_no_numbers() {
    let pool = Pool::new(config(&[], 1));
    let (result, events) = Running::start(&pool, step("progress", &[])).finish();
    assert!(result.unwrap().facts["loss"].is_nan());
    let seen: Vec<_> = events
        .iter()
        .map(|event| match event {
            RunnerEvent::Progressed(progress) => (progress.done, progress.total, progress.metrics["loss"].to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [(1, "1"), (2, "0.5"), (3, "NaN")].map(|(done, loss)| (done, Some(3), loss.to_owned()));
    assert_eq!(seen, expected);
}

#[test]
fn everything_a_step_prints_belongs_to_it() {
    let pool = Pool::new(config(&[], 1));
    for _ in 0..20 {
        let (result, events) = Running::start(&pool, step("print", &[])).finish();
        result.unwrap();
        let mut lines: Vec<_> = events
            .into_iter()
            .map(|event| match event {
                RunnerEvent::Printed(line) => line,
                other => panic!("{other:?}"),
            })
            .collect();
        lines.sort();
        assert_eq!(lines, ["by the reporter", "to stderr", "to stdout", "without an end"]);
    }
}

#[test]
fn a_death_in_the_middle_is_one_failed_step_and_the_next_step_works() {
    let cases = [
        ("panic", ErrorClass::Bug, "P2111", "the worker `sample` panicked: the pump is broken"),
        (
            "abort",
            ErrorClass::Step,
            "P2106",
            "the worker `sample` died in the middle of the step: killed by SIGABRT (aborted)",
        ),
        ("exit", ErrorClass::Step, "P2106", "the worker `sample` died in the middle of the step: exit code 3"),
        (
            "segfault",
            ErrorClass::Step,
            "P2106",
            "the worker `sample` died in the middle of the step: killed by SIGSEGV (invalid memory access)",
        ),
        (
            "killed",
            ErrorClass::Step,
            "P2106",
            "the worker `sample` was killed (SIGKILL), probably because the machine ran out of memory",
        ),
    ];
    let pool = Pool::new(config(&[], 1));
    for (op, class, code, message) in cases {
        let before = pid_of(&run(&pool, step("pid", &[])).unwrap());
        let error = run(&pool, step(op, &[("what", "pump")])).unwrap_err();
        assert_eq!((error.class, error.code.as_str(), error.message.as_str()), (class, code, message), "{op}");
        let after = pid_of(&run(&pool, step("pid", &[])).unwrap());
        assert_ne!(before, after, "{op}");
        wait_until("the dead worker is reaped", || is_gone(before));
    }
}

#[test]
fn a_worker_that_hangs_up_but_lives_on_is_ended() {
    let error = run(&Pool::new(config(&["--close"], 1)), step("pid", &[])).unwrap_err();
    assert_eq!(error.message, "the worker `sample` died in the middle of the step: it closed its connection");
}

#[test]
fn a_death_shows_the_last_50_lines_of_stderr() {
    let pool = Pool::new(config(&[], 1));
    run(&pool, step("print", &[])).unwrap();
    let error = run(&pool, step("exit", &[])).unwrap_err();
    let expected: Vec<_> = (11..=60).map(|number| format!("line {number}")).collect();
    assert_eq!(error.detail, expected);
    let error = run(&pool, step("panic", &[])).unwrap_err();
    assert!(error.detail.iter().any(|line| line.contains("tests/programs/sample.rs:")), "{:?}", error.detail);
}

#[test]
fn a_worker_that_dies_while_idle_costs_nothing() {
    let pool = Pool::new(config(&[], 1));
    for _ in 0..20 {
        let pid = pid_of(&run(&pool, step("pid", &[])).unwrap());
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        // At once, before its death can be noticed, and again once it has been.
        let next = pid_of(&run(&pool, step("pid", &[])).unwrap());
        assert_ne!(next, pid);
        wait_until("reaped without being asked", || is_gone(pid));
    }
}

#[test]
fn a_memory_limit_ends_the_step_and_is_named() {
    let pool = Pool::new(PoolConfig { memory_bytes: Some(256 << 20), ..config(&[], 1) });
    let error = run(&pool, step("eat", &[])).unwrap_err();
    assert_eq!(error.message, "the worker `sample` ran out of the 256 MiB of memory that it may use");
    run(&pool, step("pid", &[])).unwrap();
}

#[test]
fn when_the_parent_is_killed_the_worker_and_what_it_started_end() {
    let mut parent = Command::new(SAMPLE).arg("--parent").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<u32> = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let [worker, grandchild] = pids[..] else { panic!("two process ids in {line:?}") };
    assert!(is_running(worker) && is_running(grandchild));
    // By SIGKILL: it cannot tell anybody. The worker is busy in a system call.
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("worker gone", || !is_running(worker));
    wait_until("grandchild gone", || !is_running(grandchild));
}

#[test]
fn what_a_worker_left_behind_ends_with_it_and_does_not_hold_up_the_step() {
    let pool = Pool::new(config(&[], 0));
    let outcome = run(&pool, step("fork", &[])).unwrap();
    let child = outcome.facts["child"] as u32;
    wait_until("grandchild gone", || !is_running(child));
}

#[test]
fn cancel_gently_lets_the_step_end_itself_and_keeps_the_worker() {
    let pool = Pool::new(config(&[], 1));
    let pid = pid_of(&run(&pool, step("pid", &[])).unwrap());
    let running = Running::start(&pool, step("obey", &[]));
    running.handle.cancel(Cancel::Gently);
    assert_eq!(running.finish().0.unwrap_err().class, ErrorClass::Cancelled);
    let next = Running::start(&pool, step("obey", &[]));
    std::thread::sleep(Duration::from_millis(50));
    assert!(next.events.try_recv().is_err(), "the next step is not cancelled by the wish of the last");
    next.handle.cancel(Cancel::Gently);
    next.finish().0.unwrap_err();
    assert_eq!(pid_of(&run(&pool, step("pid", &[])).unwrap()), pid);
}

#[test]
fn cancel_ends_a_step_that_does_not_listen_by_force() {
    for (how, at_least) in [(Cancel::Now, Duration::ZERO), (Cancel::Gently, Duration::from_secs(10))] {
        let pool = Pool::new(config(&[], 1));
        let running = Running::start(&pool, step("fork and sleep", &[]));
        let line = running.next_line();
        let pids: Vec<u32> = line.split(' ').map(|pid| pid.parse().unwrap()).collect();
        let asked = Instant::now();
        running.handle.cancel(how);
        let (result, _) = running.finish();
        assert!(asked.elapsed() >= at_least, "the step has its 10 seconds");
        assert_eq!(result.unwrap_err().class, ErrorClass::Cancelled);
        assert!(is_gone(pids[0]));
        wait_until("grandchild gone", || !is_running(pids[1]));
        run(&pool, step("pid", &[])).unwrap();
    }
}

#[test]
fn a_step_that_takes_too_long_is_killed() {
    let pool = Pool::new(config(&[], 1));
    let error = run(&pool, StartStep { timeout: Some(Duration::from_millis(300)), ..step("sleep", &[]) }).unwrap_err();
    assert_eq!((error.class, error.message.as_str()), (ErrorClass::Step, "timed out after 300ms"));
    let within = StartStep { timeout: Some(Duration::MAX), ..step("pid", &[]) };
    run(&pool, within).unwrap();
}

#[test]
fn big_messages_pass_and_those_over_the_limit_fail_the_step_only() {
    let pool = Pool::new(config(&[], 1));
    let text = "ö\n\"".repeat(3 << 20);
    let outcome = run(&pool, step("echo", &[("text", &text)])).unwrap();
    assert!(outcome.environment["text"] == text);
    let error = run(&pool, step("echo", &[("text", &"x".repeat(65 << 20))])).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Bug, "P2110"));
    let error = run(&pool, step("swell", &[])).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Bug, "P2112"));
    assert_eq!(pid_of(&run(&pool, step("pid", &[])).unwrap()), pid_of(&outcome), "the same worker all along");
}

#[test]
fn a_worker_that_does_not_fit_is_refused_with_a_way_out() {
    let version = env!("CARGO_PKG_VERSION");
    let hello = |program: &str, mlp: &str, protocol: u32| {
        format!(r#"{{"program":"{program}","mlp":"{mlp}","protocol":{protocol},"later":true}}"#)
    };
    let cases = [
        (hello("other", version, 1), "P2105", format!("`{SAMPLE}` is the worker `other`, not `sample`")),
        (
            hello("sample", "0.0.7", 1),
            "P2105",
            format!("the worker `sample` (`{SAMPLE}`) belongs to mlp 0.0.7, this is mlp {version}"),
        ),
        (
            hello("sample", version, 99),
            "P2105",
            format!("the worker `sample` (`{SAMPLE}`) speaks protocol 99, this mlp speaks 1"),
        ),
    ];
    for (hello, code, message) in cases {
        let error = run(&Pool::new(config(&["--hello", &hello], 1)), step("pid", &[])).unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Environment, code));
        assert_eq!(error.message, message);
        assert!(error.help.is_some_and(|help| help.contains("runners/setup.sh")));
    }
}

#[test]
fn a_worker_that_is_missing_or_dies_at_once_is_a_matter_of_the_environment() {
    let missing = PoolConfig { program: "/nowhere/mlp-torch".into(), ..config(&[], 1) };
    let error = run(&Pool::new(missing), step("pid", &[])).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Environment, "P2101"));
    assert!(error.help.is_some_and(|help| help.contains("runners/setup.sh")));

    let error = run(&Pool::new(config(&["--die", "127"], 1)), step("pid", &[])).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Environment, "P2103"));
    assert_eq!(error.message, "the worker `sample` ended before it was ready: exit code 127");
    assert_eq!(error.detail, ["libexample.so.1: cannot be found"]);
}

#[test]
fn every_process_group_is_announced_and_its_end_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let watch = Arc::new(move |group, alive| log.lock().unwrap().push((group, alive)));
    let pool = Pool::new(PoolConfig { watch, ..config(&[], 1) });
    let first = pid_of(&run(&pool, step("pid", &[])).unwrap());
    run(&pool, step("abort", &[])).unwrap_err();
    let second = pid_of(&run(&pool, step("pid", &[])).unwrap());
    drop(pool);
    assert_eq!(*told.lock().unwrap(), [(first, true), (first, false), (second, true), (second, false)]);
}

#[test]
fn a_worker_called_by_hand_says_so() {
    let output = Command::new(SAMPLE).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is started by `mlp` itself"));
}
