//! Looking after the store from a client: listing objects, and having the owner take some out.

use std::fs;
use std::io::ErrorKind;

use mlp_model::{Digest, Done, Keep, Record, Removed, RunId, SealedObject, Sensitivity, StoreError, StoredObject};

use super::{Answer, Client, Request, make_finite, misfit};
use crate::failure::OrFail;
use crate::layout::Layout;
use crate::protocol::IndexState;
use crate::scratch::remove_tree;

/// How many objects one request takes out: few enough that questions of others are answered in between.
const AT_A_TIME: usize = 1000;

impl Keep for Client {
    fn object_files(&self) -> Result<Vec<StoredObject>, StoreError> {
        object_files(&self.layout)
    }

    fn sensitivity(&self, digest: &Digest) -> Result<Option<Sensitivity>, StoreError> {
        match self.objects.sensitivity(digest)? {
            Some(sensitivity) => Ok(Some(sensitivity)),
            None => Ok(self.inline(digest)?.map(|_| Sensitivity::Plain)),
        }
    }

    fn begin_collection(&self) -> Result<(), StoreError> {
        self.ask(Request::BeginCollection).map(|_| ())
    }

    fn remove(&self, objects: &[Digest]) -> Result<Removed, StoreError> {
        let mut total = Removed::default();
        for some in objects.chunks(AT_A_TIME) {
            let attached = some.iter().flat_map(|digest| digest.0).collect();
            match self.link.ask_and_wait_with(Request::Remove, attached)?.0 {
                Answer::Removed(removed) => {
                    total.n_objects += removed.n_objects;
                    total.size_bytes += removed.size_bytes;
                    total.n_in_use += removed.n_in_use;
                }
                other => return Err(misfit(&other)),
            }
        }
        Ok(total)
    }

    fn end_collection(&self) {
        self.link.tell(Request::EndCollection);
    }

    fn remove_damaged(&self) -> Result<(u64, u64), StoreError> {
        match self.ask(Request::RemoveDamaged)? {
            Answer::Damaged { n_files, size_bytes } => Ok((n_files, size_bytes)),
            other => Err(misfit(&other)),
        }
    }

    fn commit_of(&self, from: &str, mut records: Vec<Record>, done: Done<()>) {
        make_finite(&mut records);
        self.outgoing.commit(&records, None, Some(from.to_owned()), done);
    }

    fn sealed(&self) -> Result<Vec<SealedObject>, StoreError> {
        self.all_sealed()
    }

    fn key_of(&self, partition: &str) -> Result<Option<String>, StoreError> {
        self.current_key(partition)
    }

    fn destroy_key(&self, partition: &str) -> Result<(), StoreError> {
        self.destroy(partition)
    }

    fn can_read(&self, object: &Digest) -> Result<bool, StoreError> {
        self.try_to_read(object)
    }

    fn run_dirs(&self) -> Result<Vec<(RunId, u64)>, StoreError> {
        let root = self.layout.runs();
        let mut folders = Vec::new();
        for entry in fs::read_dir(&root).or_fail("list", &root)? {
            let entry = entry.or_fail("list", &root)?;
            let Some(run) = entry.file_name().to_str().map(|name| RunId(name.to_owned())) else { continue };
            let size_bytes = fs::read_dir(entry.path()).into_iter().flatten().flatten();
            folders.push((run, size_bytes.flat_map(|file| file.metadata()).map(|found| found.len()).sum()));
        }
        Ok(folders)
    }

    fn remove_run_dir(&self, run: &RunId) -> Result<(), StoreError> {
        let folder = self.layout.run_dir(run)?;
        match remove_tree(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.or_fail("remove the folder", &folder),
        }
    }
}

impl Client {
    /// Returns how far the index has read, and what it claims; with `recount`, what its rows add up to.
    pub(crate) fn index_state(&self, recount: bool) -> Result<IndexState, StoreError> {
        match self.ask(Request::IndexState { recount })? {
            Answer::IndexState(state) => Ok(state),
            other => Err(misfit(&other)),
        }
    }

    /// Asks the owner to leave, if nobody else is connected. Returns how many others are.
    pub(crate) fn make_room(&self) -> Result<u64, StoreError> {
        match self.ask(Request::MakeRoom)? {
            Answer::Count(n_others) => Ok(n_others),
            other => Err(misfit(&other)),
        }
    }
}

/// Lists the object files. What vanishes meanwhile, and what has no object's name, is left out.
pub(crate) fn object_files(layout: &Layout) -> Result<Vec<StoredObject>, StoreError> {
    let mut objects = Vec::new();
    let root = layout.objects();
    for folder in fs::read_dir(&root).or_fail("list", &root)? {
        let folder = folder.or_fail("list", &root)?;
        let head = folder.file_name();
        let Some(head) = head.to_str().filter(|head| head.len() == 2) else { continue };
        for entry in fs::read_dir(folder.path()).or_fail("list", &folder.path())? {
            let entry = entry.or_fail("list", &folder.path())?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|tail| format!("{head}{tail}").parse().ok()) else { continue };
            if let Ok(found) = entry.metadata() {
                objects.push(StoredObject { digest, size_bytes: found.len() });
            }
        }
    }
    objects.sort_by_key(|object| object.digest);
    Ok(objects)
}
