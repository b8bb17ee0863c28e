//! `csv.write`: a table becomes a CSV file that `csv.read` reads back.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use mlp_artifact::table::Reader;
use mlp_model::{Facts, StartStep, StepError};

use crate::context::Context;
use crate::error::{cannot_write, input, table_in};
use crate::rules::show;

pub(crate) fn run(step: &StartStep, ctx: &Context, out: &Path) -> Result<Facts, StepError> {
    let data = input(step, "data")?;
    let table = Reader::open(&data.path, data.size_bytes).map_err(|error| table_in(error, data))?;
    let file = File::create(out).map_err(|error| cannot_write(&error))?;
    let mut file = BufWriter::with_capacity(1 << 18, file);
    let names: Vec<_> = table.columns().iter().map(|column| column.name.as_str()).collect();
    let mut line = String::new();
    for (i, name) in names.iter().enumerate() {
        push_cell(&mut line, i, name, false);
    }
    end_record(&mut line, &mut file)?;
    let mut n_rows = 0;
    for batch in table.batches() {
        let batch = batch.map_err(|error| table_in(error, data))?;
        for row in 0..batch.num_rows() {
            for (i, array) in batch.columns().iter().enumerate() {
                push_value(&mut line, i, array, row, names.len());
            }
            end_record(&mut line, &mut file)?;
        }
        n_rows += batch.num_rows() as u64;
        ctx.rows(n_rows, Some(table.n_rows()))?;
    }
    file.flush().map_err(|error| cannot_write(&error))?;
    Ok(Facts::from([("rows".into(), n_rows as f64), ("columns".into(), names.len() as f64)]))
}

/// Appends a value. A blank is an empty cell, an empty text `""`; the only cell of a record is never empty outside quotes,
/// for that would be an empty line.
fn push_value(line: &mut String, i: usize, array: &ArrayRef, row: usize, n_columns: usize) {
    if array.is_null(row) {
        push_cell(line, i, "", n_columns == 1);
    } else if let Some(texts) = array.as_string_opt::<i32>() {
        push_cell(line, i, texts.value(row), texts.value(row).is_empty());
    } else {
        push_cell(line, i, &show(array, row), false);
    }
}

fn push_cell(line: &mut String, i: usize, cell: &str, in_quotes: bool) {
    if i > 0 {
        line.push(',');
    }
    if in_quotes || cell.contains(['"', ',', '\n', '\r']) {
        line.push('"');
        line.push_str(&cell.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(cell);
    }
}

fn end_record(line: &mut String, file: &mut impl Write) -> Result<(), StepError> {
    line.push('\n');
    let written: io::Result<()> = file.write_all(line.as_bytes());
    line.clear();
    written.map_err(|error| cannot_write(&error))
}
