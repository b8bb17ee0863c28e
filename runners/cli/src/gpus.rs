//! Finds the GPUs of this machine. The only module that names NVML, whose library is loaded when it is first asked:
//! where there is none, there are no GPUs, which is no error.

use std::ffi::{CStr, c_char, c_uint};

use mlp_model::Gpu;
use nvml_wrapper_sys::bindings::{
    NvmlLib, nvmlDevice_t, nvmlMemory_t, nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED as DRIVER_NOT_LOADED,
    nvmlReturn_enum_NVML_ERROR_NO_PERMISSION as NO_PERMISSION, nvmlReturn_enum_NVML_SUCCESS as SUCCESS, nvmlReturn_t,
};

/// The driver's own name for its library.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Longer than any name or UUID, which NVML limits to 96 bytes.
const TEXT_LEN: usize = 128;

/// Returns the GPUs in the driver's order, or why there are none.
pub fn find() -> Result<Vec<Gpu>, String> {
    // SAFETY: initialisers of the library run here: it is the driver's own.
    let library = unsafe { NvmlLib::new(LIBRARY) }.map_err(|_| "no NVIDIA driver was found".to_owned())?;
    let nvml = Nvml::new(&library)?;
    // One that this process may not use, or that has failed, is passed over.
    let gpus: Vec<Gpu> = (0..nvml.count()?).filter_map(|index| nvml.gpu(index)).collect();
    if gpus.is_empty() { Err("the NVIDIA driver knows no GPU".to_owned()) } else { Ok(gpus) }
}

/// The library, initialised. A function that it lacks, because it is too old, counts as a device that cannot be used.
struct Nvml<'a>(&'a NvmlLib);

type TextGetter = unsafe extern "C" fn(nvmlDevice_t, *mut c_char, c_uint) -> nvmlReturn_t;

impl<'a> Nvml<'a> {
    fn new(library: &'a NvmlLib) -> Result<Self, String> {
        let init = library.nvmlInit_v2.as_ref().map_err(|_| "the NVIDIA driver is too old".to_owned())?;
        // SAFETY: takes nothing; may be called any number of times.
        match unsafe { init() } {
            SUCCESS => Ok(Self(library)),
            code => Err(words(code)),
        }
    }

    fn count(&self) -> Result<c_uint, String> {
        let count = self.0.nvmlDeviceGetCount_v2.as_ref().map_err(|_| "the NVIDIA driver is too old".to_owned())?;
        let mut n_devices = 0;
        // SAFETY: writes one number to the place it is given.
        match unsafe { count(&raw mut n_devices) } {
            SUCCESS => Ok(n_devices),
            code => Err(words(code)),
        }
    }

    fn gpu(&self, index: c_uint) -> Option<Gpu> {
        let handle_of = self.0.nvmlDeviceGetHandleByIndex_v2.as_ref().ok()?;
        let memory_of = self.0.nvmlDeviceGetMemoryInfo.as_ref().ok()?;
        let mut device: nvmlDevice_t = std::ptr::null_mut();
        let mut memory = nvmlMemory_t { total: 0, free: 0, used: 0 };
        // SAFETY: each writes one value to the place it is given; the device comes from the library.
        let is_known =
            unsafe { handle_of(index, &raw mut device) == SUCCESS && memory_of(device, &raw mut memory) == SUCCESS };
        if !is_known {
            return None;
        }
        let uuid = text(*self.0.nvmlDeviceGetUUID.as_ref().ok()?, device)?;
        let name = self.0.nvmlDeviceGetName.as_ref().ok().and_then(|getter| text(*getter, device));
        Some(Gpu { uuid, name: name.unwrap_or_else(|| "GPU".to_owned()), mem_bytes: memory.total })
    }
}

impl Drop for Nvml<'_> {
    fn drop(&mut self) {
        if let Ok(shutdown) = &self.0.nvmlShutdown {
            // SAFETY: it was initialised.
            unsafe { shutdown() };
        }
    }
}

fn text(getter: TextGetter, device: nvmlDevice_t) -> Option<String> {
    let mut bytes = [0_u8; TEXT_LEN];
    // SAFETY: writes at most so many bytes to the place it is given; the device comes from the library.
    let code = unsafe { getter(device, bytes.as_mut_ptr().cast(), TEXT_LEN as c_uint) };
    let text = CStr::from_bytes_until_nul(&bytes).ok()?.to_str().ok()?;
    (code == SUCCESS && !text.is_empty()).then(|| text.to_owned())
}

fn words(code: nvmlReturn_t) -> String {
    match code {
        DRIVER_NOT_LOADED => "the NVIDIA driver is not loaded".to_owned(),
        NO_PERMISSION => "the NVIDIA driver may not be used here".to_owned(),
        code => format!("the NVIDIA driver gives error {code}"),
    }
}
