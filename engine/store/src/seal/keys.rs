//! Keys of partitions, and where they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use mlp_model::StoreError;
use zeroize::Zeroizing;

use super::stream::{Header, Sealer};
use crate::failure::lock;

const KEY_ID: &str = "mlp-store 2026-11 id of a key v1";

/// The key of a partition: 256 random bits. Wiped from memory when dropped; has no text form.
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Reads a key: 32 bytes, or 64 hex digits and perhaps a line break.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if let Ok(key) = bytes.try_into() {
            return Some(Self(Zeroizing::new(key)));
        }
        let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
        let mut key = Zeroizing::new([0; 32]);
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let digit = |place: usize| char::from(pair[place]).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(Self(key))
    }

    /// Names the key: 32 hex digits, from which it cannot be found.
    pub fn id(&self) -> String {
        blake3::Hash::from(blake3::derive_key(KEY_ID, self.bytes())).to_hex()[..32].to_owned()
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Where the keys of partitions are kept.
pub trait Keyring: Send + Sync {
    /// Returns the key of a partition; `None`, if it has none. The error says why it cannot be told, never what it is.
    fn key(&self, partition: &str) -> Result<Option<Key>, String>;

    /// Destroys the key of a partition, so that it cannot be told ever again.
    fn destroy(&self, partition: &str) -> Result<(), String>;

    /// Says where the key of a partition is, or would be, for messages: `` `keys/eu.key` ``.
    fn place(&self, partition: &str) -> String;
}

/// How a store encrypts.
pub struct Encryption {
    /// What everything that is computed belongs to, unless a pipeline says otherwise.
    pub partition: String,
    pub keyring: Arc<dyn Keyring>,
}

/// The names of keys that were destroyed, as the journal tells.
type Erased = Box<dyn Fn() -> Result<BTreeSet<String>, StoreError> + Send + Sync>;

/// The keys that this process has asked for.
pub(crate) struct Keys {
    encryption: Option<Encryption>,
    found: Mutex<BTreeMap<String, Arc<Key>>>,
    ask_erased: Erased,
    erased: OnceLock<BTreeSet<String>>,
}

impl Keys {
    pub fn new(encryption: Option<Encryption>, ask_erased: Erased) -> Self {
        Self { encryption, found: Mutex::default(), ask_erased, erased: OnceLock::new() }
    }

    /// Returns the partition that new objects belong to which belong to no other, if this store encrypts.
    pub fn partition(&self) -> Option<&str> {
        self.encryption.as_ref().map(|encryption| encryption.partition.as_str())
    }

    pub fn keyring(&self) -> Option<&Arc<dyn Keyring>> {
        self.encryption.as_ref().map(|encryption| &encryption.keyring)
    }

    /// Returns the key for new objects of a partition.
    pub fn for_writing(&self, partition: &str) -> Result<Arc<Key>, StoreError> {
        let key = self.find(partition)?.ok_or_else(|| self.trouble(partition, "is not there"))?;
        if self.is_erased(&key.id())? {
            return Err(self.trouble(partition, "was erased, and must not be used again: give the partition a new one"));
        }
        Ok(key)
    }

    /// The same for several partitions.
    pub fn all_for_writing<'n>(&self, partitions: &[&'n str]) -> Result<Vec<(&'n str, Arc<Key>)>, StoreError> {
        partitions.iter().map(|&partition| Ok((partition, self.for_writing(partition)?))).collect()
    }

    /// Returns the keys for an object, in the order of its header. `None`: one of them was erased.
    ///
    /// # Errors
    /// [`StoreError::Key`], if one of them is missing or another one.
    pub fn for_reading(&self, header: &Header) -> Result<Option<Vec<Arc<Key>>>, StoreError> {
        let mut keys = Vec::new();
        for Sealer { name, key: id } in &header.partitions {
            if self.is_erased(id)? {
                return Ok(None);
            }
            let what = match self.find(name)? {
                Some(key) if key.id() == *id => {
                    keys.push(key);
                    continue;
                }
                Some(key) => format!(
                    "is another one ({}) than the one that stored results were encrypted with ({})",
                    short(&key.id()),
                    short(id)
                ),
                None => "is not there".to_owned(),
            };
            return Err(self.trouble(name, &what));
        }
        Ok(Some(keys))
    }

    fn is_erased(&self, id: &str) -> Result<bool, StoreError> {
        if let Some(erased) = self.erased.get() {
            return Ok(erased.contains(id));
        }
        let erased = (self.ask_erased)()?;
        Ok(self.erased.get_or_init(|| erased).contains(id))
    }

    /// Held while the key is looked for: a command is asked once.
    pub fn find(&self, partition: &str) -> Result<Option<Arc<Key>>, StoreError> {
        let mut found = lock(&self.found);
        if let Some(key) = found.get(partition) {
            return Ok(Some(Arc::clone(key)));
        }
        let Some(encryption) = &self.encryption else { return Ok(None) };
        let key = encryption.keyring.key(partition).map_err(|what| self.trouble(partition, &what))?.map(Arc::new);
        if let Some(key) = &key {
            found.insert(partition.to_owned(), Arc::clone(key));
        }
        Ok(key)
    }

    pub fn trouble(&self, partition: &str, what: &str) -> StoreError {
        let place = self.encryption.as_ref().map(|encryption| encryption.keyring.place(partition));
        StoreError::Key { partition: partition.to_owned(), what: what.to_owned(), place }
    }
}

/// Returns enough of a key's name to tell it from others.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_64_hex_digits() {
        let raw = Key::read(&[0xAB; 32]).unwrap();
        for text in ["ab".repeat(32), "AB".repeat(32) + "\n", "aB".repeat(32) + "\r\n"] {
            assert_eq!(Key::read(text.as_bytes()).unwrap().id(), raw.id());
        }
        for wrong in ["", "ab", &"ab".repeat(33), &"xy".repeat(32), &("ab".repeat(31) + "\n\n")] {
            assert!(Key::read(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert_eq!(raw.id().len(), 32);
        assert!(!raw.id().contains("abab"));
    }
}
