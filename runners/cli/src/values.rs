//! What the command line, the environment and a profile give to the parameters of a pipeline. The one place for all
//! commands; what it reads is what the question of a kept answer has (`snapshot`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use mlp_dsl::{AS_OF, Assignment, Assignments, Giver, SourceText, Written};

use crate::args::ValueArgs;
use crate::output::Failure;
use crate::settings::{Entry, SETTINGS_FILE, Settings, did};

/// Chooses the profile where the command line does not.
const PROFILE: &str = "MLP_PROFILE";

/// Begins the variables that set parameters.
const PARAM: &str = "MLP_PARAM_";

/// What is given, the most important first, and the profile it comes from.
#[derive(Debug, Clone)]
pub struct Values {
    pub assignments: Assignments,
    pub profile: Option<String>,
}

/// Collects what is given: command line before environment before profile.
pub fn assignments(args: &ValueArgs, settings: &Settings) -> Result<Values, Failure> {
    let mut list = of_arguments(&args.params)?;
    if let Some(day) = &args.as_of {
        if list.iter().any(|known| known.name == AS_OF) {
            return Err(
                Failure::usage("`--as-of` and `--param as_of=..` are both given").with_help("leave out one of them")
            );
        }
        list.push(text(AS_OF, day, Giver::Argument));
    }
    list.extend(of_environment()?);
    let profile = profile(args, settings)?;
    if let Some(found) = profile.as_ref().and_then(|name| settings.profiles.get_key_value(name)) {
        list.extend(of_profile(found.0, found.1));
    }
    let settings = settings.source.as_ref().filter(|_| profile.is_some()).map(|source| {
        let here = std::env::current_dir().unwrap_or_default();
        let path = source.path.strip_prefix(here).unwrap_or(&source.path).to_owned();
        SourceText { path, text: source.text.clone() }
    });
    Ok(Values { assignments: Assignments { list, settings }, profile })
}

/// Returns the variables that decide about parameters, sorted.
pub fn variables() -> Vec<(OsString, OsString)> {
    let is_ours = |name: &OsString| name == PROFILE || name.as_bytes().starts_with(PARAM.as_bytes());
    let mut variables: Vec<_> = std::env::vars_os().filter(|(name, _)| is_ours(name)).collect();
    variables.sort();
    variables
}

fn profile(args: &ValueArgs, settings: &Settings) -> Result<Option<String>, Failure> {
    let (name, asked) = match (&args.profile, std::env::var_os(PROFILE).filter(|name| !name.is_empty())) {
        (Some(name), _) => (name.clone(), "--profile"),
        (None, Some(name)) => (name.to_string_lossy().into_owned(), PROFILE),
        (None, None) => return Ok(settings.profile.clone()),
    };
    if settings.profiles.contains_key(&name) {
        return Ok(Some(name));
    }
    let file = settings.source.as_ref().map_or("the workspace has no mlp.yaml", |_| "mlp.yaml has no such profile");
    let known = did(&name, settings.profiles.keys());
    Err(Failure::usage(format!("`{asked}` asks for profile `{name}`, but {file}{known}")).with_help(format!(
        "declare it in {SETTINGS_FILE}, at the root of the workspace: `profiles: {{ {name}: {{ params: {{ .. }} }} }}`"
    )))
}

fn of_arguments(params: &[String]) -> Result<Vec<Assignment>, Failure> {
    let mut list: Vec<Assignment> = Vec::new();
    for param in params {
        let Some((name, value)) = param.split_once('=') else {
            return Err(Failure::usage(format!("`--param {param}` has no `=`")).with_help("write --param NAME=VALUE"));
        };
        let name = name.trim();
        if list.iter().any(|known| known.name == name) {
            return Err(Failure::usage(format!("parameter `{name}` is given twice")));
        }
        list.push(text(name, value, Giver::Argument));
    }
    Ok(list)
}

fn of_environment() -> Result<Vec<Assignment>, Failure> {
    let given = variables().into_iter().filter(|(name, _)| name != PROFILE);
    let read = |(name, value): (OsString, OsString)| match (name.to_str(), value.to_str()) {
        (Some(name), Some(value)) => Ok(text(&name[PARAM.len()..], value, Giver::Variable)),
        _ => Err(Failure::usage(format!("the environment variable `{}` is not UTF-8", name.to_string_lossy()))),
    };
    given.map(read).collect()
}

fn text(name: &str, value: &str, by: Giver) -> Assignment {
    Assignment { name: name.to_owned(), written: Written::Text(value.to_owned()), by }
}

/// Returns what a profile gives, what is for one pipeline first.
fn of_profile(profile: &str, values: &crate::settings::Profile) -> Vec<Assignment> {
    let assignment = |entry: &Entry, pipeline| Assignment {
        name: entry.name.clone(),
        written: entry.written.clone(),
        by: Giver::Profile {
            profile: profile.to_owned(),
            pipeline,
            name: entry.name_place.clone(),
            value: entry.place.clone(),
        },
    };
    let of_pipelines = values.pipelines.iter().flat_map(|(pipeline, place, entries)| {
        entries.iter().map(move |entry| assignment(entry, Some((pipeline.clone(), place.clone()))))
    });
    of_pipelines.chain(values.params.iter().map(|entry| assignment(entry, None))).collect()
}
