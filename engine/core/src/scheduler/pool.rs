//! What the machine has for the steps of a run, and who has it now. Arithmetic only: unaware of steps and states.
//!
//! A GPU is counted in thousandths. A step that asks for memory of a shared GPU is charged the part of the device that
//! this memory is, so that one number keeps both the compute and the memory of a device from being promised twice.

use mlp_model::{Demand, GpuDemand, Machine, Portion, Take, show_size};

/// The whole of a GPU.
const WHOLE: u64 = 1000;

/// Cores, memory, tokens and GPUs: how much there is, and how much is free.
#[derive(Debug, Clone)]
pub struct Pool {
    total: Amounts,
    free: Amounts,
    token_names: Vec<String>,
    gpu_mem_bytes: Vec<u64>,
    machine: Machine,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Amounts {
    cpu: u64,
    mem: u64,
    tokens: Vec<u64>,
    /// Thousandths of each device. Less than none: promised to one step more than there is room for, for a moment.
    gpus: Vec<i64>,
}

impl Amounts {
    fn take(&mut self, device: usize, share: u64) {
        self.gpus[device] -= signed(share);
    }

    fn give(&mut self, device: usize, share: u64) {
        self.gpus[device] += signed(share);
    }
}

/// Shares of a device are at most [`WHOLE`].
fn signed(share: u64) -> i64 {
    i64::try_from(share).unwrap_or(i64::MAX)
}

/// A demand that this pool can meet, in its numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    cpu: u64,
    mem: u64,
    /// By number of the token.
    tokens: Vec<(usize, u64)>,
    gpu: GpuNeed,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum GpuNeed {
    None,
    /// So many whole devices, each with at least this memory.
    Whole {
        n: usize,
        mem: u64,
    },
    /// The larger of a share and of what this memory is of the device.
    Part {
        share: u64,
        mem: u64,
    },
    Device(usize),
}

/// What a step has from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    cpu: u64,
    mem: u64,
    tokens: Vec<(usize, u64)>,
    /// Device and thousandths.
    gpus: Vec<(usize, u64)>,
}

/// A demand that can never be met here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The option that demands it.
    pub option: &'static str,
    /// What is demanded and what there is, after the step's name: ``needs 2 GPUs, this machine has 1``.
    pub message: String,
    pub help: String,
    /// The settings lack it, not the machine.
    pub is_setting: bool,
}

impl Pool {
    /// `jobs` is the number of cores that the run may use, at least 1.
    pub fn new(jobs: usize, machine: &Machine) -> Self {
        let total = Amounts {
            cpu: jobs.max(1) as u64,
            mem: machine.mem_bytes.unwrap_or(u64::MAX),
            tokens: machine.tokens.values().map(|&n| u64::from(n)).collect(),
            gpus: vec![signed(WHOLE); machine.gpus.len()],
        };
        Self {
            free: total.clone(),
            total,
            token_names: machine.tokens.keys().cloned().collect(),
            gpu_mem_bytes: machine.gpus.iter().map(|gpu| gpu.mem_bytes).collect(),
            machine: machine.clone(),
        }
    }

    /// Takes a demand into the pool's numbers. `implied` is what the runner says about what was not declared; of that,
    /// a step takes what there is.
    ///
    /// # Errors
    /// Everything in which the demand exceeds what there ever is.
    pub fn need(&self, demand: &Demand, implied: &Demand) -> Result<Need, Vec<Shortage>> {
        let mut shortages = Vec::new();
        let cpu = match demand.cpu {
            None => u64::from(implied.cpu.unwrap_or(1)).min(self.total.cpu),
            Some(cpu) => u64::from(cpu),
        };
        if cpu > self.total.cpu {
            shortages.push(Shortage {
                option: "cpu",
                message: format!("needs {}, this run may use {}", plural(cpu, "core"), self.total.cpu),
                help: format!("lower `cpu`, or raise the number of jobs: `--jobs {cpu}`, or `jobs` in mlp.yaml"),
                is_setting: false,
            });
        }
        if demand.mem_bytes > self.total.mem {
            shortages.push(Shortage {
                option: "mem",
                message: format!(
                    "needs {} of memory, this run may use {}",
                    show_size(demand.mem_bytes),
                    show_size(self.total.mem)
                ),
                help: "lower `mem`, or say in mlp.yaml under `resources` how much `mem` runs may use".to_owned(),
                is_setting: false,
            });
        }
        let mut tokens = Vec::new();
        for (name, &n) in &demand.tokens {
            let found = self.token_names.binary_search(name).ok();
            let there_are = found.map_or(0, |idx| self.total.tokens[idx]);
            match found {
                Some(idx) if u64::from(n) <= there_are => tokens.push((idx, u64::from(n))),
                _ => shortages.push(self.missing_token(name, n, found.map(|_| there_are))),
            }
        }
        let gpu = match self.gpu_need(demand, implied) {
            Ok(gpu) => gpu,
            Err(shortage) => {
                shortages.push(shortage);
                GpuNeed::None
            }
        };
        if shortages.is_empty() { Ok(Need { cpu, mem: demand.mem_bytes, tokens, gpu }) } else { Err(shortages) }
    }

