//! What every part of mlp exchanges: digests, types, signatures, pipelines, keys, events, records and the two
//! traits [`Store`] and [`Runner`].
//!
//! A type lives here only when two sibling crates exchange it. Nothing here does I/O, waits, reads a clock or an
//! environment variable, and nothing has behaviour beyond construction, validation and encoding.

mod cache_key;
mod digest;
mod error;
mod event;
mod fail_point;
mod ids;
mod keep;
mod named;
mod other;
mod pipeline;
mod plan;
mod record;
mod resources;
mod runner;
mod shared;
mod signature;
mod store;
mod types;
mod unfold;
mod value;

pub use cache_key::{CacheKey, FieldVisitor, KeyField};
pub use digest::{Digest, ParseDigestError};
pub use error::{ErrorClass, StepError};
pub use event::{CheckResult, Event, FailedRounds, GateCounts, RunStatus, StepCounts, Verdict};
pub use fail_point::{arm_fail_point, fail_point};
pub use ids::{KeyId, RunId, StepId, Timestamp};
pub use keep::{Keep, PartitionKey, Removed, SealedObject, StoredObject, is_partition_name};
pub use named::{Named, Word};
pub use other::{Copied, OtherStore};
pub use pipeline::{
    Call, CallClass, Check, Comparison, FirstRelease, Fold, Gate, Input, LoopLimit, Node, NodeKind, NumExpr, OnFailure,
    Options, Output, ParamValue, Part, Pipeline, Release, Round, SourceText, Span,
};
pub use plan::{Decision, Plan, PlannedStep};
pub use record::{Facts, InputRecord, OutputRecord, Record, StepResult, Stored};
pub use resources::{Demand, Gpu, GpuDemand, Machine, Portion, Take, show_size};
pub use runner::{
    Cancel, Handle, InputFile, Outcome, ProcessWatch, Produced, Progress, Runner, RunnerEvent, SmallFiles, StartStep,
    Watched,
};
pub use shared::Shared;
pub use signature::{
    ArgError, ArgType, Argument, Catalogue, CheckedCall, Constructor, Infer, Inferred, InputType, ParamType, RoleRule,
    Signature,
};
pub use store::{Claim, CommitGuard, Done, Holdup, Lease, ObjectFile, RunSummary, Sensitivity, Store, StoreError};
pub use types::{
    ArtifactKind, Column, Marks, ModelType, ReportType, Role, Rule, Scalar, Schema, TableType, Task, Type,
};
pub use unfold::{KnownValues, Over, Unfold, Waits};
pub use value::Value;
