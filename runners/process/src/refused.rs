//! What is said of a step that was refused a file: which one, and what to write so that it is an input.

use std::path::{Component, Path, PathBuf};
use std::process::ExitStatus;

use mlp_model::{ErrorClass, StartStep, StepError};

use crate::ended;
use crate::places::is_systems_own;
use crate::witness::{Denial, Denials, Wish};

/// Returns the error of a step that ended with `status` after it was refused something; `None` if the refusals do not
/// matter.
///
/// A refused read counts even if the command succeeds: in `cat a.csv | sort`, nobody hears of `cat`'s failure, and the
/// result is empty. Looking around in the system or for settings, writing and network count only where the command
/// fails. `folder` is the pipeline's.
pub fn judge(folder: Option<&Path>, denials: &Denials, status: ExitStatus, last_lines: &[String]) -> Option<StepError> {
    let is_undeclared = |denial: &&Denial| {
        let may_do_without = is_systems_own(&denial.path) || denial.is_elsewhere && is_tools_own(&denial.path);
        denial.wish != Wish::Write && !may_do_without
    };
    let main = denials.files.iter().find(is_undeclared);
    let main = main.or_else(|| denials.files.first().filter(|_| !status.success()));
    let network_help = "the command asked for the network, which a step has only with `network: true`";
    let Some(main) = main else {
        if status.success() || !denials.network {
            return None;
        }
        return Some(ended::failed(status, last_lines.to_vec()).with_help(network_help));
    };
    let name = shown(&main.path, folder);
    let (message, mut help) = match main.wish {
        Wish::Write => (
            format!("the command tried to write `{name}`, which is outside its folder"),
            "write results to outputs (`{name}`), and what is not kept to the folder in which it runs or to `$TMPDIR`"
                .to_owned(),
        ),
        _ if is_systems_own(&main.path) => (
            format!("command failed after it was refused `{name}`"),
            "a confined step sees installed programs and a few files of `/etc`; make the file an input, or let the step \
             see everything: `confine: off`"
                .to_owned(),
        ),
        wish => {
            let (does, kind) = match wish {
                Wish::List => ("list the folder", "folder"),
                Wish::Execute => ("execute", "file"),
                Wish::Read | Wish::Write => ("read", "file"),
            };
            let argument = argument_name(&main.path);
            (
                format!("the command tried to {does} `{name}`, which is not an input of this step"),
                format!(
                    "add `{argument}: {kind}({name:?})` to `inputs`, and write `{{{argument}}}` in the command where \
                     its path belongs"
                ),
            )
        }
    };
    if denials.network && !status.success() {
        help = format!("{help}; {network_help}");
    }
    let others = denials.files.iter().filter(|denial| *denial != main);
    let mut detail: Vec<String> = others
        .map(|denial| {
            let does = match denial.wish {
                Wish::Read => "read",
                Wish::List => "list",
                Wish::Execute => "execute",
                Wish::Write => "write",
            };
            format!("also refused: to {does} {}", shown(&denial.path, folder))
        })
        .collect();
    detail.extend_from_slice(last_lines);
    let error = StepError::new(ErrorClass::Step, "P2015", message).with_detail(detail).with_help(help);
    Some(if matches!(main.wish, Wish::Write) { error } else { error.with_argument("inputs") })
}

/// Returns what to call a file as an input.
fn argument_name(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let name: String =
        stem.trim_start_matches('.').chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = name.trim_matches('_');
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name.to_owned() } else { format!("file_{name}") }
}

/// Returns the folder from which the pipeline names its files: told by an input that is a file beside it. Without one,
/// it is taken to be the workspace's root, which holds the store in which the step works.
pub fn folder_of_pipeline(step: &StartStep) -> Option<PathBuf> {
    let beside = step.inputs.values().find_map(|input| {
        let shown = Path::new(&input.shown);
        let is_plain = shown.components().all(|part| matches!(part, Component::Normal(_)));
        (is_plain && input.path.ends_with(shown)).then(|| input.path.ancestors().nth(shown.components().count()))?
    });
    let store = step.work_dir.ancestors().find(|above| above.file_name().is_some_and(|name| name == ".mlp"));
    beside.or_else(|| store?.parent()).and_then(|folder| folder.canonicalize().ok())
}

/// Names a file as the pipeline would.
fn shown(path: &Path, folder: Option<&Path>) -> String {
    let relative = folder.and_then(|folder| path.strip_prefix(folder).ok());
    relative.filter(|path| !path.as_os_str().is_empty()).unwrap_or(path).display().to_string()
}

/// Returns whether a file is one that tools look for in the folder in which they run, and do without.
fn is_tools_own(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_settings = path.extension().is_some_and(|extension| {
        ["toml", "cfg", "ini", "lock", "yaml", "yml", "conf"].iter().any(|settings| extension == *settings)
    });
    is_hidden || is_settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_a_name_that_can_be_written() {
        let cases = [
            ("data/x.csv", "x"),
            ("data/y 2.csv", "y_2"),
            ("a/.env", "env"),
            ("2026.csv", "file_2026"),
            ("été.csv", "t"),
            ("日本.csv", "file_"),
            ("tools", "tools"),
        ];
        for (path, name) in cases {
            assert_eq!(argument_name(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn settings_of_tools_are_told_from_data() {
        for path in ["pyproject.toml", ".Rprofile", "ws/setup.cfg", ".git"] {
            assert!(is_tools_own(Path::new(path)), "{path}");
        }
        for path in ["x.csv", "data", "config.json", "fit.py"] {
            assert!(!is_tools_own(Path::new(path)), "{path}");
        }
    }
}
