//! What the past says about a run: how long each step takes, what should start first, when it will all be done.
//!
//! The end is found by running the scheduler itself on a clock of its own, with every step taking as long as it did
//! last time. Knows nothing of the real time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mlp_model::{CallClass, Decision, ErrorClass, NodeKind, StepId, StoreError};

use crate::context::Context;
use crate::graph::Reads;
use crate::plan::Outlook;
use crate::resolve::{Past, newest_result, step_id};
use crate::scheduler::{Command, Lookup, Need, Pool, Scheduler, Step, StepKind};
use crate::tolerance::{Member, Tolerance};

/// The length of a step in a run none of whose steps has a past.
const TYPICAL_MS: u64 = 1000;

/// When a run will be done.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Forecast {
    /// If no uncertain step has to run.
    pub seconds: f64,
    /// If every uncertain step has to run.
    pub seconds_at_most: f64,
}

/// Asks the store what the uncertain steps took last; of those that surely run, the outlook knows it.
pub(crate) fn recall_uncertain(ctx: &Context, outlook: &mut Outlook) -> Result<(), StoreError> {
    let is_uncertain = |at: &usize| matches!(outlook.steps[*at].decision, Decision::Unknown { .. });
    let uncertain: Vec<usize> = (0..outlook.steps.len()).filter(is_uncertain).collect();
    let ids: Vec<StepId> = uncertain.iter().map(|at| step_id(ctx, outlook.nodes[*at])).collect();
    ctx.store.foresee_history(&ids);
    for (at, id) in uncertain.into_iter().zip(&ids) {
        let past = newest_result(&*ctx.store, id)?.map(|result| Past::of(&result));
        outlook.steps[at].seconds = past.map(|past| past.seconds);
        outlook.steps[at].mem_bytes = past.and_then(|past| past.mem_bytes);
    }
    Ok(())
}

/// Describes the wanted nodes to the scheduler. What has the longest way of work before it goes first.
pub(crate) fn steps_of(ctx: &Context, outlook: &Outlook, needs: &[Option<Need>]) -> Vec<Step> {
    let request = &ctx.request;
    let priorities = request.graph.longest_ways(&request.is_wanted, &lengths(ctx, outlook));
    let kind = |idx: usize| match &ctx.node(idx).kind {
        _ if !request.is_wanted[idx] => StepKind::Unwanted,
        NodeKind::Gate(_) => StepKind::Gate,
        NodeKind::Release(_) => StepKind::Release,
        NodeKind::Call(_) if ctx.absence(idx).is_some() => StepKind::WithoutChampion,
        NodeKind::Call(call) => match call.class {
            CallClass::Effect => StepKind::Effect { retries: call.options.retries },
            CallClass::Source | CallClass::Step => StepKind::Call { retries: call.options.retries },
        },
    };
    (0..ctx.pipeline.nodes.len())
        .map(|idx| {
            let kind = kind(idx);
            let is_wanted = kind != StepKind::Unwanted;
            let all = if is_wanted { request.graph.inputs(idx) } else { Vec::new() };
            let reads = if is_wanted { Reads::of(&ctx.pipeline, idx) } else { Reads::default() };
            let is_read = |input: &usize| reads.needs.contains(input) || reads.collects.contains(input);
            // What does the same as another step waits for it, and has its result.
            let is_call = matches!(kind, StepKind::Call { .. } | StepKind::Effect { .. });
            let twin = outlook.twin_of[idx].filter(|twin| is_call && !all.contains(twin));
            Step {
                kind,
                awaits: all.into_iter().filter(|input| !is_read(input)).collect(),
                inputs: reads.needs.into_iter().collect(),
                collects: reads.collects.into_iter().collect(),
                twin,
                priority: priorities[idx],
                need: needs[idx].clone(),
            }
        })
        .collect()
}

/// Returns what may fail among the nodes that are part of it.
pub(crate) fn tolerance(ctx: &Context, is_part: impl Fn(usize) -> bool) -> Tolerance {
    let nodes = ctx.pipeline.nodes.iter().enumerate();
    Tolerance::new(nodes.map(|(idx, node)| if is_part(idx) { node.into() } else { Member::default() }))
}

/// Returns how long each node takes, in milliseconds: nothing, where nothing runs.
fn lengths(ctx: &Context, outlook: &Outlook) -> Vec<u64> {
    let to_ms = |seconds: f64| ((seconds * 1000.0) as u64).max(1);
    let mut known: Vec<u64> = outlook.steps.iter().filter_map(|step| step.seconds).map(to_ms).collect();
    known.sort_unstable();
    let typical = known.get(known.len() / 2).copied().unwrap_or(TYPICAL_MS);
    let mut lengths = vec![0; ctx.pipeline.nodes.len()];
    for (step, &node) in outlook.steps.iter().zip(&outlook.nodes) {
        if matches!(step.decision, Decision::Run | Decision::Unknown { .. }) {
            lengths[node] = step.seconds.map_or(typical, to_ms);
        }
    }
    lengths
}

