//! Checks one call: its inputs, its parameters, the roles of its rows; then asks the operation what it gives.

use mlp_model::{
    ArgType, Argument, Call, CallClass, Input, InputType, Named, Options, Output, RoleRule, Span, Type, Value, Word,
};

use super::arguments::{self, Place, TableView};
use super::calls::{CallInfo, CallResult, Results, Slot};
use super::champion::Champion;
use super::inputs::{Found, Inputs};
use super::names::Entity;
use super::{Places, Scope, infer, roles};
use crate::ast::{Binary, Expr, ExprKind};
use crate::diagnostic::Diagnostic;

/// An input argument and what it was found to be; `None` when that is wrong.
pub struct Read<'r, 'a> {
    pub name: &'static str,
    pub slot: Slot<'a>,
    pub span: Span,
    pub found: Option<Found<'r>>,
}

pub struct CallCheck<'r, 'a> {
    scope: Scope<'a>,
    info: &'r CallInfo<'a>,
    inputs: Inputs<'r, 'a>,
    /// Where the call stands in the checked pipeline.
    place: usize,
    reads: Vec<Read<'r, 'a>>,
    /// Members of record arguments, under `ARGUMENT.NAME`.
    members: Vec<(Word, Found<'r>)>,
    params: Named<Value>,
    spans: Named<Span>,
    is_complete: bool,
}

impl<'r, 'a> CallCheck<'r, 'a> {
    pub fn new(
        scope: Scope<'a>,
        info: &'r CallInfo<'a>,
        champion: &'r Champion<'a>,
        results: &'r Results,
        places: &'r Places,
        place: usize,
    ) -> Self {
        let op = info.operation.map_or("", |(_, signature)| signature.name);
        let inputs = Inputs { scope, champion, results, places, decl: Some(info.decl), op };
        let n_bound = info.bound.iter().flatten().count();
        let (reads, members) = (Vec::with_capacity(n_bound.min(3)), Vec::new());
        let n_params = info.formals.iter().filter(|formal| formal.is_param()).count();
        let (params, spans) = (Named::with_capacity(n_params), Named::with_capacity(n_bound + info.decl.options.len()));
        Self { scope, info, inputs, place, reads, members, params, spans, is_complete: info.is_complete }
    }

    pub fn check(mut self) -> Option<CallResult> {
        let options = super::options::read(&self.scope, &self.info.decl.options, &mut self.spans);
        let (gates, reason) = self.conditions();
        let skip = self.info.inst.skip.as_deref().map(str::to_owned).or(reason);
        let (call_expr, signature) = self.info.operation?;
        self.read_inputs();
        self.read_params();
        roles::check_tables(&self.scope, call_expr, signature, &self.reads, &self.params, self.inputs.results);
        let scoring = self.score();
        self.check_word();
        if !self.is_complete {
            return None;
        }

        let (mut types, mut inputs) = (Vec::with_capacity(self.reads.len()), Vec::with_capacity(self.reads.len()));
        let mut reads_champion = false;
        let mut tables = Vec::with_capacity(self.reads.len());
        let plain = self.reads.iter().filter_map(|read| {
            let found = read.found.as_ref()?;
            Some((Word::Borrowed(read.name), found, read.span, matches!(read.slot, Slot::Whole(_))))
        });
        let members = self.members.iter().map(|(key, found)| (key.clone(), found, Span::default(), true));
        for (key, found, span, is_bound) in plain.chain(members) {
            reads_champion |= found.reads_champion;
            if let (Type::Table(_), Some((call, output))) = (found.ty, found.from) {
                tables.push((call, output.clone(), span));
            }
            types.push((key.clone(), found.ty.clone()));
            if is_bound {
                inputs.push((key, found.input.clone()));
            }
        }
        let mut predictions = None;
        if let Some((argument, data_span, mut call)) = scoring {
            call.options.skip.clone_from(&skip);
            call.options.on_failure = options.as_ref()?.on_failure;
            let output = call.outputs.first()?;
            types.push((argument.name.into(), output.ty.clone()));
            let input = Input::Output { node: self.place.saturating_sub(1), output: output.name.clone() };
            inputs.push((argument.name.into(), input));
            self.spans.insert(argument.name, data_span);
            predictions = Some(Box::new(call));
        }
        let (types, inputs): (Named<Type>, Named<Input>) = (types.into_iter().collect(), inputs.into_iter().collect());
        let inferred = infer::infer(&self.scope, self.info, call_expr, signature, (&types, &self.params))?;
        let schema = self.schema();
        self.params.extend(inferred.params);
        let call = Call {
            class: self.info.decl.class,
            op: signature.name.into(),
            op_version: signature.version,
            runner: signature.runner.into(),
            params: self.params,
            inputs,
            outputs: Output::all_of(inferred.outputs, &inferred.optional),
            options: Options { skip, gates, ..options? },
            arg_spans: self.spans,
        };
        let named = inferred.named;
        Some(CallResult { call: Box::new(call), predictions, reads_champion, schema, named, reads: tables })
    }

