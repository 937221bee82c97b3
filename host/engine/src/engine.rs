//! The engine: compiler, linked hostcalls and the epoch clock, shared by all modules and instances.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::{Config, Extern, FuncType, Linker, OptLevel, Store, ValType};

use crate::abi;
use crate::cache::{self, Cache};
use crate::error::{EngineError, LoadError};
use crate::exports::Code;
use crate::freeze;
use crate::module::{AbiVersion, Module, ModuleInner};
use crate::pool::Pool;
use crate::scan::{self, Hostcalls};
use crate::state::{Settings, State};
use crate::ticker::{self, Clock};

/// No filter is larger than this; the largest in the wild, Go with everything in it, have a tenth.
const MODULE_SIZE: usize = 64 << 20;
/// Native stack that a guest may use. Threads of the standard library have 2 MiB.
const STACK: usize = 512 << 10;

/// A tick of nothing would be a busy loop.
const SHORTEST_TICK: Duration = Duration::from_micros(100);

/// How an [`Engine`] is made.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Directory for compiled modules; created with mode 0700. Default: none, compiled modules are not kept.
    pub cache: Option<PathBuf>,
    /// How often the CPU time of running guests is looked at, hence by how much a budget may be exceeded. Default: 2.5 ms, at least 0.1 ms.
    pub tick: Duration,
    /// Instances of all [images](crate::Image) together that may be alive at a time. Each takes 4 GiB of address
    /// space and four of the kernel's mappings (`vm.max_map_count`), of which three quarters are used at most.
    /// Default: 10,000, at least 1.
    pub images: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions { cache: None, tick: Duration::from_micros(2500), images: 10_000 }
    }
}

/// Compiles modules. Clones share everything; the thread behind the deadlines ends when the last clone, module and instance are gone.
#[derive(Clone)]
pub struct Engine(Arc<EngineInner>);

struct EngineInner {
    wasmtime: wasmtime::Engine,
    linker: Linker<State>,
    hostcalls: Hostcalls,
    clock: Arc<Clock>,
    cache: Option<Cache>,
    modules: Mutex<HashMap<String, Weak<ModuleInner>>>,
    images: usize,
    /// Made when the first image is.
    pool: Mutex<Option<Arc<Pool>>>,
}

impl Engine {
    /// Makes an engine and starts its clock.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly, or the cache directory is not usable or not private.
    pub fn new(options: EngineOptions) -> Result<Engine, EngineError> {
        let unsupported = |error: wasmtime::Error| EngineError::Unsupported(format!("{error:#}"));
        let wasmtime = wasmtime::Engine::new(&config()).map_err(unsupported)?;
        let mut linker = Linker::new(&wasmtime);
        abi::link(&mut linker).map_err(unsupported)?;
        let cache = options.cache.map(|directory| Cache::open(directory, &wasmtime)).transpose()?;
        let clock = ticker::start(wasmtime.weak(), options.tick.max(SHORTEST_TICK)).map_err(EngineError::Ticker)?;
        let hostcalls = hostcalls(&wasmtime, &linker, &clock);
        Ok(Engine(Arc::new(EngineInner {
            wasmtime,
            linker,
            hostcalls,
            clock,
            cache,
            modules: Mutex::default(),
            images: options.images,
            pool: Mutex::default(),
        })))
    }

    /// Checks and compiles a module (binary format). The same bytes give the same module for as long as it is in use, and
    /// come from the disk cache if there is one. Takes about 0.5 s per MB on one core: not for the data path.
    ///
    /// # Errors
    /// [`LoadError`], except for those of starting an instance.
    pub fn compile(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        self.compile_for(bytes, Purpose::Instances)
    }

    /// Like [`Engine::compile`], but images of the module's instances can be made
    /// ([`Instance::image`](crate::Instance::image)). It is compiled and kept apart from the plain one.
    ///
    /// # Errors
    /// As [`Engine::compile`], and [`LoadError::NotForImages`].
    pub fn compile_for_images(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        self.compile_for(bytes, Purpose::Images)
    }

