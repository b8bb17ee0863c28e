//! What is given to parameters from outside of the file: by the command line, the environment and the profiles of a
//! settings file. Knows neither types nor how any of these is read.

use std::ops::Range;

use mlp_model::SourceText;

/// The parameter of a pipeline that says which day a run is for.
pub const AS_OF: &str = "as_of";

/// Values for parameters, the most important first: of several for one parameter the first one counts.
#[derive(Debug, Clone, Default)]
pub struct Assignments {
    pub list: Vec<Assignment>,
    /// The settings file that the places of [`Giver::Profile`] are in.
    pub settings: Option<SourceText>,
}

/// A value for a parameter, not read yet: its type is the parameter's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The parameter.
    pub name: String,
    pub written: Written,
    pub by: Giver,
}

/// Who gives a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Giver {
    /// `--param NAME=VALUE`.
    Argument,
    /// `MLP_PARAM_NAME=VALUE`, for each pipeline that has the parameter.
    Variable,
    Profile {
        profile: String,
        /// The only pipeline that it is for, and where its name stands; otherwise it is for each that has the parameter.
        pipeline: Option<(String, Range<usize>)>,
        /// Where the parameter's name stands in the settings file.
        name: Range<usize>,
        value: Range<usize>,
    },
}

/// A value as it is written outside of the language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// As in the file, but strings have no quotes.
    Text(String),
    /// What can only be a string, or what is written like one.
    Quoted(String),
    List(Vec<Written>),
    Nothing,
    /// Something that no parameter can be, in words: `a mapping`.
    Other(&'static str),
}

impl Assignments {
    /// Returns what is given by `--param NAME=VALUE` alone.
    pub fn of_arguments<N: Into<String>, V: Into<String>>(params: impl IntoIterator<Item = (N, V)>) -> Self {
        let assignment = |(name, value): (N, V)| Assignment {
            name: name.into(),
            written: Written::Text(value.into()),
            by: Giver::Argument,
        };
        Self { list: params.into_iter().map(assignment).collect(), settings: None }
    }

    /// Returns what counts for a parameter of a pipeline.
    pub fn of(&self, param: &str, pipeline: &str) -> Option<&Assignment> {
        self.list.iter().find(|assignment| assignment.name == param && assignment.is_for(pipeline))
    }
}

impl Assignment {
    fn is_for(&self, pipeline: &str) -> bool {
        match &self.by {
            Giver::Profile { pipeline: Some((only, _)), .. } => only == pipeline,
            _ => true,
        }
    }

    /// Says who gives what: `` `--param lr=0.1` ``.
    pub fn shown(&self) -> String {
        let (name, written) = (&self.name, self.written.shown());
        match &self.by {
            Giver::Argument if name == AS_OF => format!("`--as-of {written}`"),
            Giver::Argument => format!("`--param {name}={written}`"),
            Giver::Variable => format!("`MLP_PARAM_{name}={written}`"),
            Giver::Profile { profile, .. } => format!("`{name}: {written}` of profile `{profile}`"),
        }
    }

    /// Says who gives it: `` `--param lr` ``.
    pub fn giver(&self) -> String {
        match &self.by {
            Giver::Argument if self.name == AS_OF => "`--as-of`".to_owned(),
            Giver::Argument => format!("`--param {}`", self.name),
            Giver::Variable => format!("`MLP_PARAM_{}`", self.name),
            Giver::Profile { profile, .. } => format!("profile `{profile}`"),
        }
    }

    /// Says how to give another value, at the same place.
    pub fn example(&self, value: &str) -> String {
        match &self.by {
            Giver::Argument if self.name == AS_OF => format!("--as-of {value}"),
            Giver::Argument => format!("--param {}={value}", self.name),
            Giver::Variable => format!("MLP_PARAM_{}={value}", self.name),
            Giver::Profile { .. } => format!("{}: {value}", self.name),
        }
    }
}

impl Written {
    /// Writes it on one line.
    pub fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Quoted(text) => format!("{text:?}"),
            Self::List(items) => format!("[{}]", items.iter().map(Self::shown).collect::<Vec<_>>().join(", ")),
            Self::Nothing => "none".to_owned(),
            Self::Other(what) => format!("({what})"),
        }
    }
}
