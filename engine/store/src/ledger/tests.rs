//! The ledger against damage and failing disks: every answer is right, an error, or that of an exact prefix.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mlp_model::{CommitGuard, Digest, RunId, RunSummary, StoreError, Stored};
use rustix::io::Errno;

use super::Ledger;
use crate::fs::{Fs, RealFs};
use crate::journal::segment::MARK_LEN;
use crate::layout::Layout;
use crate::questions::{Questions, Unanswered};
use crate::testing::{
    FailingFs, Random, commit, copy_tree, digest, files_below, finished, flip, key, released, run, run_started, step,
};

fn open_on(fs: Arc<dyn Fs>, workspace: &Path) -> Result<(Ledger, Vec<String>), StoreError> {
    let layout = Layout::of(workspace)?;
    layout.prepare(&RealFs)?;
    let mut warnings = Vec::new();
    let ledger = Ledger::open(fs, layout, &mut |text| warnings.push(text))?;
    Ok((ledger, warnings))
}

fn open(workspace: &Path) -> (Ledger, Vec<String>) {
    open_on(Arc::new(RealFs), workspace).unwrap()
}

/// Commits two runs with steps, a release and an inline object.
fn fill(ledger: &mut Ledger) {
    let mut with_blob = commit(2, &[finished(1, 1), finished(1, 2)]);
    with_blob.blobs = vec![(Digest::of(b"inline"), b"inline".to_vec())];
    let batch = vec![commit(1, &[run_started(1)]), with_blob];
    assert_eq!(ledger.commit(batch).unwrap().replies, [Ok(()), Ok(())]);
    for n in 3..40 {
        assert_eq!(
            ledger.commit(vec![commit(n, &[finished(2, n % 5), released("churn", n)])]).unwrap().replies,
            [Ok(())]
        );
    }
    assert_eq!(ledger.commit(vec![commit(40, &[run_started(2)])]).unwrap().replies, [Ok(())]);
}

/// Everything that can be asked about what [`fill`] commits.
#[derive(Debug, Clone, PartialEq)]
struct Answers {
    runs: Vec<RunSummary>,
    records: Vec<Vec<Stored>>,
    newest: Vec<Option<(u64, RunId)>>,
    artifacts: Vec<Digest>,
    releases: Vec<String>,
    blob: Option<Vec<u8>>,
    n_records: u64,
}

fn answers(questions: &Questions) -> Result<Answers, Unanswered> {
    let newest = |n| Ok(questions.result(&key(n))?.map(|(seq, run, _)| (seq, run)));
    Ok(Answers {
        runs: questions.runs(10, None)?,
        records: vec![
            questions.run_records(&run(1))?,
            questions.run_records(&run(2))?,
            questions.step_history(&step("clean"), 7)?,
            questions.op_history("sql", 100)?,
            questions.producers(&digest(3))?,
            questions.consumers(&digest(3))?,
            questions.release_records("churn")?,
        ],
        newest: (0..6).map(newest).collect::<Result<_, Unanswered>>()?,
        artifacts: questions.find_artifacts("", 3)?,
        releases: questions.releases()?,
        blob: questions.blob(&Digest::of(b"inline"))?,
        n_records: questions.count_records()?,
    })
}

#[test]
fn answers_are_newest_first_and_survive_the_loss_of_the_index() {
    let workspace = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(workspace.path());
    fill(&mut ledger);
    let before = answers(&ledger.questions()).unwrap();
    assert_eq!(before.n_records, 78);
    assert_eq!(before.runs.iter().map(|run| &run.run).collect::<Vec<_>>(), [&run(2), &run(1)]);
    assert_eq!(before.runs[0].steps.executed, 1);
    let seqs = |records: &[Stored]| records.iter().map(|stored| stored.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&before.records[0])[..5], [1, 2, 3, 5, 7]);
    assert_eq!(seqs(&before.records[2]), [76, 74, 72, 70, 68, 66, 64]);
    assert_eq!(before.records[4].len(), 1 + 7);
    assert_eq!(before.newest[0].as_ref().unwrap().0, 68);
    assert_eq!((before.artifacts.len(), before.releases.as_slice()), (3, &["churn".to_owned()][..]));
    assert_eq!(before.blob.as_deref(), Some(&b"inline"[..]));
    ledger.close();

    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("nothing", |_| ()),
        ("deleted", |index| fs::remove_dir_all(index).unwrap()),
        ("emptied", |index| files_below(index).iter().for_each(|file| fs::write(file, "").unwrap())),
        ("garbage", |index| files_below(index).iter().for_each(|file| fs::write(file, [0xA5; 9000]).unwrap())),
        ("a file", |index| fs::remove_dir_all(index).and_then(|()| fs::write(index, "")).unwrap()),
        ("a torn snapshot", |index| fs::write(index.join("snap.FFFFFFFFFFFFFF.generating"), "torn").unwrap()),
    ];
    for (name, damage) in damages {
        let index = workspace.path().join(".mlp/index.v3.sled");
        damage(&index);
        let (ledger, warnings) = open(workspace.path());
        assert_eq!(answers(&ledger.questions()).unwrap(), before, "{name}");
        assert_eq!(warnings.is_empty(), ["nothing", "deleted"].contains(&name), "{name}: {warnings:?}");
        assert!(!index.join("blobs").read_dir().is_ok_and(|mut blobs| blobs.next().is_some()), "{name}");
        ledger.close();
    }
}

