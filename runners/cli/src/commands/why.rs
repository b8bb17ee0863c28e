//! `mlp why FILE STEP`: from stored keys, also when the sources are gone.

use mlp_engine::{Attempt, Cause, FieldChange, FieldName, HowItCame, Link, Why, WhyError};
use mlp_model::{Decision, Digest, StepId, Store};

use super::runs::when;
use crate::args::PipelineArgs;
use crate::compile::{compile, open_workspace};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::wiring::{self, store_failure};

pub fn why(args: &PipelineArgs, step: &str, all: bool, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&args.file)?;
    let store = wiring::open_store(&workspace)?;
    // A file that is gone, or does not check any more, still has its history.
    let mut compiled = if args.file.exists() { compile(args, &output.silent()).ok() } else { None };
    let pipeline_name = match &compiled {
        Some(compiled) => compiled.pipeline.name.clone(),
        None => {
            let shown = workspace.shown(&args.file);
            let runs = store.runs(1000, None).map_err(store_failure)?;
            runs.into_iter().find(|run| run.file == shown).map(|run| run.pipeline).ok_or_else(|| {
                Failure::usage(format!("`{}` cannot be checked, and no run of it is known", args.file.display()))
                    .with_help("`mlp check` tells what is wrong with a file")
            })?
        }
    };
    let engine = wiring::engine(store)?;
    if let Some(compiled) = &mut compiled {
        compiled.unfold(&engine, &[], output)?;
    }
    let id = StepId { pipeline: pipeline_name, step: step.to_owned() };
    let why = engine.why(&id, compiled.as_ref().map(|compiled| &*compiled.pipeline)).map_err(failure)?;
    if output.json {
        output.print_json(&why);
    } else {
        output.print(text(&why, all));
    }
    Ok(Exit::Done)
}

fn failure(error: WhyError) -> Failure {
    let help = error.help();
    let mut failure = match error {
        WhyError::Store(error) => store_failure(error),
        WhyError::Run(error) => super::run::run_failure(error),
        other => Failure::usage(other.to_string()),
    };
    failure.help = help.or(failure.help);
    failure
}

fn text(why: &Why, all: bool) -> String {
    let step = &why.step.step;
    let mut lines = Vec::new();
    match &why.latest {
        Some(latest) => lines.push(headline(step, latest)),
        None => lines.push(format!("`{step}` has no result yet.")),
    }
    if let (Some(latest), Some(comparison)) = (&why.latest, &why.comparison) {
        let (changed, same) = (&comparison.difference.changed, &comparison.difference.same);
        let with = &comparison.with;
        let other = if with.step == latest.step { String::new() } else { format!(" (of step `{}`)", with.step.step) };
        if changed.is_empty() {
            lines.push(format!(
                "Its key is that of run {}{other}: it was forced, or what was stored was missing or damaged.",
                with.run
            ));
        } else {
            lines.push(format!(
                "{} of {} key fields differ from its nearest earlier result, run {}{other}:",
                changed.len(),
                changed.len() + same.len(),
                with.run
            ));
            lines.push(String::new());
            lines.push(format!(
                "  {:<24}{:<34}{}",
                "field",
                format!("run {}", with.run),
                format!("run {}", latest.run)
            ));
            lines.extend(changed.iter().map(|change| format!("  {}", change_line(change))));
            if all {
                let names: Vec<String> = same.iter().map(FieldName::to_string).collect();
                lines.push(format!("  same: {}", names.join(", ")));
            } else if !same.is_empty() {
                lines.push(format!("  same: {} other fields (--all lists them)", same.len()));
            }
        }
    } else if why.latest.is_some() {
        lines.push("Nothing like it had run before.".to_owned());
    }
    for failed in &why.failed_before {
        lines.push(format!("It is flaky: attempt {} failed in run {}: {}", failed.attempt, failed.run, failed.error));
    }
    if !why.without.is_empty() {
        let named: Vec<String> = why.without.iter().map(|name| format!("`{name}`")).collect();
        lines.push(format!("It went on without {}: a step of the round failed.", named.join(", ")));
    }
    if !why.chain.is_empty() {
        lines.push(String::new());
        why.chain.iter().for_each(|link| lines.extend(link_lines(link)));
    }
    if let Some(failed) = &why.failed_since {
        lines.push(format!("It failed since then, in run {} ({}): {}", failed.run, when(failed.at), failed.error));
    }
    if let Some(now) = &why.now {
        let word = match &now.decision {
            Decision::Run => "run it",
            Decision::Reuse { .. } => "reuse it",
            Decision::Unknown { .. } => "decide when more is known",
            Decision::Skip => "skip it",
            Decision::Fail => "fail at it",
            Decision::Decide => "decide it",
        };
        lines.push(format!("\nA run now would {word}: {}", now.reason));
        if let Some(difference) = now.difference.as_ref().filter(|_| !matches!(now.decision, Decision::Reuse { .. })) {
            lines.extend(difference.changed.iter().map(|change| format!("  {}", change_line(change))));
        }
    }
    lines.join("\n")
}

fn headline(step: &str, latest: &Attempt) -> String {
    match &latest.how {
        HowItCame::Executed { attempt, .. } => {
            let tries = if *attempt > 1 { format!(", at attempt {attempt}") } else { String::new() };
            format!("`{step}` ran in run {} ({}){tries}.", latest.run, when(latest.at))
        }
        HowItCame::Reused { from_run, from_step } => {
            let other =
                from_step.as_ref().map(|other| format!(", where it was called `{}`", other.step)).unwrap_or_default();
            format!(
                "`{step}` was reused in run {} ({}): run {from_run}{other} had the same key.",
                latest.run,
                when(latest.at)
            )
        }
    }
}

fn change_line(change: &FieldChange) -> String {
    let value = |value: &Option<String>| {
        let text = value.clone().unwrap_or_else(|| "(none)".to_owned());
        // Digests are long; a person recognises their beginning.
        match text.parse::<Digest>() {
            Ok(digest) => digest.short(),
            Err(_) => text,
        }
    };
    let (before, after) = (value(&change.before), value(&change.after));
    if before.len() <= 32 {
        format!("{:<24}{before:<34}{after}", change.field.to_string())
    } else {
        format!("{:<24}{before}\n  {:<24}{after}", change.field.to_string(), "  now")
    }
}

fn link_lines(link: &Link) -> Vec<String> {
    let head = format!("input `{}` of `{}` ({})", link.argument, link.reader, link.shown);
    match &link.cause {
        Cause::Content => vec![format!("{head} changed: the file has other content.")],
        Cause::Bound { before, after } => {
            let name = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
            vec![format!("{head} changed: it was {}, it is {}.", name(before), name(after))]
        }
        Cause::NotDeterministic { after, .. } => {
            vec![format!("{head} changed although `{}` had the same key: it is not deterministic.", after.step.step)]
        }
        Cause::Step { after, changed, .. } => {
            let mut lines = vec![format!("{head} changed, because of `{}`:", after.step.step)];
            lines.extend(changed.iter().map(|change| format!("  {}", change_line(change))));
            lines
        }
    }
}
