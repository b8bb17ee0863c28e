//! A worker for the tests: each operation misbehaves in its own way.

use std::io::Write;
use std::os::fd::FromRawFd;
use std::process::{Command, ExitCode};
use std::time::Duration;

use mlp_model::{ErrorClass, Outcome, Progress, StartStep, StepError};
use mlp_worker::{Reporter, serve};
use rustix::process::{Signal, getpid, kill_process};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => serve("sample", work),
        // Says this hello and then nothing.
        ["--hello", hello] => {
            say(hello);
            std::thread::sleep(Duration::from_secs(600));
            ExitCode::SUCCESS
        }
        // Says the right hello, hangs up and lives on.
        ["--close"] => {
            say(&format!(r#"{{"program":"sample","mlp":"{}","protocol":1}}"#, env!("CARGO_PKG_VERSION")));
            drop(connection());
            std::thread::sleep(Duration::from_secs(600));
            ExitCode::SUCCESS
        }
        ["--die", code] => {
            eprintln!("libexample.so.1: cannot be found");
            ExitCode::from(code.parse::<u8>().unwrap_or(1))
        }
        // A parent: works on one step, which tells of itself on our stdout.
        ["--parent"] => parent(),
        _ => ExitCode::from(2),
    }
}

fn work(step: StartStep, reporter: &Reporter) -> Result<Outcome, StepError> {
    let text = |name: &str| step.params.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let mut outcome = Outcome::default();
    outcome.facts.insert("pid".to_owned(), f64::from(std::process::id()));
    match step.op.as_str() {
        "pid" => {}
        "echo" => _ = outcome.environment.insert("text".to_owned(), text("text")),
        "progress" => {
            for done in 1..=3 {
                reporter.progress(Progress {
                    unit: "epochs".to_owned(),
                    done,
                    total: Some(3),
                    metrics: [("loss".to_owned(), if done == 3 { f64::NAN } else { 1.0 / done as f64 })].into(),
                });
            }
            outcome.facts.insert("loss".to_owned(), f64::NAN);
        }
        "print" => {
            println!("to stdout");
            eprintln!("to stderr");
            reporter.print("by the reporter");
            print!("without an end");
        }
        "refuse" => return Err(StepError::new(ErrorClass::Data, "D1104", "row 3 is blank").with_row(3)),
        "panic" => panic!("the {} is broken", text("what")),
        "abort" => std::process::abort(),
        "exit" => {
            (1..=60).for_each(|number| eprintln!("line {number}"));
            std::process::exit(3)
        }
        // A real fault: nothing is mapped there.
        "segfault" => unsafe { std::ptr::null_mut::<u8>().wrapping_add(8).write_volatile(1) },
        "killed" => _ = kill_process(getpid(), Signal::KILL),
        "swell" => _ = outcome.environment.insert("text".to_owned(), "x".repeat(65 << 20)),
        "eat" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
            }
        }
        "obey" => {
            while !reporter.is_cancelled() {
                std::thread::sleep(Duration::from_millis(2));
            }
            return Err(StepError::new(ErrorClass::Step, "X0001", "stopped half way"));
        }
        "sleep" => {
            reporter.print("asleep");
            std::thread::sleep(Duration::from_secs(600));
        }
        // Leaves a process behind that holds our stdout.
        "fork" | "fork and sleep" => {
            let child = Command::new("/bin/sleep")
                .arg("600")
                .spawn()
                .map_err(|error| StepError::new(ErrorClass::Step, "X0002", error.to_string()))?;
            outcome.facts.insert("child".to_owned(), f64::from(child.id()));
            reporter.print(&format!("{} {}", std::process::id(), child.id()));
            if step.op == "fork and sleep" {
                std::thread::sleep(Duration::from_secs(600));
            }
        }
        _ => return Err(StepError::new(ErrorClass::User, "X0003", format!("no such operation: `{}`", step.op))),
    }
    Ok(outcome)
}

/// Sends a hello of our own making.
fn say(hello: &str) {
    let length = u32::try_from(hello.len()).unwrap_or(0).to_le_bytes();
    let _ = std::mem::ManuallyDrop::new(connection()).write_all(&[&length, hello.as_bytes()].concat());
}

fn connection() -> std::fs::File {
    let number = std::env::var("MLP_WORKER_FD").ok().and_then(|number| number.parse().ok()).unwrap_or(-1);
    // SAFETY: the parent opened it for us; where it is made twice, the first is never dropped.
    unsafe { std::fs::File::from_raw_fd(number) }
}

fn parent() -> ExitCode {
    let config = mlp_worker::PoolConfig {
        name: "sample",
        program: std::env::current_exe().unwrap_or_default(),
        args: Vec::new(),
        env: Vec::new(),
        memory_bytes: None,
        max_idle: 1,
        watch: std::sync::Arc::new(|_, _| {}),
    };
    let step = StartStep {
        run: mlp_model::RunId("c0ffee".to_owned()),
        step: "fit".to_owned(),
        attempt: 1,
        op: "fork and sleep".to_owned(),
        params: Default::default(),
        inputs: Default::default(),
        outputs: Vec::new(),
        environment: Default::default(),
        work_dir: std::env::temp_dir(),
        timeout: None,
        gpus: Vec::new(),
        idempotency_key: None,
    };
    let _running = mlp_worker::Pool::new(config).start(step, Box::new(|event| println!("{event:?}")));
    std::thread::sleep(Duration::from_secs(600));
    ExitCode::SUCCESS
}
