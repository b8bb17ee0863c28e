//! The errors that the engine itself finds in a step, with their codes, and what a store error means to a step.

use std::io;

use mlp_model::{ErrorClass, StepError, StoreError};

/// Turns trouble of the store into the failure of the step that met it.
pub(crate) fn store_trouble(error: &StoreError) -> StepError {
    let fault = StepError::new(ErrorClass::Environment, "N6501", error.to_string());
    match error {
        StoreError::DiskFull { .. } => fault.with_help("free some space and run again; finished steps are kept"),
        StoreError::JournalDamaged { .. } => fault.with_help("`mlp doctor` shows what is whole"),
        StoreError::NewerFormat { .. } => fault.with_help("use the mlp that wrote it, or a newer one"),
        StoreError::NetworkFilesystem(_) => {
            fault.with_help("put the workspace on a local disk, or make its `.mlp` a link to a folder there")
        }
        StoreError::Key { place: None, .. } => fault.with_help("say in mlp.yaml where keys are: `encryption`"),
        StoreError::Key { .. } => {
            fault.with_help("bring the key back; to give up what is encrypted with it: `mlp erase`")
        }
        _ => fault,
    }
}

pub(crate) fn bug(code: &str, message: impl Into<String>) -> StepError {
    StepError::new(ErrorClass::Bug, code, message).with_help("this is a mistake of mlp: please report it")
}

/// Tells of a panic in work done for step `step`. Its text is left out: it may hold a value of the data.
pub(crate) fn panicked(step: &str) -> StepError {
    bug("N6302", format!("step `{step}` ended in a panic"))
}

/// Turns an I/O error into the store's words for it, for files that the engine handles on the store's disk.
pub(crate) fn io_trouble(action: &str, path: &std::path::Path, error: &io::Error) -> StoreError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
        _ => StoreError::Io { action: action.to_owned(), path, message: plain_words(error) },
    }
}

/// Returns the error's text without the number of the operating system.
pub(crate) fn plain_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "file not found".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            let mut words = text[..end].to_owned();
            if let Some(first) = words.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            words
        }
    }
}
