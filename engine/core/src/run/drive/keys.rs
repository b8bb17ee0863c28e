//! The run loop's part in keys: resolves them, reuses results, claims the right to execute.

use std::sync::Arc;

use mlp_model::{Event, Record, StepError};

use super::{Drive, Message};
use crate::fault::bug;
use crate::resolve::{self, Hit, Lookup, Resolved, bind_inputs};
use crate::run::claim::{self, Grant};
use crate::scheduler::{self, State};

impl<F: FnMut(&Event) + Send> Drive<'_, F> {
    pub(super) fn resolve_key(&mut self, step: usize) {
        if let Some(foreseen) = self.foreseen.get_mut(step).and_then(Option::take) {
            return match foreseen {
                Ok(resolved) => self.on_resolved(step, resolved),
                Err(error) => self.on_failed(step, error),
            };
        }
        let bound = bind_inputs(&self.ctx, step, &self.outputs);
        self.work(
            step,
            move |ctx| bound.and_then(|inputs| resolve::resolve(ctx, step, inputs)),
            move |result| Message::Resolved { step, result },
        );
    }

    pub(super) fn on_resolved(&mut self, step: usize, resolved: Arc<Resolved>) {
        if self.scheduler.state(step) != State::Resolving {
            return;
        }
        let hit = match &resolved.lookup {
            Lookup::Hit(hit) => Some(Arc::clone(hit)),
            Lookup::Miss(_) => None,
        };
        self.resolved[step] = Some(resolved);
        match hit {
            Some(hit) => self.on_hit(step, &hit),
            None => self.scheduler.on_key_resolved(step, scheduler::Lookup::Miss),
        }
    }

    fn on_hit(&mut self, step: usize, hit: &Hit) {
        self.outputs[step] = Some(hit.result.outputs.clone().into());
        self.outcome.steps.reused += 1;
        let at = (self.clock)();
        self.records.push(Record::StepReused {
            run: self.request.run.clone(),
            step: self.step_id(step),
            key: hit.result.key,
            at,
        });
        let early_cutoff = self.scheduler.inputs(step).iter().any(|&input| self.is_executed[input]);
        self.emit(Event::StepReused {
            run: self.request.run.clone(),
            step: self.name(step),
            from_run: hit.run.clone(),
            outputs: hit.result.outputs.clone(),
            facts: hit.result.facts.clone(),
            early_cutoff,
        });
        self.scheduler.on_key_resolved(step, scheduler::Lookup::Hit);
    }

    pub(super) fn claim(&mut self, step: usize) {
        match self.resolved[step].clone() {
            Some(resolved) => {
                tokio::spawn(claim::claim(Arc::clone(&self.ctx), step, resolved, self.tell.clone()));
            }
            None => self.on_failed(step, bug("N6301", format!("step `{}` has no key", self.name(step)))),
        }
    }

    pub(super) fn on_claimed(&mut self, step: usize, result: Result<Grant, StepError>) {
        if !matches!(self.scheduler.state(step), State::Claiming | State::Awaiting) {
            return;
        }
        match result {
            Ok(Grant::Reuse(hit)) => self.on_hit(step, &hit),
            Ok(Grant::Execute(lease)) => {
                if let Some(lease) = lease {
                    self.leases.insert(step, lease);
                }
                self.scheduler.on_claimed(step);
            }
            Err(error) => self.on_failed(step, error),
        }
    }
}
