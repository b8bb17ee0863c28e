//! Bits that flip and files that are cut, anywhere in the store: noticed or harmless, and never a wrong answer.
//!
//! `MLP_FLIPS` (300) says how many bits flip, `MLP_SEED` which.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mlp_model::{Digest, Sensitivity, Store, StoreError, Stored};

use crate::filesystem::Filesystem;
use crate::fs::{Access, FileStat, Fs, FsFile, RealFs};
use crate::journal::segment::{MARK_LEN, SEGMENT_HEADER_LEN};
use crate::journal::{Journal, Link, Opened, Tail};
use crate::layout::Layout;
use crate::ledger::Ledger;
use crate::questions::Unanswered;
use crate::testing::{Random, Workspace, commit, copy_tree, files_below, finished, flip, released, run_started};

const N_COMMITS: u64 = 60;

fn inline(n: u64) -> Vec<u8> {
    n.to_string().repeat(20).into_bytes()
}

fn open(workspace: &Path) -> Result<(Ledger, Vec<String>), StoreError> {
    let layout = Layout::of(workspace)?;
    layout.prepare(&RealFs)?;
    let mut warnings = Vec::new();
    let ledger = Ledger::open(Arc::new(RealFs), layout, &mut |text| warnings.push(text))?;
    Ok((ledger, warnings))
}

fn fill(workspace: &Path) {
    let (mut ledger, _) = open(workspace).unwrap();
    for n in 1..=N_COMMITS {
        let mut next = commit(n, &[run_started(n), finished(n, n % 7), released("churn", n)]);
        next.blobs = vec![(Digest::of(&inline(n)), inline(n))];
        assert_eq!(ledger.commit(vec![next]).unwrap().replies, [Ok(())]);
    }
    ledger.close();
}

/// What is asked: all records, and each inline object.
fn ask(ledger: &Ledger) -> Result<(Vec<Stored>, Vec<Option<Vec<u8>>>), Unanswered> {
    let questions = ledger.questions();
    let mut records = questions.release_records("churn")?;
    for n in 1..=N_COMMITS {
        records.extend(questions.run_records(&crate::testing::run(n))?);
    }
    let blobs = (1..=N_COMMITS).map(|n| questions.blob(&Digest::of(&inline(n)))).collect::<Result<_, _>>()?;
    Ok((records, blobs))
}

