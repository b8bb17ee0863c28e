//! What is known of files by their stamps: a file whose stamp has not changed has the digest that it had.
//!
//! A stamp is trusted only if the file had been at rest for a while when it was hashed; else a later change in the same
//! tick of the filesystem's clock would go unnoticed. An edit that restores the modification time changes the change
//! time, which nobody can set. Says when to trust; unaware of where entries are kept.

use mlp_model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::fs::Stamp;

/// The coarsest clock of a common filesystem (FAT).
const COARSE_NS: i64 = 2_000_000_000;
/// Covers the kernel's tick where stamps have fractions of a second.
const FINE_NS: i64 = 100_000_000;
const ENTRY_LEN: usize = 5 * 8 + 32 + 4;

/// A file's digest and the stamp that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub stamp: Stamp,
    pub digest: Digest,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    /// A file outside, by its absolute path (bytes in hex where it is not UTF-8).
    Path(String),
    Object(Digest),
    /// An encrypted object, verified by its plain bytes.
    Sealed(Digest),
}

impl Subject {
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Path(path) => [b"f", path.as_bytes()].concat(),
            Self::Object(digest) => [b"o", &digest.0[..]].concat(),
            Self::Sealed(digest) => [b"s", &digest.0[..]].concat(),
        }
    }
}

/// Whether a file with this stamp, hashed from instant `hashed_at` on, cannot change again without a new stamp.
pub(crate) fn is_settled(stamp: &Stamp, hashed_at: Timestamp) -> bool {
    let hashed_at_ns = hashed_at.0.saturating_mul(1_000_000);
    [stamp.mtime_ns, stamp.ctime_ns].into_iter().all(|instant| {
        let granularity = if instant % 1_000_000_000 == 0 { COARSE_NS } else { FINE_NS };
        instant < hashed_at_ns.saturating_sub(granularity)
    })
}

impl Known {
    /// Encodes the entry for `key`, with a checksum over both: a wrong digest must never come out.
    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        let Stamp { size_bytes, mtime_ns, ctime_ns, inode, device } = self.stamp;
        let mut out = Vec::with_capacity(ENTRY_LEN);
        for number in [size_bytes, mtime_ns.cast_unsigned(), ctime_ns.cast_unsigned(), inode, device] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.digest.0);
        let crc = crc32c::crc32c_append(crc32c::crc32c(key), &out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads an entry back; `None` if it is damaged.
    pub fn decode(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if body.len() != ENTRY_LEN - 4 || crc32c::crc32c_append(crc32c::crc32c(key), body).to_le_bytes() != *crc {
            return None;
        }
        let (numbers, digest) = body.split_last_chunk::<32>()?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number));
        Some(Self {
            stamp: Stamp {
                size_bytes: numbers.next()?,
                mtime_ns: numbers.next()?.cast_signed(),
                ctime_ns: numbers.next()?.cast_signed(),
                inode: numbers.next()?,
                device: numbers.next()?,
            },
            digest: Digest(*digest),
        })
    }
}

/// Writes what is known of several subjects.
pub(crate) fn encode_all(all: &[Option<Known>]) -> Vec<u8> {
    let mut out = Writer::default();
    for known in all {
        out.option(known.as_ref(), |out, known| {
            out.stamp(&known.stamp);
            out.digest(&known.digest);
        });
    }
    out.0
}

/// Reads it back; `None`, if it is not what [`encode_all`] writes.
pub(crate) fn decode_all(bytes: &[u8]) -> Option<Vec<Option<Known>>> {
    let mut bytes = Reader(bytes);
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(bytes.option(|bytes| Some(Known { stamp: bytes.stamp()?, digest: bytes.digest()? }))?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn stamp(mtime_ns: i64, ctime_ns: i64) -> Stamp {
        Stamp { size_bytes: 5, mtime_ns, ctime_ns, inode: 7, device: 8 }
    }

    #[test]
    fn young_stamps_are_not_trusted() {
        let hashed_at = Timestamp(100_000);
        for (mtime, ctime, settled) in [
            (90 * SECOND, 90 * SECOND, true),
            (99 * SECOND, 90 * SECOND, false), // whole seconds: a coarse clock
            (90 * SECOND, 99 * SECOND, false), // the modification time was set back
            (99 * SECOND + 1, 99 * SECOND + 1, true),
            (99 * SECOND + 950_000_000, 99 * SECOND + 950_000_000, false),
            (200 * SECOND, 90 * SECOND, false), // from the future
        ] {
            assert_eq!(is_settled(&stamp(mtime, ctime), hashed_at), settled, "{mtime} {ctime}");
        }
    }

    #[test]
    fn what_is_known_of_several_subjects_reads_back() {
        let known = Known { stamp: stamp(-3, 4), digest: Digest::of(b"x") };
        let all = [None, Some(known), None];
        let bytes = encode_all(&all);
        assert_eq!(decode_all(&bytes).as_deref(), Some(&all[..]));
        assert_eq!(decode_all(&bytes[..bytes.len() - 2]), None);
    }

    #[test]
    fn a_damaged_entry_or_one_of_another_file_is_not_read() {
        let known = Known { stamp: stamp(-3, 4), digest: Digest::of(b"x") };
        let key = Subject::Path("/data/telco.csv".into()).key();
        let bytes = known.encode(&key);
        assert_eq!(Known::decode(&key, &bytes), Some(known));
        assert_eq!(Known::decode(b"f/data/other.csv", &bytes), None);
        assert_eq!(Known::decode(&key, &bytes[1..]), None);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Known::decode(&key, &bytes), None, "bit {bit}");
        }
    }
}
