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
    /// An owner was there and is leaving.
    Left,
    OtherProtocol(u32),
    /// Trying again does not help.
    Final(StoreError),
}

impl Dialer {
    /// Connects, with an owner started if need be.
    pub fn dial(&self, hello: &Hello) -> Result<Dialed, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let mut started: Option<Instant> = None;
        let mut pause = Duration::from_millis(1);
        loop {
            let missed = match self.attempt(hello) {
                Ok(dialed) => return Ok(dialed),
                Err(Missed::Final(error)) => return Err(error),
                Err(missed) => missed,
            };
            let may_start = started.is_none_or(|started| started.elapsed() > RESTART);
            if matches!(missed, Missed::Nobody) && may_start {
                (self.spawn)().map_err(|error| owner(format!("it could not be started: {error}")))?;
                started = Some(Instant::now());
                pause = Duration::from_millis(1);
            }
            if Instant::now() >= deadline {
                return Err(owner(match missed {
                    Missed::OtherProtocol(found) => {
                        format!(
                            "another version of mlp is using the store (protocol {found}, this one speaks {PROTOCOL})"
                        )
                    }
                    _ => format!("it did not start within {} s{}", PATIENCE.as_secs(), self.last_words()),
                }));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn attempt(&self, hello: &Hello) -> Result<Dialed, Missed> {
        let mut writer = UnixStream::connect(&self.socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Missed::Nobody,
            // Too many wait at the same time.
            ErrorKind::WouldBlock => Missed::Left,
            _ => Missed::Final(owner(format!("cannot connect to `{}`: {error}", self.socket.display()))),
        })?;
        let left = |_| Missed::Left;
        let peer = socket_peercred(&writer).map_err(|_| Missed::Left)?;
        if peer.uid != rustix::process::getuid() {
            return Err(Missed::Final(owner(format!("another user listens on `{}`", self.socket.display()))));
        }
        writer.write_all(&protocol::encode(hello, &[])).map_err(left)?;
        let mut reader = BufReader::new(writer.try_clone().map_err(left)?);
        // However long the store takes to open: an owner that dies closes the socket.
        match protocol::read::<Welcome>(&mut reader).map_err(left)? {
            Some((Welcome::Ready, _)) => Ok(Dialed { reader, writer }),
            Some((Welcome::OtherProtocol(found), _)) => Err(Missed::OtherProtocol(found)),
            Some((Welcome::Failed(error), _)) => Err(Missed::Final(error)),
            None => Err(Missed::Left),
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
