//! One file of the journal as bytes: its header, walking its frames, and judging where they stop.
//!
//! The header, all numbers little-endian: `mlp-jrnl`; u32 format version; u32 number of the segment; u64 sequence
//! number of its first frame; 32 bytes hash of the frame before, random in the first segment; u32 zero; u32 CRC-32C of
//! all before. Pure: unaware of files.

use mlp_model::StoreError;

use super::frame::{Frame, HEADER_LEN, Link};

pub(crate) const SEGMENT_HEADER_LEN: usize = 64;
const MAGIC: &[u8; 8] = b"mlp-jrnl";
const VERSION: u32 = 1;

/// Makes the header of segment `number`, which continues `link`.
pub(crate) fn encode_header(number: u32, link: &Link) -> [u8; SEGMENT_HEADER_LEN] {
    let mut header = [0; SEGMENT_HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&number.to_le_bytes());
    header[16..24].copy_from_slice(&(link.seq + 1).to_le_bytes());
    header[24..56].copy_from_slice(&link.hash);
    let crc = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Why a segment's header cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HeaderFault {
    Damaged,
    Newer(StoreError),
}

/// Reads the header of segment `number` and returns the link that its first frame continues.
pub(crate) fn decode_header(number: u32, bytes: &[u8]) -> Result<Link, HeaderFault> {
    let header: &[u8; SEGMENT_HEADER_LEN] = bytes.first_chunk().ok_or(HeaderFault::Damaged)?;
    if !header.starts_with(MAGIC) || crc32c::crc32c(&header[..60]).to_le_bytes() != header[60..] {
        return Err(HeaderFault::Damaged);
    }
    let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if version > VERSION {
        return Err(HeaderFault::Newer(StoreError::NewerFormat { found: version, known: VERSION }));
    }
    let first = u64::from_le_bytes(std::array::from_fn(|byte| header[16 + byte]));
    let link = Link { seq: first.wrapping_sub(1), hash: std::array::from_fn(|byte| header[24 + byte]) };
    if encode_header(number, &link) == *header { Ok(link) } else { Err(HeaderFault::Damaged) }
}

/// Where the frames of a segment end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    /// The newest frame that is whole.
    pub link: Link,
    /// Right after it.
    pub end: usize,
    pub stop: Stop,
}

