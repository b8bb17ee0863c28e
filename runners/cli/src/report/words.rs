//! How numbers, facts and decisions read to a person.

use std::collections::BTreeSet;

use mlp_model::{CheckResult, Facts, FailedRounds, Progress, RunId, Verdict};

/// Writes 1234567 as `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes `1 step`, `2 steps`.
pub fn plural(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// Writes which rounds of a loop failed: ``2 of 40 rounds of `network`, which tolerates 5: 117, 130``.
pub fn failed_rounds(failed: &FailedRounds) -> String {
    const MOST_NAMED: usize = 12;
    let FailedRounds { name, rounds, n_rounds, most, tolerated } = failed;
    let named: Vec<&str> = rounds.iter().take(MOST_NAMED).map(String::as_str).collect();
    let more = if rounds.len() > MOST_NAMED { ", .." } else { "" };
    let what = match (tolerated, rounds.len()) {
        (true, _) => format!("which tolerates {most}"),
        (false, n) if n == *n_rounds => "so that none is left to go on with".to_owned(),
        (false, n) if n as u64 > u64::from(*most) => format!("more than the {most} that it tolerates"),
        (false, _) => "and something else in it that is not tolerated".to_owned(),
    };
    let all = plural(*n_rounds, "round");
    format!("{} of {all} of `{name}`, {what}: {}{more}", count(rounds.len() as u64), named.join(", "))
}

/// Writes what a step waits for: `waits for cores and memory that run 5d1c0a9b27e4 has`.
pub fn holdup(runs: &[RunId], lacks: &[String]) -> String {
    let what = |name: &String| match name.split_once(' ') {
        None if name == "cpu" => "cores".to_owned(),
        None if name == "mem" => "memory".to_owned(),
        Some(("token", token)) => format!("`{token}`"),
        Some(("gpu", _)) => "a GPU".to_owned(),
        _ => name.clone(),
    };
    let lacks: BTreeSet<String> = lacks.iter().map(what).collect();
    let lacks: Vec<String> = lacks.into_iter().collect();
    let names: Vec<String> = runs.iter().map(|run| run.0.clone()).collect();
    let of = format!("{} {}", if runs.len() == 1 { "run" } else { "runs" }, all_of(&names));
    match &lacks[..] {
        [] if runs.len() == 1 => format!("waits for {of}, which executes the same step"),
        [] => format!("waits for {of}, one of which executes the same step"),
        lacks => format!("waits for {} that {of} {}", all_of(lacks), if runs.len() == 1 { "has" } else { "have" }),
    }
}

/// Writes `a, b and c`.
fn all_of(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => name.clone(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

/// Writes a span of time as a person would say it: `18 ms`, `4.2 s`, `3 min 05 s`.
pub fn seconds(s: f64) -> String {
    if s < 1.0 {
        format!("{:.0} ms", s * 1000.0)
    } else if s < 120.0 {
        format!("{s:.1} s")
    } else {
        format!("{} min {:02.0} s", (s / 60.0).floor(), s % 60.0)
    }
}

/// Writes a metric with four significant decimals, a whole number as a count.
pub fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 {
        let whole = count(x.abs() as u64);
        if x < 0.0 { format!("-{whole}") } else { whole }
    } else if x.abs() >= 1e-3 && x.abs() < 1e6 {
        format!("{x:.4}")
    } else {
        format!("{x:.3e}")
    }
}

/// Writes that an effect is done, and by what it is known outside.
pub fn effect(idempotency_key: &str) -> String {
    format!("effect {}", idempotency_key.get(..12).unwrap_or(idempotency_key))
}

/// Metrics that come first in a line, in this order.
const LEADING: [&str; 10] =
    ["auc", "average_precision", "mae", "rmse", "r2", "log_loss", "brier", "ece", "epochs", "loss"];

/// Writes the facts of a result: `7,043 rows x 21 columns`, then a few figures.
pub fn facts(facts: &Facts) -> String {
    let mut parts = Vec::new();
    match (facts.get("rows"), facts.get("columns")) {
        (Some(rows), Some(columns)) => parts.push(format!("{} rows x {} columns", number(*rows), number(*columns))),
        (Some(rows), None) => parts.push(format!("{} rows", number(*rows))),
        _ => {}
    }
    let leading = LEADING.iter().filter_map(|name| facts.get_key_value(*name));
    let others = facts
        .iter()
        .filter(|(name, _)| !LEADING.contains(&name.as_str()) && !["rows", "columns"].contains(&name.as_str()));
    for (name, value) in leading.chain(others).take(4) {
        parts.push(format!("{} {}", name.replace('_', " "), number(*value)));
    }
    parts.join("   ")
}

/// Writes how far a step is: `epoch 18/30  loss 0.4310`.
pub fn progress(progress: &Progress) -> String {
    let total = progress.total.map(|total| format!("/{}", count(total))).unwrap_or_default();
    let mut text = format!("{} {}{total}", progress.unit, count(progress.done));
    for (name, value) in &progress.metrics {
        text.push_str(&format!("  {} {}", name.replace('_', " "), number(*value)));
    }
    text
}

/// Writes one check of a gate: its verdict, the rule, and every figure it compared.
pub fn check(check: &CheckResult) -> String {
    let verdict = match check.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::NotMeasurable => "not measurable",
        Verdict::LeftOut => "left out (no champion yet)",
    };
    let figures: Vec<String> = check
        .metrics
        .iter()
        .map(|(name, value)| format!("{name} {}", value.map_or_else(|| "absent".to_owned(), number)))
        .collect();
    format!("{:<12} {verdict:<10}  {}   [{}]", check.name, check.text, figures.join(", "))
}

/// Returns how many checks did not pass, for a headline: `1 of 3 checks failed`.
pub fn failed_checks(checks: &[CheckResult]) -> String {
    let failed = checks.iter().filter(|c| matches!(c.verdict, Verdict::Failed | Verdict::NotMeasurable)).count();
    format!("{failed} of {} failed", plural(checks.len(), "check"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let table = [(7043.0, "7,043"), (-12.0, "-12"), (0.83741, "0.8374"), (0.00001234, "1.234e-5"), (0.0, "0")];
        for (x, text) in table {
            assert_eq!(number(x), text);
        }
    }

    #[test]
    fn what_a_step_waits_for_is_named_as_people_know_it() {
        let say = |runs: &[&str], lacks: &[&str]| {
            let runs: Vec<RunId> = runs.iter().map(|run| RunId((*run).to_owned())).collect();
            holdup(&runs, &lacks.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(say(&["1a"], &[]), "waits for run 1a, which executes the same step");
        assert_eq!(say(&["1a"], &["mem", "cpu"]), "waits for cores and memory that run 1a has");
        assert_eq!(say(&["1a", "2b"], &["gpu GPU-1", "gpu GPU-2"]), "waits for a GPU that runs 1a and 2b have");
        assert_eq!(
            say(&["1a"], &["token licence", "mem", "cpu"]),
            "waits for `licence`, cores and memory that run 1a has"
        );
    }

    #[test]
    fn rows_and_columns_lead_and_well_known_metrics_follow() {
        let of = |pairs: &[(&str, f64)]| facts(&pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect());
        assert_eq!(of(&[("columns", 21.0), ("rows", 7043.0)]), "7,043 rows x 21 columns");
        assert_eq!(
            of(&[("accuracy", 0.8), ("auc", 0.8374), ("rows", 1408.0)]),
            "1,408 rows   auc 0.8374   accuracy 0.8000"
        );
    }
}
