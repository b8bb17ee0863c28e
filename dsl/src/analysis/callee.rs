//! What is called and what stands where in its brackets: arguments by position, by name, and by a bare name behind the
//! first named one. The rules are those of the checker; here wrong arguments are simply bound to nothing.

use std::rc::Rc;

use mlp_model::{ArgType, Argument, Catalogue, Constructor, InputType, ParamType, Signature, Value};

use super::tree::{Decl, Group, Kind, Term};
use crate::check::{EFFECT, OPTIONS};

/// An operation, a constructor, a template of the file or the options of a step.
#[derive(Clone)]
pub enum Callee<'c> {
    Operation(&'c Signature),
    Constructor(&'c Constructor),
    /// A `def`.
    Template(Rc<Template<'c>>),
    /// `with { .. }`.
    Options,
}

/// A `def`, as it is called.
pub struct Template<'c> {
    pub name: String,
    pub doc: String,
    pub formals: Vec<Formal<'c>>,
}

/// One argument, as a user writes it.
#[derive(Debug, Clone)]
pub struct Formal<'c> {
    pub name: &'c str,
    pub doc: &'c str,
    pub takes: Takes<'c>,
    /// `None`: must be written.
    pub default: Option<Value>,
    /// The default as it is written, where its value is not known.
    pub written: Option<&'c str>,
}

/// What can stand somewhere.
#[derive(Debug, Clone, Copy)]
pub enum Takes<'c> {
    Input(&'c InputType),
    Param(&'c ParamType),
    /// Any value.
    Value,
    /// An artifact of any kind.
    Artifact,
    /// A column of the table bound to the argument so called.
    Column(&'c str),
    /// A list of them.
    Columns(&'c str),
}

/// How an item of the brackets is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// To this formal, by place or by its name.
    Formal(usize),
    /// By a bare name that is the formal's.
    Short(usize),
    Nothing,
}

static DURATION: ParamType = ParamType::Duration;
static MODEL: InputType = InputType::Model;
static TABLE: InputType = InputType::Table(mlp_model::RoleRule::Any);
static REPORT: InputType = InputType::Report;
static FILE: InputType = InputType::File;
static FOLDER: InputType = InputType::Folder;
static SCHEMA: ParamType = ParamType::Schema;
static BOOL: ParamType = ParamType::Bool;
static INT: ParamType = ParamType::Int { min: i64::MIN, max: i64::MAX };
static FLOAT: ParamType = ParamType::Float { min: f64::NEG_INFINITY, max: f64::INFINITY };
static STR: ParamType = ParamType::Str;

impl<'c> Callee<'c> {
    pub fn name(&self) -> &str {
        match self {
            Self::Template(template) => &template.name,
            Self::Operation(signature) => signature.name.strip_prefix(EFFECT).unwrap_or(signature.name),
            Self::Constructor(constructor) => constructor.name,
            Self::Options => "with",
        }
    }

    pub fn doc(&self) -> &str {
        match self {
            Self::Template(template) => &template.doc,
            Self::Operation(signature) => signature.doc,
            Self::Constructor(constructor) => constructor.doc,
            Self::Options => "How to run, not what to compute; no part of the cache key.",
        }
    }

    /// Returns the arguments in the order in which they bind.
    pub fn formals(&self) -> Vec<Formal<'c>> {
        let mut formals = Vec::new();
        match self {
            Self::Operation(signature) => signature.args.iter().for_each(|argument| formals.extend(of(argument))),
            Self::Constructor(constructor) => constructor.args.iter().for_each(|argument| formals.extend(of(argument))),
            Self::Template(template) => formals.clone_from(&template.formals),
            Self::Options => formals.extend(OPTIONS.iter().map(|option| Formal {
                name: option.name,
                doc: option.doc,
                takes: Takes::Param(&option.ty),
                default: Some(option.default.clone()),
                written: None,
            })),
        }
        formals
    }

    /// Says what each item of the brackets is bound to.
    pub fn bind(&self, formals: &[Formal<'_>], group: &Group<'_>) -> Vec<Binding> {
        let by_name = |name: &str| formals.iter().position(|formal| formal.name == name);
        let mut has_named = matches!(self, Self::Options);
        let bound = group.items.iter().enumerate().map(|(position, item)| {
            if let Some(name) = item.name {
                has_named = true;
                return by_name(name.name()).map_or(Binding::Nothing, Binding::Formal);
            }
            if !has_named {
                return if position < formals.len() { Binding::Formal(position) } else { Binding::Nothing };
            }
            item.bare().and_then(|word| by_name(word.text)).map_or(Binding::Nothing, Binding::Short)
        });
        bound.collect()
    }
}

fn of<'c>(argument: &'c Argument) -> Vec<Formal<'c>> {
    let formal = |name, doc, takes| Formal { name, doc, takes, default: argument.default.clone(), written: None };
    match &argument.ty {
        ArgType::Input(InputType::Predictions { model, data, .. }) => vec![
            formal(model, "the model to judge", Takes::Input(&MODEL)),
            formal(data, "the rows to judge it by; the model has not seen them", Takes::Input(&TABLE)),
        ],
        ArgType::Input(ty) => vec![formal(argument.name, argument.doc, Takes::Input(ty))],
        ArgType::Param(ty) => vec![formal(argument.name, argument.doc, Takes::Param(ty))],
    }
}

