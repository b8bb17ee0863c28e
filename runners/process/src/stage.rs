//! Fills the folder in which a step runs: copies of the inputs in `in/`, and what stands elsewhere.
//! Unaware of processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use mlp_model::{ArtifactKind, ErrorClass, Input, InputFile, Named, StartStep, StepError};

use crate::copy::{copy_folder, copy_into};
use crate::ended;
use crate::project::{Project, make_parents};
use crate::sandbox::{Sandbox, Sandboxes};
use crate::step::Ticket;

const FILE_NAME: &str = "file.";

/// Returns, as `file.NAME`, the name that each file beside the pipeline has in `in/`: the input's name, with the
/// extension of the file.
pub fn file_names(inputs: &Named<Input>, project: &Project<'_>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (argument, input) in inputs {
        if let Input::Path { shown, folder: false, .. } = input
            && let Some(extension) = extension(shown)
            && let name = short_name(argument)
            && project.place(name).is_none()
        {
            names.insert(format!("{FILE_NAME}{name}"), format!("{name}{extension}"));
        }
    }
    names
}

/// Takes an empty folder.
pub fn take(step: &StartStep, project: &Project<'_>, sandboxes: &Sandboxes) -> Result<Sandbox, StepError> {
    let taken = if project.is_usual() {
        sandboxes.take(&step.work_dir)
    } else {
        // The folders that everything is placed beside are not there to be in the way.
        let has_in = step.inputs.keys().any(|argument| project.place(short_name(argument)).is_none());
        let has_out = step.outputs.iter().any(|(name, _)| project.place(name).is_none());
        let parts = [(has_in, "in"), (has_out, "out"), (true, "tmp")];
        let parts = parts.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, name)| name);
        Sandbox::make(&step.work_dir, &parts.collect::<Vec<_>>())
    };
    taken.map_err(|error| ended::no_folder("make", "the folder of the step", &error))
}

/// Copies the inputs into the folder.
pub fn prepare(
    step: &StartStep,
    project: &Project<'_>,
    sandbox: &mut Sandbox,
    ticket: &Ticket,
) -> Result<(), StepError> {
    let folder = sandbox.folder.clone();
    let mut paths = BTreeMap::new();
    let mut copies = Vec::new();
    for (argument, input) in &step.inputs {
        let name = short_name(argument);
        let place = match project.place(name) {
            Some(place) => place.to_owned(),
            None => {
                let file_name = step
                    .environment
                    .get(&format!("{FILE_NAME}{name}"))
                    .cloned()
                    .unwrap_or_else(|| format!("{name}{}", usual_extension(input)));
                check_file_name(&file_name)?;
                format!("in/{file_name}")
            }
        };
        copies.push((place.clone(), name, input));
        paths.insert(name.to_owned(), place);
    }
    // A folder comes before what is placed in it.
    copies.sort_by(|a, b| a.0.cmp(&b.0));
    for (place, name, input) in copies {
        let is_placed = project.place(name).is_some();
        if is_placed {
            make_parents(&folder, &place).map_err(|error| no_place(&place, name, &error))?;
        }
        if !take_input(input, step, &folder.join(&place)) {
            copy_input(name, input, sandbox, &place, is_placed, ticket)?;
        }
    }
    for (place, text) in &project.texts {
        make_parents(&folder, place)
            .and_then(|()| fs::File::create_new(folder.join(place))?.write_all(text.as_bytes()))
            .map_err(|error| no_place(place, place, &error))?;
    }
    for (name, _) in &step.outputs {
        let place = match project.place(name) {
            Some(place) => {
                make_parents(&folder, place).map_err(|error| no_place(place, name, &error))?;
                place.to_owned()
            }
            None => {
                check_file_name(name)?;
                format!("out/{name}")
            }
        };
        if paths.insert(name.clone(), place).is_some() {
            let message = format!("`{name}` is both an input and an output");
            return Err(StepError::new(ErrorClass::Bug, "P2001", message));
        }
    }
    sandbox.paths = paths;
    Ok(())
}

fn no_place(place: &str, name: &str, error: &std::io::Error) -> StepError {
    if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory) {
        let message = format!("`{name}` has no place at `{place}`: another input stands there");
        let error = StepError::new(ErrorClass::User, "P2002", message).with_argument("at");
        return error.with_help("give each input a path of its own, and leave it out of folders that have such a file");
    }
    ended::no_folder("make", place, error)
}

/// Moves a folder that was laid out for this attempt alone; false: it has to be copied.
fn take_input(input: &InputFile, step: &StartStep, to: &Path) -> bool {
    let is_folder = input.ty.artifact_kind() == Some(ArtifactKind::Folder);
    let is_own = input.path.parent().is_some_and(|beside| step.work_dir.parent() == Some(beside));
    is_folder && is_own && fs::symlink_metadata(to).is_err() && fs::rename(&input.path, to).is_ok()
}

/// `is_placed`: the program knows it by its path and may start it: a file that names its interpreter can be executed.
fn copy_input(
    name: &str,
    input: &InputFile,
    sandbox: &Sandbox,
    place: &str,
    is_placed: bool,
    ticket: &Ticket,
) -> Result<(), StepError> {
    let to = &sandbox.folder.join(place);
    let go_on = || ticket.cancelled().is_none();
    let copied = if input.ty.artifact_kind() == Some(ArtifactKind::Folder) {
        copy_folder(&input.path, to, &go_on)
    } else {
        let mode = if is_placed && names_interpreter(&input.path) { 0o555 } else { 0o444 };
        sandbox.make_file(to).and_then(|file| copy_into(file, &input.path, input.size_bytes, mode, &go_on))
    };
    copied.map_err(|error| match error.kind() {
        ErrorKind::Interrupted => ended::cancelled(),
        ErrorKind::AlreadyExists if is_placed => no_place(place, name, &error),
        _ => ended::no_folder("copy", &format!("{}`, input `{name}", input.shown), &error),
    })
}

fn names_interpreter(path: &Path) -> bool {
    let mut first = [0; 2];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *b"#!"
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
