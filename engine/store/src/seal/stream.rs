//! The bytes of an encrypted object: a header that says whose keys are needed, and the payload in authenticated chunks.
//!
//! The header: u32 length of the JSON that follows, little-endian; the JSON of [`Header`]. Then the chunks: 64 KiB of the
//! payload each, the last one shorter, encrypted by AES-256-GCM in the STREAM construction, which notices chunks that are
//! missing, exchanged or too many. Each object has a key of its own: BLAKE3 in its key derivation mode over the keys of
//! all partitions, the header's random salt and the object's digest. So whoever lacks one of the keys can read nothing, and
//! an object cannot be passed off as another one. Header and digest are authenticated with every chunk.
//!
//! Unaware of where keys come from and of where objects stand.

use std::io::{self, ErrorKind};

use aead_stream::{DecryptorBE32, EncryptorBE32};
use aes_gcm::Aes256Gcm;
use mlp_model::{Digest, Sensitivity, is_partition_name};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::keys::Key;
use crate::fs::{FsFile, read_full};

const VERSION: u32 = 1;
const CHUNK: usize = 1 << 16;
const TAG: usize = 16;
/// Every object has a key of its own, so the first part of the nonces need not differ.
const NONCE: [u8; 7] = [0; 7];
/// No honest header is longer.
const MAX_HEADER: u32 = 1 << 16;
const OBJECT_KEY: &str = "mlp-store 2026-11 key of an encrypted object v1";

/// What stands before the chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub version: u32,
    /// Whose keys are needed, all of them, by name.
    pub partitions: Vec<Sealer>,
    /// Random; 64 hex digits.
    pub salt: Digest,
    pub size_bytes: u64,
    pub sensitivity: Sensitivity,
}

/// A partition, and which of its keys was used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Sealer {
    pub name: String,
    pub key: String,
}

impl Header {
    /// Makes the header of a new object.
    pub fn new(keys: &[(&str, &Key)], size_bytes: u64, sensitivity: Sensitivity) -> io::Result<Self> {
        let mut salt = [0; 32];
        rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())?;
        let mut partitions: Vec<_> =
            keys.iter().map(|(name, key)| Sealer { name: (*name).to_owned(), key: key.id() }).collect();
        partitions.sort();
        Ok(Self { version: VERSION, partitions, salt: Digest(salt), size_bytes, sensitivity })
    }

    /// Returns whose keys are needed.
    pub fn names(&self) -> Vec<String> {
        self.partitions.iter().map(|sealer| sealer.name.clone()).collect()
    }

    /// Returns the keys in the order of the partitions.
    pub fn in_order<'k>(&self, keys: &[(&str, &'k Key)]) -> Vec<&'k Key> {
        let of = |sealer: &Sealer| keys.iter().find(|(name, _)| *name == sealer.name).map(|(_, key)| *key);
        self.partitions.iter().filter_map(of).collect()
    }

    /// Tells which keys are needed, in 32 bytes that are not zero.
    pub fn key_id(&self) -> [u8; 32] {
        let text = serde_json::to_vec(&self.partitions).expect("names are texts");
        Digest::of(&text).0
    }

    fn encode(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).expect("a header has text keys");
        let len = u32::try_from(text.len()).expect("names of partitions are short");
        [&len.to_le_bytes()[..], &text].concat()
    }

    /// Reads the header at the beginning of a file, and returns where the chunks begin. `None`: there is no whole one.
    pub fn read(file: &dyn FsFile) -> io::Result<Option<(Self, u64)>> {
        let mut len = [0; 4];
        if read_full(file, &mut len, 0)? != len.len() {
            return Ok(None);
        }
        let len = u32::from_le_bytes(len);
        if len > MAX_HEADER {
            return Ok(None);
        }
        let mut text = vec![0; len as usize];
        if read_full(file, &mut text, 4)? != text.len() {
            return Ok(None);
        }
        let header: Option<Self> = serde_json::from_slice(&text).ok();
        let is_known = |sealer: &Sealer| is_partition_name(&sealer.name);
        let header = header.filter(|header| {
            header.version == VERSION && !header.partitions.is_empty() && header.partitions.iter().all(is_known)
        });
        Ok(header.map(|header| (header, 4 + u64::from(len))))
    }

    /// Returns what is authenticated with every chunk.
    fn context(&self, digest: &Digest) -> Vec<u8> {
        [&digest.0[..], &self.encode()].concat()
    }
}

