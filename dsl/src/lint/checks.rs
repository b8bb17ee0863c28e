//! Gates that look stricter than they are.

use mlp_model::{Call, Check, Comparison, Fold, Gate, Node, NodeKind, NumExpr, Value};

use super::{Subject, known, metrics};
use crate::diagnostic::Diagnostic;

pub fn lint(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    for node in &subject.pipeline.nodes {
        let NodeKind::Gate(gate) = &node.kind else { continue };
        few_rows(subject, node, gate, found);
        thresholds(subject, gate, found);
        for check in &gate.checks {
            decided(subject, check, found);
        }
    }
}

fn few_rows(subject: &Subject<'_>, node: &Node, gate: &Gate, found: &mut Vec<Diagnostic>) {
    let mut read: Vec<(usize, &str)> = Vec::new();
    for check in &gate.checks {
        metrics(&check.left, &mut |node, metric| read.push((node, metric)));
        metrics(&check.right, &mut |node, metric| read.push((node, metric)));
    }
    if read.iter().any(|(_, metric)| known::COUNTS.contains(metric)) {
        return;
    }
    for (report, _) in read {
        let small = subject.before(report).into_iter().find_map(|split| {
            let part = test_part(subject.call(split)?)?;
            (part < known::SMALL_PART).then_some((split, part))
        });
        let Some((split, part)) = small else { continue };
        let counts_classes = subject.call(report).is_some_and(|call| call.op == "eval.binary");
        let nodes = &subject.pipeline.nodes;
        let (Some(report), Some(split)) = (nodes.get(report), nodes.get(split)) else { continue };
        let message = format!("gate `{}` trusts figures from {} % of the rows", node.name, percent(part));
        let metric = if counts_classes { "positives" } else { "rows" };
        let problem = Diagnostic::warning("L0605", message)
            .at(node.span, "nothing here asks how many there are")
            .and(split.span, "split here")
            .help(format!("add a check: `support {}.{metric} >= 100`", report.name));
        found.push(problem);
        return;
    }
}

/// Returns which fraction of its rows a split sets aside.
fn test_part(call: &Call) -> Option<f64> {
    call.output("test")?;
    let every = call.params.get("every").and_then(Value::as_int).filter(|n| *n > 0).map(|n| 1.0 / n as f64);
    call.params.get("test").and_then(Value::as_float).or(every)
}

fn percent(part: f64) -> f64 {
    (part * 1000.0).round() / 10.0
}

fn thresholds(subject: &Subject<'_>, gate: &Gate, found: &mut Vec<Diagnostic>) {
    let mut told: Vec<usize> = Vec::new();
    for check in &gate.checks {
        let mut unwritten: Option<(usize, &str)> = None;
        let mut look = |node: usize, metric| {
            let has_default = subject
                .call(node)
                .is_some_and(|call| call.params.contains_key("threshold") && !call.arg_spans.contains_key("threshold"));
            if has_default && known::THRESHOLDED.contains(&metric) && !told.contains(&node) {
                told.push(node);
                unwritten = unwritten.or(Some((node, metric)));
            }
        };
        metrics(&check.left, &mut look);
        metrics(&check.right, &mut look);
        let Some((node, metric)) = unwritten else { continue };
        let Some(report) = subject.pipeline.nodes.get(node) else { continue };
        let message = format!("`{}.{metric}` depends on a threshold that is not written", report.name);
        let problem = Diagnostic::warning("L0607", message)
            .at(check.span, "decides on it")
            .and(report.span, "the threshold is the operation's default here")
            .help("write it, and release it with the model: `threshold: 0.5`");
        found.push(problem);
    }
}

fn decided(subject: &Subject<'_>, check: &Check, found: &mut Vec<Diagnostic>) {
    let (low, high) = range(subject, &NumExpr::Subtract(Box::new(check.left.clone()), Box::new(check.right.clone())));
    // What the left side exceeds the right one by.
    let (always, never) = match check.comparison {
        Comparison::GreaterOrEqual => (low >= 0.0, high < 0.0),
        Comparison::Greater => (low > 0.0, high <= 0.0),
        Comparison::LessOrEqual => (high <= 0.0, low > 0.0),
        Comparison::Less => (high < 0.0, low >= 0.0),
    };
    if always {
        let problem = Diagnostic::warning("L0608", format!("check `{}` can never fail", check.name))
            .at(check.span, "true for all that can be measured")
            .help("ask for more, or remove it: it only looks like a safeguard");
        found.push(problem);
    } else if never {
        let problem = Diagnostic::warning("L0609", format!("check `{}` can never pass", check.name))
            .at(check.span, "no figure that can be measured is enough")
            .help("ask for less: nothing would ever be released");
        found.push(problem);
    }
}

/// Returns between which values an expression lies, whatever is measured.
fn range(subject: &Subject<'_>, expr: &NumExpr) -> (f64, f64) {
    const ANYTHING: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
    let of = |corners: [f64; 4]| {
        if corners.iter().any(|corner| corner.is_nan()) {
            return ANYTHING;
        }
        (
            corners.iter().copied().fold(f64::INFINITY, f64::min),
            corners.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        )
    };
    match expr {
        NumExpr::Number(n) => (*n, *n),
        NumExpr::Metric { node, metric } => subject.call(*node).map_or(ANYTHING, |call| known::range(&call.op, metric)),
        NumExpr::Negate(inner) => {
            let (low, high) = range(subject, inner);
            (-high, -low)
        }
        // Of no figures there is no least or greatest, and that refuses: nothing is decided before.
        NumExpr::Fold { fold: Fold::Count, of } => (0.0, of.len() as f64),
        NumExpr::Fold { fold: Fold::Sum, of } => of.iter().fold((0.0, 0.0), |(low, high), expr| {
            let (a, b) = range(subject, expr);
            (low + a, high + b)
        }),
        NumExpr::Fold { of, .. } => {
            of.iter().map(|expr| range(subject, expr)).reduce(|(a, b), (c, d)| (a.min(c), b.max(d))).unwrap_or(ANYTHING)
        }
        NumExpr::Add(a, b) => {
            let ((a, b), (c, d)) = (range(subject, a), range(subject, b));
            (a + c, b + d)
        }
        NumExpr::Subtract(a, b) if a == b => (0.0, 0.0),
        NumExpr::Subtract(a, b) => {
            let ((a, b), (c, d)) = (range(subject, a), range(subject, b));
            (a - d, b - c)
        }
        NumExpr::Multiply(a, b) => {
            let ((a, b), (c, d)) = (range(subject, a), range(subject, b));
            of([a * c, a * d, b * c, b * d])
        }
        NumExpr::Divide(a, b) => {
            let ((a, b), (c, d)) = (range(subject, a), range(subject, b));
            if c <= 0.0 && d >= 0.0 { ANYTHING } else { of([a / c, a / d, b / c, b / d]) }
        }
    }
}
