//! Finds the worker program and a libtorch for it, by looking at folders only: no process is started.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use mlp_model::{ErrorClass, StepError, Watched};

/// The version of libtorch that the worker is built for; another one has another binary interface.
pub const LIBTORCH: &str = "2.11.0";

const PROGRAM: &str = "mlp-torch";

/// What torch steps run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The worker.
    pub program: PathBuf,
    /// A folder with libtorch in its `lib`.
    pub libtorch: PathBuf,
    /// The libtorch's version, without what follows `+`.
    pub version: String,
    /// Whether the folder has the CUDA side too.
    pub has_cuda: bool,
    /// Whether this machine shows an NVIDIA GPU to this process. Whether libtorch can use it, only the worker knows.
    pub has_gpu: bool,
    /// Folders for the worker's `LD_LIBRARY_PATH`: libtorch's own first, last those of this process (a GPU's driver may
    /// be there) that hold no other libtorch.
    pub library_folders: Vec<PathBuf>,
}

impl Located {
    /// Returns the device class that `device: auto` stands for.
    pub fn device_class(&self) -> &'static str {
        if self.has_cuda && self.has_gpu { "cuda" } else { "cpu" }
    }
}

/// Looks at this process's environment and machine.
///
/// The program: `MLP_TORCH_WORKER`, else beside the running program, else on the `PATH`. libtorch: `MLP_LIBTORCH`; else
/// a PyTorch of the right version in the active virtual environment or beside the `python3` on the `PATH`; else
/// `.tools/libtorch` in a folder above the running program; else the set-up's folder in the user's data folder.
pub fn locate() -> Result<Located, StepError> {
    locate_in(&Surroundings::of_this_process())
}

/// All that [`locate`] looks at.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `MLP_TORCH_WORKER`.
    pub worker: Option<PathBuf>,
    /// `MLP_LIBTORCH`.
    pub libtorch: Option<PathBuf>,
    /// The running program.
    pub executable: Option<PathBuf>,
    /// The folders of `PATH`.
    pub path: Vec<PathBuf>,
    /// `VIRTUAL_ENV` and `CONDA_PREFIX`.
    pub python_prefixes: Vec<PathBuf>,
    /// The folders of `LD_LIBRARY_PATH`.
    pub library_path: Vec<PathBuf>,
    /// `XDG_DATA_HOME`, or `~/.local/share`.
    pub data_home: Option<PathBuf>,
    pub has_gpu: bool,
}

impl Surroundings {
    pub fn of_this_process() -> Self {
        let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folders = |name: &str| -> Vec<PathBuf> {
            let folders = env::var_os(name).map(|path| env::split_paths(&path).collect::<Vec<_>>());
            folders.unwrap_or_default().into_iter().filter(|folder| folder.is_absolute()).collect()
        };
        let hidden = env::var("CUDA_VISIBLE_DEVICES").is_ok_and(|visible| ["", "-1"].contains(&visible.trim()));
        let has_device = ["/dev/nvidiactl", "/dev/dxg"].iter().any(|device| Path::new(device).exists());
        Self {
            worker: folder("MLP_TORCH_WORKER"),
            libtorch: folder("MLP_LIBTORCH"),
            executable: env::current_exe().ok(),
            path: folders("PATH"),
            library_path: folders("LD_LIBRARY_PATH"),
            python_prefixes: ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(folder).collect(),
            data_home: folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share"))),
            has_gpu: has_device && !hidden,
        }
    }
}

/// Returns everything that decides what [`locate_in`] finds: the variables, and each path it may look at.
pub fn watched(here: &Surroundings) -> Watched {
    let mut paths: BTreeSet<PathBuf> = ["/dev/nvidiactl", "/dev/dxg"].map(PathBuf::from).into();
    paths.extend(here.worker.clone());
    paths.extend(program_places(here));
    // A Python that comes to stand before the one that was found would be taken instead.
    let pythons = here.path.iter().map(|folder| folder.join("python3"));
    let n_looked_at = pythons.clone().position(|python| python.is_file()).map_or(usize::MAX, |found| found + 1);
    paths.extend(pythons.clone().take(n_looked_at));
    let prefix = pythons.take(n_looked_at).last().and_then(|python| Some(python.parent()?.parent()?.to_owned()));
    paths.extend(here.python_prefixes.iter().chain(&prefix).map(|prefix| prefix.join("lib")));
    for folder in here.libtorch.iter().cloned().chain(candidates(here)) {
        for name in ["lib/libtorch_cpu.so", "lib/libtorch_cuda.so", "build-version", "version.py"] {
            paths.insert(folder.join(name));
        }
    }
    Watched { variables: VARIABLES.map(str::to_owned).into(), paths }
}

