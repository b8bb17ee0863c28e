//! What a call of `table.join` asks for, read from its parameters.

use mlp_model::{Column, Named, TableType, Value};

/// How many rows of each table may have the same values in `on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cardinality {
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

impl Cardinality {
    pub const WORDS: &[&str] = &["one_to_one", "many_to_one", "one_to_many", "many_to_many"];

    fn read(word: &str) -> Option<Self> {
        let all = [Self::OneToOne, Self::ManyToOne, Self::OneToMany, Self::ManyToMany];
        all.into_iter().find(|cardinality| cardinality.word() == word)
    }

    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    pub fn is_left_unique(self) -> bool {
        matches!(self, Self::OneToOne | Self::OneToMany)
    }

    pub fn is_right_unique(self) -> bool {
        matches!(self, Self::OneToOne | Self::ManyToOne)
    }
}

/// What becomes of a row of `left` without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmatched {
    Refuse,
    Keep,
    Drop,
}

impl Unmatched {
    pub const WORDS: &[&str] = &["refuse", "keep", "drop"];

    fn read(word: &str) -> Option<Self> {
        [Self::Refuse, Self::Keep, Self::Drop].into_iter().find(|unmatched| Self::WORDS[*unmatched as usize] == word)
    }
}

/// A join that looks back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Times {
    pub as_of: String,
    pub time: String,
    pub within_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct How {
    pub on: Vec<String>,
    pub right_on: Vec<String>,
    /// `None` where `times` is set, and there alone.
    pub cardinality: Option<Cardinality>,
    pub unmatched: Unmatched,
    pub expect: f64,
    pub times: Option<Times>,
    pub prefix: String,
}

impl How {
    /// Reads the parameters of a call that was checked; `None` if it was not.
    pub fn read(params: &Named<Value>) -> Option<Self> {
        let value = |name: &str| params.get(name).filter(|value| **value != Value::Null);
        let word = |name: &str| value(name).and_then(Value::as_str);
        let names = |name: &str| {
            let names = value(name).and_then(Value::as_strings)?;
            Some(names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let within_ms = match value("within") {
            Some(Value::DurationMs(ms)) => Some(*ms),
            _ => None,
        };
        let times = match (word("as_of"), word("time")) {
            (Some(as_of), Some(time)) => Some(Times { as_of: as_of.to_owned(), time: time.to_owned(), within_ms }),
            _ => None,
        };
        let on = names("on")?;
        let right_on = names("right_on").unwrap_or_else(|| on.clone());
        let cardinality = word("cardinality").and_then(Cardinality::read);
        (cardinality.is_some() != times.is_some()).then_some(())?;
        Some(Self {
            on,
            right_on,
            cardinality,
            unmatched: Unmatched::read(word("unmatched")?)?,
            expect: value("expect").and_then(Value::as_float)?,
            times,
            prefix: word("prefix")?.to_owned(),
        })
    }

    /// Returns the columns of `right` that the result has, in order.
    pub fn taken<'t>(&self, right: &'t TableType) -> impl Iterator<Item = &'t Column> {
        right.columns.iter().filter(|column| !self.right_on.contains(&column.name))
    }
}
