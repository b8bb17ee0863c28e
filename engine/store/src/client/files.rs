//! Objects that have files: finding them sound, reading them whether they are encrypted or not, encrypting new ones.

use std::path::Path;

use mlp_model::{Digest, ObjectFile, Sensitivity, StoreError};

use super::Client;
use crate::failure::OrFail;
use crate::fs::{Access, Stamp};
use crate::objects::{Found, hash};
use crate::protocol::Request;
use crate::stat_cache::{Known, Subject, is_settled};

impl Client {
    /// Returns where the bytes of the object's own file can be read, verified, if it has one.
    pub(super) fn object_file(&self, digest: &Digest) -> Result<Option<ObjectFile>, StoreError> {
        match self.sound_file(digest)? {
            Some((stamp, is_sealed)) => self.objects.readable(digest, stamp, is_sealed),
            None => Ok(None),
        }
    }

    /// Returns the stamp of the object's own file, verified, if it has one, and whether it is encrypted.
    pub(super) fn sound_file(&self, digest: &Digest) -> Result<Option<(Stamp, bool)>, StoreError> {
        let sound = |found| match found {
            Found::Sound { stamp, is_sealed } => Some((stamp, is_sealed)),
            Found::Absent | Found::Unverified(_) => None,
        };
        let stamp = match self.objects.find(digest)? {
            Found::Absent => return Ok(None),
            Found::Sound { stamp, is_sealed } if self.link.relies_on(digest) => return Ok(Some((stamp, is_sealed))),
            Found::Sound { .. } => {
                // It was handed out for a run that is over: it may be collected between this look and the next.
                self.rely_on(digest)?;
                return Ok(sound(self.objects.find(digest)?));
            }
            Found::Unverified(stamp) => stamp,
        };
        let known = self.ask_stats(vec![Subject::Object(*digest), Subject::Sealed(*digest)])?;
        let is_known = |known: &Option<Known>| *known == Some(Known { stamp, digest: *digest });
        if let Some(place) = known.iter().position(is_known) {
            self.objects.trust(digest, stamp, place == 1);
        } else {
            let hashed_at = self.clock.now();
            let Some((stamp, is_sealed)) = self.objects.verify(digest)? else { return Ok(None) };
            if is_settled(&stamp, hashed_at) {
                let subject = if is_sealed { Subject::Sealed(*digest) } else { Subject::Object(*digest) };
                self.link.tell(Request::SetStats { known: vec![(subject, Known { stamp, digest: *digest })] });
            }
        }
        Ok(sound(self.objects.find(digest)?))
    }

    /// Encrypts a file of a scratch folder into the store; its plain bytes stay readable for this process.
    pub(super) fn seal(
        &self,
        file: &Path,
        partitions: &[&str],
        sensitivity: Sensitivity,
    ) -> Result<(Digest, u64), StoreError> {
        let opened = self.fs.open(file, Access::Read).or_fail("adopt", file)?;
        let size_bytes = opened.stat().or_fail("adopt", file)?.stamp.size_bytes;
        let digest = hash(&*opened, size_bytes).or_fail("adopt", file)?;
        self.rely_on(&digest)?;
        self.objects.seal(&*opened, (digest, size_bytes), partitions, sensitivity)?;
        if self.objects.plain()?.keep(digest, file, size_bytes).is_err() {
            // It stands elsewhere, on a disk perhaps.
            self.fs.remove_file(file).or_fail("adopt", file)?;
        }
        Ok((digest, size_bytes))
    }
}
