//! Checks gates: comparisons of metrics, and what they do before the first release.

use std::collections::HashMap;

use mlp_model::{Check, FirstRelease, Fold, Gate, NumExpr, Span, Type, Value};

use super::calls::Results;
use super::inputs::find_output;
use super::lists;
use super::names::{Entity, Followed};
use super::value::sign;
use super::zip::{self, Round};
use super::{Places, Scope};
use crate::ast::{Binary, CallExpr, CheckDecl, Expr, ExprKind, Field, GateDecl, Name, Unary};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// Returns the gate, or `None` after reporting what is wrong.
pub fn check(scope: &Scope<'_>, gate: &GateDecl<'_>, results: &Results, places: &Places) -> Option<Gate> {
    let reader = Reader { scope, results, places, round: None };
    let mut checks = Vec::new();
    let mut is_complete = true;
    // The checks that read the champion, with where they do.
    let mut about_champion: HashMap<&str, Option<Span>> = HashMap::new();
    let mut names: HashMap<&str, Span> = HashMap::new();
    for decl in &gate.checks {
        if let Some(first) = names.insert(decl.name.text, decl.name.span) {
            let message = format!("gate `{}` has two checks called `{}`", gate.name.text, decl.name.text);
            scope
                .report
                .add(Diagnostic::error("E0504", message).at(decl.name.span, "again here").and(first, "first here"));
            is_complete = false;
        }
        let mut champion_at = None;
        match reader.check(decl, &mut champion_at) {
            Some(check) => checks.push(check),
            None => is_complete = false,
        }
        about_champion.insert(decl.name.text, champion_at);
    }
    if gate.checks.is_empty() {
        let problem = Diagnostic::error("E0504", format!("gate `{}` checks nothing", gate.name.text));
        scope.report.add(problem.at(gate.name.span, "").help("add a check: `floor quality.auc >= 0.8`"));
        is_complete = false;
    }
    let first = check_first(scope, gate, &about_champion, is_complete);
    (is_complete && first.is_ok()).then(|| Gate { checks, first: first.ok().flatten() })
}

fn check_first(
    scope: &Scope<'_>,
    gate: &GateDecl<'_>,
    about_champion: &HashMap<&str, Option<Span>>,
    is_complete: bool,
) -> Result<Option<FirstRelease>, ()> {
    let report = scope.report;
    let name = gate.name.text;
    let reading = gate.checks.iter().find_map(|check| *about_champion.get(check.name.text)?);
    let Some(first) = gate.firsts.first() else {
        let Some(span) = reading else { return Ok(None) };
        if name.starts_with(super::testing::GATE) {
            let problem = Diagnostic::error("E0705", "a test has no champion: nothing is released in it");
            report.add(problem.at(span, "never there"));
            return Err(());
        }
        let keeps: Vec<_> = gate.checks.iter().map(|check| check.name.text).collect();
        let keeps = keeps.into_iter().filter(|name| about_champion.get(name) == Some(&None));
        let keeps = keeps.collect::<Vec<_>>().join(" ");
        let help = if keeps.is_empty() { "add `first refuse`".to_owned() } else { format!("add `first {keeps} only`") };
        let release = scope.names.releases.first().map_or("the release", |(release, _)| release.name.text);
        report.add(
            Diagnostic::error("E0521", format!("gate `{name}` does not say what happens before the first release"))
                .at(span, format!("absent until `{release}` is released once"))
                .help(help),
        );
        return Err(());
    };
    let mut is_right = true;
    let mut refuse = |problem: Diagnostic| {
        report.add(problem);
        is_right = false;
    };
    if let Some(second) = gate.firsts.get(1) {
        let problem = Diagnostic::error("E0505", format!("gate `{name}` has two `first` rules"));
        refuse(problem.at(second.span, "again here").and(first.span, "first here"));
    }
    for check in first.only.iter().flatten() {
        match about_champion.get(check.text) {
            Some(None) => {}
            Some(Some(span)) => refuse(
                Diagnostic::error("E0522", format!("check `{}` reads the champion, which is absent then", check.text))
                    .at(check.span, "cannot decide about the first release")
                    .and(*span, "reads the champion"),
            ),
            None => {
                let checks = || gate.checks.iter().map(|check| check.name.text);
                let problem = Diagnostic::error("E0505", format!("gate `{name}` has no check `{}`", check.text))
                    .at(check.span, format!("its checks are {}", listed(checks(), "and")));
                refuse(problem.maybe_help(report.suggest(check.text, checks())));
            }
        }
    }
    if reading.is_none() && is_right && is_complete {
        report.add(
            Diagnostic::warning("E0523", format!("the `first` rule of gate `{name}` has no effect"))
                .at(first.span, "no check reads the champion"),
        );
    }
    if !is_right {
        return Err(());
    }
    Ok(Some(match &first.only {
        Some(names) => FirstRelease::Only(names.iter().map(|name| name.text.to_owned()).collect()),
        None => FirstRelease::Refuse,
    }))
}

