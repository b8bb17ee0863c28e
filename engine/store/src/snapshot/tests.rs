//! An answer holds as long as what it rests on does, and not a moment longer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use mlp_model::{Digest, Record, Sensitivity, Store};

use super::{Basis, Kind, Seen, Snapshot, digest_of, last_written, look};
use crate::testing::{Random, Workspace, commit_and_wait, finished, released, run, run_started};
use crate::{Client, SystemClock};

const REQUEST: &[u8] = b"run churn.mlp";

fn name() -> Digest {
    Digest::of(REQUEST)
}

fn keep(client: &Client, paths: Vec<(PathBuf, Seen)>) -> bool {
    let position = client.position().unwrap();
    let variables = vec![("SEED".to_owned(), Some(digest_of("7".as_ref()))), ("UNSET".to_owned(), None)];
    let basis = Basis { request: REQUEST.to_vec(), variables, paths, position };
    client.keep_answer(&name(), basis, &[b"up to date", b""]).unwrap()
}

fn holds(workspace: &Workspace) -> bool {
    holds_with(workspace, REQUEST, "7")
}

fn holds_with(workspace: &Workspace, request: &[u8], seed: &'static str) -> bool {
    let root = workspace.path().canonicalize().unwrap();
    let Some(snapshot) = Snapshot::open(&root, &name()) else { return false };
    let parts = [0, 1, 2].map(|part| snapshot.part(part));
    snapshot.holds(request, &|name| (name == "SEED").then(|| seed.into()))
        && parts == [Some(&b"up to date"[..]), Some(b""), None]
}

/// Longer than a stamp counts as young.
fn let_stamps_settle() {
    thread::sleep(Duration::from_millis(150));
}

#[test]
fn another_question_or_variable_is_not_answered() {
    let workspace = Workspace::new();
    let client = workspace.client();
    assert!(!holds(&workspace));
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    assert!(keep(&client, Vec::new()));
    assert!(holds(&workspace));
    assert!(!holds_with(&workspace, b"run demand.mlp", "7"));
    assert!(!holds_with(&workspace, REQUEST, "8"));
}

#[test]
fn every_change_of_a_path_is_noticed() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    let root = workspace.path().canonicalize().unwrap();
    let (file, folder, absent) = (root.join("data/rows.csv"), root.join("data"), root.join("data/new.csv"));
    let write = |text: &str| fs::write(&file, text).unwrap();
    type Change<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let changes: [Change<'_>; 7] = [
        ("touched", Box::new(|| write("1,2,3"))),
        (
            "edited with its size and time restored",
            Box::new(|| {
                let before = fs::metadata(&file).unwrap().modified().unwrap();
                write("1,2,4");
                fs::File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
            }),
        ),
        (
            "set to a time long ago",
            Box::new(|| {
                let long_ago = SystemTime::now() - Duration::from_secs(86_400);
                fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
            }),
        ),
        ("made executable", Box::new(|| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap())),
        ("removed", Box::new(|| fs::remove_file(&file).unwrap())),
        (
            "replaced by an equal file",
            Box::new(|| {
                fs::write(root.join("equal"), "1,2,3").unwrap();
                fs::rename(root.join("equal"), &file).unwrap();
            }),
        ),
        ("given company", Box::new(|| fs::write(&absent, "").unwrap())),
    ];
    for (what, change) in changes {
        _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        write("1,2,3");
        let_stamps_settle();
        let seen: Vec<_> =
            [&file, &folder, &absent].map(|path| (path.clone(), look(path, &SystemClock).unwrap())).into();
        assert!(matches!(seen[0].1, Seen::Unchanged(_)) && seen[2].1 == Seen::Missing);
        assert!(keep(&client, seen));
        assert!(holds(&workspace), "before it was {what}");
        change();
        assert!(!holds(&workspace), "{what}");
    }
    _ = fs::remove_file(&file);
    fs::create_dir(&file).unwrap();
    for (kind, fits) in [(Kind::Folder, true), (Kind::File, false)] {
        assert!(keep(&client, vec![(file.clone(), Seen::Kind(kind))]));
        assert_eq!(holds(&workspace), fits);
    }
}

#[test]
fn a_file_that_was_young_is_compared_by_its_bytes() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    let file = workspace.path().join("young.csv");
    fs::write(&file, "1,2,3").unwrap();
    let seen = look(&file, &SystemClock).unwrap();
    assert_eq!(seen, Seen::Young { digest: Digest::of(b"1,2,3"), size_bytes: 5, len: 5 });
    assert!(keep(&client, vec![(file.clone(), seen)]));
    assert!(holds(&workspace));
    fs::write(&file, "1,2,3").unwrap();
    assert!(holds(&workspace), "the same bytes again");
    for text in ["1,2,4", "1,2,3,", "1,2"] {
        fs::write(&file, text).unwrap();
        assert!(!holds(&workspace), "{text}");
    }
}

#[test]
fn a_deleted_or_damaged_object_is_noticed() {
    let workspace = Workspace::new();
    let client = workspace.client();
    let bytes: Vec<u8> = (0..9000_u32).map(|n| n as u8).collect();
    let digest = client.put(&bytes, Sensitivity::Plain).unwrap();
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    for is_settled in [false, true] {
        if is_settled {
            let_stamps_settle();
        }
        let seen = client.everything_seen().unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(matches!(seen[0].1, Seen::Unchanged(_)), is_settled);
        assert!(keep(&client, seen.clone()));
        assert!(holds(&workspace));
        let object = &seen[0].0;
        fs::set_permissions(object, fs::Permissions::from_mode(0o644)).unwrap();
        let mut damaged = fs::read(object).unwrap();
        damaged[17] ^= 1;
        fs::write(object, damaged).unwrap();
        assert!(!holds(&workspace), "damaged");
        fs::remove_file(object).unwrap();
        assert!(!holds(&workspace), "deleted");
        client.put(&bytes, Sensitivity::Plain).unwrap();
        assert_eq!(client.read(&digest).unwrap().unwrap(), bytes);
    }
}

