//! Which places of the machine a confined step may use besides its own folder: programs, libraries, and what programs
//! expect of a system. Unaware of how that is enforced.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A file or folder, by its real path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub path: PathBuf,
    pub uses: Uses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Uses {
    /// To read and execute.
    Read,
    /// A device, or the folder of shared memory: to read, write and command, too.
    Device,
}

/// Folders of installed software, and what the kernel tells about itself.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/snap",
    "/proc",
    "/sys",
];

/// What libraries read of the machine's settings: names, time zone, certificates, fonts, which program is meant by
/// which name. No keys, no passwords, no start scripts.
const SETTINGS: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "ld-musl-x86_64.path",
    "ld-musl-aarch64.path",
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "conda",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "inputrc",
    "java",
    "javascript",
    "julia",
    "lsb-release",
    "locale.alias",
    "locale.conf",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "OpenCL",
    "openssl",
    "os-release",
    "papersize",
    "passwd",
    "perl",
    "pki",
    "profile",
    "protocols",
    "python",
    "python2.7",
    "python3",
    "R",
    "resolv.conf",
    "rpc",
    "services",
    "ssl",
    "terminfo",
    "timezone",
    "vulkan",
    "xattr.conf",
    "xdg",
    "xml",
    "wgetrc",
    "bash.bashrc",
    "gitconfig",
    "ImageMagick-6",
    "ImageMagick-7",
    "texmf",
    "dictionaries-common",
    "gss",
    "odbcinst.ini",
];

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty", "shm", "dri", "kfd"];

/// The parts of an installation: `PREFIX/bin` on the `PATH` brings these with it.
const PARTS: &[&str] = &[
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libexec",
    "share",
    "include",
    "etc",
    "ssl",
    "Library",
    "conda-meta",
    "condabin",
    "pyvenv.cfg",
];

/// Denials here say nothing about a forgotten input: programs look around in a system and do without.
pub fn is_systems_own(path: &Path) -> bool {
    path == Path::new("/")
        || ["/etc", "/dev", "/var", "/run", "/boot", "/proc", "/sys", "/usr"]
            .iter()
            .any(|folder| path.starts_with(folder))
            && !path.starts_with("/var/tmp")
}

/// Returns all places. `variables` looks up `PATH`, `VIRTUAL_ENV`, `CONDA_PREFIX` and `HOME`.
pub fn places(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<Place> {
    let mut read = Folders::default();
    SYSTEM.iter().for_each(|path| read.add(Path::new(path)));
    SETTINGS.iter().for_each(|name| read.add(&Path::new("/etc").join(name)));
    let home = variable("HOME").and_then(|home| home.canonicalize().ok());
    let path = variable("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path).filter(|folder| folder.is_absolute()) {
        read.add_programs(&folder, home.as_deref());
    }
    for prefix in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable) {
        read.add_programs(&prefix.join("bin"), home.as_deref());
    }
    let mut places: Vec<Place> = read.0.into_iter().map(|path| Place { path, uses: Uses::Read }).collect();
    let named = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    let is_gpu = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nvidia"));
    let gpus = std::fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_gpu);
    let devices = named.chain(gpus).filter_map(|path| path.canonicalize().ok());
    places.extend(devices.map(|path| Place { path, uses: Uses::Device }));
    places
}

/// Real paths, none inside another.
#[derive(Default)]
struct Folders(BTreeSet<PathBuf>);

