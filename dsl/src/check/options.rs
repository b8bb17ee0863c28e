//! Reads the options of a call: `with { .. }`, how to run it and what it needs of the machine.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use mlp_model::{GpuDemand, Named, OnFailure, Options, ParamType, Span, Value, is_partition_name};

use super::expand::PARAMETER;
use super::value::show;
use super::{Scope, bind};
use crate::ast::Field;
use crate::diagnostic::Diagnostic;

/// An option of a call.
pub struct RunOption {
    pub name: &'static str,
    pub doc: &'static str,
    /// What it takes, in words and, as near as the types of arguments come to it, as a type.
    takes: &'static str,
    pub ty: ParamType,
    pub default: Value,
}

pub static OPTIONS: LazyLock<[RunOption; 10]> = LazyLock::new(|| {
    [
        option("timeout", "the attempt is ended after this time", DURATION, ParamType::Duration, Value::Null),
        option(
            "retries",
            "further attempts after a failed one",
            "an int in 0..=100",
            ParamType::Int { min: 0, max: 100 },
            Value::Int(0),
        ),
        option(
            "backoff",
            "how long the first further attempt waits; each one after it twice as long",
            DURATION,
            ParamType::Duration,
            Value::Null,
        ),
        option(
            "on_failure",
            "`skip`: the run does not fail when the step does, and what needs it is skipped",
            "`stop` or `skip`",
            ParamType::Choice(&["stop", "skip"]),
            Value::Str("stop".to_owned()),
        ),
        option(
            "cpu",
            "cores that the step keeps from others while it runs",
            "an int in 1..=4096",
            ParamType::Int { min: 1, max: 4096 },
            Value::Int(1),
        ),
        option("mem", "memory that it keeps from others: `8 GiB`", SIZE, ParamType::Literal, Value::Null),
        option(
            "tokens",
            "named tokens, such as the licences of a program: `{ licence: 1 }`",
            "a record of names and ints of at least 1",
            ParamType::Literal,
            Value::Null,
        ),
        option(
            "gpu",
            "how many GPUs, a share of one (`0.5`), or the UUID of one",
            "a number of GPUs in 1..=64, a share of one between 0 and 1, or a GPU's UUID",
            ParamType::Literal,
            Value::Null,
        ),
        option(
            "gpu_mem",
            "memory on each of its GPUs; without `gpu`, of one that others may share",
            SIZE,
            ParamType::Literal,
            Value::Null,
        ),
        option(
            "partition",
            "whose key its outputs are encrypted with, and with it all that is made of them",
            "the name of a partition: at most 64 letters, digits, `-`, `_` and `.`, a letter or digit first",
            ParamType::Str,
            Value::Null,
        ),
    ]
});

const DURATION: &str = "a duration longer than 0s";
const SIZE: &str = "a size larger than 0";

fn option(name: &'static str, doc: &'static str, takes: &'static str, ty: ParamType, default: Value) -> RunOption {
    RunOption { name, doc, takes, ty, default }
}

/// Returns the options, and notes where each is written under `with.OPTION`. `None`: something is wrong and reported.
pub fn read(scope: &Scope<'_>, fields: &[Field<'_>], spans: &mut Named<Span>) -> Option<Options> {
    let report = scope.report;
    let mut options = Options::default();
    let mut is_complete = true;
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for field in fields {
        let Some(name) = bind::field_name(report, field) else {
            is_complete = false;
            continue;
        };
        if seen.contains(&name.text) {
            let problem = Diagnostic::error("E0207", format!("option `{}` is given twice", name.text));
            report.add(problem.at(name.span, "again here"));
            is_complete = false;
            continue;
        }
        seen.push(name.text.clone());
        let Some(RunOption { takes, ty, .. }) = OPTIONS.iter().find(|known| known.name == name.text) else {
            let names = OPTIONS.each_ref().map(|known| known.name);
            let listed = names.map(|name| format!("`{name}`")).join(", ");
            let problem = Diagnostic::error("E0212", format!("`{}` is not an option", name.text));
            let problem = problem.at(name.span, format!("the options are {listed}"));
            report.add(problem.maybe_help(report.suggest(&name.text, names)));
            is_complete = false;
            continue;
        };
        let word = match (ty, field.value.as_name()) {
            (ParamType::Choice(words), Some(name)) => {
                let is_parameter = scope.entry(name.text).is_some_and(|entry| entry.word == PARAMETER);
                words.iter().find(|word| **word == name.text && !is_parameter)
            }
            _ => None,
        };
        let value = word.map(|word| Value::Str((*word).to_owned()));
        let Some(value) = value.or_else(|| scope.eval().value(&field.value)) else {
            is_complete = false;
            continue;
        };
        if set(&mut options, &name.text, &value).is_some() {
            spans.insert(format!("with.{}", name.text), field.value.span);
        } else {
            let message = format!("option `{}` takes {takes}, got {}", name.text, show(&value));
            let problem = Diagnostic::error("E0212", message).at(field.value.span, "");
            report.add(problem.maybe_help(help(&name.text, &value)));
            is_complete = false;
        }
    }
    if let (Some(backoff), 0, true) = (spans.get("with.backoff"), options.retries, is_complete) {
        let problem = Diagnostic::error("E0212", "option `backoff` has no effect without `retries`");
        report.add(
            problem.at(*backoff, "no attempt follows a failed one").help("write `retries: 3` as well, for example"),
        );
        is_complete = false;
    }
    is_complete.then_some(options)
}

