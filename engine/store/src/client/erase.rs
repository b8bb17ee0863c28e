//! What is encrypted, and the end of keys.

use std::collections::BTreeSet;

use mlp_model::{Digest, PartitionKey, Record, SealedObject, StoreError, fail_point};

use super::link::Link;
use super::{Answer, Client, Request, misfit, object_files};
use crate::failure::OrFail;
use crate::fs::Access;
use crate::objects::{Checked, check, read_footer};
use crate::seal::{Encryption, Header, Keys, Sealer};

/// Returns the names of all keys that were erased.
pub(super) fn erased_keys(link: &Link) -> Result<BTreeSet<String>, StoreError> {
    let stored = match link.ask_and_wait(Request::Erasures)?.0 {
        Answer::Stored(stored) => stored,
        other => return Err(misfit(&other)),
    };
    let key = |record| match record {
        Record::Erased { key, .. } => Some(key),
        _ => None,
    };
    Ok(stored.into_iter().filter_map(|stored| key(stored.record)).collect())
}

impl Client {
    /// Returns all encrypted objects. Files that vanish meanwhile, or are damaged, are left out.
    pub(super) fn all_sealed(&self) -> Result<Vec<SealedObject>, StoreError> {
        let mut sealed = Vec::new();
        for object in object_files(&self.layout)? {
            let (_, path) = self.layout.object(&object.digest);
            let Ok(file) = self.fs.open(&path, Access::Read) else { continue };
            let is_sealed = read_footer(&*file, &path)?.is_some_and(|footer| footer.key_id.is_some());
            if !is_sealed {
                continue;
            }
            let Some((header, _)) = Header::read(&*file).or_fail("read", &path)? else { continue };
            let key = |Sealer { name, key }| PartitionKey { partition: name, key };
            let keys = header.partitions.into_iter().map(key).collect();
            sealed.push(SealedObject { digest: object.digest, size_bytes: object.size_bytes, keys });
        }
        Ok(sealed)
    }

    /// Returns the name of the key that a partition has now.
    pub(super) fn current_key(&self, partition: &str) -> Result<Option<String>, StoreError> {
        let key = self.fresh_keys(partition)?.find(partition)?;
        Ok(key.map(|key| key.id()))
    }

    pub(super) fn destroy(&self, partition: &str) -> Result<(), StoreError> {
        let keys = self.fresh_keys(partition)?;
        let before = keys.find(partition)?.map(|key| key.id());
        fail_point("erase.destroying");
        if let Some(keyring) = self.objects.keys.keyring() {
            keyring.destroy(partition).map_err(|what| keys.trouble(partition, &what))?;
        }
        // What cannot be told any more is gone: a command may fail to say so.
        let after = self.fresh_keys(partition)?.find(partition).ok().flatten().map(|key| key.id());
        if before.is_some() && before == after {
            return Err(keys.trouble(partition, "is still told, although it was destroyed"));
        }
        self.objects.close_plain();
        Ok(())
    }

    /// Tries to read an object with the keys that can be had now, as if nothing were known of erasures.
    pub(super) fn try_to_read(&self, object: &Digest) -> Result<bool, StoreError> {
        let Some(keyring) = self.objects.keys.keyring() else { return Ok(false) };
        let encryption = Encryption { partition: String::new(), keyring: keyring.clone() };
        let keys = Keys::new(Some(encryption), Box::new(|| Ok(BTreeSet::new())));
        match check(&*self.fs, object, &self.layout.object(object).1, &keys) {
            Ok(Checked::Sound { .. }) => Ok(true),
            Ok(Checked::Absent | Checked::Damaged | Checked::Erased) | Err(StoreError::Key { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the keys as somebody finds them who has asked for none yet.
    fn fresh_keys(&self, partition: &str) -> Result<Keys, StoreError> {
        let Some(keyring) = self.objects.keys.keyring() else {
            let what = "is nowhere: `mlp.yaml` has no `encryption`".to_owned();
            return Err(StoreError::Key { partition: partition.to_owned(), what, place: None });
        };
        let encryption = Encryption { partition: partition.to_owned(), keyring: keyring.clone() };
        Ok(Keys::new(Some(encryption), Box::new(|| Ok(BTreeSet::new()))))
    }
}
