//! What a check has found out about each name, for an editor: also of a file with mistakes.
//!
//! A step in the body of a `def` or a loop is many nodes of the pipeline, and one name of the file: it is known under its place,
//! `judged.model`, with what all of those nodes have in common.

use std::collections::HashMap;
use std::sync::Arc;

use mlp_model::{Named, Output, Schema, Type, Value, Word};

use super::Scope;
use super::calls::{CallResult, Results};
use super::names::{Entity, Followed, Group};
use crate::ast::{Decl, DeclKind, ExprKind, Name, ResultContent};

/// By place: a name of the file, or `HOLDER.NAME` for one in a body. What is wrong is absent.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub nodes: HashMap<String, Arc<NodeFacts>>,
    /// The parameters' values; those of `def`s and loops in the first call or round.
    pub params: HashMap<String, Value>,
    pub schemas: HashMap<String, Arc<Schema>>,
}

/// What a source, a step, or an artifact that a `def` is given, is.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// The operation or `def` that is called; empty for what a `def` is given.
    pub op: String,
    /// With defaults, and with what the operation has settled.
    pub params: Named<Value>,
    pub outputs: Vec<Output>,
    /// Those of `outputs` that are lists, an item for each round of a loop.
    pub lists: Vec<Word>,
    /// The schema that its tables' columns come from.
    pub schema: Option<String>,
    pub reads_champion: bool,
    /// The node that this is told of, where that is not called as its place is: `small.model`.
    pub of: Option<String>,
    /// So many nodes come from this place. Columns are those that all of them have.
    pub n_nodes: usize,
}

impl NodeFacts {
    /// Keeps what is so for another node of the same place as well.
    fn narrow(&mut self, other: &Self) {
        self.n_nodes += other.n_nodes;
        self.reads_champion |= other.reads_champion;
        if self.params != other.params {
            let params = std::mem::take(&mut self.params).into_iter();
            self.params = params.filter(|(name, value)| other.params.get(name) == Some(value)).collect();
        }
        if self.outputs == other.outputs {
            return;
        }
        for (output, other) in self.outputs.iter_mut().zip(&other.outputs) {
            if let (Type::Table(table), Type::Table(other)) = (&mut output.ty, &other.ty) {
                table.columns.retain(|column| other.column(&column.name).is_some_and(|o| o.scalar == column.scalar));
            }
        }
    }

    pub(super) fn of(scope: &Scope<'_>, result: &CallResult) -> Self {
        let schema = result.schema.and_then(|schema| scope.names.schema_decls.get(schema));
        Self {
            op: result.call.op.to_string(),
            params: result.call.params.clone(),
            outputs: result.call.outputs.clone(),
            lists: Vec::new(),
            schema: schema.map(|(schema, _)| schema.name.text.to_owned()),
            reads_champion: result.reads_champion,
            of: None,
            n_nodes: 1,
        }
    }
}

impl Facts {
    /// `known`: by index of the call.
    pub(super) fn collect(&mut self, scope: &Scope<'_>, known: Vec<Option<Arc<NodeFacts>>>, mut bodies: Bodies) {
        let names = scope.names;
        self.nodes.reserve(known.len());
        let mut templates = Vec::new();
        for (call, (inst, known)) in names.calls.iter().zip(known).enumerate() {
            let Some(node) = known.filter(|_| is_own(&inst.decl.name)) else { continue };
            let Some(place) = bodies.places.get(&inst.decl.name.span.start).cloned() else {
                self.nodes.insert(inst.name.to_string(), node);
                continue;
            };
            let node = NodeFacts { of: Some(inst.name.to_string()), ..NodeFacts::clone(&node) };
            if names.templates.contains(&call) {
                templates.push((place, node));
            } else {
                bodies.add(&place, node);
            }
        }
        // Of a `def` that nobody calls, what holds whatever it is given.
        for (place, node) in templates {
            bodies.nodes.entry(place).or_insert(node);
        }
        self.nodes.extend(bodies.nodes.into_iter().map(|(place, node)| (place, Arc::new(node))));
        let value = |place: usize| names.values.get(place).cloned().flatten();
        let values = names.params.iter().filter_map(|(decl, place)| Some((decl.name.text, value(*place)?)));
        self.params.extend(values.map(|(name, value)| (name.to_owned(), value)));
        self.params.extend(bodies.params);
        // Those of modules have other names where they are used.
        let own = names.schema_decls.iter().zip(&names.schemas).filter(|((_, env), _)| *env == scope.env);
        let own = own.filter_map(|((decl, _), schema)| Some((decl.name.text.to_owned(), schema.clone()?)));
        self.schemas.extend(own.map(|(name, schema)| (name, Arc::new(schema))));
    }

