//! JSON in one canonical form: names sorted, no spaces, numbers in their shortest exact form.

use std::fmt::Write;

use serde_json::{Number, Value};

/// Appends `value` in canonical form.
pub(crate) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            // Sorted here: the map may keep the order of insertion, depending on the features another crate asks for.
            let mut names: Vec<_> = fields.iter().collect();
            names.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (i, (name, value)) in names.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

/// Appends a number: whole ones without a fraction, others with the fewest digits that read back the same; null where it
/// is not finite.
pub(crate) fn write_f64(x: f64, out: &mut String) {
    if !x.is_finite() {
        out.push_str("null");
    } else if x.fract() == 0.0 && x.abs() < 1e15 {
        let _ = write!(out, "{}", x as i64);
    } else {
        let _ = write!(out, "{x:?}");
    }
}

fn write_number(number: &Number, out: &mut String) {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(n), _, _) => _ = write!(out, "{n}"),
        (_, Some(n), _) => _ = write!(out, "{n}"),
        (_, _, Some(x)) => write_f64(x, out),
        _ => out.push_str("null"),
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}
