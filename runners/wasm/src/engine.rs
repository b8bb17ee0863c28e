//! How guests are compiled and bounded.
//!
//! The settings leave nothing to the machine: no threads, no relaxed SIMD; `strict` also counts instructions and has
//! one NaN. Memory is taken on demand; there is no pool whose leftovers a later guest could see.

use wasmtime::{Config, Engine, ResourceLimiter, Store};

/// The widest memory that is laid out so that it never moves; larger ones may move when they grow.
const MEMORY_RESERVATION: u64 = 1 << 30;
/// The stack that guest code may use. [`crate::step`] gives its thread as much and more.
pub const GUEST_STACK: usize = 8 << 20;

/// How a guest is run; part of the cache key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Counts instructions, so that an endless loop ends the same way everywhere; NaNs are alike on every machine.
    Strict,
    /// Neither; the step's timeout ends an endless loop. NaNs are made alike where they are stored.
    Fast,
}

/// What a guest may use. The same everywhere, so that its verdict does not depend on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of all memories together.
    pub memory_bytes: usize,
    /// Instructions, roughly, for each batch; profile `strict` alone.
    pub fuel_per_batch: u64,
    /// Of what comes back from one batch, as it lies in the host's memory.
    pub result_bytes: usize,
    pub table_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            fuel_per_batch: 400_000_000_000,
            result_bytes: 512 << 20,
            table_elements: 1 << 20,
        }
    }
}

/// Returns the engine of a profile.
pub fn engine(profile: Profile) -> wasmtime::Result<Engine> {
    let strict = profile == Profile::Strict;
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .cranelift_nan_canonicalization(strict)
        .consume_fuel(strict)
        .max_wasm_stack(GUEST_STACK)
        // Never used, for every call waits; but it must not be smaller.
        .async_stack_size(2 * GUEST_STACK)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_reservation_for_growth(0);
    Engine::new(&config)
}

/// The state of a store: counts what its guest takes.
pub struct Bounds {
    limits: Limits,
    memory_bytes: usize,
    /// The guest asked for more memory than it may have.
    pub out_of_memory: bool,
}

impl Bounds {
    pub fn store(engine: &Engine, limits: Limits) -> Store<Self> {
        let mut store = Store::new(engine, Self { limits, memory_bytes: 0, out_of_memory: false });
        store.limiter(|bounds| bounds);
        store.set_hostcall_fuel(limits.result_bytes);
        store
    }
}

impl ResourceLimiter for Bounds {
    /// A guest that is refused memory ends: one that goes on would give results that depend on the limit.
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if wanted > self.limits.memory_bytes {
            self.out_of_memory = true;
            return Err(wasmtime::Error::msg("the guest's memory limit is reached"));
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.limits.table_elements)
    }

    fn instances(&self) -> usize {
        100
    }

    fn tables(&self) -> usize {
        20
    }

    fn memories(&self) -> usize {
        20
    }
}
