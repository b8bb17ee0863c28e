//! What can go wrong around a transform, in words for people. What the transform itself does wrong is told in `guest`,
//! `received` and `rules`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mlp_artifact::table::TableError;
use mlp_model::{ErrorClass, StepError};

use crate::kit;

const GET_TOOL: &str = "run `runners/setup.sh --tools-only`, which gets it; or name the program in MLP_COMPONENTIZE_PY";

pub fn no_home() -> StepError {
    let message = "no folder is known for built transforms: neither XDG_CACHE_HOME nor HOME is an absolute path";
    StepError::new(ErrorClass::Environment, "W3101", message).with_help("set HOME")
}

pub fn cache(path: &Path, action: &str, error: &io::Error) -> StepError {
    let message = format!("cannot {action} `{}`, where built transforms are kept: {error}", path.display());
    StepError::new(ErrorClass::Environment, "W3101", message)
        .with_help("make room or give yourself the right to write there, or set XDG_CACHE_HOME to another folder")
}

pub fn cache_not_private(path: &Path) -> StepError {
    let path = path.display();
    let message = format!("`{path}`, where compiled transforms are kept, is not private: others could put code there");
    StepError::new(ErrorClass::Environment, "W3101", message)
        .with_help(format!("make it your own and run `chmod 700 {path}`, or set XDG_CACHE_HOME to another folder"))
}

pub fn no_tool(tried: &[PathBuf]) -> StepError {
    let message = format!("componentize-py {} is not installed, which builds Python transforms", kit::COMPONENTIZE_PY);
    let tried = tried.iter().take(3).map(|path| format!("not found: {}", path.display())).collect();
    StepError::new(ErrorClass::Environment, "W3102", message).with_detail(tried).with_help(GET_TOOL)
}

pub fn wrong_tool(tool: &Path, found: &str) -> StepError {
    let needed = kit::COMPONENTIZE_PY;
    let message = format!("`{}` is {found}, but transforms are built with componentize-py {needed}", tool.display());
    StepError::new(ErrorClass::Environment, "W3102", message).with_help(GET_TOOL)
}

pub fn tool_does_not_start(tool: &Path, error: &io::Error) -> StepError {
    let message = format!("cannot start `{}`, which builds Python transforms: {error}", tool.display());
    StepError::new(ErrorClass::Environment, "W3102", message).with_help(GET_TOOL)
}

/// The build failed, and not for a mistake in the transform.
pub fn build(reason: &str, output: Vec<String>) -> StepError {
    let message = format!("the transform cannot be built: {reason}");
    StepError::new(ErrorClass::Environment, "W3103", message).with_detail(output).with_help(
        "if the lines above tell of memory or disk, make room; else install componentize-py again with \
         `runners/setup.sh --tools-only`",
    )
}

pub fn source(shown: &str, error: &io::Error) -> StepError {
    let message = format!("cannot read `{shown}`: {error}");
    StepError::new(ErrorClass::Environment, "W3104", message).with_argument("source")
}

pub fn input(error: &TableError) -> StepError {
    StepError::new(ErrorClass::Environment, "W3105", format!("cannot read the input table: {error}"))
        .with_argument("data")
}

pub fn output(error: &TableError) -> StepError {
    let error_text = format!("cannot write the result: {error}");
    match error {
        TableError::Write { .. } => StepError::new(ErrorClass::Environment, "W3106", error_text)
            .with_help("see whether the disk that holds the workspace is full"),
        _ => bug(error_text),
    }
}

/// The component is none of ours, or damaged.
pub fn component(reason: impl fmt::Display) -> StepError {
    StepError::new(ErrorClass::User, "W3107", format!("the component cannot be run: {reason}"))
        .with_argument("source")
        .with_help("build it for the world `mlp:transform/transform@0.1.0`, without WASI")
}

pub fn cancelled() -> StepError {
    StepError::new(ErrorClass::Cancelled, "W3108", "the transform was interrupted")
}

pub fn bug(what: impl fmt::Display) -> StepError {
    StepError::new(ErrorClass::Bug, "W3901", what.to_string())
        .with_help("this is a mistake of mlp; please report it with the pipeline that shows it")
}
