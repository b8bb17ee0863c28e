//! `mlp backfill FILE FROM..TO every STEP`: one run for each of many days, then a table of them.

use std::time::Duration;

use mlp_dsl::{Severity, date_text, read_date};
use mlp_model::{Decision, RunStatus};
use serde_json::{Value, json};

use crate::args::{BackfillArgs, PipelineArgs, RunArgs, WorkArgs};
use crate::compile;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::quantities;
use crate::report::words;

/// More runs than this are hardly meant.
const MOST_DAYS: usize = 10_000;

const DAY: u64 = 86_400;

pub fn backfill(args: &BackfillArgs, output: &Output) -> Result<Exit, Failure> {
    if args.values.as_of.is_some() {
        return Err(Failure::usage("a backfill says itself which day each run is for").with_help("leave out `--as-of`"));
    }
    let days = days(&args.days, &args.every)?;
    let wrong = check(args, &days, output)?;
    if args.dry_run {
        return plans(args, &days, &wrong, output);
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut goes_on = true;
    for day in &days {
        let row = match goes_on {
            false => Row::of(day, "not run", Exit::Done),
            true if wrong.contains(day) => Row::of(day, "refused by the check", Exit::Usage),
            true => run(args, day, output),
        };
        // A gate that refuses has looked at the figures of its own day only.
        goes_on &= match row.exit {
            Exit::Done | Exit::Refused => true,
            Exit::Interrupted => false,
            _ => args.keep_going,
        };
        rows.push(row);
    }
    let exit = exit_of(&rows);
    if output.json {
        let days: Vec<_> = rows.iter().map(Row::json).collect();
        let line = json!({ "event": "backfill_finished", "days": days, "exit": exit as i32 });
        output.print(line.to_string());
    } else {
        output.print(table(&rows));
    }
    Ok(exit)
}

/// Reads `FROM..TO` and `every STEP`.
fn days(range: &str, every: &[String]) -> Result<Vec<String>, Failure> {
    let wrong =
        |message: String| Failure::usage(message).with_help("write 2026-09-01..2026-11-01 every 1w, for example");
    let Some((from, to)) = range.split_once("..") else {
        return Err(wrong(format!("`{range}` is no range of days")));
    };
    let (to, is_inclusive) = to.strip_prefix('=').map_or((to, false), |to| (to, true));
    let read = |text: &str| read_date(text).ok_or_else(|| wrong(format!("`{text}` is no date")));
    let (from, to) = (read(from)?, read(to)? + i32::from(is_inclusive));
    let step = match every {
        [] => Duration::from_secs(DAY),
        [word, step] if word == "every" => {
            quantities::duration(step).map_err(|e| wrong(format!("`every {step}`: {e}")))?
        }
        other => return Err(wrong(format!("`{}` does not say how often", other.join(" ")))),
    };
    if step.as_millis() % u128::from(DAY * 1000) != 0 {
        return Err(wrong(format!("`{}` is not whole days", every.join(" "))));
    }
    if to <= from {
        return Err(wrong(format!("there is no day in `{range}`")));
    }
    let step = usize::try_from(step.as_secs() / DAY).unwrap_or(usize::MAX);
    let days: Vec<_> = (from..to).step_by(step).take(MOST_DAYS + 1).map(date_text).collect();
    if days.len() > MOST_DAYS {
        return Err(wrong(format!("`{range}` has more than {MOST_DAYS} days")));
    }
    Ok(days)
}

fn pipeline_of(args: &BackfillArgs, day: &str) -> PipelineArgs {
    let mut values = args.values.clone();
    values.as_of = Some(day.to_owned());
    PipelineArgs { file: args.file.clone(), values }
}

fn work_of(args: &BackfillArgs) -> WorkArgs {
    WorkArgs { jobs: args.jobs, ..WorkArgs::default() }
}

/// Checks the file for every day before anything runs; returns the days it is wrong for, which only `--keep-going` bears.
fn check(args: &BackfillArgs, days: &[String], output: &Output) -> Result<Vec<String>, Failure> {
    let (mut wrong, mut told) = (Vec::new(), Vec::new());
    for day in days {
        let checked = compile::check(&pipeline_of(args, day))?;
        if checked.pipeline.is_some() {
            continue;
        }
        wrong.push(day.clone());
        let errors: Vec<_> = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        let mut text = String::new();
        for error in &errors {
            text.push_str(&mlp_dsl::render(error, &checked.sources, output.colour, output.width()));
        }
        // What is wrong for every day is told once.
        if told.last() != Some(&text) {
            output.note(format!("as of {day}"));
            output.note(&text);
            told.push(text);
        }
    }
    if !wrong.is_empty() && (!args.keep_going || wrong.len() == days.len()) {
        let (n, of) = (words::plural(wrong.len(), "day"), days.len());
        let message = format!("{} is wrong for {n} of {of}; nothing was run", args.file.display());
        let help = match wrong.len() == days.len() {
            true => "a backfill needs `pipeline NAME(as_of: date)`, and what it reads for each day",
            false => "`--keep-going` leaves these days out",
        };
        return Err(Failure::usage(message).with_help(help));
    }
    Ok(wrong)
}

/// A day and how its run went.
struct Row {
    day: String,
    status: String,
    exit: Exit,
    run: Option<String>,
    n_executed: usize,
    n_reused: usize,
    n_failed: usize,
    seconds: f64,
}

impl Row {
    fn of(day: &str, status: &str, exit: Exit) -> Self {
        let (day, status) = (day.to_owned(), status.to_owned());
        Self { day, status, exit, run: None, n_executed: 0, n_reused: 0, n_failed: 0, seconds: 0.0 }
    }

    fn json(&self) -> Value {
        json!({
            "as_of": self.day, "status": self.status, "run": self.run, "exit": self.exit as i32,
            "executed": self.n_executed, "reused": self.n_reused, "failed": self.n_failed, "seconds": self.seconds,
        })
    }
}

fn run(args: &BackfillArgs, day: &str, output: &Output) -> Row {
    if !output.json {
        output.note(format!("as of {day}"));
    }
    let (pipeline, work) = (pipeline_of(args, day), work_of(args));
    let run = RunArgs { pipeline, work, dry_run: false, keep_going: args.keep_going };
    match super::run::execute(&run, output) {
        Ok(ran) => {
            let steps = ran.outcome.steps;
            Row {
                run: Some(ran.run.to_string()),
                n_executed: steps.executed,
                n_reused: steps.reused,
                n_failed: steps.failed,
                seconds: (ran.seconds * 1000.0).round() / 1000.0,
                ..Row::of(day, status(ran.outcome.status), ran.exit)
            }
        }
        Err(failure) => {
            output.note(format!("error: {}", failure.message));
            failure.help.iter().for_each(|help| output.note(format!("  help: {help}")));
            Row::of(day, "could not begin", failure.exit)
        }
    }
}

fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Refused => "refused by a gate",
        RunStatus::Waiting => "waiting",
        RunStatus::Rejected => "rejected",
        RunStatus::Cancelled => "cancelled",
        RunStatus::OverBudget => "over budget",
    }
}

