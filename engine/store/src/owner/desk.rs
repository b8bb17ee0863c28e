//! Who is connected, and what each of them has: leases, process groups, running runs.
//!
//! Everything here is behind one lock, and nothing here waits: answers go to outboxes.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::Sender;

use mlp_model::{Digest, Holdup, KeyId, RunId, RunSummary, Take, fail_point};

use super::claims::{Claims, Ticket, Verdict};
use super::groups::Group;
use super::sessions::{Line, Sessions};
use crate::journal::group::ClientId;
use crate::process::{ProcessMark, ancestors};
use crate::protocol::{self, Answer, Held, Hello, Reply};

/// Takes frames for a client; a thread of the connection writes them.
pub(crate) type Outbox = Sender<Vec<u8>>;

pub(crate) struct Desk {
    claims: Claims,
    sessions: Sessions,
    connected: HashMap<ClientId, Connected>,
    next_serial: u64,
    /// Clients that left and whose groups are being ended.
    ending: HashSet<ClientId>,
    collection: Option<Collection>,
}

/// A client is taking objects out of the store.
struct Collection {
    client: ClientId,
    /// What others have relied on since it began, also those that have left meanwhile: what they recorded of it may
    /// have come too late to be read.
    used: HashSet<Digest>,
}

struct Connected {
    serial: u64,
    outbox: Outbox,
    runs: HashSet<RunId>,
    /// Objects that it relies on.
    uses: HashSet<Digest>,
}

impl Desk {
    /// Goes on with what the owner before had granted.
    pub fn new(sessions: Sessions) -> Self {
        let mut claims = Claims::default();
        for (client, session) in &sessions.clients {
            for Held { claim, key, portions } in session.held.values() {
                claims.hold(Ticket { client: client.clone(), no: *claim }, *key, portions.clone());
            }
        }
        Self { claims, sessions, connected: HashMap::new(), next_serial: 0, ending: HashSet::new(), collection: None }
    }

    /// A client has connected, perhaps again. Returns the connection's number.
    pub fn on_hello(&mut self, hello: Hello, process: ProcessMark, outbox: Outbox) -> u64 {
        let Hello { client, runs, held, waiting, groups, uses, .. } = hello;
        self.claims.shares.on_within(client.clone(), self.clients_around(&client, &process));
        self.sessions.write(Line::Here { client: client.clone(), process });
        self.next_serial += 1;
        let serial = self.next_serial;
        let connected =
            Connected { serial, outbox, runs: runs.into_iter().collect(), uses: uses.into_iter().collect() };
        self.connected.insert(client.clone(), connected);
        let is_known = |no: u64| waiting.contains(&no) || held.iter().any(|lease| lease.claim == no);
        let verdicts = self.claims.end_all(&client, is_known);
        for held in held {
            let ticket = Ticket { client: client.clone(), no: held.claim };
            self.claims.hold(ticket, held.key, held.portions.clone());
            self.sessions.write(Line::Held { client: client.clone(), held });
        }
        let freed = self.claims.settle();
        self.answer(freed);
        for group in groups {
            self.track(&client, group);
        }
        self.answer(verdicts);
        serial
    }

    /// Returns the clients that wait for this one, because a step of theirs has started it.
    fn clients_around(&self, client: &ClientId, process: &ProcessMark) -> HashSet<ClientId> {
        let others: Vec<_> = self.sessions.clients.iter().filter(|(other, _)| *other != client).collect();
        if others.is_empty() {
            return HashSet::new();
        }
        let around = ancestors(process.pid);
        others.into_iter().filter(|(_, other)| around.contains(&other.process.pid)).map(|(id, _)| id.clone()).collect()
    }

