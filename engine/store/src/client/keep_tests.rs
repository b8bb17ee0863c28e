//! Taking objects out beside clients that use them, checking what is kept, and mending it.

use std::fs;
use std::sync::Arc;

use mlp_model::{Digest, Keep, Removed, Sensitivity, Store, StoreError};
use rustix::io::Errno;

use crate::journal::segment::MARK_LEN;
use crate::testing::{
    FailingFs, Random, Workspace, commit_and_wait, files_below, finished, flip, run, run_finished, run_started,
};
use crate::{Client, IndexCheck, LostRecords, SystemClock, inspect, repair};

fn big(n: u8) -> Vec<u8> {
    (0..20_000_u32).map(|byte| (byte % 251) as u8 ^ n).collect()
}

fn adopt(client: &Client, n: u8) -> Digest {
    let file = client.scratch().unwrap().join("out");
    fs::write(&file, big(n)).unwrap();
    client.adopt(&file, Sensitivity::Plain, &[]).unwrap().0
}

fn outcome(n_objects: u64, n_in_use: u64) -> Removed {
    Removed { n_objects, size_bytes: n_objects * (20_000 + 64), n_in_use }
}

#[test]
fn what_a_running_run_brought_in_or_was_handed_is_not_removed() {
    let workspace = Workspace::new();
    let old = workspace.client();
    let [handed, unused] = [adopt(&old, 1), adopt(&old, 2)];
    commit_and_wait(&old, vec![finished(1, 1)]).unwrap();
    drop(old);
    let (runner, keeper) = (workspace.client(), workspace.client());
    commit_and_wait(&runner, vec![run_started(2)]).unwrap();
    assert!(runner.object(&handed).unwrap().is_some());
    keeper.begin_collection().unwrap();
    let made = adopt(&runner, 3);
    assert_eq!(keeper.remove(&[handed, unused, made]).unwrap(), outcome(1, 2));
    assert!(runner.object(&handed).unwrap().is_some() && runner.object(&made).unwrap().is_some());
    assert_eq!(runner.object(&unused).unwrap(), None);
}

#[test]
fn a_client_that_leaves_while_objects_are_collected_stays_protected_until_the_end() {
    let workspace = Workspace::new();
    let (runner, keeper) = (workspace.client(), workspace.client());
    let [made_before, made_meanwhile] = [adopt(&runner, 1), {
        keeper.begin_collection().unwrap();
        adopt(&runner, 2)
    }];
    commit_and_wait(&runner, vec![finished(1, 1)]).unwrap();
    drop(runner);
    assert_eq!(keeper.remove(&[made_before, made_meanwhile]).unwrap(), outcome(0, 2));
    keeper.end_collection();
    assert_eq!(removed_in_time(&keeper, &[made_before, made_meanwhile]), outcome(2, 0));
}

#[test]
fn what_a_run_used_may_go_when_the_last_run_of_its_process_is_over() {
    let workspace = Workspace::new();
    let (runner, keeper) = (workspace.client(), workspace.client());
    commit_and_wait(&runner, vec![run_started(1), run_started(2)]).unwrap();
    let digest = adopt(&runner, 1);
    let try_to_remove = || {
        keeper.begin_collection().unwrap();
        let removed = keeper.remove(&[digest]).unwrap();
        keeper.end_collection();
        removed
    };
    commit_and_wait(&runner, vec![run_finished(1)]).unwrap();
    assert_eq!(try_to_remove(), outcome(0, 1));
    commit_and_wait(&runner, vec![run_finished(2)]).unwrap();
    // Asked for again, it is relied on again.
    assert!(runner.object(&digest).unwrap().is_some());
    assert_eq!(try_to_remove(), outcome(0, 1));
    commit_and_wait(&runner, vec![run_started(3)]).unwrap();
    commit_and_wait(&runner, vec![run_finished(3)]).unwrap();
    assert_eq!(removed_in_time(&keeper, &[digest]), outcome(1, 0));
    assert_eq!(runner.object(&digest).unwrap(), None);
}

#[test]
fn one_process_collects_at_a_time_and_nobody_removes_without_collecting() {
    let workspace = Workspace::new();
    let (a, b) = (workspace.client(), workspace.client());
    let digest = adopt(&a, 1);
    assert!(matches!(b.remove(&[digest]), Err(StoreError::Owner { .. })));
    a.begin_collection().unwrap();
    assert!(matches!(b.begin_collection(), Err(StoreError::Owner { .. })));
    drop(a);
    while b.begin_collection().is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn an_object_may_be_personal_later_and_stays_so() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let digest = adopt(&client, 1);
    assert_eq!(client.sensitivity(&digest).unwrap(), Some(Sensitivity::Plain));
    client.put(&big(1), Sensitivity::Personal).unwrap();
    assert_eq!(client.sensitivity(&digest).unwrap(), Some(Sensitivity::Personal));
    client.put(&big(1), Sensitivity::Plain).unwrap();
    assert_eq!(client.sensitivity(&digest).unwrap(), Some(Sensitivity::Personal));
    let inline = client.put(b"small", Sensitivity::Plain).unwrap();
    assert_eq!(client.sensitivity(&inline).unwrap(), Some(Sensitivity::Plain));
    assert_eq!(client.sensitivity(&Digest::of(b"unknown")).unwrap(), None);
}

