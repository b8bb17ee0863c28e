//! Asks operations what calls of theirs result in, and places the mistakes they find.

use mlp_model::{
    ArgError, ArgType, Call, CallClass, CheckedCall, Inferred, Named, Options, Output, Signature, Span, Type, Value,
};

use super::Scope;
use super::calls::CallInfo;
use super::inputs::Found;
use crate::ast::{CallExpr, Expr, ExprKind};
use crate::diagnostic::Diagnostic;

/// Returns what the call gives, or `None` after reporting what the operation found wrong.
pub fn infer<'a>(
    scope: &Scope<'_>,
    info: &CallInfo<'a>,
    call: &'a CallExpr<'a>,
    signature: &Signature,
    (inputs, params): (&Named<Type>, &Named<Value>),
) -> Option<Inferred> {
    let argument = |name: &str| {
        let mut bound = info.formals.iter().zip(&info.bound);
        bound.find(|(formal, _)| formal.name == name).and_then(|(_, value)| *value)
    };
    match signature.infer.infer(&CheckedCall { inputs, params }) {
        Ok(inferred) => Some(inferred),
        Err(errors) => {
            for error in errors {
                let expr = error.argument.as_deref().and_then(|path| find_argument(path, &argument));
                // An argument that the user writes as two, or a default, has no text of its own.
                let span = expr.map_or(call.path.span, |expr| place(expr, &error));
                scope.report.add(told(error, span));
            }
            None
        }
    }
}

/// Finds the expression of an argument; `tables.visits` and `net.hidden` lead into a record or a constructor.
fn find_argument<'a>(path: &str, argument: &dyn Fn(&str) -> Option<&'a Expr<'a>>) -> Option<&'a Expr<'a>> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let expr = argument(first)?;
    let Some(rest) = rest else { return Some(expr) };
    let fields = match &expr.kind {
        ExprKind::Record(fields) => fields,
        ExprKind::Call(call) => &call.args,
        _ => return Some(expr),
    };
    let member = fields.iter().find(|field| {
        let bare = field.value.as_name().map(|name| name.text);
        field.name.as_ref().map_or(bare, |name| Some(name.text.as_ref())) == Some(rest)
    });
    Some(member.map_or(expr, |field| &field.value))
}

/// Narrows the place down to an element of a list, or to a part of a string.
fn place(expr: &Expr<'_>, error: &ArgError) -> Span {
    let mut expr = expr;
    while let ExprKind::Group(inner) = &expr.kind {
        expr = inner;
    }
    if let (Some(element), ExprKind::List(items)) = (error.element, &expr.kind)
        && let Some(item) = items.get(element)
    {
        expr = item;
    }
    match (&error.within, &expr.kind) {
        (Some(within), ExprKind::Text(text)) => text.span_of(within.start, within.end),
        _ => expr.span,
    }
}

fn told(error: ArgError, span: Span) -> Diagnostic {
    Diagnostic::error(error.code, error.message).at(span, error.label.unwrap_or_default()).maybe_help(error.help)
}

/// Makes the step that scores `data` with `model`: the operation `FLAVOUR.predict`, all else by default.
pub fn predictions(
    scope: &Scope<'_>,
    (_, model_span, model): (&str, Span, &Found<'_>),
    (_, data_span, data): (&str, Span, &Found<'_>),
) -> Option<Call> {
    let Type::Model(model_type) = model.ty else { return None };
    let op = format!("{}.predict", model_type.flavour);
    let Some(signature) = scope.catalogue.get(&op) else {
        let flavour = &model_type.flavour;
        let message =
            format!("`{}` is a model of flavour `{flavour}`, and there is no `{op}` to score it", model.shown);
        scope.report.add(Diagnostic::error("E0203", message).at(model_span, ""));
        return None;
    };
    let inputs = Named::from([("model", model.ty.clone()), ("data", data.ty.clone())]);
    let defaults = signature.args.iter().filter(|argument| matches!(argument.ty, ArgType::Param(_)));
    let params: Named<Value> =
        defaults.filter_map(|argument| Some((argument.name, argument.default.clone()?))).collect();
    let inferred = match signature.infer.infer(&CheckedCall { inputs: &inputs, params: &params }) {
        Ok(inferred) => inferred,
        Err(errors) => {
            for error in errors {
                let span = if error.argument.as_deref() == Some("model") { model_span } else { data_span };
                scope.report.add(told(error, span));
            }
            return None;
        }
    };
    let mut params = params;
    params.extend(inferred.params);
    Some(Call {
        class: CallClass::Step,
        op: op.into(),
        op_version: signature.version,
        runner: signature.runner.into(),
        params,
        inputs: Named::from([("model", model.input.clone()), ("data", data.input.clone())]),
        outputs: Output::all_of(inferred.outputs, &inferred.optional),
        options: Options::default(),
        arg_spans: Named::from([("model", model_span), ("data", data_span)]),
    })
}
