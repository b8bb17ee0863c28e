//! `sql`: what it takes. Its result's type comes from the planner that will execute it, in another crate.

use std::sync::Arc;

use mlp_model::{CallClass, Infer, InputType, ParamType, Signature};

use crate::declare::{Operation, input, param};

pub(crate) fn sql(infer: Arc<dyn Infer>) -> Signature {
    Operation {
        name: "sql",
        version: 1,
        runner: "builtin",
        doc: "
Runs one SQL query over tables and gives its rows as a table.

`tables` names the tables for the query: `{ c: clean, p: prices }`, or just `clean`, which the query then calls `clean`.
The columns of the result are known when the file is checked, and so is every mistake in the query.

The same tables always give the same bytes. Therefore the clock, random numbers, and `limit` without `order by` are
refused; rows come in the order that the query asks for, else in that of its input.

    step adult = sql(\"select * from clean where age >= 18\", clean)

Errors: a query that does not parse, unknown tables, columns and functions; at run time a value that cannot be
computed, such as a division of integers by zero.
",
        args: vec![
            param("query", ParamType::Str, "one `select` statement"),
            input("tables", InputType::Record, "the tables that the query may name"),
        ],
    }
    .with(CallClass::Step, infer)
}
