//! `mlp init [TEMPLATE]`: marks a workspace, and begins a pipeline from a template that runs as it is.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::here;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::settings::SETTINGS_FILE;
use crate::workspace::Workspace;

/// A pipeline with its data, as it stands in `pipelines/templates`.
struct Template {
    name: &'static str,
    about: &'static str,
    /// By their path in the folder that is made.
    files: &'static [(&'static str, &'static str)],
}

macro_rules! file {
    ($template:literal, $path:literal) => {
        ($path, include_str!(concat!("../../../../pipelines/templates/", $template, "/", $path)))
    };
}

const TEMPLATES: [Template; 4] = [
    Template {
        name: "churn",
        about: "yes or no: which customers are about to leave; marks of columns, a query, a gate on the model in use",
        files: &[file!("churn", "churn.mlp"), file!("churn", "data/customers.csv")],
    },
    Template {
        name: "demand",
        about: "a number: what shops will sell; splits in time, several nets tried, the best one released",
        files: &[file!("demand", "demand.mlp"), file!("demand", "data/sales.csv")],
    },
    Template {
        name: "fraud",
        about: "yes or no, with time: what was known of a card when it was used; no card on both sides of the split",
        files: &[file!("fraud", "fraud.mlp"), file!("fraud", "data/payments.csv"), file!("fraud", "data/ratings.csv")],
    },
    Template {
        name: "image",
        about: "small pictures, a column for each point: which metal parts have a scratch",
        files: &[file!("image", "image.mlp"), file!("image", "data/pictures.csv")],
    },
];

const SETTINGS: &str = "\
# The root of an mlp workspace: results are kept in the folder .mlp beside this file.
# jobs: 4                      # cores that a run uses at once; all of them if not said
# resources: { mem: 16 GiB }   # memory that steps may ask for together
";

pub fn init(name: Option<&str>, folder: Option<&Path>, list: bool, output: &Output) -> Result<Exit, Failure> {
    if list {
        self::list(output);
        return Ok(Exit::Done);
    }
    let here = here()?;
    let Some(name) = name else { return workspace(&here, output) };
    let Some(template) = TEMPLATES.iter().find(|template| template.name == name) else {
        let names = TEMPLATES.map(|template| template.name);
        let help = match mlp_dsl::did_you_mean(name, names) {
            Some(near) => format!("did you mean `{near}`? `mlp init --list` shows all"),
            None => format!("the templates are {}", names.join(", ")),
        };
        return Err(Failure::usage(format!("there is no template `{name}`")).with_help(help));
    };
    let folder = folder.unwrap_or_else(|| Path::new(name));
    let mut files: Vec<(PathBuf, &str)> =
        template.files.iter().map(|(path, text)| (folder.join(path), *text)).collect();
    if !is_in_workspace(&here.join(folder)) {
        files.push((PathBuf::from(SETTINGS_FILE), SETTINGS));
    }
    write_new(&files)?;
    let pipeline = folder.join(format!("{name}.mlp"));
    let pipeline = pipeline.display();
    if output.json {
        let files: Vec<_> = files.iter().map(|(path, _)| path.display().to_string()).collect();
        output.print_json(&json!({ "template": name, "pipeline": pipeline.to_string(), "files": files }));
        return Ok(Exit::Done);
    }
    for (path, _) in &files {
        output.print(format!("made {}", path.display()));
    }
    output.note(format!(
        "Next:\n  mlp check {pipeline}    # is it right? nothing runs\n  mlp run {pipeline}      # bring it up to date; a second time reuses all\n  \
         mlp show {pipeline} model\n  mlp doctor    # if it does not run: what is missing here",
    ));
    Ok(Exit::Done)
}

fn list(output: &Output) {
    if output.json {
        let templates: Vec<_> =
            TEMPLATES.iter().map(|template| json!({ "name": template.name, "about": template.about })).collect();
        return output.print_json(&json!({ "templates": templates }));
    }
    for template in &TEMPLATES {
        output.print(format!("{:8} {}", template.name, template.about));
    }
}

/// Makes the current folder a workspace.
fn workspace(here: &Path, output: &Output) -> Result<Exit, Failure> {
    if here.join(SETTINGS_FILE).exists() {
        return Err(Failure::usage(format!("this folder is a workspace already: it has a {SETTINGS_FILE}"))
            .with_help("`mlp init TEMPLATE` begins a pipeline in it; `mlp init --list` shows the templates"));
    }
    write_new(&[(PathBuf::from(SETTINGS_FILE), SETTINGS)])?;
    if output.json {
        output.print_json(&json!({ "template": null, "pipeline": null, "files": [SETTINGS_FILE] }));
    } else {
        output.print(format!("made {SETTINGS_FILE}"));
        output.note("Next: `mlp init TEMPLATE` begins a pipeline:");
        TEMPLATES.iter().for_each(|template| output.note(format!("  {:8} {}", template.name, template.about)));
    }
    Ok(Exit::Done)
}

/// Returns whether a folder, be it there or not, belongs to a workspace that somebody has marked.
fn is_in_workspace(folder: &Path) -> bool {
    let near = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(folder);
    Workspace::root_of(near).is_ok_and(|root| root.join(SETTINGS_FILE).exists() || root.join(".git").exists())
}

/// Writes files of which none may be there.
fn write_new(files: &[(PathBuf, &str)]) -> Result<(), Failure> {
    let there: Vec<String> = files
        .iter()
        .filter(|(path, _)| path.symlink_metadata().is_ok())
        .map(|(path, _)| format!("`{}`", path.display()))
        .collect();
    if !there.is_empty() {
        let verb = if there.len() == 1 { "is" } else { "are" };
        return Err(Failure::usage(format!("{} {verb} there already; nothing was written", there.join(", ")))
            .with_help("name another folder: `mlp init TEMPLATE --dir other`"));
    }
    for (path, text) in files {
        let written = (|| {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::File::create_new(path)?.write_all(text.as_bytes())
        })();
        written.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                Failure::usage(format!("cannot make `{}`: a file stands in its place", path.display()))
            }
            _ => Failure::new(Exit::Environment, format!("cannot write `{}`: {e}", path.display())),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files_below(&path, found) } else { found.push(path) }
        }
    }

    #[test]
    fn every_file_of_a_template_is_in_the_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/templates");
        let mut there = Vec::new();
        for entry in std::fs::read_dir(&root).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
            files_below(&entry.path(), &mut there);
        }
        let mut there: Vec<_> = there.iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect();
        // What trying them out leaves behind.
        there.retain(|path| path.components().all(|part| part.as_os_str() != ".mlp"));
        let embedded = TEMPLATES
            .iter()
            .flat_map(|template| template.files.iter().map(|(path, _)| Path::new(template.name).join(path)));
        let mut embedded: Vec<_> = embedded.collect();
        embedded.sort();
        there.sort();
        assert_eq!(embedded, there);
    }
}
