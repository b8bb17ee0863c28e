//! The run loop's part in attempts: starts them, passes on what they tell, takes over what they made.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mlp_model::{Cancel, Event, Outcome, Record, RunnerEvent, StepError, StepResult, fail_point};

use super::{Attempt, Drive, Message, Phase};
use crate::fault::bug;
use crate::resolve::Lookup;
use crate::run::attempt::{self, Collected, Started, Told};

impl<F: FnMut(&Event) + Send> Drive<'_, F> {
    pub(super) fn start_step(&mut self, step: usize, number: u32) {
        let Some(resolved) = self.resolved[step].clone() else {
            return self.on_failed(step, bug("N6301", format!("step `{}` has no key", self.name(step))));
        };
        let reason = match &resolved.lookup {
            _ if number > 1 => format!("attempt {} failed", number - 1),
            Lookup::Miss(miss) => miss.reason.clone(),
            Lookup::Hit(_) => String::new(),
        };
        self.emit(Event::StepStarted {
            run: self.request.run.clone(),
            step: self.name(step),
            op: resolved.key.op.clone(),
            attempt: number,
            reason,
        });
        let started_at = (self.clock)();
        if self.scheduler.is_light(step) {
            return self.start_light(step, number, resolved, started_at);
        }
        let phase = Phase::Starting { end: None };
        self.n_starting += 1;
        self.attempts.insert(step, Attempt { number, started_at, phase, cancel: None });
        let (tell, run, gpus) = (self.tell.clone(), self.request.run.clone(), self.scheduler.gpus(step));
        let report = move |told| _ = tell.send(Message::Told { step, attempt: number, told });
        let ctx = Arc::clone(&self.ctx);
        self.work(
            step,
            move |_| attempt::start(&ctx, step, &resolved, (&run, number, gpus), report),
            move |result| Message::Started { step, attempt: number, result },
        );
    }

    pub(super) fn on_started(&mut self, step: usize, number: u32, result: Result<Started, StepError>) {
        self.n_starting -= 1;
        let Some(attempt) = self.attempts.get_mut(&step).filter(|attempt| attempt.number == number) else {
            return self.put_away(result.ok());
        };
        let started = match result {
            Ok(started) => started,
            Err(error) => return self.on_failed(step, error),
        };
        if let Some(how) = attempt.cancel {
            started.handle.cancel(how);
        }
        let phase = std::mem::replace(&mut attempt.phase, Phase::Running(started));
        if let Phase::Starting { end: Some(outcome) } = phase {
            self.collect(step, outcome);
        }
    }

    pub(super) fn on_told(&mut self, step: usize, number: u32, told: Told) {
        let Some(attempt) = self.attempts.get_mut(&step).filter(|attempt| attempt.number == number) else { return };
        let run = self.request.run.clone();
        match told {
            Told::Event(RunnerEvent::Progressed(progress)) => {
                self.emit(Event::StepProgressed { run, step: self.name(step), progress });
            }
            Told::Event(RunnerEvent::Printed(line)) => {
                self.emit(Event::StepPrinted { run, step: self.name(step), line });
            }
            Told::Event(RunnerEvent::Finished(_)) => {}
            Told::Ended(Ok(outcome)) => match &mut attempt.phase {
                Phase::Starting { end } => *end = Some(outcome),
                Phase::Running(_) => self.collect(step, outcome),
                Phase::Light(_) | Phase::Collecting => {}
            },
            Told::Ended(Err(error)) | Told::Collected(Err(error)) => {
                if let Phase::Running(started) = std::mem::replace(&mut attempt.phase, Phase::Collecting) {
                    self.put_away(Some(started));
                }
                self.on_failed(step, error);
            }
            Told::Collected(Ok(collected)) => self.on_collected(step, collected),
        }
    }

    /// Brings the outputs of a step into the store whose runner has no time for that.
    fn collect(&mut self, step: usize, outcome: Outcome) {
        let (Some(attempt), Some(resolved)) = (self.attempts.get_mut(&step), self.resolved[step].clone()) else {
            return;
        };
        let number = attempt.number;
        if let Phase::Running(Started { scratch: Some(scratch), .. }) =
            std::mem::replace(&mut attempt.phase, Phase::Collecting)
        {
            self.work(
                step,
                move |ctx| attempt::collect(ctx, step, &resolved, &scratch, outcome),
                move |result| Message::Told { step, attempt: number, told: Told::Collected(result) },
            );
        }
    }

    /// Lets go of an attempt that is over. Removing its folder may take a while, and the run does not end before.
    fn put_away(&mut self, started: Option<Started>) {
        let Some(started) = started else { return };
        self.n_put_away += 1;
        let tell = self.tell.clone();
        self.pool.submit(move || {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(started)));
            let _ = tell.send(Message::PutAway);
        });
    }

    pub(super) fn on_collected(&mut self, step: usize, collected: Collected) {
        let (Some(attempt), Some(resolved)) = (self.attempts.remove(&step), self.resolved[step].clone()) else {
            return;
        };
        let at = (self.clock)();
        let mut environment = collected.environment;
        environment.entry("mlp".to_owned()).or_insert_with(|| self.request.mlp_version.clone());
        let result = StepResult {
            key: resolved.id,
            key_object: collected.key_object,
            op: resolved.key.op.clone(),
            attempt: attempt.number,
            inputs: resolved.inputs.clone(),
            outputs: collected.outputs,
            facts: collected.facts,
            environment,
            seconds: (at.0 - attempt.started_at.0).max(0) as f64 / 1000.0,
            peak_mem_bytes: collected.peak_mem_bytes,
            at,
        };
        self.outputs[step] = Some(result.outputs.clone().into());
        self.is_executed[step] = true;
        self.has_executed = true;
        self.records.push(Record::StepFinished {
            run: self.request.run.clone(),
            step: self.step_id(step),
            result: result.clone(),
        });
        self.finishing.push(step);
        fail_point("step.collected");
        self.results.insert(step, result);
        if let Some(lease) = self.leases.get_mut(&step) {
            lease.free();
        }
        self.scheduler.on_written(step);
    }

    pub(super) fn cancel_step(&mut self, step: usize, how: Cancel) {
        if let Some(attempt) = self.attempts.get_mut(&step) {
            match &attempt.phase {
                Phase::Starting { .. } => attempt.cancel = Some(how),
                Phase::Running(started) => started.handle.cancel(how),
                Phase::Light(cancelled) => cancelled.store(true, Ordering::Relaxed),
                Phase::Collecting => {}
            }
        }
    }
}
