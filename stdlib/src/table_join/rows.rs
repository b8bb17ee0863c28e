//! Finds the matches and writes them. `right` is in memory, `left` passes through.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{Date32Type, Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use mlp_artifact::table::{ColumnShape, Writer, arrow_type};
use mlp_model::{ArtifactKind, ErrorClass, Facts, Outcome, Produced, StepError, TableType, Type};

use super::how::{How, Times, Unmatched};
use super::result;
use crate::builtin::{Work, bug};
use crate::part;

/// How many rows of the result are put together at once.
const OUT_ROWS: usize = 65_536;
const MICROS_IN_DAY: i64 = 86_400_000_000;

/// A row of a table in memory: its batch and its place there.
type Place = (usize, usize);

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let how =
        How::read(&work.step.params).ok_or_else(|| bug("`table.join` was started with parameters that do not fit"))?;
    let (left, right) = (table_type(work, "left")?, table_type(work, "right")?);
    let shapes: Vec<ColumnShape> = result(left, right, &how).columns.iter().map(ColumnShape::from).collect();
    let right = Right::read(work, &how, right)?;
    let create = Writer::create(&work.output_path("out"), &shapes);
    let mut join = Join {
        work,
        how: &how,
        right: &right,
        schema: schema_of(&shapes),
        writer: create.map_err(|error| work.cannot_write("out", error))?,
        n_left: 0,
        unmatched: Rows::default(),
        twice: Rows::default(),
        seen: HashSet::new(),
        used: right.batches.iter().map(|batch| vec![false; batch.num_rows()]).collect(),
    };
    let names: Vec<&str> = left.columns.iter().map(|column| column.name.as_str()).collect();
    for batch in work.table("left")?.batches() {
        join.batch(&work.batch("left", batch)?, &names)?;
    }
    join.finish()
}

fn table_type<'w>(work: &'w Work<'_>, name: &str) -> Result<&'w TableType, StepError> {
    match &work.input(name)?.ty {
        Type::Table(table) => Ok(table),
        other => Err(bug(format!("input `{name}` of `table.join` is a {other}"))),
    }
}

fn schema_of(shapes: &[ColumnShape]) -> SchemaRef {
    // What may be blank is checked by the writer, which tells the row.
    let fields = shapes.iter().map(|shape| Field::new(&shape.name, arrow_type(shape.scalar), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows that something is wrong with: how many, and the first.
#[derive(Default)]
struct Rows {
    n: u64,
    first: u64,
}

impl Rows {
    fn add(&mut self, row: u64) {
        if self.n == 0 {
            self.first = row;
        }
        self.n += 1;
    }

    /// `row 3`, or `row 3 and 7 others`.
    fn told(&self) -> String {
        match self.n {
            0 | 1 => format!("row {}", self.first),
            2 => format!("row {} and 1 other", self.first),
            n => format!("row {} and {} others", self.first, n - 1),
        }
    }
}

/// The bytes of each row's values in `columns`; `None` where one is blank.
fn keys(columns: &[ArrayRef]) -> Result<Vec<Option<Box<[u8]>>>, StepError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields).and_then(|converter| converter.convert_columns(columns)).map_err(bug)?;
    let is_blank = |row: usize| columns.iter().any(|column| column.is_null(row));
    Ok((0..rows.num_rows()).map(|row| (!is_blank(row)).then(|| Box::from(rows.row(row).as_ref()))).collect())
}

/// Each row's time in microseconds; `None` where it is blank.
fn times(column: &ArrayRef) -> Result<Vec<Option<i64>>, StepError> {
    if let Some(days) = column.as_primitive_opt::<Date32Type>() {
        Ok(days.iter().map(|day| day.map(|day| i64::from(day) * MICROS_IN_DAY)).collect())
    } else if let Some(instants) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        Ok(instants.iter().collect())
    } else {
        Err(bug(format!("a column of type {} has no place in time", column.data_type())))
    }
}

fn columns(batch: &RecordBatch, names: &[String]) -> Result<Vec<ArrayRef>, StepError> {
    names.iter().map(|name| part::column(batch, name).cloned()).collect()
}

/// The right table, found by the values it is joined on.
struct Right {
    /// The columns that the result takes, batch by batch.
    batches: Vec<RecordBatch>,
    /// With times, in the order of time; else in the order of the table.
    rows: HashMap<Box<[u8]>, Vec<(i64, Place)>>,
    n_rows: u64,
}

