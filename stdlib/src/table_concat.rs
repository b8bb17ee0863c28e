//! `table.concat`: the rows of several tables of one shape, one table after the other.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::row::{RowConverter, SortField};
use mlp_artifact::table::ColumnShape;
use mlp_model::{
    ArgError, CheckedCall, Column, ErrorClass, Facts, Inferred, InputType, Marks, Outcome, Signature, StepError,
    TableType, Type,
};

use crate::builtin::{Work, bug};
use crate::declare::{Operation, input, one_output};
use crate::part;

pub(crate) fn signature() -> Signature {
    Operation {
        name: "table.concat",
        version: 1,
        runner: "builtin",
        doc: "
Puts the rows of several tables into one.

`tables` is the same item of all rounds of a loop, or a record. All have the same columns, of the same types and in
the same order, and rows of the same role. The tables follow each other in the order of their names, which for the
rounds of a loop over days is the order of the days; rows keep their order. A mark that a column has in one of the
tables, it has in the result.

    for day in days(as_of - 4w, as_of) as part {
      source rows = csv.read(\"data/\" + day + \".csv\", schema: Sale)
    }
    step sales = table.concat(part.rows)

A day more reads that day's file and puts the tables together again; the others are not looked at.

Errors: no tables; other columns or another role than the first; at run time, a value of a `key` column that stands
in two rows.
",
        args: vec![input("tables", InputType::Record, "the tables")],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let mut members = call.inputs.iter().filter_map(|(name, ty)| Some((name.strip_prefix("tables.")?, ty)));
    let refuse = |message: String| ArgError::new("E0349", "tables", message);
    let table = |(name, ty): (&str, &Type)| match ty {
        Type::Table(table) => Ok((name.to_owned(), table.clone())),
        other => Err(refuse(format!("`{name}` is a {other}, not a table"))),
    };
    let Some(first) = members.next() else {
        return Err(vec![refuse("there are no tables to put together".to_owned())]);
    };
    let (first, mut result) = table(first).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    for member in members {
        let (name, other) = match table(member) {
            Ok(found) => found,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if other.role != result.role {
            let message = format!("`{name}` has {} rows, and `{first}` has {} rows", other.role, result.role);
            errors.push(refuse(message).with_help("rows of one role go together: what is set aside stays so"));
        }
        match difference(&first, &result, &other) {
            Some(what) => errors.push(refuse(format!("`{name}` {what}"))),
            None => result = joined(result, other),
        }
    }
    if errors.is_empty() { Ok(one_output(Type::Table(result))) } else { Err(errors) }
}

/// Says how the columns of a table are others than those of the first, as the end of a sentence.
fn difference(first: &str, wanted: &TableType, table: &TableType) -> Option<String> {
    for (place, column) in wanted.columns.iter().enumerate() {
        match table.columns.get(place) {
            Some(other) if other.name != column.name => {
                return Some(match table.column(&column.name) {
                    Some(_) => format!("has its columns in another order than `{first}`: first `{}`", other.name),
                    None => format!("has no column `{}`, and `{first}` has one", column.name),
                });
            }
            Some(other) if other.scalar != column.scalar => {
                let (ours, theirs) = (other.scalar, column.scalar);
                return Some(format!("has a column `{}` of type {ours}, in `{first}` it is {theirs}", column.name));
            }
            Some(_) => {}
            None => return Some(format!("has no column `{}`, and `{first}` has one", column.name)),
        }
    }
    let more = table.columns.get(wanted.columns.len())?;
    Some(format!("has a column `{}`, and `{first}` has none", more.name))
}

/// Joins two types of the same columns: what holds for a row of either holds for a row of the result.
fn joined(one: TableType, other: TableType) -> TableType {
    let column = |(one, other): (Column, Column)| Column {
        optional: one.optional || other.optional,
        rules: if one.rules == other.rules { one.rules } else { Vec::new() },
        marks: Marks {
            key: one.marks.key || other.marks.key,
            personal: one.marks.personal || other.marks.personal,
            protected: one.marks.protected || other.marks.protected,
            label: one.marks.label || other.marks.label,
            unusable: one.marks.unusable.or(other.marks.unusable),
            known_at: one.marks.known_at.or(other.marks.known_at),
            group: one.marks.group || other.marks.group,
        },
        ..one
    };
    TableType {
        columns: one.columns.into_inner().into_iter().zip(other.columns.into_inner()).map(column).collect(),
        open: one.open || other.open,
        role: one.role,
    }
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let names: Vec<&String> = work.step.inputs.keys().filter(|name| name.starts_with("tables.")).collect();
    // Of an open schema, the tables tell which columns there are.
    let (mut shapes, mut key) = (Vec::<ColumnShape>::new(), None);
    for (n, name) in names.iter().enumerate() {
        let table = work.table(name)?;
        if let Type::Table(ty) = &work.input(name)?.ty {
            key = key.or(ty.columns.iter().find(|column| column.marks.key));
        }
        if n == 0 {
            shapes = table.columns().to_vec();
            continue;
        }
        let is_same = shapes.len() == table.columns().len()
            && shapes.iter().zip(table.columns()).all(|(a, b)| a.name == b.name && a.scalar == b.scalar);
        if !is_same {
            return Err(other_columns(work, names[0], name));
        }
        shapes.iter_mut().zip(table.columns()).for_each(|(shape, other)| shape.optional |= other.optional);
    }
    let mut keys = key.map(|key| (key, Keys::default()));
    let mut out = work.create_table("out", &shapes)?;
    for name in names {
        for batch in work.table(name)?.batches() {
            let batch = work.batch(name, batch)?;
            if let Some((key, seen)) = &mut keys {
                let column = part::column(&batch, &key.name)?;
                if let Some((row, other)) = seen.add(name, column)? {
                    return Err(twice(work, key, (name, row), &other));
                }
            }
            out.write(&batch)?;
        }
    }
    let (n_rows, out) = out.finish()?;
    let facts = [("rows", n_rows as f64), ("columns", shapes.len() as f64)];
    let facts: Facts = facts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    let outputs = [("out".to_owned(), out)].into();
    Ok(Outcome { outputs, facts, ..Outcome::default() })
}

/// The keys of all rows so far, by their bytes: the table, by its number, and the row.
#[derive(Default)]
struct Keys {
    tables: Vec<(String, u64)>,
    seen: HashMap<Box<[u8]>, (u32, u64)>,
}

impl Keys {
    /// Adds a batch of a table. Returns the first row whose key is there already, and where.
    fn add(&mut self, table: &str, column: &ArrayRef) -> Result<Option<(u64, (String, u64))>, StepError> {
        if self.tables.last().is_none_or(|(last, _)| last != table) {
            self.tables.push((table.to_owned(), 0));
        }
        let place = u32::try_from(self.tables.len() - 1).map_err(bug)?;
        let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())]).map_err(bug)?;
        let rows = converter.convert_columns(std::slice::from_ref(column)).map_err(bug)?;
        for row in &rows {
            let (_, n_rows) = &mut self.tables[place as usize];
            *n_rows += 1;
            let n = *n_rows;
            if let Some((table, first)) = self.seen.insert(Box::from(row.as_ref()), (place, n)) {
                return Ok(Some((n, (self.tables[table as usize].0.clone(), first))));
            }
        }
        Ok(None)
    }
}

fn shown<'w>(work: &'w Work<'_>, name: &'w str) -> &'w str {
    work.step.inputs.get(name).map_or(name, |input| input.shown.as_str())
}

/// Tells rows, never values: they may be personal.
fn twice(work: &Work<'_>, key: &Column, (table, row): (&str, u64), (other, first): &(String, u64)) -> StepError {
    let (table, other) = (shown(work, table), shown(work, other));
    let message =
        format!("row {row} of `{table}` has the key of row {first} of `{other}`: `{}` says the same in both", key.name);
    StepError::new(ErrorClass::Data, "D1164", message)
        .with_argument("tables")
        .with_help("let each row stand in one of the tables, or take the mark `key` from the schema")
}

fn other_columns(work: &Work<'_>, first: &str, name: &str) -> StepError {
    let (first, name) = (shown(work, first), shown(work, name));
    let message = format!("`{name}` has other columns than `{first}`");
    StepError::new(ErrorClass::Data, "D1165", message)
        .with_argument("tables")
        .with_help("declare what both have in the schema, and make it closed")
}
