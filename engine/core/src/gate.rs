//! Evaluates the checks of a gate over the metrics of reports. Pure; knows nothing of where reports are kept.
//!
//! Fails closed: a figure that cannot be measured refuses, and so does a gate in which no check decides.

use std::collections::{BTreeMap, BTreeSet};

use mlp_model::{Check, CheckResult, Comparison, FirstRelease, Fold, Gate, NumExpr, Verdict};

use crate::graph::metric_nodes;

/// What a gate can read of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// The report's metrics; `None` is a metric that could not be measured.
    Report(BTreeMap<String, Option<f64>>),
    /// The node was skipped, because it reads a champion that does not exist yet.
    NoChampion,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GateOutcome {
    pub passed: bool,
    /// In the order of the gate.
    pub checks: Vec<CheckResult>,
}

/// Evaluates `gate`. `reports` has an entry for each node that its checks read, `name` gives a node's name.
pub fn evaluate(gate: &Gate, reports: &BTreeMap<usize, Measured>, name: impl Fn(usize) -> String) -> GateOutcome {
    let reads_champion =
        |check: &Check| nodes_of(check).iter().any(|node| matches!(reports.get(node), Some(Measured::NoChampion)));
    let is_first = gate.checks.iter().any(reads_champion);
    let is_left_out = |check: &Check| match &gate.first {
        Some(FirstRelease::Only(names)) => is_first && !names.contains(&check.name),
        Some(FirstRelease::Refuse) | None => false,
    };
    let checks: Vec<CheckResult> = gate
        .checks
        .iter()
        .map(|check| {
            let left = value_of(&check.left, reports);
            let right = value_of(&check.right, reports);
            let verdict = match (left, right) {
                _ if is_left_out(check) => Verdict::LeftOut,
                (Some(left), Some(right)) if holds(check.comparison, left, right) => Verdict::Passed,
                (Some(_), Some(_)) => Verdict::Failed,
                _ => Verdict::NotMeasurable,
            };
            let mut metrics = BTreeMap::new();
            collect_metrics(&check.left, reports, &name, &mut metrics);
            collect_metrics(&check.right, reports, &name, &mut metrics);
            CheckResult { name: check.name.clone(), verdict, text: check.text.clone(), left, right, metrics }
        })
        .collect();
    let mut deciding = checks.iter().filter(|check| check.verdict != Verdict::LeftOut).peekable();
    let may_be_first = !is_first || matches!(gate.first, Some(FirstRelease::Only(_)));
    let passed = may_be_first && deciding.peek().is_some() && deciding.all(|check| check.verdict == Verdict::Passed);
    GateOutcome { passed, checks }
}

/// Returns the gate without what it reads of `lost` nodes, where one number of many is made of those that there are.
pub fn without(gate: &Gate, lost: &BTreeSet<usize>) -> Gate {
    let check = |check: &Check| Check {
        left: expr_without(&check.left, lost),
        right: expr_without(&check.right, lost),
        ..check.clone()
    };
    Gate { checks: gate.checks.iter().map(check).collect(), first: gate.first.clone() }
}

fn expr_without(expr: &NumExpr, lost: &BTreeSet<usize>) -> NumExpr {
    let boxed = |expr: &NumExpr| Box::new(expr_without(expr, lost));
    match expr {
        NumExpr::Number(_) | NumExpr::Metric { .. } => expr.clone(),
        NumExpr::Negate(inner) => NumExpr::Negate(boxed(inner)),
        NumExpr::Add(left, right) => NumExpr::Add(boxed(left), boxed(right)),
        NumExpr::Subtract(left, right) => NumExpr::Subtract(boxed(left), boxed(right)),
        NumExpr::Multiply(left, right) => NumExpr::Multiply(boxed(left), boxed(right)),
        NumExpr::Divide(left, right) => NumExpr::Divide(boxed(left), boxed(right)),
        NumExpr::Fold { fold, of } => {
            let is_there = |expr: &&NumExpr| metric_nodes(expr).iter().all(|node| !lost.contains(node));
            NumExpr::Fold { fold: *fold, of: of.iter().filter(is_there).cloned().collect() }
        }
    }
}

/// Returns the nodes whose reports the gate's checks read.
pub fn nodes_read(gate: &Gate) -> BTreeSet<usize> {
    gate.checks.iter().flat_map(nodes_of).collect()
}

fn nodes_of(check: &Check) -> Vec<usize> {
    [&check.left, &check.right].into_iter().flat_map(metric_nodes).collect()
}

fn holds(comparison: Comparison, left: f64, right: f64) -> bool {
    match comparison {
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }
}

fn metric_of(node: usize, metric: &str, reports: &BTreeMap<usize, Measured>) -> Option<f64> {
    match reports.get(&node)? {
        Measured::Report(metrics) => metrics.get(metric).copied().flatten().filter(|value| value.is_finite()),
        Measured::NoChampion => None,
    }
}

