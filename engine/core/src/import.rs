//! Takes an archive in that [`crate::export`] made: its results become cache hits here, its lineage can be told.
//!
//! The archive may be hostile. Only plain files under the names that the manifest gives are read, in its order, to no
//! more bytes than it tells; nothing is ever written under a name that the archive chooses. Every digest is checked, every
//! key against the fields that it claims, before anything enters the store; then objects enter, and last the records, all
//! at once. What cannot be checked is whether the results are true: `mlp verify` executes them again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mlp_model::{CommitGuard, Digest, Keep, Record, RunId, StoreError};
use serde::{Deserialize, Serialize};

use crate::answer::commit_and_wait;
use crate::export::{Exported, MANIFEST, Manifest, Packed, RECORDS, SEAL, VERSION, object_name};
use crate::fault::io_trouble;
use crate::foreign;
use crate::registry::Registry;

/// No honest manifest, and no honest records, are larger: they are held in memory.
const MAX_TEXT_BYTES: u64 = 512 << 20;

/// What came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    pub what: Exported,
    pub run: RunId,
    pub pipeline: String,
    /// Runs that were not known here.
    pub runs: Vec<RunId>,
    pub n_objects: usize,
    pub size_bytes: u64,
    /// Objects with personal values that the archive does not hold: their steps run again where they are needed.
    pub n_left_out: usize,
    pub release: Option<ImportedRelease>,
}

/// What became of the released version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ImportedRelease {
    /// The name was free here: the version is live under it.
    Taken { release: String, version: u64 },
    /// It is here already.
    Known { release: String, version: u64 },
    /// A release of this name has a history of its own here, which was left as it is.
    NameInUse { release: String, version: u64 },
}

/// Why an archive was not taken in. Nothing has been recorded.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read `{path}`: {message}")]
    Unreadable { path: String, message: String },
    #[error("it is no archive of mlp: {0}")]
    NoArchive(String),
    #[error("it was written by a newer mlp (archive version {found}, this one knows {VERSION})")]
    Newer { found: u32 },
    #[error("it is damaged or was tampered with: {0}")]
    Refused(String),
    #[error("run {0} is known here with other records")]
    OtherRun(RunId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Newer { .. } => "use the mlp that wrote it, or a newer one".to_owned(),
            Self::NoArchive(_) => "`mlp export` makes archives".to_owned(),
            Self::Refused(_) => "get the archive again from where it was exported; nothing of it was kept".to_owned(),
            Self::OtherRun(_) | Self::Unreadable { .. } => return None,
            Self::Store(error) => return crate::fault::store_trouble(error).help,
        })
    }
}

/// Takes in the archive at `path`. A released version is taken over where the workspace has no release of its name;
/// `rename` gives it another.
pub fn import(store: &dyn Keep, path: &Path, rename: Option<&str>) -> Result<Imported, ImportError> {
    let scratch = store.scratch()?;
    let imported = Unpacked::read(path, &scratch).and_then(|unpacked| unpacked.keep(store, rename));
    store.discard(&scratch);
    imported
}

/// An archive whose every byte has been checked.
struct Unpacked {
    manifest: Manifest,
    records: Vec<Record>,
    files: Vec<(Packed, PathBuf)>,
}

impl Unpacked {
    fn read(path: &Path, scratch: &Path) -> Result<Self, ImportError> {
        let unreadable = |error: &io::Error| ImportError::Unreadable {
            path: path.display().to_string(),
            message: crate::fault::plain_words(error),
        };
        let file = File::open(path).map_err(|error| unreadable(&error))?;
        let mut archive = tar::Archive::new(io::BufReader::new(file));
        // Raw: no extension of the format gets to rename or resize an entry.
        let mut entries = Entries(Box::new(archive.entries().map_err(|error| unreadable(&error))?.raw(true)));
        let text = entries.next(MANIFEST)?.ok_or_else(|| ImportError::NoArchive("it is empty".to_owned()))?;
        let text = text.read_text()?;
        let manifest = read_manifest(&text)?;
        let seal = entries.expect(SEAL)?.read_text()?;
        if seal != Digest::of(&text).to_string().as_bytes() {
            return Err(refused("the manifest is not the one that was sealed"));
        }
        let records = entries.expect(RECORDS)?;
        if records.size_bytes != manifest.records.size_bytes {
            return Err(refused("the records have another size than the manifest tells"));
        }
        let records = records.read_text()?;
        if Digest::of(&records) != manifest.records.digest {
            return Err(refused("the records have another digest than the manifest tells"));
        }
        let records = read_records(&records, manifest.n_records)?;
        let mut files = Vec::with_capacity(manifest.objects.len());
        for packed in &manifest.objects {
            let entry = entries.expect(&object_name(&packed.digest))?;
            let target = scratch.join(files.len().to_string());
            entry.unpack(packed, &target)?;
            files.push((*packed, target));
        }
        if entries.0.next().is_some() {
            return Err(refused("it holds more than the manifest tells"));
        }
        let unpacked = Self { manifest, records, files };
        unpacked.check()?;
        Ok(unpacked)
    }