/// Takes an option over; `None` if the value does not fit.
fn set(options: &mut Options, name: &str, value: &Value) -> Option<()> {
    let demand = &mut options.demand;
    let whole = |value: &Value, least: i64, most: i64| match value {
        Value::Int(n) if (least..=most).contains(n) => u32::try_from(*n).ok(),
        _ => None,
    };
    match name {
        "timeout" => options.timeout = Some(duration(value)?),
        "backoff" => options.backoff = Some(duration(value)?),
        "retries" => options.retries = whole(value, 0, 100)?,
        "on_failure" => {
            options.on_failure = match value.as_str()? {
                "stop" => OnFailure::Stop,
                "skip" => OnFailure::Skip,
                _ => return None,
            };
        }
        "cpu" => demand.cpu = Some(whole(value, 1, 4096)?),
        "mem" => demand.mem_bytes = size(value)?,
        "gpu_mem" => demand.gpu_mem_bytes = size(value)?,
        "partition" => options.partition = Some(value.as_str().filter(|name| is_partition_name(name))?.into()),
        "gpu" => {
            demand.gpu = Some(match value {
                Value::Float(share) if *share > 0.0 && *share < 1.0 => {
                    GpuDemand::Share(((share * 1000.0).round() as u32).clamp(1, 999))
                }
                Value::Str(uuid) if is_gpu(uuid) => GpuDemand::Device(uuid.clone()),
                other => GpuDemand::Count(whole(other, 1, 64)?),
            });
        }
        "tokens" => {
            let counted =
                value.as_record()?.iter().map(|(name, n)| Some((name.to_owned(), whole(n, 1, i64::from(u32::MAX))?)));
            demand.tokens = counted.collect::<Option<_>>()?;
        }
        _ => return None,
    }
    Some(())
}

fn duration(value: &Value) -> Option<Duration> {
    match value {
        Value::DurationMs(ms) if *ms > 0 => Some(Duration::from_millis(*ms)),
        _ => None,
    }
}

fn size(value: &Value) -> Option<u64> {
    match value {
        Value::SizeBytes(bytes) if *bytes > 0 => Some(*bytes),
        _ => None,
    }
}

/// Returns whether a text can be the UUID of a GPU, or of a part of one.
fn is_gpu(text: &str) -> bool {
    text.strip_prefix("GPU-").or_else(|| text.strip_prefix("MIG-")).is_some_and(|rest| !rest.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/'))
}

fn help(name: &str, value: &Value) -> Option<String> {
    match (name, value) {
        ("mem" | "gpu_mem", Value::Str(_) | Value::Int(_)) => {
            Some(format!("write a number and a unit without quotes: `{name}: 8 GiB`"))
        }
        ("gpu", Value::Str(_)) => {
            Some("a UUID begins with `GPU-`; `mlp doctor` lists those of this machine".to_owned())
        }
        ("gpu", Value::Float(_)) => Some("write `gpu: 1` for a whole one, `gpu: 0.5` for half of one".to_owned()),
        _ => None,
    }
}
