//! What is said of a step that failed, was ended or could not begin. Unaware of how that was found out.

use std::io::{Error, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use mlp_model::{ErrorClass, StepError, Value};

/// The shell ended, but not with success.
pub fn failed(status: ExitStatus, last_lines: Vec<String>) -> StepError {
    let message = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("the command was killed by {}", signal_name(signal)),
        (None, Some(code)) => match code.checked_sub(128).filter(|signal| (1..=31).contains(signal)) {
            Some(signal) => {
                format!("command failed with exit code {code}: a program in it was killed by {}", signal_name(signal))
            }
            None => format!("command failed with exit code {code}"),
        },
        (None, None) => format!("command failed: {status}"),
    };
    let help = match (status.signal(), status.code()) {
        (None, Some(127)) => {
            "a program was not found: a step sees the `PATH` of mlp and no other settings of your shell; \
             put the program there, or name it by its full path"
        }
        (None, Some(126)) => "a file that was called as a program is not executable: `chmod +x`, or `sh FILE`",
        (Some(9), _) | (None, Some(137)) => {
            "the machine probably ran out of memory: give the step less data at a time, or run fewer steps at once"
        }
        _ => "the lines above are the last that it printed; a step sees only its declared inputs and variables",
    };
    step_error("P2006", message).with_detail(last_lines).with_help(help)
}

pub fn timed_out(limit: Duration, last_lines: Vec<String>) -> StepError {
    let limit = Value::DurationMs(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    step_error("P2007", format!("timed out after {limit}"))
        .with_detail(last_lines)
        .with_help("allow more time with `with { timeout: .. }`, or give the step less to do")
}

/// Nobody tells secrets here.
pub fn no_secret(name: &str) -> Result<Vec<u8>, StepError> {
    let message = format!("secret `{name}` is not there: nothing gives it a value");
    Err(StepError::new(ErrorClass::Environment, "P2016", message).with_argument("env"))
}

pub fn cancelled() -> StepError {
    StepError::new(ErrorClass::Cancelled, "P2008", "cancelled")
}

/// The step's folder cannot be made, filled or read: `cannot ACTION WHAT: ..`.
pub fn no_folder(action: &str, what: &str, error: &Error) -> StepError {
    let help = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk that holds the workspace",
        ErrorKind::PermissionDenied => "check who owns the workspace and its `.mlp` folder",
        _ => "check the disk that holds the workspace",
    };
    let message = format!("cannot {action} `{what}`: {}", plain_words(error));
    StepError::new(ErrorClass::Environment, "P2004", message).with_help(help)
}

pub fn no_shell(error: &Error) -> StepError {
    let help = match error.kind() {
        ErrorKind::NotFound => "install a POSIX shell as `/bin/sh`",
        ErrorKind::ArgumentListTooLong => "put the command into a script, and make the script an input",
        _ => "end other programs, or raise the limits of processes and memory (`ulimit -a`)",
    };
    let message = format!("cannot run `/bin/sh`: {}", plain_words(error));
    StepError::new(ErrorClass::Environment, "P2005", message).with_help(help)
}

/// The kernel does not accept the rules of a confined step.
pub fn no_rules(error: &Error) -> StepError {
    let message = format!("cannot confine the step: {}", plain_words(error));
    StepError::new(ErrorClass::Environment, "P2005", message)
        .with_help("raise the limit of open files (`ulimit -n`), or let the step run unconfined: `confine: off`")
}

pub fn no_resources(error: &Error) -> StepError {
    let message = format!("cannot prepare the step: {}", plain_words(error));
    StepError::new(ErrorClass::Environment, "P2005", message)
        .with_help("end other programs, or raise the limits of open files and processes (`ulimit -a`)")
}

fn step_error(code: &str, message: String) -> StepError {
    StepError::new(ErrorClass::Step, code, message)
}

/// Returns what the system says, without its number.
fn plain_words(error: &Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = words.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn signal_name(signal: i32) -> String {
    let (name, meaning) = match signal {
        1 => ("SIGHUP", "its terminal was closed"),
        2 => ("SIGINT", "interrupted"),
        3 => ("SIGQUIT", "asked to quit"),
        4 => ("SIGILL", "illegal instruction"),
        6 => ("SIGABRT", "aborted"),
        7 => ("SIGBUS", "bus error: a file shrank or the disk failed"),
        8 => ("SIGFPE", "arithmetic error"),
        9 => ("SIGKILL", "killed"),
        11 => ("SIGSEGV", "invalid memory access"),
        13 => ("SIGPIPE", "nobody read what it wrote"),
        15 => ("SIGTERM", "asked to end"),
        24 => ("SIGXCPU", "over the limit of processor time"),
        25 => ("SIGXFSZ", "over the limit of file size"),
        31 => ("SIGSYS", "forbidden system call"),
        _ => return format!("signal {signal}"),
    };
    format!("{name} ({meaning})")
}