#[test]
fn what_a_run_leaves_that_does_nothing_changes_nothing_and_results_and_releases_do() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![run_started(1), finished(1, 1)]).unwrap();
    let other = workspace.client();
    assert!(keep(&client, Vec::new()));
    let Record::StepFinished { step, result, .. } = finished(1, 2) else { panic!("it is a finished step") };
    let reused = Record::StepReused { run: run(2), step, key: result.key, at: result.at };
    for harmless in [run_started(2), reused] {
        commit_and_wait(&other, vec![harmless]).unwrap();
        assert!(holds(&workspace));
    }
    for grave in [released("churn", 1), finished(2, 2)] {
        assert!(keep(&client, Vec::new()));
        assert!(holds(&workspace));
        commit_and_wait(&other, vec![run_started(3), grave]).unwrap();
        assert!(!holds(&workspace));
    }
}

#[test]
fn an_answer_is_not_kept_for_a_journal_that_has_moved_on() {
    let workspace = Workspace::new();
    let (client, other) = (workspace.client(), workspace.client());
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    let position = client.position().unwrap();
    assert_eq!((position.n_records(), client.n_committed()), (1, 1));
    commit_and_wait(&other, vec![run_started(2)]).unwrap();
    let basis = Basis { request: REQUEST.to_vec(), variables: Vec::new(), paths: Vec::new(), position };
    assert!(!client.keep_answer(&name(), basis, &[]).unwrap());
    assert_eq!((client.position().unwrap().n_records(), client.n_committed()), (2, 1));
}

#[test]
fn what_was_written_last_changes_with_facts_and_not_with_who_reads_them() {
    let workspace = Workspace::new();
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(last_written(elsewhere.path()), None);
    commit_and_wait(&workspace.client(), vec![run_started(1)]).unwrap();
    workspace.join_owners().unwrap();
    let first = last_written(workspace.path());
    assert!(first.is_some());
    // An owner that only looks through the journal.
    drop(workspace.client());
    workspace.join_owners().unwrap();
    assert_eq!(last_written(workspace.path()), first);
    commit_and_wait(&workspace.client(), vec![finished(1, 1)]).unwrap();
    assert_ne!(last_written(workspace.path()), first);
}

#[test]
fn any_change_of_what_the_journal_said_is_noticed() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![run_started(1), finished(1, 1)]).unwrap();
    assert!(keep(&client, Vec::new()));
    drop(client);
    workspace.join_owners().unwrap();
    let journal = workspace.store().join("journal/00000001.log");
    let whole = fs::read(&journal).unwrap();
    let mut random = Random::new("any_change_of_what_the_journal_said");
    for _ in 0..500 {
        let mut damaged = whole.clone();
        let at = random.below(damaged.len() as u64) as usize;
        damaged[at] ^= 1 << random.below(8);
        fs::write(&journal, damaged).unwrap();
        assert!(!holds(&workspace), "byte {at}");
    }
    for len in [0, 63, whole.len() - 1] {
        fs::write(&journal, &whole[..len]).unwrap();
        assert!(!holds(&workspace), "cut to {len}");
    }
    fs::write(&journal, [&whole[..], b"torn"].concat()).unwrap();
    assert!(!holds(&workspace), "a write that did not complete");
    fs::remove_file(&journal).unwrap();
    assert!(!holds(&workspace));
    fs::write(&journal, &whole).unwrap();
    assert!(holds(&workspace));
}

#[test]
fn a_damaged_file_is_no_answer_and_never_a_wrong_one() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    assert!(keep(&client, vec![(workspace.path().join("absent"), Seen::Missing)]));
    let file = workspace.store().join("snapshot").join(name().to_string());
    let whole = fs::read(&file).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, damaged).unwrap();
        let root = workspace.path().canonicalize().unwrap();
        let answer = Snapshot::open(&root, &name())
            .filter(|found| found.holds(REQUEST, &|name| (name == "SEED").then(|| "7".into())))
            .and_then(|found| found.part(0).map(<[u8]>::to_vec));
        assert!(answer.is_none_or(|answer| answer == b"up to date"), "bit {bit}");
    }
    for len in 0..whole.len() {
        fs::write(&file, &whole[..len]).unwrap();
        assert!(!holds(&workspace), "cut to {len}");
    }
}

#[test]
fn old_answers_make_room() {
    let workspace = Workspace::new();
    let client = workspace.client();
    commit_and_wait(&client, vec![run_started(1)]).unwrap();
    for n in 0..super::MAX_KEPT as u64 + 10 {
        let position = client.position().unwrap();
        let basis = Basis { request: Vec::new(), variables: Vec::new(), paths: Vec::new(), position };
        assert!(client.keep_answer(&Digest::of(&n.to_le_bytes()), basis, &[]).unwrap());
    }
    let n_kept = fs::read_dir(workspace.store().join("snapshot")).unwrap().count();
    assert_eq!(n_kept, super::MAX_KEPT);
}
