//! Lets this process be killed at a named place of the program: how it is shown that a run goes on from anywhere.
//!
//! `MLP_FAIL_POINT="NAME NTH FILE"` kills the first process that reaches the place `NAME` for the `NTH` time, as `kill -9` does.
//! It makes `FILE` before, which must not be there: whoever follows passes the place.

use std::fs::OpenOptions;
use std::path::PathBuf;

use mlp_model::arm_fail_point;
use rustix::process::{Signal, getpid, kill_process};

const VARIABLE: &str = "MLP_FAIL_POINT";

/// Does as the variable says, if it is there. The error says what is wrong with it.
pub fn arm() -> Result<(), String> {
    let Some(plan) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let mut words = plan.to_str().unwrap_or_default().splitn(3, ' ');
    let (Some(name), Some(Ok(nth @ 1..)), Some(file)) = (words.next(), words.next().map(str::parse), words.next())
    else {
        return Err(format!(
            "{VARIABLE} must be `NAME NTH FILE`, for example `journal.synced 1 /tmp/died`; leave it out to run as ever"
        ));
    };
    let file = PathBuf::from(file);
    arm_fail_point(name, nth, move || {
        if OpenOptions::new().write(true).create_new(true).open(&file).is_ok() {
            _ = kill_process(getpid(), Signal::KILL);
        }
    });
    Ok(())
}
