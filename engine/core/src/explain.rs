//! Says in which fields two cache keys differ, with both values.
//!
//! A second visitor over [`CacheKey::visit`], so that it cannot disagree with what is hashed.

use std::collections::BTreeMap;
use std::fmt;

use mlp_model::{CacheKey, Column, Digest, FieldVisitor, KeyField, Named, Schema, Value};
use serde::{Deserialize, Serialize};

/// Names a field of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FieldName {
    Op,
    Param {
        name: String,
    },
    /// A column of a schema that is a parameter.
    Column {
        param: String,
        name: String,
    },
    Input {
        name: String,
    },
    Environment {
        name: String,
    },
    Salt,
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op => f.write_str("operation"),
            Self::Param { name } => write!(f, "param {name}"),
            Self::Column { param, name } => write!(f, "column {name} of {param}"),
            Self::Input { name } => write!(f, "input {name}"),
            Self::Environment { name } => f.write_str(name),
            Self::Salt => f.write_str("cache salt"),
        }
    }
}

/// A field that is not the same in both keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    pub field: FieldName,
    /// As the language writes the value; a digest as 64 hex digits. `None`: the field was not there.
    pub before: Option<String>,
    pub after: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Difference {
    pub changed: Vec<FieldChange>,
    pub same: Vec<FieldName>,
}

/// Compares two keys field by field, in the order of the key.
pub fn compare(before: &CacheKey, after: &CacheKey) -> Difference {
    let mut before = fields_of(before);
    let mut difference = Difference::default();
    for (field, after) in fields_of(after) {
        match before.remove(&field) {
            Some(before) if before.is_same(&after) => difference.same.push(field),
            before => tell_change(field, before, Some(after), &mut difference.changed),
        }
    }
    for (field, before) in before {
        tell_change(field, Some(before), None, &mut difference.changed);
    }
    difference
}

/// Says on one line why a step runs that ran before with the key `before`. `shown` gives what a person calls an input.
pub fn reason(before: &CacheKey, after: &CacheKey, shown: &dyn Fn(&str) -> Option<String>) -> String {
    const MAX_TOLD: usize = 3;
    let changed = compare(before, after).changed;
    let mut told: Vec<String> = changed.iter().take(MAX_TOLD).map(|change| change.on_one_line(shown)).collect();
    if changed.len() > MAX_TOLD {
        told.push(format!("{} more", changed.len() - MAX_TOLD));
    }
    told.join(", ")
}

impl FieldChange {
    fn on_one_line(&self, shown: &dyn Fn(&str) -> Option<String>) -> String {
        let shorten = |value: &Option<String>| value.as_deref().map_or("none".to_owned(), shortened);
        match (&self.field, &self.before, &self.after) {
            (FieldName::Input { name }, before, after) => {
                let what = match (before, after) {
                    (None, _) => "is new",
                    (_, None) => "is gone",
                    _ => "changed",
                };
                match shown(name) {
                    Some(shown) => format!("input `{name}` ({shown}) {what}"),
                    None => format!("input `{name}` {what}"),
                }
            }
            (field, before, after) => format!("{field}: {} -> {}", shorten(before), shorten(after)),
        }
    }
}

/// Returns the first line of a value, cut to a length that fits a terminal's line.
fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 48;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= MAX_CHARS && line.len() == text.len() {
        return line.to_owned();
    }
    format!("{}..", line.chars().take(MAX_CHARS).collect::<String>())
}

#[derive(Debug, Clone)]
enum Shown {
    Text(String),
    Value(Value),
    Digest(Digest),
}

impl Shown {
    /// Two values are the same if a key hashes them alike, not if they are equal in Rust.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Value(a), Self::Value(b)) => a == b || hash_of(a) == hash_of(b),
            (Self::Digest(a), Self::Digest(b)) => a == b,
            _ => false,
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Value(value) => value.to_string(),
            Self::Digest(digest) => digest.to_string(),
        }
    }
}

fn hash_of(value: &Value) -> mlp_model::KeyId {
    let key = CacheKey {
        op: String::new(),
        op_version: 0,
        params: Named::from([(String::new(), value.clone())]),
        inputs: BTreeMap::new(),
        environment: BTreeMap::new(),
        salt: String::new(),
    };
    key.id()
}

fn fields_of(key: &CacheKey) -> BTreeMap<FieldName, Shown> {
    struct Collector(BTreeMap<FieldName, Shown>);
    impl FieldVisitor for Collector {
        fn field(&mut self, field: KeyField<'_>) {
            let (name, shown) = match field {
                KeyField::Op { name, version } => (FieldName::Op, Shown::Text(format!("{name} version {version}"))),
                KeyField::Param { name, value } => {
                    (FieldName::Param { name: name.to_owned() }, Shown::Value(value.clone()))
                }
                KeyField::Input { name, digest } => {
                    (FieldName::Input { name: name.to_owned() }, Shown::Digest(*digest))
                }
                KeyField::Environment { name, value } => {
                    (FieldName::Environment { name: name.to_owned() }, Shown::Text(value.to_owned()))
                }
                KeyField::Salt(salt) => (FieldName::Salt, Shown::Text(format!("{salt:?}"))),
            };
            self.0.insert(name, shown);
        }
    }
    let mut collector = Collector(BTreeMap::new());
    key.visit(&mut collector);
    collector.0
}

fn tell_change(field: FieldName, before: Option<Shown>, after: Option<Shown>, changed: &mut Vec<FieldChange>) {
    if let (FieldName::Param { name }, Some(Shown::Value(before)), Some(Shown::Value(after))) =
        (&field, &before, &after)
        && let (Some(before), Some(after)) = (before.as_schema(), after.as_schema())
    {
        return tell_schema_change(name, before, after, changed);
    }
    changed.push(FieldChange { field, before: before.map(Shown::into_text), after: after.map(Shown::into_text) });
}

