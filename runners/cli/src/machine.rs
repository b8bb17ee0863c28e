//! What runs may use of this machine: its memory, its GPUs, and what the settings say about both.

use std::ffi::OsString;
use std::path::Path;

use mlp_model::{Gpu, Machine, NodeKind, Pipeline};

use crate::exit::Exit;
use crate::gpus;
use crate::output::Failure;
use crate::settings::{Resources, SETTINGS_FILE};

/// Looks at the machine as far as the pipeline's steps can care.
pub fn machine(resources: &Resources, pipeline: &Pipeline) -> Result<Machine, Failure> {
    let wants_gpus = pipeline.nodes.iter().any(|node| match &node.kind {
        NodeKind::Call(call) => call.options.demand.wants_gpu() || call.runner == "torch",
        _ => false,
    });
    let found = if wants_gpus { gpus::find() } else { Err("not looked for".to_owned()) };
    let (gpus, without_gpus) = match found {
        Ok(found) => {
            let visible = std::env::var_os("CUDA_VISIBLE_DEVICES");
            (usable(found, visible.as_ref(), resources.gpus.as_deref())?, None)
        }
        Err(why) => (Vec::new(), Some(why)),
    };
    Ok(Machine {
        cores: std::thread::available_parallelism().ok().and_then(|cores| u32::try_from(cores.get()).ok()),
        mem_bytes: resources.mem_bytes.or_else(memory),
        tokens: resources.tokens.iter().map(|(name, n)| (name.clone(), n.get())).collect(),
        gpus,
        without_gpus,
    })
}

/// Leaves the GPUs that this process itself may see, and of these those that the settings name.
fn usable(mut found: Vec<Gpu>, visible: Option<&OsString>, named: Option<&[String]>) -> Result<Vec<Gpu>, Failure> {
    if let Some(visible) = visible.and_then(|visible| visible.to_str()) {
        // As CUDA reads it: indices or beginnings of UUIDs; the list ends at the first that means nothing.
        let mut seen = Vec::new();
        for word in visible.split(',').map(str::trim) {
            let by_index = word.parse::<usize>().ok().and_then(|index| found.get(index));
            let by_uuid = || found.iter().find(|gpu| word.starts_with("GPU-") && gpu.uuid.starts_with(word));
            match by_index.or_else(by_uuid) {
                Some(gpu) => seen.push(gpu.clone()),
                None => break,
            }
        }
        found = seen;
    }
    let Some(named) = named else { return Ok(found) };
    let known: Vec<String> = found.iter().map(|gpu| format!("`{}` ({})", gpu.uuid, gpu.name)).collect();
    for uuid in named {
        if !found.iter().any(|gpu| gpu.uuid.eq_ignore_ascii_case(uuid)) {
            let message = format!("{SETTINGS_FILE} names GPU `{uuid}`, which is not here or not visible");
            let known = if known.is_empty() { "none is visible".to_owned() } else { known.join(", ") };
            return Err(Failure::new(Exit::Environment, message).with_help(format!("there are: {known}")));
        }
    }
    found.retain(|gpu| named.iter().any(|uuid| gpu.uuid.eq_ignore_ascii_case(uuid)));
    Ok(found)
}

/// Returns the memory of this machine, or of the control group that we are in, if that has less.
fn memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let total = read("/proc/meminfo").and_then(|text| total_of(&text));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limit = limits(&groups, &|path| std::fs::read_to_string(path).ok()).into_iter().min();
    total.into_iter().chain(limit).min()
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the limits of all control groups above this process, of either version.
fn limits(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Vec<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Inside a container the path may be the host's, and the root is our own group.
        let own = Path::new(root).join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|folder| folder.starts_with(root)) {
            let limit = read(&folder.join(file)).and_then(|text| text.trim().parse::<u64>().ok());
            // Version 1 writes "no limit" as a number next to the largest.
            limits.extend(limit.filter(|bytes| *bytes < 1 << 60));
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_the_smallest_group_above() {
        let files = [
            ("/sys/fs/cgroup/memory.max", "max"),
            ("/sys/fs/cgroup/a/memory.max", "2000\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "3000\n"),
            ("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        let read =
            |path: &Path| files.iter().find(|(known, _)| Path::new(known) == path).map(|(_, text)| (*text).to_owned());
        assert_eq!(limits("0::/a/b\n", &read), [3000, 2000]);
        assert_eq!(limits("4:memory:/job\n2:cpu:/job\n", &read), [1000]);
        assert_eq!(limits("0::/\n", &read), [0; 0]);
        assert_eq!(total_of("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16384));
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn only_gpus_that_are_visible_and_named_are_used() {
        let gpu = |uuid: &str| Gpu { uuid: uuid.into(), name: "card".into(), mem_bytes: 1 << 30 };
        let found = || ["GPU-aa", "GPU-bb", "GPU-cc"].map(gpu).to_vec();
        let uuids = |visible: Option<&str>, named: Option<&[&str]>| {
            let named: Option<Vec<String>> = named.map(|named| named.iter().map(|uuid| (*uuid).to_owned()).collect());
            let usable = usable(found(), visible.map(OsString::from).as_ref(), named.as_deref());
            usable.map(|gpus| gpus.into_iter().map(|gpu| gpu.uuid).collect::<Vec<_>>()).map_err(|error| error.message)
        };
        let list = |uuids: &[&str]| Ok(uuids.iter().map(|uuid| (*uuid).to_owned()).collect::<Vec<_>>());
        assert_eq!(uuids(None, None), list(&["GPU-aa", "GPU-bb", "GPU-cc"]));
        assert_eq!(uuids(Some("2,GPU-a"), None), list(&["GPU-cc", "GPU-aa"]));
        assert_eq!(uuids(Some("0,-1,1"), None), list(&["GPU-aa"]));
        assert_eq!(uuids(Some(""), None), list(&[]));
        assert_eq!(uuids(None, Some(&["gpu-BB"])), list(&["GPU-bb"]));
        assert_eq!(uuids(None, Some(&[])), list(&[]));
        let error = uuids(Some("0"), Some(&["GPU-bb"])).unwrap_err();
        assert_eq!(error, "mlp.yaml names GPU `GPU-bb`, which is not here or not visible");
    }
}