/// Returns the expression's value, or `None` if it is no finite number.
fn value_of(expr: &NumExpr, reports: &BTreeMap<usize, Measured>) -> Option<f64> {
    let value = match expr {
        NumExpr::Number(number) => *number,
        NumExpr::Metric { node, metric } => metric_of(*node, metric, reports)?,
        NumExpr::Negate(inner) => -value_of(inner, reports)?,
        NumExpr::Add(left, right) => value_of(left, reports)? + value_of(right, reports)?,
        NumExpr::Subtract(left, right) => value_of(left, reports)? - value_of(right, reports)?,
        NumExpr::Multiply(left, right) => value_of(left, reports)? * value_of(right, reports)?,
        NumExpr::Divide(left, right) => value_of(left, reports)? / value_of(right, reports)?,
        NumExpr::Fold { fold, of } => fold_of(*fold, of.iter().map(|expr| value_of(expr, reports)))?,
    };
    value.is_finite().then_some(value)
}

/// Returns one number of many; of none there is no least, greatest or mean.
fn fold_of(fold: Fold, values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    if fold == Fold::Count {
        return Some(values.flatten().count() as f64);
    }
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    let sum = values.iter().sum::<f64>();
    match fold {
        Fold::Min => values.into_iter().reduce(f64::min),
        Fold::Max => values.into_iter().reduce(f64::max),
        Fold::Mean => (!values.is_empty()).then(|| sum / values.len() as f64),
        Fold::Sum | Fold::Count => Some(sum),
    }
}

