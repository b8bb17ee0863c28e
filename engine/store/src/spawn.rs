//! Starts a process that outlives this one.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

/// Starts `command` in a process group of its own, without input and output, so that neither ctrl-C nor the end of this
/// process reaches it.
pub fn spawn_detached(mut command: Command) -> io::Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    // Whoever lives longer than the child must take note of its end.
    thread::Builder::new().name("owner".to_owned()).spawn(move || child.wait())?;
    Ok(())
}
