//! Reads the whole journal without changing anything, and says where it ends and why.

use std::path::Path;
use std::sync::Arc;

use mlp_model::StoreError;

use super::segment::{self, HeaderFault, SEGMENT_HEADER_LEN, Stop};
use super::{Link, Segments, Tail, Visit, place};
use crate::fs::Fs;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub n_segments: usize,
    pub size_bytes: u64,
    /// The newest frame of the part that is whole.
    pub link: Option<Link>,
    /// The segment in which that part ends, and where in it. 0 and 0: there is no part that is whole.
    pub segment: u32,
    pub end: u64,
    pub fault: Option<Fault>,
    /// What the first frame continues: drawn at random when the store was begun.
    pub genesis: Option<[u8; 32]>,
}

/// What stands behind the part that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A write that did not complete: never acknowledged, or just being made.
    Torn { n_bytes: u64, what: String },
    /// What had been acknowledged is not there any more as it was written.
    Damaged { what: String },
}

/// Walks all segments of `folder`, in which others may be writing, and visits every frame up to the first fault.
///
/// # Errors
/// [`StoreError::NewerFormat`], the operating system, and those of `visit`.
pub(crate) fn inspect(fs: Arc<dyn Fs>, folder: &Path, visit: &mut Visit<'_>) -> Result<Inspected, StoreError> {
    let files = Segments::new(fs, folder.to_owned());
    let numbers = files.numbers()?;
    let mut inspected = Inspected {
        n_segments: numbers.len(),
        size_bytes: 0,
        link: None,
        segment: 0,
        end: 0,
        fault: None,
        genesis: None,
    };
    let Some(last) = numbers.last().copied() else { return Ok(inspected) };
    let damaged = |what: &str| Some(Fault::Damaged { what: what.to_owned() });
    for number in 1..=last {
        if !numbers.contains(&number) {
            inspected.fault = damaged(&format!("{} is missing", files.name(number)));
            return Ok(inspected);
        }
        let bytes = files.read_all(number)?;
        inspected.size_bytes += bytes.len() as u64;
        let first = match segment::decode_header(number, &bytes) {
            Ok(first) => first,
            Err(HeaderFault::Newer(error)) => return Err(error),
            Err(HeaderFault::Damaged) => {
                let is_unborn = number == last && bytes.len() <= SEGMENT_HEADER_LEN;
                inspected.fault = if is_unborn {
                    Some(Fault::Torn { n_bytes: bytes.len() as u64, what: "it was never completely made".to_owned() })
                } else {
                    damaged(&format!("the header of {} is wrong", files.name(number)))
                };
                return Ok(inspected);
            }
        };
        inspected.genesis.get_or_insert(first.hash);
        let before = inspected.link.unwrap_or(first);
        if before != first {
            inspected.fault = damaged(&format!("{} does not continue the segment before it", files.name(number)));
            return Ok(inspected);
        }
        let walked = segment::walk(&bytes, SEGMENT_HEADER_LEN, before, |offset, frame| {
            visit(Tail { link: frame.link(), place: place(number, offset as u64, frame) }, frame.payload)
        })?;
        (inspected.link, inspected.segment, inspected.end) = (Some(walked.link), number, walked.end as u64);
        let in_segment = |what: &str| format!("record {} in {}: {what}", walked.link.seq + 1, files.name(number));
        match walked.stop {
            Stop::End => {}
            Stop::Torn(what) if number == last => {
                let n_bytes = (bytes.len() - walked.end) as u64;
                inspected.fault = Some(Fault::Torn { n_bytes, what: in_segment(what) });
            }
            Stop::Torn(what) | Stop::Damaged(what) => inspected.fault = damaged(&in_segment(what)),
        }
        if inspected.fault.is_some() {
            return Ok(inspected);
        }
    }
    Ok(inspected)
}
