//! One of the two versions: a file on the disk, or as git has it at a revision.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output as Ran};

use mlp_dsl::{Assignment, Assignments, CheckInput, Checked, Listed, PathKind, Severity, World, WorldError};
use mlp_model::Pipeline;

use crate::args::ValueArgs;
use crate::compile::{Disk, open_workspace};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::report::words;
use crate::{values, wiring};

/// Loads and checks `FILE` or `REVISION:FILE`. Mistakes are printed.
pub fn load(shown: &str, values: &ValueArgs, output: &Output) -> Result<Pipeline, Failure> {
    let revision = shown.split_once(':').filter(|_| !Path::new(shown).exists());
    let file = Path::new(revision.map_or(shown, |(_, file)| file));
    // Profiles are those of today, for both versions: what is compared is the file.
    let params = values::assignments(values, &open_workspace(file)?.settings)?.assignments;
    let checked = match revision {
        Some((revision, _)) => {
            let git = Git { revision: revision.to_owned() };
            git.must_know_revision()?;
            check(&git, file, params)
        }
        None => check(&Disk, file, params),
    };
    checked.pipeline.ok_or_else(|| {
        let errors: Vec<_> = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        if output.json {
            return Failure::usage(format!("`{shown}` has {}", words::plural(errors.len(), "error")));
        }
        for diagnostic in &errors {
            output.note(mlp_dsl::render(diagnostic, &checked.sources, output.colour, output.width()));
        }
        Failure::usage(format!("`{shown}` has {}, so its meaning is not known", words::plural(errors.len(), "error")))
    })
}

/// A version may lack a parameter that the other one has, so those that are not known are left out.
fn check(world: &dyn World, file: &Path, mut params: Assignments) -> Checked {
    let catalogue = wiring::catalogue();
    loop {
        let checked = mlp_dsl::check(&CheckInput { file, params: &params, catalogue: &catalogue, world });
        let is_unknown = |assignment: &Assignment| {
            let told = format!("`{}`", assignment.name);
            checked.diagnostics.iter().any(|d| d.code == "E0213" && d.message.contains(&told))
        };
        let n_given = params.list.len();
        params.list.retain(|assignment| !is_unknown(assignment));
        if params.list.len() == n_given {
            return checked;
        }
    }
}

/// The files of a revision. What git does not track, data mostly, is looked for on the disk.
struct Git {
    revision: String,
}

impl Git {
    fn must_know_revision(&self) -> Result<(), Failure> {
        let revision = &self.revision;
        let ran = git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")])
            .map_err(|e| Failure::new(Exit::Environment, format!("git cannot be run: {e}")).with_help("install git"))?;
        if ran.status.success() {
            return Ok(());
        }
        Err(Failure::usage(format!("git knows no revision `{revision}` here"))
            .with_help("a version is a file, or REVISION:FILE, such as main:pipelines/churn/churn.mlp"))
    }

    /// Names a path for git: relative to the current folder, which git spells with a `./`.
    fn object(&self, path: &Path) -> String {
        if path.is_absolute() {
            let here = std::env::current_dir().unwrap_or_default();
            if let Ok(inside) = path.strip_prefix(here) {
                return format!("{}:./{}", self.revision, inside.display());
            }
        }
        format!("{}:./{}", self.revision, path.display())
    }
}

impl World for Git {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        let ran = git(&["show", "--end-of-options", &self.object(path)])
            .map_err(|e| WorldError::Other(format!("git cannot be run: {e}")))?;
        if !ran.status.success() {
            return Err(WorldError::NotFound);
        }
        String::from_utf8(ran.stdout).map_err(|e| WorldError::NotUtf8 { offset: e.utf8_error().valid_up_to() })
    }

    fn kind(&self, path: &Path) -> PathKind {
        match git(&["cat-file", "-t", "--end-of-options", &self.object(path)]) {
            Ok(ran) if ran.stdout.starts_with(b"blob") => PathKind::File,
            Ok(ran) if ran.stdout.starts_with(b"tree") => PathKind::Folder,
            _ => Disk.kind(path),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        let ran = git(&["ls-tree", "-z", "--end-of-options", &self.object(path)]);
        let tracked = ran.map_or_else(|_| String::new(), |ran| String::from_utf8_lossy(&ran.stdout).into_owned());
        let tracked = tracked.split_terminator('\0').filter_map(|line| {
            let (about, name) = line.split_once('\t')?;
            let kind = if about.contains(" tree ") { PathKind::Folder } else { PathKind::File };
            Some(Listed { name: name.to_owned(), kind, is_link: about.starts_with("120000") })
        });
        // What the revision has comes before what is on the disk.
        let tracked: BTreeMap<String, Listed> = tracked.map(|entry| (entry.name.clone(), entry)).collect();
        match Disk.list(path) {
            Ok(mut listed) => {
                listed.retain(|entry| !tracked.contains_key(&entry.name));
                listed.extend(tracked.into_values());
                Ok(listed)
            }
            Err(_) if !tracked.is_empty() => Ok(tracked.into_values().collect()),
            Err(error) => Err(error),
        }
    }
}

fn git(args: &[&str]) -> std::io::Result<Ran> {
    Command::new("git").args(args).output()
}