impl Folders {
    fn holds(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.0.contains(above))
    }

    /// Adds a file or folder, if it exists.
    fn add(&mut self, path: &Path) {
        let Ok(path) = path.canonicalize() else { return };
        // A path of one part would open the machine.
        if path.parent().is_none() || self.holds(&path) {
            return;
        }
        self.0.retain(|other| !other.starts_with(&path));
        self.0.insert(path);
    }

    /// Adds a folder of programs, the installation that it belongs to, and those that its programs lead to by links.
    fn add_programs(&mut self, folder: &Path, home: Option<&Path>) {
        let Ok(folder) = folder.canonicalize() else { return };
        if self.holds(&folder) {
            return;
        }
        self.add_installation(&folder, home);
        let links = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let links = links.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        for target in links.filter_map(|entry| entry.path().canonicalize().ok()) {
            if target.is_file() && !self.holds(&target) {
                self.add(&target);
                if let Some(folder) = target.parent().filter(|folder| folder.file_name() == Some(OsStr::new("bin"))) {
                    self.add_installation(folder, home);
                }
            }
        }
    }

    fn add_installation(&mut self, folder: &Path, home: Option<&Path>) {
        self.add(folder);
        let Some(prefix) = folder.parent() else { return };
        // A project may have programs of its own, but its data is nobody's installation.
        let is_project = ["mlp.yaml", ".mlp", ".git"].iter().any(|name| prefix.join(name).exists());
        let is_home = home.is_some_and(|home| home.starts_with(prefix));
        match folder.file_name().and_then(OsStr::to_str) {
            // The programs of version managers, which lead to what they manage.
            Some("shims") if !is_home => self.add(prefix),
            Some("bin" | "sbin" | "condabin") if !is_home && !(is_project && !prefix.join("pyvenv.cfg").exists()) => {
                // `~/.local/share` holds much that is no program's.
                let is_personal = prefix.file_name() == Some(OsStr::new(".local"));
                for part in PARTS.iter().filter(|part| !(is_personal && matches!(**part, "share" | "etc"))) {
                    self.add(&prefix.join(part));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(path: &str, home: &Path) -> Vec<PathBuf> {
        let variable = |name: &str| match name {
            "PATH" => Some(PathBuf::from(path)),
            "HOME" => Some(home.to_owned()),
            _ => None,
        };
        places(&variable).into_iter().filter(|place| place.uses == Uses::Read).map(|place| place.path).collect()
    }

    #[test]
    fn an_environment_comes_with_its_parts_and_with_the_interpreter_that_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        for made in ["pythons/3.12/bin", "pythons/3.12/lib", "project/.venv/bin", "project/.venv/lib", "project/data"] {
            fs::create_dir_all(home.join(made)).unwrap();
        }
        fs::write(home.join("project/mlp.yaml"), "").unwrap();
        fs::write(home.join("project/.venv/pyvenv.cfg"), "").unwrap();
        fs::write(home.join("pythons/3.12/bin/python3.12"), "").unwrap();
        symlink(home.join("pythons/3.12/bin/python3.12"), home.join("project/.venv/bin/python")).unwrap();
        let found = paths(&format!("/usr/bin:bin:{}", home.join("project/.venv/bin").display()), &home);
        let inside: Vec<_> = found.iter().filter_map(|path| path.strip_prefix(&home).ok()?.to_str()).collect();
        let expected = [
            "project/.venv/bin",
            "project/.venv/lib",
            "project/.venv/pyvenv.cfg",
            "pythons/3.12/bin",
            "pythons/3.12/lib",
        ];
        assert_eq!(inside, expected);
        assert!(found.contains(&PathBuf::from("/usr")) && !found.contains(&PathBuf::from("/usr/bin")));
    }

    #[test]
    fn a_projects_own_programs_do_not_open_the_project_nor_those_of_a_home_the_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        for made in
            ["project/bin", "project/lib", "project/.git", "bin", "lib", ".local/bin", ".local/lib", ".local/share"]
        {
            fs::create_dir_all(home.join(made)).unwrap();
        }
        let path = ["project/bin", "bin", ".local/bin"].map(|name| home.join(name).display().to_string()).join(":");
        let found = paths(&path, &home);
        let inside: Vec<_> = found.iter().filter_map(|path| path.strip_prefix(&home).ok()?.to_str()).collect();
        assert_eq!(inside, [".local/bin", ".local/lib", "bin", "project/bin"]);
    }

    #[test]
    fn a_path_that_names_the_root_opens_nothing() {
        let found = paths("/", Path::new("/nowhere"));
        assert!(!found.contains(&PathBuf::from("/")));
    }
}
