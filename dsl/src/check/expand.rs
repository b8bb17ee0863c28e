//! Expands calls of `def`s: every step that a pipeline consists of, with the name space its names are looked up in.
//!
//! A `def` is a template: its body is checked anew in each call. It is checked by itself as well, with parameters of
//! which nothing is known, so that what is wrong in every call is told once and without a caller.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use mlp_model::{self as model, CallClass, LoopLimit, Span, Value};

use super::bind::{self, Formal};
use super::columns::{self, LoopValues};
use super::defs::{DefParam, DefType, Shape, called, split_path};
use super::names::{Bound, CallInst, Entity, Env, Followed, Group, Item, LoopInfo, Names, Round};
use super::report::Report;
use super::rounds::Values;
use super::types::{fit, satisfies, written};
use super::value::{Eval, kind, show};
use super::{Sources, rounds};
use crate::ast::{CallDecl, Decl, DeclKind, Expr, ExprKind, LoopDecl, Name};
use crate::diagnostic::Diagnostic;
use crate::world::World;

/// So many levels of calls within bodies are allowed.
const MAX_NESTING: usize = 64;

/// So many nodes may come from one loop.
const MAX_LOOP_NODES: usize = 10_000;

/// So many nodes may come from calls of `def`s: a few lines can ask for more than any machine has.
const MAX_NODES: usize = 100_000;

impl<'a> Names<'a> {
    /// Returns the `def` that a written path calls; `None` if it means an operation.
    pub fn def_called(&self, env: usize, path: &Name<'a>) -> Result<Option<usize>, Option<Box<Diagnostic>>> {
        let first = path.text.split_once('.').map_or(path.text, |(first, _)| first);
        if !matches!(self.get(env, first).map(|entry| entry.entity), Some(Entity::Module(_) | Entity::Def(_))) {
            return Ok(None);
        }
        match self.follow(env, &split_path(path)) {
            Followed::Found { entity: Entity::Def(def), rest, .. } if rest.is_empty() => Ok(Some(def)),
            Followed::Found { entity: Entity::Broken, .. } | Followed::Silent => Err(None),
            Followed::Found { word, .. } => {
                let message = format!("`{}` is a {word}, which cannot be called", path.text);
                Err(Some(Box::new(Diagnostic::error("E0203", message).at(path.span, ""))))
            }
            Followed::Wrong(problem) => Err(Some(problem)),
            _ => Ok(None),
        }
    }

    /// Returns whether `env` is within the body of a `def`.
    pub fn is_in_def(&self, env: usize) -> bool {
        let mut at = self.envs.get(env);
        while let Some(env) = at {
            if env.is_def {
                return true;
            }
            at = env.parent.and_then(|parent| self.envs.get(parent));
        }
        false
    }

