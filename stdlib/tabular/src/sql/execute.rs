//! Executes a query over stored tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::StreamExt;
use mlp_artifact::table::{ColumnShape, Reader, Writer, shape_of};
use mlp_model::{ErrorClass, Facts, InputFile, StartStep, StepError, TableType, Type, Value};

use super::SqlError;
use super::in_order::in_order;
use super::infer::name_of;
use super::messages::lower_first;
use super::plan::{Planned, Tables, plan, schema_of};
use crate::context::Context;
use crate::error::{bug, data, table_in, table_out};

/// How often a query that gives no rows looks whether it should stop.
const CHECK_EVERY: Duration = Duration::from_millis(50);

type Providers = BTreeMap<String, Arc<dyn TableProvider>>;

pub(crate) fn run(step: &StartStep, ctx: &Context, out: &Path) -> Result<Facts, StepError> {
    let query =
        step.params.get("query").and_then(Value::as_str).ok_or_else(|| bug("`sql` was started without a query"))?;
    let mut tables = Tables::new();
    let mut providers = Providers::new();
    for (name, file) in &step.inputs {
        let Type::Table(table) = &file.ty else { return Err(bug(format!("input `{name}` is no table"))) };
        let scan = Arc::new(Scan::open(file, table, ctx.cancelled.clone())?);
        let rows = StreamingTable::try_new(scan.schema.clone(), vec![scan]).map_err(|error| bug(error.to_string()))?;
        tables.insert(name_of(name).to_owned(), table);
        providers.insert(name_of(name).to_owned(), Arc::new(rows));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| {
        StepError::new(ErrorClass::Environment, "D1195", format!("cannot start the query engine: {error}"))
    })?;
    runtime.block_on(execute(step, query, &tables, &providers, ctx, out))
}

async fn execute(
    step: &StartStep,
    query: &str,
    tables: &Tables<'_>,
    providers: &Providers,
    ctx: &Context,
    out: &Path,
) -> Result<Facts, StepError> {
    let Planned { plan, session, .. } = plan(query, tables, providers).await.map_err(step_error)?;
    let planned = shape_of(plan.schema().as_arrow()).map_err(|error| bug(error.to_string()))?;
    let shapes = declared(step, planned)?;
    let failed = |error: DataFusionError| run_error(&error, tables);
    let physical = session.state().create_physical_plan(&plan).await.and_then(in_order).map_err(failed)?;
    let mut batches = physical.execute(0, session.task_ctx()).map_err(failed)?;
    let schema = named(&batches.schema(), &shapes);
    let mut writer = Writer::create(out, &shapes).map_err(|error| table_out(error, "the query"))?;
    let mut n_rows = 0;
    loop {
        match tokio::time::timeout(CHECK_EVERY, batches.next()).await {
            Err(_) => ctx.check()?,
            Ok(None) => break,
            Ok(Some(batch)) => {
                let batch = batch.map_err(failed)?;
                let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec());
                let batch = batch.map_err(|error| bug(error.to_string()))?;
                writer.write(&batch).map_err(|error| table_out(error, "the query"))?;
                n_rows += batch.num_rows() as u64;
                ctx.rows(n_rows, None)?;
            }
        }
    }
    writer.finish().map_err(|error| table_out(error, "the query"))?;
    Ok(Facts::from([("rows".into(), n_rows as f64), ("columns".into(), shapes.len() as f64)]))
}

/// Returns the columns that the checker promised, which must be those that the planner finds now.
fn declared(step: &StartStep, planned: Vec<ColumnShape>) -> Result<Vec<ColumnShape>, StepError> {
    match step.outputs.first() {
        Some((_, Type::Table(table))) => {
            let declared: Vec<_> = table.columns.iter().map(ColumnShape::from).collect();
            if declared == planned {
                Ok(declared)
            } else {
                Err(bug("the query has other columns now than when it was checked"))
            }
        }
        _ => Err(bug("`sql` was started without the type of its result")),
    }
}

