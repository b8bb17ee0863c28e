//! What a release consists of, as one object: a decision that moves as a whole.
//!
//! The object is JSON with sorted names and a version; it holds no time, path, run or step name, so equal decisions
//! have equal digests. A reader refuses a newer version.

use std::collections::BTreeMap;

use mlp_model::{ArtifactKind, Digest, Named, Store, StoreError, Value};
use serde::{Deserialize, Serialize};

use crate::objects;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    pub version: u32,
    pub parts: BTreeMap<String, BundlePart>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum BundlePart {
    Artifact(Pinned),
    /// A call that can be done again on new rows: everything it needs but the tables.
    Transform {
        op: String,
        op_version: u32,
        params: Named<Value>,
        inputs: BTreeMap<String, Pinned>,
    },
    Value {
        value: Value,
    },
}

/// An artifact, or code from beside the pipeline, that is kept with the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    pub kind: ArtifactKind,
    pub digest: Digest,
}

/// Why a bundle cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BundleError {
    #[error("its object {} is missing or damaged", .0.short())]
    Missing(Digest),
    #[error("its object {} is no bundle: {message}", .digest.short())]
    Malformed { digest: Digest, message: String },
    #[error("it was written by a newer mlp (bundle version {found}, this one knows {})", Bundle::VERSION)]
    Newer { found: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Bundle {
    pub const VERSION: u32 = 1;

    pub fn new(parts: BTreeMap<String, BundlePart>) -> Self {
        Self { version: Self::VERSION, parts }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a bundle has text keys only, so it can be written as JSON")
    }

    /// Reads the bundle with this digest.
    pub fn read(store: &dyn Store, digest: &Digest) -> Result<Self, BundleError> {
        let bytes = store.read(digest)?.ok_or(BundleError::Missing(*digest))?;
        let malformed =
            |error: serde_json::Error| BundleError::Malformed { digest: *digest, message: error.to_string() };
        #[derive(Deserialize)]
        struct Header {
            version: u32,
        }
        let header: Header = serde_json::from_slice(&bytes).map_err(malformed)?;
        if header.version > Self::VERSION {
            return Err(BundleError::Newer { found: header.version });
        }
        serde_json::from_slice(&bytes).map_err(malformed)
    }

    /// Returns the artifacts that it holds, its transforms' inputs included, in the order of the parts.
    pub fn pinned(&self) -> Vec<Pinned> {
        let of_part = |part: &BundlePart| match part {
            BundlePart::Artifact(pinned) => vec![*pinned],
            BundlePart::Transform { inputs, .. } => inputs.values().copied().collect(),
            BundlePart::Value { .. } => Vec::new(),
        };
        self.parts.values().flat_map(of_part).collect()
    }

    /// Returns the digests of what it holds that is missing or damaged in the store.
    pub fn missing_objects(&self, store: &dyn Store) -> Result<Vec<Digest>, StoreError> {
        let mut missing = Vec::new();
        for pinned in self.pinned() {
            missing.extend(objects::missing(store, pinned.kind, &pinned.digest)?);
        }
        missing.sort();
        missing.dedup();
        Ok(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_a_promise() {
        let pinned = |kind, bytes: &[u8]| Pinned { kind, digest: Digest::of(bytes) };
        let bundle = Bundle::new(BTreeMap::from([
            ("model".to_owned(), BundlePart::Artifact(pinned(ArtifactKind::Model, b"weights"))),
            ("cut".to_owned(), BundlePart::Value { value: Value::Float(0.1 + 0.2) }),
            (
                "clean".to_owned(),
                BundlePart::Transform {
                    op: "wasm.map".into(),
                    op_version: 1,
                    params: Named::from([("columns", Value::List(vec![Value::Str("tenure".into())]))]),
                    inputs: BTreeMap::from([("source".into(), pinned(ArtifactKind::File, b"code"))]),
                },
            ),
        ]));
        assert_eq!(serde_json::from_slice::<Bundle>(&bundle.to_bytes()).unwrap(), bundle);
        // When this fails, released versions no longer equal what a run makes: raise the version, and say so.
        assert_eq!(Digest::of(&bundle.to_bytes()).short(), "9188f2ccc976");
    }
}