    /// Adds what was known before about names that are wrong just now: while a line is being typed, the last thing known
    /// about it helps more than nothing. `is_declared` says which names of the file are still there.
    pub fn remember(&mut self, before: &Self, is_declared: impl Fn(&str) -> bool) {
        let is_declared = |place: &str| is_declared(place.split_once('.').map_or(place, |(first, _)| first));
        for (name, node) in &before.nodes {
            if !self.nodes.contains_key(name) && is_declared(name) {
                self.nodes.insert(name.clone(), Arc::clone(node));
            }
        }
        for (name, schema) in &before.schemas {
            if !self.schemas.contains_key(name) && is_declared(name) {
                self.schemas.insert(name.clone(), Arc::clone(schema));
            }
        }
        for (name, value) in &before.params {
            if !self.params.contains_key(name) && is_declared(name) {
                self.params.insert(name.clone(), value.clone());
            }
        }
    }
}

/// What is known of bodies, by place: what calls of `def`s give, what they are given, and what loops go over.
#[derive(Default)]
pub(super) struct Bodies {
    nodes: HashMap<String, NodeFacts>,
    params: HashMap<String, Value>,
    /// The places of what stands in bodies, by where its name is written.
    places: HashMap<usize, String>,
}

impl Bodies {
    pub fn look(scope: &Scope<'_>, results: &Results) -> Self {
        let mut bodies = Self::default();
        if let Some(root) = scope.source.units.first() {
            find_places(&root.tree.decls, "", &mut bodies.places);
        }
        bodies.add_given(scope, results);
        bodies
    }

    /// Returns the place of something in a body; outside of bodies, its name.
    fn place<'s>(&'s self, written: &Name<'_>, name: &'s str) -> &'s str {
        self.places.get(&written.span.start).map_or(name, String::as_str)
    }

    fn add(&mut self, place: &str, node: NodeFacts) {
        match self.nodes.get_mut(place) {
            Some(known) => known.narrow(&node),
            None => {
                self.nodes.insert(place.to_owned(), node);
            }
        }
    }

    fn add_given(&mut self, scope: &Scope<'_>, results: &Results) {
        let names = scope.names;
        for group in &names.groups {
            let Some(inner) = group.inner else { continue };
            if is_own(&group.decl.name) {
                let place = self.place(&group.decl.name, &group.name).to_owned();
                self.add(&place, called(scope, results, group));
            }
            let def = names.defs[group.def].decl;
            for param in def.params.iter().filter(|param| is_own(&param.name)) {
                let place = format!("{}.{}", def.name.text, param.name.text);
                match names.envs[inner].entries.get(param.name.text).map(|entry| entry.entity) {
                    Some(Entity::Value(value)) => self.value(&place, scope, value),
                    Some(Entity::Bound(bound)) => {
                        let mut node = NodeFacts::of_place(format!("{}.{}", group.name, param.name.text));
                        // What is no name has no columns either.
                        let word = names.bounds[bound].word;
                        if node.follow(scope, results, inner, &[param.name], param.name.text)
                            && node.outputs.iter().all(|output| output.ty.to_string() == word)
                        {
                            self.add(&place, node);
                        }
                    }
                    _ => {}
                }
            }
        }
        for info in names.loops.iter().filter(|info| !info.is_template && is_own(&info.decl.name)) {
            let Some(round) = info.rounds.as_ref().and_then(|rounds| rounds.first()) else { continue };
            let of_loop = self.place(&info.decl.name, &info.name).to_owned();
            for variable in info.decl.variables() {
                if let Some(Entity::Value(value)) =
                    names.envs[round.env].entries.get(variable.text).map(|entry| entry.entity)
                {
                    self.value(&format!("{of_loop}.{}", variable.text), scope, value);
                }
            }
        }
    }

    fn value(&mut self, place: &str, scope: &Scope<'_>, value: usize) {
        if let Some(value) = scope.names.values.get(value).cloned().flatten() {
            self.params.entry(place.to_owned()).or_insert(value);
        }
    }
}

