//! What is said of a worker that is not there, does not fit or died. Unaware of how that was found out.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use mlp_model::{ErrorClass, StepError, Value};

use crate::PoolConfig;
use crate::frame::FrameError;
use crate::protocol::{Hello, MLP_VERSION, PROTOCOL};

const SET_UP_AGAIN: &str = "run `runners/setup.sh` again: it builds the workers that belong to this mlp";

pub fn cannot_start(config: &PoolConfig, error: &std::io::Error) -> StepError {
    let (name, program) = (config.name, config.program.display());
    if error.kind() == ErrorKind::NotFound {
        return StepError::new(
            ErrorClass::Environment,
            "P2101",
            format!("the worker `{name}` is not installed: `{program}` does not exist"),
        )
        .with_help("run `runners/setup.sh`: it builds and installs the workers");
    }
    StepError::new(ErrorClass::Environment, "P2102", format!("cannot start the worker `{name}` (`{program}`): {error}"))
        .with_help(match error.kind() {
            ErrorKind::PermissionDenied => "check that the file is executable and its folder is not mounted `noexec`",
            ErrorKind::WouldBlock | ErrorKind::OutOfMemory => {
                "end other programs, or raise the limits of processes and memory (`ulimit -a`)"
            }
            _ => SET_UP_AGAIN,
        })
}

pub fn died_before_ready(config: &PoolConfig, status: Option<ExitStatus>, last_lines: Vec<String>) -> StepError {
    let message = format!("the worker `{}` ended before it was ready: {}", config.name, how(status));
    let help = if last_lines.iter().any(|line| line.contains("error while loading shared libraries")) {
        "run `runners/setup.sh` again: a library that the worker needs is missing or in another place"
    } else {
        SET_UP_AGAIN
    };
    StepError::new(ErrorClass::Environment, "P2103", message).with_detail(last_lines).with_help(help)
}

pub fn silent(config: &PoolConfig, waited: Duration) -> StepError {
    let (name, program) = (config.name, config.program.display());
    let message = format!("the worker `{name}` (`{program}`) was not ready after {}", span(waited));
    StepError::new(ErrorClass::Environment, "P2104", message).with_help(SET_UP_AGAIN)
}

/// Returns why the worker that said `hello` cannot be used, if so.
pub fn mismatch(config: &PoolConfig, hello: &Hello) -> Option<StepError> {
    let (name, program) = (config.name, config.program.display());
    let message = if hello.program != name {
        format!("`{program}` is the worker `{}`, not `{name}`", hello.program)
    } else if hello.mlp != MLP_VERSION {
        format!("the worker `{name}` (`{program}`) belongs to mlp {}, this is mlp {MLP_VERSION}", hello.mlp)
    } else if hello.protocol != PROTOCOL {
        format!("the worker `{name}` (`{program}`) speaks protocol {}, this mlp speaks {PROTOCOL}", hello.protocol)
    } else {
        return None;
    };
    Some(StepError::new(ErrorClass::Environment, "P2105", message).with_help(SET_UP_AGAIN))
}

/// The worker died in the middle of a step, and not because we killed it.
pub fn died(config: &PoolConfig, status: Option<ExitStatus>, last_lines: Vec<String>) -> StepError {
    const SIGABRT: i32 = 6;
    const SIGKILL: i32 = 9;
    let name = config.name;
    let signal = status.and_then(|status| status.signal());
    let (message, help) = match (signal, config.memory_bytes) {
        (Some(SIGKILL), _) => (
            format!("the worker `{name}` was killed (SIGKILL), probably because the machine ran out of memory"),
            "give the step less data at a time, run fewer steps at once, or add memory; `dmesg` tells what was killed"
                .to_owned(),
        ),
        (Some(SIGABRT), Some(limit)) if last_lines.iter().any(|line| tells_of_memory(line)) => (
            format!("the worker `{name}` ran out of the {} MiB of memory that it may use", limit >> 20),
            "give the step less data at a time".to_owned(),
        ),
        _ => (
            format!("the worker `{name}` died in the middle of the step: {}", how(status)),
            "other steps are not affected; if it happens again with the same input, report it with the lines above"
                .to_owned(),
        ),
    };
    StepError::new(ErrorClass::Step, "P2106", message).with_detail(last_lines).with_help(help)
}

pub fn timed_out(limit: Duration) -> StepError {
    StepError::new(ErrorClass::Step, "P2107", format!("timed out after {}", span(limit)))
        .with_help("allow more time with `with { timeout: .. }`, or give the step less to do")
}

pub fn cancelled() -> StepError {
    StepError::new(ErrorClass::Cancelled, "P2108", "cancelled")
}

pub fn garbled(config: &PoolConfig, error: &FrameError) -> StepError {
    let message = format!("the worker `{}` does not keep to the protocol: {error}", config.name);
    StepError::new(ErrorClass::Bug, "P2109", message)
}

pub fn not_sent(config: &PoolConfig, error: &FrameError) -> StepError {
    let message = format!("the step cannot be sent to the worker `{}`: {error}", config.name);
    StepError::new(ErrorClass::Bug, "P2110", message)
}

pub fn panicked(program: &str, message: &str, place: Option<String>) -> StepError {
    StepError::new(ErrorClass::Bug, "P2111", format!("the worker `{program}` panicked: {message}"))
        .with_detail(place.into_iter().map(|place| format!("at {place}")).collect())
}

pub fn not_answered(program: &str, error: &FrameError) -> StepError {
    StepError::new(ErrorClass::Bug, "P2112", format!("the worker `{program}` cannot send its outcome: {error}"))
}

fn tells_of_memory(line: &str) -> bool {
    line.contains("memory allocation of") || line.contains("bad_alloc") || line.contains("out of memory")
}

fn how(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "it closed its connection".to_owned() };
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by {}", signal_name(signal)),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

fn signal_name(signal: i32) -> String {
    let (name, meaning) = match signal {
        4 => ("SIGILL", "illegal instruction"),
        6 => ("SIGABRT", "aborted"),
        7 => ("SIGBUS", "bus error: a file shrank or the disk failed"),
        8 => ("SIGFPE", "arithmetic error"),
        9 => ("SIGKILL", "killed"),
        11 => ("SIGSEGV", "invalid memory access"),
        15 => ("SIGTERM", "asked to end"),
        24 => ("SIGXCPU", "over the limit of processor time"),
        25 => ("SIGXFSZ", "over the limit of file size"),
        31 => ("SIGSYS", "forbidden system call"),
        _ => return format!("signal {signal}"),
    };
    format!("{name} ({meaning})")
}

/// Prints a span of time as the language writes it: `30m`.
fn span(duration: Duration) -> String {
    Value::DurationMs(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).to_string()
}