#[test]
fn a_removal_whose_nth_operation_fails_leaves_each_object_there_or_gone() {
    for (errno, is_lasting) in [(Errno::IO, false), (Errno::NOSPC, true), (Errno::MFILE, false)] {
        fail_removing(errno, is_lasting);
    }
}

fn fail_removing(errno: Errno, is_lasting: bool) {
    for nth in 1.. {
        let workspace = Workspace::new();
        let failing = FailingFs::new();
        let client = workspace.client();
        let digests = [adopt(&client, 1), adopt(&client, 2), adopt(&client, 3)];
        drop(client);
        // Only then is it certain that the owner no longer takes the objects for somebody's.
        workspace.join_owners().unwrap();
        let keeper = workspace.try_client(Arc::new(crate::RealFs), failing.clone()).unwrap();
        keeper.begin_collection().unwrap();
        failing.arm(nth, errno, is_lasting);
        let removed = keeper.remove(&digests);
        let n_failed = failing.disarm();
        assert_eq!(removed.is_err(), n_failed > 0, "operation {nth}, {errno:?}");
        for digest in digests {
            // There and whole, or not there.
            if let Some(bytes) = keeper.read(&digest).unwrap() {
                assert_eq!(Digest::of(&bytes), digest);
            }
        }
        assert_eq!(keeper.remove(&digests).unwrap().n_in_use, 0);
        assert!(digests.iter().all(|digest| keeper.object(digest).unwrap().is_none()));
        if n_failed == 0 {
            break;
        }
    }
}

