//! `table.split_groups`: whole groups set aside by chance, each by its own value.

use arrow::array::{Array, BooleanArray};
use mlp_model::{ArgError, CheckedCall, Inferred, Outcome, ParamType, Scalar, Signature, StepError};

use crate::builtin::Work;
use crate::check;
use crate::declare::{Operation, param};
use crate::part::{self, Parts};
use crate::table_split::finalize;

pub(crate) fn signature() -> Signature {
    Operation {
        name: "table.split_groups",
        version: 1,
        runner: "builtin",
        doc: "
Sets whole groups of rows aside for testing, chosen by a seed.

A group is all rows of a customer, a patient, a device. Outputs `train` and `test`: all columns, rows in their old
order. Rows with an equal `by` are in the same part; blank ones are a group, too. A model that is judged on `test` has
seen no row of the groups in it.

A group's draw depends on the seed and on its value alone: new groups, and new rows of old ones, move nobody from one
part to the other. Therefore `test` holds about `test` of the groups, not an exact number of rows. Which groups: the
bytes of the value, eight at a time, go through SplitMix64's finalizer, which started from the seed; a group is a test
group if the result, as a fraction of 2^64, is less than `test`.

    step parts = table.split_groups(visits, by: patient, test: 0.2, seed: 7)

Errors: so few groups that a part would be empty.
",
        args: vec![
            part::data_argument(),
            param("by", ParamType::Column { of: "data" }, "what stays together: a bool, int, str or date column"),
            param(
                "test",
                ParamType::Float { min: 0.0, max: 1.0 },
                "the fraction of the groups; more than 0, less than 1",
            ),
            param("seed", ParamType::Int { min: 0, max: i64::MAX }, "another seed, another choice of groups"),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let table = check::table(call, "data").map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    match check::string(call, "by").and_then(|name| check::column(table, "data", "by", name)) {
        Ok(column) if matches!(column.scalar, Scalar::Bool | Scalar::Int | Scalar::Str | Scalar::Date) => {
            if let Some(group) = table.columns.iter().find(|other| other.marks.group && other.name != column.name) {
                errors.push(part::torn(&group.name, "by"));
            }
        }
        Ok(column) => {
            let message = format!("`by` takes a bool, int, str or date column, `{}` is {}", column.name, column.scalar);
            errors.push(ArgError::new("E0342", "by", message).with_help("make a column of names from it, with `sql`"));
        }
        Err(error) => errors.push(error),
    }
    part::by_fraction(call, table, errors)
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let (by, test, seed) = (work.str("by")?, work.float("test")?, work.int("seed")?);
    let data = work.table("data")?;
    let start = finalize(seed as u64);
    let mut parts = Parts::create(work, &data)?;
    let mut bytes = Vec::new();
    for batch in data.batches() {
        let batch = work.batch("data", batch)?;
        let values = part::column(&batch, by)?;
        let mut is_test = Vec::with_capacity(values.len());
        for row in 0..values.len() {
            bytes.clear();
            if !values.is_null(row) {
                part::push_value(values, row, &mut bytes)?;
                // Tells an empty text from a blank.
                bytes.push(1);
            }
            is_test.push(fraction(draw(start, &bytes)) < test);
        }
        parts.write(&batch, &BooleanArray::from(is_test))?;
    }
    parts.finish()
}

/// What a group draws.
fn draw(start: u64, value: &[u8]) -> u64 {
    let chunks = value.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    chunks.chain([value.len() as u64]).fold(start, |state, word| finalize(state.wrapping_add(word)))
}

/// Returns the draw as a number from 0 to below 1, of 53 bits as a float has.
fn fraction(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}