/// The variables that [`Surroundings::of_this_process`] reads.
const VARIABLES: [&str; 9] = [
    "MLP_TORCH_WORKER",
    "MLP_LIBTORCH",
    "PATH",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "XDG_DATA_HOME",
    "HOME",
    "CUDA_VISIBLE_DEVICES",
];

/// As [`locate`], in given surroundings.
pub fn locate_in(here: &Surroundings) -> Result<Located, StepError> {
    let program = find_program(here)?;
    let (libtorch, version) = find_libtorch(here)?;
    let has_cuda = libtorch.join("lib/libtorch_cuda.so").is_file();
    let mut library_folders = vec![libtorch.join("lib")];
    // PyTorch's own libraries of NVIDIA lie beside it: `site-packages/nvidia/cu13/lib`.
    if let Some(packages) = libtorch.parent() {
        library_folders
            .extend(sub_folders(&packages.join("nvidia")).map(|part| part.join("lib")).filter(|lib| lib.is_dir()));
    }
    let holds_torch = |folder: &Path| ["libtorch_cpu.so", "libc10.so"].iter().any(|name| folder.join(name).exists());
    library_folders.extend(here.library_path.iter().filter(|folder| !holds_torch(folder)).cloned());
    Ok(Located { program, libtorch, version, has_cuda, has_gpu: here.has_gpu, library_folders })
}

fn find_program(here: &Surroundings) -> Result<PathBuf, StepError> {
    if let Some(worker) = &here.worker {
        if worker.is_file() {
            return Ok(worker.clone());
        }
        let message = format!("MLP_TORCH_WORKER names `{}`, which is not there", worker.display());
        return Err(environment("T4012", message).with_help("name the program `mlp-torch`, or unset the variable"));
    }
    program_places(here).into_iter().find(|program| program.is_file()).ok_or_else(|| {
        environment("T4012", format!("the program `{PROGRAM}`, which trains and predicts, is not installed"))
            .with_help("run `runners/setup.sh` in mlp's source folder: it builds and installs it beside `mlp`")
    })
}

/// Returns where the worker may be, the best place first.
fn program_places(here: &Surroundings) -> Vec<PathBuf> {
    let beside = here.executable.as_deref().and_then(Path::parent);
    // Tests run from `target/debug/deps`, one folder below the programs.
    let above = beside.filter(|folder| folder.ends_with("deps")).and_then(Path::parent);
    let folders = beside.into_iter().chain(above).chain(here.path.iter().map(PathBuf::as_path));
    folders.map(|folder| folder.join(PROGRAM)).collect()
}

fn find_libtorch(here: &Surroundings) -> Result<(PathBuf, String), StepError> {
    if let Some(folder) = &here.libtorch {
        return match version_of(folder) {
            Some(version) if version == LIBTORCH => Ok((folder.clone(), version)),
            Some(version) => {
                let message = format!("MLP_LIBTORCH names libtorch {version}, but mlp needs {LIBTORCH}");
                Err(environment("T4013", message).with_help(SET_UP))
            }
            None => {
                let message = format!("MLP_LIBTORCH names `{}`, which holds no libtorch", folder.display());
                Err(environment("T4013", message).with_help(
                    "name a folder with `lib/libtorch_cpu.so` and `build-version`, or PyTorch's `torch` folder",
                ))
            }
        };
    }
    let mut others = Vec::new();
    for folder in candidates(here) {
        match version_of(&folder) {
            Some(version) if version == LIBTORCH => return Ok((folder, version)),
            Some(version) => others.push(format!("{version} in `{}`", folder.display())),
            None => {}
        }
    }
    let found = if others.is_empty() { String::new() } else { format!("; found {}", others.join(", ")) };
    Err(environment("T4011", format!("libtorch {LIBTORCH} was not found{found}")).with_help(SET_UP))
}

const SET_UP: &str =
    "run `runners/setup.sh` in mlp's source folder, or install PyTorch 2.11 (`pip install torch==2.11.0`)";

