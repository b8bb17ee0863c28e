//! The safety of learning: which rows may reach which argument.

use mlp_model::{ArgType, InputType, Named, Role, RoleRule, Signature, Type, Value, Word};

use super::Scope;
use super::call::Read;
use super::calls::{Results, Slot};
use crate::ast::CallExpr;
use crate::diagnostic::Diagnostic;

/// Checks the roles of all tables of a call. Breaches are reported; types stay known.
pub fn check_tables(
    scope: &Scope<'_>,
    call: &CallExpr<'_>,
    signature: &Signature,
    reads: &[Read<'_, '_>],
    params: &Named<Value>,
    results: &Results,
) {
    for read in reads {
        let (rule, is_evaluation) = match read.slot {
            Slot::Whole(argument) => match &argument.ty {
                ArgType::Input(InputType::Table(rule)) => (rule, false),
                _ => continue,
            },
            Slot::Data(argument) => match &argument.ty {
                ArgType::Input(InputType::Predictions { data_role, .. }) => (data_role, true),
                _ => continue,
            },
            Slot::Model(_) => continue,
        };
        let RoleRule::Not { roles, allow, why } = rule else { continue };
        let Some(found) = &read.found else { continue };
        let Type::Table(table) = found.ty else { continue };
        let is_allowed = allow.is_some_and(|allow| params.get(allow).and_then(Value::as_bool) == Some(true));
        if is_allowed || !roles.contains(&table.role) {
            continue;
        }

        let mut problem = Breach { signature, read, role: table.role, shown: found.shown, why }
            .tell(is_evaluation.then_some((reads, results)));
        let mut helps = Vec::new();
        if let Some(other) = better_output(found.from, roles, results, scope) {
            helps.push(format!("use `{other}`"));
        }
        if let Some(allow) = allow {
            let written = with_argument(scope, call, allow);
            helps.push(format!("if you mean it, write {written}"));
        }
        if !helps.is_empty() {
            problem = problem.help(helps.join("; "));
        }
        scope.report.add(problem);
    }
}

struct Breach<'b, 'r, 'a> {
    signature: &'b Signature,
    read: &'b Read<'r, 'a>,
    role: Role,
    shown: &'b str,
    why: &'b str,
}

impl Breach<'_, '_, '_> {
    fn tell(&self, evaluation: Option<(&[Read<'_, '_>], &Results)>) -> Diagnostic {
        let Self { shown, role, .. } = self;
        let model = evaluation.and_then(|(reads, results)| {
            let model = reads.iter().find(|read| matches!(read.slot, Slot::Model(_)))?.found.as_ref()?;
            let trained = results.get(model.from?.0)?.as_ref()?;
            // The model's own call has read the same table.
            let data = self.read.found.as_ref()?.from?;
            let same = trained.reads.iter().find(|(call, output, _)| (*call, output) == data)?;
            Some((model.shown, same.2))
        });
        match (model, evaluation) {
            (Some((model, trained_at)), _) => {
                Diagnostic::error("E0407", format!("`{model}` is evaluated on rows it was trained on"))
                    .at(self.read.span, "and evaluated on them")
                    .and(trained_at, "trained on these rows")
            }
            (None, Some(_)) => {
                Diagnostic::error("E0407", format!("`{shown}` holds {role} rows, which do not judge a model"))
                    .at(self.read.span, self.why)
            }
            (None, None) => {
                let op = self.signature.name;
                Diagnostic::error("E0401", format!("`{shown}` holds {role} rows, which `{op}` does not take"))
                    .at(self.read.span, self.why)
            }
        }
    }
}

/// Returns a sibling output that holds other rows.
fn better_output(
    from: Option<(usize, &Word)>,
    refused: &[Role],
    results: &Results,
    scope: &Scope<'_>,
) -> Option<String> {
    let (call, _) = from?;
    let outputs = &results.get(call)?.as_ref()?.call.outputs;
    let fits =
        |ty: &Type| matches!(ty, Type::Table(table) if table.role != Role::All && !refused.contains(&table.role));
    let other = outputs.iter().find(|output| fits(&output.ty))?;
    // A step within another body has no name here.
    let inst = scope.names.calls.get(call).filter(|inst| inst.env == scope.env)?;
    Some(format!("{}.{}", inst.decl.name.text, other.name))
}

/// Writes the call with one more argument, when it is short enough to be shown.
fn with_argument(scope: &Scope<'_>, call: &CallExpr<'_>, name: &str) -> String {
    let span = mlp_model::Span { end: call.end.start, ..call.path.span };
    let written = scope.source.written(span);
    let separator = if written.ends_with(['(', ',']) { "" } else { ", " };
    let separator = if written.ends_with(',') { " " } else { separator };
    let is_given = call.args.iter().any(|arg| arg.name.as_ref().is_some_and(|given| given.text == name));
    if written.len() > 100 || is_given {
        return format!("`{name}: true`");
    }
    format!("`{written}{separator}{name}: true)`")
}