    /// Takes the memory that a step had last time for what it needs, if it does not say itself: as much of it as there is.
    pub fn learn(&self, need: &mut Need, mem_bytes: u64) {
        if need.mem == 0 {
            need.mem = mem_bytes.min(self.total.mem);
        }
    }

    fn missing_token(&self, name: &str, n: u32, there_are: Option<u64>) -> Shortage {
        let message = match there_are {
            Some(there_are) => format!("needs {n} of token `{name}`, mlp.yaml gives {there_are}"),
            None => format!("needs {n} of token `{name}`, which mlp.yaml does not name"),
        };
        let help = match crate::names::most_similar(name, self.token_names.iter().map(String::as_str)) {
            Some(similar) if there_are.is_none() => format!("did you mean `{similar}`?"),
            _ => format!("write `resources: {{ tokens: {{ {name}: {n} }} }}` in mlp.yaml"),
        };
        Shortage { option: "tokens", message, help, is_setting: true }
    }

    fn gpu_need(&self, demand: &Demand, implied: &Demand) -> Result<GpuNeed, Shortage> {
        let mem = demand.gpu_mem_bytes;
        let fitting = self.gpu_mem_bytes.iter().filter(|&&bytes| bytes >= mem).count();
        let shortage = |option, message| Shortage { option, message, help: self.gpu_help(), is_setting: false };
        let too_small = || {
            let largest = self.gpu_mem_bytes.iter().max().copied().unwrap_or(0);
            let message = format!("needs a GPU with {}, the largest here has {}", show_size(mem), show_size(largest));
            shortage("gpu_mem", message)
        };
        match &demand.gpu {
            None if mem == 0 => Ok(match &implied.gpu {
                Some(GpuDemand::Count(n)) if !self.gpu_mem_bytes.is_empty() => {
                    GpuNeed::Whole { n: (*n as usize).min(self.gpu_mem_bytes.len()), mem: 0 }
                }
                _ => GpuNeed::None,
            }),
            wanted if self.gpu_mem_bytes.is_empty() => {
                let option = if wanted.is_some() { "gpu" } else { "gpu_mem" };
                let why = self.machine.without_gpus.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                Err(shortage(option, format!("needs a GPU, and none was found{why}")))
            }
            Some(GpuDemand::Count(n)) if *n as usize > self.gpu_mem_bytes.len() => {
                let there_are = self.gpu_mem_bytes.len();
                Err(shortage("gpu", format!("needs {}, this run may use {there_are}", plural(u64::from(*n), "GPU"))))
            }
            Some(GpuDemand::Count(n)) if *n as usize > fitting && fitting > 0 => {
                let message =
                    format!("needs {} with {}, there is {fitting}", plural(u64::from(*n), "GPU"), show_size(mem));
                Err(shortage("gpu_mem", message))
            }
            Some(GpuDemand::Device(uuid)) => {
                match self.machine.gpus.iter().position(|gpu| gpu.uuid.eq_ignore_ascii_case(uuid)) {
                    Some(device) if self.gpu_mem_bytes[device] >= mem => Ok(GpuNeed::Device(device)),
                    Some(device) => {
                        let has = show_size(self.gpu_mem_bytes[device]);
                        Err(shortage("gpu_mem", format!("needs {} on GPU `{uuid}`, which has {has}", show_size(mem))))
                    }
                    None => {
                        Err(shortage("gpu", format!("needs GPU `{uuid}`, which this run may not use or is not here")))
                    }
                }
            }
            _ if fitting == 0 => Err(too_small()),
            Some(GpuDemand::Count(n)) => Ok(GpuNeed::Whole { n: *n as usize, mem }),
            Some(GpuDemand::Share(share)) => Ok(GpuNeed::Part { share: u64::from(*share).min(WHOLE), mem }),
            None => Ok(GpuNeed::Part { share: 1, mem }),
        }
    }

