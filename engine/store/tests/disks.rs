//! The store on disks that lose power and on disks that are full. Losing power needs root and loop devices.
//!
//! A power cut: the store works on an ext4 image; all its processes are stopped at any moment, the image is copied, and
//! the copy is mounted. What the kernel had not sent to the device is not in it. A call into the kernel ends before its
//! process stands still, so a cut falls between two calls; files that end within a call are what the tests of torn
//! journals are for. The harness is tried on bare sled first, which loses what it called flushed: were that not noticed,
//! nothing here would mean anything.
//!
//! `MLP_CUTS` (10) and `MLP_FULL` (50) make it longer, `MLP_SEED` repeats it. This program is also its own helpers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use mlp_model::{Digest, Record, Sensitivity, Store, StoreError, Timestamp};
use mlp_store::{Client, SystemClock, serve_owner, spawn_detached};
use rustix::process::{Pid, Signal, kill_process};
use support::{Random, processes_of};

#[path = "support/mod.rs"]
mod support;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["__owner", workspace] => {
            let served = serve_owner(Path::new(workspace), Duration::ZERO, Arc::new(SystemClock));
            return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        ["__write", workspace] => write_to_store(Path::new(workspace)),
        ["__write_sled", workspace] => write_to_sled(Path::new(workspace)),
        _ => {}
    }
    // A loop device needs the real root; a disk of memory can be mounted by anybody who is root in a namespace.
    let tests: [(&str, fn(), &[&str]); 2] = [
        ("a_power_cut_loses_nothing_that_was_acknowledged", power_cuts, &[]),
        ("a_full_disk_is_told_and_once_it_is_freed_work_goes_on", full_disk, &["--user", "--map-root-user"]),
    ];
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, ..)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let inside = std::env::var("MLP_INSIDE").ok();
    let wanted = args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str);
    for (name, test, namespaces) in tests.iter().filter(|(name, ..)| name.contains(wanted)) {
        if inside.as_deref() == Some(*name) {
            test();
            continue;
        }
        println!("test {name} ...");
        // In a mount namespace of its own, so that whatever happens leaves nothing mounted.
        let mut inside = Command::new("unshare");
        inside.args(*namespaces).args(["--mount", "--propagation", "private"]);
        inside.arg(std::env::current_exe().unwrap()).arg(name).env("MLP_INSIDE", name);
        let status = inside.status().expect("`unshare` of util-linux is needed to mount a disk");
        if !status.success() {
            println!("test {name} ... FAILED");
            if namespaces.is_empty() && !rustix::process::geteuid().is_root() {
                println!(
                    "cutting the power needs root (for loop devices), and this is user {}",
                    rustix::process::geteuid()
                );
            }
            return ExitCode::FAILURE;
        }
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn from_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs a command that makes or mounts a disk.
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let failure = match &output {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!(
        "`{program} {}` failed: {failure}\nthis test needs root, loop devices (/dev/loop-control), ext4 and e2fsprogs",
        args.join(" ")
    );
}

/// A mounted disk; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn image(image: &Path, place: &Path) -> Self {
        fs::create_dir_all(place).unwrap();
        // No commit of the filesystem's own accord: the moment of the cut is ours.
        let options = "loop,commit=300,noatime";
        run("mount", &["-t", "ext4", "-o", options, image.to_str().unwrap(), place.to_str().unwrap()]);
        Self(place.to_owned())
    }

    fn memory(place: &Path, mib: u64) -> Self {
        fs::create_dir_all(place).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", place.to_str().unwrap()]);
        Self(place.to_owned())
    }

    /// Returns how many writes the device below has been told of, and how many operations it has not finished.
    fn writes(&self) -> [u64; 2] {
        let device = fs::metadata(&self.0).unwrap().dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).unwrap();
        let counts: Vec<u64> = stat.split_whitespace().map(|count| count.parse().unwrap()).collect();
        [counts[4], counts[8]]
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let place = self.0.to_str().unwrap_or_default();
        let is_out = (0..200).any(|_| {
            let unmounted = Command::new("umount").arg(place).stderr(Stdio::null()).status();
            unmounted.is_ok_and(|status| status.success()) || {
                thread::sleep(Duration::from_millis(10));
                false
            }
        });
        if !is_out {
            _ = Command::new("umount").args(["-l", place]).status();
        }
    }
}

