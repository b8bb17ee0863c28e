//! `table.split`: rows set aside by chance, the same on any machine.

use std::collections::HashMap;

use arrow::array::{Array, BooleanArray, RecordBatch};
use mlp_model::{
    ArgError, CheckedCall, Column, Inferred, Outcome, ParamType, Scalar, Signature, StepError, TableType, Value,
};

use crate::builtin::Work;
use crate::check;
use crate::declare::{Operation, param, param_or};
use crate::part::{self, Parts};

pub(crate) fn signature() -> Signature {
    Operation {
        name: "table.split",
        version: 1,
        runner: "builtin",
        doc: "
Sets a fraction of the rows aside for testing, chosen by a seed.

Outputs `train` and `test`: all columns, rows in their old order, each row in exactly one of them. `test` has exactly
`test` x rows of them, rounded to the nearest whole number (half up).

The same table, fraction and seed give the same parts on any machine. A row's draw depends on the seed and on its
place in the table alone: rows that are appended at the end move few others. Which rows: row i (from 0) draws output
i + 1 of SplitMix64, started from the seed after one SplitMix64 finalizer; the smallest draws are the test rows.

With `stratify`, each value of that column (blank counts as a value) has its share of the test rows, by largest
remainder, so that the total stays exact; equal remainders go to the more frequent value, then to the one that
comes first. A value with very few rows may lie wholly in one part.

`train` can be split again, for example to get rows for choosing between models; `test` cannot.

    step parts = table.split(clean, test: 0.2, seed: 7, stratify: Churn)

Errors: a table so small that a part would be empty.
",
        args: vec![
            part::data_argument(),
            param("test", ParamType::Float { min: 0.0, max: 1.0 }, "the fraction set aside; more than 0, less than 1"),
            param("seed", ParamType::Int { min: 0, max: i64::MAX }, "another seed, another choice of rows"),
            param_or(
                "stratify",
                ParamType::Column { of: "data" },
                Value::Null,
                "a bool, int, str or date column whose values have equal shares in both parts",
            ),
            part::mixed_groups(),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let table = check::table(call, "data").map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    errors.extend(check_stratify(call, table).err());
    errors.extend(part::keeps_groups(call, table).err());
    part::by_fraction(call, table, errors)
}

fn check_stratify(call: &CheckedCall<'_>, table: &TableType) -> Result<(), ArgError> {
    let Some(name) = check::value(call, "stratify").and_then(Value::as_str) else { return Ok(()) };
    let Column { scalar, .. } = check::column(table, "data", "stratify", name)?;
    if matches!(scalar, Scalar::Bool | Scalar::Int | Scalar::Str | Scalar::Date) {
        return Ok(());
    }
    let message = format!("`stratify` takes a bool, int, str or date column, `{name}` is {scalar}");
    Err(ArgError::new("E0342", "stratify", message).with_help("make a column of a few classes from it, with `sql`"))
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let (test, seed) = (work.float("test")?, work.int("seed")?);
    let stratify = work.optional_str("stratify")?;
    let data = work.table("data")?;
    let draw = Draw::new(seed);

    // First pass: the draws of each class; then the largest draw of each class that is a test row.
    let mut classes = Classes::default();
    let mut draws: Vec<Vec<u64>> = Vec::new();
    let mut row = 0u64;
    for batch in data.batches() {
        let batch = work.batch("data", batch)?;
        let class_of = classes.of(&batch, stratify)?;
        for class in class_of {
            if class >= draws.len() {
                draws.resize_with(class + 1, Vec::new);
            }
            draws[class].push(draw.of(row));
            row += 1;
        }
    }
    let n_test = part::n_test(row, test);
    let sizes: Vec<u64> = draws.iter().map(|draws| draws.len() as u64).collect();
    let limits: Vec<Option<u64>> = shares(&sizes, test, n_test)
        .into_iter()
        .zip(&mut draws)
        .map(|(share, draws)| nth_smallest(draws, share))
        .collect();

    // Second pass: write.
    let mut parts = Parts::create(work, &data)?;
    let mut row = 0u64;
    for batch in data.batches() {
        let batch = work.batch("data", batch)?;
        let is_test: BooleanArray = classes
            .of(&batch, stratify)?
            .into_iter()
            .map(|class| {
                let drawn = draw.of(row);
                row += 1;
                Some(limits.get(class).copied().flatten().is_some_and(|limit| drawn <= limit))
            })
            .collect();
        parts.write(&batch, &is_test)?;
    }
    parts.finish()
}

/// What each row draws: SplitMix64 by counter. Draws of different rows are different.
struct Draw {
    start: u64,
}

impl Draw {
    fn new(seed: i64) -> Self {
        Self { start: finalize(seed as u64) }
    }

    fn of(&self, row: u64) -> u64 {
        finalize(self.start.wrapping_add((row + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(crate) fn finalize(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns how many of `n_test` rows each class gives, by largest remainder.
fn shares(sizes: &[u64], test: f64, n_test: u64) -> Vec<u64> {
    let exact = |size: u64| size as f64 * test;
    let mut shares: Vec<u64> = sizes.iter().map(|size| (exact(*size) as u64).min(*size)).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    let remainder = |class: usize| exact(sizes[class]).fract();
    by_remainder.sort_by(|a, b| remainder(*b).total_cmp(&remainder(*a)).then(sizes[*b].cmp(&sizes[*a])).then(a.cmp(b)));
    let mut left = n_test.saturating_sub(shares.iter().sum());
    for class in by_remainder.into_iter().cycle().take(2 * sizes.len()) {
        if left > 0 && shares[class] < sizes[class] {
            shares[class] += 1;
            left -= 1;
        }
    }
    shares
}

/// Returns the `n`-th smallest draw, counted from 1; `None` for `n` = 0.
fn nth_smallest(draws: &mut [u64], n: u64) -> Option<u64> {
    let index = usize::try_from(n).ok()?.checked_sub(1)?;
    (index < draws.len()).then(|| *draws.select_nth_unstable(index).1)
}

/// Numbers the values of a column in the order of their first appearance.
#[derive(Default)]
struct Classes {
    values: HashMap<Vec<u8>, usize>,
    blank: Option<usize>,
}

impl Classes {
    /// Returns the class of each row; all rows are of one class without a column.
    fn of(&mut self, batch: &RecordBatch, column: Option<&str>) -> Result<Vec<usize>, StepError> {
        let Some(name) = column else { return Ok(vec![0; batch.num_rows()]) };
        let values = part::column(batch, name)?;
        let mut bytes = Vec::new();
        let mut classes = Vec::with_capacity(values.len());
        for row in 0..values.len() {
            let next = self.values.len() + usize::from(self.blank.is_some());
            classes.push(if values.is_null(row) {
                *self.blank.get_or_insert(next)
            } else {
                bytes.clear();
                part::push_value(values, row, &mut bytes)?;
                match self.values.get(&bytes) {
                    Some(class) => *class,
                    None => *self.values.entry(bytes.clone()).or_insert(next),
                }
            });
        }
        Ok(classes)
    }
}
