//! The journal: the truth. Append-only segments of checksummed, chained frames; what is in it has happened.
//!
//! Opening walks the frames that the index has not seen and cuts off a write that did not complete. Appending writes a
//! batch with one write and one sync, and then marks that it is on the disk. Unaware of what payloads mean; [`group`] knows their form.

mod frame;
pub(crate) mod group;
mod inspect;
mod mend;
pub(crate) mod segment;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mlp_model::{StoreError, fail_point};

use crate::failure::{OrFail, lock};
use crate::fs::{Access, Fs, FsFile, read_full};
use frame::Frame;
pub(crate) use frame::Link;
pub(crate) use inspect::{Fault, Inspected, inspect};
pub(crate) use mend::mend;
use segment::{HeaderFault, SEGMENT_HEADER_LEN, Stop};

/// A segment that has grown to this is followed by another.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Where a frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub segment: u32,
    pub offset: u64,
    pub len: u32,
}

/// How far somebody has read: the newest frame, where it stands, and where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub link: Link,
    pub place: Place,
}

impl Tail {
    pub fn end(&self) -> u64 {
        self.place.offset + u64::from(self.place.len)
    }
}

pub(crate) struct Journal {
    files: Arc<Segments>,
    number: u32,
    file: Arc<dyn FsFile>,
    end: u64,
    link: Link,
    segment_bytes: u64,
}

/// How opening went, if nothing is damaged.
pub(crate) enum Opened {
    Ready(Box<Journal>),
    /// The journal does not hold what the reader claims to have read; it must read from the beginning.
    OtherTail,
}

/// Why a batch is not in the journal. It is surely not.
#[derive(Debug)]
pub(crate) struct AppendError {
    pub error: StoreError,
    /// The file can no longer be relied on: the process must end, and the next one look afresh.
    pub is_final: bool,
}

/// Receives each frame's place, link and payload.
pub(crate) type Visit<'v> = dyn FnMut(Tail, &[u8]) -> Result<(), StoreError> + 'v;

impl Journal {
    /// Opens the journal and visits all frames after `seen`. `warn` is told what was cut off.
    ///
    /// # Errors
    /// [`StoreError::JournalDamaged`] and [`StoreError::NewerFormat`]; and those of `visit`.
    pub fn open(
        fs: Arc<dyn Fs>,
        folder: PathBuf,
        seen: Option<&Tail>,
        visit: &mut Visit<'_>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Opened, StoreError> {
        let files = Arc::new(Segments::new(fs, folder));
        let mut numbers = files.numbers()?;
        files.drop_unborn(&mut numbers, warn)?;
        if numbers.is_empty() {
            if seen.is_some() {
                return Ok(Opened::OtherTail);
            }
            let mut hash = [0; 32];
            rustix::rand::getrandom(&mut hash, rustix::rand::GetRandomFlags::empty())
                .or_fail("draw a random number for", &files.folder)?;
            files.create(1, &Link { seq: 0, hash })?;
            numbers.push(1);
        }
        let last = numbers.last().copied().unwrap_or(1);
        if let Some(missing) = (1..=last).find(|number| !numbers.contains(number)) {
            return Err(files.damaged(missing, 0, "the file is missing"));
        }
        if let Some(seen) = seen
            && !files.holds(seen, last)?
        {
            return Ok(Opened::OtherTail);
        }
        let mut link = seen.map(|seen| seen.link);
        let mut end = 0;
        for number in seen.map_or(1, |seen| seen.place.segment)..=last {
            let head = files.read_head(number)?;
            let first = match segment::decode_header(number, &head) {
                Ok(first) => first,
                Err(HeaderFault::Newer(error)) => return Err(error),
                Err(HeaderFault::Damaged) => {
                    return Err(files.damaged(number, link.map_or(1, |link| link.seq + 1), "its header is wrong"));
                }
            };
            let start = match seen.filter(|seen| seen.place.segment == number) {
                Some(seen) => seen.end(),
                None => SEGMENT_HEADER_LEN as u64,
            };
            let before = link.unwrap_or(first);
            if start == SEGMENT_HEADER_LEN as u64 && before != first {
                return Err(files.damaged(number, before.seq + 1, "it does not continue the segment before it"));
            }
            // What the reader has seen is not read again.
            let bytes = files.read_from(number, start)?;
            let walked = segment::walk(&bytes, 0, before, |offset, frame| {
                visit(Tail { link: frame.link(), place: place(number, start + offset as u64, frame) }, frame.payload)
            })?;
            let walked_end = start + walked.end as u64;
            match walked.stop {
                Stop::End => {}
                Stop::Torn(what) if number == last => {
                    let n_bytes = bytes.len() - walked.end;
                    let next = walked.link.seq + 1;
                    warn(format!(
                        "cut {n_bytes} bytes off {}: record {next} was never completely written ({what})",
                        files.name(number)
                    ));
                    files.cut(number, walked_end)?;
                }
                Stop::Torn(what) | Stop::Damaged(what) => {
                    return Err(files.damaged(number, walked.link.seq + 1, what));
                }
            }
            link = Some(walked.link);
            end = walked_end;
        }
        let link = link.unwrap_or(Link { seq: 0, hash: [0; 32] });
        let file = files.writable(last)?;
        // What an earlier process wrote and we now build upon must be on the disk before we say so.
        file.sync().or_fail("sync", &files.path(last))?;
        let journal = Self { files, number: last, file, end, link, segment_bytes: SEGMENT_BYTES };
        if link.seq > 0 {
            journal.mark();
        }
        Ok(Opened::Ready(Box::new(journal)))
    }

