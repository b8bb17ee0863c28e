//! Values for columns that a test does not care about: a table of the test names a few columns, its schema may have many.

use mlp_model::{Column, Rule, Scalar, Value};

use super::types::satisfies;
use super::value::plain;

/// Returns the text of a cell in row number `row`, counted from 0, that the column's rules allow; `None` is a blank one.
///
/// Cells of a `key` differ from each other; all others are the same in each row, so that nothing seems to vary.
pub fn cell(column: &Column, row: usize) -> Option<String> {
    if column.optional {
        return None;
    }
    let row = if column.marks.key { row } else { 0 };
    let fits = |value: &Value| column.rules.iter().all(|rule| satisfies(value, rule));
    let mut candidates = Vec::new();
    for rule in &column.rules {
        match rule {
            Rule::OneOf(values) if column.marks.key => candidates.extend(values.get(row).cloned()),
            Rule::OneOf(values) => candidates.extend(values.iter().cloned()),
            Rule::Min { value, .. } | Rule::Max { value, .. } => {
                candidates.extend(around(value, row, column.marks.key))
            }
        }
    }
    candidates.extend(usual(column, row));
    candidates.extend(between(&column.rules));
    let found = candidates.iter().find(|value| fits(value))?;
    Some(match (found, column.scalar) {
        // `1e3` is a float, but no decimal.
        (Value::Float(x), Scalar::Decimal { .. }) => format!("{x}"),
        (found, _) => plain(found),
    })
}

fn usual(column: &Column, row: usize) -> Option<Value> {
    let n = i64::try_from(row).ok()?;
    // 2000-01-01, a day as good as any.
    let day = 10_957 + i32::try_from(n).ok()?;
    Some(match column.scalar {
        Scalar::Int => Value::Int(n),
        Scalar::Float | Scalar::Decimal { .. } => Value::Float(n as f64),
        Scalar::Bool => Value::Bool(row % 2 == 1),
        Scalar::Str if column.marks.key => Value::Str(format!("row {}", row + 1)),
        Scalar::Str => Value::Str("any".to_owned()),
        Scalar::Date => Value::Date(day),
        Scalar::Timestamp => Value::Timestamp(i64::from(day) * 86_400_000_000),
        Scalar::Duration => Value::DurationMs(n.unsigned_abs()),
    })
}

/// Returns values by such a bound: the bound itself and those next to it, or, of a key, others for each row.
fn around(bound: &Value, row: usize, is_key: bool) -> Vec<Value> {
    let n = i64::try_from(row).unwrap_or(i64::MAX - 1) + 1;
    let offsets = if is_key { vec![n, -n] } else { vec![0, 1, -1] };
    let moved = |n: i64| match bound {
        Value::Int(x) => Value::Int(x.saturating_add(n)),
        Value::Float(x) => Value::Float(x + n as f64),
        Value::Date(x) => Value::Date(x.saturating_add(i32::try_from(n).unwrap_or(i32::MAX))),
        Value::Timestamp(x) => Value::Timestamp(x.saturating_add(n.saturating_mul(1_000_000))),
        Value::DurationMs(x) => Value::DurationMs(x.saturating_add_signed(n)),
        other => other.clone(),
    };
    offsets.into_iter().map(moved).collect()
}

/// Returns the number in the middle of two bounds.
fn between(rules: &[Rule]) -> Option<Value> {
    let bound = |is_min: bool| {
        rules.iter().find_map(|rule| match rule {
            Rule::Min { value, .. } if is_min => value.as_float(),
            Rule::Max { value, .. } if !is_min => value.as_float(),
            _ => None,
        })
    };
    Some(Value::Float((bound(true)? + bound(false)?) / 2.0))
}

#[cfg(test)]
mod tests {
    use mlp_model::Marks;

    use super::*;

    #[test]
    fn a_cell_satisfies_every_rule_of_its_column() {
        let min = |value, inclusive| Rule::Min { value, inclusive };
        let max = |value, inclusive| Rule::Max { value, inclusive };
        for (scalar, rules, expected) in [
            (Scalar::Int, vec![], "0"),
            (Scalar::Int, vec![min(Value::Int(3), true)], "3"),
            (Scalar::Int, vec![min(Value::Int(3), false)], "4"),
            (Scalar::Int, vec![max(Value::Int(-3), false)], "-4"),
            (Scalar::Float, vec![min(Value::Float(0.0), false), max(Value::Float(0.5), false)], "0.25"),
            (Scalar::Str, vec![], "any"),
            (Scalar::Str, vec![Rule::OneOf(vec![Value::Str("DSL".into())])], "DSL"),
            (Scalar::Date, vec![], "2000-01-01"),
            (Scalar::Date, vec![min(Value::Date(20_000), false)], "2024-10-05"),
            (Scalar::Timestamp, vec![], "2000-01-01T00:00:00Z"),
            (Scalar::Bool, vec![], "false"),
            (Scalar::Decimal { precision: 10, scale: 2 }, vec![min(Value::Float(1000.0), true)], "1000"),
            (Scalar::Duration, vec![], "0s"),
        ] {
            let column = Column { rules: rules.clone(), ..Column::plain("x", scalar) };
            assert_eq!(cell(&column, 5).as_deref(), Some(expected), "{scalar} {rules:?}");
        }
    }

    #[test]
    fn keys_differ_and_optional_cells_are_blank() {
        let marks = Marks { key: true, ..Marks::default() };
        let key = |scalar| Column { marks: marks.clone(), ..Column::plain("id", scalar) };
        assert_ne!(cell(&key(Scalar::Str), 0), cell(&key(Scalar::Str), 1));
        assert_ne!(cell(&key(Scalar::Int), 0), cell(&key(Scalar::Int), 1));
        let rules = vec![Rule::Min { value: Value::Date(20_000), inclusive: true }];
        let late = Column { rules, ..key(Scalar::Date) };
        let days: std::collections::BTreeSet<_> = (1..9).map(|row| cell(&late, row)).collect();
        assert_eq!(days.len(), 8);
        assert_eq!(cell(&Column { optional: true, ..Column::plain("x", Scalar::Float) }, 0), None);
    }
}
