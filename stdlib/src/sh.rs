//! `sh`: what it takes and gives, and the placeholders of its command. Another crate executes it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use mlp_model::{ArgError, CallClass, CheckedCall, Inferred, Named, ParamType, Signature, Type, Value, Word};

use crate::check::{self, listed, suggest};
use crate::declare::{Operation, inputs, param, param_or};

pub(crate) fn signature() -> Signature {
    Operation {
        name: "sh",
        // 2: confined. 3: `LC_CTYPE` instead of `LANG`.
        version: 3,
        runner: "process",
        doc: "
Runs a command of the shell over files.

`{name}` in the command stands for the path of the input or output of that name; `{{` and `}}` stand for plain braces,
as in `awk '{{print $1}}' {words} > {first}`. The command runs as `sh -e -c` in a folder of its own: the first command
that fails ends the step. Inputs are read-only copies.

`inputs` are files, folders, reports and models: results of other steps, `file(\"..\")` and `folder(\"..\")`. A table
must become a file first: `csv.write(clean)`. An input that the command does not mention still counts: the step runs
again when it changes.

`outputs` says for each name whether the command makes a `file` or a `folder` there. The command must mention each. One
that it may leave out is a `file?` or a `folder?`: what needs it is skipped if it is not there.

`at` places inputs and outputs elsewhere in the folder, where a program looks for them by itself, as
`at: { data: \"data/raw.csv\", model: \"models/m.bin\" }`; the command need not mention an output that is placed.
`texts` are small files to write there first, by path: `texts: { \"params.yaml\": \"seed: \" + seed }`.

The command sees the variables of `env` and `pass_env`, besides them only `PATH`, `HOME`, `TMPDIR`, `LC_CTYPE`, `TZ` and
`SOURCE_DATE_EPOCH`, which mlp sets. Values count: the step runs again when one changes; they are kept with the
result, so this is no place for secrets. A secret is known by its name alone: `env: { PGPASSWORD: secret(\"db\") }` takes
its value from `MLP_SECRET_db`, or from where `secrets` in mlp.yaml says. Its value counts for nothing and is kept
nowhere; where the command prints it, `***` stands instead.

The command is confined: of the machine's files it sees its own folder, installed programs and libraries (`/usr`,
`/opt`, what is on the `PATH`) and the settings that these need, and it has no network. Reading another file fails the
step, with a message that says how to make the file an input. `network: true` gives it the network, whose answers mlp
does not notice to change; `confine: off` gives it everything that `mlp` may use. `mlp plan` shows both.

    step words = sh(\"sort -u {raw} > {sorted}\", inputs: { raw: file(\"words.txt\") }, outputs: { sorted: file })

Errors: an exit status other than 0 (with the last lines that the command wrote); an output that was not made.
",
        args: vec![
            param("command", ParamType::Str, "what `sh` is to run, with `{name}` for inputs and outputs"),
            inputs("inputs", "what the command reads, by name"),
            param(
                "outputs",
                ParamType::Map(Box::new(ParamType::Choice(&["file", "folder", "file?", "folder?"]))),
                "what the command makes, by name: `file` or `folder`, with `?` if it may leave it out",
            ),
            param_or(
                "at",
                ParamType::Map(Box::new(ParamType::Str)),
                Value::Record(Named::new()),
                "paths in the folder, for inputs and outputs that do not stand in `in/` and `out/`",
            ),
            param_or(
                "texts",
                ParamType::Map(Box::new(ParamType::Str)),
                Value::Record(Named::new()),
                "files to write first: their texts, by path in the folder",
            ),
            param_or(
                "env",
                ParamType::Map(Box::new(ParamType::StrOrSecret)),
                Value::Record(Named::new()),
                "variables and their values; a secret by its name",
            ),
            param_or(
                "pass_env",
                ParamType::List(Box::new(ParamType::Str)),
                Value::List(Vec::new()),
                "names of variables to take from the environment of `mlp`",
            ),
            param_or("network", ParamType::Bool, Value::Bool(false), "whether the command has the network"),
            param_or(
                "confine",
                ParamType::Choice(&["on", "off"]),
                Value::Str("on".to_owned()),
                "`off`: the command may use every file and the network",
            ),
        ],
    }
    .step(infer)
}

