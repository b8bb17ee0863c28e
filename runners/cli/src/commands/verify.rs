//! `mlp verify FILE [STEP..]`: executes cached steps again and compares.

use mlp_engine::{Checked, CheckedResult, Sample, VerifyRequest};
use mlp_model::Digest;

use crate::args::VerifyArgs;
use crate::compile::{compile, render_step_error};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::wiring;

pub fn verify(args: &VerifyArgs, output: &Output) -> Result<Exit, Failure> {
    let mut compiled = compile(&args.pipeline, output)?;
    let engine = wiring::engine(wiring::open_store(&compiled.workspace)?)?;
    compiled.unfold(&engine, &[], output)?;
    let sample = args.sample.map(|percent| Sample { percent, seed: args.seed.unwrap_or_else(draw_seed) });
    if let (Some(sample), false) = (sample, output.json) {
        output.print(format!(
            "A sample of {}% by seed {}: repeat it with `--seed {}`.",
            sample.percent, sample.seed, sample.seed
        ));
    }
    let request = VerifyRequest { steps: args.steps.clone(), sample };
    let tell = |checked: &Checked| {
        if !output.json {
            output.print(line(checked));
        }
    };
    let mut tell = tell;
    let verification = engine.verify(&compiled.pipeline, &request, &mut tell).map_err(super::run::run_failure)?;
    for checked in &verification.checked {
        if let CheckedResult::Failed { error } = &checked.result {
            output.note(render_step_error(&compiled.pipeline, &checked.step, error, output));
        }
    }
    if output.json {
        output.print_json(&verification);
    } else {
        for unverified in &verification.unverified {
            output.print(format!("  not verified  {}: {}", unverified.step, unverified.why));
        }
        let n_checked = verification.checked.len();
        output.print(match verification.first_fault() {
            None if n_checked == 0 => "Nothing could be verified: run the pipeline first.".to_owned(),
            None => format!(
                "{} executed again: every output has the bytes that are stored.",
                words::plural(n_checked, "step")
            ),
            Some(first) => format!("The first step that does not give its stored result is `{}`.", first.step),
        });
    }
    if verification.first_fault().is_some() {
        return Ok(Exit::StepFailed);
    }
    if let Some(unverified) = verification.unverified.first().filter(|_| !args.steps.is_empty()) {
        return Err(Failure::usage(format!("`{}` was not verified: {}", unverified.step, unverified.why))
            .with_help(format!("`mlp run {}` gives it a stored result", compiled.shown)));
    }
    Ok(Exit::Done)
}

fn line(checked: &Checked) -> String {
    let Checked { step, from_run, result, .. } = checked;
    match result {
        CheckedResult::Same => format!("  same          {step}, as in run {from_run}"),
        CheckedResult::Failed { error } => format!("  FAILED        {step}: {error}"),
        CheckedResult::Differs(how) => {
            let place = how.first.as_ref().map(|first| format!("\n                {first}")).unwrap_or_default();
            let short = |digest: &Option<Digest>| digest.as_ref().map_or("nothing".to_owned(), Digest::short);
            format!(
                "  DIFFERS       {step}.{} from run {from_run}: stored {}, made {}{place}",
                how.output,
                short(&how.stored),
                short(&how.made)
            )
        }
    }
}

fn draw_seed() -> u64 {
    let mut bytes = [0; 4];
    // Short enough to be typed. Without randomness the sample is always the same, and says so by its seed.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from(u32::from_le_bytes(bytes))
}
