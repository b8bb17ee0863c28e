//! The engine: plans a checked pipeline, runs what must run, and answers for every result.
//!
//! [`scheduler`] decides, [`Engine::run`] does; [`Engine::plan`] says what a run would do, [`Engine::why`] why a step
//! ran or did not, [`Engine::lineage`] where an artifact comes from. Releases live in a [`Registry`].
//!
//! Sees the store and the runners through the model's traits only. Knows nothing of the language, of operations, of
//! terminals or of settings; time, host and ids are given to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlp_model::{Pipeline, Runner, Store, StoreError, Timestamp};

mod answer;
mod bundle;
pub mod collect;
mod context;
mod effect;
pub mod erase;
mod explain;
pub mod export;
mod fault;
mod folders;
mod foreign;
mod foresee;
pub mod gate;
pub mod graph;
mod history;
pub mod import;
mod instant;
mod lineage;
pub mod merge;
mod names;
mod objects;
pub mod openlineage;
mod partitions;
mod plan;
mod predict;
mod registry;
mod resolve;
mod run;
pub mod scheduler;
mod shared_out;
mod sources;
mod survey;
pub mod tolerance;
mod unfold;
mod verify;
mod versions;
mod why;

pub use bundle::{Bundle, BundleError, BundlePart, Pinned};
pub use effect::IDEMPOTENCY_KEY;
pub use explain::{Difference, FieldChange, FieldName, compare};
pub use graph::GraphError;
pub use lineage::{Direction, Edge, Fact, Lineage, LineageError, LineageNode, LineageStart, ObjectCount};
pub use names::{UnknownName, most_similar};
pub use registry::{Registry, Version, VersionName};
pub use run::{Failure, GateResult, ReleaseOutcome, ReleaseResult, RunOutcome, RunRequest};
pub use survey::{KnownObject, Survey, SurveyedRun};
pub use unfold::{Loops, UnfoldError};
pub use verify::{Checked, CheckedResult, HowItDiffers, Sample, Unverified, Verification, VerifyRequest};
pub use versions::{RegistryError, RolledBack};
pub use why::{Attempt, Cause, Comparison, HowItCame, Link, Now, Why, WhyError};

/// Plans, runs and explains pipelines against one store.
pub struct Engine {
    store: Arc<dyn Store>,
    runners: context::Runners,
    clock: Clock,
    salt: String,
}

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Why a request could not be taken up, or a run could not be kept.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunError {
    #[error("{}", unknown_names(.pipeline, .names))]
    UnknownNames { pipeline: String, names: Vec<UnknownName> },
    /// Nothing lies between `--from` and what was asked for.
    #[error("nothing that was asked for needs {}", quoted(.from))]
    NothingMeant { from: Vec<String> },
    #[error("step `{step}` is forced, but it is not among the steps that were asked for")]
    ForcedOutside { step: String },
    /// Steps demand what there is not.
    #[error("{}", .0.iter().map(|unmet| unmet.error.message.clone()).collect::<Vec<_>>().join("; "))]
    Unmet(Vec<Failure>),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownNames { names, .. } => {
                let meant: Vec<String> = names
                    .iter()
                    .filter_map(|unknown| unknown.suggestion.as_ref().map(|name| format!("`{name}`")))
                    .collect();
                (!meant.is_empty()).then(|| format!("did you mean {}?", meant.join(", ")))
            }
            Self::Store(error) => fault::store_trouble(error).help,
            Self::NothingMeant { .. } => Some("leave `--from` out, or ask for a step that comes after it".to_owned()),
            Self::ForcedOutside { step } => Some(format!("ask for `{step}` as well, or do not force it")),
            Self::Unmet(_) | Self::Graph(_) => None,
        }
    }
}

impl Engine {
    pub fn new(store: Arc<dyn Store>, runners: BTreeMap<String, Arc<dyn Runner>>, clock: Clock) -> Self {
        Self { store, runners: Arc::new(runners), clock, salt: String::new() }
    }

    /// Adds the settings' `cache_salt` to every key.
    pub fn with_cache_salt(mut self, salt: impl Into<String>) -> Self {
        self.salt = salt.into();
        self
    }

    fn gather(&self, pipeline: Arc<Pipeline>, request: context::Request) -> Result<context::Context, StoreError> {
        let (store, runners) = (Arc::clone(&self.store), Arc::clone(&self.runners));
        context::Context::gather(store, runners, self.salt.clone(), pipeline, request)
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn unknown_names(pipeline: &str, names: &[UnknownName]) -> String {
    let quoted: Vec<String> = names.iter().map(|unknown| format!("`{}`", unknown.name)).collect();
    match quoted.as_slice() {
        [one] => format!("pipeline `{pipeline}` has no step {one}"),
        many => format!("pipeline `{pipeline}` has no steps {}", many.join(", ")),
    }
}
