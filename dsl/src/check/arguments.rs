//! Checks one parameter of a call or constructor against the type it is declared with.

use mlp_model::{ArgType, Constructor, Named, ParamType, Span, TableType, Value};

use super::Scope;
use super::bind::{self, Formal};
use super::expand::PARAMETER;
use super::names::{Entity, Followed};
use super::value::{kind, show};
use crate::ast::{CallExpr, Expr, ExprKind, Field, Name};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// Whose argument is checked.
pub struct Place<'p, 'a> {
    pub scope: &'p Scope<'a>,
    /// The operation or constructor.
    pub op: &'p str,
    pub argument: &'p str,
    /// Says which part of the argument is checked: `an item of `, or nothing for the whole.
    pub part: &'static str,
    /// The table bound to another argument of the call; `None` when it is not known.
    pub tables: &'p dyn Fn(&str) -> Option<TableView<'p>>,
}

/// A table argument, as columns are looked up in it.
#[derive(Clone, Copy)]
pub struct TableView<'p> {
    pub table: &'p TableType,
    /// As it is written: `parts.train`.
    pub shown: &'p str,
    /// The schema that its columns come from.
    pub schema: Option<usize>,
}

/// Returns the value, or `None` after reporting what is wrong.
pub fn check(place: &Place<'_, '_>, ty: &ParamType, expr: &Expr<'_>, allows_none: bool) -> Option<Value> {
    let is_list = matches!(ty, ParamType::List(_) | ParamType::Columns { .. });
    match (ty, &expr.kind) {
        (_, ExprKind::Wrong) => None,
        (_, ExprKind::List(_)) if !is_list => place.refuse(ty, "a list", expr.span),
        (ParamType::Map(member_ty), ExprKind::Record(fields)) => place.map(member_ty, fields),
        (_, ExprKind::Record(_)) => place.refuse(ty, "a record", expr.span),
        (ParamType::Columns { .. }, _) if place.is_no_param(expr) => place.refuse(ty, "a name", expr.span),
        (ParamType::Call(constructors), ExprKind::Path(_)) if place.is_no_param(expr) => {
            place.uncalled(constructors, expr.span)
        }
        (ParamType::Column { of }, _) => place.column(of, expr, allows_none),
        (ParamType::Columns { of }, ExprKind::List(items)) => {
            let place = Place { part: "an item of ", ..*place };
            let columns: Vec<_> = items.iter().map(|item| place.column(of, item, false)).collect();
            columns.into_iter().collect::<Option<_>>().map(Value::List)
        }
        (ParamType::List(item_ty), ExprKind::List(items)) => {
            let place = Place { part: "an item of ", ..*place };
            let values: Vec<_> = items.iter().map(|item| check(&place, item_ty, item, false)).collect();
            values.into_iter().collect::<Option<_>>().map(Value::List)
        }
        (ParamType::Choice(words), ExprKind::Path(path)) if path.len() == 1 => place.choice(words, expr, path.first()?),
        (ParamType::Choice(words), ExprKind::Maybe(word)) => {
            let optional = format!("{}?", word.text);
            if !words.contains(&optional.as_str()) {
                place.unknown_choice(words, &optional, expr.span);
                return None;
            }
            Some(Value::Str(optional))
        }
        (ParamType::Schema, ExprKind::Path(path)) => place.schema(path, expr.span),
        (ParamType::Call(constructors), ExprKind::Call(call)) => place.call(constructors, call),
        (ParamType::StrOrSecret, ExprKind::Call(call)) if call.path.text == "secret" => place.secret(call),
        _ => {
            let value = place.scope.eval().value(expr)?;
            if value == Value::Null && allows_none {
                return Some(value);
            }
            place.fit(ty, value, expr.span)
        }
    }
}