/// `sh` as an effect: no outputs, and a way out.
pub(crate) fn effect() -> Signature {
    let of_step = signature().args.into_iter().filter(|argument| argument.name != "outputs");
    Operation {
        name: "effect.sh",
        version: 1,
        runner: "process",
        doc: "
Runs a command of the shell that writes outside: uploads, publishes, tells somebody.

As a step runs it, but for this: it has no outputs, it says that it has the network (`network: true`) or everything that
`mlp` may use (`confine: off`), and it is done once for its command, inputs and variables. The variable
`MLP_IDEMPOTENCY_KEY` holds 64 hex digits that stay the same for one such wish, however often it has to be tried: hand
it to whoever is written to, so that what a crash repeats is not done twice.

    effect told = sh(\"curl -T {model} https://models.example/$MLP_IDEMPOTENCY_KEY\", inputs: { model }, network: true)

Errors: an exit status other than 0 (with the last lines that the command wrote).
",
        args: of_step.collect(),
    }
    .with(CallClass::Effect, Arc::new(infer_effect))
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    infer_of(call, CallClass::Step)
}

fn infer_effect(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    infer_of(call, CallClass::Effect)
}

fn infer_of(call: &CheckedCall<'_>, class: CallClass) -> Result<Inferred, Vec<ArgError>> {
    let mut errors = Vec::new();
    let inputs: BTreeMap<&str, &Type> =
        call.inputs.iter().filter_map(|(name, ty)| Some((name.strip_prefix("inputs.")?, ty))).collect();
    let no_outputs = Named::new();
    let outputs = check::value(call, "outputs").and_then(Value::as_record).unwrap_or(&no_outputs);
    check_inputs(&inputs, &mut errors);
    if outputs.is_empty() && class != CallClass::Effect {
        let error = ArgError::new("E0347", "outputs", "the step has no outputs, so nothing could use its result");
        errors.push(error.with_help("name what the command makes: `outputs: { result: file }`"));
    }
    for name in outputs.keys().filter(|name| inputs.contains_key(*name)) {
        let message = format!("`{name}` is both an input and an output, so `{{{name}}}` could mean either");
        let error = ArgError::new("E0347", &format!("outputs.{name}"), message);
        errors.push(error.with_help("give one of them another name"));
    }
    let at = check::value(call, "at").and_then(Value::as_record).unwrap_or(&no_outputs);
    check_places(call, at, &inputs, outputs, &mut errors);
    let mut named = BTreeSet::new();
    match check::string(call, "command") {
        Ok(command) => named.extend(check_command(command, &inputs, outputs, at, &mut errors)),
        Err(error) => errors.push(error),
    }
    named.extend(at.keys());
    let named = named.into_iter().filter(|name| inputs.contains_key(*name)).map(|name| format!("inputs.{name}"));
    check_variables(call, &mut errors);
    let is_off = check::string(call, "confine").is_ok_and(|confine| confine == "off");
    let has_network = check::value(call, "network").is_some_and(|network| *network == Value::Bool(true));
    if class == CallClass::Effect && !is_off && !has_network {
        let error = ArgError::new("E0359", "command", "the effect has neither the network nor other files to write to");
        errors
            .push(error.with_help("add `network: true`, or `confine: off` for a command that writes files elsewhere"));
    }
    if is_off && has_network {
        let error = ArgError::new("E0355", "network", "an unconfined step has the network anyway");
        errors.push(error.with_help("leave out `confine: off` to keep it from other files, or leave out `network`"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let typed = |(name, kind): (&str, &Value)| {
        let is_folder = kind.as_str().is_some_and(|kind| kind.starts_with("folder"));
        (Word::from(name.to_owned()), if is_folder { Type::Folder } else { Type::File })
    };
    let is_optional = |(_, kind): &(&str, &Value)| kind.as_str().is_some_and(|kind| kind.ends_with('?'));
    Ok(Inferred {
        outputs: outputs.iter().map(typed).collect(),
        optional: outputs.iter().filter(is_optional).map(|(name, _)| name.to_owned()).collect(),
        named: named.collect(),
        ..Inferred::default()
    })
}

fn check_inputs(inputs: &BTreeMap<&str, &Type>, errors: &mut Vec<ArgError>) {
    for (name, ty) in inputs {
        match ty {
            Type::File | Type::Folder | Type::Report(_) | Type::Model(_) => {}
            Type::Table(_) => {
                let message = format!("input `{name}` is a table, and programs read files");
                let help = format!("write it first: `csv.write({name})`");
                errors.push(ArgError::new("E0345", &format!("inputs.{name}"), message).with_help(help));
            }
            other => {
                let message =
                    format!("input `{name}` is of type {other}, and programs read files, folders, reports and models");
                let help = "write the value into the command, or give it as a variable with `env`";
                errors.push(ArgError::new("E0345", &format!("inputs.{name}"), message).with_help(help));
            }
        }
    }
}

/// Looks at the paths of `at` and `texts`: inside the folder, each for one thing, none within a file or an output.
fn check_places(
    call: &CheckedCall<'_>,
    at: &Named<Value>,
    inputs: &BTreeMap<&str, &Type>,
    outputs: &Named<Value>,
    errors: &mut Vec<ArgError>,
) {
    let none = Named::new();
    let texts = check::value(call, "texts").and_then(Value::as_record).unwrap_or(&none);
    let mut places = Vec::new();
    for (name, path) in at.iter().filter_map(|(name, path)| Some((name, path.as_str()?))) {
        let argument = format!("at.{name}");
        let holds = match (inputs.get(name), outputs.get(name)) {
            (None, None) => {
                let message = format!("`{name}` is neither an input nor an output of this step");
                let names = inputs.keys().copied().chain(outputs.keys());
                let help = suggest(name, names.clone()).unwrap_or_else(|| match listed(names) {
                    known if known.is_empty() => "there are none".to_owned(),
                    known => format!("there are {known}"),
                });
                errors.push(ArgError::new("E0358", &argument, message).with_help(help));
                continue;
            }
            (Some(Type::Folder), None) => Holds::Anything,
            (Some(_), None) => Holds::Nothing,
            // Its folder is taken whole, so nothing else may be in it.
            (_, Some(_)) => Holds::Nothing,
        };
        places.push(Place { argument, name, path, holds });
    }
    for path in texts.keys() {
        places.push(Place { argument: format!("texts.{path}"), name: path, path, holds: Holds::Nothing });
    }
    let has_unplaced = |mut names: Box<dyn Iterator<Item = &str> + '_>| names.any(|name| !at.contains_key(name));
    let (in_used, out_used) = (has_unplaced(Box::new(inputs.keys().copied())), has_unplaced(Box::new(outputs.keys())));
    places.retain(|place| match place.mistake(in_used, out_used) {
        Some(message) => {
            let error = ArgError::new("E0358", &place.argument, message);
            errors.push(error.with_help("write a path such as `data/raw.csv`, without `..` and `.`"));
            false
        }
        None => true,
    });
    for (i, place) in places.iter().enumerate() {
        for other in &places[..i] {
            if let Some((message, help)) = clash(other, place) {
                errors.push(ArgError::new("E0358", &place.argument, message).with_help(help));
            }
        }
    }
}

/// What may stand within a place.
#[derive(PartialEq)]
enum Holds {
    Nothing,
    Anything,
}

struct Place<'a> {
    argument: String,
    name: &'a str,
    path: &'a str,
    holds: Holds,
}

impl Place<'_> {
    fn mistake(&self, in_used: bool, out_used: bool) -> Option<String> {
        let path = self.path;
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
            return Some(format!("`{path}` is no place in the folder of the step"));
        }
        let first = path.split('/').next().unwrap_or(path);
        match first {
            "tmp" if first == path => Some("`tmp` is taken: `$TMPDIR` is there".to_owned()),
            "in" if in_used => Some(format!("`{path}` is taken: inputs without a place stand in `in`")),
            "out" if out_used => Some(format!("`{path}` is taken: outputs without a place stand in `out`")),
            _ => None,
        }
    }
}

fn clash(a: &Place<'_>, b: &Place<'_>) -> Option<(String, &'static str)> {
    if a.path == b.path {
        let message = format!("`{}` and `{}` both stand at `{}`", a.name, b.name, a.path);
        return Some((message, "give each a path of its own"));
    }
    let is_within = |inner: &Place<'_>, outer: &Place<'_>| {
        inner.path.strip_prefix(outer.path).is_some_and(|rest| rest.starts_with('/')) && outer.holds == Holds::Nothing
    };
    let (inner, outer) = match (is_within(a, b), is_within(b, a)) {
        (true, _) => (a, b),
        (_, true) => (b, a),
        _ => return None,
    };
    let message = format!("`{}` would stand within `{}`, at `{}`", inner.name, outer.name, inner.path);
    Some((message, "only in the folder of an input can something else stand"))
}

/// Returns what the command mentions.
fn check_command<'c>(
    command: &'c str,
    inputs: &BTreeMap<&str, &Type>,
    outputs: &Named<Value>,
    at: &Named<Value>,
    errors: &mut Vec<ArgError>,
) -> BTreeSet<&'c str> {
    if command.trim().is_empty() {
        errors.push(ArgError::new("E0346", "command", "the command is empty"));
        return BTreeSet::new();
    }
    let n_errors = errors.len();
    let mut mentioned = BTreeSet::new();
    for placeholder in placeholders(command) {
        match placeholder {
            Ok((name, place)) => {
                if !inputs.contains_key(name) && !outputs.contains_key(name) {
                    errors.push(unknown(name, place, inputs, outputs));
                }
                mentioned.insert(name);
            }
            Err(error) => errors.push(error),
        }
    }
    // A misspelt placeholder is one mistake, not two.
    if errors.len() > n_errors {
        return mentioned;
    }
    for name in outputs.keys().filter(|name| !mentioned.contains(*name) && !at.contains_key(*name)) {
        let message = format!("the command does not mention output `{name}`, so it cannot know where to write it");
        errors.push(
            ArgError::new("E0347", "command", message).with_help(format!("write `{{{name}}}` where its path belongs")),
        );
    }
    mentioned
}

