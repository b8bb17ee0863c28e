//! What the checks of several operations share: access to bound arguments, columns by name, suggestions.

use std::collections::BTreeSet;

use mlp_model::{ArgError, CheckedCall, Column, Schema, TableType, Type, Value};

/// Returns table argument `name`.
pub(crate) fn table<'a>(call: &CheckedCall<'a>, name: &str) -> Result<&'a TableType, ArgError> {
    match call.inputs.get(name) {
        Some(Type::Table(table)) => Ok(table),
        Some(other) => Err(ArgError::new("E0301", name, format!("`{name}` takes a table, got a {other}"))),
        None => Err(missing(name)),
    }
}

/// Returns parameter `name`; [`Value::Null`] counts as absent.
pub(crate) fn value<'a>(call: &CheckedCall<'a>, name: &str) -> Option<&'a Value> {
    call.params.get(name).filter(|value| **value != Value::Null)
}

/// Returns string parameter `name`.
pub(crate) fn string<'a>(call: &CheckedCall<'a>, name: &str) -> Result<&'a str, ArgError> {
    value(call, name).and_then(Value::as_str).ok_or_else(|| missing(name))
}

/// Returns numeric parameter `name`.
pub(crate) fn number(call: &CheckedCall<'_>, name: &str) -> Result<f64, ArgError> {
    value(call, name).and_then(Value::as_float).ok_or_else(|| missing(name))
}

/// Returns schema parameter `name`.
pub(crate) fn schema<'a>(call: &CheckedCall<'a>, name: &str) -> Result<&'a Schema, ArgError> {
    value(call, name).and_then(Value::as_schema).ok_or_else(|| missing(name))
}

/// Returns the strings of list parameter `name`; empty when it has no value.
pub(crate) fn strings<'a>(call: &CheckedCall<'a>, name: &str) -> Vec<&'a str> {
    value(call, name).and_then(Value::as_strings).unwrap_or_default()
}

/// The compiler binds every argument before it asks; this is what a caller that does not gets to see.
fn missing(name: &str) -> ArgError {
    ArgError::new("E0301", name, format!("argument `{name}` has no value"))
}

/// Finds column `name`, which argument `argument` asks for, among those of `table`, which is bound as `of`.
pub(crate) fn column<'t>(table: &'t TableType, of: &str, argument: &str, name: &str) -> Result<&'t Column, ArgError> {
    table.column(name).ok_or_else(|| {
        let error = ArgError::new("E0312", argument, format!("`{name}` is not a column of `{of}`"));
        let names = table.columns.iter().map(|column| column.name.as_str());
        if let Some(help) = suggest(name, names) {
            error.with_help(help)
        } else if table.open {
            error.with_help("only columns that the schema declares can be named: declare it there")
        } else {
            error
        }
    })
}

/// Finds the columns that list argument `argument` names. Unknown and repeated ones are added to `errors`.
pub(crate) fn columns<'t>(
    call: &CheckedCall<'_>,
    table: &'t TableType,
    of: &str,
    argument: &str,
    errors: &mut Vec<ArgError>,
) -> Vec<(usize, &'t Column)> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (element, name) in strings(call, argument).into_iter().enumerate() {
        if !seen.insert(name) {
            errors.push(at(element, ArgError::new("E0341", argument, format!("column `{name}` is named twice"))));
            continue;
        }
        match column(table, of, argument, name) {
            Ok(column) => found.push((element, column)),
            Err(error) => errors.push(at(element, error)),
        }
    }
    found
}

/// Places the error at one element of a list argument.
pub(crate) fn at(element: usize, mut error: ArgError) -> ArgError {
    error.element = Some(element);
    error
}

/// Returns ``did you mean `x`?`` for the name that `wrong` is most likely a slip for, if there is one: one letter in
/// three may be wrong, swaps count as one, case does not count. The compiler has the same rule for its own names.
pub(crate) fn suggest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let wrong = wrong.to_lowercase();
    let n_chars = wrong.chars().count();
    let allowed = (n_chars / 3).max(usize::from(n_chars > 1));
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// Returns the names in backticks: `` `a`, `b` and `c` ``.
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.pop() {
        None => String::new(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} and {last}", quoted.join(", ")),
    }
}

/// Checks that `fraction` of the rows can be a part at all.
pub(crate) fn fraction(call: &CheckedCall<'_>, name: &str) -> Result<f64, ArgError> {
    let fraction = number(call, name)?;
    if fraction > 0.0 && fraction < 1.0 {
        return Ok(fraction);
    }
    let message = format!("`{name}` must be more than 0 and less than 1, got {fraction}");
    Err(ArgError::new("E0350", name, message).with_help(format!("`{name}: 0.2` sets a fifth of the rows aside")))
}