/// Derives the key of one object. `keys` are in the order of the header's partitions.
fn object_key(header: &Header, digest: &Digest, keys: &[&Key]) -> Zeroizing<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key(OBJECT_KEY);
    for (sealer, key) in header.partitions.iter().zip(keys) {
        hasher.update(&(sealer.name.len() as u64).to_le_bytes()).update(sealer.name.as_bytes()).update(key.bytes());
    }
    hasher.update(&header.salt.0).update(&digest.0);
    let key = Zeroizing::new(*hasher.finalize().as_bytes());
    hasher.zeroize();
    key
}

/// Encrypts the first bytes of `from`, whose digest is `digest`, into `to`. Returns how many bytes that makes.
pub(crate) fn encrypt(
    (header, digest, keys): (&Header, &Digest, &[&Key]),
    from: &dyn FsFile,
    to: &dyn FsFile,
) -> io::Result<u64> {
    let head = header.encode();
    to.write_all_at(&head, 0)?;
    let (context, mut written) = (header.context(digest), head.len() as u64);
    let mut stream = EncryptorBE32::<Aes256Gcm>::new(&(*object_key(header, digest, keys)).into(), &NONCE.into());
    let (mut offset, mut chunk) = (0, Zeroizing::new(Vec::with_capacity(CHUNK + TAG)));
    let broken = |_| io::Error::other("it is too large to be encrypted");
    loop {
        let wanted = usize::try_from(header.size_bytes - offset).unwrap_or(CHUNK).min(CHUNK);
        chunk.clear();
        chunk.resize(wanted, 0);
        if read_full(from, &mut chunk, offset)? != wanted {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        offset += wanted as u64;
        // The last chunk is the one that ends the payload; an empty payload has one, too.
        if offset == header.size_bytes {
            stream.encrypt_last_in_place(&context, &mut *chunk).map_err(broken)?;
            to.write_all_at(&chunk, written)?;
            return Ok(written + chunk.len() as u64);
        }
        stream.encrypt_next_in_place(&context, &mut *chunk).map_err(broken)?;
        to.write_all_at(&chunk, written)?;
        written += chunk.len() as u64;
    }
}

/// Decrypts chunks that begin at `start` and gives them to `sink`. False: they are not what was encrypted under these keys
/// as this object; what `sink` was given until then must not be used.
pub(crate) fn decrypt(
    (header, digest, keys): (&Header, &Digest, &[&Key]),
    (from, start): (&dyn FsFile, u64),
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<bool> {
    let context = header.context(digest);
    let mut stream = DecryptorBE32::<Aes256Gcm>::new(&(*object_key(header, digest, keys)).into(), &NONCE.into());
    let (mut offset, mut left) = (start, header.size_bytes);
    let mut hasher = blake3::Hasher::new();
    let mut chunk = Zeroizing::new(Vec::with_capacity(CHUNK + TAG));
    loop {
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        chunk.clear();
        chunk.resize(wanted + TAG, 0);
        if read_full(from, &mut chunk, offset)? != chunk.len() {
            return Ok(false);
        }
        offset += chunk.len() as u64;
        left -= wanted as u64;
        if left == 0 {
            if stream.decrypt_last_in_place(&context, &mut *chunk).is_err() {
                return Ok(false);
            }
            hasher.update(&chunk);
            sink(&chunk)?;
            return Ok(hasher.finalize().as_bytes() == &digest.0);
        }
        if stream.decrypt_next_in_place(&context, &mut *chunk).is_err() {
            return Ok(false);
        }
        hasher.update(&chunk);
        sink(&chunk)?;
    }
}

/// Returns how long the header and the chunks are of a payload.
pub(crate) fn sealed_len(start: u64, size_bytes: u64) -> u64 {
    let n_chunks = size_bytes.div_ceil(CHUNK as u64).max(1);
    start.saturating_add(size_bytes).saturating_add(n_chunks.saturating_mul(TAG as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Access, Fs, RealFs};

    const SENSITIVITY: Sensitivity = Sensitivity::Plain;

    fn key(n: u8) -> Key {
        Key::read(&[n; 32]).unwrap()
    }

    /// Encrypts `bytes` under two keys; returns the file's content.
    fn sealed(bytes: &[u8]) -> (Header, Digest, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let [plain, sealed] = ["plain", "sealed"].map(|name| folder.path().join(name));
        std::fs::write(&plain, bytes).unwrap();
        let (from, to) = (RealFs.open(&plain, Access::Read).unwrap(), RealFs.create(&sealed, 0o600).unwrap());
        let (eu, us, digest) = (key(1), key(2), Digest::of(bytes));
        let header = Header::new(&[("us", &us), ("eu", &eu)], bytes.len() as u64, SENSITIVITY).unwrap();
        let len = encrypt((&header, &digest, &[&eu, &us]), &*from, &*to).unwrap();
        let content = std::fs::read(&sealed).unwrap();
        assert_eq!(content.len() as u64, len);
        assert_eq!(sealed_len(4 + (header.encode().len() - 4) as u64, bytes.len() as u64), len);
        (header, digest, content)
    }

    /// Decrypts; `None` if it is not authentic.
    fn opened(content: &[u8], digest: &Digest, keys: [&Key; 2]) -> Option<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealed");
        std::fs::write(&path, content).unwrap();
        let file = RealFs.open(&path, Access::Read).unwrap();
        let (header, start) = Header::read(&*file).unwrap()?;
        let mut bytes = Vec::new();
        let is_sound = decrypt((&header, digest, &keys), (&*file, start), &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        });
        is_sound.unwrap().then_some(bytes)
    }

    #[test]
    fn what_was_encrypted_comes_back_whatever_its_length() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 200_001] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let (header, digest, content) = sealed(&bytes);
            assert_eq!(header.partitions.iter().map(|sealer| sealer.name.as_str()).collect::<Vec<_>>(), ["eu", "us"]);
            assert_eq!(opened(&content, &digest, [&key(1), &key(2)]).as_ref(), Some(&bytes), "{len} bytes");
            assert!(len < 16 || !content.windows(16).any(|window| window == &bytes[..16]));
        }
    }

    #[test]
    fn every_key_is_needed_and_the_object_is_bound_to_its_digest() {
        let (_, digest, content) = sealed(b"a customer");
        for keys in [[&key(1), &key(3)], [&key(3), &key(2)], [&key(2), &key(1)]] {
            assert_eq!(opened(&content, &digest, keys), None);
        }
        assert_eq!(opened(&content, &Digest::of(b"another"), [&key(1), &key(2)]), None);
        // Never twice the same bytes.
        assert_ne!(sealed(b"a customer").2, content);
    }

    #[test]
    fn any_change_is_noticed() {
        let bytes: Vec<u8> = (0..2 * CHUNK + 10).map(|n| (n % 251) as u8).collect();
        let (header, digest, content) = sealed(&bytes);
        let start = header.encode().len();
        let keys = [&key(1), &key(2)];
        let check = |what: &str, content: &[u8]| assert_eq!(opened(content, &digest, keys), None, "{what}");
        for at in (0..start).chain((start..content.len()).step_by(4999)).chain([content.len() - 1]) {
            let mut flipped = content.clone();
            flipped[at] ^= 1;
            check(&format!("byte {at}"), &flipped);
        }
        check("cut", &content[..content.len() - 1]);
        check("a chunk is gone", &content[..start + CHUNK + TAG]);
        let mut exchanged = content.clone();
        let (first, second) = exchanged[start..].split_at_mut(CHUNK + TAG);
        first.swap_with_slice(&mut second[..CHUNK + TAG]);
        check("two chunks are exchanged", &exchanged);
    }
}
