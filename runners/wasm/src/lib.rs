//! Transforms: functions of users over columns, run as WebAssembly components that can reach nothing but their arguments.
//!
//! [`WasmRunner`] is the side of `mlp`: it hands steps to worker processes, which call [`worker_main`]. A worker builds
//! the Python source into a component on first use (`component`), compiles it (`compiled`), and sends it one batch
//! after another (`step`). Both results are kept in the user's cache, never in the store: the cache key of a step has
//! the source, the kit that components are built with, and the compiler's version.
//!
//! **Invariant:** guest code runs in a worker, never in `mlp` itself; a component that imports anything is refused; what
//! it gives back is checked as if an enemy had written it. Only this crate names wasmtime.
//!
//! Knows no pipeline, store or scheduler.

mod cache;
mod compiled;
mod component;
mod engine;
mod fail;
mod guest;
#[cfg(test)]
mod hostile;
mod kit;
mod received;
mod request;
mod rules;
mod runner;
mod sent;
mod settings;
mod step;
mod worker;

pub use component::find_compiler;
pub use engine::Limits;
pub use runner::{WasmConfig, WasmRunner};
pub use settings::Settings;
pub use step::{Watch, Workshop};
pub use worker::worker_main;
