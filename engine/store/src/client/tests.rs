//! Clients and their owner, in one process: what a caller of the store can rely on.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;

use mlp_model::{Claim, CommitGuard, Digest, Sensitivity, Store, StoreError, Timestamp};
use rustix::io::Errno;

use crate::Clock;
use crate::filesystem::Filesystem;
use crate::fs::{Fs, RealFs};
use crate::testing::{
    FailingFs, Random, Workspace, claim, commit_and_wait, commit_guarded, files_below, finished, flip, key, released,
    replace, run, run_started,
};

fn big(n: u8) -> Vec<u8> {
    (0..100_000_u32).map(|byte| (byte % 251) as u8 ^ n).collect()
}

fn write_scratch(client: &impl Store, bytes: &[u8]) -> std::path::PathBuf {
    let file = client.scratch().unwrap().join("out");
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn an_adopted_file_is_an_object_for_every_client() {
    let workspace = Workspace::new();
    let (a, b) = (workspace.client(), workspace.client());
    let file = write_scratch(&a, &big(1));
    let (digest, size_bytes) = a.adopt(&file, Sensitivity::Plain, &[]).unwrap();
    assert_eq!((digest, size_bytes, file.exists()), (Digest::of(&big(1)), 100_000, false));
    commit_and_wait(&a, vec![run_started(1)]).unwrap();
    for client in [&a, &b] {
        let object = client.object(&digest).unwrap().unwrap();
        assert_eq!(object.size_bytes, 100_000);
        assert_eq!(fs::read(&object.path).unwrap()[..100_000], big(1));
        assert_eq!(fs::metadata(&object.path).unwrap().permissions().mode() & 0o777, 0o444);
        assert_eq!(client.read(&digest).unwrap().unwrap(), big(1));
    }
    // Adopted again: the one that is there stays.
    let inode = |client: &crate::Client| fs::metadata(client.object(&digest).unwrap().unwrap().path).unwrap().ino();
    let before = inode(&a);
    let file = write_scratch(&b, &big(1));
    assert_eq!(b.adopt(&file, Sensitivity::Plain, &[]).unwrap().0, digest);
    assert_eq!((inode(&a), file.exists()), (before, false));
    assert_eq!(a.object(&Digest::of(b"unknown")).unwrap(), None);
    assert_eq!(fs::metadata(workspace.store()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(workspace.store().join("sock")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_no_plain_file_of_its_own_is_refused_or_copied() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let file = write_scratch(&client, &big(2));
    let (link, second) = (file.with_file_name("link"), file.with_file_name("second"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for wrong in [&link, &file.with_file_name("absent"), &file.parent().unwrap().to_owned()] {
        assert!(
            matches!(client.adopt(wrong, Sensitivity::Plain, &[]), Err(StoreError::Io { .. })),
            "{}",
            wrong.display()
        );
    }
    fs::hard_link(&file, &second).unwrap();
    let (digest, _) = client.adopt(&file, Sensitivity::Plain, &[]).unwrap();
    fs::write(&second, "written through the other name").unwrap();
    assert_eq!(client.read(&digest).unwrap().unwrap(), big(2));
}

#[test]
fn small_plain_objects_live_in_the_journal_and_personal_ones_never() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let plain = client.put(b"plain text", Sensitivity::Plain).unwrap();
    let (adopted, _) = client.adopt(&write_scratch(&client, b"plain file"), Sensitivity::Plain, &[]).unwrap();
    let personal = client.put(b"7590-VHVEG", Sensitivity::Personal).unwrap();
    // Known before it is committed.
    assert_eq!(client.read(&plain).unwrap().unwrap(), b"plain text");
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    assert_eq!(client.stats().unwrap().n_objects, 1);
    drop(client);
    workspace.join_owners().unwrap();

    let client = workspace.client();
    for (digest, bytes) in [(plain, b"plain text"), (adopted, b"plain file"), (personal, b"7590-VHVEG")] {
        assert_eq!(client.read(&digest).unwrap().unwrap(), bytes);
        let object = client.object(&digest).unwrap().unwrap();
        assert_eq!(fs::read(object.path).unwrap()[..10], bytes[..]);
    }
    drop(client);
    workspace.join_owners().unwrap();
    for file in files_below(&workspace.store()) {
        let holds = fs::read(&file).unwrap().windows(10).any(|window| window == b"7590-VHVEG");
        assert_eq!(holds, file == crate::layout::Layout::of(workspace.path()).unwrap().object(&personal).1);
    }
}

#[test]
fn an_object_put_but_never_committed_is_gone_with_its_process_and_can_be_put_again() {
    let workspace = Workspace::new();
    let digest = workspace.client().put(b"small", Sensitivity::Plain).unwrap();
    let client = workspace.client();
    assert_eq!(client.read(&digest).unwrap(), None);
    client.put(b"small", Sensitivity::Plain).unwrap();
    let guard = CommitGuard { release: "churn".into(), n_records: 1 };
    let conflict = Err(StoreError::Conflict { release: "churn".into() });
    // Goes with the next commit, should this one be refused.
    assert_eq!(commit_guarded(&client, vec![released("churn", 1)], Some(guard)), conflict);
    commit_and_wait(&client, Vec::new()).unwrap();
    drop(client);
    assert_eq!(workspace.client().read(&digest).unwrap().unwrap(), b"small");
}

#[test]
fn flipped_bits_in_an_object_make_it_absent_until_it_is_put_again() {
    let mut random = Random::new("flipped_bits_in_an_object");
    let workspace = Workspace::new();
    let client = workspace.client();
    let digest = client.put(&big(3), Sensitivity::Personal).unwrap();
    let path = client.object(&digest).unwrap().unwrap().path;
    for round in 0..20 {
        // A process that has verified the object, and one that never has.
        let other = workspace.client();
        let client = if round % 2 == 0 { &client } else { &other };
        let place = flip(&path, &mut random);
        assert_eq!(client.object(&digest).unwrap(), None, "{place}");
        assert_eq!(client.read(&digest).unwrap(), None, "{place}");
        assert_eq!(client.put(&big(3), Sensitivity::Personal).unwrap(), digest);
        assert_eq!(client.read(&digest).unwrap().unwrap(), big(3), "{place}");
    }
    assert_eq!(client.stats().unwrap().n_damaged, 20);
    // Replaced without ever being asked for in between.
    for damage in [&b""[..], &big(3)[..99_999], &[big(3), vec![0; 65]].concat()] {
        replace(&path, damage);
        let (adopted, _) = client.adopt(&write_scratch(&client, &big(3)), Sensitivity::Plain, &[]).unwrap();
        assert_eq!((adopted, client.read(&digest).unwrap()), (digest, Some(big(3))));
    }
}

/// What the stat cache knows of a file with this stamp.
fn known(client: &crate::Client, subject: crate::stat_cache::Subject, stat: &crate::FileStat) -> Option<Digest> {
    let known = client.ask_stats(vec![subject]).unwrap().pop().flatten();
    known.filter(|known| known.stamp == stat.stamp).map(|known| known.digest)
}

#[test]
fn a_verified_object_is_not_read_again_by_the_next_process() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let digest = client.put(&big(4), Sensitivity::Plain).unwrap();
    let path = client.object(&digest).unwrap().unwrap().path;
    // Until the stamp is old enough to be trusted.
    std::thread::sleep(std::time::Duration::from_millis(150));
    drop(client);
    let client = workspace.client();
    assert!(client.object(&digest).unwrap().is_some());
    client.releases().unwrap();
    drop(client);
    workspace.join_owners().unwrap();
    let client = workspace.client();
    let stamp = client.fs.stat(&path).unwrap();
    assert_eq!(known(&client, crate::stat_cache::Subject::Object(digest), &stamp), Some(digest));
}

#[test]
fn a_same_size_edit_with_its_time_restored_is_noticed() {
    let workspace = Workspace::new();
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("telco.csv");
    fs::write(&path, "tenure\n12\n").unwrap();
    let client = workspace.client();
    for (round, text) in ["tenure\n12\n", "tenure\n13\n", "tenure\n14\n"].iter().enumerate() {
        if round > 0 {
            replace(&path, text.as_bytes());
        }
        if round == 1 {
            // So old that the stamp is trusted: the change time alone tells.
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
        for client in [&client, &workspace.client(), &client] {
            let found = client.digest_file(&path).unwrap();
            assert_eq!(found, (Digest::of(text.as_bytes()), 10), "round {round}");
        }
    }
    for wrong in [outside.path(), Path::new("/nowhere")] {
        assert!(matches!(client.digest_file(wrong), Err(StoreError::Io { .. })));
    }
}

#[test]
fn a_settled_file_is_known_to_the_next_process_and_a_young_one_is_not() {
    /// Shows one instant for ever.
    struct Stopped(Timestamp);
    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            self.0
        }
    }
    let workspace = Workspace::new();
    let path = workspace.path().join("data.csv");
    fs::write(&path, "1,2").unwrap();
    let subject = crate::stat_cache::Subject::Path(path.to_str().unwrap().to_owned());
    let mut client = workspace.client();
    let stat = client.fs.stat(&path).unwrap();
    let written_at = stat.stamp.mtime_ns / 1_000_000;
    client.clock = Arc::new(Stopped(Timestamp(written_at)));
    client.digest_file(&path).unwrap();
    assert_eq!(known(&client, subject.clone(), &stat), None);
    client.clock = Arc::new(Stopped(Timestamp(written_at + 60_000)));
    client.digest_file(&path).unwrap();
    assert_eq!(known(&client, subject.clone(), &stat), Some(Digest::of(b"1,2")));
}

#[test]
fn a_clock_that_steps_by_a_year_misorders_nothing() {
    /// Now, a year ahead or behind, and on.
    struct Stepping(std::sync::atomic::AtomicI64);
    impl Clock for Stepping {
        fn now(&self) -> Timestamp {
            let n = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let year = 365 * 24 * 3_600_000;
            Timestamp(crate::SystemClock.now().0 + [0, year, -year, 2 * year][n as usize % 4])
        }
    }
    let clock = Arc::new(Stepping(0.into()));
    let workspace = Workspace::new();
    let file = workspace.path().join("data.csv");
    let mut client = workspace.client();
    client.clock = clock.clone();
    for n in 1..=40 {
        let at = clock.now();
        let mut record = run_started(n);
        if let mlp_model::Record::RunStarted { at: started, .. } = &mut record {
            *started = at;
        }
        commit_and_wait(&client, vec![record, released("churn", n)]).unwrap();
        // An edit is noticed, whatever the clock says of its age.
        let text = format!("{n:05}");
        fs::write(&file, &text).unwrap();
        assert_eq!(client.digest_file(&file).unwrap().0, Digest::of(text.as_bytes()), "edit {n}");
        if n % 10 == 0 {
            // The next owner reads the journal afresh.
            drop(client);
            workspace.join_owners().unwrap();
            fs::remove_dir_all(workspace.store().join("index.v3.sled")).unwrap();
            client = workspace.client();
            client.clock = clock.clone();
        }
    }
    let runs: Vec<_> = client.runs(100, None).unwrap().into_iter().map(|run| run.run).collect();
    assert_eq!(runs, (1..=40).rev().map(run).collect::<Vec<_>>());
    let versions: Vec<_> = client.release_records("churn").unwrap().into_iter().map(|stored| stored.record).collect();
    assert_eq!(versions, (1..=40).map(|n| released("churn", n)).collect::<Vec<_>>());
}

#[test]
fn one_client_executes_a_key_and_the_other_is_told_of_the_result() {
    let workspace = Workspace::new();
    let (a, b) = (workspace.client(), workspace.client());
    let Ok(Claim::Granted(lease)) = claim(&a, key(1)).recv().unwrap() else { panic!("not granted") };
    let waiting = claim(&b, key(1));
    let other_key = claim(&b, key(2)).recv().unwrap();
    assert!(matches!(other_key, Ok(Claim::Granted(_))));
    assert!(matches!(waiting.try_recv(), Err(TryRecvError::Empty)));
    commit_and_wait(&a, vec![finished(1, 1)]).unwrap();
    assert!(matches!(waiting.recv().unwrap(), Ok(Claim::Finished)));
    drop(lease);
    // Asked after all that: the result is not known to the asker either.
    assert!(matches!(claim(&b, key(1)).recv().unwrap(), Ok(Claim::Finished)));
    // Looked up and found useless, for its object is damaged: now it may execute.
    let (found, result) = b.result(&key(1)).unwrap().unwrap();
    assert_eq!((found, result.key), (run(1), key(1)));
    assert!(matches!(claim(&b, key(1)).recv().unwrap(), Ok(Claim::Granted(_))));
}

#[test]
fn a_lease_ends_when_given_back_and_with_its_client() {
    let workspace = Workspace::new();
    let (a, b) = (workspace.client(), workspace.client());
    let Ok(Claim::Granted(lease)) = claim(&a, key(1)).recv().unwrap() else { panic!("not granted") };
    let second = claim(&a, key(1));
    // Answered after the claim before it was taken: the order is settled.
    a.releases().unwrap();
    let third = claim(&b, key(1));
    b.releases().unwrap();
    drop(lease);
    let Ok(Claim::Granted(lease)) = second.recv().unwrap() else { panic!("not granted") };
    drop(a);
    assert!(matches!(third.recv().unwrap(), Ok(Claim::Granted(_))));
    drop(lease);
}

#[test]
fn a_run_is_alive_while_its_client_is_connected_and_not_finished() {
    let workspace = Workspace::new();
    let (a, b) = (workspace.client(), workspace.client());
    commit_and_wait(&a, vec![run_started(1)]).unwrap();
    commit_and_wait(&b, vec![run_started(2)]).unwrap();
    let alive = || a.runs(9, None).unwrap().iter().map(|run| run.alive).collect::<Vec<_>>();
    assert_eq!(alive(), [true, true]);
    drop(b);
    while alive() != [false, true] {
        std::thread::yield_now();
    }
    assert_eq!(a.runs(1, Some(&run(2))).unwrap()[0].run, run(1));
    assert_eq!(a.find_runs("0000").unwrap().len(), 2);
    assert_eq!(a.find_runs("1").unwrap().len(), 0);
}

#[test]
fn process_groups_of_a_client_that_left_are_ended_and_others_stay() {
    let workspace = Workspace::new();
    let (a, b) = (workspace.client(), workspace.client());
    let start = || Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let (mut tracked, mut untracked, mut of_other) = (start(), start(), start());
    a.track(tracked.id()).unwrap();
    a.track(untracked.id()).unwrap();
    a.untrack(untracked.id());
    b.track(of_other.id()).unwrap();
    drop(a);
    assert!(!tracked.wait().unwrap().success());
    for child in [&mut untracked, &mut of_other] {
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop(b);
    workspace.join_owners().unwrap();
}

#[test]
fn the_owner_leaves_when_its_lock_file_vanishes_and_clients_find_the_next() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    let Ok(Claim::Granted(_lease)) = claim(&client, key(1)).recv().unwrap() else { panic!("not granted") };
    fs::remove_file(workspace.store().join("lock")).unwrap();
    assert_eq!(workspace.join_owners(), Ok(()));
    let other = workspace.client();
    commit_and_wait(&client, vec![run_started(2)]).unwrap();
    assert_eq!(other.runs(9, None).unwrap().len(), 2);
    // The lease has come along.
    let waiting = claim(&other, key(1));
    assert_eq!(other.releases().unwrap().len(), 0);
    assert!(matches!(waiting.try_recv(), Err(TryRecvError::Empty)));
}

#[test]
fn callbacks_may_ask_questions_themselves() {
    let workspace = Workspace::new();
    let client = Arc::new(workspace.client());
    let (sender, receiver) = std::sync::mpsc::channel();
    let asking = client.clone();
    client.commit(
        vec![run_started(1)],
        None,
        Box::new(move |result| sender.send((result, asking.runs(1, None).unwrap().len())).unwrap()),
    );
    assert_eq!(receiver.recv().unwrap(), (Ok(()), 1));
}

#[test]
fn commits_are_durable_in_the_order_of_the_calls() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let (sender, receiver) = std::sync::mpsc::channel();
    for n in 0..300 {
        if n % 7 == 0 {
            // Such a commit waits for the disk; those after it must not overtake it.
            client.put(&n.to_string().repeat(5000).into_bytes(), Sensitivity::Plain).unwrap();
        }
        let sender = sender.clone();
        client.commit(vec![released("churn", n)], None, Box::new(move |result| sender.send((n, result)).unwrap()));
    }
    let acked: Vec<_> = receiver.iter().take(300).collect();
    assert_eq!(acked, (0..300).map(|n| (n, Ok(()))).collect::<Vec<_>>());
    let versions: Vec<_> = client.release_records("churn").unwrap().into_iter().map(|stored| stored.record).collect();
    assert_eq!(versions, (0..300).map(|n| released("churn", n)).collect::<Vec<_>>());
}

#[test]
fn numbers_that_json_lacks_do_not_spoil_a_record() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let mut record = finished(1, 1);
    if let mlp_model::Record::StepFinished { result, .. } = &mut record {
        result.facts.insert("loss".into(), f64::NAN);
        result.seconds = f64::INFINITY;
    }
    commit_and_wait(&client, vec![record]).unwrap();
    let (_, result) = client.result(&key(1)).unwrap().unwrap();
    assert_eq!((result.facts.into_iter().collect::<Vec<_>>(), result.seconds), (vec![("rows".into(), 1.1)], 0.0));
}

#[test]
fn whichever_file_operation_fails_adopting_keeps_the_file_or_the_object() {
    let workspace = Workspace::new();
    let failing = FailingFs::new();
    let (client, other) = (workspace.client_on(failing.clone()), workspace.client());
    let mut n_objects = 0_u8;
    for (errno, is_lasting) in [(Errno::IO, false), (Errno::NOSPC, true), (Errno::MFILE, false)] {
        for nth in 1.. {
            let context = format!("operation {nth} fails with {errno:?}, lasting: {is_lasting}");
            n_objects += 1;
            let bytes = big(n_objects);
            let digest = Digest::of(&bytes);
            let file = write_scratch(&client, &bytes);
            failing.arm(nth, errno, is_lasting);
            let adopted = client.adopt(&file, Sensitivity::Plain, &[]);
            let committed = adopted.as_ref().ok().map(|_| commit_and_wait(&client, vec![released("churn", 1)]));
            let n_failed = failing.disarm();
            match &adopted {
                Ok(found) => assert_eq!(found, &(digest, 100_000), "{context}"),
                Err(error) => {
                    let is_full = matches!(error, StoreError::DiskFull { .. });
                    assert_eq!(is_full, errno == Errno::NOSPC, "{context}: {error}");
                    assert_eq!(other.object(&digest).unwrap(), None, "{context}");
                    // Where nothing works any more, the file cannot be given back as it was.
                    let is_whole = fs::metadata(&file).unwrap().len() == 100_000;
                    assert!(is_whole || is_lasting, "{context}");
                    let file = if is_whole { file } else { write_scratch(&client, &bytes) };
                    assert_eq!(client.adopt(&file, Sensitivity::Plain, &[]).unwrap().0, digest, "{context}");
                }
            }
            if other.read(&digest).unwrap().is_none() {
                // It could not be synced, and nothing was recorded that relies on it.
                assert!(matches!(committed, Some(Err(_))), "{context}");
                assert_eq!(
                    client.adopt(&write_scratch(&client, &bytes), Sensitivity::Plain, &[]).unwrap().0,
                    digest,
                    "{context}"
                );
            }
            assert_eq!(other.read(&digest).unwrap(), Some(bytes), "{context}");
            if committed != Some(Ok(())) {
                commit_and_wait(&client, vec![released("churn", 1)]).unwrap();
            }
            if n_failed == 0 {
                assert!(adopted.is_ok() && nth > 10, "{context}");
                break;
            }
        }
    }
    assert_eq!(client.stats().unwrap().n_damaged, 0);
}

#[test]
fn whichever_file_operation_fails_an_inline_object_gets_its_file_whole_or_not_at_all() {
    let workspace = Workspace::new();
    let failing = FailingFs::new();
    let (client, other) = (workspace.client_on(failing.clone()), workspace.client());
    let bytes = b"id,tenure\n1,12\n".repeat(40);
    let digest = other.put(&bytes, Sensitivity::Plain).unwrap();
    commit_and_wait(&other, vec![released("churn", 1)]).unwrap();
    let path = other.object(&digest).unwrap().unwrap().path;
    for (errno, is_lasting) in [(Errno::IO, false), (Errno::IO, true), (Errno::NOSPC, true), (Errno::MFILE, false)] {
        for nth in 1.. {
            let context = format!("operation {nth} fails with {errno:?}, lasting: {is_lasting}");
            _ = fs::remove_file(&path);
            failing.arm(nth, errno, is_lasting);
            let found = client.object(&digest);
            let n_failed = failing.disarm();
            if let Ok(stored) = fs::read(&path) {
                assert!(stored.starts_with(&bytes) && stored.len() == bytes.len() + 64, "{context}");
            }
            match found {
                Ok(found) => assert_eq!(found.unwrap().size_bytes, bytes.len() as u64, "{context}"),
                Err(error) => assert!(n_failed > 0, "{context}: {error}"),
            }
            for client in [&client, &other] {
                assert_eq!(client.read(&digest).unwrap().as_ref(), Some(&bytes), "{context}");
                assert!(client.object(&digest).unwrap().is_some(), "{context}");
            }
            if n_failed == 0 {
                assert!(nth > 3, "{context}");
                break;
            }
        }
    }
    assert_eq!(other.stats().unwrap().n_damaged, 0);
}

#[test]
fn why_the_store_cannot_be_opened_reaches_the_client() {
    let workspace = Workspace::new();
    drop(workspace.client());
    workspace.join_owners().unwrap();
    let journal = workspace.store().join("journal/00000001.log");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[20] ^= 1;
    bytes.extend([0; 40]);
    fs::write(&journal, bytes).unwrap();
    let real = || Arc::new(RealFs);
    let error = workspace.try_client(real(), real()).err().unwrap();
    assert!(matches!(&error, StoreError::JournalDamaged { segment, .. } if segment == "00000001.log"), "{error}");

    let full = FailingFs::new();
    full.arm(1, Errno::NOSPC, true);
    let refused = workspace.try_client(full, real()).err().unwrap();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
}

#[test]
fn what_relies_on_an_object_that_cannot_be_synced_is_not_recorded() {
    let workspace = Workspace::new();
    let failing = FailingFs::new();
    let client = workspace.client_on(failing.clone());
    // The commit opens the object's file (1), syncs it (2), then the folders (3, 4).
    for (round, nth) in [(0, 2), (1, 1), (2, 3), (3, 4)] {
        let bytes = big(round);
        let digest = client.put(&bytes, Sensitivity::Personal).unwrap();
        failing.arm(nth, Errno::IO, false);
        let refused = commit_and_wait(&client, vec![run_started(u64::from(round))]);
        assert_eq!((failing.disarm(), refused.is_err()), (1, true), "operation {nth}");
        let other = workspace.client();
        assert_eq!(other.runs(10, None).unwrap().len(), usize::from(round), "operation {nth}");
        // After a sync that failed nobody knows what is on the disk: such an object is not there.
        assert_eq!(other.read(&digest).unwrap().is_some(), nth != 2, "operation {nth}");
        assert_eq!(client.put(&bytes, Sensitivity::Personal).unwrap(), digest);
        commit_and_wait(&client, vec![run_started(u64::from(round))]).unwrap();
        assert_eq!(workspace.client().read(&digest).unwrap(), Some(bytes), "operation {nth}");
    }
}

#[test]
fn many_objects_are_synced_side_by_side_and_each_is_there() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let digests: Vec<_> = (0..100).map(|n| client.put(&big(n), Sensitivity::Personal).unwrap()).collect();
    assert!(client.objects.is_unsynced());
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    assert!(!client.objects.is_unsynced());
    let other = workspace.client();
    assert!((0..).zip(digests).all(|(n, digest)| other.read(&digest).unwrap() == Some(big(n))));
}

