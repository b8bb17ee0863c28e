//! Tells for which other runs steps wait, if that takes more than a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mlp_model::{Event, Holdup, KeyId};

use super::{Drive, Message};
use crate::scheduler::State;

/// How long a step has waited when it is told, and how often it is looked whether that has changed.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The steps that waited when they were last looked through, and what was told of each.
pub(super) type Waiting = HashMap<usize, Option<Holdup>>;

impl<F: FnMut(&Event) + Send> Drive<'_, F> {
    /// Asks what those steps wait for that have waited since the last time.
    pub(super) fn look_at_waits(&mut self) {
        let mut before = std::mem::take(&mut self.waiting);
        let mut asked = Vec::new();
        for step in self.scheduler.awaiting() {
            if before.contains_key(&step)
                && let Some(resolved) = &self.resolved[step]
            {
                asked.push((step, resolved.id));
            }
            self.waiting.insert(step, before.remove(&step).flatten());
        }
        if asked.is_empty() {
            return;
        }
        let (store, tell) = (Arc::clone(&self.ctx.store), self.tell.clone());
        self.pool.submit(move || {
            let (steps, keys): (Vec<usize>, Vec<KeyId>) = asked.into_iter().unzip();
            // An owner that cannot say it now is asked again soon.
            let holdups = store.holdups(&keys).unwrap_or_default();
            let _ = tell.send(Message::HeldUp { holdups: steps.into_iter().zip(holdups).collect() });
        });
    }

    pub(super) fn on_held_up(&mut self, holdups: Vec<(usize, Option<Holdup>)>) {
        for (step, holdup) in holdups {
            let Some(told) = self.waiting.get_mut(&step) else { continue };
            if self.scheduler.state(step) != State::Awaiting || holdup.is_none() || *told == holdup {
                continue;
            }
            told.clone_from(&holdup);
            let Some(Holdup { runs, lacks }) = holdup else { continue };
            self.emit(Event::StepWaits { run: self.request.run.clone(), step: self.name(step), runs, lacks });
        }
    }
}
