//! Finds the GPUs of this machine. The only module that names NVML, whose library is loaded when it is first asked:
//! where there is none, there are no GPUs, which is no error.

use std::ffi::OsStr;

use mlp_model::Gpu;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

/// The driver's own name for its library.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Returns the GPUs in the driver's order, or why there are none.
pub fn find() -> Result<Vec<Gpu>, String> {
    let nvml = Nvml::builder().lib_path(OsStr::new(LIBRARY)).init().map_err(words)?;
    let (mut gpus, mut trouble) = (Vec::new(), "the NVIDIA driver knows no GPU".to_owned());
    for index in 0..nvml.device_count().map_err(words)? {
        // One that this process may not use, or that has failed, is passed over.
        match gpu(&nvml, index) {
            Ok(gpu) => gpus.push(gpu),
            Err(error) => trouble = words(error),
        }
    }
    if gpus.is_empty() { Err(trouble) } else { Ok(gpus) }
}

fn gpu(nvml: &Nvml, index: u32) -> Result<Gpu, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let name = device.name().unwrap_or_else(|_| "GPU".to_owned());
    Ok(Gpu { uuid: device.uuid()?, name, mem_bytes: device.memory_info()?.total })
}

fn words(error: NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) => "no NVIDIA driver was found".to_owned(),
        NvmlError::FailedToLoadSymbol(_) => "the NVIDIA driver is too old".to_owned(),
        NvmlError::DriverNotLoaded => "the NVIDIA driver is not loaded".to_owned(),
        NvmlError::NoPermission => "the NVIDIA driver may not be used here".to_owned(),
        other => format!("the NVIDIA driver does not answer: {other}"),
    }
}
