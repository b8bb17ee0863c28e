//! Many short steps that do what they can to leave something behind, held by a control group.
//!
//! This process adopts what its descendants leave, so that whatever outlives a step is found as a child of ours, by
//! nothing that the runner itself goes by. Alone in its program for that reason. The seed is printed; another one, or
//! another number of runs, is taken from `MLP_HOSTILE_SEED` and `MLP_HOSTILE_RUNS`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use mlp_model::{Cancel, RunId, Runner, RunnerEvent, StartStep, Value};
use mlp_process::{Means, ProcessRunner};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};

const LIMIT: Duration = Duration::from_millis(50);
const N_AT_ONCE: usize = 4;
const BATCH: usize = 50;

/// Each leaves something that is hard to find or hard to end.
const TRICKS: [&str; 8] = [
    // Forks twice, leaves the session, ignores what can be ignored, holds the pipes.
    "( ( setsid sh -c 'trap \"\" TERM HUP INT; sleep 600 & wait' & ) & )",
    // And without an environment.
    "( env -i /usr/bin/setsid /bin/sh -c 'trap \"\" TERM; sleep 600 & exec sleep 600' & )",
    // In a group of its own.
    "( timeout 600 sleep 600 & )",
    // Stopped.
    "sleep 600 & kill -STOP $!",
    // Many, in many sessions.
    "for i in 1 2 3 4 5 6 7 8; do setsid sleep 600 & done",
    // Deep.
    "sh -c 'sh -c \"sh -c \\\"setsid sh -c \\\\\\\"sleep 600; :\\\\\\\" & sleep 600\\\" & sleep 600\" & sleep 600' &",
    // Keeps starting others.
    "( setsid sh -c 'while :; do setsid sleep 600 & sleep 0.002; done' & )",
    // Never the same process for long.
    "hop() { hop & }; hop",
];

/// A small generator, so that a run can be made again from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Succeeds,
    Fails,
    IsCancelled(Cancel),
    TimesOut,
}

#[test]
fn no_process_outlives_its_step() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("MLP_HOSTILE_SEED").unwrap_or(now.as_nanos() as u64) | 1;
    let n_runs = usize::try_from(number("MLP_HOSTILE_RUNS").unwrap_or(1000)).unwrap();
    println!("MLP_HOSTILE_SEED={seed} MLP_HOSTILE_RUNS={n_runs}");
    set_child_subreaper(Some(Pid::from_raw(1).unwrap())).unwrap();

    let all = Means::default();
    let cases =
        [("control group, confined", all, "on", TRICKS.len()), ("control group, unconfined", all, "off", TRICKS.len())];
    for (name, means, confine, n_tricks) in cases {
        let has_groups = ProcessRunner::new([], Arc::new(|_, _| {})).has_control_groups();
        assert!(has_groups, "this test needs control groups: run it as root, or under `systemd-run --user --scope`");
        let runner = ProcessRunner::new(std::env::vars_os(), Arc::new(|_, _| {})).with_cancel_limit(LIMIT);
        let runner = runner.with_means(means);
        let random = Mutex::new(Random(seed));
        let slowest = Mutex::new(Duration::ZERO);
        for from in (0..n_runs).step_by(BATCH) {
            let next = AtomicUsize::new(from);
            std::thread::scope(|scope| {
                for _ in 0..N_AT_ONCE {
                    scope.spawn(|| {
                        while next.fetch_add(1, Ordering::Relaxed) < (from + BATCH).min(n_runs) {
                            let took = once(&runner, confine, n_tricks, &random);
                            let mut slowest = slowest.lock().unwrap();
                            *slowest = took.max(*slowest);
                        }
                    });
                }
            });
            let left = children();
            // Nothing stays behind, whatever comes out.
            left.iter().for_each(|(pid, _)| _ = kill_process(*pid, Signal::KILL));
            while matches!(waitpid(None, WaitOptions::NOHANG), Ok(Some(_))) {}
            assert!(left.is_empty(), "{name}: runs {from}.. of seed {seed} left {left:?}");
        }
        let slowest = *slowest.lock().unwrap();
        println!("{name}: {n_runs} runs, 0 orphans; at most {slowest:?} from the signal that kills to the end");
        assert!(slowest < Duration::from_secs(1), "{name}, seed {seed}: {slowest:?}");
    }
}

/// Runs one step. Returns how long it took to end what it had started, once it was to be killed.
fn once(runner: &ProcessRunner, confine: &str, n_tricks: usize, random: &Mutex<Random>) -> Duration {
    let (tricks, ending, after) = {
        let mut random = random.lock().unwrap();
        let tricks: Vec<&str> = (0..1 + random.below(3)).map(|_| TRICKS[random.below(n_tricks)]).collect();
        let ending = match random.below(8) {
            0..3 => Ending::Succeeds,
            3 => Ending::Fails,
            4 | 5 => Ending::IsCancelled(Cancel::Now),
            6 => Ending::IsCancelled(Cancel::Gently),
            _ => Ending::TimesOut,
        };
        (tricks, ending, Duration::from_micros(random.below(20_000) as u64))
    };
    let last = match ending {
        Ending::Succeeds => "true",
        Ending::Fails => "false",
        Ending::IsCancelled(_) | Ending::TimesOut => "while :; do sleep 600; done",
    };
    let command = format!("{}\n{last}", tricks.join("\n")).replace('{', "{{").replace('}', "}}");
    let place = tempfile::tempdir().unwrap();
    let params = [("command", command.as_str()), ("confine", confine)];
    let step = StartStep {
        run: RunId("c0ffee".to_owned()),
        step: "hostile".to_owned(),
        attempt: 1,
        op: "sh".to_owned(),
        params: params.map(|(name, text)| (name.to_owned(), Value::Str(text.to_owned()))).into(),
        inputs: BTreeMap::new(),
        outputs: Vec::new(),
        environment: BTreeMap::new(),
        work_dir: place.path().to_owned(),
        gpus: Vec::new(),
        idempotency_key: None,
        timeout: matches!(ending, Ending::TimesOut).then_some(after),
    };
    let (sender, events) = mpsc::channel();
    let began = Instant::now();
    let handle = runner.start(step, Box::new(move |event| sender.send(event).unwrap()));
    // From when on there is nothing to wait for; a step that ends by itself is not timed.
    let mut from = None;
    match ending {
        Ending::IsCancelled(how) => {
            std::thread::sleep(after);
            handle.cancel(how);
            from = Some(Instant::now() + if how == Cancel::Gently { LIMIT } else { Duration::ZERO });
        }
        Ending::TimesOut => from = Some(began + after),
        Ending::Succeeds | Ending::Fails => {}
    }
    loop {
        let event =
            events.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("hangs: {tricks:?} {ending:?}"));
        match event {
            RunnerEvent::Finished(result) => {
                assert_eq!(result.is_ok(), matches!(ending, Ending::Succeeds), "{tricks:?} {ending:?} {result:?}");
                return from.map_or(Duration::ZERO, |from| from.elapsed());
            }
            RunnerEvent::Printed(line) => assert!(!line.starts_with("mlp: process"), "{line} {tricks:?}"),
            RunnerEvent::Progressed(_) => {}
        }
    }
}

/// Returns the children of this process that are alive, with their names.
fn children() -> Vec<(Pid, String)> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let child = |name: std::ffi::OsString| {
        let pid = name.to_str()?.parse::<i32>().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let is_alive = !matches!(fields.next()?, "Z" | "X");
        (is_alive && fields.next()? == own).then(|| Some((Pid::from_raw(pid)?, name.to_owned())))?
    };
    entries.filter_map(|entry| child(entry.file_name())).collect()
}
