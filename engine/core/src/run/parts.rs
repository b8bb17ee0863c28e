//! The parts of one run: what loops go over comes first, then what they give.

use std::collections::BTreeSet;

use mlp_model::{Cancel, Event, KnownValues, Pipeline, StepError, Timestamp, Value, Waits};
use tokio::sync::watch;

use super::drive::Carried;
use super::{Failure, RunOutcome, RunRequest};
use crate::Loops;
use crate::context::{Context, call_of};
use crate::unfold::read;

/// What is handed from one part to the next.
pub(super) struct Parts<'a> {
    pub request: &'a RunRequest,
    pub started_at: Timestamp,
    /// `None`: loops are not unfolded.
    pub loops: Option<Loops>,
    pub cancel: watch::Receiver<Option<Cancel>>,
    pub carried: Carried,
}

impl Parts<'_> {
    /// Returns the wanted loops that can be unfolded next: what they go over has not failed, and needs none of the others.
    pub fn open(&self, ctx: &Context) -> Vec<Waits> {
        if self.loops.is_none() || self.cancel.borrow().is_some() {
            return Vec::new();
        }
        let wanted = ctx.pipeline.nodes.iter().zip(&ctx.request.is_wanted).filter(|(_, is_wanted)| **is_wanted);
        let mut names = BTreeSet::new();
        let open = wanted.filter_map(|(node, _)| node.waits()).filter(|waits| {
            let source = &ctx.node(waits.node).name;
            let is_lost = self.carried.failed.contains_key(source) || self.carried.skipped.contains(source);
            !is_lost && !self.carried.broken.contains(&waits.name) && names.insert(waits.name.clone())
        });
        let open: Vec<Waits> = open.cloned().collect();
        let needs_another = |waits: &Waits| {
            let is_needed = ctx.request.graph.with_ancestors([waits.node]);
            let needed = ctx.pipeline.nodes.iter().zip(is_needed).filter(|(_, is_needed)| *is_needed);
            needed.filter_map(|(node, _)| node.waits()).any(|other| names.contains(&other.name))
        };
        open.iter().filter(|waits| !needs_another(waits)).cloned().collect()
    }

    /// Reads the values of loops whose tables are there by now, and asks for the pipeline with their rounds.
    pub async fn unfold<F: FnMut(&Event) + Send>(
        &mut self,
        ctx: &std::sync::Arc<Context>,
        open: &[Waits],
        outcome: &mut RunOutcome,
        on_event: &mut F,
    ) -> Option<Pipeline> {
        let mut known = KnownValues::new();
        for waits in open {
            // Where the table is missing, the next part tells what needs it why.
            let Some(done) = self.carried.done.get(&ctx.node(waits.node).name) else { continue };
            let (loops, outputs) = (self.loops.clone()?, std::sync::Arc::clone(&done.outputs));
            let (ctx, of) = (std::sync::Arc::clone(ctx), waits.clone());
            let values = blocking(move || read(&*ctx.store, &*loops.unfold, &of, outputs.iter())).await;
            match values {
                Ok(values) => _ = known.insert(waits.name.clone(), values),
                Err(error) => self.fail(&waits.name, error, outcome, on_event),
            }
        }
        if known.is_empty() {
            return None;
        }
        let loops = self.loops.as_mut()?;
        loops.known.extend(known.clone());
        let asked = loops.clone();
        match blocking(move || asked.unfold.unfold(&asked.known)).await {
            Ok(pipeline) => {
                let n_steps = pipeline.nodes.iter().filter(|node| call_of(node).is_some()).count();
                for (name, values) in known {
                    let (run, n_rounds) = (self.request.run.clone(), Vec::<Value>::len(&values));
                    on_event(&Event::LoopUnfolded { run, name, n_rounds, n_steps });
                }
                Some(pipeline)
            }
            Err(error) => {
                for name in known.keys() {
                    loops.known.remove(name);
                    self.carried.broken.insert(name.clone());
                }
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                self.fail(&names.join(", "), error, outcome, on_event);
                None
            }
        }
    }

    /// Tells that a loop cannot be unfolded.
    pub fn fail<F: FnMut(&Event) + Send>(
        &mut self,
        name: &str,
        error: StepError,
        outcome: &mut RunOutcome,
        on_event: &mut F,
    ) {
        self.carried.broken.insert(name.to_owned());
        self.refuse(vec![Failure::new(format!("{name}[..]"), error)], outcome, on_event);
    }

    /// Tells what keeps the run from going on.
    pub fn refuse<F: FnMut(&Event) + Send>(&self, failures: Vec<Failure>, outcome: &mut RunOutcome, on_event: &mut F) {
        for Failure { step, error, .. } in &failures {
            on_event(&Event::StepFailed {
                run: self.request.run.clone(),
                step: step.clone(),
                attempt: 1,
                error: error.clone(),
                will_retry: false,
                retry_in_seconds: None,
                tolerated: false,
            });
        }
        outcome.failures.extend(failures);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
