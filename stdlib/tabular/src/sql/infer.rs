//! Says, when a pipeline is checked, what a query's result will be.

use std::sync::Arc;
use std::thread;

use datafusion::datasource::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use mlp_artifact::table::{TableError, shape_of};
use mlp_model::{ArgError, CheckedCall, Column, Infer, Inferred, Named, Role, TableType, Type, Value};

use super::SqlError;
use super::lineage::trace_columns;
use super::messages::duplicate;
use super::plan::{Tables, plan, schema_of};

/// Planning recurses over the query; the stack is reserved, not used.
const STACK_BYTES: usize = 256 << 20;

/// Types the calls of `sql` with DataFusion's planner.
///
/// The result's columns keep the marks of the columns they are made from: an expression that reads a `personal`,
/// `protected`, `label` or unusable column is one itself; `count(*)` and `count(COLUMN)` are none. `key` and the rules stay
/// with columns that pass through unchanged. A condition (`where`, `on`) marks nothing.
///
/// The rows' role is that of the tables it reads, if they agree; else test, if one of them is; else valid, if one is; else
/// train.
pub struct SqlInfer;

impl Infer for SqlInfer {
    fn infer(&self, call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
        let Some(query) = call.params.get("query").and_then(Value::as_str) else {
            return Err(vec![ArgError::new("E0360", "query", "`query` must be a string")]);
        };
        let tables = tables_of(call.inputs)?;
        let (table, normal) = infer(query, &tables).map_err(|error| vec![arg_error(error)])?;
        Ok(Inferred {
            outputs: vec![("out".into(), Type::Table(table))],
            params: Named::from([("query", Value::Str(normal))]),
            // A query cannot be asked of fewer tables than it names.
            named: call.inputs.keys().map(str::to_owned).collect(),
            ..Inferred::default()
        })
    }
}

/// Returns the name by which the query knows an input.
pub(super) fn name_of(input: &str) -> &str {
    input.strip_prefix("tables.").unwrap_or(input)
}

fn tables_of(inputs: &Named<Type>) -> Result<Tables<'_>, Vec<ArgError>> {
    let mut tables = Tables::new();
    let mut errors = Vec::new();
    for (name, ty) in inputs {
        let name = name_of(name);
        match ty {
            Type::Table(table) => _ = tables.insert(name.to_owned(), table),
            other => {
                let message = format!("`{name}` is a {other}, but a query reads tables");
                errors.push(
                    ArgError::new("E0301", "tables", message).with_help("read it first, for example with `csv.read`"),
                );
            }
        }
    }
    if errors.is_empty() { Ok(tables) } else { Err(errors) }
}

fn arg_error(error: SqlError) -> ArgError {
    let SqlError { code, message, help, within } = error;
    let argument = if code == "E0361" && within.is_none() { "tables" } else { "query" };
    ArgError { help, within, ..ArgError::new(code, argument, message) }
}

/// Returns the type of the result and the normal form of the query.
fn infer(query: &str, tables: &Tables<'_>) -> Result<(TableType, String), SqlError> {
    let planning = || futures::executor::block_on(infer_here(query, tables));
    thread::scope(|scope| {
        let thread =
            thread::Builder::new().name("planner".into()).stack_size(STACK_BYTES).spawn_scoped(scope, planning);
        let broke = || SqlError::new("E0368", "the planner broke down on this query").with_help("please report it");
        thread.map_err(|_| broke())?.join().map_err(|_| broke())?
    })
}

async fn infer_here(query: &str, tables: &Tables<'_>) -> Result<(TableType, String), SqlError> {
    let empty = |table: &TableType| Arc::new(EmptyTable::new(schema_of(table))) as Arc<dyn TableProvider>;
    let providers = tables.iter().map(|(name, table)| (name.clone(), empty(table))).collect();
    let planned = plan(query, tables, &providers).await?;
    let shapes = shape_of(planned.plan.schema().as_arrow()).map_err(result_error)?;
    let traces = trace_columns(&planned.plan, tables);
    let columns = shapes.into_iter().zip(traces).map(|(shape, trace)| {
        let (marks, rules) = trace.into_marks(shape.scalar);
        Column { name: shape.name, scalar: shape.scalar, optional: shape.optional, marks, rules }
    });
    let roles = planned.reads.iter().filter_map(|name| tables.get(name)).map(|table| table.role);
    let table = TableType { columns: columns.collect(), open: false, role: role_of(roles) };
    Ok((table, planned.normal))
}

fn role_of(mut roles: impl Iterator<Item = Role>) -> Role {
    let Some(first) = roles.next() else { return Role::All };
    roles.fold(first, |before, role| {
        let either = |wanted: Role| before == wanted || role == wanted;
        match role {
            _ if before == role => before,
            _ if either(Role::Test) => Role::Test,
            _ if either(Role::Valid) => Role::Valid,
            _ => Role::Train,
        }
    })
}

fn result_error(error: TableError) -> SqlError {
    match error {
        TableError::DuplicateColumn { column } => duplicate(&column),
        TableError::UnnamedColumn { position } => {
            SqlError::new("E0367", format!("column {position} of the result has no name"))
                .with_help("name it with `as`")
        }
        TableError::UnsupportedType { column, found } if found == "Null" => {
            SqlError::new("E0367", format!("column `{column}` of the result is only `null` and has no type"))
                .with_help("give it one: `cast(null as double)`")
        }
        TableError::UnsupportedType { column, found } => SqlError::new(
            "E0367",
            format!("column `{column}` of the result has the type {found}, which a table cannot hold"),
        )
        .with_help("convert it: `cast(.. as varchar)`, or leave it out"),
        other => SqlError::new("E0367", other.to_string()),
    }
}
