//! A run or a released version as one file that another workspace can take in.
//!
//! An archive is a tar file with these entries, in this order, and nothing else:
//!
//! 1. `mlpx.json`: the [`Manifest`], which gives every other entry by digest and size;
//! 2. `seal`: the digest of the first entry, as 64 hex digits;
//! 3. `records.jsonl`: one record a line, run by run;
//! 4. `objects/DIGEST`, in the order of the manifest.
//!
//! Equal content gives equal bytes. Beside the run itself it holds the records, but not the objects, of earlier runs
//! whose results it reused, so that its lineage can be told. A reader refuses a newer version. See [`crate::import`].

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use mlp_model::{ArtifactKind, Digest, Keep, Record, RunId, Sensitivity, StoreError, Stored};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, BundleError};
use crate::effect::IDEMPOTENCY_KEY;
use crate::fault::io_trouble;
use crate::objects;
use crate::registry::{Registry, VersionName};
use crate::versions::RegistryError;

/// The version of the archive's form.
pub const VERSION: u32 = 1;

pub(crate) const MANIFEST: &str = "mlpx.json";
pub(crate) const SEAL: &str = "seal";
pub(crate) const RECORDS: &str = "records.jsonl";

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `mlpx`.
    pub format: String,
    pub version: u32,
    pub what: Exported,
    /// The run that the objects belong to.
    pub run: RunId,
    pub pipeline: String,
    pub records: Sized,
    pub n_records: u64,
    /// Sorted by digest.
    pub objects: Vec<Packed>,
    /// Objects with personal values that were left out.
    pub left_out: Vec<Sized>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Exported {
    Run,
    Release { release: String, version: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sized {
    pub digest: Digest,
    pub size_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    pub digest: Digest,
    pub size_bytes: u64,
    pub sensitivity: Sensitivity,
}

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTarget {
    Run(RunId),
    /// Without a version: the live one.
    Model {
        release: String,
        version: Option<VersionName>,
    },
}

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("run {0} is still running")]
    Running(RunId),
    #[error("no run {0} is known")]
    UnknownRun(RunId),
    #[error("there is no release `{0}`")]
    UnknownRelease(String),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("version {version} of release `{release}` cannot be read: {error}")]
    Bundle { release: String, version: u64, error: BundleError },
    #[error("{} that belong to it are missing or damaged, the first is {}", .0.len(), .0[0].short())]
    Incomplete(Vec<Digest>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ExportError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Running(_) => "export it when it has ended".to_owned(),
            Self::UnknownRun(_) => "`mlp runs` lists them".to_owned(),
            Self::Registry(error) if error.help().is_some() => return error.help(),
            Self::UnknownRelease(_) | Self::Registry(_) => "`mlp models` lists releases and versions".to_owned(),
            Self::Bundle { .. } => return None,
            Self::Incomplete(_) => "run its pipeline as it was then: what is missing is made again".to_owned(),
            Self::Store(error) => return crate::fault::store_trouble(error).help,
        })
    }
}

/// Writes the archive to `path`, which is replaced once the archive is whole.
///
/// Objects with personal values are left out unless `with_personal`.
pub fn export(
    store: &dyn Keep,
    target: &ExportTarget,
    with_personal: bool,
    path: &Path,
) -> Result<Manifest, ExportError> {
    let content = Content::gather(store, target)?;
    let (manifest, records) = content.describe(store, with_personal)?;
    let partial = partial_path(path);
    let written = write(store, &manifest, &records, &partial)
        .and_then(|()| fs::rename(&partial, path).map_err(|error| io_trouble("write", path, &error)));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written?;
    Ok(manifest)
}

/// What is to be exported, before it is known which of it is personal.
struct Content {
    what: Exported,
    run: RunId,
    pipeline: String,
    /// Of all runs, each whole, the earliest first.
    records: Vec<Record>,
    objects: BTreeSet<Digest>,
}

impl Content {
    fn gather(store: &dyn Keep, target: &ExportTarget) -> Result<Self, ExportError> {
        let (what, run, released) = match target {
            ExportTarget::Run(run) => (Exported::Run, run.clone(), None),
            ExportTarget::Model { release, version } => {
                let records = store.release_records(release)?;
                let registry = Registry::fold(release, &records);
                if records.is_empty() {
                    return Err(ExportError::UnknownRelease(release.clone()));
                }
                let found = registry.find(version.as_ref())?;
                let is_it = |record: &Record| {
                    matches!(record, Record::Released { version, bundle, .. }
                        if *version == found.version && *bundle == found.bundle)
                };
                let released = records.into_iter().map(|stored| stored.record).find(is_it);
                let what = Exported::Release { release: release.clone(), version: found.version };
                (what, found.run.clone(), released)
            }
        };
        let summary = store.find_runs(&run.0)?.into_iter().find(|summary| summary.run == run);
        let summary = summary.ok_or_else(|| ExportError::UnknownRun(run.clone()))?;
        if summary.alive && summary.status.is_none() {
            return Err(ExportError::Running(run));
        }
        let runs = runs_behind(store, &run)?;
        let mut content = Self { what, run, pipeline: summary.pipeline, records: Vec::new(), objects: BTreeSet::new() };
        let mut artifacts = HashSet::new();
        for (other, records) in &runs {
            for stored in records {
                if let Record::StepFinished { result, .. } = &stored.record {
                    content.objects.insert(result.key_object);
                }
                if *other == content.run {
                    artifacts.extend(outputs_of(store, stored)?);
                }
            }
        }
        if let (Exported::Release { release, version }, Some(Record::Released { bundle, .. })) =
            (&content.what, &released)
        {
            let read = Bundle::read(store, bundle).map_err(|error| ExportError::Bundle {
                release: release.clone(),
                version: *version,
                error,
            })?;
            content.objects.insert(*bundle);
            artifacts.extend(read.pinned().into_iter().map(|pinned| (pinned.digest, pinned.kind)));
        }
        for (digest, kind) in artifacts {
            content.objects.extend(objects::all(store, kind, &digest)?);
        }
        let of_runs = runs.into_iter().flat_map(|(_, records)| records).map(|stored| stored.record);
        // What was done outside was done here: another workspace does it for itself, with the same key.
        let is_taken_along = |record: &Record| match record {
            Record::Released { .. } => false,
            Record::StepFinished { result, .. } => !result.environment.contains_key(IDEMPOTENCY_KEY),
            _ => true,
        };
        content.records = of_runs.filter(is_taken_along).chain(released).collect();
        Ok(content)
    }