    /// Writes the payloads as one batch and waits until it is on the disk. All of it is in the journal then, or, with
    /// an error, nothing.
    pub fn append(&mut self, payloads: &[Vec<u8>]) -> Result<Vec<Tail>, AppendError> {
        let passing = |error| AppendError { error, is_final: false };
        if self.end >= self.segment_bytes {
            // Only the last segment has a mark, which may reach the disk by half: before that no other may be begun.
            let path = self.files.path(self.number);
            self.file.set_len(self.end).or_fail("shorten", &path).map_err(passing)?;
            self.file.sync().or_fail("sync", &path).map_err(|error| AppendError { error, is_final: true })?;
            let file = self.files.create(self.number + 1, &self.link).map_err(passing)?;
            (self.number, self.file, self.end) = (self.number + 1, file, SEGMENT_HEADER_LEN as u64);
        }
        let (mut link, mut bytes, mut tails) = (self.link, Vec::new(), Vec::with_capacity(payloads.len()));
        for payload in payloads {
            let start = bytes.len();
            link.encode_next(self.link.seq + 1, payload, &mut bytes);
            let len = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
            tails.push(Tail { link, place: Place { segment: self.number, offset: self.end + start as u64, len } });
        }
        let path = self.files.path(self.number);
        fail_point("journal.writing");
        let written = self.file.write_all_at(&bytes, self.end).or_fail("write", &path).map_err(passing);
        let synced = written.and_then(|()| {
            fail_point("journal.written");
            // After a failed sync the kernel may have dropped the bytes while still showing them.
            self.file.sync().or_fail("sync", &path).map_err(|error| AppendError { error, is_final: true })
        });
        if let Err(failure) = synced {
            let is_cut = self.file.set_len(self.end).is_ok();
            return Err(AppendError { is_final: failure.is_final || !is_cut, ..failure });
        }
        fail_point("journal.synced");
        self.end += bytes.len() as u64;
        self.link = link;
        self.mark();
        fail_point("journal.marked");
        Ok(tails)
    }

    /// Notes behind the newest frame that it is on the disk. Should that fail, a damaged one would be taken for one
    /// that was never completely written; nothing else relies on it.
    fn mark(&self) {
        let marked = self.file.write_all_at(&segment::encode_mark(&self.link), self.end);
        if marked.is_err() {
            _ = self.file.set_len(self.end);
        }
    }

    /// Returns what reads frames by their place.
    pub fn segments(&self) -> Arc<Segments> {
        self.files.clone()
    }

    #[cfg(test)]
    pub fn roll_at(&mut self, segment_bytes: u64) {
        self.segment_bytes = segment_bytes;
    }
}

/// The journal's files.
pub(crate) struct Segments {
    fs: Arc<dyn Fs>,
    folder: PathBuf,
    open: Mutex<HashMap<u32, Arc<dyn FsFile>>>,
}

impl Segments {
    pub fn new(fs: Arc<dyn Fs>, folder: PathBuf) -> Self {
        Self { fs, folder, open: Mutex::default() }
    }

