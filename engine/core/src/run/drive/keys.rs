//! The run loop's part in keys: resolves them, reuses results, claims the right to execute.

use std::sync::Arc;
use std::time::Duration;

use mlp_model::{Claim, Event, Record, StepError, StoreError, fail_point};
use tokio::time::Instant;

use super::{Drive, Message};
use crate::answer::answer;
use crate::context::call_of;
use crate::effect::IDEMPOTENCY_KEY;
use crate::fault::{bug, store_trouble};
use crate::graph::Reads;
use crate::resolve::{self, Hit, Lookup, Resolved, bind_inputs};
use crate::run::claim::{self, Grant};
use crate::run::light;
use crate::scheduler::{self, State};

/// So many keys are looked up together at most, with one question.
const MAX_TOGETHER: usize = 64;

impl<F: FnMut(&Event) + Send> Drive<'_, F> {
    pub(super) fn resolve_key(&mut self, step: usize) {
        if let Some(waits) = self.ctx.node(step).waits() {
            let message =
                format!("`{}` was started before the values of loop `{}` were known", self.name(step), waits.name);
            return self.on_failed(step, bug("N6301", message));
        }
        if let Some(foreseen) = self.foreseen.get_mut(step).and_then(Option::take) {
            return match foreseen {
                Ok(resolved) => self.on_resolved(step, resolved),
                Err(error) => self.on_failed(step, error),
            };
        }
        if let Some(left_out) = resolve::left_out(&self.ctx, step, &self.outputs, self.scheduler.tolerance()) {
            return self.scheduler.on_left_out(step, left_out.node, left_out.output);
        }
        match bind_inputs(&self.ctx, step, &self.outputs, self.scheduler.tolerance()) {
            Ok(inputs) => self.unresolved.push((step, inputs)),
            Err(error) => self.on_failed(step, error),
        }
    }

    /// Has the keys looked up that have come together by now.
    pub(super) fn resolve_keys(&mut self) {
        let all = std::mem::take(&mut self.unresolved);
        for some in self.in_parts(all, MAX_TOGETHER) {
            let (ctx, tell) = (Arc::clone(&self.ctx), self.tell.clone());
            self.pool.submit(move || {
                let results = resolve::resolve_all(&ctx, some);
                let _ = tell.send(Message::Resolved { results });
            });
        }
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
        fail_point("step.resolved");
        match hit {
            Some(hit) => self.on_hit(step, &hit),
            None => match self.gate_against(step) {
                Some(gate) => self.scheduler.on_refused(step, gate),
                None => {
                    let lookup = match light::is_light(&self.ctx, step, &self.outputs) {
                        true => scheduler::Lookup::LightMiss,
                        false => scheduler::Lookup::Miss,
                    };
                    self.scheduler.on_key_resolved(step, lookup);
                }
            },
        }
    }

    /// Returns the gate that keeps an effect from being done.
    fn gate_against(&self, step: usize) -> Option<usize> {
        let gates = call_of(self.ctx.node(step)).map_or(&[][..], |call| &call.options.gates);
        gates.iter().copied().find(|&gate| self.has_refused[gate])
    }

    fn on_hit(&mut self, step: usize, hit: &Hit) {
        fail_point("step.reused");
        self.outputs[step] = Some(hit.result.outputs.clone().into());
        self.outcome.steps.reused += 1;
        let at = (self.clock)();
        self.records.push(Record::StepReused {
            run: self.request.run.clone(),
            step: self.step_id(step),
            key: hit.result.key,
            at,
        });
        // What it only waits for, or goes on without, did not come back with the same bytes.
        let is_read = |input: &usize| !self.scheduler.tolerance().is_lost(*input, step);
        let inputs: Vec<usize> = match self.has_executed {
            true => {
                let Reads { needs, collects } = Reads::of(&self.ctx.pipeline, step);
                needs.into_iter().chain(collects.into_iter().filter(is_read)).collect()
            }
            false => Vec::new(),
        };
        let executed = inputs.iter().copied().find(|&input| self.is_executed[input]);
        let early_cutoff = executed.is_some();
        if self.is_uncertain[step]
            && let Some(origin) = executed.or_else(|| inputs.iter().find_map(|&input| self.cut_off_by[input]))
        {
            self.cut_off_by[step] = Some(origin);
            *self.n_saved.entry(origin).or_default() += 1;
            self.outcome.steps.cut_off += 1;
        }
        self.emit(Event::StepReused {
            run: self.request.run.clone(),
            step: self.name(step),
            from_run: hit.run.clone(),
            outputs: hit.result.outputs.clone(),
            facts: hit.result.facts.clone(),
            early_cutoff,
            idempotency_key: hit.result.environment.get(IDEMPOTENCY_KEY).cloned(),
        });
        self.scheduler.on_key_resolved(step, scheduler::Lookup::Hit);
    }

    /// Tells of steps whose outputs came back with the same bytes, how many steps that saved.
    pub(super) fn tell_cut_offs(&mut self) {
        for (step, n_saved) in std::mem::take(&mut self.n_saved) {
            self.emit(Event::CutOff { run: self.request.run.clone(), step: self.name(step), n_saved });
        }
    }

    pub(super) fn claim(&mut self, step: usize) {
        if self.is_over_budget(step, Duration::ZERO) {
            return self.scheduler.on_over_budget(step);
        }
        match self.resolved[step].clone() {
            Some(resolved) => {
                self.claims.push_back((Instant::now(), step));
                let tell = self.tell.clone();
                let answered = answer(move |claim| _ = tell.send(Message::ClaimAnswered { step, claim }));
                self.ctx.store.claim(resolved.id, self.scheduler.takes(step), answered);
            }
            None => self.on_failed(step, bug("N6301", format!("step `{}` has no key", self.name(step)))),
        }
    }

    pub(super) fn on_claim_answered(&mut self, step: usize, claim: Result<Claim, StoreError>) {
        let Some(resolved) = self.resolved[step].clone() else { return };
        match claim {
            // There is nothing that the look before did not find.
            Ok(Claim::Granted(lease)) => self.on_claimed(step, Ok(Grant::Execute(Some(lease)))),
            Ok(Claim::Finished) => {
                let takes = self.scheduler.takes(step);
                tokio::spawn(claim::look_again(Arc::clone(&self.ctx), (step, takes), resolved, self.tell.clone()));
            }
            Err(error) => self.on_claimed(step, Err(store_trouble(&error))),
        }
    }

    pub(super) fn on_claimed(&mut self, step: usize, result: Result<Grant, StepError>) {
        if !matches!(self.scheduler.state(step), State::Claiming | State::Awaiting) {
            return;
        }
        match result {
            Ok(Grant::Reuse(hit)) => self.on_hit(step, &hit),
            Ok(Grant::Execute(lease)) => {
                fail_point("step.claimed");
                self.scheduler.on_claimed(step, lease.as_ref().map_or(&[], |lease| &lease.portions));
                if let Some(lease) = lease {
                    self.leases.insert(step, lease);
                }
            }
            Err(error) => self.on_failed(step, error),
        }
    }
}
