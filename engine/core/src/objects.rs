//! Asks the store whether artifacts are there and whole; for a folder, all of its files.

use mlp_artifact::folder::Manifest;
use mlp_model::{ArtifactKind, Digest, Store, StoreError};

use crate::shared_out::by_shares;

/// Returns the digests of the artifact's objects that are missing or damaged.
pub(crate) fn missing(store: &dyn Store, kind: ArtifactKind, digest: &Digest) -> Result<Vec<Digest>, StoreError> {
    if kind != ArtifactKind::Folder {
        return Ok(if store.has_object(digest)? { Vec::new() } else { vec![*digest] });
    }
    let Some(manifest) = read_manifest(store, digest)? else { return Ok(vec![*digest]) };
    let digests: Vec<Digest> = manifest.entries.iter().map(|entry| entry.digest).collect();
    let mut missing = Vec::new();
    for (digest, is_there) in digests.iter().zip(by_shares(&digests, |share| store.have_objects(share))) {
        if !is_there? {
            missing.push(*digest);
        }
    }
    Ok(missing)
}

/// Returns the digests of all objects that the artifact consists of, as far as they can be read.
pub(crate) fn all(store: &dyn Store, kind: ArtifactKind, digest: &Digest) -> Result<Vec<Digest>, StoreError> {
    let mut found = vec![*digest];
    if kind == ArtifactKind::Folder
        && let Some(manifest) = read_manifest(store, digest)?
    {
        found.extend(manifest.entries.iter().map(|entry| entry.digest));
    }
    Ok(found)
}

/// Reads a folder artifact's list of files; `None` if it is missing, damaged or no such list.
pub(crate) fn read_manifest(store: &dyn Store, digest: &Digest) -> Result<Option<Manifest>, StoreError> {
    Ok(store.read(digest)?.and_then(|bytes| Manifest::parse(&bytes).ok()))
}
