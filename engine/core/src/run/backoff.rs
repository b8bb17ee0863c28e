//! How long a step waits before it is tried again.

use std::time::Duration;

use mlp_model::{Digest, RunId};

/// No pause is longer, unless the pipeline asks for a longer first one.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Returns the pause after failed attempt number `attempt` (from 1): `base`, twice that after the second, and so on.
///
/// Up to a quarter is taken off, so that steps which failed together do not come back together. How much is drawn from
/// the names of run and step: the same run pauses the same.
pub(crate) fn pause(base: Duration, attempt: u32, run: &RunId, step: &str) -> Duration {
    let doubled = base.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    let longest = doubled.min(MAX_PAUSE.max(base));
    let drawn = Digest::of(format!("{run} {step} {attempt}").as_bytes());
    let share = f64::from(u16::from_le_bytes([drawn.0[0], drawn.0[1]])) / f64::from(u16::MAX);
    longest.mul_f64(1.0 - share / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(base: Duration, step: &str) -> Vec<f64> {
        let run = RunId("7f3a".into());
        [1, 2, 3, 4, 40, 100].map(|attempt| pause(base, attempt, &run, step).as_secs_f64()).to_vec()
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_lose_at_most_a_quarter() {
        let whole = [10.0, 20.0, 40.0, 80.0, 900.0, 900.0];
        for step in ["fetch", "train", "score"] {
            for (pause, whole) in pauses(Duration::from_secs(10), step).into_iter().zip(whole) {
                assert!(pause <= whole && pause >= whole * 0.75, "{pause} of {whole}");
            }
        }
        // Who asks for an hour waits an hour, each time.
        assert!(pauses(Duration::from_secs(3600), "fetch").iter().all(|&pause| (2700.0..=3600.0).contains(&pause)));
        assert!(pauses(Duration::MAX, "fetch").iter().all(|pause| pause.is_finite()));
    }

    #[test]
    fn steps_do_not_come_back_together_and_a_run_pauses_as_it_did() {
        let base = Duration::from_secs(10);
        assert_ne!(pauses(base, "fetch"), pauses(base, "train"));
        assert_eq!(pauses(base, "fetch"), pauses(base, "fetch"));
    }
}