    /// A connection has ended: its leases go to the next. Returns the groups to end; call [`Desk::on_ended`] after.
    pub fn on_leave(&mut self, client: &ClientId, serial: u64) -> Option<Vec<Group>> {
        if self.connected.get(client).is_none_or(|connected| connected.serial != serial) {
            return None;
        }
        let left = self.connected.remove(client);
        if let (Some(collection), Some(left)) = (&mut self.collection, left) {
            if collection.client == *client {
                self.collection = None;
            } else {
                collection.used.extend(left.uses);
            }
        }
        Some(self.give_up(client))
    }

    /// Looks for clients of the owner before that have died without coming back. Returns them with their groups. With
    /// `is_late`, those that live but have not come back lose their leases too.
    pub fn find_lost(&mut self, is_late: bool) -> Vec<(ClientId, Vec<Group>)> {
        let mut lost = Vec::new();
        for (client, session) in &self.sessions.clients {
            if !self.connected.contains_key(client) && !self.ending.contains(client) {
                let is_gone = session.process.is_gone();
                if is_gone || is_late {
                    lost.push((client.clone(), is_gone));
                }
            }
        }
        let mut groups = Vec::new();
        for (client, is_gone) in lost {
            let tracked = self.give_up(&client);
            groups.push((client, if is_gone { tracked } else { Vec::new() }));
        }
        groups
    }

    fn give_up(&mut self, client: &ClientId) -> Vec<Group> {
        let groups = self.sessions.clients.get(client).map(|session| session.groups()).unwrap_or_default();
        let verdicts = self.claims.end_all(client, |_| false);
        self.claims.shares.forget(client);
        self.answer(verdicts);
        self.ending.insert(client.clone());
        groups
    }

    /// The groups of a client that left have ended.
    pub fn on_ended(&mut self, client: &ClientId) {
        self.ending.remove(client);
        if !self.connected.contains_key(client) {
            self.sessions.write(Line::Gone { client: client.clone() });
        }
    }