impl Place<'_, '_> {
    /// Fits a computed value, which also is what a parameter holds.
    fn fit(&self, ty: &ParamType, value: Value, span: Span) -> Option<Value> {
        match (ty, value) {
            (ParamType::Int { min, max }, Value::Int(n)) => {
                let bounds = (*min != i64::MIN, *max != i64::MAX);
                self.in_range(
                    (*min..=*max).contains(&n),
                    Value::Int(n),
                    bounds,
                    (min.to_string(), max.to_string()),
                    span,
                )
            }
            (ParamType::Float { min, max }, value @ (Value::Int(_) | Value::Float(_))) => {
                let x = value.as_float()?;
                let bounds = (*min > f64::MIN, *max < f64::MAX);
                self.in_range(
                    *min <= x && x <= *max,
                    Value::Float(x),
                    bounds,
                    (format!("{min:?}"), format!("{max:?}")),
                    span,
                )
            }
            (ParamType::Bool, value @ Value::Bool(_))
            | (ParamType::Str | ParamType::StrOrSecret, value @ Value::Str(_))
            | (ParamType::Duration, value @ Value::DurationMs(_))
            | (ParamType::Literal, value @ (Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_))) => {
                Some(value)
            }
            (ParamType::Choice(words), Value::Str(word)) => {
                if words.contains(&word.as_str()) {
                    return Some(Value::Str(word));
                }
                self.unknown_choice(words, &word, span);
                None
            }
            (ParamType::List(item), Value::List(items)) => {
                let values: Vec<_> = items.into_iter().map(|value| self.fit(item, value, span)).collect();
                values.into_iter().collect::<Option<_>>().map(Value::List)
            }
            (ParamType::Columns { of }, Value::List(items)) => {
                let columns: Vec<_> = items
                    .into_iter()
                    .map(|value| match value {
                        Value::Str(name) => self.known_column(of, &name, span),
                        other => self.mismatch(ty, &other, span),
                    })
                    .collect();
                columns.into_iter().collect::<Option<_>>().map(Value::List)
            }
            (ty, value) => self.mismatch(ty, &value, span),
        }
    }

    fn column(&self, of: &str, expr: &Expr<'_>, allows_none: bool) -> Option<Value> {
        if let Some(name) = expr.as_name() {
            // The column of that name comes first, then the parameter.
            let table = (self.tables)(of);
            let is_column = table.is_none_or(|view| view.table.column(name.text).is_some());
            let entry = self.scope.entry(name.text);
            let value = entry.and_then(|entry| match entry.entity {
                Entity::Value(value) => Some((value, entry.word == PARAMETER)),
                _ => None,
            });
            match value {
                // The author of a `def` does not know the columns: its parameters come first.
                Some((value, true)) => return self.given_column(of, value, name.span),
                Some((_, false)) if !is_column => {}
                _ if entry.is_some_and(|entry| entry.entity == Entity::Broken) && !is_column => return None,
                _ => return self.known_column(of, name.text, name.span),
            }
        }
        match self.scope.eval().value(expr)? {
            Value::Str(name) => self.known_column(of, &name, expr.span),
            Value::Null if allows_none => Some(Value::Null),
            other => self.mismatch(&ParamType::Column { of: "" }, &other, expr.span),
        }
    }

    /// Reads the column that a parameter of a `def` names. A wrong one is shown where the caller writes it.
    fn given_column(&self, of: &str, value: usize, span: Span) -> Option<Value> {
        let name = match self.scope.names.values.get(value)?.as_ref()? {
            Value::Str(name) => name,
            other => return self.mismatch(&ParamType::Column { of: "" }, other, span),
        };
        let at = self.scope.names.given.get(&value).copied().unwrap_or(span);
        self.known_column(of, name, at)
    }

    fn known_column(&self, of: &str, name: &str, span: Span) -> Option<Value> {
        let Some(view) = (self.tables)(of) else {
            // The table is not known, so neither are its columns: nothing to complain about.
            return Some(Value::Str(name.to_owned()));
        };
        if view.table.column(name).is_some() {
            return Some(Value::Str(name.to_owned()));
        }
        let scope = self.scope;
        let columns = || view.table.columns.iter().map(|column| column.name.as_str());
        let label = match view.schema.and_then(|schema| scope.names.schema_decls.get(schema)) {
            Some((schema, _)) => {
                let place = scope.source.place(schema.name.span, span);
                format!("the columns come from schema `{}`, {place}", schema.name.text)
            }
            None if columns().next().is_none() => "no column of it is known".to_owned(),
            None => format!("the columns are {}", listed(columns(), "and")),
        };
        let mut problem = Diagnostic::error("E0312", format!("`{name}` is not a column of `{}`", view.shown))
            .at(span, label)
            .maybe_help(scope.report.suggest(name, columns()));
        if problem.help.is_none() && view.table.open {
            problem = problem.help("only columns that the schema declares can be named: declare it there");
        }
        scope.report.add(problem);
        None
    }

    fn choice(&self, words: &'static [&'static str], expr: &Expr<'_>, name: &Name<'_>) -> Option<Value> {
        let entry = self.scope.entry(name.text);
        if words.contains(&name.text) && entry.is_none_or(|entry| entry.word != PARAMETER) {
            return Some(Value::Str(name.text.to_owned()));
        }
        if matches!(entry.map(|entry| entry.entity), Some(Entity::Value(_) | Entity::Broken)) {
            let value = self.scope.eval().value(expr)?;
            return self.fit(&ParamType::Choice(words), value, expr.span);
        }
        self.unknown_choice(words, name.text, expr.span);
        None
    }

    fn unknown_choice(&self, words: &[&'static str], word: &str, span: Span) {
        let listed = listed(words.iter().copied(), "or");
        let message = format!("{} must be {listed}, got `{word}`", self.subject());
        let problem = Diagnostic::error("E0303", message).at(span, "");
        self.scope.report.add(problem.maybe_help(self.scope.report.suggest(word, words.iter().copied())));
    }

    fn schema(&self, path: &[Name<'_>], span: Span) -> Option<Value> {
        let problem = match self.scope.follow(path) {
            Followed::Found { entity: Entity::Schema(index), rest, .. } if rest.is_empty() => {
                let schema = self.scope.names.schemas.get(index)?.as_ref()?;
                return Some(Value::Schema(Box::new(schema.clone())));
            }
            Followed::Found { entity: Entity::Broken, .. } | Followed::Silent => return None,
            Followed::Found { word, .. } => {
                let written = self.scope.source.written(span);
                Diagnostic::error("E0301", format!("`{written}` is a {word}, not a schema")).at(span, "")
            }
            Followed::Champion { .. } | Followed::Given { .. } => {
                Diagnostic::error("E0301", "a schema is needed here").at(span, "")
            }
            Followed::Wrong(problem) => *problem,
            Followed::Unknown(name) => {
                let names = self.scope.names;
                let is_schema = |name: &&str| matches!(self.scope.get(name), Some(Entity::Schema(_)));
                Diagnostic::error("E0202", format!("`{}` is not known", name.text))
                    .at(name.span, "no schema has this name")
                    .maybe_help(self.scope.report.suggest(name.text, names.visible(self.scope.env).filter(is_schema)))
            }
        };
        self.scope.report.add(problem);
        None
    }

    fn call(&self, constructors: &[Constructor], call: &CallExpr<'_>) -> Option<Value> {
        let name = call.path.text;
        let Some(constructor) = constructors.iter().find(|known| known.name == name) else {
            let names = || constructors.iter().map(|known| known.name);
            let message = format!("{} does not take `{name}`", self.subject());
            let label = format!("it takes {}", listed(names(), "or"));
            let problem = Diagnostic::error("E0313", message).at(call.path.span, label);
            self.scope.report.add(problem.maybe_help(self.scope.report.suggest(name, names())));
            return None;
        };
        let formal =
            |argument: &mlp_model::Argument| Formal { name: argument.name, required: argument.default.is_none() };
        let formals: Vec<_> = constructor.args.iter().map(formal).collect();
        let bound = bind::bind(call, &formals, self.scope.report);
        let mut is_complete = bound.is_complete;
        let mut args = Named::new();
        for (argument, value) in constructor.args.iter().zip(bound.values) {
            let place = Place { op: constructor.name, argument: argument.name, part: "", ..*self };
            let value = match (value, &argument.ty) {
                (Some(value), ArgType::Param(ty)) => check(&place, ty, value, argument.default == Some(Value::Null)),
                (Some(_), ArgType::Input(_)) => None,
                (None, _) => argument.default.clone(),
            };
            match value {
                Some(value) => drop(args.insert(argument.name, value)),
                None => is_complete = false,
            }
        }
        is_complete.then(|| Value::Call { name: name.to_owned(), args })
    }

    /// Reads `secret("NAME")`. What it holds is nobody's business before the step runs.
    fn secret(&self, call: &CallExpr<'_>) -> Option<Value> {
        let bound = bind::bind(call, &[Formal { name: "name", required: true }], self.scope.report);
        let expr = bound.values.first().copied().flatten().filter(|_| bound.is_complete)?;
        let problem = match self.scope.eval().value(expr)? {
            Value::Str(name) if is_variable(&name) => return Some(Value::secret(name)),
            Value::Str(name) => Diagnostic::error("E0302", format!("`{name}` is no name of a secret"))
                .at(expr.span, "letters, digits and `_`, no digit first"),
            other => Diagnostic::error("E0301", format!("`secret` takes a name as a string, got {}", kind(&other)))
                .at(expr.span, ""),
        };
        self.scope
            .report
            .add(problem.help("its value comes from outside: `MLP_SECRET_NAME`, or `secrets` in mlp.yaml"));
        None
    }

    fn map(&self, ty: &ParamType, fields: &[Field<'_>]) -> Option<Value> {
        let place = Place { part: "a member of ", ..*self };
        let mut values = Named::new();
        let mut is_complete = true;
        for field in fields {
            let name = bind::field_name(self.scope.report, field);
            let value = check(&place, ty, &field.value, false);
            let (Some(name), Some(value)) = (name, value) else {
                is_complete = false;
                continue;
            };
            if values.insert(name.text.clone().into_owned(), value).is_some() {
                let message = format!("`{}` has two members called `{}`", self.argument, name.text);
                self.scope.report.add(Diagnostic::error("E0207", message).at(name.span, "again here"));
                is_complete = false;
            }
        }
        is_complete.then_some(Value::Record(values))
    }

    fn in_range(
        &self,
        fits: bool,
        value: Value,
        (has_min, has_max): (bool, bool),
        (min, max): (String, String),
        span: Span,
    ) -> Option<Value> {
        if fits {
            return Some(value);
        }
        let range = match (has_min, has_max) {
            (true, false) => format!("at least {min}"),
            (false, true) => format!("at most {max}"),
            _ => format!("in {min}..={max}"),
        };
        let message = format!("{} must be {range}, got {}", self.subject(), show(&value));
        self.scope.report.add(Diagnostic::error("E0302", message).at(span, ""));
        None
    }

    fn mismatch(&self, ty: &ParamType, value: &Value, span: Span) -> Option<Value> {
        let message = format!("{} must be {}, got {}", self.subject(), described(ty), kind(value));
        self.scope.report.add(Diagnostic::error("E0301", message).at(span, format!("`{}`", show(value))));
        None
    }

    /// Refuses an expression whose shape alone is wrong, whatever is in it.
    fn refuse(&self, ty: &ParamType, got: &str, span: Span) -> Option<Value> {
        let written = self.scope.source.written(span);
        let help = match ty {
            ParamType::Columns { .. } => Some(format!("write `[{written}]`")),
            _ => None,
        };
        let message = format!("{} must be {}, got {got}", self.subject(), described(ty));
        self.scope.report.add(Diagnostic::error("E0301", message).at(span, "").maybe_help(help));
        None
    }

    /// Refuses a name where a constructor is called.
    fn uncalled(&self, constructors: &[Constructor], span: Span) -> Option<Value> {
        let written = self.scope.source.written(span);
        let names = || constructors.iter().map(|known| known.name);
        let message = format!("{} does not take the name `{written}`", self.subject());
        let label = format!("it takes a call of {}", listed(names(), "or"));
        let help = if names().any(|name| name == written) {
            Some(format!("write `{written}(..)`"))
        } else {
            self.scope.report.suggest(&written, names())
        };
        self.scope.report.add(Diagnostic::error("E0313", message).at(span, label).maybe_help(help));
        None
    }

    /// Returns whether the expression is a name, and not that of a parameter or of something broken.
    fn is_no_param(&self, expr: &Expr<'_>) -> bool {
        let ExprKind::Path(path) = &expr.kind else { return false };
        let entity = path.first().and_then(|name| self.scope.get(name.text));
        !matches!(entity, Some(Entity::Value(_) | Entity::Broken))
    }

    fn subject(&self) -> String {
        format!("{}argument `{}` of `{}`", self.part, self.argument, self.op)
    }
}

/// Returns whether a text can end the name of a variable.
fn is_variable(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn described(ty: &ParamType) -> String {
    match ty {
        ParamType::Int { .. } => "an int".to_owned(),
        ParamType::Float { .. } => "a float".to_owned(),
        ParamType::Bool => "a bool".to_owned(),
        ParamType::Str => "a string".to_owned(),
        ParamType::StrOrSecret => "a string or `secret(\"NAME\")`".to_owned(),
        ParamType::Duration => "a duration".to_owned(),
        ParamType::Choice(words) => listed(words.iter().copied(), "or"),
        ParamType::Column { .. } => "a column".to_owned(),
        ParamType::Columns { .. } => "a list of columns".to_owned(),
        ParamType::Schema => "a schema".to_owned(),
        ParamType::Call(constructors) => listed(constructors.iter().map(|constructor| constructor.name), "or"),
        ParamType::List(item) => format!("a list of {}", plural(item)),
        ParamType::Map(member) => format!("a record of {}", plural(member)),
        ParamType::Literal => "a bool, a number or a string".to_owned(),
    }
}

fn plural(ty: &ParamType) -> &'static str {
    match ty {
        ParamType::Int { .. } => "ints",
        ParamType::Float { .. } => "floats",
        ParamType::Bool => "bools",
        ParamType::Str | ParamType::StrOrSecret => "strings",
        ParamType::Duration => "durations",
        ParamType::Choice(_) => "words",
        ParamType::Column { .. } => "columns",
        ParamType::Schema => "schemas",
        ParamType::Columns { .. } | ParamType::List(_) => "lists",
        ParamType::Map(_) => "records",
        ParamType::Call(_) => "calls",
        ParamType::Literal => "values",
    }
}
