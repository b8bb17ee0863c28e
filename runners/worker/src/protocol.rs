//! What the two sides say. Any change of meaning raises [`PROTOCOL`]; the hello itself never changes its form.

use std::collections::BTreeMap;

use mlp_model::{Facts, Outcome, Progress, StartStep, StepError};
use serde::{Deserialize, Serialize};

pub const PROTOCOL: u32 = 1;
pub const MLP_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Names the number of the worker's end of the socket pair.
pub const FD_VARIABLE: &str = "MLP_WORKER_FD";

/// The worker's first message.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub program: String,
    pub mlp: String,
    pub protocol: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Work on this step. Sent only when the one before has finished.
    Start { number: u64, step: Box<StartStep> },
    /// End step `number` cleanly; ignored if it has finished.
    Cancel { number: u64 },
}

/// What the worker says of step `number`. It may come late, from a thread that outlives the step.
#[derive(Debug, Serialize, Deserialize)]
pub struct FromWorker {
    pub number: u64,
    pub word: Word,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The step has begun; from here on it is the worker's.
    Accepted,
    Progressed {
        progress: Progress,
        odd: OddNumbers,
    },
    Printed {
        line: String,
    },
    Finished {
        result: Result<Outcome, StepError>,
        odd: OddNumbers,
    },
}

/// The members of some [`Facts`] that JSON cannot say: NaN (a loss that diverged) and the infinities, as text.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OddNumbers(BTreeMap<String, String>);

impl OddNumbers {
    pub fn take_from(facts: &mut Facts) -> Self {
        let odd = facts.extract_if(.., |_, number| !number.is_finite());
        Self(odd.map(|(name, number)| (name, number.to_string())).collect())
    }

    pub fn put_back(self, facts: &mut Facts) {
        facts.extend(self.0.into_iter().filter_map(|(name, text)| Some((name, text.parse().ok()?))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Decoder, encode};

    #[test]
    fn figures_that_json_cannot_say_arrive() {
        let mut facts = Facts::from([
            ("loss".to_owned(), f64::NAN),
            ("norm".to_owned(), f64::INFINITY),
            ("low".to_owned(), f64::NEG_INFINITY),
            ("lr".to_owned(), 0.1),
        ]);
        let odd = OddNumbers::take_from(&mut facts);
        assert_eq!(facts.len(), 1);
        let mut decoder = Decoder::default();
        decoder.push(&encode(&odd).unwrap());
        decoder.next::<OddNumbers>().unwrap().unwrap().put_back(&mut facts);
        assert!(facts["loss"].is_nan());
        assert_eq!((facts["norm"], facts["low"], facts["lr"]), (f64::INFINITY, f64::NEG_INFINITY, 0.1));
    }
}
