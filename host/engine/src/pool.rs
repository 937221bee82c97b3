//! Where the instances of images live: an engine whose memories are reserved once and used again and again.
//!
//! Reserving costs address space only. A slot is given back with its pages cleaned, so the next instance of the
//! same image finds its memory mapped already.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest, Sha256};
use wasmtime::{Enabled, InstanceAllocationStrategy, Linker, PoolingAllocationConfig};

use crate::abi;
use crate::cache;
use crate::engine;
use crate::error::LoadError;
use crate::exports::Code;
use crate::state::State;
use crate::ticker::Clock;

/// All that a 32-bit memory can have; what an instance may have of it is for its limits to say.
const MEMORY: usize = 4 << 30;
/// Elements of one table: eight bytes of address space each, for every instance that there may be.
const TABLE_ELEMENTS: usize = 1 << 16;
const TABLES: u32 = 4;
/// Bytes of what the runtime keeps about an instance, which grows with the module; allocated as needed.
const INSTANCE_SIZE: usize = 8 << 20;
/// Cleaned by writing, not by giving pages back and faulting them in again; only what was touched, where the kernel can
/// say (Linux 6.7).
const KEEP_RESIDENT: usize = 256 << 10;
/// Pages from the first that is not zero to the last are mapped, not copied, however few there are in between.
const DENSE_IMAGE: u64 = 256 << 20;

/// Mappings of one live instance: zeroes, the image, zeroes, and what is not accessible.
const MAPPINGS: usize = 4;
/// `vm.max_map_count` where it cannot be read.
const USUAL_MAPPINGS: usize = 65_530;

/// The second engine, and the images that live in it.
pub(crate) struct Pool {
    wasmtime: wasmtime::Engine,
    linker: Linker<State>,
    images: Mutex<HashMap<String, Weak<Code>>>,
    /// Instances that there may be at a time.
    pub(crate) limit: usize,
}

impl Pool {
    /// Reserves room for `images` instances, or as many as the kernel's limit on mappings bears.
    pub(crate) fn new(images: usize, clock: &Clock) -> Result<Pool, LoadError> {
        let bearable = bearable(maximum_mappings());
        if images > bearable {
            tracing::warn!(
                wanted = images,
                limit = bearable,
                "fewer instances at a time than configured: each takes {MAPPINGS} mappings of vm.max_map_count"
            );
        }
        let limit = images.clamp(1, bearable);
        let unusable = |error: wasmtime::Error| LoadError::Pool { images: limit, reason: format!("{error:#}") };
        let count = u32::try_from(limit).unwrap_or(u32::MAX);
        let mut pooling = PoolingAllocationConfig::new();
        pooling
            .total_core_instances(count)
            .total_memories(count)
            .total_tables(count)
            .max_memory_size(MEMORY)
            .table_elements(TABLE_ELEMENTS)
            .max_tables_per_module(TABLES)
            .max_core_instance_size(INSTANCE_SIZE)
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(KEEP_RESIDENT)
            .pagemap_scan(Enabled::Auto);
        let mut config = engine::config();
        config.memory_guaranteed_dense_image_size(DENSE_IMAGE);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
        let wasmtime = wasmtime::Engine::new(&config).map_err(unusable)?;
        let mut linker = Linker::new(&wasmtime);
        abi::link(&mut linker).map_err(unusable)?;
        clock.drive(wasmtime.weak());
        Ok(Pool { wasmtime, linker, images: Mutex::default(), limit })
    }

    /// Compiles a frozen module. The same bytes give the same code for as long as it is in use.
    ///
    /// Not kept on disk: an image depends on the configuration and on whatever was random when it was configured.
    pub(crate) fn compile(&self, bytes: &[u8], allocator: &str) -> Result<Arc<Code>, LoadError> {
        let hash = cache::hexadecimal(&Sha256::digest(bytes));
        if let Some(code) = self.images().get(&hash).and_then(Weak::upgrade) {
            return Ok(code);
        }
        let refused = |error: wasmtime::Error| LoadError::Image(format!("{error:#}"));
        // Also checks that a slot of the pool is large enough.
        let module = wasmtime::Module::from_binary(&self.wasmtime, bytes).map_err(refused)?;
        let code = Code::new(&self.linker, &module, allocator).map_err(refused)?;
        let code = Arc::new(code);
        let mut images = self.images();
        images.retain(|_, code| code.strong_count() > 0);
        // Another thread may have compiled the same bytes meanwhile.
        if let Some(code) = images.get(&hash).and_then(Weak::upgrade) {
            return Ok(code);
        }
        images.insert(hash, Arc::downgrade(&code));
        Ok(code)
    }

    fn images(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Code>>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beyond the limit a mapping that fails aborts the process, so a quarter is left to everything else in it.
fn bearable(mappings: usize) -> usize {
    (mappings / 4 * 3 / MAPPINGS).max(1)
}

fn maximum_mappings() -> usize {
    let text = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    text.trim().parse().unwrap_or(USUAL_MAPPINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_number_of_instances_fits_into_the_usual_number_of_mappings() {
        assert!(bearable(USUAL_MAPPINGS) >= 10_000);
        assert!(bearable(USUAL_MAPPINGS) * MAPPINGS < USUAL_MAPPINGS);
        assert_eq!(bearable(0), 1);
    }
}
