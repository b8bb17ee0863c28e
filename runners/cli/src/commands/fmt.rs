//! `mlp fmt [FILES..]`: writes files in the one style.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use mlp_dsl::{Diagnostic, FormatError, SourceText};
use serde_json::{Value, json};
use similar::TextDiff;

use super::files;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;

/// Lines around a change that a diff shows.
const CONTEXT: usize = 3;

/// What became of one file.
enum Outcome {
    Unchanged,
    /// With `--check`: the text as it should be.
    Changed {
        diff: String,
    },
    /// It was left as it is.
    Broken(Vec<Diagnostic>, SourceText),
}

pub fn fmt(arguments: &[PathBuf], check: bool, output: &Output) -> Result<Exit, Failure> {
    if arguments.iter().any(|argument| argument.as_os_str() == "-") {
        return match arguments {
            [_] => filter(check, output),
            _ => Err(Failure::usage("`-` is standard input and stands alone")
                .with_help("format files and standard input with two commands")),
        };
    }
    let files = files::pipelines(arguments)?;
    let (mut n_changed, mut n_broken) = (0, 0);
    let mut told = Vec::new();
    for file in &files {
        let shown = file.display().to_string();
        let outcome = format_file(file, check)?;
        told.push(as_json(&shown, &outcome, check));
        match outcome {
            Outcome::Unchanged => {}
            Outcome::Changed { diff } => {
                n_changed += 1;
                if !output.json {
                    output.print(if check { diff } else { format!("formatted {shown}") });
                }
            }
            Outcome::Broken(diagnostics, source) => {
                n_broken += 1;
                show(&diagnostics, source, output);
            }
        }
    }
    if output.json {
        output.print_json(&json!({ "ok": n_broken == 0 && !(check && n_changed > 0), "files": told }));
    }
    finish(files.len(), n_changed, n_broken, check, output)
}

fn finish(n_files: usize, n_changed: usize, n_broken: usize, check: bool, output: &Output) -> Result<Exit, Failure> {
    if n_broken > 0 {
        let left = if n_broken == 1 { "it was left as it is" } else { "they were left as they are" };
        return failed(
            Exit::Usage,
            format!("{} cannot be read; {left}", words::plural(n_broken, "file")),
            None,
            output,
        );
    }
    if check && n_changed > 0 {
        let message = format!("{n_changed} of {} not formatted", words::plural(n_files, "file"));
        return failed(Exit::StepFailed, message, Some("`mlp fmt` does it"), output);
    }
    if !output.json && n_changed == 0 {
        output.note(format!("{} formatted already.", words::plural(n_files, "file")));
    }
    Ok(Exit::Done)
}

/// Ends a command whose JSON document, if one is asked for, has been printed already.
fn failed(exit: Exit, message: String, help: Option<&str>, output: &Output) -> Result<Exit, Failure> {
    if output.json {
        return Ok(exit);
    }
    let failure = Failure::new(exit, message);
    Err(match help {
        Some(help) => failure.with_help(help),
        None => failure,
    })
}

/// Formats standard input to standard output, for editors.
fn filter(check: bool, output: &Output) -> Result<Exit, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::new(Exit::Environment, format!("cannot read standard input: {e}")))?;
    let path = PathBuf::from("<stdin>");
    let outcome = format_text(&path, bytes)?;
    match outcome {
        (_, Outcome::Broken(diagnostics, source)) => {
            if output.json {
                let told = as_json("<stdin>", &Outcome::Broken(diagnostics, source), check);
                output.print_json(&json!({ "ok": false, "files": [told] }));
            } else {
                show(&diagnostics, source, output);
            }
            failed(Exit::Usage, "standard input cannot be read as a pipeline".into(), None, output)
        }
        (formatted, outcome) if check || output.json => {
            let is_same = matches!(outcome, Outcome::Unchanged);
            if output.json {
                let mut told = as_json("<stdin>", &outcome, check);
                told["text"] = json!(formatted);
                output.print_json(&json!({ "ok": is_same || !check, "files": [told] }));
            } else if let Outcome::Changed { diff } = outcome {
                output.print(diff);
            }
            if is_same || !check {
                Ok(Exit::Done)
            } else {
                failed(Exit::StepFailed, "standard input is not formatted".into(), None, output)
            }
        }
        (formatted, _) => {
            output.print(formatted);
            Ok(Exit::Done)
        }
    }
}

