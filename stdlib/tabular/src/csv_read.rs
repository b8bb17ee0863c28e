//! `csv.read`: a CSV file becomes a table that satisfies its schema, or one error that tells all that is wrong with it.
//!
//! The file is read once in bounded memory; twice where an open schema lets further columns pass, whose types only the
//! whole file can tell. After the first fault nothing is written any more, but everything is still counted.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{self, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use mlp_artifact::table::{BATCH_ROWS, ColumnShape, Writer, arrow_type};
use mlp_model::{Facts, InputFile, Schema, StartStep, StepError, Value};

use crate::columns::{ColumnReader, Guess, Parsed};
use crate::context::Context;
use crate::error::{bug, cannot_read, data, grouped, input, schema, table_out};
use crate::header::{Places, find_columns};
use crate::records::{MAX_RECORD_BYTES, Record, RecordError, Records};
use crate::rules::Rules;
use crate::violations::{Fault, N_SHOWN, Violations, aligned};

pub(crate) fn run(step: &StartStep, ctx: &Context, out: &Path) -> Result<Facts, StepError> {
    let schema = schema(&step.params)?;
    let source = Source::new(step)?;
    let names = source.names()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let places = find_columns(schema, &names, source.shown())?;
    let further = source.guess(&names, &places.further, ctx)?;

    let mut columns: Vec<ColumnShape> = schema.columns.iter().map(ColumnShape::from).collect();
    columns.extend(further);
    let n_rows = Reading::new(schema, &source, &columns, &places, names.len(), out)?.run(ctx)?;
    Ok(Facts::from([("rows".into(), n_rows as f64), ("columns".into(), columns.len() as f64)]))
}

/// The file and how its cells are written.
struct Source<'a> {
    file: &'a InputFile,
    delimiter: u8,
    blank: Vec<String>,
}

impl<'a> Source<'a> {
    fn new(step: &'a StartStep) -> Result<Self, StepError> {
        let param = |name: &str| step.params.get(name);
        let delimiter = match param("delimiter").map(|value| value.as_str().map(str::as_bytes)) {
            None => b',',
            Some(Some([byte])) if byte.is_ascii() && !b"\"\r\n\0".contains(byte) => *byte,
            Some(_) => return Err(bug("`delimiter` is not one ASCII character")),
        };
        let blank = match param("blank").map(Value::as_strings) {
            None => vec![String::new()],
            Some(Some(markers)) => markers.into_iter().map(str::to_owned).collect(),
            Some(None) => return Err(bug("`blank` is not a list of strings")),
        };
        Ok(Self { file: input(step, "file")?, delimiter, blank })
    }

    fn shown(&self) -> &str {
        &self.file.shown
    }

    fn open(&self) -> Result<Records<impl Read + use<>>, StepError> {
        let file = File::open(&self.file.path).map_err(|error| cannot_read(self.shown(), &error))?;
        Ok(Records::new(file.take(self.file.size_bytes), self.delimiter))
    }

    fn failed(&self, error: RecordError) -> StepError {
        let shown = self.shown();
        let error = match error {
            RecordError::Io(error) => return cannot_read(shown, &error),
            RecordError::NotUtf8 { line, offset, byte } => {
                data("D1101", format!("`{shown}` is not UTF-8: byte 0x{byte:02x} at offset {offset}, on line {line}"))
                    .with_row(line)
                    .with_help("save it as UTF-8; `iconv -f WINDOWS-1252 -t UTF-8` converts most older files")
            }
            RecordError::Utf16 => data("D1101", format!("`{shown}` is UTF-16, not UTF-8"))
                .with_help("save it as UTF-8, or: iconv -f UTF-16 -t UTF-8"),
            RecordError::Nul { line, offset } => {
                data("D1101", format!("`{shown}` holds a zero byte at offset {offset}, on line {line}: it is no text"))
                    .with_row(line)
                    .with_help("the file may be damaged or cut off; get it again from where it came")
            }
            RecordError::TooLong { line } => {
                let limit = MAX_RECORD_BYTES >> 20;
                data("D1105", format!("the record on line {line} of `{shown}` is longer than {limit} MiB"))
                    .with_row(line)
                    .with_help("is a quote left open there?")
            }
            RecordError::TooManyCells { line } => {
                data("D1105", format!("the record on line {line} of `{shown}` has more than a million cells"))
                    .with_row(line)
                    .with_help("is `delimiter` the right one?")
            }
            RecordError::OpenQuote { line } => {
                data("D1105", format!("a quote in the record on line {line} of `{shown}` is never closed"))
                    .with_row(line)
                    .with_help("close the quote, or double it where it is part of the text")
            }
        };
        error.with_argument("file")
    }