#[derive(Clone, Copy)]
struct Reader<'r, 'a> {
    scope: &'r Scope<'a>,
    results: &'r Results,
    places: &'r Places,
    /// What lists stand for, in one round of those that are folded together.
    round: Option<&'r Round<'a>>,
}

impl Reader<'_, '_> {
    fn check(&self, decl: &CheckDecl<'_>, champion_at: &mut Option<Span>) -> Option<Check> {
        let mut expr = &decl.expr;
        while let ExprKind::Group(inner) = &expr.kind {
            expr = inner;
        }
        let ExprKind::Binary { op, op_span, left, right } = &expr.kind else {
            if !matches!(expr.kind, ExprKind::Wrong) {
                let problem = Diagnostic::error("E0503", format!("check `{}` compares nothing", decl.name.text));
                let problem = problem.at(expr.span, "expected a comparison of two numbers");
                self.scope.report.add(problem.help("write `quality.auc >= 0.8`, for example"));
            }
            return None;
        };
        let Binary::Compare(comparison) = op else {
            let help = match op {
                Binary::And => Some("write two checks, each with a name: all of them must pass"),
                Binary::Or => Some("a gate passes when all its checks do; write another gate"),
                Binary::Equal | Binary::NotEqual => Some("compare with `>=` or `<=`: figures are rarely equal"),
                _ => None,
            };
            let message = format!("check `{}` is not a comparison of two numbers", decl.name.text);
            let problem =
                Diagnostic::error("E0503", message).at(*op_span, format!("`{}` does not compare so", sign(*op)));
            self.scope.report.add(problem.maybe_help(help.map(str::to_owned)));
            return None;
        };
        let left = self.number(left, champion_at);
        let right = self.number(right, champion_at);
        Some(Check {
            name: decl.name.text.to_owned(),
            left: left?,
            comparison: *comparison,
            right: right?,
            text: self.scope.source.written(decl.expr.span),
            span: decl.span,
        })
    }

    fn number(&self, expr: &Expr<'_>, champion_at: &mut Option<Span>) -> Option<NumExpr> {
        let report = self.scope.report;
        match &expr.kind {
            ExprKind::Group(inner) => self.number(inner, champion_at),
            ExprKind::Path(path) => self.path(path, expr, champion_at),
            ExprKind::Unary { op: Unary::Negate, operand } => {
                Some(NumExpr::Negate(Box::new(self.number(operand, champion_at)?)))
            }
            ExprKind::Binary { op, op_span, left, right } => {
                let make = match op {
                    Binary::Add => NumExpr::Add,
                    Binary::Subtract => NumExpr::Subtract,
                    Binary::Multiply => NumExpr::Multiply,
                    Binary::Divide => NumExpr::Divide,
                    other => {
                        let message = format!("`{}` does not give a number", sign(*other));
                        let problem = Diagnostic::error("E0503", message).at(*op_span, "");
                        report.add(problem.help("a check is one comparison; its sides know `+`, `-`, `*` and `/`"));
                        return None;
                    }
                };
                let (left, right) = (self.number(left, champion_at), self.number(right, champion_at));
                Some(make(Box::new(left?), Box::new(right?)))
            }
            ExprKind::Call(call) => match self.fold(call, champion_at) {
                Some(fold) => fold,
                None => self.constant(expr),
            },
            ExprKind::Wrong => None,
            _ => self.constant(expr),
        }
    }

    /// Reads `max(by_season.quality.mae)`, also of what is computed in each round: `min(by_season.new.auc - by_season.old.auc)`.
    /// `None` if it is something else.
    fn fold(&self, call: &CallExpr<'_>, champion_at: &mut Option<Span>) -> Option<Option<NumExpr>> {
        let fold = match call.path.text {
            "min" => Fold::Min,
            "max" => Fold::Max,
            "mean" => Fold::Mean,
            "sum" => Fold::Sum,
            "count" => Fold::Count,
            _ => return None,
        };
        let [Field { name: None, value }] = call.args.as_slice() else { return None };
        let rounds = match zip::rounds(self.scope, value)? {
            Ok(rounds) => rounds,
            Err(problem) => {
                self.scope.report.add(*problem);
                return Some(None);
            }
        };
        let of: Vec<_> =
            rounds.iter().map(|round| Reader { round: Some(round), ..*self }.number(value, champion_at)).collect();
        Some(of.into_iter().collect::<Option<_>>().map(|of| NumExpr::Fold { fold, of }))
    }