fn format_file(file: &Path, check: bool) -> Result<Outcome, Failure> {
    let bytes = std::fs::read(file).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Failure::usage(format!("cannot read `{}`: file not found", file.display())),
        _ => Failure::new(Exit::Environment, format!("cannot read `{}`: {e}", file.display())),
    })?;
    let (formatted, outcome) = format_text(file, bytes)?;
    if !check && matches!(outcome, Outcome::Changed { .. }) {
        replace(file, &formatted).map_err(|e| {
            Failure::new(Exit::Environment, format!("cannot write `{}`: {e}", file.display()))
                .with_help("the file is as it was")
        })?;
    }
    Ok(outcome)
}

fn format_text(file: &Path, bytes: Vec<u8>) -> Result<(String, Outcome), Failure> {
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let at = e.utf8_error().valid_up_to();
            let line = e.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            let message =
                format!("`{}` is not UTF-8 text: byte {at}, on line {line}, begins no character", file.display());
            let problem = Diagnostic::error("E0102", message).help("save the file as UTF-8");
            let source = SourceText { path: file.to_owned(), text: String::new() };
            return Ok((String::new(), Outcome::Broken(vec![problem], source)));
        }
    };
    match mlp_dsl::format(&text) {
        Ok(formatted) if formatted == text => Ok((formatted, Outcome::Unchanged)),
        Ok(formatted) => {
            let diff = diff(file, &text, &formatted);
            Ok((formatted, Outcome::Changed { diff }))
        }
        Err(FormatError::Syntax(diagnostics)) => {
            let source = SourceText { path: file.to_owned(), text };
            Ok((String::new(), Outcome::Broken(diagnostics, source)))
        }
        Err(e @ FormatError::Changed) => Err(Failure::new(Exit::Bug, format!("`{}`: {e}", file.display()))
            .with_help("the file is as it was; please report it with the file")),
    }
}

fn diff(file: &Path, before: &str, after: &str) -> String {
    let (from, to) = (file.display().to_string(), format!("{} (formatted)", file.display()));
    TextDiff::from_lines(before, after).unified_diff().context_radius(CONTEXT).header(&from, &to).to_string()
}

/// Replaces a file's content in one moment: who reads it sees the old text or the new one, whatever happens.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    // A link stays a link.
    let file = file.canonicalize()?;
    let permissions = std::fs::metadata(&file)?.permissions();
    if permissions.readonly() {
        return Err(std::io::Error::new(ErrorKind::PermissionDenied, "the file is write-protected"));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut new = std::fs::File::create_new(&beside)?;
        new.set_permissions(permissions)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&beside, &file)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn show(diagnostics: &[Diagnostic], source: SourceText, output: &Output) {
    if output.json {
        return;
    }
    let sources = [source];
    for diagnostic in diagnostics {
        output.note(mlp_dsl::render(diagnostic, &sources, output.colour, output.width()));
    }
}

fn as_json(file: &str, outcome: &Outcome, check: bool) -> Value {
    match outcome {
        Outcome::Unchanged => json!({ "file": file, "status": "unchanged" }),
        Outcome::Changed { diff } if check => json!({ "file": file, "status": "not_formatted", "diff": diff }),
        Outcome::Changed { .. } => json!({ "file": file, "status": "formatted" }),
        Outcome::Broken(diagnostics, source) => {
            let sources = std::slice::from_ref(source);
            let diagnostics: Vec<_> = diagnostics.iter().map(|d| mlp_dsl::to_json(d, sources)).collect();
            json!({ "file": file, "status": "broken", "diagnostics": diagnostics })
        }
    }
}
