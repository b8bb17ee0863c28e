//! What the tests of this crate share: records, random numbers from a seed, file operations that fail on demand, and
//! stores whose owner is a thread.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mlp_model::{
    ArtifactKind, Claim, CommitGuard, Digest, GateCounts, InputRecord, KeyId, OutputRecord, Record, RunId, RunStatus,
    StepCounts, StepId, StepResult, Store, StoreError, Timestamp,
};
use tempfile::TempDir;

use crate::failure::lock;
use crate::filesystem::Filesystem;
use crate::fs::{Access, FileStat, Fs, FsFile, RealFs};
use crate::journal::group::ClientId;
use crate::ledger::Commit;
use crate::{Client, SystemClock, serve_owner_on};

pub(crate) fn digest(n: u64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

pub(crate) fn key(n: u64) -> KeyId {
    KeyId(digest(n + 1_000_000))
}

pub(crate) fn run(n: u64) -> RunId {
    RunId(format!("{n:012x}"))
}

pub(crate) fn step(name: &str) -> StepId {
    StepId { pipeline: "churn".into(), step: name.into() }
}

/// A step that read artifact `n` and made artifact `n + 1`.
pub(crate) fn finished(run_no: u64, n: u64) -> Record {
    let input = InputRecord { name: "data".into(), digest: digest(n), shown: "raw.out".into() };
    let output = OutputRecord { name: "out".into(), digest: digest(n + 1), kind: ArtifactKind::Table, size_bytes: n };
    let result = StepResult {
        key: key(n),
        key_object: digest(n),
        op: "sql".into(),
        attempt: 1,
        inputs: vec![input.clone(), InputRecord { name: "again".into(), ..input }],
        outputs: vec![output],
        facts: BTreeMap::from([("rows".into(), n as f64 + 0.1)]),
        environment: BTreeMap::new(),
        seconds: 0.5,
        peak_mem_bytes: None,
        at: Timestamp(5),
    };
    Record::StepFinished { run: run(run_no), step: step("clean"), result }
}

pub(crate) fn run_started(run_no: u64) -> Record {
    Record::RunStarted {
        run: run(run_no),
        pipeline: "churn".into(),
        file: "churn.mlp".into(),
        params: BTreeMap::new(),
        trigger: "by hand".into(),
        mlp_version: "0.1.0".into(),
        host: "here".into(),
        at: Timestamp(4),
    }
}

pub(crate) fn run_finished(run_no: u64) -> Record {
    Record::RunFinished {
        run: run(run_no),
        status: RunStatus::Succeeded,
        steps: StepCounts::default(),
        gates: GateCounts::default(),
        seconds: 1.0,
        at: Timestamp(9),
    }
}

pub(crate) fn released(release: &str, version: u64) -> Record {
    let id = format!("{release}-{version}");
    Record::Released { id, release: release.into(), version, bundle: digest(version), run: run(1), at: Timestamp(6) }
}

pub(crate) fn commit(no: u64, records: &[Record]) -> Commit {
    Commit {
        client: ClientId("test".into()),
        no,
        acked_below: no,
        resent: false,
        guard: None,
        from: None,
        records: records.iter().map(|record| serde_json::to_vec(record).unwrap()).collect(),
        blobs: Vec::new(),
    }
}

/// Random numbers; the same for the same seed (splitmix64).
pub(crate) struct Random(pub u64);

impl Random {
    /// Takes the seed from `MLP_SEED`, or draws and prints one.
    pub fn new(test: &str) -> Self {
        let drawn = || u64::from(std::process::id()) << 20 ^ SystemClock.now_ms();
        let seed = std::env::var("MLP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(drawn);
        println!("{test}: MLP_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % end
    }
}

impl SystemClock {
    fn now_ms(self) -> u64 {
        crate::Clock::now(&self).0.cast_unsigned()
    }
}

/// Flips one bit of a file; says where.
pub(crate) fn flip(path: &Path, random: &mut Random) -> String {
    let mut bytes = std::fs::read(path).unwrap();
    let bit = random.below(bytes.len() as u64 * 8);
    bytes[bit as usize / 8] ^= 1 << (bit % 8);
    replace(path, &bytes);
    format!("bit {bit} of {}", path.display())
}

/// Writes a file that may be read-only, without its times telling.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let found = std::fs::metadata(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(found.modified().unwrap()).unwrap();
    std::fs::set_permissions(path, found.permissions()).unwrap();
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The real file operations, but the Nth from now on fails, and perhaps all after it.
#[derive(Default)]
pub(crate) struct FailingFs(Arc<Trigger>);

#[derive(Default)]
struct Trigger {
    /// Operations until the failure; negative: never.
    left: AtomicI64,
    errno: AtomicI64,
    is_lasting: AtomicBool,
    n_failed: AtomicU64,
}

impl FailingFs {
    pub fn new() -> Arc<Self> {
        let fs = Self::default();
        fs.disarm();
        Arc::new(fs)
    }

    pub fn arm(&self, nth: i64, errno: rustix::io::Errno, is_lasting: bool) {
        self.0.errno.store(i64::from(errno.raw_os_error()), Ordering::SeqCst);
        self.0.is_lasting.store(is_lasting, Ordering::SeqCst);
        self.0.n_failed.store(0, Ordering::SeqCst);
        self.0.left.store(nth, Ordering::SeqCst);
    }

    /// Returns how many operations have failed, and lets all others pass.
    pub fn disarm(&self) -> u64 {
        self.0.left.store(-1, Ordering::SeqCst);
        self.0.n_failed.load(Ordering::SeqCst)
    }
}

impl Trigger {
    fn check(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            (left > 1 || left == 1 && !self.is_lasting.load(Ordering::SeqCst))
                .then(|| if left == 1 { -1 } else { left - 1 })
        });
        // 1 is the operation to fail; it stays there if all later ones are to fail too.
        if left == Ok(1) || left == Err(1) {
            self.n_failed.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(self.errno.load(Ordering::SeqCst) as i32));
        }
        Ok(())
    }
}

