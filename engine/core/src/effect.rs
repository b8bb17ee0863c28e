//! Effects: steps that write outside, once for their key.
//!
//! The record that an effect is done is its `StepFinished` record, which is never collected. Between the write outside
//! and that record the run may die; then the next one tries again, and tells with the same key that it is the same
//! wish. So the world outside is told at least once, and whoever honours the key does it once.

use mlp_model::{CallClass, Digest, Record, StepError, StoreError};

use crate::context::Context;
use crate::fault::store_trouble;
use crate::instant::instant;
use crate::resolve::{Hit, Resolved};

/// Under this name the key stands with the record.
pub const IDEMPOTENCY_KEY: &str = "idempotency_key";

/// So many earlier effects are looked at where one is forced.
const HISTORY: usize = 100_000;

pub(crate) fn is_effect(ctx: &Context, idx: usize) -> bool {
    crate::context::call_of(ctx.node(idx)).is_some_and(|call| call.class == CallClass::Effect)
}

/// Returns the key that an effect is known by; `None` for any other step.
///
/// It is the cache key. Where somebody forces what is done already, they mean it once more: then it is another one, which
/// stays the same until that is recorded.
pub(crate) fn idempotency_key(ctx: &Context, idx: usize, resolved: &Resolved) -> Result<Option<String>, StepError> {
    if !is_effect(ctx, idx) {
        return Ok(None);
    }
    let n_done = if ctx.request.is_forced[idx] { n_done(ctx, resolved) } else { Ok(0) };
    Ok(Some(match n_done.map_err(|error| store_trouble(&error))? {
        0 => resolved.id.to_string(),
        n => Digest::of(format!("{} {n}", resolved.id).as_bytes()).to_string(),
    }))
}

fn n_done(ctx: &Context, resolved: &Resolved) -> Result<usize, StoreError> {
    // Not by the step's name, which may have been another one.
    let history = ctx.store.op_history(&resolved.key.op, HISTORY)?;
    let is_done = |record: &Record| matches!(record, Record::StepFinished { result, .. } if result.key == resolved.id);
    Ok(history.iter().filter(|stored| is_done(&stored.record)).count())
}

/// Says in a plan that an effect is done: when, to the minute, and by which run.
pub(crate) fn done(hit: &Hit) -> String {
    let at = instant(hit.result.at);
    let (day, time) = at.split_once('T').unwrap_or((&at, ""));
    format!("effect: done on {day} {} UTC, run {}", time.get(..5).unwrap_or(time), hit.run)
}
