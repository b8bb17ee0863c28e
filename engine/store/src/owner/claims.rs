//! Who may execute which cache key: one at a time, first come, first served.
//!
//! A pure state machine: told what happened, it says whom to answer. Unaware of connections and of the journal.

use std::collections::{HashMap, VecDeque};

use mlp_model::KeyId;

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
    Granted(Ticket, KeyId),
    Finished(Ticket),
}

#[derive(Default)]
pub(crate) struct Claims {
    keys: HashMap<KeyId, Line>,
    /// The key of each ticket that holds or waits.
    tickets: HashMap<Ticket, KeyId>,
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
}

impl Claims {
    /// Takes a claim; `newest` is the position of the key's newest result. Answered at once, or later.
    pub fn claim(&mut self, ticket: Ticket, key: KeyId, seen: u64, newest: u64) -> Option<Verdict> {
        if let Some(line) = self.keys.get_mut(&key) {
            if line.holder == ticket {
                // Granted by an owner that died before it could say so.
                return Some(Verdict::Granted(ticket, key));
            }
            if newest > seen {
                return Some(Verdict::Finished(ticket));
            }
            self.tickets.insert(ticket.clone(), key);
            line.waiters.push_back(Waiter { ticket, seen });
            return None;
        }
        if newest > seen {
            return Some(Verdict::Finished(ticket));
        }
        self.hold(ticket.clone(), key);
        Some(Verdict::Granted(ticket, key))
    }

    /// Gives the key to a ticket without asking, if it is free: what an earlier owner had granted.
    pub fn hold(&mut self, ticket: Ticket, key: KeyId) {
        self.keys.entry(key).or_insert_with(|| {
            self.tickets.insert(ticket.clone(), key);
            Line { holder: ticket, waiters: VecDeque::new() }
        });
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

    /// The ticket is no longer held or wanted.
    pub fn on_end(&mut self, ticket: &Ticket) -> Option<Verdict> {
        let key = self.tickets.remove(ticket)?;
        let line = self.keys.get_mut(&key)?;
        if line.holder != *ticket {
            line.waiters.retain(|waiter| waiter.ticket != *ticket);
            return None;
        }
        match line.waiters.pop_front() {
            Some(next) => {
                line.holder = next.ticket.clone();
                Some(Verdict::Granted(next.ticket, key))
            }
            None => {
                self.keys.remove(&key);
                None
            }
        }
    }

    /// Ends all tickets of a client for which `keep` is false.
    pub fn end_all(&mut self, client: &ClientId, keep: impl Fn(u64) -> bool) -> Vec<Verdict> {
        let is_over = |ticket: &&Ticket| ticket.client == *client && !keep(ticket.no);
        let over: Vec<Ticket> = self.tickets.keys().filter(is_over).cloned().collect();
        over.iter()
            .filter_map(|ticket| self.on_end(ticket))
            .filter(|verdict| !over.contains(verdict.ticket()))
            .collect()
    }
}

impl Verdict {
    pub fn ticket(&self) -> &Ticket {
        match self {
            Self::Granted(ticket, _) | Self::Finished(ticket) => ticket,
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
        Verdict::Granted(ticket(client, no), key())
    }

    #[test]
    fn a_key_goes_to_one_after_the_other_in_order() {
        let mut claims = Claims::default();
        assert_eq!(claims.claim(ticket("a", 1), key(), 0, 0), Some(granted("a", 1)));
        assert_eq!(claims.claim(ticket("b", 1), key(), 0, 0), None);
        assert_eq!(claims.claim(ticket("a", 2), key(), 0, 0), None);
        assert_eq!(claims.on_end(&ticket("a", 1)), Some(granted("b", 1)));
        assert_eq!(claims.on_end(&ticket("b", 1)), Some(granted("a", 2)));
        assert_eq!(claims.on_end(&ticket("a", 2)), None);
        assert_eq!(claims.claim(ticket("c", 1), key(), 0, 0), Some(granted("c", 1)));
    }

    #[test]
    fn waiters_are_told_of_a_result_that_they_do_not_know() {
        let mut claims = Claims::default();
        claims.claim(ticket("a", 1), key(), 0, 0);
        claims.claim(ticket("b", 1), key(), 0, 0);
        // Has seen the result at 9 and could not use it: it must execute the key itself.
        claims.claim(ticket("c", 1), key(), 9, 0);
        assert_eq!(claims.on_finished(&key(), 9), [Verdict::Finished(ticket("b", 1))]);
        assert_eq!(claims.on_end(&ticket("a", 1)), Some(granted("c", 1)));
        assert_eq!(claims.claim(ticket("d", 1), key(), 0, 9), Some(Verdict::Finished(ticket("d", 1))));
    }

    #[test]
    fn what_a_dead_client_held_goes_to_the_next_and_what_it_waited_for_is_forgotten() {
        let mut claims = Claims::default();
        for (client, no) in [("a", 1), ("a", 2), ("b", 1), ("c", 1)] {
            claims.claim(ticket(client, no), key(), 0, 0);
        }
        assert_eq!(claims.end_all(&ClientId("a".into()), |_| false), [granted("b", 1)]);
        assert_eq!(claims.end_all(&ClientId("c".into()), |_| false), []);
        assert_eq!(claims.on_end(&ticket("b", 1)), None);
        assert!(claims.keys.is_empty() && claims.tickets.is_empty());
    }

    #[test]
    fn a_lease_of_an_earlier_owner_is_kept_for_its_client_only() {
        let mut claims = Claims::default();
        claims.hold(ticket("a", 1), key());
        assert_eq!(claims.claim(ticket("b", 5), key(), 0, 0), None);
        assert_eq!(claims.claim(ticket("a", 1), key(), 0, 0), Some(granted("a", 1)));
        assert_eq!(claims.end_all(&ClientId("a".into()), |no| no == 1), []);
        assert_eq!(claims.end_all(&ClientId("a".into()), |_| false), [granted("b", 5)]);
    }
}