impl Right {
    fn read(work: &Work<'_>, how: &How, ty: &TableType) -> Result<Self, StepError> {
        let taken: Vec<String> = how.taken(ty).map(|column| column.name.clone()).collect();
        let mut right = Self { batches: Vec::new(), rows: HashMap::new(), n_rows: 0 };
        let mut twice = Rows::default();
        for batch in work.table("right")?.batches() {
            let batch = work.batch("right", batch)?;
            let times = how.times.as_ref().map(|of| times(part::column(&batch, &of.time)?)).transpose()?;
            for (row, key) in keys(&columns(&batch, &how.right_on)?)?.into_iter().enumerate() {
                // What was never known, or belongs to nobody, matches nothing.
                let time = times.as_ref().map_or(Some(0), |times| times[row]);
                if let (Some(key), Some(time)) = (key, time) {
                    let same = right.rows.entry(key).or_default();
                    if !same.is_empty() && how.cardinality.is_some_and(|of| of.is_right_unique()) {
                        twice.add(right.n_rows + row as u64 + 1);
                    }
                    same.push((time, (right.batches.len(), row)));
                }
            }
            right.n_rows += batch.num_rows() as u64;
            let places = taken.iter().map(|name| batch.schema().index_of(name)).collect::<Result<Vec<_>, _>>();
            right.batches.push(batch.project(&places.map_err(bug)?).map_err(bug)?);
        }
        if twice.n > 0 {
            return Err(too_many(how, "right", &twice));
        }
        if how.times.is_some() {
            right.rows.values_mut().for_each(|rows| rows.sort_by_key(|(time, _)| *time));
        }
        Ok(right)
    }

    /// Returns the latest row that was known at `as_of`.
    fn latest(&self, key: &[u8], as_of: i64, of: &Times) -> Result<Option<Place>, StepError> {
        let Some(rows) = self.rows.get(key) else { return Ok(None) };
        let n_known = rows.partition_point(|(time, _)| *time <= as_of);
        let Some((time, place)) = rows[..n_known].last() else { return Ok(None) };
        let within = of.within_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000));
        if within.is_some_and(|within| as_of.saturating_sub(*time) > within) {
            return Ok(None);
        }
        match rows[..n_known - 1].last() {
            Some((before, other)) if before == time => Err(same_time(of, self.number(*other), self.number(*place))),
            _ => Ok(Some(*place)),
        }
    }

    /// Returns the number of a row in the table, from 1.
    fn number(&self, (batch, row): Place) -> u64 {
        self.batches[..batch].iter().map(|batch| batch.num_rows() as u64).sum::<u64>() + row as u64 + 1
    }
}

struct Join<'a> {
    work: &'a Work<'a>,
    how: &'a How,
    right: &'a Right,
    schema: SchemaRef,
    writer: Writer,
    n_left: u64,
    unmatched: Rows,
    twice: Rows,
    /// The keys of `left` so far, where each may be there once.
    seen: HashSet<Box<[u8]>>,
    used: Vec<Vec<bool>>,
}

