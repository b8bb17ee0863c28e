//! Reads a step's parameters. The checker has bound and bounded them: what is missing here is our mistake.

use mlp_model::{InputFile, Named, StartStep, Value};

use crate::fault::Fault;

/// Arguments of a step or of a constructor.
pub struct Params<'a>(pub &'a Named<Value>);

impl<'a> Params<'a> {
    pub fn int(&self, name: &str) -> Result<i64, Fault> {
        self.get(name)?.as_int().ok_or_else(|| odd(name, "an int"))
    }

    /// Returns an int of at least 1.
    pub fn count(&self, name: &str) -> Result<usize, Fault> {
        let count = usize::try_from(self.int(name)?).ok().filter(|count| *count > 0);
        count.ok_or_else(|| odd(name, "an int of at least 1"))
    }

    pub fn float(&self, name: &str) -> Result<f64, Fault> {
        self.get(name)?.as_float().filter(|number| number.is_finite()).ok_or_else(|| odd(name, "a finite float"))
    }

    pub fn str(&self, name: &str) -> Result<&'a str, Fault> {
        self.get(name)?.as_str().ok_or_else(|| odd(name, "a str"))
    }

    pub fn strings(&self, name: &str) -> Result<Vec<&'a str>, Fault> {
        self.get(name)?.as_strings().ok_or_else(|| odd(name, "a list of str"))
    }

    pub fn get(&self, name: &str) -> Result<&'a Value, Fault> {
        self.0.get(name).ok_or_else(|| Fault::bug(format!("the step has no parameter `{name}`")))
    }

    /// Returns the value, unless it was left out.
    pub fn optional(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| **value != Value::Null)
    }
}

pub fn input<'a>(step: &'a StartStep, name: &str) -> Result<&'a InputFile, Fault> {
    step.inputs.get(name).ok_or_else(|| Fault::bug(format!("the step has no input `{name}`")))
}

fn odd(name: &str, wanted: &str) -> Fault {
    Fault::bug(format!("the step's parameter `{name}` is not {wanted}"))
}