/// Returns what a call of a `def` gives.
fn called(scope: &Scope<'_>, results: &Results, group: &Group<'_>) -> NodeFacts {
    let def = scope.names.defs[group.def].decl;
    let mut node = NodeFacts::of_place(group.name.to_string());
    node.op = super::defs::called(&group.decl.value).map_or(def.name.text, |call| call.path.text).to_owned();
    let content = def.body.iter().find_map(|decl| match &decl.kind {
        DeclKind::Result(result) => Some(&result.content),
        _ => None,
    });
    match content {
        Some(ResultContent::One(_)) => {
            node.follow(scope, results, group.env, &[group.decl.name], "out");
        }
        Some(ResultContent::Several(fields)) => {
            for field in fields {
                let label = field.name.as_ref().map(|name| name.text.as_ref());
                let Some(name) = label.or(field.value.as_name().map(|name| name.text)) else { continue };
                let asked = Name { text: name, span: field.value.span };
                node.follow(scope, results, group.env, &[group.decl.name, asked], name);
            }
        }
        None => {}
    }
    node
}

impl NodeFacts {
    fn of_place(of: String) -> Self {
        Self {
            op: String::new(),
            params: Named::new(),
            outputs: Vec::new(),
            lists: Vec::new(),
            schema: None,
            reads_champion: false,
            of: Some(of),
            n_nodes: 1,
        }
    }

    /// Adds the outputs that a path leads to; a single one is called `name`. Returns whether there are any.
    fn follow(&mut self, scope: &Scope<'_>, results: &Results, env: usize, path: &[Name<'_>], name: &str) -> bool {
        let names = scope.names;
        let path: Vec<Name<'_>> = path.to_vec();
        match names.follow(env, &path) {
            Followed::Found { entity: Entity::Call(call), rest, .. } => {
                let Some(Some(result)) = results.get(call) else { return false };
                self.reads_champion |= result.reads_champion;
                let schema = result.schema.and_then(|schema| names.schema_decls.get(schema));
                self.schema = self.schema.take().or(schema.map(|(schema, _)| schema.name.text.to_owned()));
                let outputs = &result.call.outputs;
                let asked = match (rest.first(), outputs.as_slice()) {
                    (Some(asked), outputs) => outputs.iter().find(|output| output.name == asked.text),
                    (None, [only]) => Some(only),
                    (None, several) => {
                        self.outputs.extend(several.iter().cloned());
                        return !several.is_empty();
                    }
                };
                let Some(output) = asked else { return false };
                self.outputs.push(Output { name: name.to_owned().into(), ..output.clone() });
                true
            }
            Followed::Found { entity: Entity::Loop(index), rest, .. } => {
                let first = names.loops[index].rounds.as_ref().and_then(|rounds| rounds.first());
                let is_there = first.is_some_and(|round| self.follow(scope, results, round.env, &rest, name));
                if is_there {
                    self.lists.push(name.to_owned().into());
                }
                is_there
            }
            Followed::Given { bound, expr } => {
                let ty = match (&expr.kind, names.bounds[bound].word) {
                    (ExprKind::Call(call), word) if call.path.text != word => return false,
                    (_, "file") => Type::File,
                    (_, "folder") => Type::Folder,
                    _ => return false,
                };
                self.outputs.push(Output { name: name.to_owned().into(), ty, optional: false });
                true
            }
            _ => false,
        }
    }
}

/// Whether a name is written in the file at hand, and not in a module.
fn is_own(name: &Name<'_>) -> bool {
    name.span.source == 0
}

/// Finds the places of what stands in bodies, by where its name is written.
fn find_places(decls: &[Decl<'_>], prefix: &str, places: &mut HashMap<usize, String>) {
    for decl in decls {
        let (name, body) = match &decl.kind {
            DeclKind::Def(def) => (def.name, def.body.as_slice()),
            DeclKind::Loop(decl) => (decl.name, decl.body.as_slice()),
            DeclKind::Call(call) => (call.name, [].as_slice()),
            _ => continue,
        };
        let place = format!("{prefix}{}", name.text);
        if !body.is_empty() {
            find_places(body, &format!("{place}."), places);
        }
        if !prefix.is_empty() {
            places.insert(name.span.start, place);
        }
    }
}