    fn gpu_help(&self) -> String {
        if self.machine.gpus.is_empty() {
            return "`mlp doctor` tells what is found; leave `gpu` out to run without one".to_owned();
        }
        let gpu = |gpu: &mlp_model::Gpu| format!("`{}` ({}, {})", gpu.uuid, gpu.name, show_size(gpu.mem_bytes));
        format!("there are {}", self.machine.gpus.iter().map(gpu).collect::<Vec<_>>().join(", "))
    }

    /// Takes what is needed, if it is free now.
    pub fn take(&mut self, need: &Need) -> Option<Grant> {
        let free = &self.free;
        let is_free = need.cpu <= free.cpu
            && need.mem <= free.mem
            && need.tokens.iter().all(|&(token, n)| n <= free.tokens[token]);
        if !is_free {
            return None;
        }
        let gpus = self.choose_gpus(&need.gpu)?;
        let grant = Grant { cpu: need.cpu, mem: need.mem, tokens: need.tokens.clone(), gpus };
        self.free.cpu -= grant.cpu;
        self.free.mem -= grant.mem;
        grant.tokens.iter().for_each(|&(token, n)| self.free.tokens[token] -= n);
        grant.gpus.iter().for_each(|&(device, share)| self.free.take(device, share));
        Some(grant)
    }

    /// Returns what a step takes of what all runs share, as it was granted here. Another GPU would do where it fits, too.
    pub fn takes(&self, need: &Need, grant: &Grant) -> Vec<Take> {
        let cores = u64::from(self.machine.cores.unwrap_or(0)).max(self.total.cpu);
        let mut takes = vec![Take::of("cpu", grant.cpu, cores)];
        if let Some(there_is) = self.machine.mem_bytes {
            takes.push(Take::of("mem", grant.mem, there_is));
        }
        // Loops limit their own run.
        let is_shared = |name: &str| !name.contains(' ');
        for &(token, n) in grant.tokens.iter().filter(|(token, _)| is_shared(&self.token_names[*token])) {
            takes.push(Take::of(format!("token {}", self.token_names[token]), n, self.total.tokens[token]));
        }
        takes.retain(|take| take.of.iter().all(|portion| portion.amount > 0));
        if !grant.gpus.is_empty() {
            let chosen = grant.gpus.iter().copied();
            let others = self.fitting_gpus(&need.gpu).into_iter();
            let others = others.filter(|(device, _)| grant.gpus.iter().all(|(chosen, _)| chosen != device));
            let portion = |(device, amount): (usize, u64)| Portion {
                name: Portion::name_of_gpu(&self.machine.gpus[device].uuid),
                amount,
                there_is: WHOLE,
            };
            takes.push(Take { n: grant.gpus.len(), of: chosen.chain(others).map(portion).collect() });
        }
        takes
    }

    /// Returns the devices that would do for a need if they were free, the best first, with what it would take of each.
    fn fitting_gpus(&self, need: &GpuNeed) -> Vec<(usize, u64)> {
        let devices = 0..self.gpu_mem_bytes.len();
        match need {
            GpuNeed::None => Vec::new(),
            GpuNeed::Device(device) => vec![(*device, WHOLE)],
            GpuNeed::Whole { mem, .. } => {
                let mut fitting: Vec<usize> = devices.filter(|&device| self.gpu_mem_bytes[device] >= *mem).collect();
                fitting.sort_by_key(|&device| self.gpu_mem_bytes[device]);
                fitting.into_iter().map(|device| (device, WHOLE)).collect()
            }
            GpuNeed::Part { share, mem } => {
                devices.filter_map(|device| Some((device, self.part_of(device, *share, *mem)?))).collect()
            }
        }
    }

