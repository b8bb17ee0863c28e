//! Any text: lexed, parsed, checked, linted, shown and formatted. Formatting twice is formatting once, and what is
//! formatted means the same.
//!
//! A line `=== PATH` begins a module, as in the language suite.

#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;
mod watch;

use libfuzzer_sys::fuzz_target;
use mlp_dsl::{Severity, lint, render, to_json};
use watch::in_time;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut files = text.split("\n=== ");
    let pipeline = files.next().unwrap_or_default();
    let modules = files.filter_map(|file| file.split_once('\n')).collect();
    let world = support::Modules { pipeline: support::Memory(Ok(pipeline)), modules };
    let checked = in_time("a check", || support::check_in(&world, &[]));
    let has_errors = checked.diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(checked.pipeline.is_none(), has_errors);
    for diagnostic in &checked.diagnostics {
        let shown = render(diagnostic, &checked.sources, false, 100);
        assert!(!shown.contains("_decl") && !shown.contains("Failed to read"), "{shown}");
        to_json(diagnostic, &checked.sources);
    }
    if let Some(pipeline) = &checked.pipeline {
        let linted = lint::lint(pipeline, &checked.diagnostics, &support::catalogue());
        linted.diagnostics.iter().for_each(|found| _ = render(found, &checked.sources, false, 100));
    }
    _ = in_time("formatting", || mlp_dsl::format(pipeline));
    support::formatting::is_harmless(pipeline);
});
