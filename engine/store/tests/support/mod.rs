//! What the programs that kill and cut share.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Pid;

/// Random numbers; the same for the same `MLP_SEED`.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let drawn = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("MLP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(drawn);
        println!("MLP_SEED={seed}");
        Self(seed | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Returns the helpers that were started for this workspace and whose kind begins like this: `__owner`.
pub fn processes_of(workspace: &Path, kind: &str) -> Vec<Pid> {
    let Some(workspace) = workspace.to_str() else { return Vec::new() };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(line) = fs::read_to_string(entry.path().join("cmdline")) else { continue };
        let words: Vec<&str> = line.split('\0').collect();
        let is_helper = words.get(1).is_some_and(|word| word.starts_with(kind)) && words.get(2) == Some(&workspace);
        found.extend(entry.file_name().to_str().filter(|_| is_helper).and_then(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    found
}
