//! How much of what runs share each client may take: cores, memory, tokens, GPUs.
//!
//! A pure state machine: told what happened, it says who may begin. How much there is says each claim for itself, as its user
//! has it: who may use more cores than the machine has does so. Of those that wait, the client comes first whose largest
//! share of anything is the smallest (dominant resource fairness: Ghodsi et al., NSDI 2011), then the one whose last turn was
//! longest ago, and of one client the oldest claim.
//! What it lacks is kept for it: nobody begins meanwhile who would take of that.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mlp_model::{Portion, Take};

use super::claims::Ticket;
use crate::journal::group::ClientId;

/// A ticket that may begin, and what it has.
pub(crate) type Granted = (Ticket, Vec<Portion>);

/// Shares are compared in so many parts.
const WHOLE: u128 = 1_000_000;

#[derive(Default)]
pub(crate) struct Shares {
    held: HashMap<Ticket, Vec<Portion>>,
    /// By name.
    used: HashMap<String, Used>,
    /// In the order in which they came.
    waiting: Vec<(Ticket, Vec<Take>)>,
    /// The clients within whose steps a client runs. They wait for it, so it does not wait for what they have.
    around: HashMap<ClientId, HashSet<ClientId>>,
    /// Counts what was granted, and says for each client when that was the last time.
    n_granted: u64,
    last_turns: HashMap<ClientId, u64>,
}

/// How much of one thing is taken.
#[derive(Default)]
struct Used {
    there_is: u64,
    by: HashMap<ClientId, u64>,
}

impl Shares {
    /// Returns who may begin now. The ticket waits if it is not among them.
    pub fn ask(&mut self, ticket: Ticket, takes: Vec<Take>) -> Vec<Granted> {
        self.waiting.push((ticket, takes));
        self.settle()
    }

    /// The ticket has this, whatever others have and whatever was said of it before: it was granted by an earlier owner.
    pub fn hold(&mut self, ticket: Ticket, portions: Vec<Portion>) {
        if let Some(before) = self.held.remove(&ticket) {
            self.free(&ticket.client, &before);
        }
        for Portion { name, amount, there_is } in &portions {
            if !self.used.contains_key(name) {
                self.used.insert(name.clone(), Used::default());
            }
            let Some(used) = self.used.get_mut(name) else { continue };
            used.there_is = *there_is;
            match used.by.get_mut(&ticket.client) {
                Some(has) => *has += amount,
                None => _ = used.by.insert(ticket.client.clone(), *amount),
            }
        }
        self.held.insert(ticket, portions);
    }

    /// Returns what a ticket has that has begun.
    pub fn of(&self, ticket: &Ticket) -> Option<&Vec<Portion>> {
        self.held.get(ticket)
    }

    /// The ticket needs nothing any more. Returns who may begin instead.
    pub fn end(&mut self, ticket: &Ticket) -> Vec<Granted> {
        match self.held.remove(ticket) {
            Some(portions) => self.free(&ticket.client, &portions),
            None => self.waiting.retain(|(waiting, _)| waiting != ticket),
        }
        self.settle()
    }

    /// Returns which others have so much that too little is left for a ticket that waits, and of what.
    pub fn lack(&self, ticket: &Ticket) -> (Vec<&ClientId>, Vec<String>) {
        let client = &ticket.client;
        let takes = self.waiting.iter().find(|(waiting, _)| waiting == ticket).map_or(&[][..], |(_, takes)| takes);
        let Err(lacking) = self.fit(client, takes, &BTreeMap::new()) else { return (Vec::new(), Vec::new()) };
        let (mut others, mut names) = (HashSet::new(), BTreeSet::new());
        for portion in lacking.into_iter().flat_map(|take| &take.of) {
            let holders = self.used.get(&portion.name).into_iter().flat_map(|used| used.by.keys());
            others.extend(holders.filter(|holder| *holder != client && !self.is_around(client, holder)));
            names.insert(portion.name.clone());
        }
        (others.into_iter().collect(), names.into_iter().collect())
    }

    /// The client runs within steps of these.
    pub fn on_within(&mut self, client: ClientId, around: HashSet<ClientId>) {
        if !around.is_empty() {
            self.around.insert(client, around);
        }
    }

    /// The client is gone, and its tickets have been ended.
    pub fn forget(&mut self, client: &ClientId) {
        self.around.remove(client);
        self.last_turns.remove(client);
    }

