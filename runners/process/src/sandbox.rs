//! The folders in which steps run: `in/`, `out/`, `tmp/`.
//!
//! Making a folder of folders, the rules about it, and removing it all again costs more than starting a shell. So where
//! the runner is given a place for them, a folder is emptied after its step and serves the next one. It does so only if
//! nothing tells it from a new one: the step has succeeded, none of its processes can be left, the folders are the same
//! as before, and nothing is in them. Otherwise it is removed, and the next step gets a new one.
//!
//! Unaware of what a step reads and writes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::landlock::Ruleset;

const PARTS: [&str; 3] = ["in", "out", "tmp"];
/// More than that many are not kept for later steps.
const MAX_FREE: usize = 64;
const MAX_SPARE: usize = 16;

/// Where the folders of steps are made: on the filesystem on which the work folders are.
#[derive(Clone)]
pub struct Workshop {
    /// Makes an empty folder.
    pub make: Arc<dyn Fn() -> io::Result<PathBuf> + Send + Sync>,
    /// Removes such a folder with all it holds.
    pub remove: Arc<dyn Fn(&Path) + Send + Sync>,
}

/// The folders of a runner.
#[derive(Default)]
pub struct Sandboxes {
    workshop: Option<Workshop>,
    free: Mutex<Vec<Sandbox>>,
}

/// One folder. What does not go back to [`Sandboxes`] is removed when dropped, if it is ours.
pub struct Sandbox {
    /// The step's working folder, by its real path.
    pub folder: PathBuf,
    /// By name of an input or output: its path, relative to the working folder.
    pub paths: BTreeMap<String, String>,
    /// Where outputs go: a folder of the step that is to be made, if it is not there.
    pub outputs: PathBuf,
    /// Without and with the network.
    rulesets: [OnceLock<Ruleset>; 2],
    /// Set, if the folder may serve again.
    kept: Option<Kept>,
}

struct Kept {
    workshop: Workshop,
    /// What the workshop has made; it holds the folder.
    home: PathBuf,
    /// Of the folder and its parts.
    marks: Vec<Mark>,
    /// Files that were copies of inputs, with any bytes. They stand beside the folder, out of reach. A filesystem that does
    /// not give the place of a removed file away soon has to look for another one longer and longer (ext4 is one).
    spares: RefCell<Vec<PathBuf>>,
    n_spared: Cell<u64>,
}

/// What tells a folder from another one, or from itself after somebody has changed more than its content.
#[derive(PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    owner: (u32, u32),
    attributes: Vec<u8>,
}

impl Sandboxes {
    pub fn new(workshop: Workshop) -> Self {
        Self { workshop: Some(workshop), free: Mutex::default() }
    }

    pub fn workshop(&self) -> Option<Workshop> {
        self.workshop.clone()
    }

    /// Returns an empty folder for a step whose results go to `work_dir`.
    pub fn take(&self, work_dir: &Path) -> io::Result<Sandbox> {
        let work_dir = std::path::absolute(work_dir)?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match (free, &self.workshop) {
            (Some(free), _) => Ok(Sandbox { outputs: work_dir, paths: BTreeMap::new(), ..free }),
            (None, Some(workshop)) => {
                let home = (workshop.make)()?;
                let made = make(&home.join("sh"), &PARTS).and_then(|folder| {
                    let marks = marks(&folder)?;
                    Ok((folder, marks))
                });
                let (folder, marks) = made.inspect_err(|_| (workshop.remove)(&home))?;
                let workshop = workshop.clone();
                let kept = Kept { workshop, home, marks, spares: RefCell::default(), n_spared: Cell::new(0) };
                Ok(Sandbox { kept: Some(kept), ..Sandbox::new(folder, work_dir) })
            }
            (None, None) => Sandbox::make(&work_dir, &PARTS),
        }
    }

    /// Takes the folder of a step back that has succeeded and of which no process is left.
    pub fn give_back(&self, sandbox: Sandbox) {
        let is_new = sandbox.kept.as_ref().is_some_and(|kept| kept.empty(&sandbox.folder).is_ok());
        if is_new {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < MAX_FREE {
                free.push(sandbox);
            }
        }
    }
}

impl Sandbox {
    /// Makes a folder in the work folder, with which it goes: that is not ours to remove.
    pub fn make(work_dir: &Path, parts: &[&str]) -> io::Result<Self> {
        let work_dir = std::path::absolute(work_dir)?;
        Ok(Self::new(make(&work_dir.join("sh"), parts)?, work_dir.join("outputs")))
    }