/// Who writes until the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Sled,
    Store,
}

/// What was found on a disk after the cut.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    All { n_acked: u64 },
    Lost(String),
}

fn power_cuts() {
    if let Err(error) = File::options().read(true).write(true).open("/dev/loop-control") {
        panic!("cutting the power needs root and loop devices: cannot open /dev/loop-control: {error}");
    }
    let n_cuts = from_env("MLP_CUTS", 10);
    let mut random = Random::new();
    let n_tries = 10;
    let mut caught = 0;
    for _ in 0..n_tries {
        if let Found::Lost(what) = cut(Writer::Sled, &mut random) {
            println!("bare sled is caught: {what}");
            caught += 1;
            break;
        }
    }
    assert!(caught > 0, "{n_tries} cuts show nothing of what bare sled loses: the harness does not see a power cut");
    let (mut n_acked, mut largest) = (0, 0);
    for n in 0..n_cuts {
        match cut(Writer::Store, &mut random) {
            Found::All { n_acked: n } => {
                n_acked += n;
                largest = largest.max(n);
            }
            Found::Lost(what) => panic!("cut {n}: {what}"),
        }
    }
    println!("{n_cuts} cuts, {n_acked} acknowledged commits (at most {largest} before a cut), 0 lost, 0 failed opens");
    assert!(n_acked > n_cuts, "hardly anything was written before the cuts");
}

/// Lets a writer work on a disk, cuts the power, and looks at the disk.
fn cut(writer: Writer, random: &mut Random) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let (image, copied) = (folder.path().join("disk"), folder.path().join("disk.cut"));
    File::create(&image).unwrap().set_len(96 << 20).unwrap();
    run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
    let before = Mounted::image(&image, &folder.path().join("before"));
    let mut child = start(writer, &before.0);
    let acked = listen(&mut child);
    // From the first acknowledgement on, any moment of the next half second.
    let Ok(first) = acked.recv_timeout(Duration::from_secs(60)) else { panic!("{writer:?} writes nothing") };
    thread::sleep(Duration::from_micros(random.below(500_000)));
    let processes = processes_of(&before.0, "__");
    for process in &processes {
        _ = kill_process(*process, Signal::STOP);
    }
    while !processes.iter().all(|process| stands_still(*process)) {
        thread::sleep(Duration::from_micros(200));
    }
    copy_at_once(&image, &copied, &before);
    for process in processes_of(&before.0, "__").iter().chain(&processes) {
        _ = kill_process(*process, Signal::KILL);
    }
    _ = child.wait();
    // All that was told before they stood still; the end of the writer is the end of what is heard.
    let acked: Vec<u64> = std::iter::once(first).chain(acked).collect();
    drop(before);
    let after = Mounted::image(&copied, &folder.path().join("after"));
    match writer {
        Writer::Sled => look_at_sled(&after.0, &acked),
        Writer::Store => look_at_store(&after.0, &acked),
    }
}

/// Whether no thread of the process runs, be it in the kernel.
fn stands_still(process: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).into_iter().flatten().flatten();
    tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default()).all(|stat| {
        let state = stat.rsplit_once(')').map_or("", |(_, after)| after.trim_start());
        state.is_empty() || state.starts_with(['T', 'Z', 'X'])
    })
}

/// Copies the image as it is at one moment: again, if the kernel wrote to it of its own accord in the meantime.
fn copy_at_once(image: &Path, copied: &Path, disk: &Mounted) {
    for _ in 0..20 {
        let before = disk.writes();
        run("cp", &["--sparse=always", image.to_str().unwrap(), copied.to_str().unwrap()]);
        if disk.writes() == before {
            return;
        }
    }
    panic!("the image is written to, though all who wrote to it stand still");
}

