//! Which failures a run tolerates: those of steps with `on_failure: skip`, and those of rounds of loops with `tolerate N`, up to so
//! many.
//!
//! Counts; the scheduler and the plan tell it what fails and ask what that means. A loop that loses all its rounds, or more than
//! it tolerates, fails, and so the round of the loop around it does, if there is one that tolerates that. Failures of the
//! environment, and ours, say nothing about a round: they are never tolerated.

use std::collections::HashMap;

use mlp_model::{ErrorClass, FailedRounds, Node, Round};

/// What has failed so far of what may fail.
#[derive(Debug, Clone, Default)]
pub struct Tolerance {
    loops: Vec<Loop>,
    rounds: Vec<OneRound>,
    /// The rounds of each node, from the inside out.
    of_node: Vec<Vec<usize>>,
    /// What may fail by itself, and what of that has.
    may_fail: Vec<bool>,
    is_forgone: Vec<bool>,
}

/// What of a node says whether it may fail.
#[derive(Debug, Clone, Copy, Default)]
pub struct Member<'a> {
    pub rounds: &'a [Round],
    /// By itself: it has `on_failure: skip`.
    pub may_fail: bool,
}

impl<'a> From<&'a Node> for Member<'a> {
    fn from(node: &'a Node) -> Self {
        Self { rounds: node.rounds(), may_fail: node.may_fail() }
    }
}

#[derive(Debug, Clone)]
struct Loop {
    name: String,
    tolerated: u32,
    n_rounds: usize,
    n_failed: usize,
    /// More has failed than it tolerates.
    has_failed: bool,
}

#[derive(Debug, Clone)]
struct OneRound {
    /// The loop.
    of: usize,
    key: String,
    has_failed: bool,
}

impl Tolerance {
    /// Takes each node; the default for one that is no part of what may fail.
    pub fn new<'a>(nodes: impl Iterator<Item = Member<'a>>) -> Self {
        let mut tolerance = Self::default();
        let (mut loops, mut rounds) = (HashMap::new(), HashMap::new());
        for node in nodes {
            let mut of_node = Vec::with_capacity(node.rounds.len());
            for Round { of, key, tolerated } in node.rounds {
                let of = *loops.entry(of.as_str()).or_insert_with(|| {
                    let (name, tolerated) = (of.clone(), *tolerated);
                    tolerance.loops.push(Loop { name, tolerated, n_rounds: 0, n_failed: 0, has_failed: false });
                    tolerance.loops.len() - 1
                });
                of_node.push(*rounds.entry((of, key.as_str())).or_insert_with(|| {
                    tolerance.loops[of].n_rounds += 1;
                    tolerance.rounds.push(OneRound { of, key: key.clone(), has_failed: false });
                    tolerance.rounds.len() - 1
                }));
            }
            tolerance.of_node.push(of_node);
            tolerance.may_fail.push(node.may_fail);
        }
        tolerance.is_forgone = vec![false; tolerance.may_fail.len()];
        tolerance
    }

    /// Returns whether a failure of this class may be tolerated at all.
    pub fn is_tolerable(class: ErrorClass) -> bool {
        matches!(class, ErrorClass::Step | ErrorClass::Data | ErrorClass::User)
    }

    /// A node failed for good; returns whether that is tolerated.
    pub fn on_failed(&mut self, node: usize, is_tolerable: bool) -> bool {
        if is_tolerable && self.may_fail.get(node) == Some(&true) {
            self.is_forgone[node] = true;
            return true;
        }
        for &round in self.of_node.get(node).into_iter().flatten() {
            let round = &mut self.rounds[round];
            let around = &mut self.loops[round.of];
            if is_tolerable && !std::mem::replace(&mut round.has_failed, true) {
                around.n_failed += 1;
            }
            around.has_failed |= !is_tolerable || around.n_failed > around.most_lost();
            if !around.has_failed {
                return true;
            }
        }
        false
    }

    /// Returns whether the failure of a node that has failed is tolerated, as things stand.
    pub fn is_tolerated(&self, node: usize) -> bool {
        self.is_forgone(node) || self.lost_rounds(node).next().is_some()
    }

    /// Returns whether a node has failed that may, whatever becomes of its round.
    pub fn is_forgone(&self, node: usize) -> bool {
        self.is_forgone.get(node) == Some(&true)
    }

    /// Returns whether `reader` goes on without `node`: its round has failed, which the loop tolerates, and `reader` is no part of
    /// the round.
    pub fn is_lost(&self, node: usize, reader: usize) -> bool {
        let of_reader = self.of_node.get(reader).map_or(&[][..], Vec::as_slice);
        self.lost_rounds(node).any(|round| !of_reader.contains(&round))
    }

    fn lost_rounds(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let rounds = self.of_node.get(node).into_iter().flatten().copied();
        rounds.filter(|&round| self.rounds[round].has_failed && !self.loops[self.rounds[round].of].has_failed)
    }

    /// Returns the loops of which rounds have failed.
    pub fn failed_rounds(&self) -> Vec<FailedRounds> {
        let with_failed = self.loops.iter().enumerate().filter(|(_, of)| of.n_failed > 0);
        let told = with_failed.map(|(idx, of)| {
            let failed = self.rounds.iter().filter(|round| round.of == idx && round.has_failed);
            FailedRounds {
                name: of.name.clone(),
                rounds: failed.map(|round| round.key.clone()).collect(),
                n_rounds: of.n_rounds,
                most: of.tolerated,
                tolerated: !of.has_failed,
            }
        });
        told.collect()
    }
}

