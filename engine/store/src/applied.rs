//! Which commits of a client are in the journal, so that one that is asked again is not applied twice.
//!
//! A client numbers its commits from 1 and sends them in order, so what is applied is everything up to the newest, but
//! for the few that were refused. Pure.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Applied {
    newest: u64,
    /// Numbers below the newest that were not applied, and that the client may still ask about.
    gaps: Vec<Range<u64>>,
}

impl Applied {
    pub fn contains(&self, no: u64) -> bool {
        no <= self.newest && !self.gaps.iter().any(|gap| gap.contains(&no))
    }

    /// Commit `no` has been applied, and the client will not ask about those below `acked_below` any more.
    pub fn insert(&mut self, no: u64, acked_below: u64) {
        if no > self.newest {
            if no > self.newest + 1 {
                self.gaps.push(self.newest + 1..no);
            }
            self.newest = no;
        } else if let Some(at) = self.gaps.iter().position(|gap| gap.contains(&no)) {
            let gap = self.gaps.remove(at);
            self.gaps.splice(at..at, [gap.start..no, no + 1..gap.end]);
        }
        for gap in &mut self.gaps {
            gap.start = gap.start.max(acked_below);
        }
        self.gaps.retain(|gap| !gap.is_empty());
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.newest.to_le_bytes().to_vec();
        for number in self.gaps.iter().flat_map(|gap| [gap.start, gap.end]) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Self {
        let mut numbers = bytes.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number));
        let newest = numbers.next().unwrap_or(0);
        let mut gaps = Vec::new();
        while let (Some(start), Some(end)) = (numbers.next(), numbers.next()) {
            gaps.push(start..end);
        }
        Self { newest, gaps }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_agrees_with_a_plain_set_for_every_number_that_may_be_asked() {
        let mut random = crate::testing::Random::new("applied");
        for _ in 0..200 {
            let (mut applied, mut set, mut refused) = (Applied::default(), BTreeSet::new(), BTreeSet::new());
            let (mut next, mut acked_below) = (1_u64, 1_u64);
            for _ in 0..60 {
                // A new one, or one that was refused before and is asked again.
                let again = refused.iter().copied().find(|no| *no >= acked_below);
                let no = again.filter(|_| random.below(4) == 0).unwrap_or(next);
                next = next.max(no + 1);
                if random.below(4) == 0 {
                    refused.insert(no);
                    continue;
                }
                refused.remove(&no);
                set.insert(no);
                acked_below = acked_below.max(no.saturating_sub(random.below(9)));
                applied.insert(no, acked_below);
                applied = Applied::decode(&applied.encode());
                for asked in acked_below..next + 3 {
                    assert_eq!(applied.contains(asked), set.contains(&asked), "{asked} of {applied:?}");
                }
            }
        }
    }

    #[test]
    fn many_refused_in_a_row_stay_small() {
        let mut applied = Applied::default();
        applied.insert(1, 1);
        applied.insert(1_000_000, 1);
        assert_eq!((applied.encode().len(), applied.contains(500_000), applied.contains(1)), (24, false, true));
    }
}
