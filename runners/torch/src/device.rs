//! Which device a step runs on, and what libtorch found on this machine.
//!
//! The program is linked to libtorch's CPU library only, so that it starts where there is no CUDA. When the folder that
//! library was loaded from also has `libtorch_cuda.so`, and there is a GPU, that one is loaded before the first use.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mlp_model::{ErrorClass, StartStep, StepError};
use serde_json::{Value, json};
use tch::Device;

use crate::fault::Fault;

/// The version that `tch` is made for, where the folder does not tell.
const LIBTORCH: &str = "2.11.0";

/// A device, and its name for lineage: `cpu`, or the GPU's.
#[derive(Debug)]
pub struct Chosen {
    pub device: Device,
    pub name: String,
}

/// Takes the device that the step's environment declares, and fixes the number of threads.
pub fn prepare(step: &StartStep) -> Result<Chosen, Fault> {
    set_threads(step)?;
    let asked = step.environment.get("device").map(String::as_str);
    let asked = asked.or_else(|| step.params.get("device").and_then(|value| value.as_str())).unwrap_or("auto");
    match asked {
        "cpu" => Ok(Chosen { device: Device::Cpu, name: "cpu".into() }),
        "cuda" | "auto" => match cuda() {
            Ok(()) => Ok(Chosen { device: Device::Cuda(0), name: gpu_name() }),
            Err(_) if asked == "auto" => Ok(Chosen { device: Device::Cpu, name: "cpu".into() }),
            Err(why) => Err(StepError::new(ErrorClass::Environment, "T4010", format!("no CUDA device to use: {why}"))
                .with_argument("device")
                .with_help("write `device: cpu` or `device: auto`, or see `mlp doctor`")
                .into()),
        },
        other => Err(Fault::bug(format!("the torch worker knows no device `{other}`"))),
    }
}

/// Returns the number of threads that a step declares; sums depend on it.
pub fn threads(step: &StartStep) -> Result<i32, Fault> {
    let declared = step.environment.get("threads").and_then(|text| text.parse::<i64>().ok());
    let declared = declared.or_else(|| step.params.get("threads").and_then(|value| value.as_int()));
    let threads = i32::try_from(declared.unwrap_or(1)).ok().filter(|threads| *threads > 0);
    threads.ok_or_else(|| Fault::bug("the step's number of threads is not at least 1"))
}

fn set_threads(step: &StartStep) -> Result<(), Fault> {
    tch::set_num_threads(threads(step)?);
    Ok(())
}

/// Returns why CUDA cannot be used; decided once.
fn cuda() -> Result<(), &'static str> {
    static STATE: OnceLock<Result<(), String>> = OnceLock::new();
    STATE.get_or_init(load_cuda).as_ref().copied().map_err(String::as_str)
}

fn load_cuda() -> Result<(), String> {
    let folder = libtorch_folder().ok_or("the folder of libtorch was not found")?;
    let library = folder.join("lib/libtorch_cuda.so");
    if !library.exists() {
        return Err(format!("the libtorch in `{}` is for the CPU only", folder.display()));
    }
    if !Path::new("/dev/nvidiactl").exists() && !Path::new("/dev/dxg").exists() {
        return Err("this machine has no NVIDIA GPU, or its driver is not loaded".into());
    }
    load(&library).map_err(|message| format!("cannot load `{}`: {message}", library.display()))?;
    if tch::Cuda::is_available() {
        return Ok(());
    }
    Err(match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => format!("libtorch sees no GPU (CUDA_VISIBLE_DEVICES is `{visible}`)"),
        Err(_) => "libtorch sees no GPU: is the driver new enough for its CUDA version?".into(),
    })
}

fn load(library: &Path) -> Result<(), String> {
    let path = CString::new(library.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: `path` is a NUL-terminated string that lives during the calls; `dlerror` returns null or such a string,
    // valid until the next call of this thread. Initialisers of the library run here: it is libtorch's own.
    unsafe {
        if !libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL).is_null() {
            return Ok(());
        }
        let message = libc::dlerror();
        if message.is_null() {
            return Err("unknown reason".into());
        }
        Err(CStr::from_ptr(message).to_string_lossy().into_owned())
    }
}

/// Returns the folder above the `lib` from which this process has loaded libtorch.
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let line = maps.split(|byte| *byte == b'\n').find(|line| line.ends_with(b"/libtorch_cpu.so"))?;
    let path = line.get(line.iter().position(|byte| *byte == b'/')?..)?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
    Some(path.parent()?.parent()?.to_owned())
}

/// Returns the version of the libtorch in use, as its folder tells it, without what follows `+`.
pub fn libtorch_version() -> String {
    let version = || {
        let folder = libtorch_folder()?;
        let text = std::fs::read_to_string(folder.join("build-version")).or_else(|_| {
            // PyTorch's own folder: a line `__version__ = '2.11.0+cu130'`.
            let text = std::fs::read_to_string(folder.join("version.py"))?;
            let line = text.lines().find(|line| line.starts_with("__version__ =")).unwrap_or_default();
            std::io::Result::Ok(line.split(['\'', '"']).nth(1).unwrap_or_default().to_owned())
        });
        let text = text.ok()?;
        let version = text.trim().split('+').next()?;
        (!version.is_empty()).then(|| version.to_owned())
    };
    version().unwrap_or_else(|| LIBTORCH.to_owned())
}

/// Returns the model of the GPU, if all that are here are of one.
fn gpu_name() -> String {
    let mut names: Vec<String> = std::fs::read_dir("/proc/driver/nvidia/gpus")
        .into_iter()
        .flatten()
        .filter_map(|gpu| std::fs::read_to_string(gpu.ok()?.path().join("information")).ok())
        .filter_map(|text| Some(text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim().to_owned()))
        .collect();
    names.dedup();
    match names.as_slice() {
        [name] => name.clone(),
        _ => "cuda".into(),
    }
}

/// Returns what `mlp-torch --describe` prints.
pub fn describe() -> Value {
    let why = cuda();
    let n_gpus = if why.is_ok() { tch::Cuda::device_count() } else { 0 };
    let gpus = (0..n_gpus).map(|i| json!({ "index": i, "name": gpu_name() }));
    let folder = libtorch_folder().as_deref().map(Path::as_os_str).map(OsStr::to_string_lossy).map(String::from);
    json!({
        "libtorch": libtorch_version(),
        "folder": folder,
        "cuda_built": libtorch_folder().is_some_and(|folder| folder.join("lib/libtorch_cuda.so").exists()),
        "cuda_available": why.is_ok(),
        "devices": gpus.collect::<Vec<_>>(),
        "why_no_cuda": why.err(),
    })
}
