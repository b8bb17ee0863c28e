//! How far the index has read the journal, and what its rows add up to.

use crate::journal::{Link, Place, Tail};
use crate::protocol::IndexState;

/// Raised with the layout below or of any row; the index is then made afresh.
pub(crate) const VERSION: u32 = 3;
const META_LEN: usize = 88;

/// Written together with the rows that it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Meta {
    pub tail: Option<Tail>,
    /// Records of the journal so far.
    pub n_records: u64,
    pub n_rows: u64,
    pub sum: u64,
}

impl Meta {
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.n_rows += 1;
        self.sum = self.sum.wrapping_add(row_sum(key, value));
    }

    pub fn subtract(&mut self, key: &[u8], value: &[u8]) {
        self.n_rows -= 1;
        self.sum = self.sum.wrapping_sub(row_sum(key, value));
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(META_LEN);
        let (link, place) = match self.tail {
            Some(Tail { link, place }) => (link, place),
            None => (Link { seq: 0, hash: [0; 32] }, Place { segment: 0, offset: 0, len: 0 }),
        };
        for number in [link.seq, place.offset, self.n_records, self.n_rows, self.sum] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [place.segment, place.len, VERSION] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&link.hash);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads it back; `None` if it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; META_LEN] = bytes.try_into().ok()?;
        if crc32c::crc32c(&bytes[..META_LEN - 4]).to_le_bytes() != bytes[META_LEN - 4..] {
            return None;
        }
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at * 8 + byte]));
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[40 + at * 4 + byte]));
        let link = Link { seq: long(0), hash: std::array::from_fn(|byte| bytes[52 + byte]) };
        let place = Place { segment: short(0), offset: long(1), len: short(1) };
        let tail = (link.seq > 0).then_some(Tail { link, place });
        Some(Self { tail, n_records: long(2), n_rows: long(3), sum: long(4) })
    }
}

impl Meta {
    /// Returns the same for others.
    pub fn state(&self, is_counted: bool) -> IndexState {
        let (frame, segment, end) = self.tail.map_or((0, 0, 0), |tail| (tail.link.seq, tail.place.segment, tail.end()));
        IndexState { frame, segment, end, n_records: self.n_records, n_rows: self.n_rows, sum: self.sum, is_counted }
    }
}

/// What a row adds to the sum, whatever the order.
pub(crate) fn row_sum(key: &[u8], value: &[u8]) -> u64 {
    let of_key = crc32c::crc32c(key);
    u64::from(of_key) << 32 | u64::from(crc32c::crc32c_append(of_key, value))
}