fn collect_metrics(
    expr: &NumExpr,
    reports: &BTreeMap<usize, Measured>,
    name: &impl Fn(usize) -> String,
    metrics: &mut BTreeMap<String, Option<f64>>,
) {
    match expr {
        NumExpr::Number(_) => {}
        NumExpr::Metric { node, metric } => {
            metrics.insert(format!("{}.{metric}", name(*node)), metric_of(*node, metric, reports));
        }
        NumExpr::Negate(inner) => collect_metrics(inner, reports, name, metrics),
        NumExpr::Fold { of, .. } => of.iter().for_each(|expr| collect_metrics(expr, reports, name, metrics)),
        NumExpr::Add(left, right)
        | NumExpr::Subtract(left, right)
        | NumExpr::Multiply(left, right)
        | NumExpr::Divide(left, right) => {
            collect_metrics(left, reports, name, metrics);
            collect_metrics(right, reports, name, metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use mlp_model::Span;

    use super::*;

    const QUALITY: usize = 0;
    const BEFORE: usize = 1;

    fn metric(node: usize) -> NumExpr {
        NumExpr::Metric { node, metric: "auc".into() }
    }

    fn check(name: &str, left: NumExpr, comparison: Comparison, right: NumExpr) -> Check {
        Check { name: name.into(), left, comparison, right, text: format!("check {name}"), span: Span::default() }
    }

    /// `floor`: quality >= 0.8; `better`: quality >= before - 0.005.
    fn gate(first: Option<FirstRelease>) -> Gate {
        let allowed = NumExpr::Subtract(Box::new(metric(BEFORE)), Box::new(NumExpr::Number(0.005)));
        Gate {
            checks: vec![
                check("floor", metric(QUALITY), Comparison::GreaterOrEqual, NumExpr::Number(0.8)),
                check("better", metric(QUALITY), Comparison::GreaterOrEqual, allowed),
            ],
            first,
        }
    }

    fn report(auc: Option<f64>) -> Measured {
        Measured::Report(BTreeMap::from([("auc".to_owned(), auc)]))
    }

    fn decide(gate: &Gate, quality: Measured, before: Measured) -> GateOutcome {
        let names = ["quality", "before"];
        evaluate(gate, &BTreeMap::from([(QUALITY, quality), (BEFORE, before)]), |node| names[node].to_owned())
    }

    fn verdicts(outcome: &GateOutcome) -> Vec<Verdict> {
        outcome.checks.iter().map(|check| check.verdict).collect()
    }

    #[test]
    fn every_check_must_hold() {
        use Verdict::*;
        let cases = [
            (0.85, 0.84, [Passed, Passed], true),
            (0.835, 0.84, [Passed, Passed], true),
            (0.83, 0.84, [Passed, Failed], false),
            (0.79, 0.70, [Failed, Passed], false),
        ];
        for (quality, before, expected, passed) in cases {
            let outcome = decide(&gate(None), report(Some(quality)), report(Some(before)));
            assert_eq!((verdicts(&outcome), outcome.passed), (expected.to_vec(), passed), "{quality} against {before}");
        }
    }

    #[test]
    fn both_sides_and_all_metrics_are_told() {
        let outcome = decide(&gate(None), report(Some(0.83)), report(Some(0.84)));
        let better = &outcome.checks[1];
        assert_eq!((better.left, better.right), (Some(0.83), Some(0.84 - 0.005)));
        let metrics = BTreeMap::from([("quality.auc".to_owned(), Some(0.83)), ("before.auc".to_owned(), Some(0.84))]);
        assert_eq!(better.metrics, metrics);
    }

    #[test]
    fn what_cannot_be_measured_refuses() {
        let absent = Measured::Report(BTreeMap::new());
        for quality in [report(None), report(Some(f64::NAN)), report(Some(f64::INFINITY)), absent] {
            let outcome = decide(&gate(None), quality, report(Some(0.5)));
            assert_eq!(verdicts(&outcome), [Verdict::NotMeasurable, Verdict::NotMeasurable]);
            assert!(!outcome.passed);
        }
        let ratio = NumExpr::Divide(Box::new(metric(QUALITY)), Box::new(NumExpr::Number(0.0)));
        let gate = Gate { checks: vec![check("ratio", ratio, Comparison::Greater, NumExpr::Number(0.0))], first: None };
        assert_eq!(verdicts(&decide(&gate, report(Some(0.5)), report(None))), [Verdict::NotMeasurable]);
    }

    #[test]
    fn without_a_champion_the_first_rule_decides() {
        use Verdict::*;
        let only = |names: &[&str]| Some(FirstRelease::Only(names.iter().map(|&name| name.to_owned()).collect()));
        let cases = [
            (only(&["floor"]), 0.85, [Passed, LeftOut], true),
            (only(&["floor"]), 0.75, [Failed, LeftOut], false),
            (only(&["better"]), 0.85, [LeftOut, NotMeasurable], false),
            (only(&[]), 0.85, [LeftOut, LeftOut], false),
            (Some(FirstRelease::Refuse), 0.85, [Passed, NotMeasurable], false),
            (None, 0.85, [Passed, NotMeasurable], false),
        ];
        for (first, quality, expected, passed) in cases {
            let outcome = decide(&gate(first.clone()), report(Some(quality)), Measured::NoChampion);
            assert_eq!((verdicts(&outcome), outcome.passed), (expected.to_vec(), passed), "{first:?} at {quality}");
        }
    }

    #[test]
    fn with_a_champion_the_first_rule_is_silent() {
        let only_floor = Some(FirstRelease::Only(vec!["floor".into()]));
        assert!(!decide(&gate(only_floor), report(Some(0.81)), report(Some(0.9))).passed);
        assert!(decide(&gate(Some(FirstRelease::Refuse)), report(Some(0.9)), report(Some(0.9))).passed);
    }

    #[test]
    fn many_figures_become_one_and_none_that_is_missing_is_passed_over() {
        let fold = |fold, of: &[Option<f64>]| fold_of(fold, of.iter().copied());
        let all = [Some(0.5), Some(0.75), Some(0.25)];
        let some = [Some(0.5), None];
        for (how, of_all, of_none) in [
            (Fold::Min, 0.25, None),
            (Fold::Max, 0.75, None),
            (Fold::Mean, 0.5, None),
            (Fold::Sum, 1.5, Some(0.0)),
            (Fold::Count, 3.0, Some(0.0)),
        ] {
            assert_eq!((fold(how, &all), fold(how, &[])), (Some(of_all), of_none), "{how:?}");
            assert_eq!(fold(how, &some), (how == Fold::Count).then_some(1.0), "{how:?}");
        }
    }

    #[test]
    fn one_number_of_many_is_made_of_those_that_there_are() {
        let folded = |fold| NumExpr::Fold { fold, of: vec![metric(QUALITY), metric(BEFORE)] };
        let spread =
            NumExpr::Subtract(Box::new(folded(Fold::Max)), Box::new(NumExpr::Negate(Box::new(folded(Fold::Min)))));
        let checks = vec![
            check("spread", spread, Comparison::LessOrEqual, NumExpr::Number(2.0)),
            check("n", folded(Fold::Count), Comparison::GreaterOrEqual, NumExpr::Number(1.0)),
            check("one", metric(BEFORE), Comparison::Less, NumExpr::Number(1.0)),
        ];
        let gate = without(&Gate { checks, first: None }, &BTreeSet::from([BEFORE]));
        let outcome = decide(&gate, report(Some(0.75)), report(None));
        let lefts: Vec<Option<f64>> = outcome.checks.iter().map(|check| check.left).collect();
        // What is read by itself cannot be left out.
        assert_eq!(lefts, [Some(1.5), Some(1.0), None]);
        assert!(!outcome.checks[0].metrics.contains_key("before.auc"));
    }

    #[test]
    fn a_gate_without_checks_refuses() {
        assert!(!decide(&Gate { checks: vec![], first: None }, report(None), report(None)).passed);
    }
}
