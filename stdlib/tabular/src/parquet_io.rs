//! `parquet.read` and `parquet.write`.
//!
//! A Parquet file is hostile input: its footer is compared with the length of the file before anything is read, reads past
//! the end fail instead of allocating, and a panic of the decoder becomes an error.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use mlp_artifact::table::{BATCH_ROWS, ColumnShape, Reader, Writer, convert, scalar_of};
use mlp_model::{Facts, InputFile, Schema, StartStep, StepError};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};

use crate::context::Context;
use crate::error::{bug, cannot_read, cannot_write, data, input, schema, table_in, table_out};
use crate::header::find_columns;
use crate::rules::Rules;
use crate::violations::Violations;

pub(crate) fn read(step: &StartStep, ctx: &Context, out: &Path) -> Result<Facts, StepError> {
    let schema = schema(&step.params)?;
    let source = input(step, "file")?;
    let reading = catch_unwind(AssertUnwindSafe(|| read_checked(schema, source, ctx, out)));
    reading.unwrap_or_else(|_| Err(damaged(source, "its pages cannot be decoded")))
}

pub(crate) fn write(step: &StartStep, ctx: &Context, out: &Path) -> Result<Facts, StepError> {
    let source = input(step, "data")?;
    let table = Reader::open(&source.path, source.size_bytes).map_err(|error| table_in(error, source))?;
    let file = BufWriter::new(File::create(out).map_err(|error| cannot_write(&error))?);
    // Spelled out, so that the same table gives the same bytes.
    let properties = WriterProperties::builder()
        .set_created_by("mlp".into())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(16 * BATCH_ROWS))
        .build();
    let failed = |error: ParquetError| match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => cannot_write(&error),
            Err(error) => bug(error.to_string()),
        },
        other => bug(other.to_string()),
    };
    let mut file = ArrowWriter::try_new(file, table.schema(), Some(properties)).map_err(failed)?;
    let mut n_rows = 0;
    for batch in table.batches() {
        let batch = batch.map_err(|error| table_in(error, source))?;
        file.write(&batch).map_err(failed)?;
        n_rows += batch.num_rows() as u64;
        ctx.rows(n_rows, Some(table.n_rows()))?;
    }
    let mut file = file.into_inner().map_err(failed)?;
    file.flush().map_err(|error| cannot_write(&error))?;
    Ok(Facts::from([("rows".into(), n_rows as f64), ("columns".into(), table.columns().len() as f64)]))
}

fn read_checked(schema: &Schema, source: &InputFile, ctx: &Context, out: &Path) -> Result<Facts, StepError> {
    let shown = &source.shown;
    let file = File::open(&source.path).map_err(|error| cannot_read(shown, &error))?;
    let file = Prefix { file, len: source.size_bytes };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(source, &error))?;
    check_footer(builder.metadata(), source.size_bytes).map_err(|reason| damaged(source, reason))?;

    let fields = builder.schema().fields().clone();
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    let places = find_columns(schema, &names, shown)?;
    let mut shapes: Vec<ColumnShape> = schema.columns.iter().map(ColumnShape::from).collect();
    for (shape, place) in shapes.iter().zip(&places.declared) {
        check_type(shape, &fields[*place], schema, shown)?;
    }
    for place in &places.further {
        shapes.push(shape_of(&fields[*place], shown)?);
    }

    let wanted: Vec<usize> = places.declared.iter().chain(&places.further).copied().collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
    let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    let batches = batches.map_err(|error| failed(source, &error))?;

    let mut rules = Rules::new(schema, true)?;
    let mut violations = Violations::new(schema, shown, "row");
    let mut writer = Writer::create(out, &shapes).map_err(|error| table_out(error, shown))?;
    let mut n_rows: u64 = 0;
    for batch in batches {
        let batch = batch.map_err(|_| damaged(source, "its pages cannot be decoded"))?;
        let batch = in_shape(&batch, &shapes, shown)?;
        rules.check(&batch, &|row| n_rows + row as u64 + 1, &mut violations);
        if !violations.any() {
            writer.write(&batch).map_err(|error| table_out(error, shown))?;
        }
        n_rows += batch.num_rows() as u64;
        ctx.rows(n_rows, None)?;
    }
    if violations.any() {
        return Err(violations.into_error());
    }
    writer.finish().map_err(|error| table_out(error, shown))?;
    Ok(Facts::from([("rows".into(), n_rows as f64), ("columns".into(), shapes.len() as f64)]))
}

