//! What a run would do with each node, as far as can be known before the first step that must run.
//!
//! The run itself begins with this very pass and goes on from what it found, so plan and run cannot disagree.

use std::collections::HashMap;
use std::sync::Arc;

use mlp_model::{Decision, KeyId, Pipeline, Plan, PlannedStep, StepError};

use crate::context::{Context, Request, call_of};
use crate::effect;
use crate::graph::Reads;
use crate::predict;
use crate::resolve::{Known, Lookup, Miss, Past, Resolved, bind_inputs, left_out, resolve, say_left_out};
use crate::run::Ahead;
use crate::tolerance::Tolerance;
use crate::{Engine, RunError, RunRequest};

impl Engine {
    /// Returns what a run of this request would do.
    ///
    /// # Errors
    /// Those of [`Engine::run`] before anything happens.
    pub fn plan(&self, pipeline: &Pipeline, request: &RunRequest) -> Result<Plan, RunError> {
        let wanted = Request::select(pipeline, request)?;
        let needs = crate::run::needs(&self.runners, pipeline, &wanted, request);
        let ctx = self.gather(Arc::new(pipeline.clone()), wanted)?;
        let ahead = Ahead::look(&ctx, needs)?;
        ahead.refuse_unmet()?;
        Ok(ahead.plan(&ctx))
    }
}

/// What is known of a request before anything runs.
pub(crate) struct Outlook {
    pub steps: Vec<PlannedStep>,
    /// The node of each of `steps`.
    pub nodes: Vec<usize>,
    /// For each node that could be resolved: its key, or why it has none.
    pub resolved: Vec<Option<Result<Arc<Resolved>, StepError>>>,
    /// For each node that does the same as another one that must run: that one, for which it waits.
    pub twin_of: Vec<Option<usize>>,
    /// Keys that must be executed, and the node that does it.
    to_run: HashMap<KeyId, usize>,
}

/// What a node's dependents can count on.
#[derive(Clone)]
enum Fate {
    Known,
    /// Its outputs are known once this step has run.
    Open {
        until: Arc<str>,
    },
    Absent {
        reason: Arc<str>,
        has_failed: bool,
    },
}

/// What is known of the nodes that have been looked at.
struct Before {
    known: Known,
    fates: Vec<Option<Fate>>,
    tolerance: Tolerance,
}

impl Before {
    /// Returns why a node will not run: what it needs is absent, or what it collects is, and the round was not allowed to
    /// fail.
    fn absent(&self, ctx: &Context, idx: usize, inputs: &[usize]) -> Option<&Arc<str>> {
        let reads = Reads::of(&ctx.pipeline, idx);
        inputs.iter().find_map(|input| match self.fates[*input].as_ref()? {
            Fate::Absent { reason, .. } if reads.needs.contains(input) => Some(reason),
            Fate::Absent { .. } if self.tolerance.is_lost(*input, idx) => None,
            Fate::Absent { reason, has_failed } if *has_failed || reads.collects.contains(input) => Some(reason),
            _ => None,
        })
    }
}

impl Outlook {
    pub(crate) fn new(ctx: &Context) -> Self {
        let n_nodes = ctx.pipeline.nodes.len();
        let mut outlook = Self {
            steps: Vec::new(),
            nodes: Vec::new(),
            resolved: vec![None; n_nodes],
            twin_of: vec![None; n_nodes],
            to_run: HashMap::new(),
        };
        let tolerance = predict::tolerance(ctx, |idx| ctx.request.is_wanted[idx]);
        let mut before = Before { known: vec![None; n_nodes], fates: vec![None; n_nodes], tolerance };
        for &idx in ctx.request.graph.order().iter().filter(|&&idx| ctx.request.is_wanted[idx]) {
            let mut planned = outlook.look_at(ctx, idx, &mut before);
            before.fates[idx] = Some(planned.fate);
            let node = ctx.node(idx);
            outlook.steps.push(PlannedStep {
                step: node.name.clone(),
                op: call_of(node).map_or(String::new(), |call| call.op.to_string()),
                decision: planned.decision,
                reason: std::mem::take(&mut planned.reason),
                seconds: planned.past.map(|past| past.seconds),
                mem_bytes: planned.past.and_then(|past| past.mem_bytes),
            });
            outlook.nodes.push(idx);
        }
        outlook
    }

