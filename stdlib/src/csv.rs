//! `csv.read` and `csv.write`: what they take and give. Another crate executes them.

use mlp_model::{
    ArgError, CheckedCall, Inferred, InputType, ParamType, Role, Schema, Signature, TableType, Type, Value,
};

use crate::check::{self, at};
use crate::declare::{Operation, input, one_output, param, param_or, table};

pub(crate) fn read() -> Signature {
    Operation {
        name: "csv.read",
        version: 1,
        runner: "builtin",
        doc: "
Reads a CSV file as a table and checks every value against a schema.

The first record names the columns. Columns are found by name, in any order, and come out in the order of the schema;
an `open` schema lets further columns pass, behind the declared ones, typed as found. The file is UTF-8 (a byte-order
mark is skipped), quoted as RFC 4180 says: `\"` around a cell, doubled inside it; line breaks inside quotes are part of
the cell. An empty line outside quotes is skipped.

A cell that equals an entry of `blank` is blank, which only an optional column (`float?`) may be. Bool cells are
true/false, yes/no, t/f, y/n or 1/0 in any case.

In a `source`, `file` is a path beside the pipeline. In a `step` it may also be a file that another step wrote.

    source raw = csv.read(\"data/telco.csv\", schema: Customer)

Errors: a missing column, an undeclared one when the schema is closed, records of another length than the first, and
values of the wrong type or against a rule (the first 20, by line, and the total). Values of `personal` columns are
never shown.
",
        args: vec![
            input("file", InputType::File, "the file to read"),
            param("schema", ParamType::Schema, "the columns, their types and rules"),
            param_or("delimiter", ParamType::Str, Value::Str(",".into()), "one ASCII character; `\"\\t\"` for a tab"),
            param_or(
                "blank",
                ParamType::List(Box::new(ParamType::Str)),
                Value::List(vec![Value::Str(String::new())]),
                "cells that mean: no value",
            ),
        ],
    }
    .source(infer_read)
}

pub(crate) fn write() -> Signature {
    Operation {
        name: "csv.write",
        version: 1,
        runner: "builtin",
        doc: "
Writes a table as a CSV file.

UTF-8, `,` between cells, `\\n` after each record, quotes only where needed, a first record with the column names.
A blank value is an empty cell; an empty text is `\"\"`. Floats have as many digits as it takes to read the same
number back.

    step handout = csv.write(clean)
",
        args: vec![table("data", "the table to write")],
    }
    .step(infer_write)
}

fn infer_read(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let mut errors = Vec::new();
    let delimiter = check::string(call, "delimiter").map_err(|error| vec![error])?;
    if !matches!(delimiter.as_bytes(), [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0)) {
        let message =
            format!("`delimiter` must be one ASCII character other than a quote or line break, got {delimiter:?}");
        errors.push(ArgError::new("E0354", "delimiter", message).with_help("usual ones are `,` `;` `|` and `\\t`"));
    }
    for (element, blank) in check::strings(call, "blank").into_iter().enumerate() {
        if blank.contains(['\n', '\r']) {
            let message = "a cell that means no value cannot contain a line break";
            errors.push(at(element, ArgError::new("E0354", "blank", message)));
        }
    }
    match check::schema(call, "schema").and_then(typed_by) {
        Ok(table) if errors.is_empty() => Ok(one_output(Type::Table(table))),
        Ok(_) => Err(errors),
        Err(error) => Err([vec![error], errors].concat()),
    }
}

fn infer_write(_: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    Ok(one_output(Type::File))
}

/// Returns the type of a table that was read with `schema`.
pub(crate) fn typed_by(schema: &Schema) -> Result<TableType, ArgError> {
    if schema.columns.is_empty() && !schema.open {
        let message = format!("schema `{}` has no columns", schema.name);
        return Err(
            ArgError::new("E0340", "schema", message).with_help("declare the columns to read, or make it `open`")
        );
    }
    Ok(TableType { columns: schema.columns.clone().into(), open: schema.open, role: Role::All })
}
