//! `mlp test [FILES..]`: runs what `test` blocks declare, and shows where something else came out.
//!
//! A test is a pipeline in which given rows stand in the place of sources. The engine runs it like any other, but in a
//! store below `.mlp/tests`: neither runs, results nor releases of the workspace are touched, and what did not change
//! since the last time is reused.

mod bench;
mod difference;
mod judge;
mod junit;
mod rows;
mod shown;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mlp_dsl::{Assignments, CheckInput, Diagnostic, Severity, SourceText, TestCase, check_tests, declares_tests};

use super::files;
use crate::compile::{Disk, open_workspace};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring;
use bench::Bench;
use judge::Missed;

/// What to test, and where to write about it.
pub struct Asked<'a> {
    pub files: &'a [PathBuf],
    /// Only tests whose name contains this, in any letter case.
    pub filter: Option<&'a str>,
    pub junit: Option<&'a Path>,
}

/// One file and its tests.
pub(super) struct Tested {
    pub shown: String,
    pub sources: Vec<SourceText>,
    pub diagnostics: Vec<Diagnostic>,
    pub results: Vec<Tried>,
}

/// A test that was run.
pub(super) struct Tried {
    pub name: String,
    /// From 1.
    pub line: usize,
    pub n_expected: usize,
    pub missed: Vec<Missed>,
    /// What else went wrong in its run, with its place in the file.
    pub trouble: Vec<String>,
    /// Effects that a run would do, which a test does not.
    pub undone: Vec<String>,
    pub seconds: f64,
}

impl Tested {
    fn checks(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error)
    }
}

impl Tried {
    fn passed(&self) -> bool {
        self.missed.is_empty()
    }
}

pub fn test(asked: &Asked<'_>, output: &Output) -> Result<Exit, Failure> {
    let started = Instant::now();
    let all = files::pipelines(asked.files)?;
    let is_named = |file: &PathBuf| asked.files.contains(file);
    let has_tests = |file: &PathBuf| std::fs::read_to_string(file).is_ok_and(|text| declares_tests(&text));
    // A file that somebody names is looked at even if it cannot be read: then that is told.
    let files: Vec<PathBuf> = all.into_iter().filter(|file| is_named(file) || has_tests(file)).collect();
    let mut benches = BTreeMap::new();
    let mut tested = Vec::new();
    for file in files {
        let looked_at = look(&file, asked.filter, &mut benches, output)?;
        if !output.json {
            shown::print(&looked_at, output);
        }
        tested.push(looked_at);
    }
    if let Some(path) = asked.junit {
        junit::write(path, &tested)?;
    }
    let results = || tested.iter().flat_map(|file| &file.results);
    let n_failed = results().filter(|test| !test.passed()).count();
    let n_passed = results().count() - n_failed;
    let n_broken = tested.iter().filter(|file| !file.checks()).count();
    if output.json {
        output.print_json(&shown::json(&tested, n_passed, n_failed));
    }
    if n_broken > 0 {
        let verb = if n_broken == 1 { "does" } else { "do" };
        let told =
            format!("{} {verb} not check; {n_passed} passed, {n_failed} failed", words::plural(n_broken, "file"));
        return if output.json { Ok(Exit::Usage) } else { Err(Failure::usage(told)) };
    }
    if results().next().is_none() {
        return Err(match asked.filter {
            Some(filter) => Failure::usage(format!("no test has a name with {filter:?} in it")),
            None => Failure::usage("there are no tests"),
        }
        .with_help("a test is declared by `test \"NAME\" { .. }`; `docs/testing.md` shows how"));
    }
    if !output.json {
        let took = words::seconds(started.elapsed().as_secs_f64());
        output.print(format!("{} passed, {n_failed} failed ({took}).", words::plural(n_passed, "test")));
    }
    Ok(if n_failed == 0 { Exit::Done } else { Exit::StepFailed })
}

/// Checks a file and runs its tests.
fn look(
    file: &Path,
    filter: Option<&str>,
    benches: &mut BTreeMap<PathBuf, Bench>,
    output: &Output,
) -> Result<Tested, Failure> {
    let workspace = open_workspace(file)?;
    let root = workspace.root.clone();
    let bench = match benches.entry(root) {
        std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Bench::new(workspace)?),
    };
    let catalogue = wiring::catalogue();
    let params = Assignments::default();
    let input = CheckInput { file, params: &params, catalogue: &catalogue, world: &Disk };
    let checked = check_tests(&input, &bench.tables());
    let wanted =
        |test: &TestCase| filter.is_none_or(|filter| test.name.to_lowercase().contains(&filter.to_lowercase()));
    let mut results = Vec::new();
    for (number, test) in checked.tests.into_iter().enumerate().filter(|(_, test)| wanted(test)) {
        results.push(bench.run(file, number, test, output)?);
    }
    let shown = file.display().to_string();
    Ok(Tested { shown, sources: checked.sources, diagnostics: checked.diagnostics, results })
}
