//! Nothing to do costs nothing: a run that found everything up to date leaves its answer behind, and the next one gives
//! it again when nothing has changed.
//!
//! `mlp run` asks here before it does anything else, its arguments included: a kept answer is looked up under the
//! question ([`Question`]), compared with the world (`mlp_store::snapshot`) and printed (`give`). No pipeline is read,
//! no process is asked or started. Whatever is not quite as it was takes the ordinary way, silently; so does whatever is
//! asked in a way that is not known here.
//!
//! An answer is put together by listening to an ordinary run ([`Draft`]): what the same run would tell if it were done
//! again right away.

mod draft;
mod give;
mod question;

pub use draft::{Beginning, Draft};
pub use give::answer;
use question::Question;

use mlp_model::{GateCounts, RunId};
use serde::{Deserialize, Serialize};

/// Where things stand in a kept answer.
const HEAD: usize = 0;
/// The diagnostics of the checked file, as they were printed.
const WARNINGS: usize = 1;
/// The lines of [`crate::report::PlainReporter`].
const PLAIN: usize = 2;
/// Events as JSON lines, all but the first and the last, without the run's id.
const EVENTS: usize = 3;

/// What the first and the last event and the closing sentence say.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    pipeline: String,
    file: String,
    n_steps: usize,
    n_reused: usize,
    gates: GateCounts,
    /// Releases that stay as they are, with their versions.
    kept: Vec<(String, u64)>,
    last_change: Option<RunId>,
    /// Colour and width of the warnings.
    warned_in: (bool, usize),
}

#[cfg(test)]
mod tests;
