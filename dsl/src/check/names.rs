//! What names stand for: one name space for each file and for each expanded body, each name once. Looks at no types.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use mlp_model::{self as model, LoopLimit, Schema, Span, Value};

use super::report::Report;
use crate::ast::{
    CallDecl, DefDecl, ExpectDecl, Expr, ExprKind, GateDecl, GivenDecl, LoopDecl, Name, ParamDecl, ReleaseDecl,
    ResultContent, SchemaDecl,
};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// Words with a meaning of their own, which no declaration can be called.
pub const RESERVED: [&str; 26] = [
    "pipeline", "use", "param", "let", "schema", "def", "source", "step", "for", "gate", "release", "with", "when",
    "bundle", "champion", "true", "false", "none", "and", "or", "not", "in", "if", "then", "else", "as_of",
];

/// What a name stands for: an index into the list of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity {
    /// A parameter, a `let`, or a plain parameter of a `def`.
    Value(usize),
    Schema(usize),
    Module(usize),
    Def(usize),
    Call(usize),
    /// A step that calls a `def`.
    Group(usize),
    Loop(usize),
    /// An artifact that a `def` is given.
    Bound(usize),
    Gate(usize),
    Release(usize),
    /// Declared, but wrong: nothing is known of it.
    Broken,
}

/// A declaration that becomes a node of the pipeline, in the order of the checked pipeline.
#[derive(Debug, Clone, Copy)]
pub enum Item {
    Call(usize),
    Gate(usize),
    Release(usize),
}

#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub entity: Entity,
    pub span: Span,
    /// What declared it, such as `param`.
    pub word: &'static str,
}

/// One name space.
#[derive(Default)]
pub struct Env<'a> {
    pub entries: HashMap<&'a str, Entry, foldhash::fast::RandomState>,
    /// In the order of declaration.
    pub order: Vec<&'a str>,
    /// Where names are looked up that are not declared here.
    pub parent: Option<usize>,
    /// The body of a `def`: of what surrounds it, it sees only what is the same in every call.
    pub is_def: bool,
}

/// A source or step, as often as its body is expanded.
pub struct CallInst<'a> {
    pub decl: &'a CallDecl<'a>,
    pub doc: &'a str,
    /// The node's name: `clean.filled`.
    pub name: Cow<'a, str>,
    pub env: usize,
    pub report: Report<'a>,
    /// Why it does not run: the condition of a call that it is part of is false.
    pub skip: Option<Arc<str>>,
    /// The innermost loop over a table that it is within.
    pub within: Option<usize>,
    pub limits: Limits,
    pub lossy: Lossy,
}

/// Those of the loops that something is in, from the inside out.
pub type Limits = Arc<[LoopLimit]>;

/// The rounds that something is in, of loops that may lose some; from the inside out.
pub type Lossy = Arc<[model::Round]>;

pub struct DefInfo<'a> {
    pub decl: &'a DefDecl<'a>,
    /// The file it is declared in.
    pub env: usize,
}

/// A step that calls a `def`.
pub struct Group<'a> {
    pub decl: &'a CallDecl<'a>,
    pub name: Cow<'a, str>,
    pub def: usize,
    pub env: usize,
    pub report: Report<'a>,
    pub skip: Option<Arc<str>>,
    pub within: Option<usize>,
    pub limits: Limits,
    pub lossy: Lossy,
    /// The name space of the expanded body; `None` where the call is wrong or not expanded.
    pub inner: Option<usize>,
    /// Where following its result leads, once that is known.
    pub shortcut: OnceLock<Hop>,
}

/// A `for`, as often as the body that holds it is expanded.
pub struct LoopInfo<'a> {
    pub decl: &'a LoopDecl<'a>,
    pub name: String,
    pub env: usize,
    pub report: Report<'a>,
    pub skip: Option<Arc<str>>,
    /// The innermost loop over a table that it is within.
    pub within: Option<usize>,
    /// Those of the loops around it.
    pub limits: Limits,
    pub lossy: Lossy,
    /// The column whose values, or the table whose rows it goes over.
    pub over: Option<TableOf<'a>>,
    /// Its values are not known.
    pub is_open: bool,
    /// In the body of a `def` that is checked by itself.
    pub is_template: bool,
    /// In the order of the values. `None` where those are not known.
    pub rounds: Option<Vec<Round>>,
}