    /// Declares the sources, steps and loops of a file or body. Returns what each stands for.
    pub fn declare_calls(
        &mut self,
        env: usize,
        decls: &'a [Decl<'a>],
        prefix: &str,
        report: Report<'a>,
        skip: &Option<Arc<str>>,
    ) -> Vec<Option<Entity>> {
        let mut entities = Vec::with_capacity(decls.len());
        self.calls.reserve(decls.len());
        self.envs[env].entries.reserve(decls.len());
        for decl in decls {
            let call = match &decl.kind {
                DeclKind::Call(call) => call,
                DeclKind::Loop(decl) => {
                    let name = format!("{prefix}{}", decl.name.text);
                    let over = columns::read(decl, report);
                    self.loops.push(LoopInfo {
                        decl,
                        name,
                        env,
                        report,
                        skip: skip.clone(),
                        within: self.within,
                        limits: Arc::clone(&self.limits),
                        over,
                        lossy: Arc::clone(&self.lossy),
                        is_open: false,
                        is_template: false,
                        rounds: None,
                    });
                    let entity = Entity::Loop(self.loops.len() - 1);
                    self.declare(env, decl.name, entity, "loop", report);
                    entities.push(Some(entity));
                    continue;
                }
                _ => continue,
            };
            if call.class == CallClass::Source && self.is_in_def(env) {
                let message = format!("a def reads nothing from outside, so `{}` is no source", call.name.text);
                let problem = Diagnostic::error("E0215", message).at(call.name.span, "declared as a source");
                report.add(problem.help("give the def a parameter of type `file`"));
            }
            let name = match prefix {
                "" => Cow::Borrowed(call.name.text),
                _ => Cow::Owned(format!("{prefix}{}", call.name.text)),
            };
            let def = called(&call.value).map_or(Ok(None), |called| self.def_called(env, &called.path));
            let entity = match def {
                Ok(None) => {
                    let (doc, skip, within) = (decl.doc, skip.clone(), self.within);
                    let (limits, lossy) = (Arc::clone(&self.limits), Arc::clone(&self.lossy));
                    self.calls.push(CallInst { decl: call, doc, name, env, report, skip, within, limits, lossy });
                    Entity::Call(self.calls.len() - 1)
                }
                Ok(Some(def)) => {
                    self.groups.push(Group {
                        decl: call,
                        name,
                        def,
                        env,
                        report,
                        skip: skip.clone(),
                        within: self.within,
                        limits: Arc::clone(&self.limits),
                        lossy: Arc::clone(&self.lossy),
                        inner: None,
                        shortcut: OnceLock::new(),
                    });
                    Entity::Group(self.groups.len() - 1)
                }
                Err(problem) => {
                    problem.into_iter().for_each(|problem| report.add(*problem));
                    Entity::Broken
                }
            };
            self.declare(env, call.name, entity, call.word(), report);
            entities.push(Some(entity));
        }
        entities
    }
}

/// What an expansion looks at beside the names.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    pub source: Sources<'a>,
    pub world: &'a dyn World,
    pub loops: LoopValues<'a>,
}

/// Expands the pipeline's calls, and checks every `def` by itself.
pub fn expand<'a>(
    names: &mut Names<'a>,
    shapes: &[Shape<'a>],
    around: Around<'a>,
    decls: &'a [Decl<'a>],
    entities: Vec<Option<Entity>>,
) {
    let mut expander = Expander::new(names, shapes, around);
    let mut entities = entities.into_iter();
    let (mut n_gates, mut n_releases) = (0, 0);
    for decl in decls {
        match &decl.kind {
            DeclKind::Call(_) | DeclKind::Loop(_) => expander.entity(entities.next().flatten(), 0),
            DeclKind::Gate(_) => {
                expander.names.items.push(Item::Gate(n_gates));
                n_gates += 1;
            }
            DeclKind::Release(_) => {
                expander.names.items.push(Item::Release(n_releases));
                n_releases += 1;
            }
            _ => {}
        }
    }
}

/// Adds the body of every `def`, with parameters of which nothing is known. Nothing comes of these calls but mistakes.
pub fn expand_for_themselves<'a>(names: &mut Names<'a>, shapes: &[Shape<'a>], around: Around<'a>, report: Report<'a>) {
    let first = names.calls.len();
    for def in 0..names.defs.len() {
        let report = report.for_itself();
        let (decl, file) = (names.defs[def].decl, names.defs[def].env);
        let env = new_env(names, file);
        let mut expander = Expander::new(names, shapes, around);
        for param in &shapes[def].params {
            let entity = match &param.ty {
                Some(DefType::Plain(_)) => expander.value(None),
                _ => Entity::Broken,
            };
            expander.names.declare(env, param.decl.name, entity, PARAMETER, report);
        }
        expander.names.bodies.push((env, report));
        let prefix = format!("{}.", decl.name.text);
        declare_broken(expander.names, env, &decl.body, report);
        let entities = expander.names.declare_calls(env, &decl.body, &prefix, report, &None);
        for entity in entities.into_iter().flatten() {
            match entity {
                Entity::Group(group) => drop(expander.bind(group)),
                Entity::Loop(index) => expander.template_round(index),
                _ => {}
            }
        }
    }
    names.templates = first..names.calls.len();
}

/// How a parameter of a `def` is called in messages.
pub const PARAMETER: &str = "parameter";

fn new_env(names: &mut Names<'_>, file: usize) -> usize {
    names.envs.push(Env { parent: Some(file), is_def: true, ..Env::default() });
    names.envs.len() - 1
}

