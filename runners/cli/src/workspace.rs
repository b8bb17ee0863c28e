//! Finds the workspace and reads its settings.

use std::path::{Path, PathBuf};

use crate::settings::{SETTINGS_FILE, Settings, SettingsError};

/// The folder that a store belongs to.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub root: PathBuf,
    pub settings: Settings,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("cannot read `{path}`: {message}")]
    Unreadable { path: PathBuf, message: String },
    #[error(transparent)]
    Settings(#[from] SettingsError),
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
    fn an_unknown_setting_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mlp.yaml"), "job: 3\n").unwrap();
        let error = Workspace::of(dir.path()).unwrap_err().to_string();
        assert!(error.contains("job") && error.contains("jobs"), "{error}");
    }
}
