//! Effects: steps that write outside, once for their key.
//!
//! The record that an effect is done is its `StepFinished` record, which is never collected. Between the write outside
//! and that record the run may die; then the next one tries again, and tells with the same key that it is the same
//! wish. So the world outside is told at least once, and whoever honours the key does it once.

use mlp_model::{CallClass, Digest, Record, StepError, StoreError, Timestamp};

use crate::context::Context;
use crate::fault::store_trouble;
use crate::resolve::{Hit, Resolved, step_id};

/// Under this name the key stands with the record.
pub const IDEMPOTENCY_KEY: &str = "idempotency_key";

/// So many earlier records of a step are looked at where it is forced.
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
    let n_done = if ctx.request.is_forced[idx] { n_done(ctx, idx, resolved) } else { Ok(0) };
    Ok(Some(match n_done.map_err(|error| store_trouble(&error))? {
        0 => resolved.id.to_string(),
        n => Digest::of(format!("{} {n}", resolved.id).as_bytes()).to_string(),
    }))
}

fn n_done(ctx: &Context, idx: usize, resolved: &Resolved) -> Result<usize, StoreError> {
    let history = ctx.store.step_history(&step_id(ctx, idx), HISTORY)?;
    let is_done = |record: &Record| matches!(record, Record::StepFinished { result, .. } if result.key == resolved.id);
    Ok(history.iter().filter(|stored| is_done(&stored.record)).count())
}

/// Says in a plan that an effect is done.
pub(crate) fn done(hit: &Hit) -> String {
    format!("effect: done on {}, run {}", moment(hit.result.at), hit.run)
}

/// Writes an instant to the minute, in UTC.
fn moment(at: Timestamp) -> String {
    let minutes = at.0.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    // Howard Hinnant's `civil_from_days`: years begin in March, so that the odd day comes last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_to_the_minute() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (1_709_164_859_999, "2024-02-29 00:00 UTC"),
            (1_798_761_540_000, "2026-12-31 23:59 UTC"),
            (-60_000, "1969-12-31 23:59 UTC"),
        ] {
            assert_eq!(moment(Timestamp(ms)), expected);
        }
    }
}