impl<'c> Template<'c> {
    /// Reads the head of a `def`, of which `text` is the file.
    pub fn read(decl: &Decl<'c>, text: &'c str, name: String, doc: String) -> Option<Self> {
        let Kind::Other { terms, .. } = &decl.kind else { return None };
        let Some(Term::Group(params)) = terms.first() else { return None };
        let named: Vec<_> = params.items.iter().filter_map(|item| Some((item.name?.name(), item))).collect();
        let table = named.iter().find(|(_, item)| item.type_word() == "table").map_or("", |(name, _)| *name);
        let formals = named.into_iter().map(|(name, item)| {
            let takes = match item.type_word() {
                "table" => Takes::Input(&TABLE),
                "model" => Takes::Input(&MODEL),
                "report" => Takes::Input(&REPORT),
                "file" => Takes::Input(&FILE),
                "folder" => Takes::Input(&FOLDER),
                "column" => Takes::Column(table),
                "columns" => Takes::Columns(table),
                "schema" => Takes::Param(&SCHEMA),
                "bool" => Takes::Param(&BOOL),
                "int" => Takes::Param(&INT),
                "float" => Takes::Param(&FLOAT),
                "str" => Takes::Param(&STR),
                "duration" => Takes::Param(&DURATION),
                _ => Takes::Value,
            };
            let behind = item.terms.iter().find_map(|term| match term {
                Term::Sign(sign) if sign.text == "=" => text.get(sign.end..item.end),
                _ => None,
            });
            // Rules follow the default.
            let written = behind.map(|behind| {
                let end = [" in ", " >", " <"].into_iter().filter_map(|rule| behind.find(rule)).min();
                behind[..end.unwrap_or(behind.len())].trim()
            });
            Formal { name, doc: "", takes, default: written.map(|_| Value::Null), written }
        });
        Some(Self { formals: formals.collect(), name, doc })
    }
}

/// Returns the operation or constructor that is called so; an effect calls others than a step.
pub fn find<'c>(catalogue: &'c Catalogue, name: &str, takes: Option<Takes<'c>>, is_effect: bool) -> Option<Callee<'c>> {
    if let Some(Takes::Param(ty)) = takes
        && let Some(constructor) = constructors(ty).iter().find(|constructor| constructor.name == name)
    {
        return Some(Callee::Constructor(constructor));
    }
    operation(catalogue, name, is_effect).map(Callee::Operation)
}

/// Returns the operation that is called so.
pub fn operation<'c>(catalogue: &'c Catalogue, name: &str, is_effect: bool) -> Option<&'c Signature> {
    let effect = is_effect.then(|| catalogue.get(&format!("{EFFECT}{name}"))).flatten();
    effect.or_else(|| catalogue.get(name))
}

/// Returns the constructors that a parameter takes.
pub fn constructors(ty: &ParamType) -> &[Constructor] {
    match ty {
        ParamType::Call(constructors) => constructors,
        ParamType::List(item) | ParamType::Map(item) => constructors(item),
        _ => &[],
    }
}

impl<'c> Takes<'c> {
    /// Returns what a part of it takes: an item of a list, a member of a record.
    pub fn inside(self, bracket: u8) -> Self {
        match (self, bracket) {
            (Self::Param(ParamType::Columns { of }), b'[') => Self::Column(of),
            (Self::Columns(of), b'[') => Self::Column(of),
            (Self::Param(ParamType::List(item)), b'[') => Self::Param(item),
            (Self::Param(ParamType::Map(member)), b'{') => Self::Param(member),
            (Self::Input(InputType::Record), b'{') => Self::Artifact,
            (same, _) => same,
        }
    }

    /// Returns the table argument whose columns can stand here by themselves.
    pub fn column_of(self) -> Option<&'c str> {
        match self {
            Self::Column(of) => Some(of),
            Self::Param(ParamType::Column { of }) => Some(of),
            _ => None,
        }
    }

    /// Returns the words that can stand here.
    pub fn choices(self) -> &'c [&'static str] {
        match self {
            Self::Param(ParamType::Choice(words)) => words,
            _ => &[],
        }
    }
}
