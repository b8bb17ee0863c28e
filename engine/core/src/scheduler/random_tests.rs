//! Random graphs and random events: runs that must keep the invariants.

use std::collections::BTreeMap;

use mlp_model::Round;
use proptest::prelude::*;

use super::Command::*;
use super::tests::{one_core, pool};
use super::*;
use crate::tolerance::Member;

/// What is under way in a random run, waiting for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Key(usize),
    Claim(usize),
    Delayed(usize),
    Run(usize),
    Pause(usize),
    Commit(usize),
    Decide(usize),
}

/// A random graph, and the rounds of its steps.
#[derive(Debug, Clone)]
struct Graph {
    steps: Vec<Step>,
    rounds: Vec<Vec<Round>>,
    /// By itself.
    may_fail: Vec<bool>,
}

/// What may be known of a random node: its kind, retries, earlier nodes as inputs, whether it can do without those of lost rounds and
/// whether the run can do without it, and its rounds of the outer and the inner loop, if it is in any.
type RandomNode = (u8, u32, Vec<prop::sample::Index>, (bool, bool), Option<u8>, Option<u8>);

/// A random graph: steps of two loops, one in the other, that tolerate so many failed rounds; steps that are in none, gates,
/// releases, effects. Whoever reads of a round from outside waits for all rounds, and the loop has no steps after it.
fn random_graph() -> impl Strategy<Value = Graph> {
    let round = || proptest::option::weighted(0.6, 0..3u8);
    let inputs = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    let flags = (any::<bool>(), proptest::bool::weighted(0.2));
    let node = (0..12u8, 0..3u32, inputs, flags, round(), round());
    let nodes = proptest::collection::vec(node, 1..24);
    (nodes, 0..3u32, 0..3u32).prop_map(|(nodes, outer, inner)| graph_of(nodes, outer, inner))
}

fn graph_of(nodes: Vec<RandomNode>, outer: u32, inner: u32) -> Graph {
    let mut graph = Graph { steps: Vec::new(), rounds: Vec::new(), may_fail: Vec::new() };
    let mut closed: Vec<String> = Vec::new();
    for (kind, retries, inputs, (collects, may_fail), in_outer, in_inner) in nodes {
        let kind = match kind {
            0 => StepKind::Gate,
            1 => StepKind::Release,
            2 => StepKind::WithoutChampion,
            3 => StepKind::Effect { retries },
            _ => StepKind::Call { retries },
        };
        let mut rounds = Vec::new();
        if let (StepKind::Call { .. } | StepKind::WithoutChampion, Some(key)) = (kind, in_outer) {
            let within = in_inner.map(|n| Round { of: format!("o[{key}].i"), key: n.to_string(), tolerated: inner });
            rounds.extend(within.filter(|round| !closed.contains(&round.of)));
            rounds.push(Round { of: "o".into(), key: key.to_string(), tolerated: outer });
        }
        if closed.contains(&"o".to_owned()) {
            rounds.clear();
        }
        // Calls read calls, gates read calls, releases and effects read both; nobody reads those. No round reads another one.
        let may_read = |input: usize| {
            let may_be_read = match graph.steps[input].kind {
                StepKind::Gate => matches!(kind, StepKind::Release | StepKind::Effect { .. }),
                StepKind::Call { .. } | StepKind::WithoutChampion => true,
                _ => false,
            };
            let another = |of: &Round| rounds.iter().any(|own| own.of == of.of && own.key != of.key);
            may_be_read && !graph.rounds[input].iter().any(another)
        };
        let n_steps = graph.steps.len();
        let mut inputs: Vec<usize> =
            if n_steps == 0 { vec![] } else { inputs.iter().map(|input| input.index(n_steps)).collect() };
        inputs.retain(|&input| may_read(input));
        inputs.sort_unstable();
        inputs.dedup();
        let left = |input: &usize| graph.rounds[*input].iter().filter(|round| !rounds.contains(round));
        let is_collected = |input: &usize| collects && kind != StepKind::Release && left(input).next().is_some();
        let loops: Vec<String> = inputs.iter().flat_map(left).map(|round| round.of.clone()).collect();
        let (of_rounds, inputs): (Vec<usize>, Vec<usize>) = inputs.iter().partition(|input| is_collected(input));
        let is_read = |node: &usize| of_rounds.contains(node) || inputs.contains(node);
        let in_loops = |node: &usize| graph.rounds[*node].iter().any(|round| loops.contains(&round.of));
        let awaits = (0..n_steps).filter(|node| !is_read(node) && in_loops(node)).collect();
        closed.extend(loops);
        graph.steps.push(Step { kind, inputs, collects: of_rounds, awaits, twin: None, priority: 0, need: one_core() });
        graph.rounds.push(rounds);
        graph.may_fail.push(may_fail);
    }
    let steps = &mut graph.steps;
    for idx in (0..steps.len()).rev() {
        let longest = (idx + 1..steps.len()).filter(|&next| steps[next].bonds().any(|(other, _)| other == idx));
        steps[idx].priority = 1 + longest.map(|next| steps[next].priority).max().unwrap_or(0);
    }
    graph
}

