//! Reaches the owner process: connects, or starts one and waits for it.

use std::fs;
use std::io::{BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mlp_model::StoreError;
use rustix::net::sockopt::socket_peercred;

use crate::layout::Layout;
use crate::protocol::{self, Hello, PROTOCOL, Welcome};

/// How long an owner may take until it listens. Opening the store may take longer; it listens before that.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a started owner is given up and another one is started.
const RESTART: Duration = Duration::from_secs(2);
/// How long is waited between two attempts.
const MIN_PAUSE: Duration = Duration::from_micros(300);
const MAX_PAUSE: Duration = Duration::from_millis(50);
/// How many owners may end while they are waited for.
const MAX_ENDED: u32 = 10;

/// Starts an owner process, detached, and does not wait for it.
pub type SpawnOwner = Box<dyn Fn() -> std::io::Result<()> + Send + Sync>;

pub(crate) struct Dialer {
    pub layout: Layout,
    pub socket: PathBuf,
    pub spawn: SpawnOwner,
}

/// An open connection; the store is ready.
pub(crate) struct Dialed {
    pub reader: BufReader<UnixStream>,
    pub writer: UnixStream,
}

/// Why an attempt did not lead to an owner.
enum Missed {
    /// Nobody listens.
    Nobody,
    /// An owner listens, and has no time for us.
    Busy,
    /// An owner was there and has ended, or is leaving.
    Ended,
    OtherProtocol(u32),
    /// Trying again does not help.
    Final(StoreError),
}

impl Dialer {
    /// Connects, with an owner started if need be.
    pub fn dial(&self, hello: &Hello) -> Result<Dialed, StoreError> {
        self.dial_within(hello, PATIENCE, RESTART)
    }

    fn dial_within(&self, hello: &Hello, patience: Duration, restart: Duration) -> Result<Dialed, StoreError> {
        let begun = Instant::now();
        let (mut deadline, mut n_ended) = (begun + patience, 0);
        let mut started: Option<Instant> = None;
        loop {
            let missed = match self.attempt(hello) {
                Ok(dialed) => return Ok(dialed),
                Err(Missed::Final(error)) => return Err(error),
                Err(missed) => missed,
            };
            if matches!(missed, Missed::Ended) {
                // It may have been opening the store for long: the next one has all the time again.
                deadline = Instant::now() + patience;
                n_ended += 1;
                if n_ended >= MAX_ENDED && begun.elapsed() >= patience {
                    let last = self.last_words();
                    return Err(owner(format!("it ended {n_ended} times before the store was open{last}")));
                }
            }
            let may_start = started.is_none_or(|started| started.elapsed() > restart);
            if matches!(missed, Missed::Nobody) && may_start {
                (self.spawn)().map_err(|error| owner(format!("it could not be started: {error}")))?;
                started = Some(Instant::now());
            }
            if Instant::now() >= deadline {
                return Err(owner(match missed {
                    Missed::OtherProtocol(found) => {
                        format!(
                            "another version of mlp is using the store (protocol {found}, this one speaks {PROTOCOL})"
                        )
                    }
                    _ => format!("it did not start within {} s{}", patience.as_secs(), self.last_words()),
                }));
            }
            // Seldom, the longer it takes: a small part of the time that was waited is waited once more.
            let waited = started.unwrap_or(begun).elapsed();
            thread::sleep((waited / 16).clamp(MIN_PAUSE, MAX_PAUSE));
        }
    }

    fn attempt(&self, hello: &Hello) -> Result<Dialed, Missed> {
        let mut writer = UnixStream::connect(&self.socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Missed::Nobody,
            // Too many wait at the same time.
            ErrorKind::WouldBlock => Missed::Busy,
            _ => Missed::Final(owner(format!("cannot connect to `{}`: {error}", self.socket.display()))),
        })?;
        let ended = |_| Missed::Ended;
        let peer = socket_peercred(&writer).map_err(|_| Missed::Ended)?;
        if peer.uid != rustix::process::getuid() {
            return Err(Missed::Final(owner(format!("another user listens on `{}`", self.socket.display()))));
        }
        writer.write_all(&protocol::encode(hello, &[])).map_err(ended)?;
        let mut reader = BufReader::new(writer.try_clone().map_err(ended)?);
        // However long the store takes to open: an owner that dies closes the socket.
        match protocol::read::<Welcome>(&mut reader).map_err(ended)? {
            Some((Welcome::Ready, _)) => Ok(Dialed { reader, writer }),
            Some((Welcome::OtherProtocol(found), _)) => Err(Missed::OtherProtocol(found)),
            Some((Welcome::Failed(error), _)) => Err(Missed::Final(error)),
            None => Err(Missed::Ended),
        }
    }

    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.layout.owner_log()).unwrap_or_default();
        text.lines().last().map_or(String::new(), |line| format!("; its log ends with: {line}"))
    }
}

pub(crate) fn owner(message: String) -> StoreError {
    StoreError::Owner { message }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::journal::group::ClientId;

    /// An owner that takes `opens` to open the store, and then is ready, or is no more.
    fn serve_once(socket: PathBuf, opens: Duration, is_ready: bool) {
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            thread::sleep(opens);
            if is_ready {
                stream.write_all(&protocol::encode(&Welcome::Ready, &[])).unwrap();
            }
            fs::remove_file(socket).unwrap();
        });
    }

    fn dial(n_ending: u32) -> (Result<Dialed, StoreError>, u32) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::of(folder.path()).unwrap();
        let socket = folder.path().join("sock");
        let n_started = Arc::new(AtomicU32::new(0));
        let spawn = {
            let (n_started, socket) = (n_started.clone(), socket.clone());
            move || {
                let n = n_started.fetch_add(1, Ordering::SeqCst);
                serve_once(socket.clone(), PATIENCE_HERE * 2, n >= n_ending);
                Ok(())
            }
        };
        let dialer = Dialer { layout, socket, spawn: Box::new(spawn) };
        let hello = Hello {
            protocol: PROTOCOL,
            client: ClientId("c".to_owned()),
            runs: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            groups: Vec::new(),
            uses: Vec::new(),
        };
        let dialed = dialer.dial_within(&hello, PATIENCE_HERE, Duration::ZERO);
        (dialed, n_started.load(Ordering::SeqCst))
    }

    const PATIENCE_HERE: Duration = Duration::from_millis(50);

    #[test]
    fn owners_that_are_killed_while_they_open_the_store_are_replaced_however_long_they_took() {
        let (dialed, n_started) = dial(3);
        assert!(dialed.is_ok(), "{:?}", dialed.err());
        assert_eq!(n_started, 4);
    }

    #[test]
    fn owners_that_end_again_and_again_are_given_up() {
        let (dialed, n_started) = dial(u32::MAX);
        let error = dialed.err().unwrap().to_string();
        assert!(error.contains("ended 10 times before the store was open"), "{error}");
        assert_eq!(n_started, MAX_ENDED);
    }
}