/// Returns where a libtorch may be, the best place first.
fn candidates(here: &Surroundings) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for prefix in &here.python_prefixes {
        found.extend(torch_folders(prefix));
    }
    let python = here.path.iter().map(|folder| folder.join("python3")).find(|python| python.is_file());
    // The folder above `bin` is the prefix; a virtual environment's `python3` links to another one's.
    if let Some(prefix) = python.as_deref().and_then(Path::parent).and_then(Path::parent) {
        found.extend(torch_folders(prefix));
    }
    if let Some(executable) = &here.executable {
        found.extend(executable.ancestors().skip(1).map(|folder| folder.join(".tools/libtorch")));
    }
    found.extend(here.data_home.as_ref().map(|data| data.join(format!("mlp/libtorch-{LIBTORCH}"))));
    found
}

/// Returns the `torch` packages of a Python, newest Python first.
fn torch_folders(prefix: &Path) -> Vec<PathBuf> {
    let mut pythons: Vec<PathBuf> = sub_folders(&prefix.join("lib"))
        .filter(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")))
        .collect();
    pythons.sort_by_key(|folder| std::cmp::Reverse(minor_version(folder)));
    let packages = ["site-packages/torch", "dist-packages/torch"];
    pythons.iter().flat_map(|python| packages.map(|package| python.join(package))).collect()
}

fn minor_version(python: &Path) -> u32 {
    let name = python.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("python3.").and_then(|minor| minor.parse().ok()).unwrap_or(0)
}

fn sub_folders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.into_iter()
}

/// Returns the version of the libtorch in a folder, or `None` if there is none.
fn version_of(folder: &Path) -> Option<String> {
    if !folder.join("lib/libtorch_cpu.so").is_file() {
        return None;
    }
    let text = match fs::read_to_string(folder.join("build-version")) {
        Ok(text) => text,
        // PyTorch's `version.py` has a line `__version__ = '2.11.0+cu130'`.
        Err(_) => {
            let text = fs::read_to_string(folder.join("version.py")).ok()?;
            let line = text.lines().find(|line| line.starts_with("__version__ ="))?;
            line.split(['\'', '"']).nth(1)?.to_owned()
        }
    };
    text.trim().split('+').next().filter(|version| !version.is_empty()).map(str::to_owned)
}

fn environment(code: &str, message: String) -> StepError {
    StepError::new(ErrorClass::Environment, code, message)
}