fn named(schema: &Schema, shapes: &[ColumnShape]) -> SchemaRef {
    let fields = schema.fields().iter().zip(shapes);
    let fields = fields.map(|(field, shape)| Field::new(&shape.name, field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The declared columns of a stored table, batch by batch.
struct Scan {
    reader: Arc<Reader>,
    schema: SchemaRef,
    /// Of the declared columns in the stored table.
    places: Arc<[usize]>,
    input: Arc<InputFile>,
    cancelled: Arc<AtomicBool>,
}

impl Scan {
    fn open(input: &InputFile, table: &TableType, cancelled: Arc<AtomicBool>) -> Result<Self, StepError> {
        let reader = Reader::open(&input.path, input.size_bytes).map_err(|error| table_in(error, input))?;
        let place = |column: &mlp_model::Column| {
            let stored = reader.columns().iter().position(|stored| *stored == ColumnShape::from(column));
            stored.ok_or_else(|| bug(format!("`{}` is stored without its column `{}`", input.shown, column.name)))
        };
        let places = table.columns.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self {
            reader: Arc::new(reader),
            schema: schema_of(table),
            places,
            input: Arc::new(input.clone()),
            cancelled,
        })
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scan({})", self.input.shown)
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (reader, places) = (self.reader.clone(), self.places.clone());
        let (input, cancelled) = (self.input.clone(), self.cancelled.clone());
        let batches = (0..self.reader.n_batches()).map(move |i| {
            if cancelled.load(Ordering::Relaxed) {
                let stopped = StepError::new(ErrorClass::Cancelled, "D1190", "cancelled");
                return Err(DataFusionError::External(Box::new(stopped)));
            }
            let Some(batch) = reader.batch(i) else {
                return Err(DataFusionError::Internal("a batch is gone".into()));
            };
            let batch = batch.map_err(|error| DataFusionError::External(Box::new(table_in(error, &input))))?;
            Ok(batch.project(&places)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(batches)))
    }
}

fn step_error(error: SqlError) -> StepError {
    let step_error = StepError::new(ErrorClass::User, error.code, error.message).with_argument("query");
    match error.help {
        Some(help) => step_error.with_help(help),
        None => step_error,
    }
}

/// Words a failure while rows are computed. The library's own words may hold values, so they are shown only where no
/// column is personal.
fn run_error(error: &DataFusionError, tables: &Tables<'_>) -> StepError {
    let computed = |code: &str, message: &str, help: &str| data(code, message).with_argument("query").with_help(help);
    let root = error.find_root();
    match root {
        DataFusionError::External(cause) => match cause.downcast_ref::<StepError>() {
            Some(error) => return error.clone(),
            None => return bug("the query failed for an unknown cause"),
        },
        DataFusionError::ArrowError(cause, _) => match cause.as_ref() {
            ArrowError::DivideByZero => {
                return computed(
                    "D1180",
                    "the query divides a whole number by zero",
                    "leave such rows out, or divide by `nullif(.., 0)`",
                );
            }
            ArrowError::ArithmeticOverflow(_) => {
                return computed(
                    "D1182",
                    "a number in the query is too large for its type",
                    "compute with `cast(.. as double)`",
                );
            }
            ArrowError::CastError(_) | ArrowError::ParseError(_) => {
                return computed(
                    "D1181",
                    "the query converts a value to a type that it does not fit",
                    "`try_cast(.. as ..)` gives null instead",
                );
            }
            _ => {}
        },
        DataFusionError::ResourcesExhausted(_) => {
            let message = "the query needs more memory than there is";
            return StepError::new(ErrorClass::Environment, "D1184", message).with_argument("query");
        }
        _ => {}
    }
    let is_personal = tables.values().any(|table| table.columns.iter().any(|column| column.marks.personal));
    let words = root.message();
    let first_line = words.lines().next().unwrap_or_default();
    let message = if is_personal {
        "the query failed; what the query engine says may hold personal values and is not shown".to_owned()
    } else {
        format!("the query failed: {}", lower_first(first_line.trim_end_matches('.')))
    };
    StepError::new(ErrorClass::Step, "D1183", message).with_argument("query")
}