    /// Looks at every object and makes the manifest, and the bytes of the records.
    fn describe(&self, store: &dyn Keep, with_personal: bool) -> Result<(Manifest, Vec<u8>), ExportError> {
        let (mut objects, mut left_out, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for digest in &self.objects {
            let Some(object) = store.object(digest)? else {
                missing.push(*digest);
                continue;
            };
            let sensitivity = store.sensitivity(digest)?.unwrap_or(Sensitivity::Personal);
            let size_bytes = object.size_bytes;
            if sensitivity == Sensitivity::Personal && !with_personal {
                left_out.push(Sized { digest: *digest, size_bytes });
            } else {
                objects.push(Packed { digest: *digest, size_bytes, sensitivity });
            }
        }
        if !missing.is_empty() {
            return Err(ExportError::Incomplete(missing));
        }
        let mut records = Vec::new();
        for record in &self.records {
            serde_json::to_writer(&mut records, record).expect("records have text keys");
            records.push(b'\n');
        }
        let manifest = Manifest {
            format: "mlpx".to_owned(),
            version: VERSION,
            what: self.what.clone(),
            run: self.run.clone(),
            pipeline: self.pipeline.clone(),
            records: Sized { digest: Digest::of(&records), size_bytes: records.len() as u64 },
            n_records: self.records.len() as u64,
            objects,
            left_out,
        };
        Ok((manifest, records))
    }
}

/// Returns the records of a run, and of the runs whose results it reused, and so on; the earliest first.
fn runs_behind(store: &dyn Keep, run: &RunId) -> Result<Vec<(RunId, Vec<Stored>)>, StoreError> {
    let mut found: BTreeMap<u64, (RunId, Vec<Stored>)> = BTreeMap::new();
    let (mut seen, mut open) = (BTreeSet::from([run.clone()]), VecDeque::from([run.clone()]));
    while let Some(run) = open.pop_front() {
        let records = store.run_records(&run)?;
        for stored in &records {
            if let Record::StepReused { run, key, .. } = &stored.record
                && let Some((executed_in, _)) = store.result_reused(key, run, stored.seq)?
                && seen.insert(executed_in.clone())
            {
                open.push_back(executed_in);
            }
        }
        let first = records.first().map_or(0, |stored| stored.seq);
        found.insert(first, (run, records));
    }
    Ok(found.into_values().collect())
}

/// Returns what a step made or reused, by a record of it.
fn outputs_of(store: &dyn Keep, stored: &Stored) -> Result<Vec<(Digest, ArtifactKind)>, StoreError> {
    let outputs = match &stored.record {
        Record::StepFinished { result, .. } => result.outputs.clone(),
        Record::StepReused { run, key, .. } => {
            store.result_reused(key, run, stored.seq)?.map(|(_, result)| result.outputs).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    Ok(outputs.into_iter().map(|output| (output.digest, output.kind)).collect())
}

fn write(store: &dyn Keep, manifest: &Manifest, records: &[u8], path: &Path) -> Result<(), StoreError> {
    let fail = |error: io::Error| io_trouble("write", path, &error);
    let text = serde_json::to_vec(manifest).expect("a manifest has text keys");
    let seal = Digest::of(&text).to_string();
    let mut archive = tar::Builder::new(BufWriter::new(File::create(path).map_err(fail)?));
    let mut append = |name: &str, size_bytes: u64, from: &mut dyn Read| {
        let mut header = tar::Header::new_ustar();
        header.set_size(size_bytes);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_path(name)?;
        header.set_cksum();
        archive.append(&header, from)
    };
    append(MANIFEST, text.len() as u64, &mut &text[..]).map_err(fail)?;
    append(SEAL, seal.len() as u64, &mut seal.as_bytes()).map_err(fail)?;
    append(RECORDS, records.len() as u64, &mut &records[..]).map_err(fail)?;
    for packed in &manifest.objects {
        let gone = || StoreError::Io {
            action: "read the object".to_owned(),
            path: packed.digest.to_string(),
            message: "it has gone meanwhile".to_owned(),
        };
        let object = store.object(&packed.digest)?.ok_or_else(gone)?;
        let mut file = File::open(&object.path).map_err(|error| io_trouble("read", &object.path, &error))?;
        append(&object_name(&packed.digest), packed.size_bytes, &mut (&mut file).take(packed.size_bytes))
            .map_err(fail)?;
    }
    let mut file = archive.into_inner().map_err(fail)?;
    file.flush().map_err(fail)?;
    file.into_inner().map_err(|error| fail(error.into_error()))?.sync_all().map_err(fail)
}

pub(crate) fn object_name(digest: &Digest) -> String {
    format!("objects/{digest}")
}

fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}