    fn new(folder: PathBuf, outputs: PathBuf) -> Self {
        Self { folder, paths: BTreeMap::new(), outputs, rulesets: Default::default(), kept: None }
    }

    /// Whether the pipeline says where this output stands.
    pub fn is_placed(&self, output: &str) -> bool {
        self.paths.get(output).is_some_and(|path| path.strip_prefix("out/") != Some(output))
    }

    /// Makes an empty file in the folder, where none is.
    pub fn make_file(&self, path: &Path) -> io::Result<File> {
        match self.kept.as_ref().and_then(|kept| kept.use_spare(path)) {
            Some(file) => Ok(file),
            None => File::create_new(path),
        }
    }

    /// Returns the rules for this folder, which `make` makes the first time.
    pub fn ruleset(&self, network: bool, make: impl FnOnce() -> io::Result<Ruleset>) -> io::Result<&Ruleset> {
        let place = &self.rulesets[usize::from(network)];
        match place.get() {
            Some(ruleset) => Ok(ruleset),
            None => {
                let ruleset = make()?;
                Ok(place.get_or_init(|| ruleset))
            }
        }
    }
}

impl Kept {
    /// Removes everything in the folder and its parts. An error means that the folder is not as it was made.
    fn empty(&self, folder: &Path) -> io::Result<()> {
        if marks(folder)? != self.marks {
            return Err(ErrorKind::Other.into());
        }
        let parts = PARTS.map(|part| folder.join(part));
        for place in [folder].into_iter().chain(parts.iter().map(PathBuf::as_path)) {
            let opened = File::open(place)?;
            if opened.metadata()?.permissions().mode() & 0o7777 != 0o755 {
                opened.set_permissions(Permissions::from_mode(0o755))?;
            }
            for entry in fs::read_dir(place)? {
                let entry = entry?;
                if place == folder && PARTS.iter().any(|part| entry.file_name() == *part) {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else if place != parts[0] || !self.spare(&entry.path()) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Keeps a file of `in/` for the next input, if nothing tells it from a new one but its bytes and its mode.
    fn spare(&self, file: &Path) -> bool {
        let mut spares = self.spares.borrow_mut();
        let user = rustix::process::geteuid().as_raw();
        let is_plain = fs::symlink_metadata(file)
            .is_ok_and(|found| found.is_file() && found.nlink() == 1 && found.uid() == user)
            && attributes(file).is_ok_and(|attributes| attributes == self.marks[0].attributes);
        if !is_plain || spares.len() >= MAX_SPARE {
            return false;
        }
        self.n_spared.set(self.n_spared.get() + 1);
        let place = self.home.join(format!("spare-{}", self.n_spared.get()));
        let is_kept = fs::rename(file, &place).is_ok();
        if is_kept {
            spares.push(place);
        }
        is_kept
    }

    /// Puts a spare file, emptied, at `to`.
    fn use_spare(&self, to: &Path) -> Option<File> {
        let spare = self.spares.borrow_mut().pop()?;
        fs::set_permissions(&spare, Permissions::from_mode(0o600)).ok()?;
        let file = File::options().write(true).truncate(true).open(&spare).ok()?;
        fs::rename(&spare, to).ok()?;
        Some(file)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        (self.workshop.remove)(&self.home);
    }
}

fn make(folder: &Path, parts: &[&str]) -> io::Result<PathBuf> {
    fs::create_dir(folder)?;
    for part in parts {
        fs::create_dir(folder.join(part))?;
    }
    folder.canonicalize()
}

/// Of the folder and its parts, which must be there.
fn marks(folder: &Path) -> io::Result<Vec<Mark>> {
    let parts = PARTS.map(|part| folder.join(part));
    [folder].into_iter().chain(parts.iter().map(PathBuf::as_path)).map(mark).collect()
}

fn mark(folder: &Path) -> io::Result<Mark> {
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let owner = (found.uid(), found.gid());
    Ok(Mark { device: found.dev(), inode: found.ino(), owner, attributes: attributes(folder)? })
}

/// Returns the names of the extended attributes: access control lists are among them.
fn attributes(path: &Path) -> io::Result<Vec<u8>> {
    let mut attributes = vec![0; 1 << 10];
    let n_bytes = match rustix::fs::llistxattr(path, &mut attributes[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    attributes.truncate(n_bytes);
    Ok(attributes)
}