pub(crate) fn forecast(ctx: &Context, outlook: &Outlook, steps: &[Step], pool: &Pool) -> Forecast {
    let has = |wanted: fn(&Decision) -> bool| outlook.steps.iter().any(|step| wanted(&step.decision));
    let runs = has(|decision| matches!(decision, Decision::Run));
    if !runs {
        return Forecast::default();
    }
    let tolerance = tolerance(ctx, |idx| ctx.request.is_wanted[idx]);
    let end = |uncertain_run| {
        let fates = fates(ctx, outlook, uncertain_run);
        end_of(steps.to_vec(), pool.clone(), tolerance.clone(), &fates)
    };
    let seconds = end(false);
    let is_certain = !has(|decision| matches!(decision, Decision::Unknown { .. }));
    Forecast { seconds, seconds_at_most: if is_certain { seconds } else { end(true) } }
}

/// What becomes of a step in a run that is only imagined.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Runs { micros: u64 },
    Reused,
    Never,
}

fn fates(ctx: &Context, outlook: &Outlook, uncertain_run: bool) -> Vec<Fate> {
    let mut fates = vec![Fate::Never; ctx.pipeline.nodes.len()];
    for (step, &node) in outlook.steps.iter().zip(&outlook.nodes) {
        let runs = Fate::Runs { micros: (step.seconds.unwrap_or(0.0).max(0.0) * 1e6) as u64 };
        fates[node] = match step.decision {
            Decision::Run => runs,
            Decision::Unknown { .. } if uncertain_run && outlook.twin_of[node].is_none() => runs,
            Decision::Unknown { .. } | Decision::Reuse { .. } => Fate::Reused,
            Decision::Skip | Decision::Fail | Decision::Decide => Fate::Never,
        };
    }
    fates
}

/// Lets the scheduler run through all steps and returns after how many seconds the last one ends.
fn end_of(steps: Vec<Step>, pool: Pool, tolerance: Tolerance, fates: &[Fate]) -> f64 {
    let mut scheduler = Scheduler::new(steps, pool, tolerance, true);
    let mut now = 0;
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    scheduler.on_started();
    loop {
        while let Some(command) = scheduler.next_command() {
            match command {
                Command::ResolveKey { step } => match fates[step] {
                    Fate::Runs { .. } => scheduler.on_key_resolved(step, Lookup::Miss),
                    Fate::Reused => scheduler.on_key_resolved(step, Lookup::Hit),
                    Fate::Never => _ = scheduler.on_failed(step, ErrorClass::User),
                },
                Command::Claim { step } => scheduler.on_claimed(step, &[]),
                Command::StartStep { step, .. } => {
                    let Fate::Runs { micros } = fates[step] else { continue };
                    ends.push(Reverse((now + micros, step)));
                }
                Command::DecideGate { step } | Command::DecideRelease { step, .. } => scheduler.on_decided(step),
                Command::Pause { step } => scheduler.on_paused(step),
                Command::Skip { .. } | Command::GiveUp { .. } | Command::CancelStep { .. } => {}
            }
        }
        let Some(Reverse((at, step))) = ends.pop() else { return now as f64 / 1e6 };
        now = at;
        scheduler.on_written(step);
        scheduler.on_committed(step);
    }
}

#[cfg(test)]
mod tests {
    use mlp_model::{Demand, Machine};

    use super::*;

    /// Steps with seconds, inputs and cores, on so many cores.
    fn seconds(steps: &[(f64, &[usize], u32)], jobs: usize) -> f64 {
        let pool = Pool::new(jobs, &Machine::default());
        let need = |cpu| pool.need(&Demand { cpu: Some(cpu), ..Demand::default() }, &Demand::default()).unwrap();
        let step = |(_, inputs, cpu): &(f64, &[usize], u32)| Step {
            kind: StepKind::Call { retries: 0 },
            inputs: inputs.to_vec(),
            collects: vec![],
            awaits: vec![],
            twin: None,
            priority: 0,
            need: Some(need(*cpu)),
        };
        let fates: Vec<Fate> = steps.iter().map(|step| Fate::Runs { micros: (step.0 * 1e6) as u64 }).collect();
        end_of(steps.iter().map(step).collect(), pool, Tolerance::default(), &fates)
    }

    #[test]
    fn a_run_takes_as_long_as_its_steps_need_on_its_cores() {
        let mixed: [(f64, &[usize], u32); 4] = [(2.0, &[], 1), (3.0, &[], 1), (4.0, &[0], 1), (1.0, &[0, 1], 2)];
        assert_eq!(seconds(&mixed[..3], 1), 9.0);
        // 0 and 1 side by side; 2 from 2 to 6; 3 needs both cores and has them when 2 is done.
        assert_eq!(seconds(&mixed[..3], 2), 6.0);
        assert_eq!(seconds(&mixed, 2), 7.0);
        assert_eq!(seconds(&[], 2), 0.0);
    }
}