/// Collects until nobody relies on the objects: the owner hears at its own pace that a client has left or a run ended.
fn removed_in_time(keeper: &Client, digests: &[Digest]) -> Removed {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut total = Removed::default();
    loop {
        keeper.begin_collection().unwrap();
        let removed = keeper.remove(digests).unwrap();
        keeper.end_collection();
        total.n_objects += removed.n_objects;
        total.size_bytes += removed.size_bytes;
        if removed.n_in_use == 0 || std::time::Instant::now() > deadline {
            return Removed { n_in_use: removed.n_in_use, ..total };
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A store with a few runs and objects; returns the objects.
fn fill(workspace: &Workspace) -> Vec<Digest> {
    let client = workspace.client();
    let mut digests = Vec::new();
    for n in 0..6 {
        digests.push(adopt(&client, n));
        client.put(format!("small {n}").as_bytes(), Sensitivity::Plain).unwrap();
        let n = u64::from(n);
        commit_and_wait(&client, vec![run_started(n), finished(n, n), run_finished(n)]).unwrap();
    }
    drop(client);
    workspace.join_owners().unwrap();
    digests
}

#[test]
fn a_sound_store_is_found_sound_with_an_owner_and_without() {
    let workspace = Workspace::new();
    let digests = fill(&workspace);
    let closed = StoreError::Owner { message: "closed".into() };
    let found = inspect(workspace.path(), Err(&closed)).unwrap();
    assert!(found.is_sound() && matches!(found.index, IndexCheck::Unknown { .. }), "{found:?}");
    let client = workspace.client();
    let found = inspect(workspace.path(), Ok(&client)).unwrap();
    assert!(matches!(found.index, IndexCheck::Sound { n_rows } if n_rows > 0), "{found:?}");
    assert_eq!((found.journal.n_records, found.journal.n_inline, found.objects.n_files), (18, 6, digests.len() as u64));
}

#[test]
fn damaged_objects_are_named_and_moved_aside_and_the_index_is_made_anew() {
    let mut random = Random::new("damaged_objects_are_named");
    let workspace = Workspace::new();
    let digests = fill(&workspace);
    let path = workspace.store().join("objects").join(&digests[2].to_string()[..2]).join(&digests[2].to_string()[2..]);
    let told = flip(&path, &mut random);
    let client = workspace.client();
    let found = inspect(workspace.path(), Ok(&client)).unwrap();
    assert_eq!(found.objects.damaged, [digests[2]], "{told}");
    let refused = repair(workspace.path(), LostRecords::Refuse, Arc::new(SystemClock));
    assert!(matches!(refused, Err(StoreError::Owner { .. })), "somebody uses it");
    drop(client);
    workspace.join_owners().unwrap();
    let done = repair(workspace.path(), LostRecords::Refuse, Arc::new(SystemClock)).unwrap();
    assert_eq!((done.moved_aside, done.n_records, done.journal), (vec![digests[2]], 18, None));
    let client = workspace.client();
    assert!(inspect(workspace.path(), Ok(&client)).unwrap().is_sound());
    assert_eq!(client.object(&digests[2]).unwrap(), None);
    assert!(client.object(&digests[3]).unwrap().is_some());
    let (n_damaged, _) = client.remove_damaged().unwrap();
    assert_eq!(n_damaged, 1);
}

#[test]
fn a_torn_end_is_told_and_cut_off() {
    let workspace = Workspace::new();
    fill(&workspace);
    let journal = workspace.store().join("journal/00000001.log");
    let bytes = fs::read(&journal).unwrap();
    // Written over the mark.
    fs::write(&journal, [&bytes[..bytes.len() - MARK_LEN], b"half a rec"].concat()).unwrap();
    let closed = StoreError::Owner { message: "closed".into() };
    let found = inspect(workspace.path(), Err(&closed)).unwrap();
    assert!(found.is_sound() && found.journal.torn.unwrap().starts_with("10 bytes"));
    let done = repair(workspace.path(), LostRecords::Refuse, Arc::new(SystemClock)).unwrap();
    assert_eq!((done.n_records, done.notes.len()), (18, 1), "{:?}", done.notes);
    assert_eq!(fs::read(&journal).unwrap(), bytes);
}

#[test]
fn a_flipped_bit_in_the_journal_costs_one_commit_and_only_when_that_is_accepted() {
    let mut random = Random::new("a_flipped_bit_in_the_journal");
    for _ in 0..12 {
        let workspace = Workspace::new();
        fill(&workspace);
        let journal = workspace.store().join("journal/00000001.log");
        let last_commit = fs::metadata(&journal).unwrap().len() as usize - MARK_LEN;
        let client = workspace.client();
        commit_and_wait(&client, vec![run_started(7), finished(7, 7), run_finished(7)]).unwrap();
        drop(client);
        workspace.join_owners().unwrap();
        let mut damaged = fs::read(&journal).unwrap();
        let at = random.below((damaged.len() - MARK_LEN - 64) as u64) as usize + 64;
        damaged[at] ^= 1 << random.below(8);
        fs::write(&journal, &damaged).unwrap();
        let closed = StoreError::Owner { message: "closed".into() };
        let found = inspect(workspace.path(), Err(&closed)).unwrap();
        assert!(found.journal.damaged.is_some(), "byte {at}");
        let refused = repair(workspace.path(), LostRecords::Refuse, Arc::new(SystemClock));
        assert!(matches!(refused, Err(StoreError::JournalDamaged { .. })), "{refused:?}");
        assert_eq!(fs::read(&journal).unwrap(), damaged);
        let done = repair(workspace.path(), LostRecords::Accept, Arc::new(SystemClock)).unwrap();
        let mended = done.journal.unwrap();
        assert_eq!((mended.n_lost, done.n_records), (1, 18), "byte {at}: {mended:?}");
        assert_eq!(files_below(&mended.originals).len(), 1);
        let client = workspace.client();
        assert!(inspect(workspace.path(), Ok(&client)).unwrap().is_sound());
        assert_eq!(client.runs(10, None).unwrap().len(), 6);
        let n_of_last = if at < last_commit { 3 } else { 0 };
        assert_eq!(client.run_records(&run(7)).unwrap().len(), n_of_last, "byte {at}");
        commit_and_wait(&client, vec![run_started(9)]).unwrap();
    }
}

#[test]
fn a_missing_segment_is_damage_and_what_follows_it_is_kept() {
    let workspace = Workspace::new();
    fill(&workspace);
    let (first, second) =
        (workspace.store().join("journal/00000001.log"), workspace.store().join("journal/00000002.log"));
    fs::rename(&first, &second).unwrap();
    let done = repair(workspace.path(), LostRecords::Accept, Arc::new(SystemClock)).unwrap();
    assert_eq!((done.n_records, second.exists()), (18, false), "{done:?}");
    let client = workspace.client();
    assert!(inspect(workspace.path(), Ok(&client)).unwrap().is_sound());
}

#[test]
fn a_repair_whose_nth_operation_fails_can_be_done_again_and_loses_nothing_more() {
    for (errno, is_lasting) in [(Errno::NOSPC, false), (Errno::IO, true), (Errno::MFILE, false)] {
        fail_repairing(errno, is_lasting);
    }
}

fn fail_repairing(errno: Errno, is_lasting: bool) {
    for nth in 1.. {
        let workspace = Workspace::new();
        fill(&workspace);
        let journal = workspace.store().join("journal/00000001.log");
        let mut bytes = fs::read(&journal).unwrap();
        bytes[200] ^= 4;
        fs::write(&journal, &bytes).unwrap();
        let failing = FailingFs::new();
        failing.arm(nth, errno, is_lasting);
        let first = crate::repair_on(failing.clone(), workspace.path(), LostRecords::Accept, Arc::new(SystemClock));
        let n_failed = failing.disarm();
        assert!(first.is_ok() || n_failed > 0, "{first:?}");
        let done = repair(workspace.path(), LostRecords::Accept, Arc::new(SystemClock)).unwrap();
        assert_eq!(done.n_records, 15, "operation {nth}, {errno:?}");
        if n_failed == 0 {
            break;
        }
    }
}
