//! The store with real processes: owners and clients that are killed at random.
//!
//! This program is also its own helpers: called with `__owner` it is an owner process, with `__client` a client that
//! takes a lease and a process group and waits to be killed. `MLP_SEED` repeats a run, `MLP_KILLS` (60) makes it longer.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mlp_model::{Claim, Digest, KeyId, Record, Sensitivity, Store, StoreError, Timestamp};
use mlp_store::{Client, SystemClock, serve_owner_on, spawn_detached};
use phase::{Phase, WatchedFs};
use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};
use support::Random;

#[path = "support/phase.rs"]
mod phase;
#[path = "support/mod.rs"]
mod support;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["__owner", workspace] => {
            let workspace = Path::new(workspace);
            let fs = Arc::new(WatchedFs::new(workspace));
            let served = serve_owner_on(fs, workspace, Duration::from_secs(1), Arc::new(SystemClock));
            return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        ["__client", workspace] => be_a_client(Path::new(workspace)),
        _ => {}
    }
    let tests: [(&str, fn()); 5] = [
        ("owner_killed_at_random_loses_nothing_and_repeats_nothing", owner_killed_at_random),
        ("killed_client_leaves_its_lease_to_the_waiter_and_no_process", killed_client),
        ("lease_and_groups_outlive_the_owner", killed_owner),
        ("groups_are_ended_though_owner_and_client_die_together", killed_owner_and_client),
        ("a_workspace_far_down_is_served", far_down),
    ];
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted = args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str);
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(wanted)) {
        println!("test {name} ...");
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// Takes a lease and a process group, says so, and waits to be killed.
fn be_a_client(workspace: &Path) -> ! {
    let client = connect(workspace);
    let lease = claim(&client).recv().unwrap().unwrap();
    assert!(matches!(lease, Claim::Granted(_)));
    // A process that does not end when asked to.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' TERM; sleep 1000 & wait; wait; wait"]).stdout(Stdio::null()).process_group(0);
    let mut group = shell.spawn().unwrap();
    client.track(group.id()).unwrap();
    println!("{}", group.id());
    group.wait().unwrap();
    unreachable!("the group outlives the client, which is killed first");
}

fn connect(workspace: &Path) -> Client {
    let own = std::env::current_exe().unwrap();
    let path = workspace.to_owned();
    let spawn = move || {
        let mut command = Command::new(&own);
        command.arg("__owner").arg(&path);
        spawn_detached(command)
    };
    Client::connect(workspace, Box::new(spawn), Arc::new(SystemClock)).unwrap()
}

fn claim(client: &Client) -> std::sync::mpsc::Receiver<Result<Claim, StoreError>> {
    let (sender, receiver) = channel();
    client.claim(KeyId(Digest::of(b"key")), Vec::new(), Box::new(move |answer| _ = sender.send(answer)));
    receiver
}

/// Starts this program as a client; returns it and its process group's number.
fn start_client(workspace: &Path) -> (Child, u32) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.arg("__client").arg(workspace).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let group = line.trim().parse().unwrap();
    (child, group)
}

fn group_is_there(group: u32) -> bool {
    test_kill_process_group(Pid::from_raw(i32::try_from(group).unwrap()).unwrap()).is_ok()
}

/// Returns the owner process of the workspace.
fn owner_of(workspace: &Path) -> Option<Pid> {
    support::processes_of(workspace, "__owner").into_iter().next()
}

fn kill_owner(workspace: &Path) -> bool {
    owner_of(workspace).is_some_and(|owner| kill_process(owner, Signal::KILL).is_ok())
}

/// The `n`th commit of writer `writer` brings two records and two objects: one in the journal, one in a file.
fn records(writer: u64, n: u64) -> (Vec<Record>, Vec<u8>, Vec<u8>) {
    let release = format!("w{writer}");
    let record = |version| Record::HoldLifted {
        id: format!("{release}-{version}"),
        release: release.clone(),
        version,
        bundle: None,
        at: Timestamp(0),
    };
    let small = format!("{writer} {n}").into_bytes();
    let large = small.iter().copied().cycle().take(5000 + (n % 7) as usize).collect();
    (vec![record(2 * n), record(2 * n + 1)], small, large)
}

/// Commits until told to stop; returns how many commits were made, which were all acknowledged.
fn write(client: &Client, writer: u64, is_over: &AtomicBool, n_acked: &Arc<AtomicU64>) -> u64 {
    let failures: Arc<Mutex<Vec<StoreError>>> = Arc::default();
    let (sender, receiver) = channel();
    let mut n = 0;
    while !is_over.load(Ordering::Relaxed) {
        // A few in flight at a time.
        for _ in 0..3 {
            let (records, small, large) = records(writer, n);
            client.put(&small, Sensitivity::Plain).unwrap();
            if n.is_multiple_of(4) {
                client.put(&large, Sensitivity::Plain).unwrap();
            }
            let (sender, failures, n_acked) = (sender.clone(), failures.clone(), n_acked.clone());
            client.commit(
                records,
                None,
                Box::new(move |result| {
                    n_acked.fetch_add(1, Ordering::Relaxed);
                    failures.lock().unwrap().extend(result.err());
                    sender.send(()).unwrap();
                }),
            );
            n += 1;
        }
        for _ in 0..3 {
            receiver.recv().unwrap();
        }
    }
    assert_eq!(*failures.lock().unwrap(), []);
    n
}

