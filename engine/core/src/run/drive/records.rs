//! The run loop's part in records: gathers them into groups, and hears when those are on the disk.

use mlp_model::{Cancel, Event, StoreError, fail_point};
use tokio::time::Instant;

use super::{Drive, MANY_RECORDS, Message, PACE};
use crate::answer::answer;
use crate::effect::IDEMPOTENCY_KEY;
use crate::fault::store_trouble;

impl<F: FnMut(&Event) + Send> Drive<'_, F> {
    /// Returns when the collected records are sent off, if more of them may come before.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let is_busy = !self.attempts.is_empty() || !self.claims.is_empty() || self.scheduler.is_resolving();
        let is_little = (1..MANY_RECORDS).contains(&self.records.len());
        (is_busy && is_little && self.n_unacknowledged > 0).then(|| self.flushed_at + PACE)
    }

    /// Sends the collected records off as one group, unless one is on its way and more may come.
    pub(super) fn flush(&mut self) {
        let now = Instant::now();
        if self.records.is_empty() || self.held_until().is_some_and(|until| now < until) {
            return;
        }
        self.flushed_at = now;
        let (tell, steps) = (self.tell.clone(), std::mem::take(&mut self.finishing));
        self.n_unacknowledged += 1;
        let done = answer(move |result| _ = tell.send(Message::Committed { steps, result }));
        self.ctx.store.commit(std::mem::take(&mut self.records), None, done);
    }

    pub(super) fn on_committed(&mut self, steps: Vec<usize>, result: Result<(), StoreError>) {
        self.n_unacknowledged -= 1;
        match result {
            Ok(()) => steps.into_iter().for_each(|step| self.on_step_committed(step)),
            Err(error) if steps.is_empty() => {
                if self.trouble.is_none() {
                    self.trouble = Some(error);
                    self.scheduler.on_cancel(Cancel::Gently);
                }
            }
            Err(error) => steps.into_iter().for_each(|step| self.on_failed(step, store_trouble(&error))),
        }
    }

    pub(super) fn on_step_committed(&mut self, step: usize) {
        fail_point("step.recorded");
        self.leases.remove(&step);
        if let Some(result) = self.results.remove(&step) {
            self.outcome.steps.executed += 1;
            self.outcome.steps.flaky += usize::from(result.attempt > 1);
            self.outcome.steps.effects += usize::from(result.environment.contains_key(IDEMPOTENCY_KEY));
            self.emit(Event::StepFinished {
                run: self.request.run.clone(),
                step: self.name(step),
                outputs: result.outputs,
                facts: result.facts,
                seconds: result.seconds,
                attempt: result.attempt,
                idempotency_key: result.environment.get(IDEMPOTENCY_KEY).cloned(),
            });
        }
        self.scheduler.on_committed(step);
    }
}
