//! Facts about `sh` steps, with real processes.

mod common;
mod ending;
mod steps;
