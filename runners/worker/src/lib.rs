//! Worker processes: work that may crash, leak or run out of memory is done by another program, step after step.
//!
//! A worker program calls [`serve`]; `mlp` holds a [`Pool`] of such processes. They speak over a socket pair, whose
//! end in the child has the number that `MLP_WORKER_FD` names: frames of a `u32` little-endian length and as many
//! bytes of JSON, at most 64 MiB. The worker begins with a hello (program, version of mlp, version of the protocol);
//! then the parent sends steps, one at a time, and the worker answers with progress, printed lines and the outcome.
//! Data passes by files, never through the socket.
//!
//! **Invariant:** a worker does not outlive its parent. When the parent's end closes, for whatever reason, the worker
//! kills its own process group at once, also in the middle of a step.
//!
//! Unaware of what steps compute, of the store and of the scheduler.

mod ended;
mod frame;
mod lines;
mod peak;
mod pool;
mod protocol;
mod seat;
mod serve;
mod worker;

pub use mlp_model::ProcessWatch;
pub use pool::{Pool, PoolConfig};
pub use serve::{Reporter, serve};