    fn free(&mut self, client: &ClientId, portions: &[Portion]) {
        for Portion { name, amount, .. } in portions {
            let Some(used) = self.used.get_mut(name) else { continue };
            if let Some(has) = used.by.get_mut(client) {
                *has -= amount;
                if *has == 0 {
                    used.by.remove(client);
                }
            }
            if used.by.is_empty() {
                self.used.remove(name);
            }
        }
    }

    /// Lets begin who may.
    pub fn settle(&mut self) -> Vec<Granted> {
        let mut granted = Vec::new();
        while let Some((nth, portions)) = self.next() {
            let (ticket, _) = self.waiting.remove(nth);
            self.n_granted += 1;
            self.last_turns.insert(ticket.client.clone(), self.n_granted);
            self.hold(ticket.clone(), portions.clone());
            granted.push((ticket, portions));
        }
        granted
    }

    /// Returns whose turn it is and what it gets.
    fn next(&self) -> Option<(usize, Vec<Portion>)> {
        // Mostly nobody waits but the one who asks.
        if let [(ticket, takes)] = &self.waiting[..] {
            return self.fit(&ticket.client, takes, &BTreeMap::new()).ok().map(|portions| (0, portions));
        }
        let mut ranks: HashMap<&ClientId, (u128, u64)> = HashMap::new();
        for (Ticket { client, .. }, _) in &self.waiting {
            let last_turn = || self.last_turns.get(client).copied().unwrap_or(0);
            ranks.entry(client).or_insert_with(|| (self.dominant_share(client), last_turn()));
        }
        let mut turns: Vec<usize> = (0..self.waiting.len()).collect();
        turns.sort_by_key(|&nth| ranks[&self.waiting[nth].0.client]);
        let mut kept: BTreeMap<&str, u64> = BTreeMap::new();
        for nth in turns {
            let (ticket, takes) = &self.waiting[nth];
            match self.fit(&ticket.client, takes, &kept) {
                Ok(portions) => return Some((nth, portions)),
                Err(lacking) => {
                    for portion in lacking.iter().flat_map(|take| &take.of) {
                        *kept.entry(&portion.name).or_default() += portion.amount;
                    }
                }
            }
        }
        None
    }

    /// Returns the largest part that a client has of anything.
    fn dominant_share(&self, client: &ClientId) -> u128 {
        let share = |used: &Used| {
            used.by.get(client).map(|amount| u128::from(*amount) * WHOLE / u128::from(used.there_is.max(1)))
        };
        self.used.values().filter_map(share).max().unwrap_or(0)
    }

    /// Chooses portions for a client, or returns what it lacks.
    fn fit<'t>(
        &self,
        client: &ClientId,
        takes: &'t [Take],
        kept: &BTreeMap<&str, u64>,
    ) -> Result<Vec<Portion>, Vec<&'t Take>> {
        let (mut portions, mut lacking) = (Vec::with_capacity(takes.len()), Vec::new());
        for take in takes {
            let has_room = |portion: &&Portion| self.has_room(client, portion, kept);
            let n_before = portions.len();
            portions.extend(take.of.iter().filter(has_room).take(take.n).cloned());
            if portions.len() - n_before < take.n {
                lacking.push(take);
            }
        }
        if lacking.is_empty() { Ok(portions) } else { Err(lacking) }
    }

    fn has_room(&self, client: &ClientId, portion: &Portion, kept: &BTreeMap<&str, u64>) -> bool {
        let kept = kept.get(portion.name.as_str()).copied().unwrap_or(0);
        let Some(used) = self.used.get(&portion.name) else { return fits(0, kept, portion) };
        let used = used.by.iter().filter(|(holder, _)| !self.is_around(client, holder)).map(|(_, amount)| amount).sum();
        fits(used, kept, portion)
    }

    /// Whether the client runs within a step of this one.
    fn is_around(&self, client: &ClientId, holder: &ClientId) -> bool {
        self.around.get(client).is_some_and(|around| around.contains(holder))
    }
}

/// Whoever is alone has what it wants: its run keeps to what there is.
fn fits(used: u64, kept: u64, portion: &Portion) -> bool {
    (used == 0 && kept == 0) || used.saturating_add(kept).saturating_add(portion.amount) <= portion.there_is
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
