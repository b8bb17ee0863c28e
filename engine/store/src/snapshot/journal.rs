//! Whether the journal says anything new that matters to an answer.
//!
//! The part that was there is compared: segments by their stamps, those that were young or may grow by a checksum. What
//! has been added since is read, and may only be of kinds that change nothing. That needs neither owner nor index, and
//! another pipeline's run does not make an answer stale.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use mlp_model::{Digest, Record};

use super::Position;
use crate::bytes::{Reader, Writer};
use crate::clock::Clock;
use crate::fs::{FileStat, Stamp};
use crate::journal::Link;
use crate::journal::group;
use crate::journal::segment::{MARK_LEN, SEGMENT_HEADER_LEN, Stop, decode_header, walk};
use crate::layout::Layout;
use crate::stat_cache::is_settled;

/// More new facts than this are not read: the ordinary way is faster.
const MAX_NEW_BYTES: u64 = 16 << 20;

/// The journal as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalState {
    link: Link,
    segments: Vec<SegmentState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SegmentState {
    len: u64,
    mark: Mark,
}

/// By what it is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    Stamp(Stamp),
    /// CRC-32C of its bytes.
    Crc(u32),
}

impl JournalState {
    /// Describes the journal up to `position`. `None`, if it has moved on, or something does not fit.
    pub fn take(layout: &Layout, position: &Position, clock: &dyn Clock) -> io::Result<Option<Self>> {
        let mut segments = Vec::new();
        for number in 1..=position.segment {
            let mut file = File::open(layout.segment(number))?;
            let stamp = FileStat::from(&file.metadata()?).stamp;
            let is_last = number == position.segment;
            // A mark may stand behind the newest frame.
            let is_at_end = [position.end, position.end + MARK_LEN as u64].contains(&stamp.size_bytes);
            if is_last && !is_at_end {
                return Ok(None);
            }
            let len = if is_last { position.end } else { stamp.size_bytes };
            let mark = if !is_last && is_settled(&stamp, clock.now()) {
                Mark::Stamp(stamp)
            } else {
                match crc_of(&mut file, len)? {
                    Some(crc) => Mark::Crc(crc),
                    None => return Ok(None),
                }
            };
            segments.push(SegmentState { len, mark });
        }
        let has_more = layout.segment(position.segment + 1).exists();
        let link = Link { seq: position.seq, hash: position.hash.0 };
        Ok((!has_more && !segments.is_empty()).then_some(Self { link, segments }))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.long(self.link.seq);
        out.digest(&Digest(self.link.hash));
        for segment in &self.segments {
            out.long(segment.len);
            match &segment.mark {
                Mark::Stamp(stamp) => {
                    out.byte(0);
                    out.stamp(stamp);
                }
                Mark::Crc(crc) => {
                    out.byte(1);
                    out.short(*crc);
                }
            }
        }
        out.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Reader(bytes);
        let link = Link { seq: bytes.long()?, hash: bytes.digest()?.0 };
        let mut segments = Vec::new();
        while !bytes.is_empty() {
            let len = bytes.long()?;
            let mark = match bytes.byte()? {
                0 => Mark::Stamp(bytes.stamp()?),
                1 => Mark::Crc(bytes.short()?),
                _ => return None,
            };
            segments.push(SegmentState { len, mark });
        }
        Some(Self { link, segments })
    }

    /// Whether what was there is as it was, and nothing was added that could matter.
    pub fn is_current(&self, layout: &Layout) -> bool {
        self.check(layout).is_some()
    }

    fn check(&self, layout: &Layout) -> Option<()> {
        let (last, before) = self.segments.split_last()?;
        for (number, segment) in (1..).zip(before) {
            let path = layout.segment(number);
            let is_same = match &segment.mark {
                Mark::Stamp(stamp) => stamp_at(&path)? == *stamp,
                Mark::Crc(crc) => {
                    let mut file = File::open(&path).ok()?;
                    stamp_at(&path)?.size_bytes == segment.len && crc_of(&mut file, segment.len).ok()?? == *crc
                }
            };
            is_same.then_some(())?;
        }
        let mut number = u32::try_from(self.segments.len()).ok()?;
        let mut file = File::open(layout.segment(number)).ok()?;
        let Mark::Crc(crc) = last.mark else { return None };
        (crc_of(&mut file, last.len).ok()?? == crc).then_some(())?;
        let mut news = News { link: self.link, n_bytes: 0 };
        // The file stands right behind what was there.
        news.take(file, None)?;
        loop {
            number += 1;
            match File::open(layout.segment(number)) {
                Ok(file) => news.take(file, Some(number))?,
                Err(error) if error.kind() == ErrorKind::NotFound => return Some(()),
                Err(_) => return None,
            }
        }
    }
}

/// Reads what was added.
struct News {
    link: Link,
    n_bytes: u64,
}

impl News {
    /// Takes the rest of a file. `new_segment`: its number, if it begins with a header. `None`: the answer is in doubt.
    fn take(&mut self, file: File, new_segment: Option<u32>) -> Option<()> {
        let mut bytes = Vec::new();
        file.take(MAX_NEW_BYTES + 1 - self.n_bytes).read_to_end(&mut bytes).ok()?;
        self.n_bytes += bytes.len() as u64;
        (self.n_bytes <= MAX_NEW_BYTES).then_some(())?;
        let start = match new_segment {
            None => 0,
            Some(number) => {
                (decode_header(number, &bytes).ok()? == self.link).then_some(())?;
                SEGMENT_HEADER_LEN
            }
        };
        let mut matters = false;
        let walked = walk::<Infallible>(&bytes, start, self.link, |_, frame| {
            matters |= group_matters(frame.payload).unwrap_or(true);
            Ok(())
        });
        let Ok(walked) = walked;
        self.link = walked.link;
        (walked.stop == Stop::End && !matters).then_some(())
    }
}

/// Whether a group of facts could change an answer; `None`, if it cannot be read. Results and releases could, whosever
/// they are: the answer that is then found in the ordinary way is good for long. What a run that does nothing leaves
/// behind could not, so that two pipelines can be up to date in one workspace.
fn group_matters(payload: &[u8]) -> Option<bool> {
    let group = group::decode(payload)?;
    for range in group.records {
        match serde_json::from_slice(payload.get(range)?).ok()? {
            Record::RunStarted { .. }
            | Record::StepReused { .. }
            | Record::StepFailed { .. }
            | Record::GateDecided { .. }
            | Record::RunFinished { .. } => {}
            // Also whatever later versions may write.
            _ => return Some(true),
        }
    }
    Some(false)
}

fn stamp_at(path: &Path) -> Option<Stamp> {
    std::fs::symlink_metadata(path).ok().map(|found| FileStat::from(&found).stamp)
}

/// Sums up the next `len` bytes; `None`, if there are fewer.
fn crc_of(file: &mut File, len: u64) -> io::Result<Option<u32>> {
    let mut buffer = vec![0; 1 << 18];
    let (mut crc, mut left) = (0, len);
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
        match file.read(&mut buffer[..wanted]) {
            Ok(0) => return Ok(None),
            Ok(n_read) => {
                crc = crc32c::crc32c_append(crc, &buffer[..n_read]);
                left -= n_read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(crc))
}
