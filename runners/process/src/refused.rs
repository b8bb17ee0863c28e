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
/// result is empty. Looking around in the system, writing and network count only where the command fails.
pub fn judge(step: &StartStep, denials: &Denials, status: ExitStatus, last_lines: &[String]) -> Option<StepError> {
    let is_undeclared = |denial: &&Denial| denial.wish != Wish::Write && !is_systems_own(&denial.path);
    let main = denials.files.iter().find(is_undeclared);
    let main = main.or_else(|| denials.files.first().filter(|_| !status.success()));
    let network_help = "the command asked for the network, which a step has only with `network: true`";
    let Some(main) = main else {
        if status.success() || !denials.network {
            return None;
        }
        return Some(ended::failed(status, last_lines.to_vec()).with_help(network_help));
    };
    let names = Names::of(step);
    let name = names.shown(&main.path);
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
            format!("also refused: to {does} {}", names.shown(&denial.path))
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

/// How a pipeline names files: from the folder of its file.
struct Names {
    folder: Option<PathBuf>,
}

impl Names {
    /// The folder is told by an input that is a file beside the pipeline. Without one, it is the workspace's: the one
    /// that holds the store in which the step works.
    fn of(step: &StartStep) -> Self {
        let beside = step.inputs.values().find_map(|input| {
            let shown = Path::new(&input.shown);
            let is_plain = shown.components().all(|part| matches!(part, Component::Normal(_)));
            (is_plain && input.path.ends_with(shown)).then(|| input.path.ancestors().nth(shown.components().count()))?
        });
        let store = step.work_dir.ancestors().find(|above| above.file_name().is_some_and(|name| name == ".mlp"));
        let folder = beside.or_else(|| store?.parent()).and_then(|folder| folder.canonicalize().ok());
        Self { folder }
    }

    fn shown(&self, path: &Path) -> String {
        let relative = self.folder.as_ref().and_then(|folder| path.strip_prefix(folder).ok());
        let shown = relative.filter(|path| !path.as_os_str().is_empty()).unwrap_or(path);
        shown.display().to_string()
    }
}
