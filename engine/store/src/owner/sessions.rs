//! What clients have, written down for the next owner: should this one be killed, leases stay with their holders and
//! the process groups of dead clients are still ended.
//!
//! A log of lines, never synced: it must outlive this process, not the machine. Losing it costs a step executed twice.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::groups::Group;
use crate::journal::group::ClientId;
use crate::process::ProcessMark;
use crate::protocol::Held;

/// The log is written afresh when it has grown to this.
const MAX_LOG_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Line {
    Here {
        client: ClientId,
        process: ProcessMark,
    },
    Held {
        client: ClientId,
        #[serde(flatten)]
        held: Held,
    },
    GivenBack {
        client: ClientId,
        claim: u64,
    },
    Tracked {
        client: ClientId,
        group: u32,
        leader_started: Option<u64>,
    },
    Untracked {
        client: ClientId,
        group: u32,
    },
    Gone {
        client: ClientId,
    },
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub process: ProcessMark,
    /// By the claim's number.
    pub held: BTreeMap<u64, Held>,
    groups: BTreeMap<u32, Option<u64>>,
}

impl Session {
    pub fn groups(&self) -> Vec<Group> {
        self.groups.iter().map(|(id, leader_started)| Group { id: *id, leader_started: *leader_started }).collect()
    }
}

pub(crate) struct Sessions {
    path: PathBuf,
    file: Option<File>,
    n_bytes: usize,
    pub clients: BTreeMap<ClientId, Session>,
}

impl Sessions {
    /// Reads what the owner before has left.
    pub fn open(path: PathBuf) -> Self {
        let text = fs::read(&path).unwrap_or_default();
        let mut sessions = Self { path, file: None, n_bytes: 0, clients: BTreeMap::new() };
        for line in text.split(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice(line) {
                sessions.apply(line);
            }
        }
        sessions.rewrite();
        sessions
    }

    pub fn write(&mut self, line: Line) {
        self.write_all([line]);
    }

    pub fn write_all(&mut self, lines: impl IntoIterator<Item = Line>) {
        let mut text = Vec::new();
        for line in lines {
            text.extend(to_text(&line));
            self.apply(line);
        }
        self.n_bytes += text.len();
        if let Some(file) = &mut self.file {
            _ = file.write_all(&text);
        }
        if self.n_bytes > MAX_LOG_BYTES {
            self.rewrite();
        }
    }

    fn apply(&mut self, line: Line) {
        let mut with = |client: ClientId, change: &dyn Fn(&mut Session)| {
            if let Some(session) = self.clients.get_mut(&client) {
                change(session);
            }
        };
        match line {
            Line::Here { client, process } => {
                let new = Session { process, held: BTreeMap::new(), groups: BTreeMap::new() };
                self.clients.entry(client).or_insert(new);
            }
            Line::Held { client, held } => {
                with(client, &|session| _ = session.held.insert(held.claim, held.clone()));
            }
            Line::GivenBack { client, claim } => with(client, &|session| _ = session.held.remove(&claim)),
            Line::Tracked { client, group, leader_started } => {
                with(client, &|session| _ = session.groups.insert(group, leader_started));
            }
            Line::Untracked { client, group } => with(client, &|session| _ = session.groups.remove(&group)),
            Line::Gone { client } => _ = self.clients.remove(&client),
        }
    }

    /// Leaves only what still matters in the file.
    fn rewrite(&mut self) {
        let mut text = Vec::new();
        for (client, session) in &self.clients {
            let client = client.clone();
            text.extend(to_text(&Line::Here { client: client.clone(), process: session.process.clone() }));
            for held in session.held.values() {
                text.extend(to_text(&Line::Held { client: client.clone(), held: held.clone() }));
            }
            for (group, started) in &session.groups {
                let (group, leader_started) = (*group, *started);
                text.extend(to_text(&Line::Tracked { client: client.clone(), group, leader_started }));
            }
        }
        let new = self.path.with_extension("new");
        let open = || OpenOptions::new().append(true).mode(0o600).create(true).open(&self.path);
        let written = fs::write(&new, &text).and_then(|()| fs::rename(&new, &self.path)).and_then(|()| open());
        // Without space the old file goes on; it only says too much.
        self.file = written.or_else(|_| open()).ok();
        self.n_bytes = 0;
    }
}

fn to_text(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).expect("texts and numbers are always JSON");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlp_model::{Digest, KeyId, Take};

    #[test]
    fn the_next_owner_knows_what_living_clients_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.log");
        let (a, b) = (ClientId("a".into()), ClientId("b".into()));
        let held = |claim: u64| Held {
            claim,
            key: KeyId(Digest::of(&claim.to_le_bytes())),
            portions: Take::best(&[Take::of("cpu", claim, 4)]),
        };
        let mut sessions = Sessions::open(path.clone());
        for client in [&a, &b] {
            sessions.write(Line::Here { client: client.clone(), process: ProcessMark::own() });
        }
        for claim in 0..20_000 {
            sessions.write(Line::Held { client: a.clone(), held: held(claim) });
            if claim > 2 {
                sessions.write(Line::GivenBack { client: a.clone(), claim });
            }
        }
        sessions.write(Line::Tracked { client: a.clone(), group: 77, leader_started: Some(5) });
        sessions.write(Line::Tracked { client: a.clone(), group: 78, leader_started: None });
        sessions.write(Line::Untracked { client: a.clone(), group: 78 });
        sessions.write(Line::Gone { client: b });
        assert!(fs::metadata(&path).unwrap().len() < 2 * MAX_LOG_BYTES as u64);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"is\":\"gone\",\"cli").unwrap();

        let next = Sessions::open(path);
        assert_eq!(next.clients, sessions.clients);
        let session = &next.clients[&a];
        assert_eq!(session.held, BTreeMap::from([(0, held(0)), (1, held(1)), (2, held(2))]));
        assert_eq!(session.groups(), [Group { id: 77, leader_started: Some(5) }]);
    }
}
