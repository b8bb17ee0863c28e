//! Plans a query over named tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::config::Dialect;
use datafusion::datasource::TableProvider;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::prelude::SessionConfig;
use mlp_artifact::table::arrow_type;
use mlp_model::TableType;

use super::SqlError;
use super::messages::plan_error;
use super::parse::{Parsed, parse, why_not};
use crate::error::did_you_mean;

/// The tables of a query and their types, by the names that it uses.
pub(super) type Tables<'a> = BTreeMap<String, &'a TableType>;

/// A query that can be executed.
pub(super) struct Planned {
    /// With the types of all columns settled.
    pub plan: LogicalPlan,
    pub normal: String,
    /// The names of the tables that it reads.
    pub reads: Vec<String>,
    pub session: SessionContext,
}

/// Returns the part of the environment in which the columns of `table` look as they are stored.
pub(super) fn schema_of(table: &TableType) -> SchemaRef {
    let field = |column: &mlp_model::Column| Field::new(&column.name, arrow_type(column.scalar), column.optional);
    Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()))
}

/// Plans `text` over `tables`, whose rows `providers` give.
pub(super) async fn plan(
    text: &str,
    tables: &Tables<'_>,
    providers: &BTreeMap<String, Arc<dyn TableProvider>>,
) -> Result<Planned, SqlError> {
    let Parsed { statement, normal, relations } = parse(text)?;
    let session = session();
    let state = session.state();
    let reads = check_relations(&statement, &relations, tables, &state)?;
    for name in &reads {
        if let Some(rows) = providers.get(name) {
            let known = session.register_table(TableReference::bare(name.as_str()), rows.clone());
            known.map_err(|error| {
                SqlError::new("E0361", format!("table `{name}` cannot be used: {}", error.message()))
            })?;
        }
    }
    let functions = || {
        let scalar = state.scalar_functions().keys().cloned();
        let functions =
            scalar.chain(state.aggregate_functions().keys().cloned()).chain(state.window_functions().keys().cloned());
        functions.filter(|name| why_not(name).is_none()).collect::<Vec<_>>()
    };
    let told = |error: &_| plan_error(error, text, tables, &functions());
    let plan = state.statement_to_plan(statement).await.map_err(|error| told(&error))?;
    let options = state.config_options();
    let plan = state.analyzer().execute_and_check(plan, options, |_, _| {}).map_err(|error| told(&error))?;
    refuse_volatile(&plan)?;
    Ok(Planned { plan, normal, reads, session })
}

/// Returns a session in which nothing depends on the machine, and nothing outside can be reached.
fn session() -> SessionContext {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(8192)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(true);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.dialect = Dialect::Generic;
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.enable_recursive_ctes = false;
    options.execution.time_zone = None;
    options.optimizer.enable_dynamic_filter_pushdown = false;
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    SessionContext::new_with_state(state)
}

/// Returns the names of the tables that a query reads, each once.
fn check_relations(
    statement: &datafusion::sql::parser::Statement,
    relations: &[(String, Option<std::ops::Range<usize>>)],
    tables: &Tables<'_>,
    state: &datafusion::execution::SessionState,
) -> Result<Vec<String>, SqlError> {
    let (found, _) = datafusion::sql::resolve::resolve_table_references(statement, false)
        .map_err(|error| SqlError::new("E0361", error.message().into_owned()))?;
    let mut reads = Vec::new();
    for reference in found {
        let name = reference.table();
        if tables.contains_key(name) {
            reads.push(name.to_owned());
        } else if !state.table_functions().contains_key(name) {
            let within = relations.iter().find(|(relation, _)| relation == name).and_then(|(_, within)| within.clone());
            let error = SqlError::new("E0361", format!("`{name}` is not a table of this query")).at(within);
            let names: Vec<_> = tables.keys().map(|name| format!("`{name}`")).collect();
            return Err(match (did_you_mean(name, tables.keys().map(String::as_str)), names.is_empty()) {
                (Some(close), _) => error.with_help(format!("did you mean `{close}`?")),
                (None, true) => error.with_help(format!("give it in `tables`: `{{ {name}: .. }}`")),
                (None, false) => {
                    error.with_help(format!("its tables are {}; add `{name}` to `tables`", names.join(", ")))
                }
            });
        }
    }
    Ok(reads)
}

/// Refuses functions that give something else each time, whatever their names.
fn refuse_volatile(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut found = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found = Some(call.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    match (found, walked) {
        (Some(name), _) => Err(why_not(&name).unwrap_or_else(|| {
            let message = format!("`{name}` is different each time, so the step would not be repeatable");
            SqlError::new("E0365", message).with_help("use a function of the table's values")
        })),
        (None, Err(error)) => Err(SqlError::new("E0368", error.message().into_owned())),
        (None, Ok(_)) => Ok(()),
    }
}