/// Returns the exit code of all: an interruption, else the first failure, else a refusal.
fn exit_of(rows: &[Row]) -> Exit {
    let exits = || rows.iter().map(|row| row.exit);
    let first = |is_it: fn(&Exit) -> bool| exits().find(is_it);
    first(|exit| *exit == Exit::Interrupted)
        .or_else(|| first(|exit| !matches!(exit, Exit::Done | Exit::Refused)))
        .or_else(|| first(|exit| *exit == Exit::Refused))
        .unwrap_or(Exit::Done)
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.status.len()).max().unwrap_or(0);
    let mut lines =
        vec![format!("  {:10}  {:width$}  {:>9}  {:>6}  {:>6}  took", "as of", "", "steps run", "reused", "failed")];
    for row in rows {
        let Row { day, status, n_executed, n_reused, n_failed, .. } = row;
        let took = row.run.as_ref().map_or(String::new(), |run| format!("{} (run {run})", words::seconds(row.seconds)));
        lines.push(
            format!("  {day:10}  {status:width$}  {n_executed:>9}  {n_reused:>6}  {n_failed:>6}  {took}")
                .trim_end()
                .to_owned(),
        );
    }
    let count = |is_it: fn(&Row) -> bool| rows.iter().filter(|row| is_it(row)).count();
    let mut parts = vec![format!("{} succeeded", count(|row| row.run.is_some() && row.exit == Exit::Done))];
    for (n, word) in [
        (count(|row| row.exit == Exit::Refused), "refused by a gate"),
        (count(|row| !matches!(row.exit, Exit::Done | Exit::Refused)), "failed"),
        (count(|row| row.run.is_none() && row.exit == Exit::Done), "not run"),
    ] {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    lines.push(format!("{}: {}.", words::plural(rows.len(), "day"), parts.join(", ")));
    lines.join("\n")
}

