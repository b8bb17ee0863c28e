//! Encryption at rest: what is computed stands on the disk as ciphertext, and can be read only with the keys of all the
//! partitions that it belongs to.
//!
//! Digests are those of the plain bytes, so that keys, reuse and early cutoff are as without encryption.

mod keys;
mod plain;
mod stream;

pub(crate) use keys::Keys;
pub use keys::{Encryption, Key, Keyring};
pub(crate) use plain::{PlainFolder, leave, sweep};
pub(crate) use stream::{Header, Sealer, decrypt, encrypt, sealed_len};
