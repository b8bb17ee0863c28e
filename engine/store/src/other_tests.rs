//! Records of another store beside those of this one, and reading a store that is another's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::channel;

use mlp_model::{Copied, Digest, Keep, OtherStore, Record, Sensitivity, Store, StoreError, Timestamp};

use crate::testing::{
    Random, Workspace, commit_and_wait, copy_tree, finished, flip, key, released, run, run_finished, run_started,
};
use crate::{Client, IndexCheck, Other, inspect};

/// Commits records of another store.
fn take_in(client: &Client, records: Vec<Record>) {
    let (sender, receiver) = channel();
    client.commit_of("there", records, Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap().unwrap();
}

/// A result of key `n`, made by a run.
fn result(run_no: u64, n: u64) -> Record {
    finished(run_no, n)
}

fn started_at(run_no: u64, at: i64) -> Record {
    match run_started(run_no) {
        Record::RunStarted { run, pipeline, file, params, trigger, mlp_version, host, .. } => {
            Record::RunStarted { run, pipeline, file, params, trigger, mlp_version, host, at: Timestamp(at) }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn results_of_another_store_count_only_where_this_one_has_none() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let maker = |n: u64| client.result(&key(n)).unwrap().map(|(run, _)| run);
    take_in(&client, vec![result(1, 5)]);
    assert_eq!(maker(5), Some(run(1)));
    commit_and_wait(&client, vec![result(2, 5), result(2, 6)]).unwrap();
    take_in(&client, vec![result(3, 5), result(3, 6)]);
    assert_eq!((maker(5), maker(6)), (Some(run(2)), Some(run(2))));
    // All are known, those of this store first.
    let artifact = match result(1, 5) {
        Record::StepFinished { result, .. } => result.outputs[0].digest,
        other => panic!("{other:?}"),
    };
    let makers: Vec<_> = client.producers(&artifact).unwrap().into_iter().map(|stored| stored.record).collect();
    assert_eq!(makers, [result(2, 5), result(3, 5), result(1, 5)]);
    // So it is in an index that is made anew.
    drop(client);
    workspace.join_owners().unwrap();
    for entry in fs::read_dir(workspace.store()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("index.") {
            _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
    let client = workspace.client();
    assert_eq!(client.result(&key(5)).unwrap().unwrap().0, run(2));
    let inspection = inspect(workspace.path(), Ok(&client)).unwrap();
    assert!(matches!(inspection.index, IndexCheck::Sound { .. }), "{inspection:?}");
}

#[test]
fn a_reuse_means_the_result_that_its_own_store_had_then() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![run_started(1), result(1, 5), run_started(2)]).unwrap();
    take_in(&client, vec![run_started(3), result(3, 5), run_started(4)]);
    commit_and_wait(&client, vec![result(2, 5)]).unwrap();
    let reused = |run_no: u64, seq: u64| client.result_reused(&key(5), &run(run_no), seq).unwrap().unwrap().0;
    // Positions: 1 to 3 ours, 4 to 6 theirs, 7 ours.
    assert_eq!([reused(2, 3), reused(4, 6), reused(2, 8)], [run(1), run(3), run(2)]);
    // Before their first result they can only have had ours.
    assert_eq!(reused(4, 4), run(1));
    let elsewhere: Vec<bool> = client.runs(9, None).unwrap().iter().map(|run| run.elsewhere).collect();
    assert_eq!(elsewhere.iter().filter(|elsewhere| **elsewhere).count(), 2);
}

#[test]
fn runs_stand_by_their_time_and_a_clock_set_back_leaves_those_of_this_store_in_order() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![started_at(1, 100), started_at(2, 300), started_at(3, 50)]).unwrap();
    take_in(&client, vec![started_at(4, 200), run_finished(4), started_at(5, 20), started_at(6, 400)]);
    // Taken in twice, it is still one.
    take_in(&client, vec![started_at(4, 200)]);
    let order = [6, 3, 2, 4, 1, 5].map(run);
    let runs = |limit, before| {
        let found: Vec<_> = client.runs(limit, before).unwrap().into_iter().map(|summary| summary.run).collect();
        found
    };
    assert_eq!(runs(9, None), order);
    assert_eq!(runs(2, Some(&run(2))), order[3..5]);
    assert!(client.find_runs(&run(4).0).unwrap()[0].status.is_some());
    assert!(client.runs(9, None).unwrap().iter().all(|run| !run.alive || !run.elsewhere));
}

#[test]
fn another_store_is_read_beside_its_owner_and_where_nobody_may_write() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let big: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    let (personal, small) =
        (client.put(&big, Sensitivity::Personal).unwrap(), client.put(b"small", Sensitivity::Plain).unwrap());
    commit_and_wait(&client, vec![run_started(1), result(1, 5), released("churn", 1), run_finished(1)]).unwrap();
    let check = |store: &std::path::Path| {
        let other = Other::open(store).unwrap();
        assert_eq!(other.runs(), [run(1)]);
        assert_eq!(other.run_records(&run(1)).unwrap(), [run_started(1), result(1, 5), run_finished(1)]);
        assert_eq!(other.shared_records().unwrap(), [released("churn", 1)]);
        assert_eq!(other.run_records(&run(9)).unwrap(), []);
        let mut expected = vec![personal, small];
        expected.sort();
        assert_eq!(other.objects().unwrap(), expected);
        let folder = tempfile::tempdir().unwrap();
        for (object, bytes, sensitivity) in
            [(personal, &big[..], Sensitivity::Personal), (small, b"small", Sensitivity::Plain)]
        {
            let target = folder.path().join(object.short());
            let copied = other.copy(&object, &target).unwrap();
            assert_eq!(copied, Copied::Sound { size_bytes: bytes.len() as u64, sensitivity, partitions: Vec::new() });
            assert!(fs::read(target).unwrap() == bytes);
            assert_eq!(other.sensitivity(&object).unwrap(), Some(sensitivity));
        }
        let nothing = other.copy(&Digest::of(b"nothing"), &folder.path().join("nothing")).unwrap();
        assert_eq!(nothing, Copied::Absent);
        other.name().to_owned()
    };
    let name = check(workspace.path());
    assert_eq!(check(&workspace.store()), name);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(".mlp");
    copy_tree(&workspace.store(), &copy);
    let set_modes = |mode: u32| {
        for folder in ["", "journal", "objects"] {
            fs::set_permissions(copy.join(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set_modes(0o500);
    let before = crate::testing::files_below(&copy);
    assert_eq!(check(&copy), name);
    assert_eq!(crate::testing::files_below(&copy), before);
    set_modes(0o700);
    // Another store has another name.
    let third = Workspace::new();
    commit_and_wait(&third.client(), vec![run_started(2)]).unwrap();
    assert_ne!(Other::open(third.path()).unwrap().name(), name);
}

#[test]
fn damage_in_another_store_is_told_and_never_copied() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let object = client.put(&[7; 9000], Sensitivity::Plain).unwrap();
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    commit_and_wait(&client, vec![run_finished(1)]).unwrap();
    drop(client);
    workspace.join_owners().unwrap();
    let mut random = Random::new("damage_in_another_store");
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join(".mlp");
        copy_tree(&workspace.store(), &copy);
        let text = object.to_string();
        let told = flip(&copy.join("objects").join(&text[..2]).join(&text[2..]), &mut random);
        let target = folder.path().join("target");
        assert_eq!(Other::open(&copy).unwrap().copy(&object, &target).unwrap(), Copied::Damaged, "{told}");
        assert!(!target.exists(), "{told}");
        // A flip in the mark behind the newest record costs nothing.
        let journal = copy.join("journal/00000001.log");
        let told = flip(&journal, &mut random);
        match Other::open(&copy) {
            Ok(other) => assert_eq!(other.run_records(&run(1)).unwrap(), [run_started(1), run_finished(1)], "{told}"),
            Err(error) => {
                assert!(matches!(error, StoreError::JournalDamaged { .. } | StoreError::NewerFormat { .. }), "{told}")
            }
        }
    }
    let nothing = tempfile::tempdir().unwrap();
    let error = Other::open(nothing.path()).err().unwrap().to_string();
    assert!(error.contains("there is no store in it"), "{error}");
}
