//! Binds the arguments of a call to the names an operation or constructor takes. Looks at no types.

use std::borrow::Cow;
use std::collections::HashSet;

use super::report::Report;
use crate::ast::{CallExpr, Expr, Field, Label};
use crate::diagnostic::Diagnostic;
use crate::suggest::{did_you_mean, listed};

/// One name that can be bound.
#[derive(Debug, Clone, Copy)]
pub struct Formal<'s> {
    pub name: &'s str,
    pub required: bool,
}

/// What each formal is bound to.
#[derive(Debug)]
pub struct Bound<'a> {
    pub values: Vec<Option<&'a Expr<'a>>>,
    /// Nothing was reported.
    pub is_complete: bool,
}

pub fn bind<'a>(call: &'a CallExpr<'a>, formals: &[Formal<'_>], report: Report<'_>) -> Bound<'a> {
    let op = call.path.text;
    let mut bound = Bound { values: vec![None; formals.len()], is_complete: true };
    let refuse = |problem: Diagnostic| report.add(problem);
    let mut first_named = None;
    let mut n_surplus = 0;
    // A required argument that is only misspelt is not reported as missing too.
    let mut meant: HashSet<&str> = HashSet::new();
    for (position, arg) in call.args.iter().enumerate() {
        let bare = arg.value.as_name();
        let (name, span) = match (&arg.name, first_named, bare) {
            (Some(name), ..) => {
                first_named = first_named.or(Some(name.span));
                (name.text.as_ref(), name.span)
            }
            (None, Some(_), Some(bare)) => (bare.text, bare.span),
            (None, Some(first), None) => {
                bound.is_complete = false;
                refuse(
                    Diagnostic::error("E0208", "a positional argument stands after a named one")
                        .at(arg.value.span, "which argument is this?")
                        .and(first, "the first named one")
                        .help("write `name: value`; only a bare name can stand for itself"),
                );
                continue;
            }
            (None, None, _) => {
                if let Some(value) = bound.values.get_mut(position) {
                    *value = Some(&arg.value);
                } else {
                    n_surplus += 1;
                    if n_surplus == 1 {
                        bound.is_complete = false;
                        let n_formals = formals.len();
                        let plural = if n_formals == 1 { "" } else { "s" };
                        let message = format!("`{op}` takes at most {n_formals} argument{plural}");
                        refuse(Diagnostic::error("E0206", message).at(arg.value.span, "one too many"));
                    }
                }
                continue;
            }
        };
        let Some(index) = formals.iter().position(|formal| formal.name == name) else {
            bound.is_complete = false;
            let names = || formals.iter().map(|formal| formal.name);
            let suggestion = did_you_mean(name, names());
            meant.extend(suggestion);
            let mut problem = Diagnostic::error("E0204", format!("`{op}` has no argument `{name}`"))
                .at(
                    span,
                    if formals.is_empty() {
                        "it takes none".to_owned()
                    } else {
                        format!("it takes {}", listed(names(), "and"))
                    },
                )
                .maybe_help(suggestion.map(|name| format!("did you mean `{name}`?")));
            if arg.name.is_none() {
                problem = problem.note(format!("after a named argument, `{name}` is short for `{name}: {name}`"));
            }
            refuse(problem);
            continue;
        };
        if let Some(earlier) = bound.values[index] {
            bound.is_complete = false;
            refuse(
                Diagnostic::error("E0207", format!("argument `{name}` of `{op}` is given twice"))
                    .at(span, "again here")
                    .and(earlier.span, "first here"),
            );
            continue;
        }
        bound.values[index] = Some(&arg.value);
    }
    let missing: Vec<_> = formals
        .iter()
        .zip(&bound.values)
        .filter(|(formal, value)| formal.required && value.is_none() && !meant.contains(formal.name))
        .map(|(formal, _)| formal.name)
        .collect();
    if let Some(first) = missing.first() {
        bound.is_complete = false;
        let message = format!("`{op}` needs {}", listed(missing.iter().copied(), "and"));
        refuse(Diagnostic::error("E0205", message).at(call.path.span, "").help(format!("add `{first}: ..`")));
    }
    bound.is_complete &= meant.is_empty();
    bound
}

/// Returns the name of a record's member; a bare name stands for itself.
pub fn field_name<'a>(report: Report<'_>, field: &Field<'a>) -> Option<Label<'a>> {
    if let Some(name) = &field.name {
        return Some(name.clone());
    }
    let bare = field.value.as_name();
    if bare.is_none() {
        report.add(
            Diagnostic::error("E0208", "a member of a record needs a name")
                .at(field.value.span, "")
                .help("write `name: value`; only a bare name can stand for itself"),
        );
    }
    bare.map(|name| Label { text: Cow::Borrowed(name.text), span: name.span })
}