/// The table that a loop goes over, as it is written.
#[derive(Clone)]
pub struct TableOf<'a> {
    pub table: Vec<Name<'a>>,
    pub over: OverTable<'a>,
    /// Of the column, or of the table.
    pub span: Span,
}

#[derive(Clone)]
pub enum OverTable<'a> {
    /// The values of this column.
    Column(String),
    /// The rows, of which the body reads these columns, each named where it is read first.
    Rows(Vec<Name<'a>>),
}

pub struct Round {
    /// The value as it stands in the names of nodes: `1`, `north`.
    pub key: String,
    pub env: usize,
}

/// An artifact that a `def` is given, as its caller writes it.
pub struct Bound<'a> {
    pub expr: &'a Expr<'a>,
    /// The caller's name space.
    pub env: usize,
    pub report: Report<'a>,
    pub caller: &'a CallDecl<'a>,
    /// `table` and the like.
    pub word: &'static str,
    pub param: &'a str,
    pub def: &'a str,
    /// Where following it leads, once that is known.
    pub shortcut: OnceLock<Hop>,
}

/// A name that stands for another: [`Entity::Bound`] or [`Entity::Group`].
type Hop = Entity;

pub struct ModuleInfo<'a> {
    /// The name space of its file; `None` if it cannot be read.
    pub env: Option<usize>,
    pub name: Name<'a>,
    pub is_used: AtomicBool,
}

/// What a test says, in the tree of that test.
#[derive(Default)]
pub struct OfTest<'a> {
    pub givens: Vec<&'a GivenDecl<'a>>,
    pub expects: Vec<&'a ExpectDecl<'a>>,
}