    fn compile_for(&self, bytes: &[u8], purpose: Purpose) -> Result<Module, LoadError> {
        if bytes.len() > MODULE_SIZE {
            return Err(LoadError::TooLarge { size: bytes.len(), limit: MODULE_SIZE });
        }
        let hash = cache::hexadecimal(&Sha256::digest(bytes));
        let key = match purpose {
            Purpose::Instances => hash.clone(),
            Purpose::Images => format!("{hash} for images"),
        };
        if let Some(module) = self.known(&key) {
            return Ok(module);
        }
        let facts = scan::scan(bytes, &self.0.hostcalls)?;
        let (compiled, for_images) = match purpose {
            Purpose::Instances => (self.load(&hash, bytes)?, None),
            Purpose::Images => {
                let instrumented = freeze::instrument(&self.0.wasmtime, bytes)?;
                let hash = cache::hexadecimal(&Sha256::digest(&instrumented));
                (self.load(&hash, &instrumented)?, Some(bytes.to_vec()))
            }
        };
        let code = Code::new(&self.0.linker, &compiled, facts.allocator)
            .map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        let clock = Arc::clone(&self.0.clock);
        let module = Arc::new(ModuleInner { code, facts, hash, size: bytes.len(), for_images, clock });

        let mut modules = self.0.modules.lock().unwrap_or_else(PoisonError::into_inner);
        modules.retain(|_, module| module.strong_count() > 0);
        // Another thread may have compiled the same bytes meanwhile.
        if let Some(module) = modules.get(&key).and_then(Weak::upgrade) {
            return Ok(Module(module));
        }
        modules.insert(key, Arc::downgrade(&module));
        Ok(Module(module))
    }

    /// Whether the thread that moves the epoch naps, because nobody has entered a guest for a while. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn is_napping(&self) -> bool {
        self.0.clock.is_napping()
    }

    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.0.clock
    }

    /// Where the instances of images live; reserved by the first caller.
    pub(crate) fn pool(&self) -> Result<Arc<Pool>, LoadError> {
        let mut pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*pool {
            return Ok(Arc::clone(pool));
        }
        let new = Arc::new(Pool::new(self.0.images, &self.0.clock)?);
        *pool = Some(Arc::clone(&new));
        Ok(new)
    }

    fn known(&self, hash: &str) -> Option<Module> {
        let modules = self.0.modules.lock().unwrap_or_else(PoisonError::into_inner);
        modules.get(hash).and_then(Weak::upgrade).map(Module)
    }

    fn load(&self, hash: &str, bytes: &[u8]) -> Result<wasmtime::Module, LoadError> {
        let cache = self.0.cache.as_ref();
        if let Some(module) = cache.and_then(|cache| cache.load(&self.0.wasmtime, hash)) {
            return Ok(module);
        }
        let module = wasmtime::Module::from_binary(&self.0.wasmtime, bytes)
            .map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        if let Some(cache) = cache {
            cache.store(hash, &module);
        }
        Ok(module)
    }
}

/// What a module is compiled for.
#[derive(Clone, Copy)]
enum Purpose {
    Instances,
    Images,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("cache", &self.0.cache).finish_non_exhaustive()
    }
}

/// What guests of Rust, Go and C++ need, and no more: every further proposal is code that a guest can reach.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    config.parallel_compilation(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK);
    config.memory_init_cow(true);
    config.wasm_backtrace_max_frames(NonZeroUsize::new(20));
    // For debuggers and profilers of the host only.
    config.native_unwind_info(false);
    config.wasm_simd(true);
    config.wasm_bulk_memory(true);
    config.wasm_multi_value(true);
    config.wasm_tail_call(true);
    config.wasm_extended_const(true);
    config.wasm_relaxed_simd(false);
    config.wasm_multi_memory(false);
    config.wasm_memory64(false);
    config
}

/// The signatures of everything that is linked, as the linker has them.
fn hostcalls(engine: &wasmtime::Engine, linker: &Linker<State>, clock: &Arc<Clock>) -> Hostcalls {
    let settings = Settings {
        abi: AbiVersion::V0_2_1,
        memory: 0,
        call: Duration::ZERO,
        configure: Duration::ZERO,
        vm_configuration: Vec::new(),
        environment: Vec::new(),
    };
    let mut store = Store::new(engine, State::new(Arc::new(settings), Arc::clone(clock)));
    let linked: Vec<_> =
        linker.iter(&mut store).map(|(module, name, item)| (format!("{module}.{name}"), item)).collect();
    let functions = linked.into_iter().filter_map(|(name, item)| match item {
        Extern::Func(function) => Some((name, function_signature(&function.ty(&store)))),
        _ => None,
    });
    functions.collect()
}

fn function_signature(ty: &FuncType) -> String {
    let name = |value: ValType| match value {
        ValType::I32 => "i32",
        ValType::I64 => "i64",
        ValType::F32 => "f32",
        ValType::F64 => "f64",
        ValType::V128 => "v128",
        ValType::Ref(_) => "ref",
    };
    scan::signature(ty.params().map(name), ty.results().map(name))
}