    /// Checks that what the records claim fits together.
    fn check(&self) -> Result<(), ImportError> {
        let files: BTreeMap<Digest, &PathBuf> = self.files.iter().map(|(packed, path)| (packed.digest, path)).collect();
        let left_out: BTreeSet<Digest> = self.manifest.left_out.iter().map(|sized| sized.digest).collect();
        let (mut begun, mut executed) = (BTreeSet::new(), BTreeMap::new());
        for record in &self.records {
            foreign::check_texts(record).map_err(|what| refused(&what))?;
            let run = record.run().ok_or_else(|| refused("it holds a record that no run writes"))?;
            foreign::check_run(run).map_err(|what| refused(&what))?;
            if matches!(record, Record::RunStarted { .. }) != begun.insert(run.clone()) {
                return Err(refused(&format!("run {run} does not begin with its beginning")));
            }
            if let Record::StepFinished { result, .. } = record {
                let object =
                    files.get(&result.key_object).ok_or_else(|| refused("the fields of a key are not in it"))?;
                let fields =
                    fs::read(object).map_err(|error| ImportError::Store(io_trouble("read", object, &error)))?;
                foreign::check_key(result, &fields).map_err(|what| refused(&what))?;
                executed.insert(result.key, result);
            }
            if let Record::Released { release, version, bundle, run, .. } = record {
                let expected = Exported::Release { release: release.clone(), version: *version };
                if self.manifest.what != expected || *run != self.manifest.run || !files.contains_key(bundle) {
                    return Err(refused("it releases something else than it says"));
                }
            }
        }
        if !begun.contains(&self.manifest.run) {
            return Err(refused("the run that it is about is not in it"));
        }
        for record in self.records.iter().filter(|record| record.run() == Some(&self.manifest.run)) {
            let result = match record {
                Record::StepFinished { result, .. } => Some(result),
                Record::StepReused { key, .. } => executed.get(key).copied(),
                _ => None,
            };
            for output in result.iter().flat_map(|result| &result.outputs) {
                if !files.contains_key(&output.digest) && !left_out.contains(&output.digest) {
                    return Err(refused(&format!("object {} is not in it", output.digest.short())));
                }
            }
        }
        Ok(())
    }

    /// Brings objects and records into the store.
    fn keep(self, store: &dyn Keep, rename: Option<&str>) -> Result<Imported, ImportError> {
        let Self { manifest, records, files } = self;
        let mut descriptions = BTreeSet::new();
        records.iter().for_each(|record| foreign::descriptions(record, &mut descriptions));
        let (mut by_run, mut released): (Vec<(RunId, Vec<Record>)>, _) = (Vec::new(), None);
        for record in records {
            if matches!(record, Record::Released { .. }) {
                released = Some(record);
                continue;
            }
            let Some(run) = record.run().cloned() else { continue };
            match by_run.iter_mut().find(|(known, _)| *known == run) {
                Some((_, records)) => records.push(record),
                None => by_run.push((run, vec![record])),
            }
        }
        let (mut runs, mut to_commit) = (Vec::new(), Vec::new());
        for (run, records) in by_run {
            let known: Vec<Record> = store.run_records(&run)?.into_iter().map(|stored| stored.record).collect();
            let known: Vec<Record> =
                known.into_iter().filter(|record| !matches!(record, Record::Released { .. })).collect();
            if known.is_empty() {
                runs.push(run);
                to_commit.extend(records);
            } else if known != records {
                return Err(ImportError::OtherRun(run));
            }
        }
        let (release, guard) = admit(store, released, rename, &mut to_commit)?;
        let mut size_bytes = 0;
        for (packed, file) in &files {
            let is_description = descriptions.contains(&packed.digest);
            let (digest, _) = foreign::adopt(store, file, (packed.sensitivity, &[]), is_description)?;
            if digest != packed.digest {
                return Err(refused(&format!("object {} changed while it was taken in", packed.digest.short())));
            }
            size_bytes += packed.size_bytes;
        }
        if !to_commit.is_empty() {
            commit_and_wait(store, to_commit, guard)?;
        }
        Ok(Imported {
            what: manifest.what,
            run: manifest.run,
            pipeline: manifest.pipeline,
            runs,
            n_objects: files.len(),
            size_bytes,
            n_left_out: manifest.left_out.len(),
            release,
        })
    }
}

