//! A step as it is asked for: `wasm.map` with its arguments, read from what the engine sends.
//!
//! The compiler has checked all of it; what does not fit is a mistake of ours, save what only the table itself can tell.

use mlp_artifact::table::ColumnShape;
use mlp_model::{Column, ErrorClass, InputFile, Named, StartStep, StepError, TableType, Type, Value};

use crate::engine::Profile;
use crate::fail;

pub const OP: &str = "wasm.map";
pub const OUTPUT: &str = "out";

pub struct Request<'a> {
    pub data: &'a InputFile,
    pub source: &'a InputFile,
    /// Names of the columns that the guest is given.
    pub columns: Vec<&'a str>,
    /// The columns that it gives back, with the marks that the result has.
    pub adds: Vec<Column>,
    pub params: &'a Named<Value>,
    pub profile: Profile,
    /// A personal column that the guest is given or gives back, if there is one.
    pub personal: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub fn read(step: &'a StartStep) -> Result<Self, StepError> {
        let lacks = |what: &str| fail::bug(format!("step `{}` of `{}` lacks {what}", step.step, step.op));
        if step.op != OP {
            return Err(fail::bug(format!("the wasm runner does not know `{}`", step.op)));
        }
        let input = |name| step.inputs.get(name).ok_or_else(|| lacks(name));
        let param = |name| step.params.get(name).ok_or_else(|| lacks(name));
        let (data, source) = (input("data")?, input("source")?);
        let Type::Table(given) = &data.ty else { return Err(lacks("a table")) };
        let Some((_, Type::Table(made))) = step.outputs.iter().find(|(name, _)| name == OUTPUT) else {
            return Err(lacks("a table to make"));
        };
        let columns = param("columns")?.as_strings().ok_or_else(|| lacks("names of columns"))?;
        let schema = param("adds")?.as_schema().ok_or_else(|| lacks("a schema"))?;
        let profile = match param("profile")?.as_str() {
            Some("strict") => Profile::Strict,
            Some("fast") => Profile::Fast,
            _ => return Err(lacks("a profile")),
        };
        let adds = schema.columns.iter().map(|column| Column {
            marks: made.column(&column.name).unwrap_or(column).marks.clone(),
            ..column.clone()
        });
        Ok(Self {
            data,
            source,
            adds: adds.collect(),
            params: param("params")?.as_record().ok_or_else(|| lacks("parameters"))?,
            profile,
            personal: personal(given, &columns).or_else(|| personal(made, &names(&schema.columns))),
            columns,
        })
    }

    /// Returns where in the table each column stands that the guest is given.
    pub fn places(&self, table: &[ColumnShape]) -> Result<Vec<usize>, StepError> {
        let place = |name: &&str| {
            table.iter().position(|column| column.name == **name).ok_or_else(|| {
                let has = table.iter().map(|column| format!("`{}`", column.name)).collect::<Vec<_>>().join(", ");
                let message = format!("the table `{}` has no column `{name}`", self.data.shown);
                StepError::new(ErrorClass::User, "W3210", message)
                    .with_argument("columns")
                    .with_column(*name)
                    .with_help(format!("it has {has}"))
            })
        };
        self.columns.iter().map(place).collect()
    }

    /// Returns the columns of the result: those of `table`, each replaced by the one of `adds` with its name, then the
    /// others of `adds`. Beside each, its place in `adds`, if it comes from there.
    pub fn result(&self, table: &[ColumnShape]) -> Vec<(ColumnShape, Option<usize>)> {
        let added = |name: &str| self.adds.iter().position(|add| add.name == name);
        let shape = |index: usize| self.adds.get(index).map(ColumnShape::from);
        let kept = table.iter().map(|column| {
            let place = added(&column.name);
            (place.and_then(shape).unwrap_or_else(|| column.clone()), place)
        });
        let is_new = |add: &&Column| table.iter().all(|column| column.name != add.name);
        let new = self.adds.iter().filter(is_new).map(|add| (ColumnShape::from(add), added(&add.name)));
        kept.chain(new).collect()
    }
}

fn names(columns: &[Column]) -> Vec<&str> {
    columns.iter().map(|column| column.name.as_str()).collect()
}

fn personal<'a>(table: &'a TableType, names: &[&str]) -> Option<&'a str> {
    let column = table.columns.iter().find(|c| c.marks.personal && names.contains(&c.name.as_str()))?;
    Some(&column.name)
}