fn declare_broken<'a>(names: &mut Names<'a>, env: usize, body: &'a [Decl<'a>], report: Report<'_>) {
    for decl in body {
        if let DeclKind::Broken { keyword: "step" | "source", name: Some(name) } = &decl.kind {
            names.declare(env, *name, Entity::Broken, "step", report);
        }
    }
}

struct Expander<'e, 'a> {
    names: &'e mut Names<'a>,
    shapes: &'e [Shape<'a>],
    around: Around<'a>,
    n_nodes: usize,
    /// The loop we are in that is in no other, and how many nodes there were before it.
    outermost: Option<(&'a LoopDecl<'a>, usize)>,
    has_overflowed: bool,
}

impl<'e, 'a> Expander<'e, 'a> {
    fn new(names: &'e mut Names<'a>, shapes: &'e [Shape<'a>], around: Around<'a>) -> Self {
        Self { names, shapes, around, n_nodes: 0, outermost: None, has_overflowed: false }
    }
}

impl<'a> Expander<'_, 'a> {
    /// Expands a call of a `def` to the steps of its body.
    fn group(&mut self, group: usize, depth: usize) {
        let Group { decl, def, env, report, .. } = self.names.groups[group];
        let Some(args) = self.bind(group) else { return };
        if self.shapes[def].is_circular {
            return;
        }
        let body = &self.names.defs[def].decl.body;
        self.n_nodes += body.len();
        let too_much = if depth == MAX_NESTING {
            Some(format!("defs call each other more than {MAX_NESTING} levels deep"))
        } else if self.n_nodes > MAX_NODES {
            Some(format!("the pipeline's defs expand to more than {MAX_NODES} steps"))
        } else {
            None
        };
        if let Some(message) = too_much {
            if self.n_nodes <= MAX_NODES + body.len() {
                report.add(Diagnostic::error("E0226", message).at(decl.value.span, "not expanded any further"));
            }
            return;
        }
        let skip = self.names.groups[group].skip.clone();
        let eval = Eval { report, names: self.names, env: Some(env) };
        let own = decl.condition.as_ref().and_then(|condition| self.around.source.skip_reason(condition, &eval));
        let skip = skip.or(own.map(Arc::from));
        let inner = new_env(self.names, self.names.defs[def].env);
        let inner_report = report.for_call(called(&decl.value).map_or(decl.value.span, |call| call.path.span));
        let def_name = self.names.defs[def].decl.name.text;
        for (param, arg) in self.shapes[def].params.iter().zip(args) {
            let entity = match arg {
                Arg::Artifact(expr, word) => {
                    let param = param.decl.name.text;
                    self.names.bounds.push(Bound {
                        expr,
                        env,
                        report,
                        caller: decl,
                        word,
                        param,
                        def: def_name,
                        shortcut: OnceLock::new(),
                    });
                    Entity::Bound(self.names.bounds.len() - 1)
                }
                Arg::Value(value, span) => {
                    let entity = self.value(Some(value));
                    if let (Entity::Value(place), Some(span)) = (entity, span) {
                        self.names.given.insert(place, span);
                    }
                    entity
                }
                Arg::Schema(schema) => Entity::Schema(schema),
                Arg::Wrong => Entity::Broken,
            };
            self.names.declare(inner, param.decl.name, entity, word_of(param), inner_report);
        }
        declare_broken(self.names, inner, body, inner_report);
        let prefix = format!("{}.", self.names.groups[group].name);
        self.names.within = self.names.groups[group].within;
        self.names.limits = Arc::clone(&self.names.groups[group].limits);
        self.names.lossy = Arc::clone(&self.names.groups[group].lossy);
        let entities = self.names.declare_calls(inner, body, &prefix, inner_report, &skip);
        self.names.groups[group].inner = Some(inner);
        for entity in entities {
            self.entity(entity, depth + 1);
        }
    }

    fn entity(&mut self, entity: Option<Entity>, depth: usize) {
        match entity {
            Some(Entity::Call(call)) => self.names.items.push(Item::Call(call)),
            Some(Entity::Group(group)) => self.group(group, depth),
            Some(Entity::Loop(index)) => self.rounds(index, depth),
            _ => {}
        }
    }

    /// Expands a loop: its body once for each value.
    fn rounds(&mut self, index: usize, depth: usize) {
        let LoopInfo { decl, env, report, .. } = self.names.loops[index];
        let skip = self.names.loops[index].skip.clone();
        let eval = Eval { report, names: self.names, env: Some(env) };
        let values: Vec<(String, Vec<Option<Value>>)> =
            match rounds::values(decl, &self.names.loops[index], &eval, &self.around) {
                Some(Values::Known(values)) => {
                    values.into_iter().map(|(key, values)| (key, values.into_iter().map(Some).collect())).collect()
                }
                Some(Values::Open(sample)) => vec![(columns::OPEN_KEY.to_owned(), vec![sample])],
                None => return,
            };
        let (limit, tolerated) = (rounds::limit(decl, &eval), rounds::tolerated(decl, &eval));
        let is_open = values.iter().any(|(key, _)| key == columns::OPEN_KEY);
        self.names.loops[index].is_open = is_open;
        let of_table = self.names.loops[index].over.is_some();
        self.names.within = if of_table { Some(index) } else { self.names.loops[index].within };
        let info = &self.names.loops[index];
        let own = limit.map(|most| LoopLimit { name: rounds::without_keys(&info.name), most });
        self.names.limits = own.into_iter().chain(info.limits.iter().cloned()).collect();
        // A loop within another counts for the outermost.
        let is_outermost = self.outermost.is_none();
        let (outermost, start) = *self.outermost.get_or_insert((decl, self.n_nodes));
        self.n_nodes = self.n_nodes.saturating_add(values.len().saturating_mul(decl.body.len()));
        if self.n_nodes - start > MAX_LOOP_NODES {
            if !std::mem::replace(&mut self.has_overflowed, true) {
                let message = format!("loop `{}` makes more than {MAX_LOOP_NODES} nodes", outermost.name.text);
                let plural = if values.len() == 1 { "" } else { "s" };
                let label = format!("{} value{plural}", values.len());
                let problem = Diagnostic::error("E0228", message).at(decl.values.span, label);
                report.add(problem.help("put what belongs together into one table, and let a step work on all of it"));
            }
            if is_outermost {
                self.leave_loop(start);
            }
            return;
        }
        let mut known = Vec::new();
        for (key, values) in values {
            let report = match values.as_slice() {
                [Some(Value::Record(_))] if is_open => report.for_sample(columns::sample_text(decl)),
                [Some(sample)] if is_open => report.for_sample(show(sample).trim_matches('"').to_owned()),
                [None] => report,
                [Some(Value::Record(_))] => report.for_round(format!("{} = {key}", decl.variable.text)),
                values => {
                    let values = decl.variables().zip(values.iter().flatten());
                    let shown = values.map(|(name, value)| format!("{} = {}", name.text, show(value)));
                    report.for_round(shown.collect::<Vec<_>>().join(", "))
                }
            };
            let inner = self.round_env(env, decl, &values, report);
            let info = &self.names.loops[index];
            let round = |tolerated| model::Round { of: info.name.clone(), key: key.clone(), tolerated };
            self.names.lossy = tolerated.map(round).into_iter().chain(info.lossy.iter().cloned()).collect();
            let prefix = format!("{}[{key}].", self.names.loops[index].name);
            let entities = self.names.declare_calls(inner, &decl.body, &prefix, report, &skip);
            known.push((Round { key, env: inner }, entities));
        }
        let (rounds, entities): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        self.names.loops[index].rounds = Some(rounds);
        for entity in entities.into_iter().flatten() {
            if self.has_overflowed {
                break;
            }
            self.entity(entity, depth + 1);
        }
        if is_outermost {
            self.leave_loop(start);
        }
    }

    fn leave_loop(&mut self, start: usize) {
        self.outermost = None;
        if std::mem::take(&mut self.has_overflowed) {
            self.n_nodes = start;
        }
    }

    /// Adds one round of a loop in a body that is checked by itself, with a value of which nothing is known.
    fn template_round(&mut self, index: usize) {
        let LoopInfo { decl, env, report, .. } = self.names.loops[index];
        rounds::refuse_files(decl, report);
        let eval = Eval { report, names: self.names, env: Some(env) };
        _ = (rounds::limit(decl, &eval), rounds::tolerated(decl, &eval));
        self.names.loops[index].is_template = true;
        let inner = self.round_env(env, decl, &[], report);
        let prefix = format!("{}[..].", self.names.loops[index].name);
        for entity in self.names.declare_calls(inner, &decl.body, &prefix, report, &None).into_iter().flatten() {
            match entity {
                Entity::Group(group) => drop(self.bind(group)),
                Entity::Loop(index) => self.template_round(index),
                _ => {}
            }
        }
    }

    fn round_env(&mut self, env: usize, decl: &'a LoopDecl<'a>, values: &[Option<Value>], report: Report<'a>) -> usize {
        self.names.envs.push(Env { parent: Some(env), ..Env::default() });
        let inner = self.names.envs.len() - 1;
        for (at, variable) in decl.variables().enumerate() {
            let value = self.value(values.get(at).cloned().flatten());
            self.names.declare(inner, *variable, value, "value", report);
        }
        declare_broken(self.names, inner, &decl.body, report);
        inner
    }

    /// Binds the arguments of a call; `None` when the call itself is wrong.
    fn bind(&mut self, group: usize) -> Option<Vec<Arg<'a>>> {
        let Group { decl, def, env, report, .. } = self.names.groups[group];
        self.refuse_extras(decl, report);
        let call = called(&decl.value)?;
        let shape = &self.shapes[def];
        let formal =
            |param: &DefParam<'a>| Formal { name: param.decl.name.text, required: param.decl.default.is_none() };
        let formals: Vec<_> = shape.params.iter().map(formal).collect();
        let bound = bind::bind(call, &formals, report);
        let reader = ArgReader { names: self.names, env, report, def: call.path.text };
        let args = shape.params.iter().zip(&bound.values).map(|(param, value)| match (value, &param.default) {
            (Some(expr), _) => reader.read(param, expr),
            (None, Some(Some(default))) => Arg::Value(default.clone(), None),
            (None, _) => Arg::Wrong,
        });
        Some(args.collect())
    }

    fn refuse_extras(&self, decl: &CallDecl<'_>, report: Report<'_>) {
        let name = decl.name.text;
        if decl.class == CallClass::Effect {
            let problem = Diagnostic::error("E0232", format!("`{name}` calls a def, and an effect is one command"));
            report.add(problem.at(decl.name.span, "declared as an effect").help("write `effect NAME = sh(..)`"));
        }
        if decl.class == CallClass::Source {
            let problem =
                Diagnostic::error("E0215", format!("a def reads nothing from outside, so `{name}` is no source"));
            report.add(problem.at(decl.name.span, "declared as a source").help(format!("write `step {name} = ..`")));
        }
        if let Some(option) = decl.options.first() {
            let span = option.name.as_ref().map_or(option.value.span, |name| name.span);
            let problem = Diagnostic::error("E0212", "a call of a def has no options").at(span, "");
            report.add(problem.help("options belong to the steps in its body"));
        }
    }

    fn value(&mut self, value: Option<Value>) -> Entity {
        self.names.values.push(value);
        Entity::Value(self.names.values.len() - 1)
    }
}