#[test]
fn flipped_bits_in_the_index_change_no_answer() {
    let mut random = Random::new("flipped_bits_in_the_index");
    let workspace = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(workspace.path());
    fill(&mut ledger);
    let before = answers(&ledger.questions()).unwrap();
    ledger.close();
    for round in 0..40 {
        let index = workspace.path().join(".mlp/index.v3.sled");
        if round % 2 == 0 {
            // As after a crash: there is no seal, all rows are counted.
            _ = fs::remove_file(index.with_extension("seal"));
        }
        let files: Vec<_> =
            files_below(&index).into_iter().filter(|file| fs::metadata(file).unwrap().len() > 0).collect();
        let place = flip(&files[random.below(files.len() as u64) as usize], &mut random);
        let (ledger, _) = open(workspace.path());
        assert_eq!(answers(&ledger.questions()).unwrap(), before, "{place}");
        ledger.close();
    }
}

#[test]
fn flipped_bits_in_the_journal_are_reported_or_leave_an_exact_prefix() {
    let mut random = Random::new("flipped_bits_in_the_journal");
    let original = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(original.path());
    fill(&mut ledger);
    let before = answers(&ledger.questions()).unwrap();
    ledger.close();
    for round in 0..60 {
        let workspace = tempfile::tempdir().unwrap();
        copy_tree(original.path(), workspace.path());
        if round % 3 == 0 {
            fs::remove_dir_all(workspace.path().join(".mlp/index.v3.sled")).unwrap();
        }
        let journal = workspace.path().join(".mlp/journal/00000001.log");
        let place = if round % 6 == 0 {
            // The last commit: acknowledged, as the mark behind it says; or, without the mark, perhaps never written.
            let mut bytes = fs::read(&journal).unwrap();
            let byte = bytes.len() - MARK_LEN - 1 - random.below(100) as usize;
            bytes[byte] ^= 4;
            bytes.truncate(bytes.len() - if round % 12 == 0 { MARK_LEN } else { 0 });
            fs::write(&journal, bytes).unwrap();
            format!("byte {byte} of the journal")
        } else {
            flip(&journal, &mut random)
        };
        let found = open_on(Arc::new(RealFs), workspace.path()).map_err(Unanswered::Store);
        match found.and_then(|(ledger, warnings)| Ok((answers(&ledger.questions())?, warnings))) {
            Err(error) => {
                let is_told = matches!(error, Unanswered::Store(StoreError::JournalDamaged { .. }));
                assert!(is_told, "{place}: {error}");
            }
            // The damaged one may be the inline object, which is then absent.
            Ok((after, warnings)) if warnings.is_empty() => {
                assert_eq!(Answers { blob: before.blob.clone(), ..after.clone() }, before, "{place}");
                assert!(after.blob.is_none() || after == before);
            }
            // The mark itself: nothing is lost.
            Ok((after, _)) if after == before => {}
            Ok((after, _)) => {
                assert!(round % 12 == 0, "{place}");
                assert_eq!(after.n_records, before.n_records - 1, "{place}");
                assert_eq!(
                    (after.runs.as_slice(), &after.records[2..]),
                    (&before.runs[1..], &before.records[2..]),
                    "{place}"
                );
            }
        }
    }
}

#[test]
fn a_cut_journal_leaves_the_exact_prefix_and_goes_on() {
    let original = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(original.path());
    fill(&mut ledger);
    let all = ledger.questions().release_records("churn").unwrap();
    ledger.close();
    let bytes = fs::read(original.path().join(".mlp/journal/00000001.log")).unwrap();
    for cut in (0..bytes.len()).step_by(bytes.len() / 40) {
        for with_index in [false, true] {
            let workspace = tempfile::tempdir().unwrap();
            copy_tree(original.path(), workspace.path());
            if !with_index {
                fs::remove_dir_all(workspace.path().join(".mlp/index.v3.sled")).unwrap();
            }
            fs::write(workspace.path().join(".mlp/journal/00000001.log"), &bytes[..cut]).unwrap();
            let (mut ledger, warnings) = open(workspace.path());
            let kept = ledger.questions().release_records("churn").unwrap();
            assert_eq!(kept, all[..kept.len()], "cut at {cut}");
            assert!(!warnings.is_empty() || cut == 64 || !with_index, "cut at {cut}");
            let n_records = ledger.questions().count_records().unwrap();
            assert_eq!(ledger.commit(vec![commit(99, &[released("churn", 99)])]).unwrap().replies, [Ok(())]);
            drop(ledger);
            let (ledger, warnings) = open(workspace.path());
            assert_eq!(
                (ledger.questions().count_records().unwrap(), warnings.len()),
                (n_records + 1, 0),
                "cut at {cut}"
            );
            assert_eq!(ledger.questions().release_records("churn").unwrap().len(), kept.len() + 1);
        }
    }
}