fn n_flips() -> u64 {
    std::env::var("MLP_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

#[test]
fn bits_flipped_in_journal_and_index_are_noticed_or_harmless() {
    let mut random = Random::new("bits_flipped_in_journal_and_index");
    let original = tempfile::tempdir().unwrap();
    fill(original.path());
    let before = open(original.path()).map(|(ledger, _)| ask(&ledger).unwrap()).unwrap();
    // Opening has taken the seal away, as a crash would.
    let crashed = tempfile::tempdir().unwrap();
    copy_tree(original.path(), crashed.path());
    open(original.path()).unwrap().0.close();
    let (mut n_told, mut n_healed, mut n_harmless) = (0, 0, 0);
    for round in 0..n_flips() * 2 / 3 {
        let workspace = tempfile::tempdir().unwrap();
        copy_tree(if round % 4 < 2 { original.path() } else { crashed.path() }, workspace.path());
        let store = workspace.path().join(".mlp");
        let is_index = round % 2 == 0;
        if !is_index && round % 3 == 0 {
            fs::remove_dir_all(store.join("index.v3.sled")).unwrap();
        }
        let place = if is_index {
            let mut files = files_below(&store.join("index.v3.sled"));
            files.extend(fs::exists(store.join("index.v3.seal")).unwrap().then(|| store.join("index.v3.seal")));
            files.retain(|file| fs::metadata(file).unwrap().len() > 0);
            flip(&files[random.below(files.len() as u64) as usize], &mut random)
        } else {
            flip(&store.join("journal/00000001.log"), &mut random)
        };
        match open(workspace.path()).map_err(Unanswered::Store).and_then(|(ledger, notes)| Ok((ask(&ledger)?, notes))) {
            Err(error) => {
                let is_told = matches!(&error, Unanswered::Store(StoreError::JournalDamaged { .. }));
                assert!(is_told && !is_index, "{place}: {error}");
                n_told += 1;
            }
            // Nothing that was acknowledged is ever taken for a torn write: the records are all there.
            Ok(((records, blobs), notes)) => {
                assert!(records == before.0, "{place}: {notes:?}");
                let absent = blobs.iter().zip(&before.1).filter(|(found, before)| found != before);
                let absent: Vec<_> = absent.map(|(found, _)| found).collect();
                assert!(absent.is_empty() || !is_index && absent == [&None], "{place}");
                let n = if !absent.is_empty() {
                    &mut n_told
                } else if notes.is_empty() {
                    &mut n_harmless
                } else {
                    &mut n_healed
                };
                *n += 1;
            }
        }
    }
    println!("{n_told} told, {n_healed} healed unasked, {n_harmless} harmless, 0 wrong");
    assert!(n_told > 0 && n_healed > 0);
}

#[test]
fn bits_flipped_in_objects_give_no_wrong_bytes() {
    let mut random = Random::new("bits_flipped_in_objects");
    let workspace = Workspace::new();
    let client = workspace.client();
    let payload = |n: u8| (0..9_000_u32).map(|byte| (byte % 253) as u8 ^ n).collect::<Vec<u8>>();
    let sensitivity = |n: u8| if n.is_multiple_of(2) { Sensitivity::Plain } else { Sensitivity::Personal };
    let objects: Vec<_> = (0..20).map(|n| (client.put(&payload(n), sensitivity(n)).unwrap(), n)).collect();
    let mut n_damaged = 0;
    for round in 0..n_flips() / 3 {
        let (digest, n) = objects[random.below(20) as usize];
        let path = client.object(&digest).unwrap().unwrap().path;
        // A process that has read all of them, and one that has read none.
        let other = (round % 8 == 0).then(|| workspace.client());
        let client = other.as_ref().unwrap_or(&client);
        let place = flip(&path, &mut random);
        match client.read(&digest).unwrap() {
            None => n_damaged += 1,
            Some(bytes) => panic!("{place}: served, and {}", if bytes == payload(n) { "right" } else { "wrong" }),
        }
        assert_eq!(client.put(&payload(n), sensitivity(n)).unwrap(), digest, "{place}");
        for (digest, n) in &objects {
            assert_eq!(client.read(digest).unwrap(), Some(payload(*n)), "{place}");
        }
    }
    println!("{n_damaged} damaged, all noticed");
    assert_eq!(client.stats().unwrap().n_damaged, n_damaged);
}

/// The real file operations without waiting for the disk.
struct Hasty;

impl Fs for Hasty {
    fn create(&self, path: &Path, mode: u32) -> std::io::Result<Box<dyn FsFile>> {
        Ok(Box::new(HastyFile(RealFs.create(path, mode)?)))
    }
    fn open(&self, path: &Path, access: Access) -> std::io::Result<Box<dyn FsFile>> {
        Ok(Box::new(HastyFile(RealFs.open(path, access)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealFs.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> std::io::Result<()> {
        RealFs.remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        RealFs.create_dir(path)
    }
    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn set_mode(&self, path: &Path, mode: u32) -> std::io::Result<()> {
        RealFs.set_mode(path, mode)
    }
    fn stat(&self, path: &Path) -> std::io::Result<FileStat> {
        RealFs.stat(path)
    }
    fn filesystem(&self, path: &Path) -> std::io::Result<Filesystem> {
        RealFs.filesystem(path)
    }
}

struct HastyFile(Box<dyn FsFile>);

impl FsFile for HastyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn stat(&self) -> std::io::Result<FileStat> {
        self.0.stat()
    }
}

#[test]
fn a_journal_cut_at_every_byte_of_its_last_64_kib_opens_with_the_exact_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000001.log");
    let open = |seen: Option<&Tail>| {
        let tails = Mutex::new(Vec::new());
        let opened = Journal::open(
            Arc::new(Hasty),
            folder.path().to_owned(),
            seen,
            &mut |tail, _| {
                tails.lock().unwrap().push(tail);
                Ok(())
            },
            &mut |_| (),
        );
        let Opened::Ready(journal) = opened.unwrap() else { panic!("the journal holds what was seen") };
        (journal, tails.into_inner().unwrap())
    };
    let (mut journal, _) = open(None);
    let payload = |n: usize| vec![n as u8; n * 97 % 1500 + 1];
    let mut tails: Vec<Tail> = Vec::new();
    // Batches of one to three.
    while journal_len(&path) < 2 * SEGMENT_HEADER_LEN as u64 + 65_536 {
        let n = tails.len();
        let batch: Vec<_> = (n..n + 1 + n % 3).map(payload).collect();
        tails.extend(journal.append(&batch).unwrap());
    }
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = tails.iter().map(|tail| tail.end() as usize).collect();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for cut in (whole.len() - 65_536..whole.len()).rev() {
        // What the cuts before have changed is further on, but for the frames that they cut off.
        let intact = cut.saturating_sub(4 * 1600);
        file.set_len(cut as u64).unwrap();
        file.write_all_at(&whole[intact..cut], intact as u64).unwrap();
        let n_whole = ends.iter().filter(|end| **end <= cut).count();
        // As an index that is some frames behind would, or one that is not there.
        let n_seen = if cut % 32 == 0 { 0 } else { n_whole - 3 };
        let (mut journal, found) = open(n_seen.checked_sub(1).map(|last| &tails[last]));
        assert_eq!(found, tails[n_seen..n_whole], "cut at {cut}");
        let end = ends[n_whole - 1];
        assert_eq!(journal_len(&path), (end + MARK_LEN) as u64, "cut at {cut}");
        if cut % 64 == 0 {
            assert!(fs::read(&path).unwrap()[..end] == whole[..end], "cut at {cut}");
            let added = journal.append(&[b"more".to_vec()]).unwrap();
            let before: Link = tails[n_whole - 1].link;
            assert_eq!(added[0].link.seq, before.seq + 1);
            assert_eq!(open(Some(&tails[n_whole - 1])).1, added, "cut at {cut}");
        }
    }
}

fn journal_len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}