    /// Puts a grant onto these GPUs: who knows of all runs has decided so. For a moment they may be promised to another
    /// step here, which is about to be given another one.
    pub fn move_to(&mut self, grant: &mut Grant, gpus: &[(String, u64)]) {
        let device_of = |uuid: &str| self.machine.gpus.iter().position(|gpu| gpu.uuid == uuid);
        let found: Vec<(usize, u64)> =
            gpus.iter().filter_map(|(uuid, share)| Some((device_of(uuid)?, *share))).collect();
        if found.is_empty() {
            return;
        }
        grant.gpus.iter().for_each(|&(device, share)| self.free.give(device, share));
        found.iter().for_each(|&(device, share)| self.free.take(device, share));
        grant.gpus = found;
    }

    /// Takes back what was granted.
    pub fn give_back(&mut self, grant: &Grant) {
        self.free.cpu += grant.cpu;
        self.free.mem += grant.mem;
        grant.tokens.iter().for_each(|&(token, n)| self.free.tokens[token] += n);
        grant.gpus.iter().for_each(|&(device, share)| self.free.give(device, share));
    }

    fn choose_gpus(&self, need: &GpuNeed) -> Option<Vec<(usize, u64)>> {
        let free = &self.free.gpus;
        match need {
            GpuNeed::None => Some(Vec::new()),
            GpuNeed::Device(device) => (free[*device] == signed(WHOLE)).then(|| vec![(*device, WHOLE)]),
            GpuNeed::Whole { n, mem } => {
                let is_fit = |&device: &usize| free[device] == signed(WHOLE) && self.gpu_mem_bytes[device] >= *mem;
                let mut fitting: Vec<usize> = (0..free.len()).filter(is_fit).collect();
                // The smallest that will do, so that large ones are left to those who need them.
                fitting.sort_by_key(|&device| self.gpu_mem_bytes[device]);
                let chosen = fitting.get(..*n)?;
                Some(chosen.iter().map(|&device| (device, WHOLE)).collect())
            }
            GpuNeed::Part { share, mem } => {
                let part = |device: usize| self.part_of(device, *share, *mem);
                let fits = |&device: &usize| part(device).is_some_and(|part| signed(part) <= free[device]);
                // The fullest device that has room, so that others stay whole.
                let chosen = (0..free.len()).filter(fits).min_by_key(|&device| (free[device], device))?;
                Some(vec![(chosen, part(chosen)?)])
            }
        }
    }

    /// Returns the part of a device that a share and this memory are; `None` if it has not so much memory.
    fn part_of(&self, device: usize, share: u64, mem: u64) -> Option<u64> {
        let total = self.gpu_mem_bytes[device];
        if mem > total {
            return None;
        }
        let by_memory = (u128::from(mem) * u128::from(WHOLE)).div_ceil(u128::from(total.max(1)));
        Some(share.max(u64::try_from(by_memory).unwrap_or(WHOLE)).min(WHOLE))
    }

    /// Returns whether a step may start before another one that waits for its turn, without making it wait longer: it
    /// touches nothing that the other one lacks, and of the rest it leaves enough.
    pub fn may_pass(&self, need: &Need, waiting: &Need) -> bool {
        let leaves =
            |takes: u64, free: u64, wanted: u64| takes == 0 || wanted == 0 || free.saturating_sub(takes) >= wanted;
        let amount =
            |need: &Need, token: usize| need.tokens.iter().find(|(idx, _)| *idx == token).map_or(0, |(_, n)| *n);
        leaves(need.cpu, self.free.cpu, waiting.cpu)
            && leaves(need.mem, self.free.mem, waiting.mem)
            && need.tokens.iter().all(|&(token, n)| leaves(n, self.free.tokens[token], amount(waiting, token)))
            && (need.gpu == GpuNeed::None || waiting.gpu == GpuNeed::None)
    }

    /// Returns whether nobody has anything.
    #[cfg(test)]
    pub fn is_all_free(&self) -> bool {
        self.free == self.total
    }

    /// Returns the UUIDs of the GPUs of a grant.
    pub fn gpus(&self, grant: &Grant) -> Vec<String> {
        grant.gpus.iter().map(|&(device, _)| self.machine.gpus[device].uuid.clone()).collect()
    }
}

fn plural(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