#[test]
fn segments_follow_one_another_and_a_missing_one_is_damage() {
    let workspace = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(workspace.path());
    ledger.journal.roll_at(2000);
    fill(&mut ledger);
    let before = answers(&ledger.questions()).unwrap();
    drop(ledger);
    let segments = files_below(&workspace.path().join(".mlp/journal"));
    assert!(segments.len() > 3);
    // A crash while the next segment was being made.
    fs::write(workspace.path().join(format!(".mlp/journal/{:08}.log", segments.len() + 1)), "mlp-jr").unwrap();
    for _ in 0..2 {
        let (ledger, _) = open(workspace.path());
        assert_eq!(answers(&ledger.questions()).unwrap(), before);
        drop(ledger);
        fs::remove_dir_all(workspace.path().join(".mlp/index.v3.sled")).unwrap();
    }
    fs::remove_file(&segments[1]).unwrap();
    let error = open_on(Arc::new(RealFs), workspace.path()).err().unwrap();
    let StoreError::JournalDamaged { segment, what, .. } = error else { panic!("{error}") };
    assert_eq!((segment.as_str(), what.as_str()), ("00000002.log", "the file is missing"));
}

#[test]
fn a_newer_journal_is_refused_untouched() {
    let workspace = tempfile::tempdir().unwrap();
    drop(open(workspace.path()));
    let path = workspace.path().join(".mlp/journal/00000001.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 7;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = open_on(Arc::new(RealFs), workspace.path()).err();
    assert_eq!(error, Some(StoreError::NewerFormat { found: 7, known: 1 }));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_commit_asked_again_is_applied_once_also_by_the_next_owner() {
    let workspace = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(workspace.path());
    let again = |no| super::Commit { resent: true, acked_below: 1, ..commit(no, &[released("churn", no)]) };
    let count = |ledger: &Ledger| ledger.questions().release_records("churn").unwrap().len();
    assert_eq!(ledger.commit(vec![again(1), again(1), again(2)]).unwrap().replies, [Ok(()), Ok(()), Ok(())]);
    assert_eq!(count(&ledger), 2);
    assert_eq!(ledger.commit(vec![again(1), again(3)]).unwrap().replies, [Ok(()), Ok(())]);
    drop(ledger);
    fs::remove_dir_all(workspace.path().join(".mlp/index.v3.sled")).unwrap();
    let (mut ledger, _) = open(workspace.path());
    assert_eq!(ledger.commit(vec![again(2), again(3), again(4)]).unwrap().replies, [Ok(()), Ok(()), Ok(())]);
    assert_eq!(count(&ledger), 4);
}

#[test]
fn a_guard_counts_release_records_also_within_a_batch() {
    let workspace = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(workspace.path());
    let guarded = |no, n_records| {
        let guard = Some(CommitGuard { release: "churn".into(), n_records });
        super::Commit { guard, ..commit(no, &[released("churn", no)]) }
    };
    let conflict = || Err(StoreError::Conflict { release: "churn".into() });
    let replies = ledger.commit(vec![guarded(1, 0), guarded(2, 0), guarded(3, 1), guarded(4, 5)]).unwrap().replies;
    assert_eq!(replies, [Ok(()), conflict(), Ok(()), conflict()]);
    assert_eq!(ledger.commit(vec![guarded(5, 1), guarded(6, 2)]).unwrap().replies, [conflict(), Ok(())]);
}

#[test]
fn whichever_file_operation_fails_a_commit_is_there_whole_or_not_at_all() {
    let blob = Digest::of(b"inline");
    for (errno, is_lasting) in
        [(Errno::IO, false), (Errno::IO, true), (Errno::NOSPC, false), (Errno::NOSPC, true), (Errno::MFILE, false)]
    {
        for nth in 1.. {
            let context = format!("operation {nth} fails with {errno:?}, lasting: {is_lasting}");
            let workspace = tempfile::tempdir().unwrap();
            let fs = FailingFs::new();
            let (mut ledger, _) = open_on(fs.clone(), workspace.path()).unwrap();
            // Every commit needs a new segment: making one is part of what may fail.
            ledger.journal.roll_at(1);
            assert_eq!(ledger.commit(vec![commit(1, &[released("churn", 1)])]).unwrap().replies, [Ok(())]);
            fs.arm(nth, errno, is_lasting);
            let mut second = commit(2, &[released("churn", 2), released("churn", 3)]);
            second.blobs = vec![(blob, b"inline".to_vec())];
            let outcome = ledger.commit(vec![second]);
            let n_failed = fs.disarm();
            let (is_acked, is_refused, is_fatal) = match &outcome {
                Ok(outcome) => (outcome.replies == [Ok(())], outcome.replies != [Ok(())], outcome.fatal.is_some()),
                Err(_) => (false, false, true),
            };
            let mut n_more = 0;
            if !is_fatal {
                assert_eq!(
                    ledger.commit(vec![commit(3, &[released("other", 1)])]).unwrap().replies,
                    [Ok(())],
                    "{context}"
                );
                n_more = 1;
            }
            drop(ledger);
            let (mut ledger, _) = open(workspace.path());
            let questions = ledger.questions();
            let n_records = questions.release_records("churn").unwrap().len();
            let has_blob = questions.blob(&blob).unwrap().is_some();
            assert_eq!(questions.release_records("other").unwrap().len(), n_more, "{context}");
            assert!(
                (n_records, has_blob) == (3, true) || (n_records, has_blob) == (1, false),
                "{context}: {n_records}"
            );
            assert!(!is_acked || n_records == 3, "{context}: acknowledged and lost");
            // Where even the cut fails, the process ends and its successor decides.
            assert!(!is_refused || n_records == 1 || is_fatal && is_lasting, "{context}: refused and applied");
            assert_eq!(ledger.commit(vec![commit(4, &[released("churn", 4)])]).unwrap().replies, [Ok(())], "{context}");
            if n_failed == 0 {
                assert!(is_acked && nth > 5, "{context}");
                break;
            }
        }
    }
}

#[test]
fn whichever_file_operation_fails_while_the_index_is_made_again_no_answer_changes() {
    let original = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(original.path());
    ledger.journal.roll_at(4000);
    fill(&mut ledger);
    let before = answers(&ledger.questions()).unwrap();
    ledger.close();
    let segments = files_below(&original.path().join(".mlp/journal"));
    assert!(segments.len() > 2);
    // Half a commit at the end is cut off on the way, and half a segment removed.
    let last = segments.last().unwrap();
    let bytes = fs::read(last).unwrap();
    fs::write(last, [&bytes[..bytes.len() - MARK_LEN], b"half a rec"].concat()).unwrap();
    let unborn = original.path().join(format!(".mlp/journal/{:08}.log", segments.len() + 1));
    let (mut n_refused, mut n_opened) = (0, 0);
    for (errno, is_lasting) in
        [(Errno::IO, false), (Errno::IO, true), (Errno::NOSPC, false), (Errno::NOSPC, true), (Errno::MFILE, false)]
    {
        for nth in 1.. {
            let context = format!("operation {nth} fails with {errno:?}, lasting: {is_lasting}");
            let workspace = tempfile::tempdir().unwrap();
            if nth % 2 == 0 {
                fs::write(&unborn, "mlp-jr").unwrap();
            } else {
                _ = fs::remove_file(&unborn);
            }
            copy_tree(original.path(), workspace.path());
            fs::remove_dir_all(workspace.path().join(".mlp/index.v3.sled")).unwrap();
            let failing = FailingFs::new();
            failing.arm(nth, errno, is_lasting);
            let opened = open_on(failing.clone(), workspace.path());
            let n_failed = failing.disarm();
            match opened {
                Ok((ledger, _)) => {
                    n_opened += 1;
                    assert_eq!(answers(&ledger.questions()).unwrap(), before, "{context}");
                }
                Err(error) => {
                    n_refused += 1;
                    // Trouble of the disk is not called damage, which somebody would repair.
                    let is_trouble = matches!(error, StoreError::Io { .. } | StoreError::DiskFull { .. });
                    assert!(n_failed > 0 && is_trouble, "{context}: {error}");
                }
            }
            let (mut ledger, _) = open(workspace.path());
            assert_eq!(answers(&ledger.questions()).unwrap(), before, "{context}");
            assert_eq!(
                ledger.commit(vec![commit(99, &[released("other", 1)])]).unwrap().replies,
                [Ok(())],
                "{context}"
            );
            if n_failed == 0 {
                break;
            }
        }
    }
    println!("{n_refused} opens refused, {n_opened} served");
    assert!(n_refused > 20 && n_opened >= 5);
}
