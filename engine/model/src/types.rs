//! The types of the language: scalars, tables with columns and a role, models, reports, files and folders.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::encode_str;
use crate::{Shared, Value};

/// The type of one value in a column or parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scalar {
    /// 64-bit signed.
    Int,
    /// IEEE 754 double.
    Float,
    Bool,
    /// UTF-8 text.
    Str,
    /// A day, without a time zone.
    Date,
    /// An instant in UTC, in microseconds.
    Timestamp,
    Decimal {
        precision: u8,
        scale: i8,
    },
    /// A span of time, in milliseconds.
    Duration,
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int => f.write_str("int"),
            Self::Float => f.write_str("float"),
            Self::Bool => f.write_str("bool"),
            Self::Str => f.write_str("str"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Self::Duration => f.write_str("duration"),
        }
    }
}

/// The type of anything a pipeline can name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    Scalar(Scalar),
    Optional(Box<Type>),
    List(Box<Type>),
    /// A number of bytes. No column has it.
    Size,
    Table(TableType),
    Model(Shared<ModelType>),
    Report(Shared<ReportType>),
    File,
    Folder,
}

impl Type {
    /// Returns how an artifact of this type is stored, or `None` for a plain value.
    pub fn artifact_kind(&self) -> Option<ArtifactKind> {
        match self {
            Self::Table(_) => Some(ArtifactKind::Table),
            Self::Model(_) => Some(ArtifactKind::Model),
            Self::Report(_) => Some(ArtifactKind::Report),
            Self::File => Some(ArtifactKind::File),
            Self::Folder => Some(ArtifactKind::Folder),
            Self::Scalar(_) | Self::Optional(_) | Self::List(_) | Self::Size => None,
        }
    }

    /// Returns whether values of this type may hold personal data.
    pub fn is_personal(&self) -> bool {
        match self {
            Self::Table(table) => table.columns.iter().any(|column| column.marks.personal),
            // What a program writes into a file is unknown: it is treated as if it were personal.
            Self::File | Self::Folder => true,
            _ => false,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::Optional(inner) => write!(f, "{inner}?"),
            Self::List(inner) => write!(f, "list of {inner}"),
            Self::Size => f.write_str("size"),
            Self::Table(_) => f.write_str("table"),
            Self::Model(_) => f.write_str("model"),
            Self::Report(_) => f.write_str("report"),
            Self::File => f.write_str("file"),
            Self::Folder => f.write_str("folder"),
        }
    }
}

/// How an artifact is stored; each kind has one canonical form (crate `mlp-artifact`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// Canonical Arrow IPC file.
    Table,
    /// safetensors with one metadata key.
    Model,
    /// Canonical JSON, one flat object of metrics plus structured extras.
    Report,
    /// Bytes as they are.
    File,
    /// A sorted manifest of files; each file is an object of its own.
    Folder,
}

/// What learning may do with the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Not split yet.
    #[default]
    All,
    Train,
    Valid,
    Test,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        })
    }
}

/// The columns that are known when the file is checked, and the rows' role.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TableType {
    pub columns: Shared<Vec<Column>>,
    /// Further columns may be there at run time.
    pub open: bool,
    pub role: Role,
}

impl TableType {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A column of a table or a schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub scalar: Scalar,
    /// Blank values are allowed (`float?`).
    pub optional: bool,
    pub marks: Marks,
    pub rules: Vec<Rule>,
}

impl Column {
    /// Returns a required column without marks or rules.
    pub fn plain(name: impl Into<String>, scalar: Scalar) -> Self {
        Self { name: name.into(), scalar, optional: false, marks: Marks::default(), rules: Vec::new() }
    }
}

/// What a column is to learning and to privacy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Marks {
    /// Identifies a row: unique, never blank, never a feature.
    pub key: bool,
    /// Masked in every message, log and report; never a feature.
    pub personal: bool,
    /// May reach fairness figures, never a model.
    pub protected: bool,
    /// What a model predicts.
    pub label: bool,
    /// Never a feature; the text says why.
    pub unusable: Option<String>,
    /// The column that tells when the value became known, later than what the row is about: no feature, until a join
    /// that respects that time has brought it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_at: Option<String>,
    /// Rows with an equal value belong together (a customer's, a patient's) and stay on one side of a split.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub group: bool,
}

impl Marks {
    /// Returns why the column cannot be a feature, as the end of a sentence that begins with its name.
    pub fn why_not_a_feature(&self) -> Option<String> {
        if let Some(reason) = &self.unusable {
            return Some(format!("is declared unusable: {reason}"));
        }
        if let Some(time) = &self.known_at {
            return Some(format!("is known only at `{time}`"));
        }
        let word = if self.key {
            "key"
        } else if self.personal {
            "personal"
        } else if self.protected {
            "protected"
        } else if self.label {
            "label"
        } else {
            return None;
        };
        Some(format!("is declared `{word}`"))
    }
}

/// What every value of a column must satisfy. Blank values of an optional column satisfy all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    Min { value: Value, inclusive: bool },
    Max { value: Value, inclusive: bool },
    OneOf(Vec<Value>),
}

/// Prints the rule as the language writes it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min { value, inclusive } => write!(f, ">{} {value}", if *inclusive { "=" } else { "" }),
            Self::Max { value, inclusive } => write!(f, "<{} {value}", if *inclusive { "=" } else { "" }),
            Self::OneOf(values) => write!(f, "in {}", Value::List(values.clone())),
        }
    }
}

/// A declared table shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    pub name: String,
    /// Further columns pass, typed as found; otherwise they are an error.
    pub open: bool,
    pub columns: Vec<Column>,
}

impl Schema {
    /// Appends what decides the bytes of a table read with this schema: column names, types, rules and `key` in order,
    /// and whether it is open. Its name, its docs and the other marks do not.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.open));
        out.extend_from_slice(&(self.columns.len() as u64).to_le_bytes());
        for column in &self.columns {
            encode_str(&column.name, out);
            encode_str(&column.scalar.to_string(), out);
            out.extend([u8::from(column.optional), u8::from(column.marks.key)]);
            out.extend_from_slice(&(column.rules.len() as u64).to_le_bytes());
            for rule in &column.rules {
                match rule {
                    Rule::Min { value, inclusive } => {
                        out.extend([0, u8::from(*inclusive)]);
                        value.encode(out);
                    }
                    Rule::Max { value, inclusive } => {
                        out.extend([1, u8::from(*inclusive)]);
                        value.encode(out);
                    }
                    Rule::OneOf(values) => {
                        out.push(2);
                        Value::List(values.clone()).encode(out);
                    }
                }
            }
        }
    }
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// The score is the probability of the positive class.
    Binary,
    /// The score is the predicted value.
    Regression,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binary => "binary",
            Self::Regression => "regression",
        })
    }
}

/// A model's signature: columns in, a score out, whoever trained it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelType {
    /// Which runner scores it: `torch`.
    pub flavour: String,
    pub task: Task,
    pub target: Column,
    pub features: Vec<Column>,
}

/// The metrics that a report is known to hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReportType {
    pub metrics: Vec<String>,
}
