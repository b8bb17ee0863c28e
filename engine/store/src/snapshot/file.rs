//! A file of sections, each with a checksum of its own, so that a reader pays only for what it uses. It is written
//! beside its place and moved there, never changed, and mapped by readers.
//!
//! The bytes, all numbers little-endian: `mlp-snap`; u32 version; u32 number of sections; for each section u64 offset,
//! u64 length and u32 CRC-32C; u32 CRC-32C of all before; the sections.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use memmap2::Mmap;
use mlp_model::{Digest, fail_point};

use crate::bytes::{Reader, Writer};

const MAGIC: &[u8; 8] = b"mlp-snap";
/// Raised with every change of what stands in the sections.
const VERSION: u32 = 1;
const ENTRY_LEN: usize = 20;

pub struct Mapped {
    map: Mmap,
    n_sections: usize,
}

impl Mapped {
    /// Maps the file, if it is one of ours and its table is whole.
    pub fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        // SAFETY: the file is written under another name, moved to this one and never written again, by us. Somebody
        // who cuts it meanwhile could end this process by a signal, but not make it answer wrongly.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        let mut head = Reader(&map);
        if head.bytes(MAGIC.len())? != MAGIC || head.short()? != VERSION {
            return None;
        }
        let n_sections = head.short()? as usize;
        let table_len = 16 + n_sections.checked_mul(ENTRY_LEN)?;
        let crc = Reader(map.get(table_len..)?).short()?;
        (crc == crc32c::crc32c(&map[..table_len])).then_some(())?;
        Some(Self { map, n_sections })
    }

    /// Returns a section, if it is whole.
    pub fn section(&self, number: usize) -> Option<&[u8]> {
        (number < self.n_sections).then_some(())?;
        let mut entry = Reader(self.map.get(16 + number * ENTRY_LEN..)?);
        let (offset, len, crc) = (entry.long()?, entry.long()?, entry.short()?);
        let start = usize::try_from(offset).ok()?;
        let section = self.map.get(start..start.checked_add(usize::try_from(len).ok()?)?)?;
        (crc == crc32c::crc32c(section)).then_some(section)
    }
}

/// Writes the sections under `name`, replacing what was there.
pub fn write(folder: &Path, name: &Digest, sections: &[&[u8]]) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut head = Writer(MAGIC.to_vec());
    head.short(VERSION);
    head.short(u32::try_from(sections.len()).expect("there are a dozen sections"));
    let mut offset = 16 + sections.len() as u64 * ENTRY_LEN as u64 + 4;
    for section in sections {
        head.long(offset);
        head.long(section.len() as u64);
        head.short(crc32c::crc32c(section));
        offset += section.len() as u64;
    }
    head.short(crc32c::crc32c(&head.0));
    let path = folder.join(name.to_string());
    let beside = folder.join(format!("{name}.{}.new", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut parts: Vec<IoSlice<'_>> = vec![IoSlice::new(&head.0)];
        parts.extend(sections.iter().map(|section| IoSlice::new(section)));
        write_all(&mut file, &mut parts)?;
        fail_point("answer.written");
        // Not synced: a file that a power cut leaves half written does not have its checksums.
        fs::rename(&beside, &path)?;
        fail_point("answer.kept");
        Ok(())
    })();
    if written.is_err() {
        _ = fs::remove_file(&beside);
    }
    written
}

fn write_all(file: &mut File, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match file.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n_written) => IoSlice::advance_slices(&mut parts, n_written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes the oldest files beyond `max_kept`, and what writers left that did not finish.
pub fn prune(folder: &Path, max_kept: usize) {
    let mut found: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    if found.len() <= max_kept {
        return;
    }
    found.sort_unstable();
    for (_, path) in &found[..found.len() - max_kept] {
        _ = fs::remove_file(path);
    }
}
