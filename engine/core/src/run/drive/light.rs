//! The run loop's part in light steps: has some executed by each thread, one after the other, and hears of them together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mlp_model::{Event, Timestamp};

use super::{Attempt, Drive, Message, Phase};
use crate::fault::panicked;
use crate::resolve::Resolved;
use crate::run::light;

/// So many are executed by a thread before it tells: telling wakes the loop.
const MAX_TOGETHER: usize = 8;

/// A light step that is to be executed.
pub(super) struct LightStart {
    step: usize,
    attempt: u32,
    resolved: Arc<Resolved>,
    cancelled: Arc<AtomicBool>,
}

impl<F: FnMut(&Event) + Send> Drive<'_, F> {
    pub(super) fn start_light(&mut self, step: usize, number: u32, resolved: Arc<Resolved>, started_at: Timestamp) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let phase = Phase::Light(Arc::clone(&cancelled));
        self.attempts.insert(step, Attempt { number, started_at, phase, cancel: None });
        self.light.push(LightStart { step, attempt: number, resolved, cancelled });
    }

    /// Has the light steps executed that have been started by now.
    pub(super) fn execute_light(&mut self) {
        let all = std::mem::take(&mut self.light);
        for some in self.in_parts(all, MAX_TOGETHER) {
            let (ctx, tell, run) = (Arc::clone(&self.ctx), self.tell.clone(), self.request.run.clone());
            self.pool.submit(move || {
                let execute = |LightStart { step, attempt, resolved, cancelled }| {
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        light::execute(&ctx, step, &resolved, (&run, attempt), &cancelled)
                    }));
                    (step, attempt, result.unwrap_or_else(|_| Err(panicked(&ctx.node(step).name))))
                };
                let results = some.into_iter().map(execute).collect();
                let _ = tell.send(Message::Executed { results });
            });
        }
    }
}