/// Why a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    End,
    /// A write that did not complete, and was never acknowledged: nothing of a later batch follows.
    Torn(&'static str),
    /// Frames that were acknowledged later follow.
    Damaged(&'static str),
}

/// Visits the frames of `bytes` from offset `start`, as far as they continue `link`.
pub(crate) fn walk<E>(
    bytes: &[u8],
    start: usize,
    mut link: Link,
    mut visit: impl FnMut(usize, &Frame<'_>) -> Result<(), E>,
) -> Result<Walk, E> {
    let mut end = start;
    let fault = loop {
        let rest = bytes.get(end..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Walk { link, end, stop: Stop::End });
        }
        match Frame::decode(rest) {
            Ok(frame) if frame.follows(&link) => {
                visit(end, &frame)?;
                end += frame.len();
                link = frame.link();
            }
            Ok(_) => break "it does not continue the record before it",
            Err(what) => break what,
        }
    };
    let later = has_later_batch(bytes.get(end..).unwrap_or_default(), link.seq + 1);
    Ok(Walk { link, end, stop: if later { Stop::Damaged(fault) } else { Stop::Torn(fault) } })
}

/// Whether a whole frame stands anywhere in `bytes` whose batch began after frame `seq`: such a batch was written only
/// once `seq` was on the disk.
fn has_later_batch(bytes: &[u8], seq: u64) -> bool {
    /// More frames than a segment can hold.
    const REACH: u64 = 1 << 24;
    (0..bytes.len().saturating_sub(HEADER_LEN - 1)).any(|offset| {
        let candidate = &bytes[offset..];
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| candidate[at + byte]));
        let (found, batch) = (number(8), number(16));
        batch > seq && found >= batch && found - seq < REACH && Frame::decode(candidate).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const GENESIS: Link = Link { seq: 0, hash: [7; 32] };

    /// Makes a segment whose batches have these numbers of frames; returns it and where each frame begins.
    fn segment(batches: &[usize], payload_len: impl Fn(u64) -> usize) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = encode_header(1, &GENESIS).to_vec();
        let (mut link, mut starts) = (GENESIS, Vec::new());
        for n_frames in batches {
            let batch = link.seq + 1;
            for _ in 0..*n_frames {
                starts.push(bytes.len());
                let payload: Vec<u8> = (0..payload_len(link.seq)).map(|byte| (byte * 31) as u8).collect();
                link.encode_next(batch, &payload, &mut bytes);
            }
        }
        (bytes, starts)
    }

    fn walk_all(bytes: &[u8]) -> (u64, Walk) {
        let mut n_frames = 0;
        let walked = walk(bytes, SEGMENT_HEADER_LEN, GENESIS, |_, _| {
            n_frames += 1;
            Ok::<_, Infallible>(())
        });
        (n_frames, walked.unwrap())
    }

    #[test]
    fn a_cut_at_every_byte_of_the_last_64_kib_leaves_the_exact_prefix() {
        let (bytes, starts) = segment(&[3; 40], |seq| (seq as usize * 97) % 1500);
        assert!(bytes.len() > 65_536 + SEGMENT_HEADER_LEN);
        for cut in bytes.len() - 65_536..bytes.len() {
            let n_whole = starts.iter().skip(1).chain([&bytes.len()]).filter(|end| **end <= cut).count();
            // Frames far before the cut have been seen whole often enough.
            let from = n_whole.saturating_sub(4);
            let Some(start) = starts.get(from) else { continue };
            let link = walk_all(&bytes[..*start]).1.link;
            let mut n_frames = from;
            let walked = walk(&bytes[..cut], *start, link, |_, _| {
                n_frames += 1;
                Ok::<_, Infallible>(())
            })
            .unwrap();
            assert_eq!(n_frames, n_whole, "cut at {cut}");
            assert_eq!(walked.stop == Stop::End, walked.end == cut, "cut at {cut}");
            assert!(!matches!(walked.stop, Stop::Damaged(_)), "cut at {cut}");
        }
    }

    #[test]
    fn any_flip_in_an_acknowledged_batch_is_damage_and_in_the_last_one_a_torn_write() {
        let (bytes, starts) = segment(&[2, 3, 2], |_| 40);
        let last_batch = starts[5];
        for bit in SEGMENT_HEADER_LEN * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let n_before = starts.iter().filter(|start| **start <= bit / 8).count() as u64 - 1;
            let (n_frames, walked) = walk_all(&flipped);
            assert_eq!(n_frames, n_before, "bit {bit}");
            assert_eq!(matches!(walked.stop, Stop::Damaged(_)), bit / 8 < last_batch, "bit {bit}");
        }
    }

    #[test]
    fn a_zeroed_tail_and_a_hole_within_the_last_batch_are_torn_writes() {
        let (bytes, starts) = segment(&[2, 3], |_| 40);
        let mut zeroed = bytes.clone();
        zeroed[starts[4]..].fill(0);
        let mut hole = bytes.clone();
        hole[starts[3]..starts[4]].fill(0);
        for (bytes, n_whole) in [(zeroed, 4), (hole, 3)] {
            let (n_frames, walked) = walk_all(&bytes);
            assert_eq!(n_frames, n_whole);
            assert!(matches!(walked.stop, Stop::Torn(_)));
        }
    }

    #[test]
    fn a_header_is_checked_to_the_last_bit_and_newer_formats_are_refused() {
        let header = encode_header(3, &GENESIS);
        assert_eq!(decode_header(3, &header), Ok(GENESIS));
        assert_eq!(decode_header(4, &header), Err(HeaderFault::Damaged));
        for bit in 0..header.len() * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(3, &flipped), Err(HeaderFault::Damaged), "bit {bit}");
        }
        let mut newer = header;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..60]);
        newer[60..].copy_from_slice(&crc.to_le_bytes());
        let refusal = StoreError::NewerFormat { found: 2, known: 1 };
        assert_eq!(decode_header(3, &newer), Err(HeaderFault::Newer(refusal)));
    }
}
