//! `table.join`: rows of two tables side by side, with the cardinality stated.

mod how;
mod rows;

use mlp_model::{
    ArgError, CheckedCall, Column, Inferred, Marks, ParamType, Role, Scalar, Signature, TableType, Type, Value,
};

use crate::check;
use crate::declare::{Operation, one_output, param, param_or, table};
use how::{Cardinality, How, Unmatched};
pub(crate) use rows::run;

pub(crate) fn signature() -> Signature {
    Operation {
        name: "table.join",
        version: 1,
        runner: "builtin",
        doc: "
Puts the rows of `right` beside those rows of `left` that have the same values in `on`.

No row is doubled or dropped in silence. `cardinality` says how many rows may match: `one_to_one`, `many_to_one` (of
`right` at most one for each row of `left`), `one_to_many`, `many_to_many`; the step fails where the data is otherwise.
`unmatched` says what becomes of a row of `left` without a match: `refuse` fails, `keep` leaves the columns of `right`
blank, `drop` leaves the row out. `expect` is the least share of the rows of `left` that must match. A blank value in
`on` matches nothing.

With `as_of` and `time` the join looks back from each row of `left`: of the rows of `right` that match, it takes the one
with the latest `time` that is not after `as_of`, and with `within` not longer before it. That is what was known then.
A column of `right` that is marked `known_at` can be a feature after such a join, and only if `time` is the column that
`known_at` names.

The result has the columns of `left`, then those of `right` without the ones it is joined on, named with `prefix` before
them; only columns that are known when the file is checked. Rows come in the order of `left`, several matches in that of
`right`.

    step visits = table.join(orders, customers, on: [customer], cardinality: many_to_one)
    step rated  = table.join(loans, ratings, on: [customer], as_of: applied, time: received, within: 90d)

Errors: columns of different types; two columns of one name; more matches than stated; rows without a match; two rows of
`right` of which neither is the later.
",
        args: vec![
            table("left", "its rows come first and give the order"),
            table("right", "read into memory"),
            param("on", ParamType::Columns { of: "left" }, "the columns that must be equal: any type but float"),
            param_or("right_on", ParamType::Columns { of: "right" }, Value::Null, "how `on` is called in `right`"),
            param_or("cardinality", ParamType::Choice(Cardinality::WORDS), Value::Null, "how many rows may match"),
            param_or(
                "unmatched",
                ParamType::Choice(Unmatched::WORDS),
                Value::Str("refuse".into()),
                "what becomes of a row of `left` without a match",
            ),
            param_or(
                "expect",
                ParamType::Float { min: 0.0, max: 1.0 },
                Value::Float(0.0),
                "the least share of the rows of `left` that must match",
            ),
            param_or(
                "as_of",
                ParamType::Column { of: "left" },
                Value::Null,
                "the date or timestamp from which a row looks back",
            ),
            param_or("time", ParamType::Column { of: "right" }, Value::Null, "when a row of `right` was known"),
            param_or("within", ParamType::Duration, Value::Null, "how far a row looks back at most"),
            param_or("prefix", ParamType::Str, Value::Str(String::new()), "put before the names of `right`"),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let left = check::table(call, "left").map_err(|error| vec![error])?;
    let right = check::table(call, "right").map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    check_keys(call, left, right, &mut errors);
    check_matches(call, &mut errors);
    check_times(call, left, right, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let how = How::read(call.params).ok_or_else(|| vec![ArgError::new("E0301", "on", "the join is not complete")])?;
    let result = result(left, right, &how);
    let taken = &result.columns[left.columns.len()..];
    if let Some(twice) = taken.iter().find(|column| left.column(&column.name).is_some()) {
        let message = format!("both tables have a column `{}`", twice.name);
        let help = "name those of `right` differently: `prefix: \"r_\"`; or leave it out of one, with `sql`";
        return Err(vec![ArgError::new("E0357", "prefix", message).with_help(help)]);
    }
    let mut inferred = one_output(Type::Table(result));
    inferred.params.insert("right_on", Value::List(how.right_on.into_iter().map(Value::Str).collect()));
    inferred.params.insert("expect", Value::Float(how.expect));
    Ok(inferred)
}

fn check_keys(call: &CheckedCall<'_>, left: &TableType, right: &TableType, errors: &mut Vec<ArgError>) {
    let ours = check::columns(call, left, "left", "on", errors);
    let is_said = check::value(call, "right_on").is_some();
    let argument = if is_said { "right_on" } else { "on" };
    let theirs = check::columns(call, right, "right", argument, errors);
    let n_said = |name| check::strings(call, name).len();
    if n_said("on") == 0 {
        errors.push(ArgError::new("E0357", "on", "a join needs a column that must be equal"));
    } else if is_said && n_said("right_on") != n_said("on") {
        let message = format!("`on` has {} columns and `right_on` has {}", n_said("on"), n_said("right_on"));
        errors.push(ArgError::new("E0357", "right_on", message).with_help("name one for each of `on`, in its order"));
    }
    for (element, ours) in &ours {
        if ours.scalar == Scalar::Float {
            let message = format!("`{}` is float: computed numbers are hardly ever equal", ours.name);
            let help = "join on an int, str, date or another exact type";
            errors.push(check::at(*element, ArgError::new("E0342", "on", message).with_help(help)));
        } else if let Some((_, theirs)) = theirs.iter().find(|(other, _)| other == element)
            && ours.scalar != theirs.scalar
        {
            let message = format!(
                "`{}` of `left` is {} and `{}` of `right` is {}: they are never equal",
                ours.name, ours.scalar, theirs.name, theirs.scalar
            );
            let help = "declare both alike in their schemas, or convert one with `sql`";
            errors.push(check::at(*element, ArgError::new("E0357", argument, message).with_help(help)));
        }
    }
}

/// Checks what is said about how many rows match.
fn check_matches(call: &CheckedCall<'_>, errors: &mut Vec<ArgError>) {
    let looks_back = check::value(call, "as_of").is_some();
    match (check::value(call, "cardinality"), looks_back) {
        (None, false) => {
            errors
                .push(ArgError::new("E0357", "cardinality", "the join does not say how many rows may match").with_help(
                "`cardinality: many_to_one` if each row of `left` has one at most, else `one_to_one`, `one_to_many` or \
                 `many_to_many`",
            ))
        }
        (Some(_), true) => errors.push(
            ArgError::new("E0357", "cardinality", "a join as of a time takes one row at most")
                .with_help("leave `cardinality` out"),
        ),
        _ => {}
    }
    let expect = check::number(call, "expect").unwrap_or_default();
    if expect > 0.0 && check::string(call, "unmatched").is_ok_and(|word| word == "refuse") {
        let message = "`unmatched: refuse` expects that all rows match";
        let help = "say what becomes of the others: `unmatched: keep` or `unmatched: drop`; or leave `expect` out";
        errors.push(ArgError::new("E0357", "expect", message).with_help(help));
    }
}

fn check_times(call: &CheckedCall<'_>, left: &TableType, right: &TableType, errors: &mut Vec<ArgError>) {
    let named = |name| check::value(call, name).and_then(Value::as_str);
    let (as_of, time) = (named("as_of"), named("time"));
    let mut column = |table: &TableType, of, argument: &str, name: &str| {
        match check::column(table, of, argument, name) {
            Ok(column) if matches!(column.scalar, Scalar::Date | Scalar::Timestamp) => return Some(column.scalar),
            Ok(column) => {
                let message = format!("`{argument}` takes a date or timestamp column, `{name}` is {}", column.scalar);
                errors.push(ArgError::new("E0342", argument, message));
            }
            Err(error) => errors.push(error),
        }
        None
    };
    let ours = as_of.and_then(|name| column(left, "left", "as_of", name));
    let theirs = time.and_then(|name| column(right, "right", "time", name));
    match (as_of, time) {
        (Some(_), None) => errors.push(
            ArgError::new("E0357", "as_of", "the join does not say when the rows of `right` were known")
                .with_help("name that column of `right`: `time: received`"),
        ),
        (None, Some(_)) => errors.push(
            ArgError::new("E0357", "time", "the join does not say from when the rows of `left` look back")
                .with_help("name that column of `left`: `as_of: applied`"),
        ),
        (None, None) if check::value(call, "within").is_some() => {
            errors.push(ArgError::new("E0357", "within", "`within` is for joins with `as_of` and `time`"));
        }
        _ => {}
    }
    if let (Some(ours), Some(theirs)) = (ours, theirs)
        && ours != theirs
    {
        let message =
            format!("`as_of` is {ours} and `time` is {theirs}: on the same day it is not known which is first");
        errors.push(ArgError::new("E0357", "time", message).with_help("give both the same type, with `sql`"));
    }
    if let (Some(_), Some(time)) = (as_of, time)
        && let Some(late) =
            right.columns.iter().find(|column| column.marks.known_at.as_deref().is_some_and(|at| at != time))
    {
        let at = late.marks.known_at.as_deref().unwrap_or_default();
        let message = format!("`{}` became known at `{at}`, and the join goes by `{time}`", late.name);
        let help = format!("write `time: {at}`, or leave the column out of `right` with `sql`");
        errors.push(ArgError::new("E0357", "time", message).with_help(help));
    }
}

/// Returns the type of the result: what is known of both tables.
fn result(left: &TableType, right: &TableType, how: &How) -> TableType {
    let is_one = how.cardinality != Some(Cardinality::OneToMany) && how.cardinality != Some(Cardinality::ManyToMany);
    let ours = left.columns.iter().map(|column| {
        let marks = Marks { key: column.marks.key && is_one, ..column.marks.clone() };
        Column { marks, ..column.clone() }
    });
    let theirs = how.taken(right).map(|column| {
        let known_at = column.marks.known_at.as_ref().filter(|_| how.times.is_none());
        let known_at = known_at.map(|time| format!("{}{time}", how.prefix));
        Column {
            name: format!("{}{}", how.prefix, column.name),
            optional: column.optional || how.unmatched == Unmatched::Keep,
            marks: Marks { key: false, known_at, ..column.marks.clone() },
            ..column.clone()
        }
    });
    TableType { columns: ours.chain(theirs).collect(), open: false, role: role(left.role, right.role) }
}

/// Rows that were set aside stay set aside, whatever they are joined with.
fn role(left: Role, right: Role) -> Role {
    match (left, right) {
        (Role::Test, _) | (_, Role::Test) => Role::Test,
        (Role::Valid, _) | (_, Role::Valid) => Role::Valid,
        (Role::Train, _) | (_, Role::Train) => Role::Train,
        (Role::All, Role::All) => Role::All,
    }
}
