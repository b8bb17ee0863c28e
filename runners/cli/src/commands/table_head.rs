//! The first rows of a table, with personal values masked.

use arrow::array::{Array, RecordBatch};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use mlp_artifact::table::{ColumnShape, Reader, TableError};
use mlp_model::{Digest, ObjectFile, Scalar};
use serde_json::{Map, Value};

use crate::report::words;

const MASK: &str = "personal";
/// Wider cells are cut on the screen.
const CELL_WIDTH: usize = 32;

pub struct TableHead {
    columns: Vec<ColumnShape>,
    n_rows: u64,
    rows: Vec<Vec<Value>>,
}

#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// Reads at most `limit` rows. `personal` names the columns to mask; `None` means that nobody knows, and all text is.
pub fn read(file: &ObjectFile, limit: usize, personal: Option<&[String]>) -> Result<TableHead, HeadError> {
    let reader = Reader::open(&file.path, file.size_bytes)?;
    let columns = reader.columns().to_vec();
    let masked: Vec<bool> = columns
        .iter()
        .map(|column| personal.map_or(column.scalar == Scalar::Str, |names| names.contains(&column.name)))
        .collect();
    let mut rows = Vec::new();
    for batch in reader.batches() {
        if rows.len() >= limit {
            break;
        }
        append_rows(&batch?, &columns, &masked, limit, &mut rows)?;
    }
    Ok(TableHead { columns, n_rows: reader.n_rows(), rows })
}

fn append_rows(
    batch: &RecordBatch,
    columns: &[ColumnShape],
    masked: &[bool],
    limit: usize,
    rows: &mut Vec<Vec<Value>>,
) -> Result<(), ArrowError> {
    let options = FormatOptions::default();
    let formatters = batch.columns().iter().map(|array| ArrayFormatter::try_new(array.as_ref(), &options));
    let formatters = formatters.collect::<Result<Vec<_>, _>>()?;
    let n_rows = batch.num_rows().min(limit - rows.len());
    for row in 0..n_rows {
        let cells = formatters.iter().zip(batch.columns()).zip(columns.iter().zip(masked));
        rows.push(
            cells
                .map(|((formatter, array), (column, masked))| {
                    if array.is_null(row) {
                        Value::Null
                    } else if *masked {
                        Value::from(MASK)
                    } else {
                        json(column.scalar, formatter.value(row).to_string())
                    }
                })
                .collect(),
        );
    }
    Ok(())
}

fn json(scalar: Scalar, text: String) -> Value {
    let number = match scalar {
        Scalar::Int => text.parse::<i64>().ok().map(Value::from),
        Scalar::Float => text.parse::<f64>().ok().map(Value::from),
        Scalar::Bool => text.parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    number.unwrap_or(Value::String(text))
}

impl TableHead {
    pub fn json(&self) -> Value {
        let column = |c: &ColumnShape| serde_json::json!({ "name": c.name, "type": c.scalar.to_string(), "optional": c.optional });
        let row = |cells: &Vec<Value>| {
            let fields = self.columns.iter().zip(cells).map(|(column, cell)| (column.name.clone(), cell.clone()));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        serde_json::json!({
            "columns": self.columns.iter().map(column).collect::<Vec<_>>(),
            "n_rows": self.n_rows,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }

    pub fn text(&self, digest: &Digest) -> String {
        let mut table: Vec<Vec<String>> = vec![
            self.columns.iter().map(|c| c.name.clone()).collect(),
            self.columns.iter().map(|c| format!("{}{}", c.scalar, if c.optional { "?" } else { "" })).collect(),
        ];
        table.extend(self.rows.iter().map(|row| row.iter().map(cell).collect()));
        let width =
            |i: usize| table.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut lines = vec![format!(
            "table {}: {} x {}",
            digest.short(),
            words::plural(self.n_rows as usize, "row"),
            words::plural(self.columns.len(), "column")
        )];
        for row in table {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            lines.push(cells.join("  ").trim_end().to_owned());
        }
        let more = self.n_rows.saturating_sub(self.rows.len() as u64);
        if more > 0 {
            lines.push(format!(".. {} more", words::count(more)));
        }
        lines.join("\n")
    }
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        other => other.to_string(),
    };
    if text.chars().count() > CELL_WIDTH {
        text.chars().take(CELL_WIDTH - 2).chain("..".chars()).collect()
    } else {
        text
    }
}
