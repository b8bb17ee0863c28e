//! `parquet.read` and `parquet.write`: what they take and give. Another crate executes them.

use mlp_model::{ArgError, CheckedCall, Inferred, InputType, ParamType, Signature, Type};

use crate::check;
use crate::csv::typed_by;
use crate::declare::{Operation, input, one_output, param, table};

pub(crate) fn read() -> Signature {
    Operation {
        name: "parquet.read",
        version: 1,
        runner: "builtin",
        doc: "
Reads a Parquet file as a table and checks every value against a schema.

Columns are found by name and come out in the order of the schema; an `open` schema lets further columns pass, behind
the declared ones. Only lossless changes of type are made: smaller integers to `int`, 32-bit floats to `float`, any
text encoding to `str`, coarser time stamps to `timestamp`.

    source sales = parquet.read(\"data/sales.parquet\", schema: Sale)

Errors: a missing column, an undeclared one when the schema is closed, a column of another type, values against a rule
(the first 20, by row, and the total). Values of `personal` columns are never shown.
",
        args: vec![
            input("file", InputType::File, "the file to read"),
            param("schema", ParamType::Schema, "the columns, their types and rules"),
        ],
    }
    .source(infer_read)
}

pub(crate) fn write() -> Signature {
    Operation {
        name: "parquet.write",
        version: 1,
        runner: "builtin",
        doc: "
Writes a table as a Parquet file.

    step handout = parquet.write(clean)
",
        args: vec![table("data", "the table to write")],
    }
    .step(infer_write)
}

fn infer_read(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let table = check::schema(call, "schema").and_then(typed_by).map_err(|error| vec![error])?;
    Ok(one_output(Type::Table(table)))
}

fn infer_write(_: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    Ok(one_output(Type::File))
}