fn start(writer: Writer, workspace: &Path) -> Child {
    let mode = if writer == Writer::Sled { "__write_sled" } else { "__write" };
    Command::new(std::env::current_exe().unwrap()).arg(mode).arg(workspace).stdout(Stdio::piped()).spawn().unwrap()
}

/// Hears what the writer was told is kept.
fn listen(child: &mut Child) -> Receiver<u64> {
    let (sender, receiver) = channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(line.parse().unwrap()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn tell(n: u64) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{n}").and_then(|()| out.flush());
}

fn sled_value(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(40)
}

/// Inserts and flushes until killed.
fn write_to_sled(workspace: &Path) -> ! {
    let db = sled::Config::new().path(workspace.join("db")).flush_every_ms(None).open().unwrap();
    for n in 0_u64.. {
        db.insert(n.to_be_bytes(), sled_value(n)).unwrap();
        db.flush().unwrap();
        tell(n);
    }
    unreachable!("it is killed first");
}

fn look_at_sled(workspace: &Path, acked: &[u64]) -> Found {
    let path = workspace.join("db");
    let looked = std::panic::catch_unwind(|| {
        let db = sled::Config::new().path(path).open().map_err(|error| error.to_string())?;
        let lost = acked.iter().filter(|n| !db.get(n.to_be_bytes()).is_ok_and(|found| found.is_some())).count();
        if lost == 0 { Ok(()) } else { Err(format!("{lost} of {} flushed values are lost", acked.len())) }
    });
    match looked {
        Ok(Ok(())) => Found::All { n_acked: acked.len() as u64 },
        Ok(Err(what)) => Found::Lost(what),
        Err(_) => Found::Lost("it panics when it is opened".to_owned()),
    }
}

fn connect(workspace: &Path) -> Result<Client, StoreError> {
    let (own, path) = (std::env::current_exe().unwrap(), workspace.to_owned());
    let spawn = move || {
        let mut command = Command::new(&own);
        command.arg("__owner").arg(&path);
        spawn_detached(command)
    };
    Client::connect(workspace, Box::new(spawn), Arc::new(SystemClock))
}

/// The `n`th commit: a record, an object in the journal and, now and then, one in a file.
fn commit_of(n: u64) -> (Record, Vec<u8>, Option<Vec<u8>>) {
    let (id, release) = (format!("w-{n}"), "w".into());
    let record = Record::HoldLifted { id, release, version: n, bundle: None, at: Timestamp(0) };
    let small = n.to_string().into_bytes();
    let large = n.is_multiple_of(4).then(|| small.repeat(9_000 / small.len()));
    (record, small, large)
}

/// Commits until killed, a few commits at a time.
fn write_to_store(workspace: &Path) -> ! {
    let client = connect(workspace).unwrap();
    let (sender, receiver) = channel();
    for n in 0_u64.. {
        let (record, small, large) = commit_of(n);
        client.put(&small, Sensitivity::Plain).unwrap();
        if let Some(large) = large {
            client.put(&large, Sensitivity::Plain).unwrap();
        }
        let sender = sender.clone();
        let done = move |result: Result<(), StoreError>| {
            result.unwrap();
            tell(n);
            sender.send(()).unwrap();
        };
        client.commit(vec![record], None, Box::new(done));
        if n >= 3 {
            receiver.recv().unwrap();
        }
    }
    unreachable!("it is killed first");
}

fn look_at_store(workspace: &Path, acked: &[u64]) -> Found {
    let client = match connect(workspace) {
        Ok(client) => client,
        Err(error) => return Found::Lost(format!("it does not open: {error}")),
    };
    let lost = |what: String| Found::Lost(format!("{what}; {} were acknowledged", acked.len()));
    let found: Vec<Record> = match client.release_records("w") {
        Ok(found) => found.into_iter().map(|stored| stored.record).collect(),
        Err(error) => return lost(error.to_string()),
    };
    // An exact prefix of what was ordered, with all that was acknowledged.
    let expected: Vec<_> = (0..found.len() as u64).map(|n| commit_of(n).0).collect();
    if found != expected || acked.iter().any(|n| *n >= found.len() as u64) {
        return lost(format!("{} commits are there, the newest acknowledged is {:?}", found.len(), acked.last()));
    }
    for n in acked {
        let (_, small, large) = commit_of(*n);
        for bytes in std::iter::once(small).chain(large) {
            if client.read(&Digest::of(&bytes)).ok().flatten().as_ref() != Some(&bytes) {
                return lost(format!("an object of commit {n} is not there"));
            }
        }
    }
    let (sender, receiver) = channel();
    client.commit(vec![commit_of(found.len() as u64).0], None, Box::new(move |result| sender.send(result).unwrap()));
    match receiver.recv().unwrap() {
        Ok(()) => Found::All { n_acked: acked.len() as u64 },
        Err(error) => lost(format!("nothing more can be committed: {error}")),
    }
}

fn full_disk() {
    let n_points = from_env("MLP_FULL", 50);
    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::memory(&folder.path().join("small"), 32);
    let client = connect(&disk.0).unwrap();
    let filler = disk.0.join("filler");
    let mut acked: BTreeMap<u64, Option<Digest>> = BTreeMap::new();
    let (mut n, mut n_told, mut longest) = (0, 0, Duration::ZERO);
    let mut commit = |acked: &mut BTreeMap<u64, Option<Digest>>| -> Result<(), StoreError> {
        n += 1;
        let (record, small, _) = commit_of(n);
        client.put(&small, Sensitivity::Plain)?;
        let large = n.is_multiple_of(2).then(|| small.repeat(20_000 / small.len()));
        let large = large.map(|large| client.put(&large, Sensitivity::Plain)).transpose()?;
        let (sender, receiver) = channel();
        client.commit(vec![record], None, Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv().unwrap()?;
        acked.insert(n, large);
        Ok(())
    };
    for point in 0..n_points {
        for _ in 0..random.below(6) {
            commit(&mut acked).unwrap();
        }
        fill(&filler, &disk.0, random.below(700_000));
        // Until it is told, and a few times more.
        let mut n_refused = 0;
        for _ in 0..80 {
            match commit(&mut acked) {
                Ok(()) => {}
                Err(StoreError::DiskFull { .. }) => n_refused += 1,
                Err(other) => panic!("point {point}: a full disk is called something else: {other}"),
            }
            if n_refused == 3 {
                break;
            }
        }
        assert_eq!(n_refused, 3, "point {point}: the disk is full and nobody says so");
        n_told += 1;
        fs::remove_file(&filler).unwrap();
        let freed = Instant::now();
        commit(&mut acked).unwrap_or_else(|error| panic!("point {point}: there is space again, but {error}"));
        longest = longest.max(freed.elapsed());
    }
    let found: Vec<_> = client.release_records("w").unwrap().into_iter().map(|stored| stored.record).collect();
    for (n, large) in &acked {
        let (record, small, _) = commit_of(*n);
        assert_eq!(found.iter().filter(|found| **found == record).count(), 1, "commit {n}");
        for digest in large.iter().chain([&Digest::of(&small)]) {
            assert!(client.read(digest).unwrap().is_some(), "an object of commit {n}");
        }
    }
    assert_eq!(client.stats().unwrap().n_damaged, 0);
    println!("{n_told} times full, {} commits acknowledged, 0 lost; goes on within {longest:?}", acked.len());
}

/// Takes all space but about `left` bytes.
fn fill(filler: &Path, disk: &Path, left: u64) {
    let found = rustix::fs::statvfs(disk).unwrap();
    let size = (found.f_bavail * found.f_frsize).saturating_sub(left);
    let file = File::create(filler).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size.max(1)).unwrap();
}