    /// Reads the names of the columns.
    fn names(&self) -> Result<Vec<String>, StepError> {
        let mut records = self.open()?;
        match records.next().map_err(|error| self.failed(error))? {
            Some(header) => Ok(header.cells().map(str::to_owned).collect()),
            None => Err(data("D1102", format!("`{}` is empty", self.shown()))
                .with_argument("file")
                .with_help("the first record must name the columns")),
        }
    }

    /// Finds the types of the columns at `places` by reading the file once.
    fn guess(&self, names: &[&str], places: &[usize], ctx: &Context) -> Result<Vec<ColumnShape>, StepError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut guesses: Vec<Guess> = places.iter().map(|_| Guess::new()).collect();
        let mut records = self.open()?;
        let mut n_records: u64 = 0;
        while let Some(record) = records.next().map_err(|error| self.failed(error))? {
            if n_records > 0 && record.len() == names.len() {
                for (guess, place) in guesses.iter_mut().zip(places) {
                    guess.push(record.cell(*place), &self.blank);
                }
            }
            n_records += 1;
            if n_records.is_multiple_of(BATCH_ROWS as u64) {
                ctx.check()?;
            }
        }
        let shapes = guesses.iter().zip(places).map(|(guess, place)| {
            let (scalar, optional) = guess.finish();
            ColumnShape { name: names[*place].to_owned(), scalar, optional }
        });
        Ok(shapes.collect())
    }
}

/// The second, or only, pass over the file.
struct Reading<'a> {
    schema: &'a Schema,
    source: &'a Source<'a>,
    n_cells: usize,
    columns: Vec<Column>,
    table_schema: SchemaRef,
    rules: Rules<'a>,
    violations: Violations<'a>,
    ragged: Ragged,
    writer: Writer,
    /// The line of each row of the batch.
    lines: Vec<u64>,
}

struct Column {
    place: usize,
    /// May be blank. A key never is.
    optional: bool,
    reader: ColumnReader,
}

/// Records of another length than the first.
#[derive(Default)]
struct Ragged {
    n: u64,
    /// Line and number of cells of the first ones.
    first: Vec<(u64, usize)>,
}

impl<'a> Reading<'a> {
    fn new(
        schema: &'a Schema,
        source: &'a Source<'a>,
        shapes: &[ColumnShape],
        places: &Places,
        n_cells: usize,
        out: &Path,
    ) -> Result<Self, StepError> {
        let is_key = |i: usize| schema.columns.get(i).is_some_and(|column| column.marks.key);
        let places = places.declared.iter().chain(&places.further);
        let columns = shapes.iter().zip(places).enumerate().map(|(i, (shape, place))| Column {
            place: *place,
            optional: shape.optional && !is_key(i),
            reader: ColumnReader::new(shape.scalar),
        });
        // Blanks in required columns are counted while cells are read, and never written.
        let fields = shapes.iter().map(|shape| Field::new(&shape.name, arrow_type(shape.scalar), true));
        Ok(Self {
            schema,
            source,
            n_cells,
            columns: columns.collect(),
            table_schema: Arc::new(datatypes::Schema::new(fields.collect::<Vec<_>>())),
            rules: Rules::new(schema, false)?,
            violations: Violations::new(schema, source.shown(), "line"),
            ragged: Ragged::default(),
            writer: Writer::create(out, shapes).map_err(|error| table_out(error, source.shown()))?,
            lines: Vec::with_capacity(BATCH_ROWS),
        })
    }

