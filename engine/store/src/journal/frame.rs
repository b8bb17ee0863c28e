//! One record of the journal as bytes, checked by a CRC and chained by BLAKE3 to the one before.
//!
//! The bytes, all numbers little-endian: u32 length of the payload; u32 CRC-32C of everything else in the frame; u64
//! sequence number, from 1; u64 sequence number of the first frame that was written and synced together with this one;
//! 32 bytes hash of the frame before; the payload. A frame's hash is BLAKE3 of the frame without the CRC.

pub(crate) const HEADER_LEN: usize = 56;

/// A frame that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub seq: u64,
    /// Sequence number of the first frame of its batch.
    pub batch: u64,
    pub prev: [u8; 32],
    pub payload: &'a [u8],
    bytes: &'a [u8],
}

/// The newest frame of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub seq: u64,
    pub hash: [u8; 32],
}

impl Link {
    /// Appends a frame to `out` and becomes its link.
    pub fn encode_next(&mut self, batch: u64, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        // A payload is made of records and inline objects, both bounded far below 4 GiB by the socket's frames.
        let len = u32::try_from(payload.len()).expect("a commit is smaller than 4 GiB");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(self.seq + 1).to_le_bytes());
        out.extend_from_slice(&batch.to_le_bytes());
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(payload);
        let frame = &mut out[start..];
        let crc = crc_of(frame);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        *self = Self { seq: self.seq + 1, hash: hash_of(frame) };
    }
}

impl<'a> Frame<'a> {
    /// Reads the frame at the beginning of `bytes`, or says why there is none.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or("it ends within its header")?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let frame = bytes.get(..HEADER_LEN + len).ok_or("it ends within its payload")?;
        if crc_of(frame).to_le_bytes() != header[4..8] {
            return Err("its checksum is wrong");
        }
        let prev = std::array::from_fn(|byte| header[24 + byte]);
        Ok(Self { seq: number(8), batch: number(16), prev, payload: &frame[HEADER_LEN..], bytes: frame })
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn link(&self) -> Link {
        Link { seq: self.seq, hash: hash_of(self.bytes) }
    }

    /// Whether the frame continues the chain that ends with `link`.
    pub fn follows(&self, link: &Link) -> bool {
        self.seq == link.seq + 1 && self.prev == link.hash
    }
}

fn crc_of(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

fn hash_of(frame: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(&frame[..4]).update(&frame[8..]).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_noticed() {
        let mut link = Link { seq: 4, hash: [9; 32] };
        let before = link;
        let mut bytes = Vec::new();
        link.encode_next(5, b"payload", &mut bytes);
        let frame = Frame::decode(&bytes).unwrap();
        assert!(frame.follows(&before) && !frame.follows(&link));
        assert_eq!((frame.payload, frame.link(), frame.len()), (&b"payload"[..], link, bytes.len()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&damaged).is_err(), "bit {bit}");
        }
    }
}
