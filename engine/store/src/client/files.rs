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
        self.sound_files(std::slice::from_ref(digest)).pop().unwrap_or(Ok(None))
    }

    /// As [`Client::sound_file`] for each; what has to be asked is asked at once.
    pub(super) fn sound_files(&self, digests: &[Digest]) -> Vec<Result<Option<(Stamp, bool)>, StoreError>> {
        let found: Vec<_> = digests.iter().map(|digest| self.objects.find(digest)).collect();
        let is_asked = |(digest, found): &(&Digest, &Result<Found, StoreError>)| match found {
            Ok(Found::Unverified(_)) => true,
            // It was handed out for a run that is over: it may be collected between this look and the next.
            Ok(Found::Sound { .. }) => !self.link.relies_on(digest),
            Ok(Found::Absent) | Err(_) => false,
        };
        let asked: Vec<&Digest> = digests.iter().zip(&found).filter(is_asked).map(|(digest, _)| digest).collect();
        let subjects = asked.iter().flat_map(|digest| [Subject::Object(**digest), Subject::Sealed(**digest)]);
        // Asking about an object says that it is relied on.
        let known = if asked.is_empty() { Ok(Vec::new()) } else { self.ask_stats(subjects.collect()) };
        let mut next = known.as_ref().map(|known| known.chunks(2));
        let mut learnt = Vec::new();
        let looked = digests.iter().zip(&found).map(|(digest, found)| {
            let known = match &mut next {
                _ if !is_asked(&(digest, found)) => None,
                Ok(known) => known.next(),
                Err(error) => return Err((*error).clone()),
            };
            match (found, known) {
                (Err(error), _) => Err(error.clone()),
                (Ok(Found::Absent), _) => Ok(None),
                (Ok(Found::Sound { stamp, is_sealed }), None) => Ok(Some((*stamp, *is_sealed))),
                (Ok(Found::Unverified(stamp)), Some(known)) => self.verify(digest, *stamp, known, &mut learnt),
                (Ok(_), _) => self.look_again(digest),
            }
        });
        let looked = looked.collect();
        if !learnt.is_empty() {
            self.link.tell(Request::SetStats { known: learnt });
        }
        looked
    }

    /// Makes sure that an object's file is sound: because it is `known` to be, as a plain or an encrypted one, or by reading it.
    fn verify(
        &self,
        digest: &Digest,
        stamp: Stamp,
        known: &[Option<Known>],
        learnt: &mut Vec<(Subject, Known)>,
    ) -> Result<Option<(Stamp, bool)>, StoreError> {
        let is_known = |known: &Option<Known>| *known == Some(Known { stamp, digest: *digest });
        if let Some(place) = known.iter().position(is_known) {
            self.objects.trust(digest, stamp, place == 1);
        } else {
            let hashed_at = self.clock.now();
            let Some((stamp, is_sealed)) = self.objects.verify(digest)? else { return Ok(None) };
            if is_settled(&stamp, hashed_at) {
                let subject = if is_sealed { Subject::Sealed(*digest) } else { Subject::Object(*digest) };
                learnt.push((subject, Known { stamp, digest: *digest }));
            }
        }
        self.look_again(digest)
    }

    fn look_again(&self, digest: &Digest) -> Result<Option<(Stamp, bool)>, StoreError> {
        Ok(match self.objects.find(digest)? {
            Found::Sound { stamp, is_sealed } => Some((stamp, is_sealed)),
            Found::Absent | Found::Unverified(_) => None,
        })
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
