//! Makes a damaged store usable again: moves bad objects aside, cuts off a write that did not complete, makes the index
//! anew; and, when told to, mends a journal whose acknowledged records are damaged.
//!
//! Takes the owner's seat for itself, so that nobody uses the store meanwhile. Killed at any point, the store is as it
//! was or better, and repairing again goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlp_model::{Digest, StoreError, fail_point};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::clock::Clock;
use crate::failure::OrFail;
use crate::fs::{Fs, RealFs};
use crate::journal::{self, Fault};
use crate::layout::Layout;
use crate::ledger::Ledger;
use crate::owner::{Log, Seat, refuse_network};
use crate::scratch::{self, Scratch};
use crate::seal::Keys;
use crate::verify::{check_objects, put_aside};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Repair {
    /// Objects whose files were moved aside: their bytes were not those of their digest.
    pub moved_aside: Vec<Digest>,
    /// Object files that cannot be read, and why; they are where they were.
    pub unreadable: Vec<String>,
    /// What opening the store had to say: what was cut off the journal's end.
    pub notes: Vec<String>,
    pub journal: Option<JournalRepair>,
    /// Records in the journal now; the index has been made anew from them.
    pub n_records: u64,
}

/// What became of a journal with damaged records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRepair {
    pub what: String,
    /// Commits behind the damage that were written again.
    pub n_saved: u64,
    /// Commits of which nothing is left.
    pub n_lost: u64,
    /// Where the original files are.
    pub originals: PathBuf,
}

/// Whether records that had been acknowledged may be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostRecords {
    /// Leave such a journal as it is.
    Refuse,
    /// Keep all records that are whole.
    Accept,
}

/// Repairs the store of `workspace`.
///
/// # Errors
/// [`StoreError::Owner`], if somebody is using it. [`StoreError::JournalDamaged`], if records that had been acknowledged
/// are damaged and `lost` refuses to give them up; objects have been seen to then. A newer format.
pub fn repair(workspace: &Path, lost: LostRecords, clock: Arc<dyn Clock>) -> Result<Repair, StoreError> {
    repair_on(Arc::new(RealFs), workspace, lost, clock)
}

/// Like [`repair`], over other file operations.
pub fn repair_on(
    fs: Arc<dyn Fs>,
    workspace: &Path,
    lost: LostRecords,
    clock: Arc<dyn Clock>,
) -> Result<Repair, StoreError> {
    let layout = Layout::of(workspace)?;
    refuse_network(&*fs, &layout)?;
    layout.prepare(&*fs)?;
    let _seat = take_seat(&*fs, workspace, &layout, clock.clone())?;
    let log = Log::open(&layout.owner_log(), clock);
    log.write("repairing");
    let mut repair = Repair::default();
    move_bad_objects(&*fs, &layout, &mut repair)?;
    fail_point("repair.objects_seen");
    let found = journal::inspect(fs.clone(), &layout.journal(), &mut |_, _| Ok(()))?;
    if let Some(Fault::Damaged { what }) = &found.fault {
        if lost == LostRecords::Refuse {
            let seq = found.link.map_or(1, |link| link.seq + 1);
            let segment = format!("{:08}.log", found.segment.max(1));
            // The error names place and number itself.
            let what = what.rsplit_once(": ").map_or(what.as_str(), |(_, reason)| reason).to_owned();
            return Err(StoreError::JournalDamaged { segment, seq, what });
        }
        let mended = journal::mend(&fs, &layout.journal(), &found)?;
        let (what, originals) = (what.clone(), mended.originals);
        log.write(&format!("mended the journal ({what}): {} commits saved, {} lost", mended.n_saved, mended.n_lost));
        repair.journal = Some(JournalRepair { what, n_saved: mended.n_saved, n_lost: mended.n_lost, originals });
    }
    remove_index(&layout)?;
    fail_point("repair.index_removed");
    let ledger = Ledger::open(fs, layout.clone(), &mut |note| repair.notes.push(note))?;
    repair.n_records = ledger.n_records();
    fail_point("repair.index_made");
    ledger.close();
    scratch::clean(&layout);
    log.write("repaired");
    Ok(repair)
}

/// Takes the seat; an owner that nobody needs is asked to leave.
fn take_seat(fs: &dyn Fs, workspace: &Path, layout: &Layout, clock: Arc<dyn Clock>) -> Result<Seat, StoreError> {
    let socket = layout.socket(fs)?;
    loop {
        if let Some(seat) = Seat::take(layout, &socket)? {
            return Ok(seat);
        }
        // Nobody is to be started; should the owner be gone by now, the seat is free.
        let nobody = || Err(std::io::Error::other("it has just left"));
        let Ok(client) = Client::connect(workspace, Box::new(nobody), clock.clone()) else { continue };
        let n_others = client.make_room()?;
        if n_others > 0 {
            let processes = if n_others == 1 { "another process is" } else { "other processes are" };
            let message = format!("{processes} using the store ({n_others}); repair it when they have ended");
            return Err(StoreError::Owner { message });
        }
    }
}

fn move_bad_objects(fs: &dyn Fs, layout: &Layout, repair: &mut Repair) -> Result<(), StoreError> {
    let found = check_objects(layout, &Keys::new(None, Box::new(|| Ok(BTreeSet::new()))))?;
    let scratch = Scratch::new(layout);
    for digest in found.damaged {
        put_aside(fs, layout, &digest, &scratch.unique())?;
        repair.moved_aside.push(digest);
    }
    repair.unreadable = found.unreadable;
    Ok(())
}

/// Removes the index of any version, and what tells how it was closed.
fn remove_index(layout: &Layout) -> Result<(), StoreError> {
    for entry in fs::read_dir(&layout.root).or_fail("list", &layout.root)? {
        let path = entry.or_fail("list", &layout.root)?.path();
        let is_index = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("index."));
        if is_index && path.is_dir() {
            fs::remove_dir_all(&path).or_fail("remove", &path)?;
        } else if is_index {
            fs::remove_file(&path).or_fail("remove", &path)?;
        }
    }
    Ok(())
}