/// Everything that has a name.
#[derive(Default)]
pub struct Names<'a> {
    pub envs: Vec<Env<'a>>,
    pub values: Vec<Option<Value>>,
    /// Where a value that a `def` is given is written.
    pub given: HashMap<usize, Span>,
    pub schema_decls: Vec<(&'a SchemaDecl<'a>, usize)>,
    pub schemas: Vec<Option<Schema>>,
    pub modules: Vec<ModuleInfo<'a>>,
    pub defs: Vec<DefInfo<'a>>,
    pub calls: Vec<CallInst<'a>>,
    /// Those of `calls` that are bodies of `def`s, checked by themselves: no nodes.
    pub templates: Range<usize>,
    /// The bodies of all `def`s, checked by themselves: their name spaces.
    pub bodies: Vec<(usize, Report<'a>)>,
    pub groups: Vec<Group<'a>>,
    pub loops: Vec<LoopInfo<'a>>,
    /// The innermost loop over a table in whose body names are being declared.
    pub within: Option<usize>,
    /// Those of the loops in whose bodies names are being declared.
    pub limits: Limits,
    pub lossy: Lossy,
    pub bounds: Vec<Bound<'a>>,
    pub gates: Vec<(&'a GateDecl<'a>, &'a str)>,
    pub releases: Vec<(&'a ReleaseDecl<'a>, &'a str)>,
    /// The pipeline's parameters, with their values.
    pub params: Vec<(&'a ParamDecl<'a>, usize)>,
    pub items: Vec<Item>,
    pub tests: OfTest<'a>,
    pub pipeline: Option<(Name<'a>, &'a str)>,
    /// A release is declared that could not be read.
    pub has_broken_release: bool,
}

/// What a path leads to.
pub enum Followed<'p, 'a> {
    Found {
        entity: Entity,
        word: &'static str,
        /// What of the path is left: an output, for example.
        rest: Cow<'p, [Name<'a>]>,
    },
    /// `champion.PART`.
    Champion {
        path: Cow<'p, [Name<'a>]>,
    },
    /// What a `def` is given where that is no name.
    Given {
        bound: usize,
        expr: &'a Expr<'a>,
    },
    /// A name that is not declared.
    Unknown(Name<'a>),
    Wrong(Box<Diagnostic>),
    /// What is wrong is reported already.
    Silent,
}

impl<'a> Names<'a> {
    /// Returns the loops over tables that something is within, from the inside out.
    pub fn around(&self, within: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(within, |index| self.loops.get(*index)?.within)
    }

    /// Returns the outermost loop around something whose values are not known.
    pub fn open_around(&self, within: Option<usize>) -> Option<usize> {
        self.around(within).filter(|index| self.loops[*index].is_open).last()
    }

    /// Looks a name up where `env` sees it.
    pub fn get(&self, env: usize, name: &str) -> Option<Entry> {
        let mut at = Some(env);
        let mut is_outside = false;
        while let Some(env) = at.and_then(|at| self.envs.get(at)) {
            if let Some(entry) = env.entries.get(name) {
                if let Entity::Module(module) = entry.entity {
                    self.modules[module].is_used.store(true, Ordering::Relaxed);
                }
                let is_seen = !is_outside || is_lasting(entry);
                return is_seen.then_some(*entry);
            }
            is_outside |= env.is_def;
            at = env.parent;
        }
        None
    }

    /// Returns what the file around a `def` declares and the `def` does not see.
    pub fn hidden(&self, env: usize, name: &str) -> Option<Entry> {
        let outer = self.envs.get(env).filter(|env| env.is_def)?.parent?;
        self.envs.get(outer)?.entries.get(name).filter(|entry| !is_lasting(entry)).copied()
    }

    /// Returns the names that `env` sees, those of its own first.
    pub fn visible(&self, env: usize) -> impl Iterator<Item = &'a str> + '_ {
        let mut at = Some(env);
        let mut is_outside = false;
        let envs = std::iter::from_fn(move || {
            let env = at.and_then(|at| self.envs.get(at))?;
            let seen = (env, is_outside);
            is_outside |= env.is_def;
            at = env.parent;
            Some(seen)
        });
        envs.flat_map(|(env, is_outside)| {
            let is_seen = move |name: &&&str| !is_outside || env.entries.get(**name).is_some_and(is_lasting);
            env.order.iter().filter(is_seen).copied()
        })
    }

    /// Declares a name, or reports that it is taken.
    pub fn declare(&mut self, env: usize, name: Name<'a>, entity: Entity, word: &'static str, report: Report<'_>) {
        if entity != Entity::Broken {
            refuse_reserved(name, report);
        }
        // A body within a loop may not say again what is said around it.
        let around = self.envs[env].parent.filter(|_| !self.envs[env].is_def);
        let taken = self.envs[env].entries.get(name.text).copied();
        let taken = taken.or_else(|| self.get(around?, name.text));
        if let Some(taken) = taken {
            let what = if taken.word == word { format!("{word} `{}`", name.text) } else { format!("`{}`", name.text) };
            let ours = (name.span, word);
            let theirs = (taken.span, taken.word);
            let (first, again) = if ours.0.start < theirs.0.start { (ours, theirs) } else { (theirs, ours) };
            report.add(
                Diagnostic::error("E0201", format!("{what} is declared twice"))
                    .at(again.0, "again here")
                    .and(first.0, format!("first here, as a {}", first.1)),
            );
            return;
        }
        let env = &mut self.envs[env];
        env.entries.insert(name.text, Entry { entity, span: name.span, word });
        env.order.push(name.text);
    }

    /// Follows a path through modules, calls of `def`s and what those are given, to what it means in the end.
    pub fn follow<'p>(&self, env: usize, path: &'p [Name<'a>]) -> Followed<'p, 'a> {
        let mut env = env;
        let mut path: Cow<'p, [Name<'a>]> = Cow::Borrowed(path);
        // The hops from one name to the next that nothing on the way can change.
        let mut trail: Vec<Hop> = Vec::new();
        let mut n_hops = 0;
        let followed = loop {
            let Some(first) = path.first().copied() else { break Followed::Silent };
            let Some(entry) = self.get(env, first.text) else {
                let is_champion = first.text == "champion";
                break if is_champion { Followed::Champion { path } } else { Followed::Unknown(first) };
            };
            let (next, from, n_used) = match entry.entity {
                Entity::Module(module) => {
                    let Some(inner) = self.modules[module].env else { break Followed::Silent };
                    let Some(name) = path.get(1).copied() else { break found(entry, path, 1) };
                    break match self.envs[inner].entries.get(name.text) {
                        Some(entry) if is_exported(entry) => found(*entry, path, 2),
                        _ => Followed::Wrong(Box::new(self.not_exported(first, name, inner))),
                    };
                }
                Entity::Bound(_) | Entity::Group(_) => {
                    let mut hop = entry.entity;
                    if let Some(last) = self.shortcut_of(hop) {
                        hop = last;
                    }
                    n_hops += 1;
                    if n_hops > self.bounds.len() + self.groups.len() {
                        let circular = self.circular(&trail);
                        trail.clear();
                        break circular;
                    }
                    match self.hop(hop, &path) {
                        Ok(Some(next)) => {
                            trail.push(hop);
                            next
                        }
                        Ok(None) => break Followed::Silent,
                        Err(answer) => break answer,
                    }
                }
                _ => break found(entry, path, 1),
            };
            let mut expr = next;
            while let ExprKind::Group(inner) = &expr.kind {
                expr = inner;
            }
            let ExprKind::Path(next) = &expr.kind else {
                break match trail.last() {
                    Some(Entity::Bound(bound)) => Followed::Given { bound: *bound, expr },
                    _ => Followed::Silent,
                };
            };
            // A value that an artifact's parameter is given is a path.
            if let ([name], Some(Entity::Bound(bound)), 1) = (next.as_slice(), trail.last(), path.len())
                && matches!(self.get(from, name.text).map(|entry| entry.entity), Some(Entity::Value(_)))
            {
                break Followed::Given { bound: *bound, expr };
            }
            if next.len() != 1 || n_used != 1 {
                self.shorten(&mut trail);
            }
            let rest = path.get(n_used..).unwrap_or_default();
            path = if rest.is_empty() { Cow::Owned(next.clone()) } else { Cow::Owned([next, rest].concat()) };
            env = from;
        };
        self.shorten(&mut trail);
        followed
    }

    /// Returns what a hop leads to: an expression, the name space it is written in, and how much of the path that has
    /// taken. `None` where that is not known.
    fn hop<'p>(&self, hop: Hop, path: &[Name<'a>]) -> Result<Option<(&'a Expr<'a>, usize, usize)>, Followed<'p, 'a>> {
        match hop {
            Entity::Bound(bound) => {
                let bound = &self.bounds[bound];
                Ok(Some((bound.expr, bound.env, 1)))
            }
            Entity::Group(group) => {
                let group = &self.groups[group];
                let Some(inner) = group.inner else { return Ok(None) };
                let (expr, n_used) = self.result_of(group, path)?;
                Ok(Some((expr, inner, n_used)))
            }
            _ => Ok(None),
        }
    }

    fn shortcut_of(&self, hop: Hop) -> Option<Hop> {
        match hop {
            Entity::Bound(bound) => self.bounds[bound].shortcut.get().copied(),
            Entity::Group(group) => self.groups[group].shortcut.get().copied(),
            _ => None,
        }
    }

    /// Remembers where a trail leads, so that what is handed on through many calls is followed once.
    fn shorten(&self, trail: &mut Vec<Hop>) {
        if let Some(last) = trail.pop() {
            for hop in trail.drain(..) {
                let shortcut = match hop {
                    Entity::Bound(bound) => &self.bounds[bound].shortcut,
                    Entity::Group(group) => &self.groups[group].shortcut,
                    _ => continue,
                };
                // Whoever comes second has come to the same.
                _ = shortcut.set(last);
            }
        }
    }

    fn circular<'p>(&self, trail: &[Hop]) -> Followed<'p, 'a> {
        let step = trail.iter().find_map(|hop| match hop {
            Entity::Group(group) => Some(self.groups.get(*group)?.decl.name),
            Entity::Bound(bound) => Some(self.bounds.get(*bound)?.caller.name),
            _ => None,
        });
        let Some(name) = step else { return Followed::Silent };
        let problem = Diagnostic::error("E0209", format!("step `{}` depends on itself", name.text));
        Followed::Wrong(Box::new(problem.at(name.span, "needs itself")))
    }

    /// Returns what the result of a `def` is that `path` asks for, and how much of the path that has taken.
    fn result_of<'p>(&self, group: &Group<'a>, path: &[Name<'a>]) -> Result<(&'a Expr<'a>, usize), Followed<'p, 'a>> {
        let decl = self.defs[group.def].decl;
        let results = decl.body.iter().find_map(|decl| match &decl.kind {
            crate::ast::DeclKind::Result(result) => Some(&result.content),
            _ => None,
        });
        let fields = match results {
            Some(ResultContent::One(expr)) => return Ok((expr, 1)),
            Some(ResultContent::Several(fields)) => fields,
            None => return Err(Followed::Silent),
        };
        let name_of = |field: &'a crate::ast::Field<'a>| match &field.name {
            Some(name) => Some(name.text.as_ref()),
            None => field.value.as_name().map(|name| name.text),
        };
        let names = || fields.iter().filter_map(name_of);
        let shown = path.first().map_or("", |name| name.text);
        let Some(wanted) = path.get(1) else {
            let span = path.first().map(|name| name.span).unwrap_or_default();
            let problem =
                Diagnostic::error("E0211", format!("`{shown}` has several results: {}", listed(names(), "and")))
                    .at(span, "which one?")
                    .maybe_help(names().next().map(|name| format!("write `{shown}.{name}`, for example")));
            return Err(Followed::Wrong(Box::new(problem)));
        };
        match fields.iter().find(|field| name_of(field) == Some(wanted.text)) {
            Some(field) => Ok((&field.value, 2)),
            None => {
                let problem = Diagnostic::error("E0211", format!("`{shown}` has no result `{}`", wanted.text))
                    .at(wanted.span, format!("its results are {}", listed(names(), "and")))
                    .maybe_help(group.report.suggest(wanted.text, names()));
                Err(Followed::Wrong(Box::new(problem)))
            }
        }
    }

    fn not_exported(&self, module: Name<'_>, name: Name<'_>, inner: usize) -> Diagnostic {
        let env = &self.envs[inner];
        let is_offered = |name: &&&str| env.entries.get(**name).is_some_and(is_exported);
        let offered = || env.order.iter().filter(is_offered).copied();
        let mut problem = Diagnostic::error("E0223", format!("module `{}` has no `{}`", module.text, name.text));
        problem = match env.entries.get(name.text) {
            Some(entry) => {
                let text = format!("a {} is its own affair", entry.word);
                problem.at(name.span, "only defs and schemas can be used").and(entry.span, text)
            }
            None if offered().next().is_none() => problem.at(name.span, "it has no defs and no schemas"),
            None => problem.at(name.span, format!("it has {}", listed(offered(), "and"))),
        };
        let declared = self.modules.iter().find(|info| info.env == Some(inner) && info.name.text == module.text);
        let problem = match declared {
            Some(info) => problem.and(info.name.span, "the module"),
            None => problem,
        };
        problem.maybe_help(crate::suggest::help(name.text, offered()))
    }
}

