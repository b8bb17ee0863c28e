//! The parameters of a `sh` step: its command with placeholders, and its variables. Unaware of files and processes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use mlp_model::{ErrorClass, Named, StartStep, StepError, Value};

const PASSED: &str = "env.";

/// Tells the command of an effect what to be known by.
const IDEMPOTENCY: &str = "MLP_IDEMPOTENCY_KEY";

/// Names the GPUs that a program may use; empty: none.
const GPUS: &str = "CUDA_VISIBLE_DEVICES";

pub struct Settings<'a> {
    command: &'a str,
    env: BTreeMap<&'a str, &'a str>,
    /// Variables whose values are secrets, with the secrets' names.
    secrets: BTreeMap<&'a str, &'a str>,
    pass_env: Vec<&'a str>,
    /// Keep it from files and network that it does not declare.
    pub confine: bool,
    /// Let it use the network.
    pub network: bool,
}

impl<'a> Settings<'a> {
    pub fn read(params: &'a Named<Value>) -> Result<Self, StepError> {
        let bug = |name: &str| {
            StepError::new(ErrorClass::Bug, "P2001", format!("`{name}` of a `sh` step is not what its signature says"))
                .with_argument(name)
        };
        let command = params.get("command").and_then(Value::as_str).ok_or_else(|| bug("command"))?;
        let (mut env, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        if let Some(value) = params.get("env") {
            for (name, value) in value.as_record().ok_or_else(|| bug("env"))? {
                check_name("env", name)?;
                match value.as_secret() {
                    Some(secret) => secrets.insert(name, secret),
                    None => env.insert(name, value.as_str().ok_or_else(|| bug("env"))?),
                };
            }
        }
        let pass_env = match params.get("pass_env") {
            None => Vec::new(),
            Some(value) => value.as_strings().ok_or_else(|| bug("pass_env"))?,
        };
        for name in &pass_env {
            check_name("pass_env", name)?;
        }
        for (name, text) in env.iter().map(|(name, value)| (*name, *value)).chain([("command", command)]) {
            if text.contains('\0') {
                let message = format!("the text of `{name}` holds a NUL character, which no program can be given");
                return Err(StepError::new(ErrorClass::User, "P2002", message));
            }
        }
        let confine = match params.get("confine").map(Value::as_str) {
            None | Some(Some("on")) => true,
            Some(Some("off")) => false,
            Some(_) => return Err(bug("confine")),
        };
        let network = match params.get("network") {
            None => false,
            Some(Value::Bool(network)) => *network,
            Some(_) => return Err(bug("network")),
        };
        Ok(Self { command, env, secrets, pass_env, confine, network })
    }

    /// Returns variables with the names of the secrets that are their values.
    pub fn secrets(&self) -> &BTreeMap<&'a str, &'a str> {
        &self.secrets
    }

    /// Returns the variables that `pass_env` names.
    pub fn names_passed(&self) -> BTreeSet<String> {
        self.pass_env.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Returns the values of the variables that `pass_env` names, as they go into the key.
    pub fn passed(&self, variables: &BTreeMap<OsString, OsString>) -> Result<BTreeMap<String, String>, StepError> {
        let mut passed = BTreeMap::new();
        for name in &self.pass_env {
            let fail = |what: &str, help: String| {
                let message = format!("`pass_env` names the variable `{name}`, {what}");
                StepError::new(ErrorClass::User, "P2003", message).with_argument("pass_env").with_help(help)
            };
            let value = variables.get(OsStr::new(name)).ok_or_else(|| {
                fail("which is not set", format!("set it (`export {name}=..`) or take it out of `pass_env`"))
            })?;
            let value = value
                .to_str()
                .ok_or_else(|| fail("whose value is not UTF-8 text", "give it a value in UTF-8".to_owned()))?;
            passed.insert(format!("{PASSED}{name}"), value.to_owned());
        }
        Ok(passed)
    }

    /// Returns the variables that the pipeline declares, with the values that stand in the key; secrets are not among them.
    pub fn variables(&self, step: &StartStep, path: Option<&OsStr>) -> Result<Vec<(OsString, OsString)>, StepError> {
        let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
        let mut variables: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), path.into()),
            // The other categories of `C.UTF-8` are those of `C`, and each would cost every program a file to open.
            ("LC_CTYPE".into(), "C.UTF-8".into()),
            ("TZ".into(), "UTC".into()),
            ("SOURCE_DATE_EPOCH".into(), "315532800".into()),
        ];
        variables.extend(self.env.iter().map(|(name, value)| (name.into(), value.into())));
        for name in &self.pass_env {
            let value = step.environment.get(&format!("{PASSED}{name}")).ok_or_else(|| {
                StepError::new(ErrorClass::Bug, "P2001", format!("the value of variable `{name}` is not in the key"))
            })?;
            variables.push((name.into(), value.into()));
        }
        variables.extend(step.idempotency_key.iter().map(|key| (IDEMPOTENCY.into(), key.into())));
        // Last, so that nothing above says otherwise: a step sees the GPUs that it was given, and no others.
        variables.push((GPUS.into(), step.gpus.join(",").into()));
        Ok(variables)
    }

    /// Replaces `{name}` by the path of that input or output, quoted for the shell; `{{` and `}}` are braces.
    pub fn expand(&self, paths: &BTreeMap<String, String>) -> Result<String, StepError> {
        let fail = |message: String, help: String| {
            StepError::new(ErrorClass::User, "P2002", message).with_argument("command").with_help(help)
        };
        let mut expanded = String::with_capacity(self.command.len());
        let mut rest = self.command;
        while let Some((text, brace, after)) = split_at_brace(rest) {
            expanded.push_str(text);
            if let Some(after) = after.strip_prefix(brace) {
                expanded.push(brace);
                rest = after;
                continue;
            }
            let placeholder = if brace == '{' { after.split_once('}') } else { None };
            let Some((name, after)) = placeholder else {
                let message = format!("a `{brace}` in the command belongs to no placeholder");
                return Err(fail(message, format!("write `{brace}{brace}` for a brace that the shell is to see")));
            };
            let path = paths.get(name).ok_or_else(|| {
                let names: Vec<_> = paths.keys().map(|name| format!("`{name}`")).collect();
                let message = format!("`{name}` in the command is neither an input nor an output of this step");
                let help = format!("there are {}; for braces that the shell is to see, double them", names.join(", "));
                fail(message, help)
            })?;
            let quoted = shlex::try_quote(path).map_err(|_| {
                fail(format!("the path of `{name}` cannot be written for the shell"), "rename it".to_owned())
            })?;
            expanded.push_str(&quoted);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

fn split_at_brace(text: &str) -> Option<(&str, char, &str)> {
    let place = text.find(['{', '}'])?;
    let (before, from_brace) = text.split_at(place);
    let brace = from_brace.chars().next()?;
    Some((before, brace, &from_brace[1..]))
}

fn check_name(argument: &str, name: &str) -> Result<(), StepError> {
    let mistake = if name.is_empty() || name.contains(['=', '\0']) {
        format!("`{name}` cannot be the name of a variable")
    } else {
        return Ok(());
    };
    let error = StepError::new(ErrorClass::User, "P2003", mistake).with_argument(argument);
    Err(error.with_help("use letters, digits and `_`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(command: &str) -> Result<String, String> {
        let params = Named::from([("command", Value::Str(command.to_owned()))]);
        let paths = [("raw", "in/raw.csv"), ("odd", "in/o'd d$(x)"), ("made", "out/made")];
        let paths = paths.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
        Settings::read(&params).unwrap().expand(&paths).map_err(|error| error.message)
    }

    #[test]
    fn placeholders_become_paths_and_double_braces_single_ones() {
        let cases = [
            ("sort {raw} > {made}", "sort in/raw.csv > out/made"),
            ("echo \"{raw}\"", "echo \"in/raw.csv\""),
            ("awk '{{print $1}}' {raw}", "awk '{print $1}' in/raw.csv"),
            ("{{{raw}}}", "{in/raw.csv}"),
            ("echo ${{HOME}} é {{}}", "echo ${HOME} é {}"),
            ("cat {odd}", r#"cat "in/o'd d"'$(x)'"#),
            ("", ""),
        ];
        for (command, expected) in cases {
            assert_eq!(expanded(command).as_deref(), Ok(expected), "{command}");
        }
    }

    #[test]
    fn braces_out_of_place_are_named() {
        let cases = [
            ("echo {", "a `{` in the command belongs to no placeholder"),
            ("echo }", "a `}` in the command belongs to no placeholder"),
            ("echo {raw", "a `{` in the command belongs to no placeholder"),
            ("echo ${HOME}", "`HOME` in the command is neither an input nor an output of this step"),
            ("echo {é}", "`é` in the command is neither an input nor an output of this step"),
        ];
        for (command, expected) in cases {
            assert_eq!(expanded(command), Err(expected.to_owned()), "{command}");
        }
    }
}
