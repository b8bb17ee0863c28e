//! Who may execute which cache key: one at a time, first come, first served, as soon as its share of what the step takes is free.
//!
//! A pure state machine: told what happened, it says whom to answer. Unaware of connections and of the journal.

use std::collections::{HashMap, VecDeque};

use mlp_model::{KeyId, Portion, Take};

use super::shares::{Granted, Shares};
use crate::journal::group::ClientId;

/// One claim: a client and the number of its request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    pub client: ClientId,
    pub no: u64,
}

/// An answer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted(Ticket, KeyId, Vec<Portion>),
    Finished(Ticket),
}

#[derive(Default)]
pub(crate) struct Claims {
    keys: HashMap<KeyId, Line>,
    /// The key of each ticket that holds or waits.
    tickets: HashMap<Ticket, KeyId>,
    /// What those have, or wait for, who have their key.
    pub shares: Shares,
}

/// Who has a key, and who wants it.
struct Line {
    holder: Ticket,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    ticket: Ticket,
    /// Position of the newest result that it knows.
    seen: u64,
    takes: Vec<Take>,
}

impl Claims {
    /// Takes a claim; `newest` is the position of the key's newest result. Answered at once, or later.
    pub fn claim(&mut self, ticket: Ticket, key: KeyId, (seen, newest): (u64, u64), takes: Vec<Take>) -> Vec<Verdict> {
        if let Some(line) = self.keys.get_mut(&key) {
            if line.holder == ticket {
                // Granted by an owner that died before it could say so; or it still waits for its share.
                let has = self.shares.of(&ticket).cloned();
                return has.map(|portions| Verdict::Granted(ticket, key, portions)).into_iter().collect();
            }
            if newest > seen {
                return vec![Verdict::Finished(ticket)];
            }
            self.tickets.insert(ticket.clone(), key);
            line.waiters.push_back(Waiter { ticket, seen, takes });
            return Vec::new();
        }
        if newest > seen {
            return vec![Verdict::Finished(ticket)];
        }
        self.take_key(ticket.clone(), key);
        let granted = self.shares.ask(ticket, takes);
        self.to_verdicts(granted)
    }

    /// Returns who has the key.
    pub fn holder(&self, key: &KeyId) -> Option<&Ticket> {
        self.keys.get(key).map(|line| &line.holder)
    }

    /// Gives the key to a ticket without asking, if it is free, and what it takes: what an earlier owner had granted.
    pub fn hold(&mut self, ticket: Ticket, key: KeyId, portions: Vec<Portion>) {
        self.take_key(ticket.clone(), key);
        self.shares.hold(ticket, portions);
    }

    fn take_key(&mut self, ticket: Ticket, key: KeyId) {
        self.keys.entry(key).or_insert_with(|| {
            self.tickets.insert(ticket.clone(), key);
            Line { holder: ticket, waiters: VecDeque::new() }
        });
    }

    fn to_verdicts(&self, granted: Vec<Granted>) -> Vec<Verdict> {
        let with_key =
            |(ticket, portions)| self.tickets.get(&ticket).map(|key| Verdict::Granted(ticket, *key, portions));
        granted.into_iter().filter_map(with_key).collect()
    }

    /// The key has a result at position `seq`: those who wait for one need not execute it.
    pub fn on_finished(&mut self, key: &KeyId, seq: u64) -> Vec<Verdict> {
        let Some(line) = self.keys.get_mut(key) else { return Vec::new() };
        let (done, waiting) = line.waiters.drain(..).partition(|waiter: &Waiter| waiter.seen < seq);
        line.waiters = waiting;
        let done: VecDeque<Waiter> = done;
        done.into_iter()
            .map(|waiter| {
                self.tickets.remove(&waiter.ticket);
                Verdict::Finished(waiter.ticket)
            })
            .collect()
    }

    /// The ticket keeps its key, and takes nothing any more.
    pub fn on_freed(&mut self, ticket: &Ticket) -> Vec<Verdict> {
        let granted = self.shares.end(ticket);
        self.to_verdicts(granted)
    }

    /// Returns who may begin after tickets were held anew.
    pub fn settle(&mut self) -> Vec<Verdict> {
        let granted = self.shares.settle();
        self.to_verdicts(granted)
    }

    /// The ticket is no longer held or wanted.
    pub fn on_end(&mut self, ticket: &Ticket) -> Vec<Verdict> {
        let mut granted = self.shares.end(ticket);
        if let Some(key) = self.tickets.remove(ticket)
            && let Some(line) = self.keys.get_mut(&key)
        {
            if line.holder != *ticket {
                line.waiters.retain(|waiter| waiter.ticket != *ticket);
            } else if let Some(next) = line.waiters.pop_front() {
                line.holder = next.ticket.clone();
                granted.extend(self.shares.ask(next.ticket, next.takes));
            } else {
                self.keys.remove(&key);
            }
        }
        self.to_verdicts(granted)
    }

