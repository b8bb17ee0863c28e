//! The SDK and the shipped transform in ordinary Python.

use std::path::Path;
use std::process::Command;

#[test]
fn transforms_run_in_ordinary_python() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/python/tests/test_sdk.py");
    let output = Command::new("python3").arg("-B").arg(tests).output().expect("python3 is needed to build transforms");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
