//! What a check has found out about each name, for an editor: also of a file with mistakes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mlp_model::{Output, Schema, Value};

use super::Scope;
use super::calls::Results;

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
    pub params: BTreeMap<String, Value>,
    pub outputs: Vec<Output>,
    /// The schema that its tables' columns come from.
    pub schema: Option<String>,
    pub reads_champion: bool,
}

impl Facts {
    pub(super) fn collect(&mut self, scope: &Scope<'_>, results: Results) {
        let names = scope.names;
        for (decl, result) in names.calls.iter().zip(results) {
            let Some(result) = result else { continue };
            let schema = result.schema.and_then(|schema| names.schemas.get(schema));
            let node = NodeFacts {
                op: result.call.op,
                params: result.call.params,
                outputs: result.call.outputs,
                schema: schema.map(|schema| schema.name.text.to_owned()),
                reads_champion: result.reads_champion,
            };
            self.nodes.insert(decl.name.text.to_owned(), Arc::new(node));
        }
        let values = names.params.iter().zip(scope.values);
        self.params.extend(values.filter_map(|(decl, value)| Some((decl.name.text.to_owned(), value.clone()?))));
        let schemas = names.schemas.iter().zip(scope.schemas);
        self.schemas
            .extend(schemas.filter_map(|(decl, schema)| Some((decl.name.text.to_owned(), Arc::new(schema.clone()?)))));
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
