//! Finds the workspace and reads its settings.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::quantities;

/// The settings file, at the workspace's root.
pub const SETTINGS_FILE: &str = "mlp.yaml";

/// The folder that a store belongs to.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub root: PathBuf,
    pub settings: Settings,
}

/// `mlp.yaml`. Unknown keys are refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Steps that may run at once.
    #[serde(default)]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Seconds after which the store's owner process leaves when nobody needs it.
    #[serde(default)]
    pub owner_idle_seconds: Option<u64>,
    /// What runs may use of the machine, where that is not all there is.
    #[serde(default)]
    pub resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Memory that steps may ask for together: `64 GiB`.
    #[serde(default)]
    pub mem: Option<Size>,
    /// Named tokens, and how many steps may have one at once.
    #[serde(default)]
    pub tokens: BTreeMap<String, NonZeroU32>,
    /// UUIDs of the GPUs that steps may use; all of them if not given.
    #[serde(default)]
    pub gpus: Option<Vec<String>>,
}

/// An amount of memory, as the language writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let size = quantities::size(&text).ok().filter(|bytes| *bytes > 0);
        size.map(Self).ok_or_else(|| format!("`{text}` is no amount of memory; write `8 GiB`, for example"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("cannot read `{path}`: {message}")]
    Unreadable { path: PathBuf, message: String },
    #[error("`{path}` is not right: {message}")]
    Settings { path: PathBuf, message: String },
}

impl Workspace {
    /// Returns the workspace of a file or folder: the nearest folder above it with `mlp.yaml`, else the git root, else
    /// `near` itself or, for a file, its folder.
    pub fn of(near: &Path) -> Result<Self, WorkspaceError> {
        let root = Self::root_of(near)?;
        let settings = Settings::read(&root.join(SETTINGS_FILE))?;
        Ok(Self { root, settings })
    }

    /// Returns the folder of [`Workspace::of`], and reads no settings.
    pub fn root_of(near: &Path) -> Result<PathBuf, WorkspaceError> {
        let absolute = std::path::absolute(near)
            .and_then(|path| path.canonicalize().or(Ok(path)))
            .map_err(|e| WorkspaceError::Unreadable { path: near.to_owned(), message: e.to_string() })?;
        let start = if absolute.is_dir() { absolute.as_path() } else { absolute.parent().unwrap_or(&absolute) };
        let above = |marker: &str| start.ancestors().find(|folder| folder.join(marker).exists());
        Ok(above(SETTINGS_FILE).or_else(|| above(".git")).unwrap_or(start).to_owned())
    }

    /// Returns how to name a file of the workspace to a person: relative to the root where it can be.
    pub fn shown(&self, file: &Path) -> String {
        let absolute = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        absolute.strip_prefix(&self.root).unwrap_or(&absolute).display().to_string()
    }
}

impl Settings {
    fn read(path: &Path) -> Result<Self, WorkspaceError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(WorkspaceError::Unreadable { path: path.to_owned(), message: e.to_string() }),
        };
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        serde_yaml::from_str(&text)
            .map_err(|e| WorkspaceError::Settings { path: path.to_owned(), message: e.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_settings_file_wins_over_the_git_root() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("team/pipelines");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        let file = inner.join("a.mlp");
        std::fs::write(&file, "pipeline a").unwrap();
        assert_eq!(Workspace::of(&file).unwrap().root, dir.path().canonicalize().unwrap());
        std::fs::write(dir.path().join("team/mlp.yaml"), "jobs: 3\n").unwrap();
        let workspace = Workspace::of(&file).unwrap();
        assert_eq!(workspace.root, dir.path().canonicalize().unwrap().join("team"));
        assert_eq!(workspace.settings.jobs.map(std::num::NonZeroUsize::get), Some(3));
        assert_eq!(workspace.shown(&file), "pipelines/a.mlp");
    }

    #[test]
    fn resources_are_read_strictly() {
        let read = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("mlp.yaml"), text).unwrap();
            Workspace::of(dir.path()).map(|workspace| workspace.settings.resources).map_err(|e| e.to_string())
        };
        let resources = read("resources:\n  mem: 64 GiB\n  tokens: { licence: 2 }\n  gpus: [GPU-a, GPU-b]\n").unwrap();
        assert_eq!(resources.mem, Some(Size(64 << 30)));
        assert_eq!(resources.tokens["licence"].get(), 2);
        assert_eq!(resources.gpus, Some(vec!["GPU-a".to_owned(), "GPU-b".to_owned()]));
        for (text, said) in [
            ("resources: { mem: 64 gigs }", "`64 gigs` is no amount of memory"),
            ("resources: { mem: 64 }", "resources"),
            ("resources: { tokens: { licence: 0 } }", "licence"),
            ("resources: { token: { licence: 1 } }", "token"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mlp.yaml"), "job: 3\n").unwrap();
        let error = Workspace::of(dir.path()).unwrap_err().to_string();
        assert!(error.contains("job") && error.contains("jobs"), "{error}");
    }
}