    /// Whether nobody is connected and nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.connected.is_empty() && self.ending.is_empty()
    }

    pub fn n_connected(&self) -> usize {
        self.connected.len()
    }

    /// `known`: the position of the newest result that the client knows, and of the newest there is, asked for under the desk's
    /// lock. Returns what can be answered at once.
    pub fn claim(&mut self, ticket: Ticket, key: KeyId, known: (u64, u64), takes: Vec<Take>) -> Option<Answer> {
        let verdicts = self.claims.claim(ticket.clone(), key, known, takes);
        let (own, others): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(|verdict| *verdict.ticket() == ticket);
        self.answer(others);
        own.into_iter().next().map(|verdict| self.note(verdict).1)
    }

    /// Says which other runs have what the client's claim of the key waits for.
    pub fn holdup(&self, client: &ClientId, key: &KeyId) -> Option<Holdup> {
        let holder = self.claims.holder(key)?;
        let (clients, lacks) = match holder.client == *client {
            true => self.claims.shares.lack(holder),
            false => (vec![&holder.client], Vec::new()),
        };
        let mut runs: Vec<RunId> = clients
            .into_iter()
            .filter_map(|client| self.connected.get(client))
            .flat_map(|other| other.runs.clone())
            .collect();
        runs.sort();
        (!runs.is_empty()).then_some(Holdup { runs, lacks })
    }

    /// Ends leases of a client; those of `freed` take nothing any more.
    pub fn give_back(&mut self, client: &ClientId, claims: &[u64], freed: &[u64]) {
        self.sessions.write_all(claims.iter().map(|&claim| Line::GivenBack { client: client.clone(), claim }));
        for &no in claims {
            let verdicts = self.claims.on_end(&Ticket { client: client.clone(), no });
            self.answer(verdicts);
        }
        for &no in freed {
            let verdicts = self.claims.on_freed(&Ticket { client: client.clone(), no });
            self.answer(verdicts);
        }
    }

    pub fn on_finished(&mut self, key: &KeyId, seq: u64) {
        let verdicts = self.claims.on_finished(key, seq);
        self.answer(verdicts);
    }

    pub fn track(&mut self, client: &ClientId, group: u32) {
        let Group { id, leader_started } = Group::new(group);
        let known = self.sessions.clients.get(client).map(|session| session.groups()).unwrap_or_default();
        // Said again after a broken connection: what was seen first is closer to the truth.
        if !known.iter().any(|known| known.id == id) {
            self.sessions.write(Line::Tracked { client: client.clone(), group: id, leader_started });
        }
    }

    pub fn untrack(&mut self, client: &ClientId, group: u32) {
        self.sessions.write(Line::Untracked { client: client.clone(), group });
    }

    /// The client relies on an object.
    pub fn use_object(&mut self, client: &ClientId, digest: Digest) {
        if let Some(connected) = self.connected.get_mut(client) {
            connected.uses.insert(digest);
        }
    }

    /// The client relies on no object any more.
    pub fn release_uses(&mut self, client: &ClientId) {
        let Some(connected) = self.connected.get_mut(client) else { return };
        let uses = std::mem::take(&mut connected.uses);
        if let Some(collection) = self.collection.as_mut().filter(|collection| collection.client != *client) {
            collection.used.extend(uses);
        }
    }

    /// Whether clients of the owner before may still come back and say what they rely on.
    pub fn is_expecting(&self) -> bool {
        let is_here = |client: &ClientId| self.connected.contains_key(client) || self.ending.contains(client);
        self.sessions.clients.keys().any(|client| !is_here(client))
    }

    /// Begins a collection; false, if another client is collecting.
    pub fn begin_collection(&mut self, client: &ClientId) -> bool {
        if self.collection.as_ref().is_some_and(|collection| collection.client != *client) {
            return false;
        }
        self.collection = Some(Collection { client: client.clone(), used: HashSet::new() });
        true
    }

    /// Whether `client` may take the object out of the store now; `None`, if it is not collecting.
    pub fn may_remove(&self, client: &ClientId, digest: &Digest) -> Option<bool> {
        let collection = self.collection.as_ref().filter(|collection| collection.client == *client)?;
        let others = self.connected.iter().filter(|(other, _)| *other != client);
        let is_used = others.map(|(_, other)| &other.uses).chain([&collection.used]).any(|used| used.contains(digest));
        Some(!is_used)
    }

    pub fn end_collection(&mut self, client: &ClientId) {
        self.collection.take_if(|collection| collection.client == *client);
    }

    pub fn on_run_started(&mut self, client: &ClientId, run: RunId) {
        if let Some(connected) = self.connected.get_mut(client) {
            connected.runs.insert(run);
        }
    }

    pub fn on_run_finished(&mut self, run: &RunId) {
        for connected in self.connected.values_mut() {
            connected.runs.remove(run);
        }
    }

    /// Fills in which runs' processes are connected.
    pub fn mark_alive(&self, runs: &mut [RunSummary]) {
        for run in runs {
            run.alive = self.connected.values().any(|connected| connected.runs.contains(&run.run));
        }
    }

    /// Writes down what is granted.
    fn note(&mut self, verdict: Verdict) -> (Ticket, Answer) {
        match verdict {
            Verdict::Granted(ticket, key, portions) => {
                fail_point("claim.granting");
                let held = Held { claim: ticket.no, key, portions: portions.clone() };
                self.sessions.write(Line::Held { client: ticket.client.clone(), held });
                fail_point("claim.noted");
                (ticket, Answer::Granted(portions))
            }
            Verdict::Finished(ticket) => (ticket, Answer::Finished),
        }
    }

    fn answer(&mut self, verdicts: impl IntoIterator<Item = Verdict>) {
        for verdict in verdicts {
            let (ticket, answer) = self.note(verdict);
            if let Some(connected) = self.connected.get(&ticket.client) {
                let reply = Reply { no: ticket.no, answer: Ok(answer) };
                // A closed outbox belongs to a connection that is about to be told off.
                _ = connected.outbox.send(protocol::encode(&reply, &[]));
            }
        }
    }
}