fn owner_killed_at_random() {
    const WRITERS: u64 = 4;
    let n_kills: u64 = std::env::var("MLP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    let workspace: PathBuf = folder.path().to_owned();
    let (is_over, n_acked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (workspace, is_over, n_acked) = (workspace.clone(), is_over.clone(), n_acked.clone());
            thread::spawn(move || write(&connect(&workspace), writer, &is_over, &n_acked))
        })
        .collect();
    let (mut n_killed, mut n_within, mut phases) = (0, 0, BTreeMap::<Phase, u64>::new());
    while n_killed < n_kills {
        // Some work between two kills, then any instant: also while the next owner is opening the store.
        let acked = n_acked.load(Ordering::Relaxed) + random.below(60);
        while n_acked.load(Ordering::Relaxed) < acked && !writers.iter().any(thread::JoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(random.below(20_000)));
        let Some(owner) = owner_of(&workspace) else { continue };
        // Every third kill waits for a commit to be written, if one comes soon.
        if n_killed % 3 == 0 {
            phase::wait_for_commit(&workspace, owner, Duration::from_millis(50));
            thread::sleep(Duration::from_micros(random.below(200)));
        }
        if kill_process(owner, Signal::KILL).is_ok() {
            let found = phase::when_dead(&workspace, owner);
            n_killed += 1;
            n_within += u64::from(found.is_within_commit());
            *phases.entry(found).or_default() += 1;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let n_commits: BTreeMap<u64, u64> = (0..).zip(writers.into_iter().map(|writer| writer.join().unwrap())).collect();

    let check = || {
        let client = connect(&workspace);
        for (writer, n_commits) in &n_commits {
            let found = client.release_records(&format!("w{writer}")).unwrap();
            let found: Vec<_> = found.into_iter().map(|stored| stored.record).collect();
            let expected: Vec<_> = (0..*n_commits).flat_map(|n| records(*writer, n).0).collect();
            assert!(found == expected, "writer {writer}: {} records of {}", found.len(), expected.len());
            for n in 0..*n_commits {
                let (_, small, large) = records(*writer, n);
                assert_eq!(client.read(&Digest::of(&small)).unwrap().as_ref(), Some(&small), "writer {writer}, {n}");
                if n.is_multiple_of(4) {
                    assert_eq!(
                        client.read(&Digest::of(&large)).unwrap().as_ref(),
                        Some(&large),
                        "writer {writer}, {n}"
                    );
                }
            }
        }
        client.stats().unwrap().n_records
    };
    let n_records = check();
    assert_eq!(n_records, 2 * n_commits.values().sum::<u64>());
    kill_owner(&workspace);
    fs::remove_dir_all(workspace.join(".mlp/index.v3.sled")).unwrap();
    assert_eq!(check(), n_records);
    let share = n_within * 100 / n_kills;
    println!("{n_kills} kills, {share} % within a commit {phases:?}; {n_records} records, 0 lost, 0 twice");
    assert!(n_kills < 30 || share >= 30, "only {share} % of the kills hit a commit");
}

fn killed_client() {
    let folder = tempfile::tempdir().unwrap();
    let client = connect(folder.path());
    let (mut other, group) = start_client(folder.path());
    let waiting = claim(&client);
    assert!(client.releases().unwrap().is_empty() && waiting.try_recv().is_err());
    assert!(group_is_there(group));
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(matches!(waiting.recv().unwrap(), Ok(Claim::Granted(_))));
    wait_for_the_end_of(group);
}

fn killed_owner() {
    let folder = tempfile::tempdir().unwrap();
    let (mut other, group) = start_client(folder.path());
    assert!(kill_owner(folder.path()));
    let client = connect(folder.path());
    let waiting = claim(&client);
    assert!(client.releases().unwrap().is_empty() && waiting.try_recv().is_err());
    // The holder was not waited for, but it has not lost anything either.
    assert!(group_is_there(group));
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(matches!(waiting.recv().unwrap(), Ok(Claim::Granted(_))));
    wait_for_the_end_of(group);
}

fn killed_owner_and_client() {
    let folder = tempfile::tempdir().unwrap();
    let (mut other, group) = start_client(folder.path());
    // The client cannot start another owner while it is stopped.
    let pid = Pid::from_child(&other);
    kill_process(pid, Signal::STOP).unwrap();
    assert!(kill_owner(folder.path()));
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(group_is_there(group));
    let client = connect(folder.path());
    assert!(matches!(claim(&client).recv().unwrap(), Ok(Claim::Granted(_))));
    wait_for_the_end_of(group);
}

/// Its processes belong to nobody here; whoever adopts them has to take note of their end.
fn wait_for_the_end_of(group: u32) {
    while group_is_there(group) && !is_zombie(group) {
        thread::sleep(Duration::from_millis(10));
    }
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|text| text.rsplit_once(')').is_some_and(|rest| rest.1.trim_start().starts_with('Z')))
}

fn far_down() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    fs::create_dir_all(&deep).unwrap();
    let client = connect(&deep);
    assert!(client.releases().unwrap().is_empty());
    assert!(!deep.join(".mlp/sock").exists());
    let stats = client.stats().unwrap();
    assert!(stats.total_bytes > 0 && stats.journal_bytes > 0 && stats.n_records == 0);
}
