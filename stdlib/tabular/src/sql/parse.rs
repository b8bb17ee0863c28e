//! Parses a query and refuses what a step must not do, before anything is planned.

use std::ops::{ControlFlow, Range};

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectName, Query, Select, SetExpr, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::SqlError;
use super::messages::syntax_error;

/// Longer queries are refused: planning takes more than linear time.
const MAX_QUERY_BYTES: usize = 1 << 16;
const MAX_NESTING: usize = 50;

/// A query that may be planned.
pub(super) struct Parsed {
    pub statement: Statement,
    /// The query without comments, in one way of writing.
    pub normal: String,
    /// The tables that it names, and where.
    pub relations: Vec<(String, Option<Range<usize>>)>,
}

/// Parses one `select` statement.
pub(super) fn parse(text: &str) -> Result<Parsed, SqlError> {
    if text.len() > MAX_QUERY_BYTES {
        let message = format!("the query is longer than {} KiB", MAX_QUERY_BYTES >> 10);
        return Err(SqlError::new("E0360", message).with_help("cut it into several `sql` steps"));
    }
    let statements = DFParserBuilder::new(text)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(MAX_NESTING)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| syntax_error(&error, text))?;
    let help = "write one `select` statement";
    let mut statements = statements.into_iter();
    let statement = match (statements.next(), statements.next()) {
        (Some(statement), None) => statement,
        (None, _) => return Err(SqlError::new("E0360", "the query is empty").with_help(help)),
        (Some(_), Some(_)) => {
            return Err(SqlError::new("E0360", "the query is more than one statement").with_help(help));
        }
    };
    let Statement::Statement(inner) = &statement else {
        return Err(not_a_query(&statement.to_string()));
    };
    let mut guard = Guard { text, relations: Vec::new() };
    if let ControlFlow::Break(error) = inner.visit(&mut guard) {
        return Err(error);
    }
    Ok(Parsed { normal: inner.to_string(), relations: guard.relations, statement })
}

fn not_a_query(statement: &str) -> SqlError {
    let word = statement.split_whitespace().next().unwrap_or_default().to_lowercase();
    SqlError::new("E0364", format!("`{word}` is not allowed: a step only reads its tables"))
        .with_help("write one `select` statement; the step's result is the table that it returns")
}

/// Walks through a statement and stops at the first thing that is refused.
struct Guard<'a> {
    text: &'a str,
    relations: Vec<(String, Option<Range<usize>>)>,
}

impl Visitor for Guard<'_> {
    type Break = SqlError;

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<SqlError> {
        match statement {
            ast::Statement::Query(_) => ControlFlow::Continue(()),
            other => ControlFlow::Break(not_a_query(&other.to_string())),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        let refuse = |what: &str, help: &str| {
            ControlFlow::Break(SqlError::new("E0364", format!("{what} is not allowed here")).with_help(help))
        };
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return refuse("`with recursive`", "it might never end; write the steps of the recursion one by one");
        }
        if !query.pipe_operators.is_empty() {
            return refuse("`|>`", "write the query as an ordinary `select`");
        }
        if !query.locks.is_empty() || query.for_clause.is_some() {
            return refuse("`for ..` behind a query", "leave it out: nothing else changes the tables");
        }
        if query.settings.is_some() || query.format_clause.is_some() {
            return refuse("`settings` or `format` behind a query", "leave it out");
        }
        if !matches!(
            *query.body,
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::SetOperation { .. } | SetExpr::Values(_)
        ) {
            return ControlFlow::Break(not_a_query(&query.body.to_string()));
        }
        if (query.limit_clause.is_some() || query.fetch.is_some()) && query.order_by.is_none() {
            let message = "`limit` without `order by` takes rows by chance";
            let help = "add `order by` with columns that tell the rows apart";
            return ControlFlow::Break(SqlError::new("E0366", message).with_help(help).at(self.find_word("limit")));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
        if select.into.is_some() {
            return ControlFlow::Break(not_a_query("into"));
        }
        if select.top.is_some() {
            let message = "`top` takes rows by chance";
            let error = SqlError::new("E0366", message).with_help("write `order by .. limit ..` at the end");
            return ControlFlow::Break(error.at(self.find_word("top")));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<SqlError> {
        if let TableFactor::Table { sample: Some(_), .. } = factor {
            let error = SqlError::new("E0365", "`tablesample` is different each time")
                .with_help("take a fixed part instead, with `table.split` and a seed")
                .at(self.find_word("tablesample"));
            return ControlFlow::Break(error);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<SqlError> {
        let idents: Vec<&Ident> = relation.0.iter().filter_map(|part| part.as_ident()).collect();
        let span = idents.first().map(|ident| ident.span);
        match idents[..] {
            [ident] if relation.0.len() == 1 => {
                self.relations.push((ident.value.clone(), range_of(self.text, ident.span)));
                ControlFlow::Continue(())
            }
            _ => {
                let error = SqlError::new("E0361", format!("`{relation}` is not a table of this query"))
                    .with_help("a table has a plain name: the one it has in `tables`");
                ControlFlow::Break(error.at(span.and_then(|span| range_of(self.text, span))))
            }
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
        if let Expr::Function(function) = expr
            && let Some(ident) = function.name.0.first().and_then(|part| part.as_ident())
            && function.name.0.len() == 1
            && let Some(error) = why_not(&ident.value)
        {
            return ControlFlow::Break(error.at(range_of(self.text, ident.span)));
        }
        ControlFlow::Continue(())
    }
}

impl Guard<'_> {
    /// Returns where a keyword stands, if it stands there once.
    fn find_word(&self, word: &str) -> Option<Range<usize>> {
        let lower = self.text.to_ascii_lowercase();
        let is_border = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let mut found = lower.match_indices(word).filter(|(at, _)| {
            is_border(lower[..*at].chars().next_back()) && is_border(lower[at + word.len()..].chars().next())
        });
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Some(at..at + word.len()),
            _ => None,
        }
    }
}

/// Returns why a function gives something else each time, if it does.
pub(super) fn why_not(function: &str) -> Option<SqlError> {
    let name = function.to_lowercase();
    let (what, help) = match name.as_str() {
        "now" | "current_timestamp" | "current_date" | "current_time" | "today" | "localtime" | "localtimestamp" => {
            ("reads the clock", "take the day from the data, or make it a parameter of the pipeline")
        }
        "random" | "rand" => ("is different each time", "for a random part of the rows use `table.split` with a seed"),
        "uuid" | "gen_random_uuid" | "newid" => {
            ("is different each time", "number the rows with `row_number() over (order by ..)`")
        }
        "input_file_name" | "file_row_index" => ("depends on where the table is stored", "leave it out"),
        _ => return None,
    };
    let message = format!("`{name}` {what}, so the step would not be repeatable");
    Some(SqlError::new("E0365", message).with_help(help))
}

/// Returns the bytes of `text` that the parser means.
pub(super) fn range_of(text: &str, span: Span) -> Option<Range<usize>> {
    let start = offset_of(text, span.start)?;
    let end = offset_of(text, span.end)?;
    (start < end).then_some(start..end)
}

/// Returns the byte at which a line and column (in characters, from 1) lie.
pub(super) fn offset_of(text: &str, location: Location) -> Option<usize> {
    let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
    let start = match line {
        0 => 0,
        _ => text.match_indices('\n').nth(line - 1)?.0 + 1,
    };
    let rest = &text[start..];
    let within = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(column)?;
    Some(start + within)
}