fn unknown(name: &str, place: Range<usize>, inputs: &BTreeMap<&str, &Type>, outputs: &Named<Value>) -> ArgError {
    let names = || inputs.keys().copied().chain(outputs.keys());
    let mut error =
        ArgError::new("E0346", "command", format!("`{name}` is neither an input nor an output of this step"));
    error.within = Some(place);
    let help = suggest(name, names()).unwrap_or_else(|| {
        let known = listed(names());
        let known = if known.is_empty() { "there are none".to_owned() } else { format!("there are {known}") };
        format!("{known}; for braces that the shell is to see, write `{{{{{name}}}}}`")
    });
    error.with_help(help)
}

/// Returns the names in braces and where each stands, braces included; an error for each brace out of place.
fn placeholders(command: &str) -> Vec<Result<(&str, Range<usize>), ArgError>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(brace) = command[from..].find(['{', '}']).map(|offset| from + offset) {
        let rest = &command[brace..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            from = brace + 2;
            continue;
        }
        let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(name, _)| name);
        match name.filter(|name| is_name(name)) {
            Some(name) => {
                from = brace + name.len() + 2;
                found.push(Ok((name, brace..from)));
            }
            None => {
                let (what, instead) =
                    if rest.starts_with('{') { ("no name and `}` follow", "{{") } else { ("no `{` precedes it", "}}") };
                let message = format!("`{}` belongs to a placeholder, but {what}", &rest[..1]);
                let mut error = ArgError::new("E0346", "command", message);
                error.within = Some(brace..brace + 1);
                found.push(Err(error.with_help(format!("write `{instead}` for a brace that the shell is to see"))));
                from = brace + 1;
            }
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn check_variables(call: &CheckedCall<'_>, errors: &mut Vec<ArgError>) {
    let none = Named::new();
    let set = check::value(call, "env").and_then(Value::as_record).unwrap_or(&none);
    let no_name =
        |name: &str| format!("`{name}` is not the name of a variable: letters, digits and `_`, no digit first");
    for name in set.keys().filter(|name| !is_name(name)) {
        errors.push(ArgError::new("E0354", &format!("env.{name}"), no_name(name)));
    }
    for (element, name) in check::strings(call, "pass_env").into_iter().enumerate() {
        let mistake = if !is_name(name) {
            no_name(name)
        } else if set.contains_key(name) {
            format!("variable `{name}` is both in `env` and in `pass_env`")
        } else if let Some(secret) = name.strip_prefix("MLP_SECRET_") {
            let error =
                ArgError::new("E0354", "pass_env", format!("the value of `{name}` would be kept with the result"));
            let help =
                format!("give the secret by its name: `env: {{ {}: secret(\"{secret}\") }}`", secret.to_uppercase());
            errors.push(check::at(element, error.with_help(help)));
            continue;
        } else {
            continue;
        };
        errors.push(check::at(element, ArgError::new("E0354", "pass_env", mistake)));
    }
}

#[cfg(test)]
mod tests {
    use super::placeholders;

    #[test]
    fn braces_are_read_from_left_to_right() {
        let names = |command| -> Vec<Result<_, _>> {
            placeholders(command).into_iter().map(|found| found.map_err(|error| error.within)).collect()
        };
        assert_eq!(names("sort {raw} > {_o1}"), [Ok(("raw", 5..10)), Ok(("_o1", 13..18))]);
        assert_eq!(names("awk '{{print}}' {é}"), [Err(Some(16..17)), Err(Some(19..20))]);
        assert_eq!(names("{{{a}}}"), [Ok(("a", 2..5))]);
        assert_eq!(names("${HOME}"), [Ok(("HOME", 1..7))]);
        assert_eq!(names("{"), [Err(Some(0..1))]);
        assert_eq!(names("{a"), [Err(Some(0..1))]);
        assert_eq!(names("}"), [Err(Some(0..1))]);
        assert_eq!(names("{a b}"), [Err(Some(0..1)), Err(Some(4..5))]);
    }
}
