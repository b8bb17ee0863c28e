//! What a model learns: one number a row. Unaware of features.

use arrow::array::{Array, AsArray, RecordBatch};
use mlp_artifact::table::ColumnShape;
use mlp_model::{Scalar, StepError, Task, Value};

use crate::encoding::{find, numbers};
use crate::fault::Fault;

/// Reads the target column: 1 and 0 for a binary task, else the number itself.
#[derive(Debug)]
pub struct Target {
    place: usize,
    shape: ColumnShape,
    /// For a binary task, the value that counts as 1.
    positive: Option<Value>,
    /// The positive value was not given, so the numbers must be 0 and 1.
    is_zero_one: bool,
}

impl Target {
    /// `given`, the value that counts as 1, may be left out for a bool (true) and for a column of the numbers 0 and 1 (1).
    pub fn new(name: &str, task: Task, given: Option<&Value>, columns: &[ColumnShape]) -> Result<Self, Fault> {
        let place = find(name, columns)?;
        let shape = columns[place].clone();
        let positive = match (task, given, shape.scalar) {
            (Task::Regression, None, Scalar::Int | Scalar::Float | Scalar::Decimal { .. } | Scalar::Duration) => None,
            (Task::Regression, None, scalar) => {
                let message = format!("target `{name}` is {scalar}, but a regression needs numbers");
                return Err(at_target(message, name).into());
            }
            (Task::Regression, Some(_), _) => {
                let message = format!("`positive` has no meaning for the regression of `{name}`");
                return Err(Fault::user("T4111", message).with_argument("positive").into());
            }
            (Task::Binary, None, Scalar::Bool) => Some(Value::Bool(true)),
            (Task::Binary, None, Scalar::Int | Scalar::Float) => Some(Value::Int(1)),
            (Task::Binary, Some(Value::Bool(b)), Scalar::Bool) => Some(Value::Bool(*b)),
            (Task::Binary, Some(Value::Str(s)), Scalar::Str) => Some(Value::Str(s.clone())),
            (Task::Binary, Some(value @ (Value::Int(_) | Value::Float(_))), Scalar::Int | Scalar::Float) => {
                Some(value.clone())
            }
            (Task::Binary, None, scalar) => {
                let error = at_target(format!("which value of target `{name}` ({scalar}) is the positive one?"), name);
                return Err(error.with_help("write `positive: VALUE`").into());
            }
            (Task::Binary, Some(value), scalar) => {
                let message = format!("target `{name}` is {scalar}, so `positive` cannot be {value}");
                return Err(Fault::user("T4111", message).with_argument("positive").into());
            }
        };
        let is_zero_one = positive == Some(Value::Int(1)) && given.is_none();
        Ok(Self { place, shape, positive, is_zero_one })
    }

    pub fn positive(&self) -> Option<&Value> {
        self.positive.as_ref()
    }

    pub fn is_optional(&self) -> bool {
        self.shape.optional
    }

    /// Returns the target of each row of a batch; `None` where it is blank.
    pub fn read(&self, batch: &RecordBatch, first_row: u64) -> Result<Vec<Option<f64>>, Fault> {
        let array = batch.column(self.place);
        let name = &self.shape.name;
        let valid = |i: &usize| array.is_valid(*i);
        let truth = |b: bool| f64::from(u8::from(b));
        let values: Vec<f64> = match &self.positive {
            Some(Value::Str(positive)) => {
                let texts = array.as_string_opt::<i32>();
                let texts =
                    texts.ok_or_else(|| Fault::bug(format!("column `{name}` holds no text as its table says")))?;
                texts.iter().map(|text| truth(text == Some(positive))).collect()
            }
            positive => {
                let read = numbers(array, self.shape.scalar);
                let read =
                    read.ok_or_else(|| Fault::bug(format!("column `{name}` holds no numbers as its table says")))?;
                if let Some(i) = (0..read.len()).filter(valid).find(|i| !read[*i].is_finite()) {
                    let row = first_row + i as u64;
                    let error = at_target(format!("target `{name}` is no finite number in row {row}"), name);
                    return Err(error.with_row(row).with_help("drop such rows before this step").into());
                }
                let odd = |i: &usize| self.is_zero_one && read[*i] != 0.0 && read[*i] != 1.0;
                if let Some(i) = (0..read.len()).filter(valid).find(odd) {
                    let row = first_row + i as u64;
                    let error = at_target(format!("target `{name}` is neither 0 nor 1 in row {row}"), name);
                    return Err(error.with_row(row).with_help("write `positive: VALUE`").into());
                }
                match positive {
                    None => read,
                    Some(Value::Bool(positive)) => read.iter().map(|b| truth((*b != 0.0) == *positive)).collect(),
                    Some(positive) => {
                        let positive = positive.as_float();
                        read.iter().map(|number| truth(Some(*number) == positive)).collect()
                    }
                }
            }
        };
        Ok((0..values.len()).map(|i| array.is_valid(i).then(|| values[i])).collect())
    }
}

fn at_target(message: String, name: &str) -> StepError {
    Fault::user("T4111", message).with_argument("target").with_column(name)
}