/// Decides about the released version; adds its record if it is to be taken over.
fn admit(
    store: &dyn Keep,
    released: Option<Record>,
    rename: Option<&str>,
    to_commit: &mut Vec<Record>,
) -> Result<(Option<ImportedRelease>, Option<CommitGuard>), ImportError> {
    let Some(Record::Released { id, release, version, bundle, run, at }) = released else { return Ok((None, None)) };
    let name = rename.map_or_else(|| release.clone(), str::to_owned);
    let records = store.release_records(&name)?;
    if !records.is_empty() {
        let release = name;
        let outcome = match Registry::fold(&release, &records).holder(&bundle) {
            Some(known) => ImportedRelease::Known { release, version: known.version },
            None => ImportedRelease::NameInUse { release, version },
        };
        return Ok((Some(outcome), None));
    }
    // Under another name it is another fact, with an id of its own.
    let id =
        if name == release { id } else { Digest::of(format!("{id} as {name}").as_bytes()).to_string()[..32].into() };
    to_commit.push(Record::Released { id, release: name.clone(), version, bundle, run, at });
    let guard = CommitGuard { release: name.clone(), n_records: 0 };
    Ok((Some(ImportedRelease::Taken { release: name, version }), Some(guard)))
}

/// The entries of the archive, one after the other.
struct Entries<'a, R: Read + 'a>(Box<tar::Entries<'a, R>>);

struct Entry<'a, R: Read + 'a> {
    name: String,
    size_bytes: u64,
    entry: tar::Entry<'a, R>,
}

impl<'a, R: Read + 'a> Entries<'a, R> {
    /// Returns the next entry, which must be a plain file of this name; `None` at the end.
    fn next(&mut self, name: &str) -> Result<Option<Entry<'a, R>>, ImportError> {
        let Some(entry) = self.0.next() else { return Ok(None) };
        let entry = entry.map_err(|error| ImportError::NoArchive(error.to_string()))?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(refused("it holds something that is no plain file"));
        }
        if entry.path_bytes() != name.as_bytes() {
            return Err(refused(&format!("`{name}` should be next in it, and is not")));
        }
        Ok(Some(Entry { name: name.to_owned(), size_bytes: entry.size(), entry }))
    }

    fn expect(&mut self, name: &str) -> Result<Entry<'a, R>, ImportError> {
        self.next(name)?.ok_or_else(|| refused(&format!("it ends before `{name}`")))
    }
}

impl<R: Read> Entry<'_, R> {
    fn read_text(self) -> Result<Vec<u8>, ImportError> {
        if self.size_bytes > MAX_TEXT_BYTES {
            return Err(refused(&format!("`{}` is larger than anything that mlp writes", self.name)));
        }
        let mut bytes = Vec::new();
        let read = self.entry.take(MAX_TEXT_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| refused(&format!("`{}` cannot be read: {error}", self.name)))?;
        if bytes.len() as u64 != self.size_bytes {
            return Err(refused(&format!("`{}` is shorter than it says", self.name)));
        }
        Ok(bytes)
    }

    /// Writes the object to `target`, if it is what the manifest tells.
    fn unpack(mut self, packed: &Packed, target: &Path) -> Result<(), ImportError> {
        let short = packed.digest.short();
        if self.size_bytes != packed.size_bytes {
            return Err(refused(&format!("object {short} has another size than the manifest tells")));
        }
        let fail = |error: io::Error| ImportError::Store(io_trouble("write", target, &error));
        let mut file = File::create_new(target).map_err(fail)?;
        let (mut hasher, mut left) = (blake3::Hasher::new(), packed.size_bytes);
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n_read = self.entry.read(&mut buffer[..wanted]);
            let n_read = n_read.map_err(|error| refused(&format!("object {short} cannot be read: {error}")))?;
            if n_read == 0 {
                return Err(refused(&format!("object {short} is shorter than it says")));
            }
            hasher.update(&buffer[..n_read]);
            file.write_all(&buffer[..n_read]).map_err(fail)?;
            left -= n_read as u64;
        }
        if Digest(*hasher.finalize().as_bytes()) != packed.digest {
            return Err(refused(&format!("object {short} has other bytes than its digest")));
        }
        Ok(())
    }
}

fn read_manifest(text: &[u8]) -> Result<Manifest, ImportError> {
    #[derive(Deserialize)]
    struct Header {
        format: String,
        version: u32,
    }
    let malformed = |error: serde_json::Error| ImportError::NoArchive(format!("its manifest cannot be read: {error}"));
    let header: Header = serde_json::from_slice(text).map_err(malformed)?;
    if header.format != "mlpx" {
        return Err(ImportError::NoArchive("its manifest is of another format".to_owned()));
    }
    if header.version > VERSION {
        return Err(ImportError::Newer { found: header.version });
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(malformed)?;
    if !manifest.objects.is_sorted_by(|a, b| a.digest < b.digest) {
        return Err(refused("the manifest does not list each object once, in order"));
    }
    Ok(manifest)
}

fn read_records(text: &[u8], n_records: u64) -> Result<Vec<Record>, ImportError> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let records = lines.map(serde_json::from_slice).collect::<Result<Vec<Record>, _>>();
    let records = records.map_err(|error| refused(&format!("a record cannot be read: {error}")))?;
    if records.len() as u64 != n_records {
        return Err(refused("it holds another number of records than the manifest tells"));
    }
    Ok(records)
}

fn refused(what: &str) -> ImportError {
    ImportError::Refused(what.to_owned())
}
