//! Many sorted rows in one value of the database below, which takes 2 KiB of memory for each of its own rows.
//!
//! A row is three numbers (how many bytes of its key it shares with the row before, how many follow, the length of its
//! value; seven bits a byte, the lowest first), the rest of its key, and its value. Behind the last one stands the CRC-32C
//! of all of it. Unaware of where blocks are kept.

use std::ops::Range;

/// No row is added that would make a block longer than this, unless it is the first one.
const FULL_LEN: usize = 3584;
const CRC_LEN: usize = 4;
/// The three numbers at most.
const HEAD_LEN: usize = 3 * 5;

#[derive(Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
}

/// What a [`Builder`] has made.
pub(super) struct Block {
    pub first_key: Vec<u8>,
    pub bytes: Vec<u8>,
}

impl Builder {
    /// Adds a row, whose key comes after the last one's; returns the block before, if that is full.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Option<Block> {
        let is_full = self.bytes.len() + HEAD_LEN + key.len() + value.len() + CRC_LEN > FULL_LEN;
        let full = if is_full { self.finish() } else { None };
        if self.bytes.is_empty() {
            self.first_key.extend_from_slice(key);
        }
        let n_shared = key.iter().zip(&self.last_key).take_while(|(new, last)| new == last).count();
        for number in [n_shared, key.len() - n_shared, value.len()] {
            put_number(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(&key[n_shared..]);
        self.bytes.extend_from_slice(value);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        full
    }

    /// Returns the last block, if there are rows in it.
    pub fn finish(&mut self) -> Option<Block> {
        let Self { mut bytes, first_key, .. } = std::mem::take(self);
        if bytes.is_empty() {
            return None;
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Some(Block { first_key, bytes })
    }
}

/// Returns the checksum of a block that is as it was made; `None` if it is damaged.
pub(super) fn checksum(block: &[u8]) -> Option<u32> {
    let (rows, crc) = block.split_last_chunk::<CRC_LEN>()?;
    let crc = u32::from_le_bytes(*crc);
    (crc32c::crc32c(rows) == crc).then_some(crc)
}

/// Goes through the rows of a block, in their order. Whoever moves it hands in the block.
#[derive(Default)]
pub(super) struct Reading {
    next: usize,
    pub key: Vec<u8>,
    value: Range<usize>,
}

impl Reading {
    /// Goes to the next row; false, if there is none. `None`: the block is damaged.
    pub fn advance(&mut self, block: &[u8]) -> Option<bool> {
        let end = block.len().checked_sub(CRC_LEN)?;
        if self.next >= end {
            return Some(false);
        }
        let mut rest = block.get(self.next..end)?;
        let (n_shared, n_more, value_len) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let more = rest.get(..n_more)?;
        if n_shared > self.key.len() {
            return None;
        }
        self.key.truncate(n_shared);
        self.key.extend_from_slice(more);
        let start = end - rest.len() + n_more;
        self.next = start.checked_add(value_len).filter(|next| *next <= end)?;
        self.value = start..self.next;
        Some(true)
    }

    pub fn value<'b>(&self, block: &'b [u8]) -> &'b [u8] {
        &block[self.value.clone()]
    }
}

/// All rows of a block, for those who look for several.
#[derive(Default)]
pub(super) struct Rows {
    keys: Vec<u8>,
    /// Of each row, where its key ends in `keys`, and where its value is in the block.
    rows: Vec<(usize, Range<usize>)>,
}

impl Rows {
    /// Takes a block apart; `None` if it is damaged.
    pub fn read(&mut self, block: &[u8]) -> Option<()> {
        self.keys.clear();
        self.rows.clear();
        checksum(block)?;
        let mut reading = Reading::default();
        while reading.advance(block)? {
            self.keys.extend_from_slice(&reading.key);
            self.rows.push((self.keys.len(), reading.value.clone()));
        }
        Some(())
    }

    fn key(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.rows[before].0);
        &self.keys[start..self.rows[at].0]
    }

    pub fn last_key(&self) -> Option<&[u8]> {
        self.rows.len().checked_sub(1).map(|last| self.key(last))
    }

    /// Returns key and value of the last row before `end`.
    pub fn last_before<'r>(&'r self, end: &[u8], block: &'r [u8]) -> Option<(&'r [u8], &'r [u8])> {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < end { low = middle + 1 } else { high = middle }
        }
        let at = low.checked_sub(1)?;
        Some((self.key(at), &block[self.rows[at].1.clone()]))
    }
}

fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7F {
        bytes.push(0x80 | (number & 0x7F) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for at in 0..5 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn rows_of(block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        checksum(block)?;
        let (mut reading, mut rows) = (Reading::default(), Vec::new());
        while reading.advance(block)? {
            rows.push((reading.key.clone(), reading.value(block).to_vec()));
        }
        Some(rows)
    }

    #[test]
    fn rows_read_back_from_blocks_that_stay_small() {
        let mut random = Random::new("rows_read_back_from_blocks");
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = (0..2_000)
            .map(|_| {
                let key: Vec<u8> = (0..1 + random.below(40)).map(|_| random.below(3) as u8).collect();
                (key, vec![random.below(256) as u8; random.below(200) as usize])
            })
            .collect();
        rows.push((vec![9; 300], vec![1; 4096])); // a block for itself
        rows.push((vec![9; 301], Vec::new()));
        rows.sort();
        rows.dedup_by(|one, other| one.0 == other.0);
        let mut builder = Builder::default();
        let mut blocks: Vec<Block> = rows.iter().filter_map(|(key, value)| builder.push(key, value)).collect();
        blocks.extend(builder.finish());
        assert!(builder.finish().is_none());
        let read: Vec<_> = blocks
            .iter()
            .flat_map(|block| {
                let rows = rows_of(&block.bytes).unwrap();
                let mut taken_apart = Rows::default();
                taken_apart.read(&block.bytes).unwrap();
                assert_eq!(taken_apart.last_key(), rows.last().map(|row| &row.0[..]));
                assert_eq!(taken_apart.last_before(&rows[0].0, &block.bytes), None);
                for (row, end) in rows.iter().zip(rows.iter().skip(1).map(|row| &row.0[..]).chain([&[0xFF; 400][..]])) {
                    assert_eq!(taken_apart.last_before(end, &block.bytes), Some((&row.0[..], &row.1[..])));
                }
                assert!(block.bytes.len() <= FULL_LEN || rows.len() == 1);
                assert_eq!(rows[0].0, block.first_key);
                rows
            })
            .collect();
        assert!(read == rows);
        assert!(blocks.len() > 10);
    }

    #[test]
    fn a_damaged_block_is_told_and_read_without_harm() {
        let mut builder = Builder::default();
        for row in 0..50_u32 {
            assert!(builder.push(&row.to_be_bytes(), b"value").is_none());
        }
        let block = builder.finish().unwrap().bytes;
        for bit in 0..block.len() * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(checksum(&damaged), None, "bit {bit}");
            let mut reading = Reading::default();
            while reading.advance(&damaged) == Some(true) {
                _ = reading.value(&damaged);
            }
        }
        for len in 0..block.len() {
            assert_eq!(checksum(&block[..len]), None, "{len} bytes");
        }
    }
}