impl Join<'_> {
    fn batch(&mut self, left: &RecordBatch, names: &[&str]) -> Result<(), StepError> {
        let (how, right) = (self.how, self.right);
        let keys = keys(&columns(left, &how.on)?)?;
        let as_of = how.times.as_ref().map(|of| times(part::column(left, &of.as_of)?)).transpose()?;
        let is_left_unique = how.cardinality.is_some_and(|of| of.is_left_unique());
        let mut pairs: Vec<(usize, Option<Place>)> = Vec::new();
        for (row, key) in keys.into_iter().enumerate() {
            let n_before = pairs.len();
            match (&key, &how.times, &as_of) {
                (None, ..) => {}
                (Some(key), Some(of), Some(as_of)) => {
                    if let Some(as_of) = as_of[row] {
                        pairs.extend(right.latest(key, as_of, of)?.map(|place| (row, Some(place))));
                    }
                }
                (Some(key), ..) => {
                    let matches = right.rows.get(key).into_iter().flatten();
                    pairs.extend(matches.map(|(_, place)| (row, Some(*place))));
                }
            }
            for (_, place) in &pairs[n_before..] {
                if let Some((batch, row)) = place {
                    self.used[*batch][*row] = true;
                }
            }
            if pairs.len() == n_before {
                self.unmatched.add(self.n_left + row as u64 + 1);
                if how.unmatched == Unmatched::Keep {
                    pairs.push((row, None));
                }
            }
            if is_left_unique && key.is_some_and(|key| !self.seen.insert(key)) {
                self.twice.add(self.n_left + row as u64 + 1);
            }
            if pairs.len() >= OUT_ROWS {
                self.write(left, names, &pairs)?;
                pairs.clear();
            }
        }
        self.n_left += left.num_rows() as u64;
        self.write(left, names, &pairs)
    }

    fn write(&mut self, left: &RecordBatch, names: &[&str], pairs: &[(usize, Option<Place>)]) -> Result<(), StepError> {
        self.work.go_on()?;
        let ours: Vec<(usize, usize)> = pairs.iter().map(|(row, _)| (0, *row)).collect();
        // A batch behind the others gives the blanks.
        let blank = (self.right.batches.len(), 0);
        let theirs: Vec<Place> = pairs.iter().map(|(_, place)| place.unwrap_or(blank)).collect();
        let mut arrays = Vec::with_capacity(self.schema.fields().len());
        for name in names {
            arrays.push(interleave(&[part::column(left, name)?.as_ref()], &ours).map_err(bug)?);
        }
        for (column, field) in self.schema.fields()[names.len()..].iter().enumerate() {
            let null = new_null_array(field.data_type(), 1);
            let batches = self.right.batches.iter().map(|batch| batch.column(column).as_ref());
            let values: Vec<&dyn Array> = batches.chain([null.as_ref()]).collect();
            arrays.push(interleave(&values, &theirs).map_err(bug)?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(bug)?;
        self.writer.write(&batch).map_err(|error| self.work.cannot_write("out", error))
    }

    fn finish(self) -> Result<Outcome, StepError> {
        let Self { work, how, right, n_left, unmatched, twice, .. } = self;
        if twice.n > 0 {
            return Err(too_many(how, "left", &twice));
        }
        let n_matched = n_left - unmatched.n;
        let share = if n_left == 0 { 1.0 } else { n_matched as f64 / n_left as f64 };
        if (how.unmatched == Unmatched::Refuse && unmatched.n > 0) || share < how.expect {
            return Err(no_match(how, n_left, &unmatched, share));
        }
        let n_used = self.used.iter().flatten().filter(|is_used| **is_used).count() as u64;
        let n_rows = self.writer.finish().map_err(|error| work.cannot_write("out", error))?;
        let facts = [
            ("rows", n_rows),
            ("columns", self.schema.fields().len() as u64),
            ("unmatched_rows", unmatched.n),
            ("unused_rows", right.n_rows - n_used),
        ];
        let mut facts: Facts = facts.into_iter().map(|(name, n)| (name.to_owned(), n as f64)).collect();
        facts.insert("matched".into(), share);
        let produced = Produced { kind: ArtifactKind::Table, path: work.output_path("out") };
        Ok(Outcome { outputs: [("out".into(), produced)].into(), facts, ..Outcome::default() })
    }
}

fn too_many(how: &How, side: &str, twice: &Rows) -> StepError {
    let word = how.cardinality.map_or("", |cardinality| cardinality.word());
    let on = if side == "left" { &how.on } else { &how.right_on };
    let on: Vec<String> = on.iter().map(|name| format!("`{name}`")).collect();
    let message = format!(
        "the join is stated to be {word}, but in `{side}` {} repeat the {} of an earlier row",
        twice.told(),
        on.join(", ")
    );
    let help = format!("make the rows of `{side}` unique first, with `sql`; or state another `cardinality`");
    StepError::new(ErrorClass::Data, "D1161", message).with_argument(side).with_row(twice.first).with_help(help)
}

fn no_match(how: &How, n_left: u64, unmatched: &Rows, share: f64) -> StepError {
    let expected = match how.unmatched {
        Unmatched::Refuse => "all of them are expected to".to_owned(),
        Unmatched::Keep | Unmatched::Drop => format!("{} % are expected to", percent(how.expect)),
    };
    let message = format!(
        "{} % of the {n_left} rows of `left` have a match, {expected}; {} have none",
        percent(share),
        unmatched.told()
    );
    let help = match how.unmatched {
        Unmatched::Refuse => {
            "`unmatched: keep` leaves the columns of `right` blank there, `unmatched: drop` leaves such rows out"
        }
        Unmatched::Keep | Unmatched::Drop => "is `right` complete, and written like `left`? Otherwise lower `expect`",
    };
    let error = StepError::new(ErrorClass::Data, "D1162", message).with_argument("left");
    error.with_row(unmatched.first).with_help(help)
}

/// Rounded down, so that what is not enough does not look as if it were.
fn percent(share: f64) -> f64 {
    (share * 1000.0).floor() / 10.0
}

fn same_time(of: &Times, first: u64, second: u64) -> StepError {
    let message = format!(
        "rows {first} and {second} of `right` match the same row and have the same `{}`: neither is the later",
        of.time
    );
    let help = "make the rows of `right` unique first, with `sql`";
    StepError::new(ErrorClass::Data, "D1163", message).with_argument("right").with_row(first).with_help(help)
}
