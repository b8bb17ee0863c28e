//! The compiler of `.mlp` files: text in, a checked [`mlp_model::Pipeline`] or diagnostics out.
//!
//! The phases, each with its own form: a file is cut into declarations (`outline`), each is parsed by the grammar
//! (`parse`, the only module that names pest) into a tree with spans (`ast`), and `check` resolves names and types
//! against the catalogue. A mistake in one declaration never hides those of another, and nothing is complained about
//! only because of a mistake elsewhere.
//!
//! Beside them stand the tools of the language: `format`, `lint`, `explain` and `sarif`.
//!
//! Knows no operation but in lints: what exists and what it takes comes from the [`mlp_model::Catalogue`]. Looks at nothing but its
//! arguments: files are seen through [`World`].

#![forbid(unsafe_code)]

// What pest derives without its `std` feature names this crate.
extern crate alloc;

pub mod analysis;
mod assign;
mod ast;
mod check;
pub mod codes;
mod diagnostic;
pub mod explain;
mod format;
pub mod lint;
mod literal;
mod outline;
mod parse;
pub mod reference;
mod render;
mod sarif;
mod shelf;
mod suggest;
mod threads;
mod world;

pub use assign::{AS_OF, Assignment, Assignments, Giver, Written};
pub use check::{
    CheckInput, Checked, CheckedTests, Expectation, Expected, Facts, Inspector, NodeFacts, TestCase, check,
    check_known, check_test, check_tests, compares, declares_tests, inspect, inspect_many, is_reserved, show,
    without_keys,
};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use format::{FormatError, format};
pub use literal::{date_text, read_date, read_duration};
pub use mlp_model::{SourceText, Span};
pub use render::{render, to_json};
pub use sarif::{Found, sarif};
pub use suggest::did_you_mean;
pub use world::{Listed, PathKind, World, WorldError};