    fn run(mut self, ctx: &Context) -> Result<u64, StepError> {
        let source = self.source;
        let mut records = source.open()?;
        records.next().map_err(|error| source.failed(error))?;
        let mut n_rows: u64 = 0;
        while let Some(record) = records.next().map_err(|error| source.failed(error))? {
            if record.len() == self.n_cells {
                self.push(&record);
            } else {
                self.ragged.n += 1;
                if self.ragged.first.len() < N_SHOWN {
                    self.ragged.first.push((record.line, record.len()));
                }
            }
            if self.lines.len() == BATCH_ROWS {
                n_rows += self.flush()?;
                ctx.rows(n_rows, None)?;
            }
        }
        n_rows += self.flush()?;
        ctx.rows(n_rows, Some(n_rows))?;
        if self.ragged.n > 0 {
            return Err(self.ragged_error());
        }
        if self.violations.any() {
            return Err(self.violations.into_error());
        }
        self.writer.finish().map_err(|error| table_out(error, source.shown()))
    }

    fn push(&mut self, record: &Record<'_>) {
        self.lines.push(record.line);
        for i in 0..self.columns.len() {
            let column = &mut self.columns[i];
            let fault = match column.reader.push(record.cell(column.place), &self.source.blank) {
                Parsed::Value => continue,
                Parsed::Blank if column.optional => continue,
                Parsed::Blank => Fault::Blank,
                Parsed::Unfit => Fault::Type,
            };
            let columns = &self.columns;
            // Columns that nobody declared fit by construction, unless the file was changed meanwhile.
            if i < self.schema.columns.len() {
                self.violations.add(record.line, i, fault, |column| record.cell(columns[column].place).to_owned());
            }
        }
    }

    /// Checks and writes the rows that were read since the last time; returns how many.
    fn flush(&mut self) -> Result<u64, StepError> {
        let n_rows = self.lines.len();
        if n_rows == 0 {
            return Ok(0);
        }
        let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(|column| column.reader.finish()).collect();
        let batch = RecordBatch::try_new(self.table_schema.clone(), arrays).map_err(|error| bug(error.to_string()))?;
        self.rules.check(&batch, &|row| self.lines[row], &mut self.violations);
        if !self.violations.any() && self.ragged.n == 0 {
            self.writer.write(&batch).map_err(|error| table_out(error, self.source.shown()))?;
        }
        self.lines.clear();
        Ok(n_rows as u64)
    }

    fn ragged_error(self) -> StepError {
        let shown = self.source.shown();
        let n_cells = self.n_cells;
        let (n, cells) = (self.ragged.n, if n_cells == 1 { "cell" } else { "cells" });
        let (records, do_not) = if n == 1 { ("record", "does not have") } else { ("records", "do not have") };
        let message =
            format!("{} {records} of `{shown}` {do_not} the {n_cells} {cells} of the first record", grouped(n));
        let mut rows = vec![["line", "expected", "found"].map(str::to_owned).to_vec()];
        rows.extend(
            self.ragged
                .first
                .iter()
                .map(|(line, found)| [*line, n_cells as u64, *found as u64].map(|n| n.to_string()).to_vec()),
        );
        let mut detail = aligned(&rows);
        let n_more = n - self.ragged.first.len() as u64;
        if n_more > 0 {
            detail.push(format!(".. {} more", grouped(n_more)));
        }
        if self.violations.any() {
            let n = self.violations.n();
            let values = if n == 1 { "value breaks" } else { "values break" };
            detail.push(format!("beside that, {} {values} schema `{}`:", grouped(n), self.schema.name));
            detail.extend(self.violations.detail());
        }
        let delimiter = char::from(self.source.delimiter);
        let mut error = data("D1103", message)
            .with_argument("file")
            .with_detail(detail)
            .with_help(format!("a cell that contains {delimiter:?} or a line break must stand in quotes"));
        error.row = self.ragged.first.first().map(|(line, _)| *line);
        error
    }
}