impl Loop {
    /// How many rounds it can lose: one has to be left.
    fn most_lost(&self) -> usize {
        usize::try_from(self.tolerated).unwrap_or(usize::MAX).min(self.n_rounds.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(of: &str, key: &str, tolerated: u32) -> Round {
        Round { of: of.into(), key: key.into(), tolerated }
    }

    /// Nodes 0 to 3 are one round each of a loop that tolerates so many; node 4 reads them.
    fn of_four(tolerated: u32) -> Tolerance {
        let mut nodes: Vec<Vec<Round>> =
            ["a", "b", "c", "d"].iter().map(|key| vec![round("l", key, tolerated)]).collect();
        nodes.push(Vec::new());
        of(&nodes)
    }

    fn of(rounds: &[Vec<Round>]) -> Tolerance {
        Tolerance::new(rounds.iter().map(|rounds| Member { rounds, may_fail: false }))
    }

    #[test]
    fn so_many_rounds_may_fail_and_one_has_to_be_left() {
        for (tolerated, n_tolerated) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (u32::MAX, 3)] {
            let mut tolerance = of_four(tolerated);
            for node in 0..4 {
                let expected = node < n_tolerated;
                assert_eq!(tolerance.on_failed(node, true), expected, "{node} of {tolerated}");
                assert!(
                    (0..=node)
                        .all(|lost| tolerance.is_lost(lost, 4) == expected && tolerance.is_tolerated(lost) == expected)
                );
            }
        }
    }

    #[test]
    fn a_round_fails_once_and_is_lost_to_those_outside() {
        let nodes = [vec![round("l", "a", 1)], vec![round("l", "a", 1)], vec![round("l", "b", 1)], vec![]];
        let mut tolerance = of(&nodes);
        assert!(tolerance.on_failed(0, true) && tolerance.on_failed(1, true));
        // Node 1 is lost, too, whatever became of it; but node 0 is of its own round.
        assert!(
            tolerance.is_lost(1, 3) && tolerance.is_lost(0, 2) && !tolerance.is_lost(0, 1) && !tolerance.is_lost(2, 3)
        );
        let failed = FailedRounds { name: "l".into(), rounds: vec!["a".into()], n_rounds: 2, most: 1, tolerated: true };
        assert_eq!(tolerance.failed_rounds(), [failed]);
    }

    #[test]
    fn what_says_nothing_about_a_round_is_not_tolerated() {
        let mut tolerance = of_four(3);
        assert!(tolerance.on_failed(0, true) && !tolerance.on_failed(1, false));
        assert!(!tolerance.is_lost(0, 4) && !tolerance.is_tolerated(0));
        let classes = [ErrorClass::Environment, ErrorClass::Bug, ErrorClass::Cancelled];
        assert!(!classes.into_iter().any(Tolerance::is_tolerable));
    }

    #[test]
    fn a_node_that_may_fail_by_itself_does_not_fail_its_round() {
        let round = [round("l", "a", 0)];
        let nodes = [Member { rounds: &round, may_fail: true }, Member { rounds: &round, may_fail: false }];
        let mut tolerance = Tolerance::new(nodes.into_iter());
        assert!(tolerance.on_failed(0, true) && tolerance.is_tolerated(0) && tolerance.is_forgone(0));
        assert_eq!((tolerance.failed_rounds(), tolerance.is_lost(0, 2)), (vec![], false));
        assert!(!tolerance.on_failed(1, true) && !tolerance.is_forgone(1));
        let mut tolerance = Tolerance::new(nodes.into_iter());
        assert!(!tolerance.on_failed(0, false) && !tolerance.is_tolerated(0));
    }

    #[test]
    fn a_loop_that_loses_too_much_fails_the_round_around_it() {
        // Two regions of two stores each; a reader within the first region, and one outside.
        let store = |region: &str, key: &str| {
            vec![round(&format!("region[{region}].store"), key, 1), round("region", region, 1)]
        };
        let mut nodes = vec![store("a", "1"), store("a", "2"), store("b", "3"), store("b", "4")];
        nodes.extend([vec![round("region", "a", 1)], vec![]]);
        let mut tolerance = of(&nodes);
        let (within, outside) = (4, 5);
        assert!(tolerance.on_failed(0, true) && tolerance.is_lost(0, within) && tolerance.is_lost(0, outside));
        // Nothing is left in the first region.
        assert!(tolerance.on_failed(1, true));
        assert!(!tolerance.is_lost(1, within) && tolerance.is_lost(1, outside) && tolerance.is_lost(within, outside));
        assert!(tolerance.on_failed(2, true) && !tolerance.on_failed(3, true));
        assert!((0..4).all(|node| !tolerance.is_lost(node, outside)));
    }
}