impl Graph {
    /// Counts afresh which of the failed steps are tolerated: those of loops that have not failed.
    fn tolerated(&self, failures: &[(usize, bool)]) -> Vec<usize> {
        let (forgone, failures): (Vec<_>, Vec<_>) =
            failures.iter().copied().partition(|(step, is_tolerable)| *is_tolerable && self.may_fail[*step]);
        let mut has_failed: BTreeMap<&str, bool> = BTreeMap::new();
        // The inner loops first: what they do not tolerate fails the round around them.
        for depth in [2, 1] {
            let mut failed_rounds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for &(step, is_tolerable) in &failures {
                let rounds = &self.rounds[step];
                let Some(round) = rounds.len().checked_sub(depth).map(|at| &rounds[at]) else { continue };
                let is_absorbed = depth == 1 && rounds.len() == 2 && !has_failed[rounds[0].of.as_str()];
                if !is_tolerable {
                    has_failed.insert(&round.of, true);
                } else if !is_absorbed {
                    failed_rounds.entry(&round.of).or_default().push(&round.key);
                }
                has_failed.entry(&round.of).or_default();
            }
            for (of, mut keys) in failed_rounds {
                let of_loop = || self.rounds.iter().flatten().filter(|round| round.of == of);
                let mut all: Vec<&str> = of_loop().map(|round| round.key.as_str()).collect();
                for keys in [&mut keys, &mut all] {
                    keys.sort_unstable();
                    keys.dedup();
                }
                let tolerated = of_loop().next().map_or(0, |round| round.tolerated as usize);
                *has_failed.entry(of).or_default() |= keys.len() > tolerated || keys.len() == all.len();
            }
        }
        let is_tolerated = |step: usize| self.rounds[step].iter().any(|round| !has_failed[round.of.as_str()]);
        let of_rounds = failures.iter().filter(|(step, is_tolerable)| *is_tolerable && is_tolerated(*step));
        forgone.iter().chain(of_rounds).map(|(step, _)| *step).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever the graph and whatever happens: nothing starts before its inputs exist, slots and attempts are kept
    /// to, every step ends exactly once, and after a failure or a cancel nothing new begins.
    #[test]
    fn every_run_keeps_the_invariants(
        graph in random_graph(),
        jobs in 1..4usize,
        keep_going in any::<bool>(),
        dice in proptest::collection::vec((any::<prop::sample::Index>(), 0..20u8), 1000),
        cancel_at in proptest::option::of(0..60usize),
    ) {
        let steps = &graph.steps;
        let members = graph.rounds.iter().zip(&graph.may_fail).map(|(rounds, &may_fail)| Member { rounds, may_fail });
        let mut scheduler = Scheduler::new(steps.clone(), pool(jobs), Tolerance::new(members), keep_going);
        scheduler.on_started();
        let mut pending: Vec<Pending> = Vec::new();
        let mut failures: Vec<(usize, bool)> = Vec::new();
        // What each step went on without when it began.
        let mut went_without: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut n_ends = vec![0; steps.len()];
        let mut n_starts = vec![0u32; steps.len()];
        let mut n_running = 0;
        let mut is_stopped = false;
        let mut commit_failed = false;
        for (nth, (pick, luck)) in dice.into_iter().enumerate() {
            while let Some(command) = scheduler.next_command() {
                match command {
                    ResolveKey { step } => {
                        prop_assert!(!is_stopped);
                        let is_lost = |input: &usize| scheduler.tolerance().is_lost(*input, step);
                        went_without.insert(step, steps[step].collects.iter().copied().filter(is_lost).collect());
                        pending.push(Pending::Key(step));
                    }
                    Claim { step } => {
                        prop_assert!(!is_stopped);
                        pending.push(Pending::Claim(step));
                    }
                    StartStep { step, attempt } => {
                        prop_assert!(!is_stopped);
                        for &other in &steps[step].awaits {
                            let state = scheduler.state(other);
                            prop_assert!(state == State::Written || state.has_ended(), "{other} is {state:?}");
                        }
                        let without = &went_without[&step];
                        let collected = steps[step].collects.iter().filter(|input| !without.contains(input));
                        for &input in steps[step].inputs.iter().chain(collected) {
                            let state = scheduler.state(input);
                            let is_there = match steps[step].kind {
                                StepKind::Effect { .. } => {
                                    matches!(state, State::Executed | State::Reused | State::Decided)
                                }
                                _ => matches!(state, State::Written | State::Executed | State::Reused),
                            };
                            prop_assert!(is_there, "step {step} started while {input} was {state:?}");
                        }
                        n_starts[step] += 1;
                        prop_assert_eq!(attempt, n_starts[step]);
                        let (StepKind::Call { retries } | StepKind::Effect { retries }) = steps[step].kind else {
                            panic!("only calls start")
                        };
                        prop_assert!(attempt <= retries + 1);
                        n_running += usize::from(!scheduler.is_light(step));
                        prop_assert!(n_running <= jobs);
                        pending.push(Pending::Run(step));
                    }
                    DecideGate { step } | DecideRelease { step, .. } => {
                        for (input, _) in steps[step].bonds() {
                            prop_assert!(scheduler.state(input).has_ended());
                        }
                        pending.push(Pending::Decide(step));
                    }
                    Pause { step } => pending.push(Pending::Pause(step)),
                    GiveUp { step, .. } => {
                        n_ends[step] += 1;
                        failures.push((step, false));
                        prop_assert!(n_starts[step] > 0);
                        prop_assert_eq!(scheduler.state(step), State::Failed);
                    }
                    Skip { step, because } => {
                        n_ends[step] += 1;
                        prop_assert_eq!(n_starts[step], 0);
                        match because {
                            Because::Failed { step: root } => {
                                prop_assert_eq!(scheduler.state(root), State::Failed);
                            }
                            Because::Forgone { step: root } => {
                                prop_assert!(graph.may_fail[root] && scheduler.state(root) == State::Failed);
                                prop_assert!(steps[step].kind != StepKind::Gate, "a gate decides without it");
                            }
                            Because::LeftOut { step: root, .. } => {
                                prop_assert!(n_starts[root] > 0 || scheduler.state(root) == State::Reused);
                                prop_assert!(steps[step].kind != StepKind::Gate, "a gate decides without it");
                            }
                            Because::NoChampion { step: root } => {
                                prop_assert_eq!(steps[root].kind, StepKind::WithoutChampion);
                            }
                            Because::Refused { step: gate } => {
                                prop_assert_eq!((steps[gate].kind, scheduler.state(gate)), (StepKind::Gate, State::Decided));
                            }
                            Because::Stopped { .. } => prop_assert!(!keep_going),
                            Because::Cancelled => prop_assert!(cancel_at.is_some()),
                            Because::OverBudget { step: root } => {
                                prop_assert!(matches!(scheduler.state(root), State::Skipped | State::Failed));
                            }
                        }
                    }
                    CancelStep { step, .. } => prop_assert_eq!(scheduler.state(step), State::Running),
                }
            }
            if pending.is_empty() {
                break;
            }
            if cancel_at == Some(nth) {
                scheduler.on_cancel(Cancel::Gently);
                is_stopped = true;
                continue;
            }
            match pending.swap_remove(pick.index(pending.len())) {
                Pending::Key(step) => {
                    let was_open = !scheduler.state(step).has_ended();
                    match luck {
                        0 => {
                            scheduler.on_failed(step, ErrorClass::User);
                            if was_open {
                                failures.push((step, true));
                            }
                            is_stopped |= was_open && !keep_going && !scheduler.tolerance().is_tolerated(step);
                            n_ends[step] += usize::from(was_open);
                        }
                        19 if let Some(&gate) = steps[step].inputs.iter().find(|&&i| steps[i].kind == StepKind::Gate) => {
                            scheduler.on_refused(step, gate);
                        }
                        18 if let Some(&input) = steps[step].inputs.first() && steps[input].kind != StepKind::Gate => {
                            scheduler.on_left_out(step, input, 0);
                        }
                        1..8 => {
                            scheduler.on_key_resolved(step, Lookup::Hit);
                            n_ends[step] += usize::from(was_open);
                        }
                        8 | 9 => scheduler.on_key_resolved(step, Lookup::LightMiss),
                        _ => scheduler.on_key_resolved(step, Lookup::Miss),
                    }
                }
                Pending::Claim(step) if luck < 5 => {
                    scheduler.on_claim_delayed(step);
                    pending.push(Pending::Delayed(step));
                }
                Pending::Delayed(step) if luck < 5 => {
                    let was_open = !scheduler.state(step).has_ended();
                    scheduler.on_key_resolved(step, Lookup::Hit);
                    n_ends[step] += usize::from(was_open);
                }
                Pending::Claim(step) if luck == 19 => scheduler.on_over_budget(step),
                Pending::Pause(step) if luck < 3 => scheduler.on_over_budget(step),
                Pending::Pause(step) => scheduler.on_paused(step),
                Pending::Claim(step) | Pending::Delayed(step) => scheduler.on_claimed(step, &[]),
                Pending::Run(step) => {
                    n_running -= usize::from(!scheduler.is_light(step));
                    if luck < 6 {
                        let class = [ErrorClass::Step, ErrorClass::Data, ErrorClass::Environment][usize::from(luck % 3)];
                        if !scheduler.on_failed(step, class) {
                            n_ends[step] += 1;
                            failures.push((step, class != ErrorClass::Environment));
                            is_stopped |= !keep_going && !scheduler.tolerance().is_tolerated(step);
                        }
                    } else {
                        scheduler.on_written(step);
                        pending.push(Pending::Commit(step));
                    }
                }
                Pending::Commit(step) => {
                    if luck == 0 {
                        scheduler.on_failed(step, ErrorClass::Environment);
                        failures.push((step, false));
                        commit_failed = true;
                        is_stopped |= !keep_going;
                    } else {
                        scheduler.on_committed(step);
                    }
                    n_ends[step] += 1;
                }
                Pending::Decide(step) => {
                    scheduler.on_decided(step);
                    n_ends[step] += 1;
                }
            }
        }
        prop_assert!(pending.is_empty());
        prop_assert!(scheduler.is_done());
        prop_assert!(n_ends.iter().all(|&n| n == 1), "ends: {n_ends:?}");
        for (idx, step) in steps.iter().enumerate() {
            let needs_a_failed = step.inputs.iter().any(|&input| scheduler.state(input) == State::Failed);
            if needs_a_failed && matches!(step.kind, StepKind::Call { .. }) && !commit_failed {
                prop_assert_eq!(scheduler.state(idx), State::Skipped);
            }
            let is_lost = |input: &usize| scheduler.tolerance().is_lost(*input, idx);
            let is_absent = |input: &usize| matches!(scheduler.state(*input), State::Failed | State::Skipped);
            if matches!(step.kind, StepKind::Call { .. }) && !commit_failed {
                // Whoever ran went on without the rounds that are known to have failed in the end, and without no other.
                let lost: Vec<usize> = step.collects.iter().copied().filter(is_lost).collect();
                let has_begun = scheduler.state(idx) != State::Skipped;
                prop_assert!(!has_begun || went_without[&idx] == lost);
                prop_assert!(!has_begun || !step.collects.iter().any(|input| is_absent(input) && !is_lost(input)));
            }
        }
        let tolerated = graph.tolerated(&failures);
        for (step, _) in &failures {
            prop_assert_eq!(scheduler.tolerance().is_tolerated(*step), tolerated.contains(step), "of step {}", step);
        }
    }
}
