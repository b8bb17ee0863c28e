//! Makes a damaged journal whole again, as far as its bytes allow.
//!
//! What stands before the damage stays. Of what stands behind it, every record that is whole is written again, chained to
//! what stays; the original files are kept beside. A record that is there already, from an attempt to mend that was
//! killed, is not written twice. To be called by whoever holds the seat, and by nobody else at the same time.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mlp_model::StoreError;

use super::frame::Frame;
use super::group::{self, ClientId};
use super::segment::{self, SEGMENT_HEADER_LEN};
use super::{Inspected, Link, Segments, inspect};
use crate::failure::OrFail;
use crate::fs::Fs;
use crate::layout::make_folder;

/// What became of the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mended {
    /// Frames behind the damage that were whole and stand in the journal again.
    pub n_saved: u64,
    /// Frames of which nothing is left, as far as their numbers tell.
    pub n_lost: u64,
    /// Where the original files are.
    pub originals: PathBuf,
}

/// Mends the journal in `folder`, whose inspection found damage. The original files go to a new folder beside it.
pub(crate) fn mend(fs: &Arc<dyn Fs>, folder: &Path, found: &Inspected) -> Result<Mended, StoreError> {
    let files = Segments { fs: fs.clone(), folder: folder.to_owned(), open: Mutex::default() };
    let numbers = files.numbers()?;
    // The journal goes on in the segment that holds the newest whole frame.
    let number = found.segment.max(1);
    let affected: Vec<u32> = numbers.iter().copied().filter(|affected| *affected >= number).collect();
    let originals = keep_originals(&**fs, &files, &affected)?;

    let (mut known, mut n_records) = (HashSet::new(), 0);
    inspect(fs.clone(), folder, &mut |_, payload| {
        if let Some(group) = group::decode(payload) {
            n_records += group.records.len() as u64;
            known.insert((group.head.client, group.head.no));
        }
        Ok(())
    })?;
    let mut link = match found.link {
        Some(link) => link,
        None => {
            let mut hash = [0; 32];
            rustix::rand::getrandom(&mut hash, rustix::rand::GetRandomFlags::empty())
                .or_fail("draw a random number for", folder)?;
            Link { seq: 0, hash }
        }
    };
    let mut bytes = match found.segment {
        0 => segment::encode_header(number, &link).to_vec(),
        _ => files.read_all(number)?,
    };
    bytes.truncate(if found.segment == 0 { SEGMENT_HEADER_LEN } else { found.end as usize });
    let (mut mended, mut newest) = (Mended { n_saved: 0, n_lost: 0, originals }, link.seq);
    let mut seen = 0;
    for affected in affected.iter().copied() {
        let original = files.read_all(affected)?;
        let start = if affected == found.segment { found.end as usize } else { 0 };
        each_whole_frame(original.get(start..).unwrap_or_default(), |seq, payload| {
            seen += 1;
            newest = newest.max(seq);
            save(payload, &mut known, &mut n_records, &mut link, &mut bytes, &mut mended.n_saved);
        });
    }
    let first_behind = found.link.map_or(0, |link| link.seq);
    mended.n_lost = (newest - first_behind).saturating_sub(seen).max(u64::from(seen == 0));

    let new = folder.join("mended.new");
    if fs.stat(&new).is_ok() {
        fs.remove_file(&new).or_fail("remove", &new)?;
    }
    let file = fs.create(&new, 0o600).or_fail("make", &new)?;
    file.write_all_at(&bytes, 0).or_fail("write", &new)?;
    file.sync().or_fail("sync", &new)?;
    let place = files.path(number);
    fs.rename(&new, &place).or_fail("replace", &place)?;
    // Killed here, the journal is damaged still, and mending it again finds everything there already.
    for later in affected.iter().rev().filter(|affected| **affected > number) {
        fs.remove_file(&files.path(*later)).or_fail("remove", &files.path(*later))?;
    }
    fs.sync_dir(folder).or_fail("sync", folder)?;
    Ok(mended)
}

/// Appends a group with the next numbers, unless it is there.
fn save(
    payload: &[u8],
    known: &mut HashSet<(ClientId, u64)>,
    n_records: &mut u64,
    link: &mut Link,
    bytes: &mut Vec<u8>,
    n_saved: &mut u64,
) {
    let Some(group) = group::decode(payload) else { return };
    if !known.insert((group.head.client.clone(), group.head.no)) {
        return;
    }
    let part = |range: &std::ops::Range<usize>| payload.get(range.clone()).unwrap_or_default();
    let records: Vec<&[u8]> = group.records.iter().map(part).collect();
    let blobs: Vec<_> = group.blobs.iter().map(|(digest, range)| (*digest, part(range))).collect();
    let mut head = group.head.clone();
    head.first = *n_records + 1;
    *n_records += records.len() as u64;
    *n_saved += 1;
    link.encode_next(link.seq + 1, &group::encode(head, &records, &blobs), bytes);
}

/// Visits number and payload of every frame that is whole, wherever it stands.
fn each_whole_frame(bytes: &[u8], mut visit: impl FnMut(u64, &[u8])) {
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        match Frame::decode(rest) {
            Ok(frame) => {
                visit(frame.seq, frame.payload);
                offset += frame.len();
            }
            Err(_) => offset += 1,
        }
    }
}

/// Copies the segments into a new folder beside the journal.
fn keep_originals(fs: &dyn Fs, files: &Segments, numbers: &[u32]) -> Result<PathBuf, StoreError> {
    let root = files.folder.parent().unwrap_or(&files.folder);
    let folder = (1..)
        .map(|n| root.join(format!("journal.damaged-{n}")))
        .find(|folder| fs.stat(folder).is_err())
        .expect("a number is free");
    make_folder(fs, &folder)?;
    for number in numbers {
        let target = folder.join(files.name(*number));
        let file = fs.create(&target, 0o600).or_fail("make", &target)?;
        file.write_all_at(&files.read_all(*number)?, 0).or_fail("write", &target)?;
        file.sync().or_fail("sync", &target)?;
    }
    fs.sync_dir(&folder).or_fail("sync", &folder)?;
    fs.sync_dir(root).or_fail("sync", root)?;
    Ok(folder)
}
