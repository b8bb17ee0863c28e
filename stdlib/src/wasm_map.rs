//! `wasm.map`: what it takes and gives. Another crate executes it.

use std::collections::BTreeSet;

use mlp_model::{
    ArgError, CheckedCall, Column, Inferred, InputType, Marks, Named, ParamType, Signature, TableType, Type, Value,
};

use crate::check;
use crate::declare::{Operation, input, one_output, param, param_or, table};

pub(crate) fn signature() -> Signature {
    Operation {
        name: "wasm.map",
        version: 1,
        runner: "wasm",
        doc: "
Computes columns with a function of yours, in a sandbox.

`source` is a Python file with a function over a batch of columns. It gets the columns of `columns`, no others, and
returns those of `adds`, as many rows as it got. It runs as WebAssembly: no clock, files, network or randomness, and
bounded memory, so the same rows and source always give the same result.

The result has the columns and rows of `data`. A column of `adds` takes the place of one with the same name, else it
comes behind the others; types and rules of `adds` are checked on what the function returns. The rows' role is kept.

Marks are inherited: if one of `columns` is `personal`, `protected`, `label`, `known_at` or `unusable`, every column of
`adds` is so too, besides the marks that `adds` declares, because the function may have copied it. Leave such columns
out of `columns`, or make two calls, and the mark stays where it belongs.

`params` reaches the function as it is. Profile `strict` counts instructions and makes NaNs alike on every machine;
`fast` leaves the counting out and relies on the step's timeout.

    step clean = wasm.map(raw, source: \"clean.py\", columns: [tenure, TotalCharges], adds: Charges)

Errors: unknown columns; a schema that is open or empty; at run time an exception of the function (with its
traceback), other columns or row counts than declared, values against a rule.
",
        args: vec![
            table("data", "the table to add columns to"),
            input("source", InputType::File, "the Python file"),
            param("columns", ParamType::Columns { of: "data" }, "the columns that the function reads"),
            param("adds", ParamType::Schema, "a closed schema: the columns that the function returns"),
            param_or(
                "params",
                ParamType::Map(Box::new(ParamType::Literal)),
                Value::Record(Named::new()),
                "values for the function",
            ),
            param_or(
                "profile",
                ParamType::Choice(&["strict", "fast"]),
                Value::Str("strict".into()),
                "how the sandbox is bounded",
            ),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let data = check::table(call, "data").map_err(|error| vec![error])?;
    let adds = check::schema(call, "adds").map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let reads = check::columns(call, data, "data", "columns", &mut errors);
    if adds.open {
        let message = format!("schema `{}` is open, but a transform returns exactly the declared columns", adds.name);
        errors.push(ArgError::new("E0340", "adds", message).with_help("declare it without `open`"));
    }
    if adds.columns.is_empty() {
        let message = format!("schema `{}` has no columns, so the transform would have no effect", adds.name);
        errors.push(ArgError::new("E0340", "adds", message).with_help("declare the columns that the function returns"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let inherited = inherited(reads.iter().map(|(_, column)| *column));
    let added = adds.columns.iter().map(|column| Column { marks: union(&column.marks, &inherited), ..column.clone() });
    let columns = replace(&data.columns, added.collect());
    Ok(one_output(Type::Table(TableType { columns: columns.into(), open: data.open, role: data.role })))
}

/// Returns the marks that whatever is computed from `columns` must have.
fn inherited<'c>(columns: impl Iterator<Item = &'c Column>) -> Marks {
    columns.fold(Marks::default(), |marks, column| Marks {
        // A computed value need not be unique any more, nor tell rows apart.
        key: false,
        group: false,
        personal: marks.personal || column.marks.personal,
        protected: marks.protected || column.marks.protected,
        label: marks.label || column.marks.label,
        unusable: marks.unusable.or_else(|| {
            let reason = column.marks.unusable.as_ref()?;
            Some(format!("computed from `{}`: {reason}", column.name))
        }),
        known_at: marks.known_at.or_else(|| column.marks.known_at.clone()),
    })
}

fn union(declared: &Marks, inherited: &Marks) -> Marks {
    Marks {
        key: declared.key,
        personal: declared.personal || inherited.personal,
        protected: declared.protected || inherited.protected,
        label: declared.label || inherited.label,
        unusable: declared.unusable.clone().or_else(|| inherited.unusable.clone()),
        known_at: declared.known_at.clone().or_else(|| inherited.known_at.clone()),
        group: declared.group,
    }
}

/// Puts each column of `added` in the place of one with the same name, else behind all others.
fn replace(columns: &[Column], added: Vec<Column>) -> Vec<Column> {
    let old: BTreeSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let kept = columns.iter().map(|column| added.iter().find(|new| new.name == column.name).unwrap_or(column));
    let new = added.iter().filter(|column| !old.contains(column.name.as_str()));
    kept.chain(new).cloned().collect()
}