    /// Ends all tickets of a client for which `keep` is false.
    pub fn end_all(&mut self, client: &ClientId, keep: impl Fn(u64) -> bool) -> Vec<Verdict> {
        let is_over = |ticket: &&Ticket| ticket.client == *client && !keep(ticket.no);
        let over: Vec<Ticket> = self.tickets.keys().filter(is_over).cloned().collect();
        over.iter().flat_map(|ticket| self.on_end(ticket)).filter(|verdict| !over.contains(verdict.ticket())).collect()
    }
}

impl Verdict {
    pub fn ticket(&self) -> &Ticket {
        match self {
            Self::Granted(ticket, ..) | Self::Finished(ticket) => ticket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlp_model::Digest;

    fn ticket(client: &str, no: u64) -> Ticket {
        Ticket { client: ClientId(client.into()), no }
    }

    fn key() -> KeyId {
        KeyId(Digest::of(b"key"))
    }

    fn granted(client: &str, no: u64) -> Verdict {
        Verdict::Granted(ticket(client, no), key(), Vec::new())
    }

    #[test]
    fn a_key_goes_to_one_after_the_other_in_order() {
        let mut claims = Claims::default();
        assert_eq!(claims.claim(ticket("a", 1), key(), (0, 0), Vec::new()), [granted("a", 1)]);
        assert_eq!(claims.claim(ticket("b", 1), key(), (0, 0), Vec::new()), []);
        assert_eq!(claims.claim(ticket("a", 2), key(), (0, 0), Vec::new()), []);
        assert_eq!(claims.on_end(&ticket("a", 1)), [granted("b", 1)]);
        assert_eq!(claims.on_end(&ticket("b", 1)), [granted("a", 2)]);
        assert_eq!(claims.on_end(&ticket("a", 2)), []);
        assert_eq!(claims.claim(ticket("c", 1), key(), (0, 0), Vec::new()), [granted("c", 1)]);
    }

    #[test]
    fn waiters_are_told_of_a_result_that_they_do_not_know() {
        let mut claims = Claims::default();
        claims.claim(ticket("a", 1), key(), (0, 0), Vec::new());
        claims.claim(ticket("b", 1), key(), (0, 0), Vec::new());
        // Has seen the result at 9 and could not use it: it must execute the key itself.
        claims.claim(ticket("c", 1), key(), (9, 0), Vec::new());
        assert_eq!(claims.on_finished(&key(), 9), [Verdict::Finished(ticket("b", 1))]);
        assert_eq!(claims.on_end(&ticket("a", 1)), [granted("c", 1)]);
        assert_eq!(claims.claim(ticket("d", 1), key(), (0, 9), Vec::new()), [Verdict::Finished(ticket("d", 1))]);
    }

    #[test]
    fn what_a_dead_client_held_goes_to_the_next_and_what_it_waited_for_is_forgotten() {
        let mut claims = Claims::default();
        for (client, no) in [("a", 1), ("a", 2), ("b", 1), ("c", 1)] {
            claims.claim(ticket(client, no), key(), (0, 0), Vec::new());
        }
        assert_eq!(claims.end_all(&ClientId("a".into()), |_| false), [granted("b", 1)]);
        assert_eq!(claims.end_all(&ClientId("c".into()), |_| false), []);
        assert_eq!(claims.on_end(&ticket("b", 1)), []);
        assert!(claims.keys.is_empty() && claims.tickets.is_empty());
    }

    #[test]
    fn a_lease_of_an_earlier_owner_is_kept_for_its_client_only() {
        let mut claims = Claims::default();
        claims.hold(ticket("a", 1), key(), Vec::new());
        assert_eq!(claims.claim(ticket("b", 5), key(), (0, 0), Vec::new()), []);
        assert_eq!(claims.claim(ticket("a", 1), key(), (0, 0), Vec::new()), [granted("a", 1)]);
        assert_eq!(claims.end_all(&ClientId("a".into()), |no| no == 1), []);
        assert_eq!(claims.end_all(&ClientId("a".into()), |_| false), [granted("b", 5)]);
    }

    #[test]
    fn who_waits_for_its_share_has_its_key_and_who_waits_for_the_key_takes_nothing() {
        let mut claims = Claims::default();
        let other = KeyId(Digest::of(b"other"));
        let licence = || vec![Take::of("token licence", 1, 1)];
        let has = || Take::best(&licence());
        let begun = Verdict::Granted(ticket("a", 1), key(), has());
        assert_eq!(claims.claim(ticket("a", 1), key(), (0, 0), licence()), std::slice::from_ref(&begun));
        assert_eq!(claims.claim(ticket("b", 1), other, (0, 0), licence()), []);
        assert_eq!(claims.claim(ticket("c", 1), other, (0, 0), licence()), []);
        // Asked again over another connection: nothing has changed for either.
        assert_eq!(claims.claim(ticket("b", 1), other, (0, 0), licence()), []);
        assert_eq!(claims.claim(ticket("a", 1), key(), (0, 0), licence()), [begun]);
        assert_eq!(claims.on_end(&ticket("a", 1)), [Verdict::Granted(ticket("b", 1), other, has())]);
        // The key and what it takes go on together.
        assert_eq!(claims.on_end(&ticket("b", 1)), [Verdict::Granted(ticket("c", 1), other, has())]);
        assert_eq!(claims.on_end(&ticket("c", 1)), []);
    }
}
