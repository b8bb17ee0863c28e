//! What this process has learnt of files, objects and the journal, for an answer that is kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use mlp_model::StoreError;

use super::{Answer, Client, Request, misfit};
use crate::clock::Clock;
use crate::failure::lock;
use crate::footer::FOOTER_LEN;
use crate::layout::Layout;
use crate::seal::Keys;
use crate::snapshot::{Position, Seen};
use crate::stat_cache::{Known, is_settled};

/// Outside files as they were digested, and whether their stamps can be trusted; `None` for a file that was found with
/// different bytes.
#[derive(Default)]
pub(super) struct Learnt(HashMap<PathBuf, Option<(Known, bool)>>);

impl Learnt {
    pub(super) fn learn(&mut self, path: &Path, known: Known, is_settled: bool) {
        match self.0.get_mut(path) {
            None => _ = self.0.insert(path.to_owned(), Some((known, is_settled))),
            Some(Some((before, _))) if before.digest == known.digest => {
                self.0.insert(path.to_owned(), Some((known, is_settled)));
            }
            Some(unsteady) => *unsteady = None,
        }
    }
}

impl Client {
    /// Returns how far the journal goes.
    pub fn position(&self) -> Result<Position, StoreError> {
        match self.ask(Request::Position)? {
            Answer::Position(position) => Ok(position),
            other => Err(misfit(&other)),
        }
    }

    /// Returns how many facts of this client are known to be in the journal.
    pub fn n_committed(&self) -> u64 {
        self.n_committed.load(Ordering::Relaxed)
    }

    /// Returns every outside file that this process has digested and every object file that it has made or verified, as
    /// they were then. Objects that live in the journal are not among them. `None`: a file was found with different
    /// bytes at different times, or the store encrypts.
    pub fn everything_seen(&self) -> Option<Vec<(PathBuf, Seen)>> {
        // Whether keys are there cannot be told by looking at objects.
        if self.objects.keys.partition().is_some() {
            return None;
        }
        let mut seen = Vec::new();
        for (path, known) in &lock(&self.learnt).0 {
            let (known, is_settled) = (*known)?;
            let size_bytes = known.stamp.size_bytes;
            let young = Seen::Young { digest: known.digest, size_bytes, len: size_bytes };
            seen.push((path.clone(), if is_settled { Seen::Unchanged(known.stamp) } else { young }));
        }
        let now = self.clock.now();
        for (digest, stamp) in self.objects.all_verified() {
            let len = stamp.size_bytes;
            let young = Seen::Young { digest, size_bytes: len.saturating_sub(FOOTER_LEN as u64), len };
            let found = if is_settled(&stamp, now) { Seen::Unchanged(stamp) } else { young };
            seen.push((self.layout.object(&digest).1, found));
        }
        Some(seen)
    }

    /// Returns the folder in which this process has the plain bytes of encrypted objects, if that is on a disk.
    pub fn plain_on_disk(&self) -> Result<Option<PathBuf>, StoreError> {
        if self.objects.keys.partition().is_none() {
            return Ok(None);
        }
        let plain = self.objects.plain()?;
        Ok((!plain.is_in_memory).then(|| plain.path().to_owned()))
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.objects.keys
    }

    pub(crate) fn place(&self) -> (&Layout, &dyn Clock) {
        (&self.layout, &*self.clock)
    }
}
