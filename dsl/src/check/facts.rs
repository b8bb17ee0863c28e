//! What a check has found out about each name, for an editor: also of a file with mistakes.

use std::collections::HashMap;
use std::sync::Arc;

use mlp_model::{Named, Output, Schema, Value};

use super::Scope;
use super::calls::CallResult;

/// By name; what is wrong is absent.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub nodes: HashMap<String, Arc<NodeFacts>>,
    /// The parameters' values.
    pub params: HashMap<String, Value>,
    pub schemas: HashMap<String, Arc<Schema>>,
}

/// What a source or step gives.
#[derive(Debug)]
pub struct NodeFacts {
    pub op: String,
    /// With defaults, and with what the operation has settled.
    pub params: Named<Value>,
    pub outputs: Vec<Output>,
    /// The schema that its tables' columns come from.
    pub schema: Option<String>,
    pub reads_champion: bool,
}

impl NodeFacts {
    pub(super) fn of(scope: &Scope<'_>, result: &CallResult) -> Self {
        let schema = result.schema.and_then(|schema| scope.names.schema_decls.get(schema));
        Self {
            op: result.call.op.to_string(),
            params: result.call.params.clone(),
            outputs: result.call.outputs.clone(),
            schema: schema.map(|(schema, _)| schema.name.text.to_owned()),
            reads_champion: result.reads_champion,
        }
    }
}

impl Facts {
    /// `known`: by index of the call.
    pub(super) fn collect(&mut self, scope: &Scope<'_>, known: Vec<Option<Arc<NodeFacts>>>) {
        let names = scope.names;
        self.nodes.reserve(known.len());
        let known = names.calls.iter().zip(known).enumerate().filter(|(call, _)| !names.templates.contains(call));
        self.nodes.extend(known.filter_map(|(_, (inst, known))| Some((inst.name.clone(), known?))));
        let value = |place: usize| names.values.get(place).cloned().flatten();
        let values = names.params.iter().filter_map(|(decl, place)| Some((decl.name.text, value(*place)?)));
        self.params.extend(values.map(|(name, value)| (name.to_owned(), value)));
        // Those of modules have other names where they are used.
        let own = names.schema_decls.iter().zip(&names.schemas).filter(|((_, env), _)| *env == scope.env);
        let own = own.filter_map(|((decl, _), schema)| Some((decl.name.text.to_owned(), schema.clone()?)));
        self.schemas.extend(own.map(|(name, schema)| (name, Arc::new(schema))));
    }

    /// Adds what was known before about names that are wrong just now: while a line is being typed, the last thing known
    /// about it helps more than nothing. `is_declared` says which names are still there.
    pub fn remember(&mut self, before: &Self, is_declared: impl Fn(&str) -> bool) {
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
    }
}
