//! Facts about `sh` steps, with real processes.

mod common;
mod confinement;
mod ending;
mod steps;
