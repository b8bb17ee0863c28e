//! Finds the operation of each source and step, binds its arguments by name, and has the calls checked in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mlp_model::{ArgType, Argument, Call, CallClass, InputType, ParamType, Signature, Span, Word};

use super::bind::{self, Formal};
use super::call::CallCheck;
use super::champion::Champion;
use super::memo::Recall;
use super::names::{CallInst, Entity};
use super::order::CallOrder;
use super::report::{Report, apart};
use super::{Places, Scope};
use crate::ast::{CallDecl, CallExpr, Expr, ExprKind};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;
use crate::threads;

/// A source or step whose arguments are bound by name, and not checked further.
pub struct CallInfo<'a> {
    pub inst: &'a CallInst<'a>,
    pub decl: &'a CallDecl<'a>,
    /// The call and the operation; `None` when reported.
    pub operation: Option<(&'a CallExpr<'a>, &'a Signature)>,
    pub formals: Arc<[FormalSlot<'a>]>,
    /// What each formal is bound to.
    pub bound: Vec<Option<&'a Expr<'a>>>,
    pub is_complete: bool,
}

/// An argument as the user sees it: one that takes predictions is seen as a model and a table.
pub struct FormalSlot<'a> {
    pub name: &'static str,
    pub slot: Slot<'a>,
}

#[derive(Clone, Copy)]
pub enum Slot<'a> {
    Whole(&'a Argument),
    /// The model of a predictions argument.
    Model(&'a Argument),
    /// The table of a predictions argument.
    Data(&'a Argument),
}

impl CallInfo<'_> {
    /// Returns whether a step that scores a table stands before this one.
    pub fn scores(&self) -> bool {
        let is_given =
            |(formal, value): (&FormalSlot<'_>, &Option<_>)| matches!(formal.slot, Slot::Model(_)) && value.is_some();
        self.formals.iter().zip(&self.bound).any(is_given)
    }
}

/// A call of which everything is known.
pub struct CallResult {
    pub call: Box<Call>,
    /// The implicit step that scores a table for it.
    pub predictions: Option<Box<Call>>,
    /// Reads the champion, directly or not.
    pub reads_champion: bool,
    /// The schema that its table's columns come from.
    pub schema: Option<usize>,
    /// Inputs that it names one by one.
    pub named: BTreeSet<String>,
    /// The tables it reads: call, output and where that is written.
    pub reads: Vec<(usize, Word, Span)>,
}

/// By index of the call; `None` when something about it is wrong.
pub type Results = Vec<Option<CallResult>>;

pub fn bind_all<'a>(scope: &Scope<'a>) -> Vec<CallInfo<'a>> {
    let calls = &scope.names.calls;
    let mut known = HashMap::new();
    if calls.len() < WORTH_THREADS {
        return calls.iter().map(|inst| bind_call(&scope.of(inst), inst.report, inst, &mut known)).collect();
    }
    let parts = threads::in_parts(calls, WORTH_A_THREAD, |part| {
        let mut known = HashMap::new();
        let bind = |inst| apart(|report| bind_call(&scope.of(inst), report, inst, &mut known));
        part.iter().map(bind).collect::<Vec<_>>()
    });
    let bound = calls.iter().zip(parts.into_iter().flatten());
    bound
        .map(|(inst, info)| info.unwrap_or_else(|| bind_call(&scope.of(inst), inst.report, inst, &mut known)))
        .collect()
}

/// Operations that are effects stand in the catalogue under the name of a step, behind this.
pub const EFFECT: &str = "effect.";

/// The arguments of operations, by the operations' names: as calls are checked, and as they are bound.
type Formals<'a> = HashMap<&'static str, (Arc<[FormalSlot<'a>]>, Vec<Formal<'a>>)>;

fn bind_call<'a>(
    scope: &Scope<'a>,
    report: Report<'_>,
    inst: &'a CallInst<'a>,
    known: &mut Formals<'a>,
) -> CallInfo<'a> {
    let decl = inst.decl;
    let mut info =
        CallInfo { inst, decl, operation: None, formals: Arc::default(), bound: Vec::new(), is_complete: false };
    let ExprKind::Call(call) = &decl.value.kind else {
        if !matches!(decl.value.kind, ExprKind::Wrong) {
            let problem =
                Diagnostic::error("E0112", format!("{} `{}` calls no operation", decl.word(), decl.name.text));
            let problem = problem.at(decl.value.span, "expected a call such as `csv.read(..)`");
            let def = decl.value.as_name().filter(|name| matches!(scope.get(name.text), Some(Entity::Def(_))));
            let help = match def {
                Some(name) => format!("to call the def, write `{}(..)`", name.text),
                None => "for a value that others use, write `let NAME = ..`".to_owned(),
            };
            report.add(problem.help(help));
        }
        return info;
    };
    let name = call.path.text;
    let found = match decl.class {
        CallClass::Effect => {
            let found = scope.catalogue.get(&format!("{EFFECT}{name}"));
            if found.is_none() && scope.catalogue.get(name).is_some() {
                let problem =
                    Diagnostic::error("E0232", format!("`{name}` writes nothing outside, so it is no effect"));
                let effects = scope.catalogue.iter().filter_map(|signature| signature.name.strip_prefix(EFFECT));
                let help =
                    format!("write `step {} = ..`; an effect is a call of {}", decl.name.text, listed(effects, "or"));
                report.add(problem.at(call.path.span, "declared as an effect").help(help));
                return info;
            }
            found
        }
        CallClass::Source | CallClass::Step => {
            scope.catalogue.get(name).filter(|signature| signature.class != CallClass::Effect)
        }
    };
    let Some(signature) = found else {
        let operations = scope.catalogue.iter().map(|signature| signature.name);
        let operations = operations.filter(|name| !name.starts_with(EFFECT));
        let is_def = |name: &&str| matches!(scope.get(name), Some(Entity::Def(_)));
        let defs = scope.names.visible(scope.env).filter(is_def);
        let operations = operations.chain(defs);
        let problem = Diagnostic::error("E0203", format!("`{name}` is not an operation")).at(call.path.span, "");
        let constructor_of = constructor_of(scope, name);
        report.add(match constructor_of {
            Some((op, argument)) => problem.help(format!("it is a value for argument `{argument}` of `{op}`")),
            None => problem.maybe_help(report.suggest(name, operations)),
        });
        return info;
    };
    let (slots, formals) = known.entry(signature.name).or_insert_with(|| {
        let slots = formals_of(signature);
        let formals = slots.iter().map(FormalSlot::as_formal).collect();
        (slots, formals)
    });
    info.formals = Arc::clone(slots);
    let bound = bind::bind(call, formals, report);
    info.operation = Some((call, signature));
    info.bound = bound.values;
    info.is_complete = bound.is_complete;
    info
}