fn word_of(param: &DefParam<'_>) -> &'static str {
    match &param.ty {
        Some(DefType::Artifact(word)) => word,
        _ => PARAMETER,
    }
}

/// What a parameter of a `def` is given.
enum Arg<'a> {
    Artifact(&'a Expr<'a>, &'static str),
    /// With the place where it is written, unless it is a default.
    Value(Value, Option<Span>),
    Schema(usize),
    /// Wrong, and reported.
    Wrong,
}

struct ArgReader<'r, 'a> {
    names: &'r Names<'a>,
    env: usize,
    report: Report<'a>,
    /// As it is called: `features.clean`.
    def: &'r str,
}

impl<'a> ArgReader<'_, 'a> {
    fn read(&self, param: &DefParam<'a>, expr: &'a Expr<'a>) -> Arg<'a> {
        let eval = Eval { report: self.report, names: self.names, env: Some(self.env) };
        let name = param.decl.name.text;
        let value = match &param.ty {
            None => None,
            Some(DefType::Artifact(word)) => return Arg::Artifact(expr, word),
            Some(DefType::Schema) => return self.schema(name, expr),
            Some(DefType::Column) => self.column(name, expr, &eval),
            Some(DefType::Columns) => match &expr.kind {
                ExprKind::List(items) => {
                    let items: Vec<_> = items.iter().map(|item| self.column(name, item, &eval)).collect();
                    items.into_iter().collect::<Option<_>>().map(Value::List)
                }
                ExprKind::Path(_) if self.is_no_value(expr) => {
                    let message = format!("argument `{name}` of `{}` must be a list of columns, got a name", self.def);
                    let problem = Diagnostic::error("E0301", message).at(expr.span, "");
                    let help = expr.as_name().map(|name| format!("write `[{}]`", name.text));
                    self.report.add(problem.maybe_help(help));
                    None
                }
                _ => eval.value(expr).and_then(|value| match &value {
                    Value::List(items) if items.iter().all(|item| matches!(item, Value::Str(_))) => Some(value),
                    other => self.mismatch(name, "a list of columns", kind(other), expr.span),
                }),
            },
            Some(DefType::Plain(ty)) => eval.value(expr).and_then(|value| match fit(value, ty) {
                Ok(value) if param.rules.iter().all(|rule| satisfies(&value, rule)) => Some(value),
                Ok(value) => {
                    let message = format!("argument `{name}` of `{}` must be {}", self.def, param.rules_text);
                    let problem = Diagnostic::error("E0302", format!("{message}, got {}", show(&value)));
                    self.report.add(problem.at(expr.span, "").and(param.decl.name.span, "its rule"));
                    None
                }
                Err(value) => self.mismatch(name, &format!("`{}`", written(ty)), kind(&value), expr.span),
            }),
        };
        value.map_or(Arg::Wrong, |value| Arg::Value(value, Some(expr.span)))
    }

    /// Reads a column: a bare name is the value of that name, if there is one.
    fn column(&self, name: &str, expr: &Expr<'_>, eval: &Eval<'_, '_>) -> Option<Value> {
        if let Some(bare) = expr.as_name().filter(|_| self.is_no_value(expr)) {
            return Some(Value::Str(bare.text.to_owned()));
        }
        match eval.value(expr)? {
            value @ Value::Str(_) => Some(value),
            other => self.mismatch(name, "a column", kind(&other), expr.span),
        }
    }

    fn is_no_value(&self, expr: &Expr<'_>) -> bool {
        let ExprKind::Path(path) = &expr.kind else { return false };
        let entity = path.first().and_then(|first| self.names.get(self.env, first.text)).map(|entry| entry.entity);
        !matches!(entity, Some(Entity::Value(_) | Entity::Broken))
    }

    fn schema(&self, name: &str, expr: &Expr<'a>) -> Arg<'a> {
        if let ExprKind::Path(path) = &expr.kind {
            match self.names.follow(self.env, path) {
                Followed::Found { entity: Entity::Schema(schema), rest, .. } if rest.is_empty() => {
                    return Arg::Schema(schema);
                }
                Followed::Found { entity: Entity::Broken, .. } | Followed::Silent => return Arg::Wrong,
                Followed::Wrong(problem) => {
                    self.report.add(*problem);
                    return Arg::Wrong;
                }
                Followed::Found { word, .. } => {
                    self.mismatch(name, "a schema", &format!("a {word}"), expr.span);
                    return Arg::Wrong;
                }
                Followed::Unknown(unknown) => {
                    let problem = Diagnostic::error("E0202", format!("`{}` is not known", unknown.text));
                    self.report.add(problem.at(unknown.span, "no schema has this name"));
                    return Arg::Wrong;
                }
                Followed::Champion { .. } | Followed::Given { .. } => {}
            }
        }
        self.mismatch(name, "a schema", "something else", expr.span);
        Arg::Wrong
    }

    fn mismatch(&self, name: &str, needed: &str, got: &str, span: Span) -> Option<Value> {
        let message = format!("argument `{name}` of `{}` must be {needed}, got {got}", self.def);
        self.report.add(Diagnostic::error("E0301", message).at(span, ""));
        None
    }
}
