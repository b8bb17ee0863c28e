//! Values that the checker has settled: the parameters of a call.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Named, Schema};

/// A checked value of the language, as it stands in parameters and cache keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// An optional parameter that was left out.
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    DurationMs(u64),
    SizeBytes(u64),
    List(Vec<Value>),
    Record(Named<Value>),
    /// A constructor of the catalogue, such as `torch.mlp([64, 32])`; positional arguments already have their names.
    Call {
        name: String,
        args: Named<Value>,
    },
    /// A declared table shape. Its name and docs are no part of the key.
    Schema(Box<Schema>),
}

impl Value {
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(n) = self { Some(*n) } else { None }
    }

    /// Returns the number; an int counts as a float.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(x) => Some(*x),
            Self::Int(n) => Some(*n as f64),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(s) = self { Some(s) } else { None }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    pub fn as_record(&self) -> Option<&Named<Value>> {
        if let Self::Record(fields) = self { Some(fields) } else { None }
    }

    pub fn as_schema(&self) -> Option<&Schema> {
        if let Self::Schema(schema) = self { Some(schema) } else { None }
    }

    /// Returns the name of the secret that stands here: `secret("NAME")`.
    pub fn as_secret(&self) -> Option<&str> {
        match self {
            Self::Call { name, args } if name == "secret" => args.get("name")?.as_str(),
            _ => None,
        }
    }

    /// Makes what stands for a secret.
    pub fn secret(name: impl Into<String>) -> Self {
        Self::Call { name: "secret".to_owned(), args: Named::from([("name".to_owned(), Self::Str(name.into()))]) }
    }

    /// Returns the strings of a list of strings.
    pub fn as_strings(&self) -> Option<Vec<&str>> {
        self.as_list()?.iter().map(Value::as_str).collect()
    }

    /// Appends an encoding in which different values have different bytes.
    ///
    /// A tag byte, then: fixed-width little-endian numbers; for text, a u64 length and the bytes; for lists and
    /// records, a u64 count and the members in order (records by name). Floats are encoded by their bits, with one
    /// NaN and one zero.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Bool(b) => out.extend([1, u8::from(*b)]),
            Self::Int(n) => tagged(out, 2, &n.to_le_bytes()),
            Self::Float(x) => tagged(out, 3, &canonical_bits(*x).to_le_bytes()),
            Self::Str(s) => {
                out.push(4);
                encode_str(s, out);
            }
            Self::Date(days) => tagged(out, 5, &days.to_le_bytes()),
            Self::Timestamp(us) => tagged(out, 6, &us.to_le_bytes()),
            Self::DurationMs(ms) => tagged(out, 7, &ms.to_le_bytes()),
            Self::List(items) => {
                tagged(out, 8, &(items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Record(fields) => {
                out.push(9);
                encode_map(fields, out);
            }
            Self::Call { name, args } => {
                out.push(10);
                encode_str(name, out);
                encode_map(args, out);
            }
            Self::Schema(schema) => {
                out.push(11);
                schema.encode(out);
            }
            Self::SizeBytes(n) => tagged(out, 12, &n.to_le_bytes()),
        }
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

pub(crate) fn encode_str(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn encode_map(fields: &Named<Value>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(fields.len() as u64).to_le_bytes());
    for (name, value) in fields {
        encode_str(name, out);
        value.encode(out);
    }
}

fn canonical_bits(x: f64) -> u64 {
    if x.is_nan() {
        f64::NAN.to_bits()
    } else if x == 0.0 {
        0
    } else {
        x.to_bits()
    }
}

/// Prints the value as the language writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("none"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::Str(s) => write!(f, "{s:?}"),
            Self::Date(days) => write!(f, "day {days}"),
            Self::Timestamp(us) => write!(f, "{us} us"),
            Self::DurationMs(ms) => match ms {
                0 => f.write_str("0s"),
                ms if ms % 86_400_000 == 0 => write!(f, "{}d", ms / 86_400_000),
                ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
                ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
                ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
                ms => write!(f, "{ms}ms"),
            },
            Self::SizeBytes(n) => {
                let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
                match units.into_iter().find(|(_, bits)| *n > 0 && n.trailing_zeros() >= *bits) {
                    Some((unit, bits)) => write!(f, "{} {unit}", n >> bits),
                    None => write!(f, "{n} B"),
                }
            }
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Record(fields) => {
                f.write_str("{")?;
                write_fields(fields, f)?;
                f.write_str("}")
            }
            Self::Call { name, args } => {
                write!(f, "{name}(")?;
                write_fields(args, f)?;
                f.write_str(")")
            }
            Self::Schema(schema) => f.write_str(&schema.name),
        }
    }
}

fn write_fields(fields: &Named<Value>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, (name, value)) in fields.iter().enumerate() {
        write!(f, "{}{name}: {value}", if i > 0 { ", " } else { "" })?;
    }
    Ok(())
}
