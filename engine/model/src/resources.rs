//! What steps need of the machine while they run, and what the machine has for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one step needs from its start to its end. No part of the cache key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Demand {
    /// Cores. `None`: not declared; one, or as many as its runner says.
    pub cpu: Option<u32>,
    pub mem_bytes: u64,
    /// Named tokens, such as the licences of a program.
    pub tokens: BTreeMap<String, u32>,
    pub gpu: Option<GpuDemand>,
    /// Memory on each of its GPUs. Without `gpu`: of one GPU, which others may share.
    pub gpu_mem_bytes: u64,
}

impl Demand {
    /// Returns whether the step is given GPUs.
    pub fn wants_gpu(&self) -> bool {
        self.gpu.is_some() || self.gpu_mem_bytes > 0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GpuDemand {
    /// So many devices, each alone.
    Count(u32),
    /// A part of one device, in thousandths; others may have the rest.
    Share(u32),
    /// The device with this UUID, alone.
    Device(String),
}

/// What a step takes, from its start to its end, of what the runs of a workspace share: so many of these portions. The best come
/// first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    pub n: usize,
    pub of: Vec<Portion>,
}

/// An amount of one thing that runs share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portion {
    /// `cpu`, `mem`, `token licence`, `gpu GPU-1234`.
    pub name: String,
    pub amount: u64,
    pub there_is: u64,
}

impl Take {
    /// Of something of which there is one kind.
    pub fn of(name: impl Into<String>, amount: u64, there_is: u64) -> Self {
        Self { n: 1, of: vec![Portion { name: name.into(), amount, there_is }] }
    }

    /// Returns what each take has where nobody else wants anything: its best portions.
    pub fn best(takes: &[Self]) -> Vec<Portion> {
        takes.iter().flat_map(|take| take.of.iter().take(take.n)).cloned().collect()
    }
}

impl Portion {
    /// Names a GPU by its UUID.
    pub fn name_of_gpu(uuid: &str) -> String {
        format!("gpu {uuid}")
    }

    /// Returns the UUID, if this is a part of a GPU.
    pub fn gpu(&self) -> Option<&str> {
        self.name.strip_prefix("gpu ")
    }
}

/// What a run may use of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// How many there are; a run uses as many of them as it has jobs. `None`: not known, and no more than those.
    pub cores: Option<u32>,
    /// `None`: not known, and not limited.
    pub mem_bytes: Option<u64>,
    pub tokens: BTreeMap<String, u32>,
    pub gpus: Vec<Gpu>,
    /// Why `gpus` is empty, for a person: `no NVIDIA driver was found`.
    pub without_gpus: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// The UUID that the driver gives it, as `CUDA_VISIBLE_DEVICES` takes it.
    pub uuid: String,
    pub name: String,
    pub mem_bytes: u64,
}

/// Writes an amount of memory as a person reads it: `8 GiB`, `1.5 GiB`.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_the_language_writes_them() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (8 << 30, "8 GiB"), (3 << 40, "3 TiB")];
        cases.iter().for_each(|(bytes, shown)| assert_eq!(show_size(*bytes), *shown));
    }
}
