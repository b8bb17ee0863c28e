//! What is checked of records that another workspace wrote, before they are believed.
//!
//! Whether a result is true cannot be checked by reading; that it belongs to the key under which it would be found, can.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mlp_model::{ArtifactKind, CacheKey, Digest, Record, RunId, Sensitivity, StepResult, Store, StoreError};

/// Checks a result against the fields of its key. Says what is wrong.
pub(crate) fn check_key(result: &StepResult, fields: &[u8]) -> Result<(), String> {
    let key: CacheKey = serde_json::from_slice(fields).map_err(|_| "the fields of a key cannot be read".to_owned())?;
    let inputs: BTreeMap<&str, Digest> =
        result.inputs.iter().map(|input| (input.name.as_str(), input.digest)).collect();
    let same_inputs = key.inputs.iter().map(|(name, digest)| (name.as_str(), *digest)).eq(inputs);
    if key.id() != result.key || key.op != result.op || !same_inputs {
        return Err(format!("the result of key {} does not fit the fields of that key", result.key.0.short()));
    }
    Ok(())
}

/// Refuses texts that could play tricks with a terminal.
pub(crate) fn check_texts(record: &Record) -> Result<(), String> {
    fn is_plain(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')),
            serde_json::Value::Array(items) => items.iter().all(is_plain),
            serde_json::Value::Object(members) => {
                members.iter().all(|(name, value)| name.chars().all(|c| !c.is_control()) && is_plain(value))
            }
            _ => true,
        }
    }
    let value = serde_json::to_value(record).map_err(|error| format!("a record cannot be read: {error}"))?;
    if is_plain(&value) { Ok(()) } else { Err("a record holds control characters".to_owned()) }
}

/// Refuses names of runs that could lead elsewhere.
pub(crate) fn check_run(run: &RunId) -> Result<(), String> {
    let is_name = !run.0.is_empty() && run.0.len() <= 32 && run.0.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name { Ok(()) } else { Err("a run has an impossible name".to_owned()) }
}

/// Adds the objects that describe or measure others to `found`: they are kept plain where all else is encrypted.
pub(crate) fn descriptions(record: &Record, found: &mut BTreeSet<Digest>) {
    match record {
        Record::StepFinished { result, .. } => {
            found.insert(result.key_object);
            let reports = result.outputs.iter().filter(|output| output.kind == ArtifactKind::Report);
            found.extend(reports.map(|output| output.digest));
        }
        Record::Released { bundle, .. } => _ = found.insert(*bundle),
        Record::Collected { objects, .. } | Record::Erased { objects, .. } => _ = found.insert(*objects),
        _ => {}
    }
}

/// Brings a file from elsewhere into the store.
pub(crate) fn adopt(
    store: &dyn Store,
    file: &Path,
    (sensitivity, partitions): (Sensitivity, &[String]),
    is_description: bool,
) -> Result<(Digest, u64), StoreError> {
    if is_description && sensitivity == Sensitivity::Plain {
        store.adopt_figures(file)
    } else {
        store.adopt(file, sensitivity, partitions)
    }
}
