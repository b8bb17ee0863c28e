//! The 64 bytes that end every object file.
//!
//! A footer, not a header: the payload starts at offset 0, so that it can be mapped, cloned and read as it is.
//!
//! The bytes, all numbers little-endian: `mlp-obj` and a newline; u16 format version, 1, or 2 if the payload is encrypted,
//! so that who cannot read that does not take it for damaged; u16 flags, 1 where the payload holds personal values, else 0;
//! u32 zero; 32 bytes key id, zero while the payload is not encrypted; u64 length of the payload as it stands there; u32
//! zero; u32 CRC-32C of all before.

use mlp_model::{Sensitivity, StoreError};

pub(crate) const FOOTER_LEN: usize = 64;
const MAGIC: &[u8; 8] = b"mlp-obj\n";
const PLAIN: u16 = 1;
const ENCRYPTED: u16 = 2;
const PERSONAL: u16 = 1;

/// What a footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub sensitivity: Sensitivity,
    /// Tells which keys the payload is encrypted with, if it is.
    pub key_id: Option<[u8; 32]>,
}

impl Footer {
    pub fn plain(sensitivity: Sensitivity) -> Self {
        Self { sensitivity, key_id: None }
    }

    /// Makes the footer of a payload of `payload_len` bytes.
    pub fn encode(&self, payload_len: u64) -> [u8; FOOTER_LEN] {
        let flags = match self.sensitivity {
            Sensitivity::Plain => 0,
            Sensitivity::Personal => PERSONAL,
        };
        let version = if self.key_id.is_some() { ENCRYPTED } else { PLAIN };
        let mut footer = [0; FOOTER_LEN];
        footer[..8].copy_from_slice(MAGIC);
        footer[8..10].copy_from_slice(&version.to_le_bytes());
        footer[10..12].copy_from_slice(&flags.to_le_bytes());
        footer[16..48].copy_from_slice(&self.key_id.unwrap_or_default());
        footer[48..56].copy_from_slice(&payload_len.to_le_bytes());
        let crc = crc32c::crc32c(&footer[..60]);
        footer[60..].copy_from_slice(&crc.to_le_bytes());
        footer
    }

    /// Reads a footer, if it is whole and ends a file of `file_len` bytes.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], if it is whole and of a later version.
    pub fn decode(footer: &[u8; FOOTER_LEN], file_len: u64) -> Result<Option<Self>, StoreError> {
        let whole = footer.starts_with(MAGIC) && crc32c::crc32c(&footer[..60]).to_le_bytes() == footer[60..];
        if !whole {
            return Ok(None);
        }
        let version = u16::from_le_bytes([footer[8], footer[9]]);
        if version > ENCRYPTED {
            return Err(StoreError::NewerFormat { found: u32::from(version), known: u32::from(ENCRYPTED) });
        }
        let Some(payload) = file_len.checked_sub(FOOTER_LEN as u64) else { return Ok(None) };
        let key_id = (version == ENCRYPTED).then(|| std::array::from_fn(|byte| footer[16 + byte]));
        Ok([Sensitivity::Plain, Sensitivity::Personal]
            .map(|sensitivity| Self { sensitivity, key_id })
            .into_iter()
            .find(|candidate| *footer == candidate.encode(payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Footer; 4] {
        let of = |sensitivity| [Footer::plain(sensitivity), Footer { sensitivity, key_id: Some([9; 32]) }];
        let [[a, b], [c, d]] = [Sensitivity::Plain, Sensitivity::Personal].map(of);
        [a, b, c, d]
    }

    #[test]
    fn a_footer_fits_its_own_length_only_and_tells_what_is_personal_and_encrypted() {
        for footer in all() {
            let bytes = footer.encode(1000);
            assert_eq!(Footer::decode(&bytes, 1064), Ok(Some(footer)));
            assert_eq!(Footer::decode(&bytes, 1063), Ok(None));
            assert_eq!(Footer::decode(&bytes, 63), Ok(None));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for bytes in all().map(|footer| footer.encode(7)) {
            for bit in 0..FOOTER_LEN * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Footer::decode(&flipped, 71), Ok(None), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_later_version_is_refused_not_called_damaged() {
        let mut footer = Footer::plain(Sensitivity::Plain).encode(7);
        footer[8] = 3;
        let crc = crc32c::crc32c(&footer[..60]);
        footer[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Footer::decode(&footer, 71), Err(StoreError::NewerFormat { found: 3, known: 2 }));
    }
}
