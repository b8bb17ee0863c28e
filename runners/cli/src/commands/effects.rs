//! `mlp log --effects`: what was done outside, from the journal.

use mlp_engine::IDEMPOTENCY_KEY;
use mlp_model::{Record, StepId, StepResult, Store};
use serde_json::{Value, json};

use super::runs::when;
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::wiring::{catalogue, open_store, store_failure};

/// More than anybody has done.
const LIMIT: usize = 1_000_000;

pub fn effects(output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let store = open_store(&workspace)?;
    let mut done = Vec::new();
    for signature in catalogue().iter().filter(|signature| signature.class == mlp_model::CallClass::Effect) {
        done.extend(store.op_history(signature.name, LIMIT).map_err(store_failure)?);
    }
    done.sort_by_key(|stored| std::cmp::Reverse(stored.seq));
    let done = done.into_iter().filter_map(|stored| match stored.record {
        Record::StepFinished { run, step, result } => Some((run.to_string(), step, result)),
        _ => None,
    });
    let done: Vec<_> = done.collect();
    if output.json {
        output.print_json(&done.iter().map(|(run, step, result)| as_json(run, step, result)).collect::<Vec<_>>());
    } else if done.is_empty() {
        output.note("Nothing was done outside. An effect is declared by `effect NAME = sh(.., network: true)`.");
    } else {
        output.print(format!("{:<18}{:<14}{:<30}{:<9}idempotency key", "when", "run", "effect", "attempt"));
        for (run, step, result) in &done {
            let name = step.to_string();
            output.print(format!("{:<18}{run:<14}{name:<30}{:<9}{}", when(result.at), result.attempt, key(result)));
        }
    }
    Ok(Exit::Done)
}

fn key(result: &StepResult) -> &str {
    result.environment.get(IDEMPOTENCY_KEY).map_or("", String::as_str)
}

fn as_json(run: &str, step: &StepId, result: &StepResult) -> Value {
    json!({
        "at": result.at, "run": run, "pipeline": step.pipeline, "effect": step.step, "idempotency_key": key(result),
        "attempt": result.attempt, "seconds": result.seconds, "inputs": result.inputs,
    })
}