fn found<'p, 'a>(entry: Entry, path: Cow<'p, [Name<'a>]>, n_used: usize) -> Followed<'p, 'a> {
    let rest = match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.get(n_used..).unwrap_or_default()),
        Cow::Owned(path) => Cow::Owned(path.get(n_used..).unwrap_or_default().to_vec()),
    };
    Followed::Found { entity: entry.entity, word: entry.word, rest }
}

/// Returns whether it is the same in every call of a `def`.
fn is_lasting(entry: &Entry) -> bool {
    match entry.entity {
        Entity::Schema(_) | Entity::Module(_) | Entity::Def(_) => true,
        Entity::Value(_) => entry.word == "let",
        // What it would be is not known.
        Entity::Broken => ["schema", "module", "def", "let"].contains(&entry.word),
        _ => false,
    }
}

fn is_exported(entry: &Entry) -> bool {
    matches!(entry.entity, Entity::Schema(_) | Entity::Def(_))
        || entry.entity == Entity::Broken && ["schema", "def"].contains(&entry.word)
}

pub fn refuse_reserved(name: Name<'_>, report: Report<'_>) {
    if RESERVED.contains(&name.text) {
        report.add(
            Diagnostic::error("E0113", format!("`{}` is a word of the language", name.text))
                .at(name.span, "cannot be a name")
                .help(format!("call it `{}_`, for example", name.text)),
        );
    }
}
