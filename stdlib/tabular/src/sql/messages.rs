//! Says in our words what the parser and the planner found.

use std::ops::Range;

use datafusion::common::{Column, DataFusionError, SchemaError, Span};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Location;
use mlp_model::TableType;

use super::SqlError;
use super::parse::{offset_of, range_of};
use super::plan::Tables;
use crate::error::did_you_mean;

/// Words a query that does not parse.
pub(super) fn syntax_error(error: &DataFusionError, text: &str) -> SqlError {
    let message = match error.find_root() {
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message.clone(),
            ParserError::RecursionLimitExceeded => {
                return SqlError::new("E0360", "the query is nested too deeply")
                    .with_help("name the inner queries: `with name as (select ..)`");
            }
        },
        other => other.message().into_owned(),
    };
    let (message, location) = split_location(&message);
    let within = location.and_then(|location| offset_of(text, location)).map(|at| word_at(text, at));
    let message = message.replace("Expected: ", "expected ").replace("found: ", "found ").replace("EOF", "the end");
    SqlError::new("E0360", format!("the query cannot be read: {}", lower_first(&message))).at(within)
}

/// Splits `.. at Line: 3, Column: 8`.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let found = message.rsplit_once(" at Line: ").and_then(|(rest, place)| {
        let (line, column) = place.trim_end_matches('.').split_once(", Column: ")?;
        Some((rest, Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?)))
    });
    match found {
        Some((rest, location)) => (rest, Some(location)),
        None => (message, None),
    }
}

fn word_at(text: &str, at: usize) -> Range<usize> {
    let rest = &text[at..];
    let n: usize = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
    at..at + n.max(rest.chars().next().map_or(0, char::len_utf8))
}

/// Words a query that parses but does not fit its tables.
pub(super) fn plan_error(error: &DataFusionError, text: &str, tables: &Tables<'_>, functions: &[String]) -> SqlError {
    let within = error.diagnostic().and_then(|diagnostic| diagnostic.span).and_then(|span| range(text, span));
    let told = match error.find_root() {
        DataFusionError::SchemaError(error, _) => schema_error(error, text, tables),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => return plan_error(first, text, tables, functions),
            None => SqlError::new("E0368", "the query cannot be planned"),
        },
        other => {
            let message = other.message().into_owned();
            let invalid = message.strip_prefix("Invalid function '").and_then(|rest| rest.split_once('\''));
            match invalid {
                Some((name, _)) => {
                    let error = SqlError::new("E0363", format!("there is no function `{name}`"));
                    match did_you_mean(name, functions.iter().map(String::as_str)) {
                        Some(close) => error.with_help(format!("did you mean `{close}`?")),
                        None => error.with_help("the functions are those of DataFusion's SQL"),
                    }
                }
                None if message.starts_with("Projections require unique expression names") => {
                    // `.. but the expression "c.tenure" at position 0 and ..`
                    let named = message.split('"').nth(1).unwrap_or_default();
                    duplicate(named.rsplit('.').next().unwrap_or(named))
                }
                None => {
                    let first_line = message.lines().next().unwrap_or_default();
                    SqlError::new(
                        "E0368",
                        format!("the query cannot be planned: {}", lower_first(first_line.trim_end_matches('.'))),
                    )
                }
            }
        }
    };
    let within = told.within.clone().or(within);
    told.at(within)
}

fn schema_error(error: &SchemaError, text: &str, tables: &Tables<'_>) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            unknown_column(field, valid_fields, tables).at(place(field, text))
        }
        SchemaError::AmbiguousReference { field } => {
            let name = &field.name;
            SqlError::new("E0369", format!("`{name}` is a column of several tables of the query"))
                .with_help(format!("say which one: `TABLE.{name}`"))
                .at(place(field, text))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            duplicate(name)
        }
    }
}

/// Words a result in which a name stands for two columns.
pub(super) fn duplicate(name: &str) -> SqlError {
    SqlError::new("E0367", format!("two columns of the result are called `{name}`"))
        .with_help("name one of them with `as`, or list the columns instead of `*`")
}

fn unknown_column(field: &Column, valid_fields: &[Column], tables: &Tables<'_>) -> SqlError {
    let name = field.name.as_str();
    let owner = field.relation.as_ref().map(|relation| relation.table());
    let of_owner =
        |column: &&Column| owner.is_none() || column.relation.as_ref().map(|relation| relation.table()) == owner;
    let mut known: Vec<&str> = valid_fields.iter().filter(of_owner).map(Column::name).collect();
    let of_tables: Vec<(&str, &TableType)> = tables.iter().map(|(name, table)| (name.as_str(), *table)).collect();
    if known.is_empty() {
        let meant = of_tables.iter().filter(|(table, _)| owner.is_none_or(|owner| owner == *table));
        known = meant.flat_map(|(_, table)| table.columns.iter().map(|column| column.name.as_str())).collect();
    }
    let place = match (owner, &of_tables[..]) {
        (Some(owner), _) => format!("of `{owner}`"),
        (None, [(only, _)]) => format!("of `{only}`"),
        (None, _) => "of the query's tables".to_owned(),
    };
    let error = SqlError::new("E0312", format!("`{name}` is not a column {place}"));
    let is_open = of_tables.iter().any(|(table, ty)| ty.open && owner.is_none_or(|owner| owner == *table));
    match did_you_mean(name, known.iter().copied()) {
        Some(close) if close.eq_ignore_ascii_case(name) => {
            error.with_help(format!("did you mean `{close}`? Names are case-sensitive"))
        }
        Some(close) => error.with_help(format!("did you mean `{close}`?")),
        None if is_open => error.with_help(format!(
            "a query sees declared columns only: if the file has `{name}`, declare it in the schema"
        )),
        None => {
            let shown: Vec<_> = known.iter().take(12).map(|name| format!("`{name}`")).collect();
            let more = if known.len() > shown.len() { ", .." } else { "" };
            error.with_help(format!("the columns are {}{more}", shown.join(", ")))
        }
    }
}

fn place(column: &Column, text: &str) -> Option<Range<usize>> {
    column.spans.first().and_then(|span| range(text, span))
}

fn range(text: &str, span: Span) -> Option<Range<usize>> {
    use datafusion::sql::sqlparser::tokenizer;
    let location = |location: datafusion::common::Location| Location::new(location.line, location.column);
    range_of(text, tokenizer::Span::new(location(span.start), location(span.end)))
}

/// Begins a sentence of the library in our style.
pub(super) fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        // An abbreviation or a name in capitals stays.
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(message.chars().skip(1)).collect()
        }
        _ => message.to_owned(),
    }
}