/// Shows for each day how much would be done.
fn plans(args: &BackfillArgs, days: &[String], wrong: &[String], output: &Output) -> Result<Exit, Failure> {
    let mut shown = Vec::new();
    for day in days.iter().filter(|day| !wrong.contains(day)) {
        let (plan, _) = super::plan::make(&pipeline_of(args, day), &work_of(args), output)?;
        let count = |is_it: fn(&Decision) -> bool| plan.steps.iter().filter(|step| is_it(&step.decision)).count();
        let n_run = count(|decision| matches!(decision, Decision::Run));
        let n_maybe = count(|decision| matches!(decision, Decision::Unknown { .. }));
        let n_reused = count(|decision| matches!(decision, Decision::Reuse { .. }));
        shown.push((day, n_run, n_maybe, n_reused));
    }
    if output.json {
        let row = |(day, run, unknown, reuse): &(&String, usize, usize, usize)| json!({ "as_of": day, "run": run, "unknown": unknown, "reuse": reuse });
        output.print_json(&json!({ "days": shown.iter().map(row).collect::<Vec<_>>(), "wrong": wrong }));
        return Ok(Exit::Done);
    }
    let line = |(day, run, unknown, reuse): &(&String, usize, usize, usize)| {
        format!("  {day}  {} to run, {unknown} that depend on them, {reuse} up to date", words::plural(*run, "step"))
    };
    let mut lines: Vec<_> = shown.iter().map(line).collect();
    lines.push(format!("{}. Nothing was run.", words::plural(shown.len(), "day")));
    output.print(lines.join("\n"));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::days;

    fn of(range: &str, every: &[&str]) -> Result<Vec<String>, String> {
        days(range, &every.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).map_err(|failure| failure.message)
    }

    #[test]
    fn a_range_leaves_out_its_end_unless_it_says_otherwise() {
        assert_eq!(of("2026-02-27..2026-03-01", &[]).unwrap(), ["2026-02-27", "2026-02-28"]);
        assert_eq!(of("2026-02-28..=2026-03-01", &[]).unwrap(), ["2026-02-28", "2026-03-01"]);
        assert_eq!(of("2026-09-01..2026-09-16", &["every", "1w"]).unwrap(), ["2026-09-01", "2026-09-08", "2026-09-15"]);
    }

    #[test]
    fn what_is_no_range_of_days_is_refused() {
        for (range, every, said) in [
            ("2026-09-01", &[][..], "no range of days"),
            ("2026-09-01..tomorrow", &[], "`tomorrow` is no date"),
            ("2026-09-02..2026-09-02", &[], "there is no day"),
            ("2026-09-02..2026-09-01", &[], "there is no day"),
            ("2026-09-01..2026-09-09", &["1w"], "does not say how often"),
            ("2026-09-01..2026-09-09", &["every", "12h"], "not whole days"),
            ("2026-09-01..2026-09-09", &["every", "soon"], "every soon"),
            ("1000-01-01..2026-09-09", &[], "more than 10000 days"),
        ] {
            let error = of(range, every).unwrap_err();
            assert!(error.contains(said), "{range}: {error}");
        }
    }
}
