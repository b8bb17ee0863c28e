//! What a step is kept from, and how well this kernel can do it.
//!
//! The ladder, best first. Everything works without privileges:
//!
//! 1. Landlock (Linux 5.13) and a filter that asks (5.5): files are refused by the kernel and named by the
//!    [witness](crate::witness); the network is refused as a whole.
//! 2. Landlock and a filter that cannot ask, as inside another sandbox: as above, but nobody names what was refused.
//! 3. Landlock alone: files; of the network, TCP (6.7).
//! 4. A filter that asks, without Landlock: the witness refuses what it would else only name. This finds mistakes, but
//!    does not hold a program that wants out, and says nothing about removing and renaming.
//! 5. Neither: nothing is refused, and the first step says so.
//!
//! Unaware of what a step reads and writes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use crate::Means;
use crate::filter::{Asks, Filter};
use crate::landlock::{
    ALL, IOCTL_DEV, Landlock, MAKE_REG, READ, READ_DIR, READ_FILE, REMOVE_FILE, Ruleset, TRUNCATE, WRITE_FILE,
};
use crate::places::{self, Place, Uses};
use crate::sandbox::Sandbox;

/// What this machine can keep steps from, looked up once.
pub struct Confinement {
    landlock: Option<Landlock>,
    /// Without and with the network; `None` where the kernel has no filters.
    filters: Option<[Filter; 2]>,
    level: Level,
    places: Vec<Opened>,
}

/// How well steps are confined on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Files and network are refused, and the message names what was.
    Full,
    /// Files and network are refused; what was refused can only be guessed from what the program says.
    Nameless,
    /// Files are refused; of the network nothing or only TCP.
    FilesOnly { tcp: bool },
    /// Opening undeclared files is refused, but not so that it holds a hostile program.
    Loose,
    /// Nothing is refused.
    None,
}

impl Level {
    /// Says what is lacking, as a sentence; `None` if nothing is.
    pub fn lack(self) -> Option<&'static str> {
        match self {
            Self::Full => None,
            Self::Nameless => Some(
                "steps are confined, but what they are refused cannot be named: another sandbox around mlp already \
                 listens to its system calls.",
            ),
            Self::FilesOnly { tcp: true } => Some(
                "steps are confined to their files and kept from TCP, but not from the rest of the network: the kernel \
                 has no seccomp filters.",
            ),
            Self::FilesOnly { tcp: false } => Some(
                "steps are confined to their files, but not kept from the network: the kernel has no seccomp filters.",
            ),
            Self::Loose => Some(
                "the kernel has no Landlock (Linux 5.13, and `landlock` among its `lsm=`): opening undeclared files is \
                 refused and named, but a program that wants out is not held.",
            ),
            Self::None => Some(
                "steps are not confined: the kernel has neither Landlock (Linux 5.13) nor seccomp filters that ask \
                 (Linux 5.5). Undeclared files that a step reads go unnoticed.",
            ),
        }
    }

    /// Says how well steps are confined, in a few words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Full => "files and network, by Landlock and seccomp",
            Self::Nameless => "files and network, by Landlock and seccomp; refused files are not named",
            Self::FilesOnly { tcp: true } => "files and TCP, by Landlock",
            Self::FilesOnly { tcp: false } => "files, by Landlock",
            Self::Loose => "undeclared files are refused by seccomp alone",
            Self::None => "steps are not confined",
        }
    }
}

struct Opened {
    place: Place,
    file: File,
    is_folder: bool,
}

impl Confinement {
    /// Asks the kernel what it can do, and looks for programs. `variable` looks up the environment of `mlp`.
    pub fn probe(means: Means, variable: &dyn Fn(&str) -> Option<PathBuf>) -> Self {
        let (landlock, has_filters, asks) = Self::offered(means);
        let level = Self::level_of(means);
        let filters =
            (has_filters && level != Level::None).then(|| [false, true].map(|network| Filter::new(network, asks)));
        let open = |place: Place| {
            let file = File::options().read(true).custom_flags(libc::O_PATH).open(&place.path).ok()?;
            let is_folder = file.metadata().ok()?.is_dir();
            Some(Opened { place, file, is_folder })
        };
        let places = if level == Level::None { Vec::new() } else { places::places(variable) };
        Self { landlock, filters, level, places: places.into_iter().filter_map(open).collect() }
    }