fn formals_of(signature: &Signature) -> Arc<[FormalSlot<'_>]> {
    let mut formals = Vec::with_capacity(signature.args.len() + 1);
    for argument in &signature.args {
        if let ArgType::Input(InputType::Predictions { model, data, .. }) = &argument.ty {
            formals.push(FormalSlot { name: model, slot: Slot::Model(argument) });
            formals.push(FormalSlot { name: data, slot: Slot::Data(argument) });
        } else {
            formals.push(FormalSlot { name: argument.name, slot: Slot::Whole(argument) });
        }
    }
    formals.into()
}

impl<'a> FormalSlot<'a> {
    pub fn is_param(&self) -> bool {
        matches!(self.slot, Slot::Whole(Argument { ty: ArgType::Param(_), .. }))
    }

    fn as_formal(&self) -> Formal<'a> {
        let (Slot::Whole(argument) | Slot::Model(argument) | Slot::Data(argument)) = self.slot;
        Formal { name: self.name, required: argument.default.is_none() }
    }
}

fn constructor_of(scope: &Scope<'_>, name: &str) -> Option<(&'static str, &'static str)> {
    scope.catalogue.iter().find_map(|signature| {
        let argument = signature.args.iter().find(|argument| match &argument.ty {
            ArgType::Param(ParamType::Call(constructors)) => constructors.iter().any(|known| known.name == name),
            _ => false,
        })?;
        Some((signature.name, argument.name))
    })
}

/// Checks every call, each after those it depends on.
pub fn check_all<'a>(
    scope: &Scope<'a>,
    infos: &[CallInfo<'a>],
    champion: &Champion<'a>,
    order: &CallOrder,
    places: &Places,
    mut recall: Option<&mut Recall>,
) -> Results {
    let mut results: Results = infos.iter().map(|_| None).collect();
    let check = |scope: Scope<'_>, index: usize, results: &Results| {
        let result = CallCheck::new(scope, &infos[index], champion, results, places, places.calls[index]).check();
        result.filter(|_| !order.in_cycle[index])
    };
    // Bodies that are checked by themselves come first: what is wrong in every call is told without a caller.
    let (templates, calls): (Vec<_>, _) = order.order.iter().partition(|index| scope.names.templates.contains(*index));
    // An editor's check remembers most of it.
    let is_long = calls.len() >= WORTH_THREADS && recall.is_none();
    let waves = if is_long { order.waves(calls) } else { vec![calls] };
    for wave in [templates].into_iter().chain(waves) {
        if is_long && wave.len() >= WORTH_THREADS {
            check_together(scope, infos, &wave, &mut results, &check);
        }
        for index in wave {
            let check = || check(scope.of(infos[index].inst), index, &results);
            let result = match recall.as_deref_mut() {
                _ if results[index].is_some() => continue,
                None => check(),
                Some(recall) => {
                    let known = recall.find(scope, index, order.reads(index)).filter(|_| !order.in_cycle[index]);
                    known.or_else(|| recall.check(scope, index, check))
                }
            };
            results[index] = result;
        }
    }
    results
}

pub const WORTH_A_THREAD: usize = 500;
const WORTH_THREADS: usize = 2 * WORTH_A_THREAD;

/// Checks calls of which none reads from another, on threads. Those that something is wrong with are left, to be checked once
/// more where what is found has an order.
fn check_together<'a>(
    scope: &Scope<'a>,
    infos: &[CallInfo<'a>],
    wave: &[usize],
    results: &mut Results,
    check: &(impl Fn(Scope<'_>, usize, &Results) -> Option<CallResult> + Sync),
) {
    let known: &Results = results;
    let checked = threads::in_parts(wave, WORTH_A_THREAD, |part| {
        let check = |index: &usize| {
            let scope = scope.of(infos[*index].inst);
            // What a body is given is reported where it is written.
            let is_free = !scope.is_in_def();
            is_free.then(|| apart(|report| check(Scope { report, ..scope }, *index, known)))??
        };
        part.iter().map(check).collect::<Vec<_>>()
    });
    wave.iter().zip(checked.into_iter().flatten()).for_each(|(index, result)| results[*index] = result);
}