/// A schema prints as its name, which says nothing: its columns are compared one by one.
fn tell_schema_change(param: &str, before: &Schema, after: &Schema, changed: &mut Vec<FieldChange>) {
    let n_before = changed.len();
    let column_text =
        |schema: &Schema, name: &str| schema.columns.iter().find(|column| column.name == name).map(describe_column);
    let gone = before.columns.iter().filter(|column| column_text(after, &column.name).is_none());
    for column in after.columns.iter().chain(gone) {
        let (before, after) = (column_text(before, &column.name), column_text(after, &column.name));
        if before != after {
            let field = FieldName::Column { param: param.to_owned(), name: column.name.clone() };
            changed.push(FieldChange { field, before, after });
        }
    }
    let describe = |schema: &Schema| {
        let names: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
        format!("{}{{ {} }}", if schema.open { "open " } else { "" }, names.join(", "))
    };
    if before.open != after.open || changed.len() == n_before {
        let field = FieldName::Param { name: param.to_owned() };
        changed.push(FieldChange { field, before: Some(describe(before)), after: Some(describe(after)) });
    }
}

fn describe_column(column: &Column) -> String {
    let mut text = column.scalar.to_string();
    if column.optional {
        text.push('?');
    }
    if column.marks.key {
        text.push_str(" key");
    }
    for rule in &column.rules {
        text.push_str(&format!(" {rule}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use mlp_model::{Rule, Scalar};

    use super::*;

    fn key() -> CacheKey {
        CacheKey {
            op: "torch.train".into(),
            op_version: 1,
            params: Named::from([
                ("epochs", Value::Int(30)),
                ("lr", Value::Float(1e-3)),
                ("note", Value::Str("a".into())),
            ]),
            inputs: BTreeMap::from([("data".into(), Digest::of(b"rows"))]),
            environment: BTreeMap::from([("libtorch".into(), "2.10.0".into())]),
            salt: String::new(),
        }
    }

    fn reason_for(edit: impl FnOnce(&mut CacheKey)) -> String {
        let mut after = key();
        edit(&mut after);
        reason(&key(), &after, &|name| (name == "data").then(|| "data/telco.csv".to_owned()))
    }

    #[test]
    fn a_change_names_the_field_and_both_values() {
        type Edit = fn(&mut CacheKey);
        let cases: [(Edit, &str); 8] = [
            (|k| _ = k.params.insert("epochs", Value::Int(60)), "param epochs: 30 -> 60"),
            (|k| _ = k.params.insert("epochs", Value::Float(30.0)), "param epochs: 30 -> 30.0"),
            (|k| _ = k.params.insert("seed", Value::Int(7)), "param seed: none -> 7"),
            (|k| _ = k.params.remove("lr"), "param lr: 0.001 -> none"),
            (|k| _ = k.inputs.insert("data".into(), Digest::of(b"new")), "input `data` (data/telco.csv) changed"),
            (|k| _ = k.inputs.insert("code".into(), Digest::of(b"new")), "input `code` is new"),
            (|k| _ = k.environment.insert("libtorch".into(), "2.11.0".into()), "libtorch: 2.10.0 -> 2.11.0"),
            (|k| k.op_version = 2, "operation: torch.train version 1 -> torch.train version 2"),
        ];
        for (edit, expected) in cases {
            assert_eq!(reason_for(edit), expected);
        }
    }

    #[test]
    fn many_changes_are_counted_and_long_values_cut() {
        let text = reason_for(|k| {
            k.op_version = 2;
            k.salt = "x".into();
            k.params = Named::from([("note", Value::Str("b".repeat(100)))]);
        });
        assert_eq!(text.matches(", ").count(), 3);
        assert!(text.ends_with("2 more"), "{text}");
        assert!(reason_for(|k| _ = k.params.insert("note", Value::Str("b".repeat(100)))).len() < 80);
    }

    #[test]
    fn what_the_hash_cannot_tell_apart_is_no_change() {
        let with_lr = |lr: f64| CacheKey { params: Named::from([("lr", Value::Float(lr))]), ..key() };
        let (plus, minus) = (with_lr(0.0), with_lr(-0.0));
        assert_eq!(plus.id(), minus.id());
        assert_eq!(compare(&plus, &minus).changed, []);
    }

    #[test]
    fn keys_differ_exactly_when_a_field_does() {
        let schema = |edit: fn(&mut Schema)| {
            let columns = vec![Column::plain("tenure", Scalar::Int), Column::plain("Churn", Scalar::Bool)];
            let mut schema = Schema { name: "Customer".into(), open: false, columns };
            edit(&mut schema);
            CacheKey { params: Named::from([("schema", Value::Schema(Box::new(schema)))]), ..key() }
        };
        let edits: [fn(&mut Schema); 8] = [
            |_| {},
            |s| s.name = "Client".into(),
            |s| s.columns[0].marks.personal = true,
            |s| s.columns[0].marks.key = true,
            |s| s.columns[0].optional = true,
            |s| s.columns[0].rules = vec![Rule::Min { value: Value::Int(0), inclusive: true }],
            |s| s.columns.swap(0, 1),
            |s| s.open = true,
        ];
        let before = schema(|_| {});
        for (nth, edit) in edits.into_iter().enumerate() {
            let after = schema(edit);
            assert_eq!(before.id() == after.id(), compare(&before, &after).changed.is_empty(), "edit {nth}");
        }
        let rule: fn(&mut Schema) = |s| s.columns[0].rules = vec![Rule::Min { value: Value::Int(0), inclusive: true }];
        assert_eq!(reason(&before, &schema(rule), &|_| None), "column tenure of schema: int -> int >= 0");
    }
}