    fn look_at(&mut self, ctx: &Context, idx: usize, before: &mut Before) -> Found {
        let node = ctx.node(idx);
        let found = |decision, reason: String, fate| Found { decision, reason, fate, past: None };
        if call_of(node).is_none() {
            return found(Decision::Decide, "decided in every run".to_owned(), Fate::Known);
        }
        let skip =
            |reason: Arc<str>| found(Decision::Skip, reason.to_string(), Fate::Absent { reason, has_failed: false });
        if let Some(reason) = ctx.absence(idx) {
            return skip(reason.into());
        }
        let inputs = ctx.request.graph.inputs(idx);
        if let Some(reason) = before.absent(ctx, idx, &inputs) {
            return skip(Arc::clone(reason));
        }
        let inputs = || inputs.iter().filter_map(|&input| before.fates[input].as_ref());
        if let Some(left_out) = left_out(ctx, idx, &before.known, &before.tolerance) {
            return skip(say_left_out(ctx, left_out).into());
        }
        let wait_for = |until: Arc<str>, reason| {
            found(Decision::Unknown { until: until.to_string() }, reason, Fate::Open { until })
        };
        let open = inputs().find_map(|fate| match fate {
            Fate::Open { until } => Some(until),
            _ => None,
        });
        if let Some(until) = open {
            return wait_for(Arc::clone(until), format!("unknown until `{until}` has run"));
        }
        if let Some(waits) = node.waits() {
            let until: Arc<str> = ctx.node(waits.node).name.as_str().into();
            return wait_for(Arc::clone(&until), format!("unknown until `{until}` has run"));
        }
        let bound = bind_inputs(ctx, idx, &before.known, &before.tolerance);
        let resolved = bound.and_then(|inputs| resolve(ctx, idx, inputs)).map(Arc::new);
        let answer = match &resolved {
            Ok(resolved) => match &resolved.lookup {
                Lookup::Hit(hit) => {
                    before.known[idx] = Some(hit.result.outputs.clone().into());
                    let reason = match effect::is_effect(ctx, idx) {
                        true => effect::done(hit),
                        false => format!("same key as in run {}", hit.run),
                    };
                    found(Decision::Reuse { from_run: hit.run.to_string() }, reason, Fate::Known)
                }
                Lookup::Miss(miss) => {
                    self.twin_of[idx] = self.to_run.get(&resolved.id).copied();
                    match self.twin_of[idx] {
                        // Looked up again when the other one has run.
                        Some(twin) if !ctx.request.is_forced[idx] => {
                            let name = &ctx.node(twin).name;
                            return wait_for(name.as_str().into(), format!("does the same as `{name}`, which runs"));
                        }
                        // Forced: runs as well, but after the other one, which would else find its result.
                        Some(_) => {}
                        None => _ = self.to_run.insert(resolved.id, idx),
                    }
                    undone(ctx, idx, miss).unwrap_or_else(|| {
                        let fate = Fate::Open { until: node.name.as_str().into() };
                        Found { past: miss.past, ..found(Decision::Run, miss.reason.clone(), fate) }
                    })
                }
            },
            Err(error) => {
                before.tolerance.on_failed(idx, Tolerance::is_tolerable(error.class));
                let reason = format!("`{}` cannot run", node.name).into();
                found(Decision::Fail, error.message.clone(), Fate::Absent { reason, has_failed: true })
            }
        };
        self.resolved[idx] = Some(resolved);
        answer
    }
}

/// Returns what becomes of an effect that is not done; `None` for any other step.
fn undone(ctx: &Context, idx: usize, miss: &Miss) -> Option<Found> {
    if !effect::is_effect(ctx, idx) {
        return None;
    }
    let gates: Vec<&str> = ctx.call(idx).options.gates.iter().map(|gate| ctx.node(*gate).name.as_str()).collect();
    let (decision, when) = match gates.split_last() {
        None => (Decision::Run, String::new()),
        Some((only, [])) => (Decision::Unknown { until: (*only).to_owned() }, format!(" if gate `{only}` passes")),
        Some((last, others)) => {
            let when = format!(" if gates `{}` and `{last}` pass", others.join("`, `"));
            (Decision::Unknown { until: (*last).to_owned() }, when)
        }
    };
    let reason = format!("effect: to do{when}: {}", miss.reason);
    // Nothing depends on it.
    Some(Found { decision, reason, fate: Fate::Known, past: miss.past })
}

impl Outlook {
    /// Returns how many steps run or may have to, of which nobody knows how long they take.
    pub(crate) fn n_without_past(&self) -> usize {
        let runs = |decision: &Decision, node: usize| match decision {
            Decision::Run => true,
            // One that does the same as another takes no time of its own.
            Decision::Unknown { .. } => self.twin_of[node].is_none(),
            _ => false,
        };
        let steps = self.steps.iter().zip(&self.nodes);
        steps.filter(|(step, node)| runs(&step.decision, **node) && step.seconds.is_none()).count()
    }
}

struct Found {
    decision: Decision,
    reason: String,
    fate: Fate,
    past: Option<Past>,
}
