//! One file of the journal as bytes: its header, walking its frames, and judging where they stop.
//!
//! The header, all numbers little-endian: `mlp-jrnl`; u32 format version; u32 number of the segment; u64 sequence
//! number of its first frame; 32 bytes hash of the frame before, random in the first segment; u32 zero; u32 CRC-32C of
//! all before.
//!
//! Behind the newest frame stands a mark: what comes before it is on the disk, and whoever wrote it may have been told
//! so. It is written after the sync and before the answer, not synced itself, and the next batch is written over it: it
//! tells a last batch that was damaged from one that was never completely written. The mark: `mlp-sync`; u64 sequence
//! number and 32 bytes hash of the frame before it; u32 CRC-32C of all that.
//!
//! Pure: unaware of files.

use mlp_model::StoreError;

use super::frame::{Frame, HEADER_LEN, Link};

pub(crate) const SEGMENT_HEADER_LEN: usize = 64;
/// No longer than any frame, so that the next batch covers it whole.
pub(crate) const MARK_LEN: usize = 52;
const MAGIC: &[u8; 8] = b"mlp-jrnl";
const MARK_MAGIC: &[u8; 8] = b"mlp-sync";
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

/// Makes the mark which says that everything up to `link` is on the disk.
pub(crate) fn encode_mark(link: &Link) -> [u8; MARK_LEN] {
    let mut mark = [0; MARK_LEN];
    mark[..8].copy_from_slice(MARK_MAGIC);
    mark[8..16].copy_from_slice(&link.seq.to_le_bytes());
    mark[16..48].copy_from_slice(&link.hash);
    let crc = crc32c::crc32c(&mark[..48]);
    mark[48..].copy_from_slice(&crc.to_le_bytes());
    mark
}

/// Reads the mark at the end of `bytes`, if a whole one stands there.
pub(crate) fn decode_mark(bytes: &[u8]) -> Option<Link> {
    let mark: &[u8; MARK_LEN] = bytes.last_chunk()?;
    let seq = u64::from_le_bytes(std::array::from_fn(|byte| mark[8 + byte]));
    let link = Link { seq, hash: std::array::from_fn(|byte| mark[16 + byte]) };
    (encode_mark(&link) == *mark).then_some(link)
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
    /// A write that did not complete, and was never acknowledged: nothing follows that was written after its sync.
    Torn(&'static str),
    /// Frames of a later batch follow, or the mark of this one: it was on the disk once.
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
        if rest.is_empty() || rest.len() == MARK_LEN && decode_mark(rest) == Some(link) {
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
    let rest = bytes.get(end..).unwrap_or_default();
    let later = decode_mark(rest).is_some_and(|mark| mark.seq > link.seq) || has_later_batch(rest, link.seq + 1);
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
    fn behind_a_mark_any_flip_is_damage_and_one_in_the_mark_costs_nothing() {
        let (frames, starts) = segment(&[2, 3, 2], |_| 40);
        let newest = walk_all(&frames).1.link;
        let bytes = [&frames[..], &encode_mark(&newest)].concat();
        assert_eq!(walk_all(&bytes), (7, Walk { link: newest, end: frames.len(), stop: Stop::End }));
        for bit in SEGMENT_HEADER_LEN * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (n_frames, walked) = walk_all(&flipped);
            if bit / 8 < frames.len() {
                let n_before = starts.iter().filter(|start| **start <= bit / 8).count() as u64 - 1;
                assert!(n_frames == n_before && matches!(walked.stop, Stop::Damaged(_)), "bit {bit}");
            } else {
                assert!(n_frames == 7 && matches!(walked.stop, Stop::Torn(_)), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_batch_written_over_a_mark_and_torn_anywhere_is_a_torn_write() {
        let (frames, starts) = segment(&[2, 3], |_| 40);
        let before = walk_all(&frames[..starts[2]]).1.link;
        let marked = [&frames[..starts[2]], &encode_mark(&before)].concat();
        // What reached the disk of the second batch: its first bytes, or all but those.
        for cut in starts[2]..frames.len() {
            let head = [&frames[..cut], marked.get(cut..).unwrap_or_default()].concat();
            let mut tail = frames.clone();
            tail[starts[2]..cut].fill(0);
            let n_old = marked.len().min(cut) - starts[2];
            tail[starts[2]..][..n_old].copy_from_slice(&marked[starts[2]..][..n_old]);
            for (what, bytes) in [("head", head), ("tail", tail)] {
                let (n_frames, walked) = walk_all(&bytes);
                let is_whole = bytes == frames;
                assert!(n_frames >= 2 && (is_whole || n_frames < 5), "{what} {cut}");
                assert!(!matches!(walked.stop, Stop::Damaged(_)), "{what} {cut}");
                let n_whole = starts[1..].iter().chain([&frames.len()]).filter(|end| **end <= cut).count() as u64;
                assert!(what == "tail" || n_frames == n_whole, "{what} {cut}");
            }
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