    fn constant(&self, expr: &Expr<'_>) -> Option<NumExpr> {
        let value: Value = self.scope.eval().value(expr)?;
        let number = value.as_float();
        if number.is_none() {
            let message = format!("a check compares numbers, got {}", super::value::kind(&value));
            self.scope.report.add(Diagnostic::error("E0503", message).at(expr.span, ""));
        }
        number.map(NumExpr::Number)
    }

    /// Reads `REPORT.METRIC`, `NODE.OUTPUT.METRIC` or a parameter.
    fn path(&self, path: &[Name<'_>], expr: &Expr<'_>, champion_at: &mut Option<Span>) -> Option<NumExpr> {
        let report = self.scope.report;
        let first = path.first()?;
        let (call, rest) = match self.scope.follow(path) {
            Followed::Found { entity: Entity::Call(call), rest, .. } => (call, rest),
            Followed::Found { entity: Entity::Value(_), .. } => return self.constant(expr),
            Followed::Found { entity: Entity::Broken, .. } | Followed::Silent | Followed::Given { .. } => return None,
            Followed::Found { entity: Entity::Loop(index), rest, .. } => {
                if let Some(item) = self.round.and_then(|round| round.item(expr.span)) {
                    let (call, rest) = item.as_ref()?;
                    return self.metric(*call, rest, first, expr, champion_at);
                }
                let items = lists::items(self.scope, index, &rest, expr.span);
                let problem =
                    items.err().map_or_else(|| lists::not_one(self.scope, expr.span, None), |problem| *problem);
                report.add(problem);
                return None;
            }
            Followed::Found { word, .. } => {
                let message = format!("`{}` is a {word}, not a report", first.text);
                report.add(Diagnostic::error("E0502", message).at(first.span, "a check reads metrics of reports"));
                return None;
            }
            Followed::Champion { .. } => {
                let problem = Diagnostic::error("E0502", "a gate does not read stored figures of the champion");
                let problem = problem.at(expr.span, "was measured on other rows");
                let help = "evaluate `champion.model` in a step of its own, and compare with that report";
                report.add(problem.help(help));
                return None;
            }
            Followed::Wrong(problem) => {
                report.add(*problem);
                return None;
            }
            Followed::Unknown(name) => {
                report.add(self.scope.unknown(name));
                return None;
            }
        };
        self.metric(call, &rest, first, expr, champion_at)
    }

    /// Reads a metric of the report that a call gives.
    fn metric(
        &self,
        call: usize,
        rest: &[Name<'_>],
        first: &Name<'_>,
        expr: &Expr<'_>,
        champion_at: &mut Option<Span>,
    ) -> Option<NumExpr> {
        let report = self.scope.report;
        let result = self.results.get(call)?.as_ref()?;
        let (output_path, metric) = match rest.split_last() {
            None => (&[][..], None),
            Some((metric, path)) => (path, Some(metric)),
        };
        let (_, ty) = find_output(self.scope, self.results, call, first.text, output_path, expr.span)?;
        let written = self.scope.source.written(expr.span);
        let shown = metric.and_then(|metric| written.strip_suffix(&format!(".{}", metric.text))).unwrap_or(&written);
        let Type::Report(report_type) = ty else {
            let message = format!("`{shown}` is a {ty}, not a report");
            let problem = Diagnostic::error("E0502", message).at(expr.span, "a check reads metrics of reports");
            report.add(problem);
            return None;
        };
        let metrics = || report_type.metrics.iter().map(String::as_str);
        let Some(metric) = metric else {
            let message = format!("`{shown}` is a whole report, one metric of it is needed");
            let problem = Diagnostic::error("E0502", message);
            report.add(problem.at(expr.span, format!("its metrics are {}", listed(metrics(), "and"))));
            return None;
        };
        if !metrics().any(|known| known == metric.text) {
            report.add(
                Diagnostic::error("E0501", format!("`{shown}` has no metric `{}`", metric.text))
                    .at(metric.span, format!("its metrics are {}", listed(metrics(), "and")))
                    .maybe_help(report.suggest(metric.text, metrics())),
            );
            return None;
        }
        if result.reads_champion {
            *champion_at = champion_at.or(Some(expr.span));
        }
        Some(NumExpr::Metric { node: *self.places.calls.get(call)?, metric: metric.text.to_owned() })
    }
}