    fn offered(means: Means) -> (Option<Landlock>, bool, Option<Asks>) {
        let (has_filters, asks) = if means.filters { Asks::probe() } else { (false, None) };
        (Landlock::probe().ok().filter(|_| means.landlock), has_filters, asks.filter(|_| means.asks))
    }

    /// Asks the kernel how well it could confine a step.
    pub fn level_of(means: Means) -> Level {
        match Self::offered(means) {
            (Some(_), _, Some(_)) => Level::Full,
            (Some(_), true, None) => Level::Nameless,
            (Some(landlock), false, None) => Level::FilesOnly { tcp: landlock.knows_tcp() },
            (None, _, Some(_)) => Level::Loose,
            (None, _, None) => Level::None,
        }
    }

    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns the rules of a step that works in `sandbox`. `beside`: the folder of the pipeline.
    pub fn rules<'a>(&'a self, sandbox: &'a Sandbox, network: bool, beside: Option<&'a Path>) -> io::Result<Rules<'a>> {
        let folder = &sandbox.folder;
        let ruleset = match self.landlock {
            Some(landlock) => Some(sandbox.ruleset(network, || self.ruleset(landlock, folder, network))?),
            None => None,
        };
        let filter = self.filters.as_ref().map(|[without, with]| if network { with } else { without });
        Ok(Rules { ruleset, filter, folder, beside, places: &self.places })
    }

    fn ruleset(&self, landlock: Landlock, folder: &Path, network: bool) -> io::Result<Ruleset> {
        let ruleset = landlock.ruleset(network)?;
        for opened in &self.places {
            let uses = match opened.place.uses {
                Uses::Read => READ,
                Uses::Device => READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | IOCTL_DEV | MAKE_REG | REMOVE_FILE,
            };
            ruleset.allow(opened.file.as_fd(), opened.is_folder, uses)?;
        }
        let own = File::options().read(true).custom_flags(libc::O_PATH).open(folder)?;
        ruleset.allow(own.as_fd(), true, ALL)?;
        Ok(ruleset)
    }
}

/// The rules of one step.
pub struct Rules<'a> {
    ruleset: Option<&'a Ruleset>,
    pub filter: Option<&'a Filter>,
    folder: &'a Path,
    beside: Option<&'a Path>,
    places: &'a [Opened],
}

impl Rules<'_> {
    pub fn ruleset(&self) -> Option<BorrowedFd<'_>> {
        self.ruleset.map(AsFd::as_fd)
    }

    /// Returns whether the kernel refuses what is not allowed. Otherwise the witness has to.
    pub fn are_the_kernels(&self) -> bool {
        self.ruleset.is_some()
    }

    /// Returns whether a file may be used, by its real path.
    pub fn allow(&self, path: &Path, writes: bool) -> bool {
        self.is_own(path)
            || self
                .places
                .iter()
                .any(|opened| path.starts_with(&opened.place.path) && (!writes || opened.place.uses == Uses::Device))
    }

    /// Returns whether a path is in the step's folder.
    pub fn is_own(&self, path: &Path) -> bool {
        path.starts_with(self.folder)
    }

    /// Returns what a path in the step's folder would be in the folder of the pipeline, if it is there, and whether it is
    /// a folder.
    pub fn beside_the_pipeline(&self, path: &Path) -> Option<(PathBuf, bool)> {
        let inside = path.strip_prefix(self.folder).ok()?;
        let is_plain = inside.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let path = self.beside.filter(|_| is_plain)?.join(inside).canonicalize().ok()?;
        let found = path.metadata().ok()?;
        (found.is_file() || found.is_dir()).then(|| (path, found.is_dir()))
    }

    /// Returns whether a file can be read, if it exists, as far as its name alone says it. For the many files that a
    /// program opens when it starts.
    pub fn surely_allow_reading(&self, path: &Path) -> bool {
        const PREFIXES: [&[u8]; 8] =
            [b"/usr/", b"/lib/", b"/lib64/", b"/proc/", b"/dev/", b"/sys/", b"/opt/", b"/etc/ld.so."];
        let bytes = path.as_os_str().as_bytes();
        PREFIXES.iter().any(|prefix| bytes.starts_with(prefix)) && !bytes.windows(4).any(|part| part == b"/../")
    }
}
