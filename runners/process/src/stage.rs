//! Lays out the folder in which a step runs: `in/` with copies of the inputs, `out/`, `tmp/`. Unaware of processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mlp_model::{ArtifactKind, ErrorClass, Input, InputFile, StartStep, StepError};

use crate::copy::{copy_file, copy_folder};
use crate::ended;
use crate::step::Ticket;

const FILE_NAME: &str = "file.";

/// The folder of one attempt. It goes with the work folder, which is not ours to remove.
pub struct Sandbox {
    /// The step's working folder.
    pub folder: PathBuf,
    /// By name of an input or output: its path, relative to the working folder.
    pub paths: BTreeMap<String, String>,
}

/// Returns, as `file.NAME`, the name that each file beside the pipeline has in `in/`: the input's name, with the
/// extension of the file.
pub fn file_names(inputs: &BTreeMap<String, Input>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (argument, input) in inputs {
        if let Input::Path { shown, folder: false, .. } = input
            && let Some(extension) = extension(shown)
        {
            let name = short_name(argument);
            names.insert(format!("{FILE_NAME}{name}"), format!("{name}{extension}"));
        }
    }
    names
}

/// Makes the folder and copies the inputs into it.
pub fn prepare(step: &StartStep, ticket: &Ticket) -> Result<Sandbox, StepError> {
    let work_dir = std::path::absolute(&step.work_dir)
        .map_err(|error| ended::no_folder("find", &step.work_dir.display().to_string(), &error))?;
    let folder = work_dir.join("sh");
    for path in [folder.clone(), folder.join("in"), folder.join("out"), folder.join("tmp")] {
        fs::create_dir(&path).map_err(|error| ended::no_folder("make", &path.display().to_string(), &error))?;
    }
    let mut paths = BTreeMap::new();
    for (argument, input) in &step.inputs {
        let name = short_name(argument);
        let file_name = step
            .environment
            .get(&format!("{FILE_NAME}{name}"))
            .cloned()
            .unwrap_or_else(|| format!("{name}{}", usual_extension(input)));
        check_file_name(&file_name)?;
        copy_input(name, input, &folder.join("in").join(&file_name), ticket)?;
        paths.insert(name.to_owned(), format!("in/{file_name}"));
    }
    for (name, _) in &step.outputs {
        check_file_name(name)?;
        if paths.insert(name.clone(), format!("out/{name}")).is_some() {
            let message = format!("`{name}` is both an input and an output");
            return Err(StepError::new(ErrorClass::Bug, "P2001", message));
        }
    }
    Ok(Sandbox { folder, paths })
}

fn copy_input(name: &str, input: &InputFile, to: &Path, ticket: &Ticket) -> Result<(), StepError> {
    let go_on = || ticket.cancelled().is_none();
    let copied = if input.ty.artifact_kind() == Some(ArtifactKind::Folder) {
        copy_folder(&input.path, to, &go_on)
    } else {
        copy_file(&input.path, input.size_bytes, to, 0o444, &go_on)
    };
    copied.map_err(|error| match error.kind() {
        ErrorKind::Interrupted => ended::cancelled(),
        _ => ended::no_folder("copy", &format!("{}`, input `{name}", input.shown), &error),
    })
}

fn short_name(argument: &str) -> &str {
    argument.strip_prefix("inputs.").unwrap_or(argument)
}

fn usual_extension(input: &InputFile) -> &'static str {
    match input.ty.artifact_kind() {
        Some(ArtifactKind::Table) => ".arrow",
        Some(ArtifactKind::Model) => ".safetensors",
        Some(ArtifactKind::Report) => ".json",
        Some(ArtifactKind::File | ArtifactKind::Folder) | None => "",
    }
}

/// Returns the extension of a path with its dot; of a compressed file, with what was compressed: `.csv.gz`.
fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?.trim_start_matches('.');
    let is_plain = |part: &str| {
        !part.is_empty() && part.len() <= 16 && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let last = name.rfind('.').filter(|dot| is_plain(&name[dot + 1..]))?;
    let is_packed = matches!(&name[last + 1..], "gz" | "bz2" | "xz" | "zst" | "lz4" | "Z");
    let inner = name[..last].rfind('.').filter(|dot| is_packed && is_plain(&name[dot + 1..last]));
    Some(&name[inner.unwrap_or(last)..])
}

fn check_file_name(name: &str) -> Result<(), StepError> {
    if name.is_empty() || name.len() > 200 || name.contains(['/', '\0']) || name == "." || name == ".." {
        let message = format!("`{name}` cannot be the name of a file");
        return Err(StepError::new(ErrorClass::User, "P2002", message).with_help("use letters, digits and `_`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::extension;

    #[test]
    fn extensions_are_what_programs_go_by() {
        let cases = [
            ("data/telco.csv", Some(".csv")),
            ("telco.v2.csv", Some(".csv")),
            ("telco.csv.gz", Some(".csv.gz")),
            ("notes.gz", Some(".gz")),
            ("dir.d/README", None),
            (".hidden", None),
            ("trailing.", None),
            ("odd.na me", None),
            ("x.$(rm)", None),
            ("é.parquet", Some(".parquet")),
            ("", None),
        ];
        for (path, expected) in cases {
            assert_eq!(extension(path), expected, "{path}");
        }
    }
}
