//! What a run is asked, read from the arguments as they come.
//!
//! Knows only those ways of asking whose answer it can be sure of; for every other argument there is no question, and
//! the ordinary parser has the word. What decides the answer is in the question, what only decides how it is shown or
//! how a run would go about its work is not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mlp_model::Digest;
use mlp_store::snapshot::stamp_of;

use crate::args::Colour;
use crate::values::variables;
use crate::workspace::Workspace;

/// What is asked, and where.
#[derive(Debug, Clone)]
pub struct Question {
    /// The workspace.
    pub root: PathBuf,
    /// What the answer is kept under.
    pub name: Digest,
    /// The question in full, and which program answers.
    pub request: Vec<u8>,
    pub json: bool,
    pub colour: Colour,
}

/// The arguments of a run that decide its answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Asked {
    pub file: String,
    pub targets: Vec<String>,
    pub params: BTreeMap<String, String>,
    pub profile: Option<String>,
    pub as_of: Option<String>,
    pub json: bool,
    pub colour: Option<Colour>,
}

impl Question {
    /// Reads the arguments, the program's name left out.
    pub fn of(args: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let asked = Asked::parse(args)?;
        let root = Workspace::root_of(Path::new(&asked.file)).ok()?;
        // As it is written, with links: the paths in a file are relative to the folder by which it is reached.
        let file = std::path::absolute(&asked.file).ok()?;
        // Each profile, and what the environment sets, is a question of its own: to go back and forth makes no answer stale.
        let variables: Vec<_> =
            variables().into_iter().map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        let variables = variables.into_iter().collect::<Option<Vec<_>>>()?;
        let values = (&asked.params, &asked.profile, &asked.as_of, variables);
        let question = serde_json::to_vec(&(file.to_str()?, &asked.targets, values)).ok()?;
        let program = stamp_of(Path::new("/proc/self/exe"))?;
        let request = serde_json::to_vec(&(env!("CARGO_PKG_VERSION"), program)).ok()?;
        Some(Self {
            root,
            name: Digest::of(&question),
            request: [question, request].concat(),
            json: asked.json,
            colour: asked.colour.unwrap_or(Colour::Auto),
        })
    }
}

impl Asked {
    /// Reads `run FILE [TARGET..]` with the options known here, each at most once.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut args = args.into_iter().map(|arg| arg.into_string().ok());
        if args.next()?? != "run" {
            return None;
        }
        let mut asked = Self::default();
        let mut words = Vec::new();
        let (mut jobs, mut keep_going) = (None, None);
        while let Some(arg) = args.next() {
            let arg = arg?;
            let mut once_more = |value: Option<String>| match value {
                Some(value) => Some(value),
                // An option's value may not look like an option.
                None => args.next()?.filter(|value| !value.starts_with('-')),
            };
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (arg.as_str(), None),
            };
            match name {
                "--json" if value.is_none() && !asked.json => asked.json = true,
                "-k" | "--keep-going" if value.is_none() => once(&mut keep_going, ())?,
                "--color" => once(&mut asked.colour, Colour::from_str(&once_more(value)?, false).ok()?)?,
                "-j" | "--jobs" => once(&mut jobs, once_more(value)?.parse::<NonZeroUsize>().ok()?)?,
                "--param" => {
                    let param = once_more(value)?;
                    let (name, value) = param.split_once('=')?;
                    if asked.params.insert(name.trim().to_owned(), value.to_owned()).is_some() {
                        return None;
                    }
                }
                "--as-of" => once(&mut asked.as_of, once_more(value)?)?,
                "--profile" => once(&mut asked.profile, once_more(value)?)?,
                option if option.starts_with('-') => return None,
                _ => words.push(arg),
            }
        }
        let mut words = words.into_iter();
        asked.file = words.next()?;
        asked.targets = words.collect();
        Some(asked)
    }
}

fn text(text: OsString) -> Option<String> {
    text.into_string().ok()
}

/// Sets what may be said once.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}