/// Returns the worker's `LD_LIBRARY_PATH`.
pub fn library_path(folders: &[PathBuf]) -> Result<OsString, StepError> {
    env::join_paths(folders).map_err(|_| {
        environment("T4013", "the folder of libtorch has a `:` in its path, which the loader cannot take".into())
            .with_help("name a folder without `:` in MLP_LIBTORCH")
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A machine of empty files below a folder.
    struct Machine(TempDir);

    impl Machine {
        fn new() -> Self {
            Self(TempDir::new().unwrap())
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn libtorch(&self, folder: &str, version: &str) {
            self.file(&format!("{folder}/lib/libtorch_cpu.so"), "");
            self.file(&format!("{folder}/build-version"), &format!("{version}\n"));
        }

        fn pytorch(&self, prefix: &str, version: &str) {
            let packages = format!("{prefix}/lib/python3.12/site-packages");
            self.file(&format!("{packages}/torch/lib/libtorch_cpu.so"), "");
            self.file(&format!("{packages}/torch/lib/libtorch_cuda.so"), "");
            self.file(
                &format!("{packages}/torch/version.py"),
                &format!("from x import y\n__version__ = '{version}'\n"),
            );
            self.file(&format!("{packages}/nvidia/cu13/lib/libcudart.so.13"), "");
            self.file(&format!("{packages}/nvidia/README"), "");
        }

        /// An installed mlp and its worker, nothing else.
        fn surroundings(&self) -> Surroundings {
            self.file("home/.cargo/bin/mlp-torch", "");
            Surroundings {
                executable: Some(self.path("home/.cargo/bin/mlp")),
                data_home: Some(self.path("home/.local/share")),
                path: vec![self.path("usr/bin")],
                ..Surroundings::default()
            }
        }
    }

    #[test]
    fn the_nearest_libtorch_of_the_right_version_is_taken() {
        let machine = Machine::new();
        let mut here = machine.surroundings();
        assert_eq!(locate_in(&here).unwrap_err().code, "T4011");

        let found = |here: &Surroundings| locate_in(here).unwrap().libtorch;
        machine.libtorch("home/.local/share/mlp/libtorch-2.11.0", "2.11.0");
        assert_eq!(found(&here), machine.path("home/.local/share/mlp/libtorch-2.11.0"));
        machine.libtorch("home/.tools/libtorch", "2.11.0+cpu");
        assert_eq!(found(&here), machine.path("home/.tools/libtorch"));

        machine.file("usr/bin/python3", "");
        machine.pytorch("usr", "2.10.0+cu130");
        assert_eq!(found(&here), machine.path("home/.tools/libtorch"), "another version has another interface");
        machine.pytorch("usr", "2.11.0+cu130");
        assert_eq!(found(&here), machine.path("usr/lib/python3.12/site-packages/torch"));

        machine.pytorch("venv", "2.11.0");
        here.python_prefixes = vec![machine.path("venv")];
        assert_eq!(found(&here), machine.path("venv/lib/python3.12/site-packages/torch"));

        machine.libtorch("mine", "2.11.0");
        here.libtorch = Some(machine.path("mine"));
        assert_eq!(found(&here), machine.path("mine"));
    }

    #[test]
    fn pytorchs_own_libraries_are_on_the_path_and_its_gpu_side_is_used_where_there_is_one() {
        let machine = Machine::new();
        let mut here = machine.surroundings();
        machine.pytorch("venv", "2.11.0+cu130");
        here.python_prefixes = vec![machine.path("venv")];
        let packages = machine.path("venv/lib/python3.12/site-packages");
        let located = locate_in(&here).unwrap();
        assert_eq!(located.version, "2.11.0");
        assert_eq!(located.library_folders, [packages.join("torch/lib"), packages.join("nvidia/cu13/lib")]);
        assert_eq!(located.device_class(), "cpu");
        here.has_gpu = true;
        assert_eq!(locate_in(&here).unwrap().device_class(), "cuda");

        machine.libtorch("other", "2.4.0");
        here.library_path = vec![machine.path("other/lib"), machine.path("driver/lib64")];
        assert_eq!(locate_in(&here).unwrap().library_folders[2..], [machine.path("driver/lib64")]);
    }

    #[test]
    fn what_a_variable_names_is_used_or_refused() {
        let machine = Machine::new();
        let here = machine.surroundings();
        machine.libtorch("home/.tools/libtorch", "2.11.0");
        machine.libtorch("old", "2.4.0");
        let refuse = |name: &str| {
            let libtorch = Some(machine.path(name));
            locate_in(&Surroundings { libtorch, ..here.clone() }).unwrap_err()
        };
        assert_eq!(refuse("old").message, "MLP_LIBTORCH names libtorch 2.4.0, but mlp needs 2.11.0");
        assert!(refuse("nowhere").message.ends_with("which holds no libtorch"));

        let error = locate_in(&Surroundings { worker: Some(machine.path("gone")), ..here.clone() }).unwrap_err();
        assert_eq!((error.code.as_str(), error.class), ("T4012", ErrorClass::Environment));
        machine.file("my-worker", "");
        let located = locate_in(&Surroundings { worker: Some(machine.path("my-worker")), ..here }).unwrap();
        assert_eq!(located.program, machine.path("my-worker"));
    }

    #[test]
    fn a_missing_piece_says_how_to_get_it() {
        let machine = Machine::new();
        let here = machine.surroundings();
        machine.libtorch("home/.tools/libtorch", "2.4.0");
        let error = locate_in(&here).unwrap_err();
        let folder = machine.path("home/.tools/libtorch");
        assert_eq!(error.message, format!("libtorch 2.11.0 was not found; found 2.4.0 in `{}`", folder.display()));
        assert!(error.help.unwrap().contains("runners/setup.sh"));

        fs::remove_file(machine.path("home/.cargo/bin/mlp-torch")).unwrap();
        let error = locate_in(&here).unwrap_err();
        assert_eq!((error.code.as_str(), error.class), ("T4012", ErrorClass::Environment));
        machine.file("usr/bin/mlp-torch", "");
        assert_eq!(locate_in(&here).unwrap_err().code, "T4011", "the worker on the PATH is found");
    }
}
