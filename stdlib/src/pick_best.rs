//! `pick.best`: of artifacts of one kind, the one whose report has the best figure.

use std::cmp::Ordering;

use mlp_artifact::report::Report;
use mlp_model::{
    ArgError, ArtifactKind, CheckedCall, ErrorClass, Facts, Inferred, InputType, Outcome, ParamType, Produced,
    Signature, StepError, Type, Value,
};

use crate::builtin::Work;
use crate::check::{self, listed, suggest};
use crate::copy;
use crate::declare::{Operation, input, one_output, param, param_or};

pub(crate) fn signature() -> Signature {
    Operation {
        name: "pick.best",
        version: 1,
        runner: "builtin",
        doc: "
Gives the artifact whose report has the best figure, as it is.

`candidates` and `reports` are the same item of all rounds of a loop, or records with the same names. All candidates are
of one type. `metric` is a figure that all reports have; with `by: max` the greatest wins, with `by: min` the least.

A figure that could not be measured never wins. Of equal figures the first in `order` wins, else the first by name.

What is chosen on some rows looks better on them than it is: judge it on rows that the choice has not seen.

    step best = pick.best(trials.model, trials.quality, metric: \"auc\", by: max)

Errors: no candidates, or other reports than candidates; at run time, no figure that could be measured.
",
        args: vec![
            input("candidates", InputType::Record, "what to choose from"),
            input("reports", InputType::Record, "a report about each"),
            param("metric", ParamType::Str, "the figure that decides"),
            param("by", ParamType::Choice(&["max", "min"]), "whether the greatest or the least is best"),
            param_or(
                "order",
                ParamType::List(Box::new(ParamType::Str)),
                Value::List(Vec::new()),
                "the names' ends, in the order in which equal figures win",
            ),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let of = |argument: &str| {
        let prefix = format!("{argument}.");
        let members = call.inputs.iter().filter_map(|(name, ty)| Some((name.strip_prefix(&prefix)?, ty)));
        members.collect::<Vec<_>>()
    };
    let (candidates, reports) = (of("candidates"), of("reports"));
    let refuse = |argument: &str, message: String| ArgError::new("E0356", argument, message);
    let Some((_, ty)) = candidates.first() else {
        return Err(vec![refuse("candidates", "there is nothing to choose from".to_owned())]);
    };
    let mut errors = Vec::new();
    if let Some((name, other)) = candidates.iter().find(|(_, other)| other != ty) {
        let message = if other.to_string() == ty.to_string() {
            format!("candidate `{name}` is a {other} of another shape than the first one")
        } else {
            format!("candidate `{name}` is a {other}, and the first one is a {ty}")
        };
        errors.push(refuse("candidates", message));
    }
    let names = |members: &[(&str, &Type)]| members.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
    let (candidate_names, report_names) = (names(&candidates), names(&reports));
    let (of_candidates, of_reports) = (ends(&candidate_names), ends(&report_names));
    if of_candidates != of_reports {
        let lacks = |names: &[&str], others: &[&str], what: &str| {
            let missing: Vec<&str> = others.iter().filter(|name| !names.contains(name)).copied().collect();
            (!missing.is_empty()).then(|| format!("there is no {what} for {}", listed(missing.into_iter())))
        };
        let told = [lacks(&of_reports, &of_candidates, "report"), lacks(&of_candidates, &of_reports, "candidate")];
        let told: Vec<String> = told.into_iter().flatten().collect();
        // A single name has no end that would tell it from others.
        let has_ends = of_candidates.iter().chain(&of_reports).all(|end| !end.is_empty());
        let told = if has_ends { format!(": {}", told.join(", and ")) } else { String::new() };
        let (n, m) = (candidates.len(), reports.len());
        let message = format!("{n} candidates and {m} reports do not belong together{told}");
        let help = "both are lists of loops over the same values, or records with the same names";
        errors.push(refuse("reports", message).with_help(help));
    }
    let metric = check::string(call, "metric").map_err(|error| vec![error])?;
    for (name, ty) in reports {
        let Type::Report(report) = ty else {
            errors.push(refuse("reports", format!("`{name}` is a {ty}, not a report")));
            continue;
        };
        if !report.metrics.iter().any(|known| known == metric) {
            let known = || report.metrics.iter().map(String::as_str);
            let message = format!("report `{name}` has no metric `{metric}`");
            let help = suggest(metric, known()).unwrap_or_else(|| format!("its metrics are {}", listed(known())));
            errors.push(ArgError::new("E0356", "metric", message).with_help(help));
            break;
        }
    }
    if errors.is_empty() { Ok(one_output((*ty).clone())) } else { Err(errors) }
}

/// Returns the names without what all begin with, up to a `_`.
fn ends(names: &[String]) -> Vec<&str> {
    let [first, rest @ ..] = names else { return Vec::new() };
    if rest.is_empty() {
        return vec![""];
    }
    let common = rest.iter().fold(first.len(), |n, name| {
        let same = first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        n.min(same)
    });
    let start = first.as_bytes()[..common].iter().rposition(|byte| *byte == b'_').map_or(0, |at| at + 1);
    names.iter().map(|name| &name[start..]).collect()
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let (metric, wanted) = (work.str("metric")?, work.str("by")?);
    let wanted = if wanted == "max" { Ordering::Greater } else { Ordering::Less };
    let order = work.step.params.get("order").and_then(Value::as_strings).unwrap_or_default();
    let of = |argument: &str| {
        let prefix = format!("{argument}.");
        work.step.inputs.keys().filter(|name| name.starts_with(&prefix)).cloned().collect::<Vec<_>>()
    };
    let mut pairs: Vec<_> = of("candidates").into_iter().zip(of("reports")).collect();
    // The longest end that fits is the one that is meant: `1_2` also ends with `_2`.
    let rank = |name: &str| {
        let fitting = order.iter().enumerate().filter(|(_, end)| name.ends_with(&format!("_{end}")));
        fitting.max_by_key(|(_, end)| end.len()).map_or(usize::MAX, |(place, _)| place)
    };
    pairs.sort_by_key(|(candidate, _)| rank(candidate));
    // Both may be without rounds that have failed; two loops need not have lost the same ones.
    let are_alike = of("candidates").len() == of("reports").len();
    if let Some((candidate, report)) = pairs.iter().find(|(one, other)| !are_alike || !belong_together(one, other)) {
        let message =
            format!("`{candidate}` and `{report}` are of different rounds, so that nobody knows what was judged");
        let error = StepError::new(ErrorClass::Step, "D1152", message).with_argument("reports");
        return Err(error.with_help(
            "take candidates and reports of one loop, which leaves out whole rounds, or give both the same names",
        ));
    }
    let mut best: Option<(f64, &str)> = None;
    for (candidate, report) in &pairs {
        work.go_on()?;
        let found = Report::parse(&work.bytes(report)?).map_err(|error| work.cannot_read(report, error))?;
        let Some(figure) = found.metrics.get(metric).copied().flatten().filter(|x| x.is_finite()) else { continue };
        if best.is_none_or(|(before, _)| figure.partial_cmp(&before) == Some(wanted)) {
            best = Some((figure, candidate));
        }
    }
    let Some((figure, chosen)) = best else {
        let message = format!("none of {} reports could measure `{metric}`", pairs.len());
        let error = StepError::new(ErrorClass::Step, "D1151", message).with_argument("metric");
        return Err(error.with_help("choose by a figure that these rows can tell"));
    };
    let artifact = work.input(chosen)?;
    let kind = artifact.ty.artifact_kind().unwrap_or(ArtifactKind::File);
    copy::copy_artifact(work, chosen, kind)?;
    let facts: Facts = [(metric.to_owned(), figure)].into();
    let produced = Produced { kind, path: work.output_path("out") };
    Ok(Outcome { outputs: [("out".into(), produced)].into(), facts, ..Outcome::default() })
}

/// Whether a candidate and a report can be of one round: they end alike behind a `_`, unless one has no such end.
fn belong_together(candidate: &str, report: &str) -> bool {
    let of = |name: &'_ str| name.split_once('.').map_or(name, |(_, name)| name).to_owned();
    let (candidate, report) = (of(candidate), of(report));
    let n_same = candidate.bytes().rev().zip(report.bytes().rev()).take_while(|(a, b)| a == b).count();
    let may_be_of_a_loop = candidate.contains('_') && report.contains('_');
    !may_be_of_a_loop || candidate == report || candidate.as_bytes()[candidate.len() - n_same..].contains(&b'_')
}

#[cfg(test)]
mod tests {
    use super::{belong_together, ends};

    #[test]
    fn a_report_is_of_its_own_round() {
        for (candidate, report, expected) in [
            ("candidates.model_16", "reports.quality_16", true),
            ("candidates.a", "reports.a", true),
            ("candidates.model_16", "reports.quality_6", false),
            ("candidates.model_1", "reports.quality_2", false),
            ("candidates.a", "reports.b", true),
            ("candidates.big_a", "reports.a", true),
        ] {
            assert_eq!(belong_together(candidate, report), expected, "{candidate} {report}");
        }
    }

    #[test]
    fn names_of_one_loop_have_the_same_ends() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(ends(&of(&["model_1", "model_12"])), ["1", "12"]);
        assert_eq!(ends(&of(&["quality_1_2", "quality_1_3"])), ["2", "3"]);
        assert_eq!(ends(&of(&["a", "b"])), ["a", "b"]);
        assert_eq!(ends(&of(&["only"])), [""]);
    }
}
