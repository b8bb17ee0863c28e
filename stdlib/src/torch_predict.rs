//! `torch.predict`: what it takes and gives. Another crate executes it.

use mlp_model::{
    ArgError, CheckedCall, Column, Inferred, InputType, Marks, ModelType, ParamType, Scalar, Signature, TableType,
    Task, Type, Value,
};

use crate::check::{self, at};
use crate::declare::{Operation, input, one_output, param_or, table};

pub(crate) fn signature() -> Signature {
    Operation {
        name: "torch.predict",
        version: 1,
        runner: "torch",
        doc: "
Scores the rows of a table with a model.

The table needs the model's features, by name and with the same types; other columns do no harm. Scaling and
categories are those of the training rows, stored in the model.

The result has a row for each row, in the same order: first the columns of `keep`; then, if the table has the target,
`actual` (bool for a yes-or-no question: whether the row is positive; else float); then `score` (float): the probability
of the positive class, or the predicted number.

    step scores = torch.predict(model, parts.test, keep: [customerID])

Errors: a missing feature, one of another type; a kept column named `actual` or `score`.
",
        args: vec![
            input("model", InputType::Model, "a model that `torch.train` made"),
            table("data", "the rows to score"),
            param_or("keep", ParamType::Columns { of: "data" }, Value::List(Vec::new()), "columns to take over"),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let data = check::table(call, "data").map_err(|error| vec![error])?;
    let model = model(call).map_err(|error| vec![error])?;
    let mut errors: Vec<ArgError> = model.features.iter().filter_map(|feature| check_feature(data, feature)).collect();
    let actual = actual(data, model).map_err(|error| errors.push(error)).unwrap_or_default();
    let keep = check::columns(call, data, "data", "keep", &mut errors);
    for (element, column) in &keep {
        if matches!(column.name.as_str(), "actual" | "score") {
            let message = format!("column `{}` cannot be kept: the result has one of that name", column.name);
            let help = "rename it first with `sql`, or leave it out";
            errors.push(at(*element, ArgError::new("E0348", "keep", message).with_help(help)));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let score = Column::plain("score", Scalar::Float);
    let columns = keep.into_iter().map(|(_, column)| column.clone()).chain(actual).chain([score]).collect();
    Ok(one_output(Type::Table(TableType { columns, open: false, role: data.role })))
}

fn model<'a>(call: &CheckedCall<'a>) -> Result<&'a ModelType, ArgError> {
    match call.inputs.get("model") {
        Some(Type::Model(model)) if model.flavour == "torch" => Ok(model),
        Some(Type::Model(model)) => {
            let message = format!("`torch.predict` scores models of flavour `torch`, this one is `{}`", model.flavour);
            Err(ArgError::new("E0343", "model", message).with_help(format!("use `{}.predict`", model.flavour)))
        }
        Some(other) => Err(ArgError::new("E0301", "model", format!("`model` takes a model, got a {other}"))),
        None => Err(ArgError::new("E0301", "model", "argument `model` has no value")),
    }
}

fn check_feature(data: &TableType, feature: &Column) -> Option<ArgError> {
    let Column { name, scalar, .. } = feature;
    match data.column(name) {
        Some(column) if column.scalar == *scalar => None,
        Some(column) => {
            let message = format!("feature `{name}` is {} here, but the model was trained on {scalar}", column.scalar);
            let help = "read both tables with the same schema, or convert it with `sql`";
            Some(ArgError::new("E0351", "data", message).with_help(help))
        }
        None => {
            let message = format!("column `{name}` is missing: the model was trained on it");
            let names = data.columns.iter().map(|column| column.name.as_str());
            let help = match check::suggest(name, names) {
                Some(help) => help,
                None if data.open => format!("declare `{name}` in the schema: undeclared columns cannot be relied on"),
                None => "prepare these rows in the same way as the training rows".to_owned(),
            };
            Some(ArgError::new("E0351", "data", message).with_help(help))
        }
    }
}

/// Returns what happened as a column, if the table knows.
fn actual(data: &TableType, model: &ModelType) -> Result<Option<Column>, ArgError> {
    let Column { name, scalar, .. } = &model.target;
    let Some(column) = data.column(name) else { return Ok(None) };
    if column.scalar != *scalar {
        let message = format!("target `{name}` is {} here, but the model was trained on {scalar}", column.scalar);
        let help = "read both tables with the same schema, or leave the column out";
        return Err(ArgError::new("E0351", "data", message).with_help(help));
    }
    let scalar = match model.task {
        Task::Binary => Scalar::Bool,
        Task::Regression => Scalar::Float,
    };
    let marks = Marks { key: false, label: true, ..column.marks.clone() };
    Ok(Some(Column { optional: column.optional, marks, ..Column::plain("actual", scalar) }))
}