    /// Reads the payload of the frame at `place`.
    ///
    /// # Errors
    /// [`StoreError::JournalDamaged`], if the frame is not whole.
    pub fn read(&self, place: &Place) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; place.len as usize];
        let file = self.readable(place.segment)?;
        let n_read = read_full(&*file, &mut bytes, place.offset).or_fail("read", &self.path(place.segment))?;
        match Frame::decode(bytes.get(..n_read).unwrap_or_default()) {
            Ok(frame) if frame.len() == bytes.len() => {
                bytes.drain(..frame::HEADER_LEN);
                Ok(bytes)
            }
            Ok(frame) => Err(self.damaged(place.segment, frame.seq, "it is shorter than it was")),
            Err(what) => {
                let seq = bytes.get(8..16).and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_le_bytes);
                Err(self.damaged(place.segment, seq, what))
            }
        }
    }

    /// Tells that a record which is whole cannot be understood.
    pub fn damaged(&self, segment: u32, seq: u64, what: &str) -> StoreError {
        StoreError::JournalDamaged { segment: self.name(segment), seq, what: what.to_owned() }
    }

    /// Whether the frame at `tail` is there. Not, where there are fewer bytes than the tail says: then the file was
    /// cut, and an earlier prefix is what remains.
    ///
    /// # Errors
    /// [`StoreError::JournalDamaged`], if the bytes are there but are wrong: they were acknowledged.
    fn holds(&self, tail: &Tail, last: u32) -> Result<bool, StoreError> {
        if tail.place.segment > last {
            return Ok(false);
        }
        let file = self.readable(tail.place.segment)?;
        let path = self.path(tail.place.segment);
        if file.stat().or_fail("look at", &path)?.stamp.size_bytes < tail.end() {
            return Ok(false);
        }
        let mut bytes = vec![0; tail.place.len as usize];
        read_full(&*file, &mut bytes, tail.place.offset).or_fail("read", &path)?;
        match Frame::decode(&bytes) {
            Ok(frame) => Ok(frame.link() == tail.link),
            Err(what) => Err(self.damaged(tail.place.segment, tail.link.seq, what)),
        }
    }

    fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder).or_fail("list", &self.folder)? {
            let name = entry.or_fail("list", &self.folder)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
            numbers.extend(number.filter(|number| self.name(*number).as_str() == name));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes a last segment whose making did not complete: it holds no frame.
    fn drop_unborn(&self, numbers: &mut Vec<u32>, warn: &mut dyn FnMut(String)) -> Result<(), StoreError> {
        let Some(last) = numbers.last().copied() else { return Ok(()) };
        let bytes = self.read_head(last)?;
        let is_unborn =
            bytes.len() <= SEGMENT_HEADER_LEN && segment::decode_header(last, &bytes) == Err(HeaderFault::Damaged);
        if is_unborn {
            warn(format!("removed {}: it was never completely made", self.name(last)));
            self.fs.remove_file(&self.path(last)).or_fail("remove", &self.path(last))?;
            numbers.pop();
        }
        Ok(())
    }

    fn create(&self, number: u32, link: &Link) -> Result<Arc<dyn FsFile>, StoreError> {
        let path = self.path(number);
        let created = match self.fs.create(&path, 0o600) {
            // An attempt of this process failed, and so did removing what it had made.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.fs.remove_file(&path).and_then(|()| self.fs.create(&path, 0o600))
            }
            other => other,
        };
        let file: Arc<dyn FsFile> = created.or_fail("make", &path)?.into();
        let born = (|| {
            fail_point("journal.segment_made");
            file.write_all_at(&segment::encode_header(number, link), 0).or_fail("write", &path)?;
            fail_point("journal.segment_begun");
            file.sync().or_fail("sync", &path)?;
            self.fs.sync_dir(&self.folder).or_fail("sync", &self.folder)
        })();
        if let Err(error) = born {
            _ = self.fs.remove_file(&path);
            return Err(error);
        }
        lock(&self.open).insert(number, file.clone());
        Ok(file)
    }

    fn cut(&self, number: u32, len: u64) -> Result<(), StoreError> {
        self.writable(number)?.set_len(len).or_fail("shorten", &self.path(number))
    }

    fn writable(&self, number: u32) -> Result<Arc<dyn FsFile>, StoreError> {
        let path = self.path(number);
        let file: Arc<dyn FsFile> = self.fs.open(&path, Access::ReadWrite).or_fail("open", &path)?.into();
        lock(&self.open).insert(number, file.clone());
        Ok(file)
    }

    fn readable(&self, number: u32) -> Result<Arc<dyn FsFile>, StoreError> {
        if let Some(file) = lock(&self.open).get(&number) {
            return Ok(file.clone());
        }
        let path = self.path(number);
        let file: Arc<dyn FsFile> = match self.fs.open(&path, Access::Read) {
            Ok(file) => file.into(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(self.damaged(number, 0, "the file is missing"));
            }
            Err(error) => return Err(error).or_fail("open", &path),
        };
        lock(&self.open).insert(number, file.clone());
        Ok(file)
    }

    fn read_head(&self, number: u32) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; SEGMENT_HEADER_LEN + 1];
        let n_read = read_full(&*self.readable(number)?, &mut bytes, 0).or_fail("read", &self.path(number))?;
        bytes.truncate(n_read);
        Ok(bytes)
    }

    fn read_all(&self, number: u32) -> Result<Vec<u8>, StoreError> {
        self.read_from(number, 0)
    }

    fn read_from(&self, number: u32, start: u64) -> Result<Vec<u8>, StoreError> {
        let (file, path) = (self.readable(number)?, self.path(number));
        let size_bytes = file.stat().or_fail("look at", &path)?.stamp.size_bytes.saturating_sub(start);
        let too_large = || io::Error::from(ErrorKind::FileTooLarge);
        let mut bytes = vec![0; usize::try_from(size_bytes).map_err(|_| too_large()).or_fail("read", &path)?];
        let n_read = read_full(&*file, &mut bytes, start).or_fail("read", &path)?;
        bytes.truncate(n_read);
        Ok(bytes)
    }

    fn name(&self, number: u32) -> String {
        format!("{number:08}.log")
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(self.name(number))
    }
}

fn place(segment: u32, offset: u64, frame: &Frame<'_>) -> Place {
    Place { segment, offset, len: u32::try_from(frame.len()).unwrap_or(u32::MAX) }
}
