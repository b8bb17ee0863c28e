//! Stands in for `mlp __wasm-worker` in the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    mlp_wasm::worker_main()
}
