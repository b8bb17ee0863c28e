//! Compares the columns that a file has with those that its schema wants.

use std::collections::HashSet;

use mlp_model::{Schema, StepError};

use crate::error::{data, did_you_mean};

/// Where the columns of the result stand in the file.
#[derive(Debug, PartialEq)]
pub(crate) struct Places {
    /// Of each column of the schema, in its order.
    pub declared: Vec<usize>,
    /// Of the further columns of an open schema, in the order of the file.
    pub further: Vec<usize>,
}

const N_NAMED: usize = 10;

/// Finds the columns of `schema` among `names`, the columns of the file.
pub(crate) fn find_columns(schema: &Schema, names: &[&str], shown: &str) -> Result<Places, StepError> {
    check_names(names, shown)?;
    let declared = schema.columns.iter().map(|column| names.iter().position(|name| *name == column.name));
    let declared: Vec<Option<usize>> = declared.collect();
    let is_declared = |name: &str| schema.columns.iter().any(|column| column.name == name);
    let further: Vec<usize> = (0..names.len()).filter(|i| !is_declared(names[*i])).collect();

    let missing: Vec<&str> = schema
        .columns
        .iter()
        .zip(&declared)
        .filter(|(_, place)| place.is_none())
        .map(|(column, _)| column.name.as_str())
        .collect();
    let unknown: Vec<&str> = further.iter().filter(|_| !schema.open).map(|i| names[*i]).collect();
    if missing.is_empty() && unknown.is_empty() {
        return Ok(Places { declared: declared.into_iter().flatten().collect(), further });
    }

    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("lacks {}", listed(&missing)));
    }
    if !unknown.is_empty() {
        faults.push(format!("has {}, which schema `{}` does not declare", listed(&unknown), schema.name));
    }
    let of_schema = if unknown.is_empty() { format!(" of schema `{}`", schema.name) } else { String::new() };
    let message = format!("`{shown}` {}{of_schema}", faults.join(" and "));
    let instead = missing.iter().find_map(|name| {
        let found = did_you_mean(name, further.iter().map(|i| names[*i]))?;
        Some((*name, found))
    });
    let help = match (instead, missing.first()) {
        // A whole record in one column resembles each of its parts.
        (Some((wanted, found)), _) if names.len() > 1 || missing.len() == 1 => {
            format!(
                "the file has `{found}`: if that is `{wanted}`, give it the same name in the schema and in the file"
            )
        }
        (_, Some(_)) if names.len() == 1 => format!(
            "the first record of the file is read as the single column `{}`: is `delimiter` the right one?",
            shortened(names[0])
        ),
        (_, Some(wanted)) => format!("correct the file, or leave `{wanted}` out of the schema"),
        (_, None) => format!("declare {}, or write `schema {} open`", them(&unknown), schema.name),
    };
    let mut error = data("D1102", message).with_argument("file").with_help(help);
    error.column = missing.first().or(unknown.first()).map(|name| (*name).to_owned());
    Err(error)
}

/// Refuses columns that could not be told apart.
fn check_names(names: &[&str], shown: &str) -> Result<(), StepError> {
    let fail = |message| Err(data("D1102", message).with_argument("file"));
    let mut seen = HashSet::new();
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() {
            return fail(format!("column {} of `{shown}` has no name", i + 1))
                .map_err(|error| error.with_help("name every column in the first record"));
        }
        if !seen.insert(name) {
            return fail(format!("`{shown}` has two columns called `{}`", shortened(name)))
                .map_err(|error| error.with_column(*name).with_help("give every column a name of its own"));
        }
    }
    Ok(())
}

fn them(names: &[&str]) -> String {
    if names.len() == 1 { "it".into() } else { "them".into() }
}

/// Returns the first names in backticks, and how many more there are.
fn listed(names: &[&str]) -> String {
    let columns = if names.len() == 1 { "column" } else { "columns" };
    let shown: Vec<_> = names.iter().take(N_NAMED).map(|name| format!("`{}`", shortened(name))).collect();
    let more = match names.len().saturating_sub(N_NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("the {columns} {}{more}", shown.join(", "))
}

fn shortened(name: &str) -> String {
    let text: String = name.chars().take(60).collect();
    if text.len() < name.len() { format!("{text}..") } else { text }
}

#[cfg(test)]
mod tests {
    use mlp_model::{Column, Scalar};

    use super::*;

    fn find(open: bool, names: &[&str]) -> Result<Places, String> {
        let columns = ["id", "tenure"].map(|name| Column::plain(name, Scalar::Int)).to_vec();
        let schema = Schema { name: "Customer".into(), open, columns };
        find_columns(&schema, names, "a.csv")
            .map_err(|error| format!("{error} | {}", error.help.clone().unwrap_or_default()))
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        assert_eq!(find(false, &["tenure", "id"]), Ok(Places { declared: vec![1, 0], further: vec![] }));
        assert_eq!(find(true, &["b", "tenure", "a", "id"]), Ok(Places { declared: vec![3, 1], further: vec![0, 2] }));
    }

    #[test]
    fn what_differs_is_named_with_a_way_out() {
        let cases: [(bool, &[&str], &str); 8] = [
            (
                false,
                &["id", "Tenure"],
                "`a.csv` lacks the column `tenure` and has the column `Tenure`, which schema `Customer` does not declare \
                 | the file has `Tenure`: if that is `tenure`, give it the same name in the schema and in the file",
            ),
            (
                true,
                &["id", "x"],
                "`a.csv` lacks the column `tenure` of schema `Customer` | correct the file, or leave `tenure` out of the schema",
            ),
            (
                false,
                &["id", "tenure", "x"],
                "`a.csv` has the column `x`, which schema `Customer` does not declare | declare it, or write `schema Customer open`",
            ),
            (
                false,
                &["id", "tenure", "x", "y"],
                "`a.csv` has the columns `x`, `y`, which schema `Customer` does not declare | declare them, or write `schema Customer open`",
            ),
            (
                true,
                &["id;tenure"],
                "`a.csv` lacks the columns `id`, `tenure` of schema `Customer` | the first record of the file is read as the \
                 single column `id;tenure`: is `delimiter` the right one?",
            ),
            (
                true,
                &["id", "tenure", "id"],
                "`a.csv` has two columns called `id` | give every column a name of its own",
            ),
            (
                true,
                &["id", "tenure", "x", "x"],
                "`a.csv` has two columns called `x` | give every column a name of its own",
            ),
            (true, &["id", "", "tenure"], "column 2 of `a.csv` has no name | name every column in the first record"),
        ];
        for (open, names, message) in cases {
            assert_eq!(find(open, names).unwrap_err(), message);
        }
    }
}
