//! What a run would do with each node, as far as can be known before the first step that must run.
//!
//! The run itself begins with this very pass and goes on from what it found, so plan and run cannot disagree.

use std::sync::Arc;

use mlp_model::{Decision, Pipeline, Plan, PlannedStep, StepError};

use crate::context::{Context, Request, call_of};
use crate::resolve::{Known, Lookup, Resolved, bind_inputs, resolve};
use crate::{Engine, RunError};

impl Engine {
    /// Returns what a run with the same targets and forced steps would do.
    pub fn plan(&self, pipeline: &Pipeline, targets: &[String], force: &[String]) -> Result<Plan, RunError> {
        let request = Request::check(pipeline, targets, force)?;
        let ctx = self.gather(Arc::new(pipeline.clone()), request)?;
        Ok(Plan { pipeline: pipeline.name.clone(), steps: Outlook::new(&ctx).steps })
    }
}

/// What is known of a request before anything runs.
pub(crate) struct Outlook {
    pub steps: Vec<PlannedStep>,
    /// For each node that could be resolved: its key, or why it has none.
    pub resolved: Vec<Option<Result<Arc<Resolved>, StepError>>>,
}

/// What a node's dependents can count on.
#[derive(Clone)]
enum Fate {
    Known,
    /// Its outputs are known once this step has run.
    Open {
        until: String,
    },
    Absent {
        reason: String,
    },
}

impl Outlook {
    pub(crate) fn new(ctx: &Context) -> Self {
        let n_nodes = ctx.pipeline.nodes.len();
        let mut outlook = Self { steps: Vec::new(), resolved: vec![None; n_nodes] };
        let mut known: Known = vec![None; n_nodes];
        let mut fates: Vec<Option<Fate>> = vec![None; n_nodes];
        for &idx in ctx.request.graph.order().iter().filter(|&&idx| ctx.request.is_wanted[idx]) {
            let (decision, reason, fate) = outlook.look_at(ctx, idx, &mut known, &fates);
            fates[idx] = Some(fate);
            let node = ctx.node(idx);
            let op = call_of(node).map_or(String::new(), |call| call.op.clone());
            outlook.steps.push(PlannedStep { step: node.name.clone(), op, decision, reason });
        }
        outlook
    }

    fn look_at(
        &mut self,
        ctx: &Context,
        idx: usize,
        known: &mut Known,
        fates: &[Option<Fate>],
    ) -> (Decision, String, Fate) {
        let node = ctx.node(idx);
        if call_of(node).is_none() {
            return (Decision::Decide, "decided in every run".to_owned(), Fate::Known);
        }
        let skip = |reason: String| (Decision::Skip, reason.clone(), Fate::Absent { reason });
        if let Some(reason) = ctx.absence(idx) {
            return skip(reason);
        }
        let inputs: Vec<&Fate> =
            ctx.request.graph.inputs(idx).into_iter().filter_map(|input| fates[input].as_ref()).collect();
        let absent = inputs.iter().find_map(|fate| match fate {
            Fate::Absent { reason } => Some(reason),
            _ => None,
        });
        if let Some(reason) = absent {
            return skip(reason.clone());
        }
        let open = inputs.iter().find_map(|fate| match fate {
            Fate::Open { until } => Some(until),
            _ => None,
        });
        if let Some(until) = open {
            let decision = Decision::Unknown { until: until.clone() };
            return (decision, format!("unknown until `{until}` has run"), Fate::Open { until: until.clone() });
        }
        let resolved = bind_inputs(ctx, idx, known).and_then(|inputs| resolve(ctx, idx, inputs)).map(Arc::new);
        let answer = match &resolved {
            Ok(resolved) => match &resolved.lookup {
                Lookup::Hit(hit) => {
                    known[idx] = Some(hit.result.outputs.clone().into());
                    let reason = format!("same key as in run {}", hit.run);
                    (Decision::Reuse { from_run: hit.run.to_string() }, reason, Fate::Known)
                }
                Lookup::Miss(reason) => (Decision::Run, reason.clone(), Fate::Open { until: node.name.clone() }),
            },
            Err(error) => {
                (Decision::Skip, error.message.clone(), Fate::Absent { reason: format!("`{}` cannot run", node.name) })
            }
        };
        self.resolved[idx] = Some(resolved);
        answer
    }
}