/// Brings the columns into the order and types of the result.
fn in_shape(batch: &RecordBatch, shapes: &[ColumnShape], shown: &str) -> Result<RecordBatch, StepError> {
    let columns = shapes.iter().map(|shape| {
        let array = batch.column_by_name(&shape.name).ok_or_else(|| bug("a column is gone"))?;
        check_instants(shape, array, shown)?;
        Ok((shape.name.as_str(), convert(shape, array).map_err(|error| table_out(error, shown))?, true))
    });
    let columns = columns.collect::<Result<Vec<_>, StepError>>()?;
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| bug(error.to_string()))
}

/// Refuses instants that would lose digits.
fn check_instants(shape: &ColumnShape, array: &ArrayRef, shown: &str) -> Result<(), StepError> {
    if let DataType::Timestamp(TimeUnit::Nanosecond, _) = array.data_type() {
        let nanos = array.as_primitive::<TimestampNanosecondType>();
        if nanos.iter().flatten().any(|tick| tick % 1_000 != 0) {
            let message = format!("column `{}` of `{shown}` has times finer than a microsecond", shape.name);
            return Err(data("D1107", message)
                .with_argument("file")
                .with_column(shape.name.clone())
                .with_help("write it with time stamps in microseconds"));
        }
    }
    Ok(())
}

fn check_type(shape: &ColumnShape, field: &Field, schema: &Schema, shown: &str) -> Result<(), StepError> {
    let found = match scalar_of(field.data_type()) {
        Some(scalar) if scalar == shape.scalar => return Ok(()),
        Some(scalar) => scalar.to_string(),
        None => field.data_type().to_string(),
    };
    let (name, declared) = (&shape.name, shape.scalar);
    let message =
        format!("column `{name}` of `{shown}` is `{found}`, but schema `{}` declares `{declared}`", schema.name);
    Err(data("D1107", message)
        .with_argument("file")
        .with_column(name.clone())
        .with_help(format!("declare it as the file has it, and convert it with `sql`: `cast({name} as ..)`")))
}

fn shape_of(field: &Field, shown: &str) -> Result<ColumnShape, StepError> {
    let name = field.name().clone();
    match scalar_of(field.data_type()) {
        Some(scalar) => Ok(ColumnShape { name, scalar, optional: field.is_nullable() }),
        None => {
            let found = field.data_type();
            let message = format!("column `{name}` of `{shown}` has the type {found}, which a table cannot hold");
            Err(data("D1107", message)
                .with_argument("file")
                .with_column(name)
                .with_help("leave it out of the file, or write it as text or numbers"))
        }
    }
}

/// Compares what the footer says with the length of the file.
fn check_footer(metadata: &ParquetMetaData, len: u64) -> Result<(), String> {
    let mut n_rows: i64 = 0;
    for (i, group) in metadata.row_groups().iter().enumerate() {
        if group.num_rows() < 0 {
            return Err(format!("row group {} has {} rows", i + 1, group.num_rows()));
        }
        n_rows = n_rows.checked_add(group.num_rows()).ok_or("it claims too many rows")?;
        for column in group.columns() {
            let offset = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = u64::try_from(offset).ok().zip(u64::try_from(column.compressed_size()).ok());
            let end = end.and_then(|(offset, size)| offset.checked_add(size));
            if end.is_none_or(|end| end > len) {
                return Err(format!("column `{}` of row group {} lies outside the file", column.column_path(), i + 1));
            }
        }
    }
    if n_rows != metadata.file_metadata().num_rows() {
        let claimed = metadata.file_metadata().num_rows();
        return Err(format!("its row groups have {n_rows} rows, but it claims {claimed}"));
    }
    Ok(())
}

fn failed(source: &InputFile, error: &ParquetError) -> StepError {
    match error {
        ParquetError::NYI(what) => {
            data("D1106", format!("`{}` cannot be read: {what}", source.shown)).with_argument("file")
        }
        _ => damaged(source, "its footer cannot be read"),
    }
}

fn damaged(source: &InputFile, reason: impl Into<String>) -> StepError {
    let message = format!("`{}` is damaged or no Parquet file: {}", source.shown, reason.into());
    data("D1106", message).with_argument("file").with_help("get the file again from where it came")
}

/// The first bytes of a file.
struct Prefix {
    file: File,
    len: u64,
}

impl Prefix {
    fn reader(&self, start: u64) -> io::Result<io::Take<BufReader<File>>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(file).take(self.len.saturating_sub(start)))
    }
}

impl Length for Prefix {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Prefix {
    type T = io::Take<BufReader<File>>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.reader(start)?)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF("a page lies outside the file".into()));
        }
        let mut bytes = Vec::with_capacity(length);
        self.reader(start)?.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF("the file is shorter than it was".into()));
        }
        Ok(bytes.into())
    }
}
