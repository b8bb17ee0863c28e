//! Test results as JUnit XML, which build servers show.

use std::path::Path;
use std::time::Duration;

use mlp_dsl::Severity;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Tested, Tried, shown};
use crate::exit::Exit;
use crate::output::Failure;

/// Writes a suite for each file. A file that does not check is a suite with one error.
pub fn write(path: &Path, tested: &[Tested]) -> Result<(), Failure> {
    let mut report = Report::new("mlp");
    for file in tested {
        let mut suite = TestSuite::new(file.shown.as_str());
        if !file.checks() {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            let errors = file.diagnostics.iter().filter(|d| d.severity == Severity::Error);
            let told: Vec<_> = errors.map(|d| mlp_dsl::render(d, &file.sources, false, 100)).collect();
            status.set_message("the file does not check").set_type("check").set_description(told.join("\n"));
            suite.add_test_case(TestCase::new("mlp check", status));
        }
        file.results.iter().for_each(|test| _ = suite.add_test_case(case(&file.shown, test)));
        report.add_test_suite(suite);
    }
    let trouble =
        |message: String| Failure::new(Exit::Environment, format!("cannot write `{}`: {message}", path.display()));
    let text = report.to_string().map_err(|error| trouble(error.to_string()))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| trouble(error.to_string()))?;
    }
    std::fs::write(path, text).map_err(|error| trouble(error.to_string()))
}

fn case(file: &str, test: &Tried) -> TestCase {
    let mut status = TestCaseStatus::success();
    if let Some(first) = test.missed.first() {
        status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("{}: {}", first.expected, first.message)).set_type("expectation");
        status.set_description(shown::details(file, test));
    }
    let mut case = TestCase::new(test.name.as_str(), status);
    case.set_classname(file).set_time(Duration::from_secs_f64(test.seconds.max(0.0)));
    case.extra.insert("file".into(), file.into());
    case.extra.insert("line".into(), test.line.to_string().as_str().into());
    case
}
