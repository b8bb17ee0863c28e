//! What a step can be called with and what it gives back, as data: the compiler takes the catalogue, it knows no step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::{CallClass, Named, Role, Type, Value, Word};

/// An operation of the catalogue.
#[derive(Clone)]
pub struct Signature {
    /// As the language writes it: `table.split`.
    pub name: &'static str,
    /// Part of every cache key; raised when results for the same inputs change.
    pub version: u32,
    /// The runner that executes it: `builtin`, `process`, `wasm`, `torch`.
    pub runner: &'static str,
    /// The words that may declare it: `source` for what reads the outside world, else `step`.
    pub class: CallClass,
    /// First line: one short sentence. Then details, shapes and units.
    pub doc: &'static str,
    /// In the order in which positional arguments bind.
    pub args: Vec<Argument>,
    /// Gives the outputs' names and types, and the parameters as they go into the key.
    pub infer: Arc<dyn Infer>,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

/// One argument of an operation or constructor.
#[derive(Debug, Clone)]
pub struct Argument {
    pub name: &'static str,
    pub ty: ArgType,
    /// `None`: must be written. `Some(Value::Null)`: may be left out and has no value then.
    pub default: Option<Value>,
    pub doc: &'static str,
}

#[derive(Debug, Clone)]
pub enum ArgType {
    Input(InputType),
    Param(ParamType),
}

/// An artifact that the step reads.
#[derive(Debug, Clone)]
pub enum InputType {
    Table(RoleRule),
    Model,
    Report,
    /// A node's file, or a string: the path of a file beside the pipeline, hashed with the step.
    File,
    /// The same for a folder, hashed as a tree.
    Folder,
    /// A record of named artifacts of any kind, `file("..")` and `folder("..")` literals included: bound as inputs
    /// `ARGUMENT.NAME`. A single unnamed one is bound by the name of the node it comes from.
    Record,
    /// A table of predictions with columns `score` and the target. Written by the user as two arguments, a model and
    /// a table: the checker adds a step `NODE.predictions` that scores the table with the model's flavour
    /// (`FLAVOUR.predict`), and binds its output here. `model` and `data` name the two arguments of the user.
    Predictions {
        model: &'static str,
        data: &'static str,
        data_role: RoleRule,
    },
}

/// Which rows a table argument may hold. A breach is a compile error unless the call says `allow` as true.
#[derive(Debug, Clone)]
pub enum RoleRule {
    Any,
    /// Refuses the listed roles. `allow` names the boolean parameter that overrides it.
    Not {
        roles: &'static [Role],
        allow: Option<&'static str>,
        why: &'static str,
    },
}

/// A value known when the file is checked.
#[derive(Debug, Clone)]
pub enum ParamType {
    /// Inclusive bounds.
    Int {
        min: i64,
        max: i64,
    },
    /// Inclusive bounds; an int literal is accepted.
    Float {
        min: f64,
        max: f64,
    },
    Bool,
    Str,
    /// A string, or `secret("NAME")`: bound as a `Value::Call` of that name, so that a key has the secret's name alone.
    StrOrSecret,
    Duration,
    /// One of these words, written as an identifier or a string.
    Choice(&'static [&'static str]),
    /// A column of the table argument `of`, written as an identifier or a string; bound as `Value::Str`.
    Column {
        of: &'static str,
    },
    /// A list of such columns; bound as a list of `Value::Str`.
    Columns {
        of: &'static str,
    },
    /// The name of a declared schema; bound as `Value::Schema`.
    Schema,
    /// One of these constructors; bound as `Value::Call`.
    Call(Vec<Constructor>),
    List(Box<ParamType>),
    /// A record with any names: `{ name: value, .. }`.
    Map(Box<ParamType>),
    /// Any literal: bool, int, float, string.
    Literal,
}

/// A value with named parts, such as a net: `torch.mlp([64, 32], dropout: 0.2)`.
#[derive(Debug, Clone)]
pub struct Constructor {
    pub name: &'static str,
    pub doc: &'static str,
    /// All of type [`ArgType::Param`].
    pub args: Vec<Argument>,
}

/// A call whose arguments have been bound and checked one by one.
pub struct CheckedCall<'a> {
    pub inputs: &'a Named<Type>,
    /// With defaults filled in.
    pub params: &'a Named<Value>,
}

/// What [`Infer`] found.
#[derive(Debug, Clone, Default)]
pub struct Inferred {
    /// Name and type of each output, in order. A single output is called `out` and is meant by the node's name alone.
    pub outputs: Vec<(Word, Type)>,
    /// Outputs that the step may leave out.
    pub optional: BTreeSet<String>,
    /// Parameters to replace: defaults that depend on columns, normalised code.
    pub params: Named<Value>,
    /// Inputs of records that the call names one by one, so that it cannot do without: `inputs.model_16`. Of all others it
    /// takes those that there are.
    pub named: BTreeSet<String>,
}

/// Checks a call as a whole and says what it results in. Pure: looks at nothing but its arguments.
pub trait Infer: Send + Sync {
    fn infer(&self, call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>>;
}

impl<F> Infer for F
where
    F: Fn(&CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> + Send + Sync,
{
    fn infer(&self, call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
        self(call)
    }
}

/// A mistake in one argument, found by [`Infer`].
#[derive(Debug, Clone, PartialEq)]
pub struct ArgError {
    /// `E0312` and the like.
    pub code: &'static str,
    /// The argument it is in; `None` for the call as a whole.
    pub argument: Option<String>,
    /// Which element of a list argument.
    pub element: Option<usize>,
    /// Where inside a string argument, in bytes of its value.
    pub within: Option<Range<usize>>,
    pub message: String,
    pub label: Option<String>,
    pub help: Option<String>,
}

impl ArgError {
    pub fn new(code: &'static str, argument: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            argument: Some(argument.to_owned()),
            element: None,
            within: None,
            message: message.into(),
            label: None,
            help: None,
        }
    }

    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All operations, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    operations: BTreeMap<&'static str, Signature>,
    modules: BTreeMap<&'static str, &'static str>,
}

impl Catalogue {
    /// Collects signatures; a later one of the same name replaces an earlier one.
    pub fn new(signatures: impl IntoIterator<Item = Signature>) -> Self {
        let operations = signatures.into_iter().map(|signature| (signature.name, signature)).collect();
        Self { operations, modules: BTreeMap::new() }
    }

    /// Adds modules of the language, by name: `use std.NAME as ..` reads them.
    pub fn with_modules(mut self, modules: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.modules.extend(modules);
        self
    }

    /// Returns the text of a module.
    pub fn module(&self, name: &str) -> Option<&'static str> {
        self.modules.get(name).copied()
    }

    /// Returns names and texts of all modules.
    pub fn modules(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.modules.iter().map(|(name, text)| (*name, *text))
    }

    pub fn get(&self, name: &str) -> Option<&Signature> {
        self.operations.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Signature> {
        self.operations.values()
    }
}
