//! The run loop's part in steps that do not come to a result: failures, pauses before another attempt, what is skipped.

use std::time::Duration;

use mlp_model::{ErrorClass, Event, Record, StepError};

use super::{Drive, Message};
use crate::context::call_of;
use crate::resolve;
use crate::run::{Failure, backoff};
use crate::scheduler::Because;

impl<F: FnMut(&Event) + Send> Drive<'_, F> {
    /// A step, gate or release did not come to its result, at whatever point.
    pub(super) fn on_failed(&mut self, step: usize, error: StepError) {
        if self.scheduler.state(step).has_ended() {
            return;
        }
        let number = self.attempts.remove(&step).map_or(1, |attempt| attempt.number);
        let will_retry = self.scheduler.on_failed(step, error.class);
        let retry_after = self.retry_after(step, number);
        let is_call = call_of(self.ctx.node(step)).is_some();
        if is_call {
            let key = match &self.resolved[step] {
                Some(resolved) => resolved.id,
                None => resolve::partial_key(&self.ctx, step).id(),
            };
            let at = (self.clock)();
            self.records.push(Record::StepFailed {
                run: self.request.run.clone(),
                step: self.step_id(step),
                attempt: number,
                key,
                error: error.clone(),
                at,
            });
        }
        self.emit(Event::StepFailed {
            run: self.request.run.clone(),
            step: self.name(step),
            attempt: number,
            error: error.clone(),
            will_retry,
            retry_in_seconds: Some(retry_after.as_secs_f64()).filter(|_| will_retry && !retry_after.is_zero()),
            tolerated: !will_retry && self.scheduler.tolerance().is_tolerated(step),
        });
        // Another run need not wait until it is tried again.
        self.leases.remove(&step);
        if will_retry {
            self.failed.insert(step, (number, error, retry_after));
            return;
        }
        self.results.remove(&step);
        self.outcome.steps.failed += usize::from(is_call);
        self.was_interrupted |= self.was_told_to_end && error.class == ErrorClass::Cancelled;
        self.outcome.failures.push(Failure::new(self.name(step), error));
    }

    pub(super) fn retry_after(&self, step: usize, attempt: u32) -> Duration {
        let backoff = call_of(self.ctx.node(step)).and_then(|call| call.options.backoff);
        backoff
            .map_or(Duration::ZERO, |base| backoff::pause(base, attempt, &self.request.run, &self.ctx.node(step).name))
    }

    /// Lets a step wait for its next attempt.
    pub(super) fn pause(&mut self, step: usize) {
        let pause = self.failed.get(&step).map_or(Duration::ZERO, |(_, _, pause)| *pause);
        if self.is_over_budget(step, pause) {
            self.scheduler.on_over_budget(step);
        } else if pause.is_zero() {
            self.scheduler.on_paused(step);
        } else {
            let tell = self.tell.clone();
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let _ = tell.send(Message::Paused { step });
            });
        }
    }

    /// The run ends before a failed step could be tried again: its failure stands.
    pub(super) fn give_up(&mut self, step: usize, because: Because) {
        self.leases.remove(&step);
        self.note_cause(because);
        let Some((attempt, error, _)) = self.failed.remove(&step) else { return };
        self.emit(Event::StepFailed {
            run: self.request.run.clone(),
            step: self.name(step),
            attempt,
            error: error.clone(),
            will_retry: false,
            retry_in_seconds: None,
            tolerated: false,
        });
        self.outcome.steps.failed += 1;
        self.outcome.failures.push(Failure::new(self.name(step), error));
        self.carried.failed.insert(self.name(step), false);
    }

    pub(super) fn note_cause(&mut self, because: Because) {
        self.was_interrupted |= because == Because::Cancelled && self.trouble.is_none();
        self.was_over_budget |= matches!(because, Because::OverBudget { .. });
    }

    /// Returns whether a step that is started after `wait` would, going by its past, end after the run's time budget.
    pub(super) fn is_over_budget(&self, step: usize, wait: Duration) -> bool {
        let Some(budget) = self.request.budget else { return false };
        let now = (self.clock)();
        let elapsed = Duration::from_millis(u64::try_from(now.0 - self.run_started_at.0).unwrap_or(0));
        let takes = Duration::try_from_secs_f64(self.past_seconds[step].unwrap_or(0.0)).unwrap_or(Duration::MAX);
        elapsed.saturating_add(wait).saturating_add(takes) > budget
    }

    pub(super) fn on_skipped(&mut self, step: usize, because: Because) {
        self.leases.remove(&step);
        self.is_left_out[step] = match because {
            Because::NoChampion { step } => self.ctx.is_left_out(step),
            Because::Forgone { .. } | Because::LeftOut { .. } => true,
            _ => false,
        };
        self.note_cause(because);
        if self.carried.skipped.contains(&self.ctx.node(step).name) {
            return; // told in an earlier part
        }
        self.outcome.steps.skipped += usize::from(call_of(self.ctx.node(step)).is_some());
        self.emit(Event::StepSkipped {
            run: self.request.run.clone(),
            step: self.name(step),
            because: self.words(because),
        });
    }
}