    /// Reads what stands behind `when`: the gates of an effect, and why the call does not run if a condition is false.
    fn conditions(&self) -> (Vec<usize>, Option<String>) {
        let (mut gates, mut reason) = (Vec::new(), None);
        let mut open: Vec<&Expr<'a>> = self.info.decl.condition.as_deref().into_iter().collect();
        while let Some(condition) = open.pop() {
            match &condition.kind {
                ExprKind::Binary { op: Binary::And, left, right, .. } if self.info.decl.class == CallClass::Effect => {
                    open.extend([&**right, &**left]);
                }
                _ => match condition.as_name().and_then(|name| self.scope.get(name.text)) {
                    Some(Entity::Gate(gate)) if self.info.decl.class == CallClass::Effect => {
                        gates.extend(self.inputs.places.gates.get(gate));
                    }
                    Some(Entity::Gate(_)) => {
                        let message = format!("a {} does not wait for a gate", self.info.decl.word());
                        let problem = Diagnostic::error("E0305", message).at(condition.span, "a gate");
                        let help =
                            "gates decide what leaves the pipeline: `release .. when GATE`, `effect .. when GATE`";
                        self.scope.report.add(problem.help(help));
                    }
                    _ => {
                        let found = self.scope.source.skip_reason(condition, &self.scope.eval());
                        reason = reason.or(found);
                    }
                },
            }
        }
        (gates, reason)
    }

    fn read_inputs(&mut self) {
        for (formal, value) in self.info.formals.iter().zip(&self.info.bound) {
            let Some(value) = *value else { continue };
            self.spans.insert(formal.name, value.span);
            let any_table = InputType::Table(RoleRule::Any);
            let ty = match formal.slot {
                Slot::Whole(Argument { ty: ArgType::Input(InputType::Record), .. }) => {
                    match self.inputs.record(formal.name, value, &mut self.spans) {
                        Some(members) => self.members.extend(members),
                        None => self.is_complete = false,
                    }
                    continue;
                }
                Slot::Whole(Argument { ty: ArgType::Input(ty), .. }) => ty,
                Slot::Whole(_) => continue,
                Slot::Model(_) => &InputType::Model,
                Slot::Data(_) => &any_table,
            };
            let found = self.inputs.input(formal.name, ty, value);
            self.is_complete &= found.is_some();
            self.reads.push(Read { name: formal.name, slot: formal.slot, span: value.span, found });
        }
    }

    fn read_params(&mut self) {
        let reads = &self.reads;
        let tables = |name: &str| {
            let read = reads.iter().find(|read| read.name == name)?;
            let found = read.found.as_ref()?;
            let Type::Table(table) = found.ty else { return None };
            Some(TableView { table, shown: found.shown, schema: found.schema })
        };
        for (formal, value) in self.info.formals.iter().zip(&self.info.bound) {
            let Slot::Whole(Argument { name, ty: ArgType::Param(ty), default, .. }) = formal.slot else { continue };
            let Some(value) = value else {
                // One that is missing and has no default has been reported.
                self.params.extend(default.clone().map(|default| (*name, default)));
                continue;
            };
            let place = Place { scope: &self.scope, op: self.inputs.op, argument: name, part: "", tables: &tables };
            match arguments::check(&place, ty, value, *default == Some(Value::Null)) {
                Some(value) => drop(self.params.insert(*name, value)),
                None => self.is_complete = false,
            }
        }
    }

    /// Makes the step that scores a table, where the operation takes predictions.
    fn score(&mut self) -> Option<(&'a Argument, Span, Call)> {
        let model = self.reads.iter().find(|read| matches!(read.slot, Slot::Model(_)))?;
        let data = self.reads.iter().find(|read| matches!(read.slot, Slot::Data(_)))?;
        let (Slot::Model(argument), Some(model_found), Some(data_found)) = (model.slot, &model.found, &data.found)
        else {
            return None;
        };
        let model = (model.name, model.span, model_found);
        let data = (data.name, data.span, data_found);
        let call = infer::predictions(&self.scope, model, data);
        self.is_complete &= call.is_some();
        call.map(|call| (argument, data.1, call))
    }

    /// Checks that `source` reads the outside world and `step` does not.
    fn check_word(&self) {
        let Some((call, signature)) = self.info.operation else { return };
        let decl = self.info.decl;
        let all = || self.reads.iter().filter_map(|read| read.found.as_ref()).chain(self.members.iter().map(|m| &m.1));
        let has_path = all().any(|found| matches!(found.input, Input::Path { .. }));
        let has_node = all().any(|found| !matches!(found.input, Input::Path { .. }));
        let is_silent = self.reads.iter().any(|read| read.found.is_none());
        let (name, op) = (decl.name.text, signature.name);
        let is_source = decl.class == CallClass::Source;
        let problem = match (is_source, signature.class) {
            _ if is_silent || !self.is_complete => return,
            (true, CallClass::Step) => {
                Diagnostic::error("E0215", format!("`{op}` reads nothing from outside, so `{name}` is no source"))
            }
            (true, CallClass::Source) if has_node => {
                Diagnostic::error("E0215", format!("`{name}` reads what another node gives, so it is no source"))
            }
            (false, CallClass::Source) if has_path || !has_node => {
                Diagnostic::error("E0215", format!("`{op}` reads the outside world here, so `{name}` is no step"))
            }
            _ => return,
        };
        let other = if is_source { "step" } else { "source" };
        let problem = problem.at(call.path.span, format!("declared as a {}", decl.word()));
        self.scope.report.add(problem.help(format!("write `{other} {name} = ..`")));
    }

    /// Returns the schema that the columns come from: that of the table it reads, else the one it is given.
    fn schema(&self) -> Option<usize> {
        let mut tables = self.reads.iter().filter_map(|read| read.found.as_ref());
        if let Some(first) = tables.find(|found| matches!(found.ty, Type::Table(_))) {
            return first.schema;
        }
        if !self.members.is_empty() {
            return None;
        }
        let mut values = self.info.bound.iter().flatten();
        values.find_map(|value| match &value.kind {
            ExprKind::Path(path) => self.scope.schema_of(path),
            _ => None,
        })
    }
}
