//! Everything that can change a step's result, as one readable struct.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::value::encode_str;
use crate::{Digest, KeyId, Named, Value};

/// The cache key of a call. Two calls with equal keys have equal results.
///
/// The step's name, the file's place, time, host and user are no part of it. Key records are stored as objects
/// (canonical JSON of this struct), so that `mlp why` can compare them long after the sources are gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheKey {
    /// The operation, as the catalogue names it: `table.split`.
    pub op: String,
    /// Raised whenever the operation's result for the same inputs changes.
    pub op_version: u32,
    /// Parameters after defaults and normalisation.
    pub params: Named<Value>,
    /// The digest of each input artifact, source file and code file, by argument name.
    pub inputs: BTreeMap<String, Digest>,
    /// What the runner declares to matter: `libtorch`, `device`, `threads`, a declared variable of the environment.
    pub environment: BTreeMap<String, String>,
    /// Changed by `--force` and by the settings' `cache_salt`; usually empty.
    pub salt: String,
}

/// One field of a key, as every visitor sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyField<'a> {
    Op { name: &'a str, version: u32 },
    Param { name: &'a str, value: &'a Value },
    Input { name: &'a str, digest: &'a Digest },
    Environment { name: &'a str, value: &'a str },
    Salt(&'a str),
}

/// Receives every field of a key in a fixed order.
pub trait FieldVisitor {
    fn field(&mut self, field: KeyField<'_>);
}

impl CacheKey {
    /// Shows `visitor` every field. Hashing and explaining both go through here, so they cannot disagree.
    pub fn visit(&self, visitor: &mut dyn FieldVisitor) {
        visitor.field(KeyField::Op { name: &self.op, version: self.op_version });
        for (name, value) in &self.params {
            visitor.field(KeyField::Param { name, value });
        }
        for (name, digest) in &self.inputs {
            visitor.field(KeyField::Input { name, digest });
        }
        for (name, value) in &self.environment {
            visitor.field(KeyField::Environment { name, value });
        }
        visitor.field(KeyField::Salt(&self.salt));
    }

    /// Hashes the key.
    ///
    /// The bytes: the text `mlp key 1`, then each field in the order of [`CacheKey::visit`]: a tag byte, its name as
    /// a u64 little-endian length and the bytes, and its value (a version as u32; a [`Value`] by its own encoding; a
    /// digest as 32 bytes; text with its length).
    pub fn id(&self) -> KeyId {
        struct Encoder(Vec<u8>);
        impl FieldVisitor for Encoder {
            fn field(&mut self, field: KeyField<'_>) {
                let out = &mut self.0;
                match field {
                    KeyField::Op { name, version } => {
                        out.push(1);
                        encode_str(name, out);
                        out.extend_from_slice(&version.to_le_bytes());
                    }
                    KeyField::Param { name, value } => {
                        out.push(2);
                        encode_str(name, out);
                        value.encode(out);
                    }
                    KeyField::Input { name, digest } => {
                        out.push(3);
                        encode_str(name, out);
                        out.extend_from_slice(&digest.0);
                    }
                    KeyField::Environment { name, value } => {
                        out.push(4);
                        encode_str(name, out);
                        encode_str(value, out);
                    }
                    KeyField::Salt(salt) => {
                        out.push(5);
                        encode_str(salt, out);
                    }
                }
            }
        }
        let mut encoder = Encoder(b"mlp key 1".to_vec());
        self.visit(&mut encoder);
        KeyId(Digest::of(&encoder.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CacheKey {
        CacheKey {
            op: "torch.train".into(),
            op_version: 1,
            params: Named::from([("epochs", Value::Int(5))]),
            inputs: BTreeMap::from([("data".into(), Digest::of(b"rows"))]),
            environment: BTreeMap::from([("threads".into(), "1".into())]),
            salt: String::new(),
        }
    }

    #[test]
    fn changing_any_field_changes_the_id() {
        let edits: [fn(&mut CacheKey); 9] = [
            |k| k.op = "torch.predict".into(),
            |k| k.op_version = 2,
            |k| _ = k.params.insert("epochs", Value::Int(10)),
            |k| _ = k.params.insert("epochs", Value::Float(5.0)),
            |k| _ = k.params.insert("seed", Value::Int(5)),
            |k| _ = k.inputs.insert("data".into(), Digest::of(b"other rows")),
            |k| _ = k.inputs.remove("data"),
            |k| _ = k.environment.insert("threads".into(), "2".into()),
            |k| k.salt = "again".into(),
        ];
        let mut ids = vec![key().id()];
        for edit in edits {
            let mut changed = key();
            edit(&mut changed);
            ids.push(changed.id());
        }
        let n_ids = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), n_ids);
    }

    #[test]
    fn moving_text_from_a_name_into_its_value_changes_the_id() {
        let environment = |name: &str, value: &str| {
            let mut key = key();
            key.environment = BTreeMap::from([(name.into(), value.into())]);
            key.id()
        };
        assert_ne!(environment("ab", "c"), environment("a", "bc"));
    }

    #[test]
    fn the_layout_is_a_promise() {
        // When this fails, stored results are no longer found: raise the number in the hashed text, and say so.
        assert_eq!(key().id().to_string(), "8dc98a083eced851171b7c6cd97054eca2baabda5291c303e5c349cedd91e093");
    }

    #[test]
    fn a_stored_key_reads_back_equal() {
        let text = serde_json::to_string(&key()).unwrap();
        assert_eq!(serde_json::from_str::<CacheKey>(&text).unwrap(), key());
    }
}