#[test]
fn a_network_filesystem_is_refused_unless_the_store_is_a_link_to_a_local_one() {
    /// All but this folder is elsewhere.
    struct Nfs(std::path::PathBuf);
    impl Fs for Nfs {
        fn filesystem(&self, path: &Path) -> std::io::Result<Filesystem> {
            let found = RealFs.filesystem(path)?;
            Ok(if path.canonicalize()?.starts_with(&self.0) { found } else { Filesystem { magic: 0x6969, ..found } })
        }
        fn create(&self, path: &Path, mode: u32) -> std::io::Result<Box<dyn crate::FsFile>> {
            RealFs.create(path, mode)
        }
        fn open(&self, path: &Path, access: crate::Access) -> std::io::Result<Box<dyn crate::FsFile>> {
            RealFs.open(path, access)
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
        fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
            RealFs.sync_dir(path)
        }
        fn set_mode(&self, path: &Path, mode: u32) -> std::io::Result<()> {
            RealFs.set_mode(path, mode)
        }
        fn stat(&self, path: &Path) -> std::io::Result<crate::FileStat> {
            RealFs.stat(path)
        }
    }
    let workspace = Workspace::new();
    let local = tempfile::tempdir().unwrap();
    let nfs = || Arc::new(Nfs(local.path().canonicalize().unwrap()));
    let told = StoreError::NetworkFilesystem(workspace.path().display().to_string());
    assert_eq!(workspace.try_client(nfs(), Arc::new(RealFs)).err(), Some(told.clone()));
    let idle = std::time::Duration::ZERO;
    assert_eq!(crate::serve_owner_on(nfs(), workspace.path(), idle, Arc::new(crate::SystemClock)), Err(told));
    assert!(!workspace.store().exists());
    std::os::unix::fs::symlink(local.path(), workspace.store()).unwrap();
    let client = workspace.try_client(nfs(), Arc::new(RealFs)).unwrap();
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    assert!(local.path().join("journal").exists());
}
