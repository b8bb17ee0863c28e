//! The 64 bytes that end every object file.
//!
//! A footer, not a header: the payload starts at offset 0, so that it can be mapped, cloned and read as it is.
//!
//! The bytes, all numbers little-endian: `mlp-obj` and a newline; u16 format version; u16 flags, 1 where the payload holds
//! personal values, else 0; u32 zero; 32 bytes key id, zero while the payload is not encrypted; u64 length of the payload;
//! u32 zero; u32 CRC-32C of all before.

use mlp_model::{Sensitivity, StoreError};

pub(crate) const FOOTER_LEN: usize = 64;
const MAGIC: &[u8; 8] = b"mlp-obj\n";
const VERSION: u16 = 1;
const PERSONAL: u16 = 1;

/// Makes the footer of a payload of `payload_len` bytes.
pub(crate) fn encode(payload_len: u64, sensitivity: Sensitivity) -> [u8; FOOTER_LEN] {
    let flags = match sensitivity {
        Sensitivity::Plain => 0,
        Sensitivity::Personal => PERSONAL,
    };
    let mut footer = [0; FOOTER_LEN];
    footer[..8].copy_from_slice(MAGIC);
    footer[8..10].copy_from_slice(&VERSION.to_le_bytes());
    footer[10..12].copy_from_slice(&flags.to_le_bytes());
    footer[48..56].copy_from_slice(&payload_len.to_le_bytes());
    let crc = crc32c::crc32c(&footer[..60]);
    footer[60..].copy_from_slice(&crc.to_le_bytes());
    footer
}

/// Returns how sensitive the payload is, if `footer` ends a file of `file_len` bytes whose payload can be read as it is.
///
/// # Errors
/// [`StoreError::NewerFormat`], if it is whole and of a later version.
pub(crate) fn decode(footer: &[u8; FOOTER_LEN], file_len: u64) -> Result<Option<Sensitivity>, StoreError> {
    let whole = footer.starts_with(MAGIC) && crc32c::crc32c(&footer[..60]).to_le_bytes() == footer[60..];
    if !whole {
        return Ok(None);
    }
    let version = u16::from_le_bytes([footer[8], footer[9]]);
    if version > VERSION {
        return Err(StoreError::NewerFormat { found: u32::from(version), known: u32::from(VERSION) });
    }
    let Some(payload) = file_len.checked_sub(FOOTER_LEN as u64) else { return Ok(None) };
    Ok([Sensitivity::Plain, Sensitivity::Personal]
        .into_iter()
        .find(|sensitivity| *footer == encode(payload, *sensitivity)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_fits_its_own_length_only_and_tells_what_is_personal() {
        for sensitivity in [Sensitivity::Plain, Sensitivity::Personal] {
            let footer = encode(1000, sensitivity);
            assert_eq!(decode(&footer, 1064), Ok(Some(sensitivity)));
            assert_eq!(decode(&footer, 1063), Ok(None));
            assert_eq!(decode(&footer, 63), Ok(None));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for bit in 0..FOOTER_LEN * 8 {
            let mut footer = encode(7, Sensitivity::Plain);
            footer[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&footer, 71), Ok(None), "bit {bit}");
        }
    }

    #[test]
    fn a_later_version_is_refused_not_called_damaged() {
        let mut footer = encode(7, Sensitivity::Plain);
        footer[8] = 2;
        let crc = crc32c::crc32c(&footer[..60]);
        footer[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode(&footer, 71), Err(StoreError::NewerFormat { found: 2, known: 1 }));
    }
}