impl Fs for FailingFs {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn FsFile>> {
        self.0.check()?;
        Ok(Box::new(FailingFile(RealFs.create(path, mode)?, self.0.clone())))
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        self.0.check()?;
        Ok(Box::new(FailingFile(RealFs.open(path, access)?, self.0.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.check().and_then(|()| RealFs.rename(from, to))
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.check().and_then(|()| RealFs.remove_file(path))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.check().and_then(|()| RealFs.create_dir(path))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.check().and_then(|()| RealFs.sync_dir(path))
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.0.check().and_then(|()| RealFs.set_mode(path, mode))
    }
    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.0.check().and_then(|()| RealFs.stat(path))
    }
    fn filesystem(&self, path: &Path) -> io::Result<Filesystem> {
        self.0.check().and_then(|()| RealFs.filesystem(path))
    }
}

struct FailingFile(Box<dyn FsFile>, Arc<Trigger>);

impl FsFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.check().and_then(|()| self.0.read_at(buffer, offset))
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.check().inspect_err(|_| {
            // A write that fails has often written a part.
            _ = self.0.write_all_at(&bytes[..bytes.len() / 2], offset);
        })?;
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.check().and_then(|()| self.0.sync())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.check().and_then(|()| self.0.set_len(len))
    }
    fn stat(&self) -> io::Result<FileStat> {
        self.1.check().and_then(|()| self.0.stat())
    }
}

type Owners = Arc<Mutex<Vec<JoinHandle<Result<(), StoreError>>>>>;

/// A workspace whose owner is a thread of the test.
pub(crate) struct Workspace {
    pub folder: TempDir,
    owners: Owners,
}

impl Workspace {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), owners: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn store(&self) -> PathBuf {
        self.path().join(".mlp")
    }

    pub fn client(&self) -> Client {
        self.client_on(Arc::new(RealFs))
    }

    /// Connects a client over `fs`; its owner uses the real file operations.
    pub fn client_on(&self, fs: Arc<dyn Fs>) -> Client {
        self.try_client(fs, Arc::new(RealFs)).unwrap()
    }

    pub fn try_client(&self, of_client: Arc<dyn Fs>, of_owner: Arc<dyn Fs>) -> Result<Client, StoreError> {
        let (workspace, owners) = (self.path().to_owned(), self.owners.clone());
        let spawn = move || {
            let (workspace, fs) = (workspace.clone(), of_owner.clone());
            let serve = move || serve_owner_on(fs, &workspace, Duration::ZERO, Arc::new(SystemClock));
            lock(&owners).push(thread::spawn(serve));
            Ok(())
        };
        Client::connect_on(of_client, self.path(), Box::new(spawn), Arc::new(SystemClock))
    }

    /// Waits until all owners have left, and returns how the last one did.
    pub fn join_owners(&self) -> Result<(), StoreError> {
        let owners = std::mem::take(&mut *lock(&self.owners));
        owners.into_iter().map(|owner| owner.join().unwrap()).last().unwrap_or(Ok(()))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // The folder can be removed only when nobody writes into it any more.
        if !thread::panicking() {
            _ = self.join_owners();
        }
    }
}

pub(crate) fn commit_and_wait(client: &Client, records: Vec<Record>) -> Result<(), StoreError> {
    commit_guarded(client, records, None)
}

pub(crate) fn commit_guarded(
    client: &Client,
    records: Vec<Record>,
    guard: Option<CommitGuard>,
) -> Result<(), StoreError> {
    let (sender, receiver) = channel();
    client.commit(records, guard, Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}

/// Asks for a key; the answer comes over the channel.
pub(crate) fn claim(client: &Client, key: KeyId) -> std::sync::mpsc::Receiver<Result<Claim, StoreError>> {
    let (sender, receiver) = channel();
    client.claim(key, Vec::new(), Box::new(move |answer| _ = sender.send(answer)));
    receiver
}
