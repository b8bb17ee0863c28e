//! `mlp plan FILE --values`: every parameter with its value and who gives it.

use std::path::Path;

use mlp_dsl::{AS_OF, Giver, show};
use mlp_model::ParamValue;
use serde_json::{Value, json};

use crate::args::PipelineArgs;
use crate::compile::{Compiled, compile};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::settings::{SETTINGS_FILE, place_of};

/// Shows the values that a run would have.
pub fn values(args: &PipelineArgs, output: &Output) -> Result<Exit, Failure> {
    let compiled = compile(args, output)?;
    let mut params: Vec<_> = compiled.pipeline.params.iter().collect();
    params.sort_by_key(|(_, param)| param.span.start);
    let shown: Vec<Shown> = params.into_iter().map(|(name, param)| Shown::of(name, param, &compiled)).collect();
    let (pipeline, profile) = (&compiled.pipeline.name, &compiled.values.profile);
    if output.json {
        let values: Vec<_> = shown.iter().map(Shown::json).collect();
        output.print_json(&json!({ "pipeline": pipeline, "profile": profile, "values": values }));
        return Ok(Exit::Done);
    }
    let profile = profile.as_ref().map_or(String::new(), |profile| format!(", profile {profile}"));
    let mut lines = vec![format!("values of {pipeline}{profile}")];
    let given: Vec<_> = shown.iter().map(|value| format!("{} = {}", value.name, value.value)).collect();
    // A long list does not push all origins out of sight.
    let width = given.iter().map(|text| text.chars().count()).filter(|n| *n <= 40).max().unwrap_or(0);
    lines.extend(given.iter().zip(&shown).map(|(text, value)| format!("  {text:<width$}   {}", value.origin())));
    if shown.is_empty() {
        lines.push("  it has no parameters".to_owned());
    }
    output.print(lines.join("\n"));
    Ok(Exit::Done)
}

/// A parameter, ready to be shown.
struct Shown {
    name: String,
    value: String,
    /// `command line`, `environment`, `profile` or `file`.
    by: &'static str,
    /// In words.
    giver: String,
    /// Where it is written, if in a file: the file, line and column.
    place: Option<(String, usize, usize)>,
}

impl Shown {
    fn of(name: &str, param: &ParamValue, compiled: &Compiled) -> Self {
        let (name, value) = (name.to_owned(), show(&param.value));
        let assignments = &compiled.values.assignments;
        let Some(assignment) = assignments.of(&name, &compiled.pipeline.name) else {
            let place = compiled.pipeline.sources.get(param.span.source).map(|source| {
                let (line, column) = place_of(&source.text, param.span.start);
                (file_name(&source.path), line, column)
            });
            return Self { name, value, by: "file", giver: "default".to_owned(), place };
        };
        let (by, giver, place) = match &assignment.by {
            Giver::Argument if name == AS_OF => ("command line", "--as-of".to_owned(), None),
            Giver::Argument => ("command line", "--param".to_owned(), None),
            Giver::Variable => ("environment", format!("MLP_PARAM_{name}"), None),
            Giver::Profile { profile, value, .. } => {
                let place = assignments.settings.as_ref().map(|source| {
                    let (line, column) = place_of(&source.text, value.start);
                    (SETTINGS_FILE.to_owned(), line, column)
                });
                ("profile", format!("profile {profile}"), place)
            }
        };
        Self { name, value, by, giver, place }
    }

    fn origin(&self) -> String {
        match &self.place {
            Some((file, line, _)) => format!("{}, {file}:{line}", self.giver),
            None => self.giver.clone(),
        }
    }

    fn json(&self) -> Value {
        let (file, line, column) = match &self.place {
            Some((file, line, column)) => (json!(file), json!(line), json!(column)),
            None => (Value::Null, Value::Null, Value::Null),
        };
        json!({
            "name": self.name, "value": self.value, "by": self.by, "giver": self.giver,
            "file": file, "line": line, "column": column,
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
