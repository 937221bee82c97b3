//! One guest: instantiation, the lifecycle of its contexts, and the calls into it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Extern, Store, WasmParams, WasmResults};

use crate::callback::{Callback, CallbackSet};
use crate::enter::{Loan, call, configure};
use crate::error::{ConfigureError, LoadError, Trap};
use crate::exports::{self, Code, Exports};
use crate::host::Host;
use crate::limits::{self, Pace};
use crate::module::{Module, ModuleInner};
use crate::scan::{Main, Start};
use crate::state::{Mode, Readable, Settings, State};
use crate::ticker::Clock;
use crate::trap;
use crate::types::ContextId;

/// The limits and the environment of an instance.
#[derive(Debug, Clone)]
pub struct InstanceOptions {
    /// Bytes of memory that the guest may have. Default: 64 MiB.
    pub memory: usize,
    /// CPU time of one call. Default: 10 ms.
    pub call_time: Duration,
    /// CPU time of each call while the guest starts and is configured. Default: 10 s.
    pub configure_time: Duration,
    /// The VM's configuration, readable in `proxy_on_vm_start` and `proxy_on_configure`. Default: empty.
    pub vm_configuration: Vec<u8>,
    /// The guest's environment variables. Default: none.
    pub environment: Vec<(String, String)>,
    /// The callbacks that are wanted; [`CallbackSet::LIFECYCLE`] is always added. Default: all that the module exports.
    pub callbacks: Option<CallbackSet>,
}

impl Default for InstanceOptions {
    fn default() -> Self {
        InstanceOptions {
            memory: 64 << 20,
            call_time: Duration::from_millis(10),
            configure_time: Duration::from_secs(10),
            vm_configuration: Vec::new(),
            environment: Vec::new(),
            callbacks: None,
        }
    }
}

/// One guest with a memory of its own. It may move between threads, but not while it runs.
///
/// The `on_*` methods are the ABI's callbacks. One that is not in [`Instance::callbacks`] does nothing and
/// returns what lets the stream go on. After a [`Trap`] the instance is condemned and every method that would enter it fails.
pub struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) exports: Exports,
    callbacks: CallbackSet,
    pub(crate) vm: Vm,
    pub(crate) wasm: wasmtime::Instance,
    /// What it was made from; a copy of an image has none.
    pub(crate) module: Option<Arc<ModuleInner>>,
}

/// What became of `proxy_on_vm_start`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vm {
    New,
    Started,
    Refused,
}

impl Instance {
    /// Makes an instance and lets the guest start (`_initialize` and `main`, or `_start`). Log lines that it writes meanwhile
    /// have the context id 0.
    ///
    /// # Errors
    /// [`LoadError::MemoryTooLarge`], [`LoadError::Instantiate`] or [`LoadError::Start`].
    pub fn new(module: &Module, options: &InstanceOptions, host: &mut dyn Host) -> Result<Instance, LoadError> {
        let module = &module.0;
        if module.facts.memory > options.memory as u64 {
            return Err(LoadError::MemoryTooLarge { size: module.facts.memory, limit: options.memory });
        }
        let variables = options.environment.iter();
        let settings = Arc::new(Settings {
            abi: module.facts.abi,
            memory: options.memory,
            call: options.call_time,
            configure: options.configure_time,
            vm_configuration: options.vm_configuration.clone(),
            environment: variables.map(|(key, value)| format!("{key}={value}\0").into_bytes()).collect(),
        });
        let mut store = new_store(&module.code, &settings, &module.clock);
        let mut loan = Loan::new(&mut store, host, ContextId(0), Mode::Starting, Pace::Configure);
        let instance = match module.code.pre.instantiate(loan.store()) {
            Ok(instance) => instance,
            // Of the guest's own code only a `start` section can have run.
            Err(error) if trap::is_guest(&error) => return Err(LoadError::Start(loan.trap(&error, "start"))),
            Err(error) => return Err(LoadError::Instantiate(format!("{error:#}"))),
        };
        find_memory(loan.store(), instance, &module.code)?;
        start(&mut loan, &instance, module.facts.start)?;
        loan.end();

        let wanted = options.callbacks.map_or(CallbackSet::ALL, |callbacks| callbacks.union(CallbackSet::LIFECYCLE));
        let callbacks = module.facts.callbacks.intersect(wanted);
        let mut instance = Instance::assemble(store, instance, &module.code, callbacks, Vm::New)?;
        instance.module = Some(Arc::clone(module));
        Ok(instance)
    }

    /// An instance of a guest that has started.
    pub(crate) fn assemble(
        mut store: Store<State>,
        wasm: wasmtime::Instance,
        code: &Code,
        callbacks: CallbackSet,
        vm: Vm,
    ) -> Result<Instance, LoadError> {
        let broken = |error: wasmtime::Error| LoadError::Instantiate(format!("{error:#}"));
        find_memory(&mut store, wasm, code)?;
        let allocator = exports::function(&wasm, &mut store, &code.allocator).map_err(broken)?;
        store.data_mut().allocator = Some(Box::new(allocator));
        let exports = Exports::resolve(&wasm, &mut store, code, callbacks).map_err(broken)?;
        Ok(Instance { store, exports, callbacks, vm, wasm, module: None })
    }

    /// The callbacks that the module exports and the options want.
    #[must_use]
    pub fn callbacks(&self) -> CallbackSet {
        self.callbacks
    }

    /// Whether the guest has trapped. Then nothing enters it any more.
    #[must_use]
    pub fn is_condemned(&self) -> bool {
        self.store.data().condemned
    }

    /// Bytes of the guest's memory now.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// Makes a plugin context and configures it; the first one of an instance starts the VM.
    ///
    /// # Errors
    /// [`ConfigureError::VmRefused`]: the instance is of no use, every further call of this method says so again.
    /// [`ConfigureError::Refused`]: the context is gone, others of this instance are as they were.
    pub fn configure_root(&mut self, host: &mut dyn Host, configuration: &[u8]) -> Result<ContextId, ConfigureError> {
        if self.vm == Vm::Refused {
            return Err(ConfigureError::VmRefused);
        }
        self.check_entry(Callback::ContextCreate)?;
        let root = self.store.data_mut().contexts.create(None);
        if let Some(export) = &self.exports.context_create {
            configure(&mut self.store, host, Callback::ContextCreate, root, export, (root.0, 0))?;
        }
        if self.vm == Vm::New {
            let length = abi_length(self.store.data().settings.vm_configuration.len());
            if let Some(export) = &self.exports.vm_start {
                self.store.data_mut().readable = Readable::Vm;
                let started = configure(&mut self.store, host, Callback::VmStart, root, export, (root.0, length));
                self.store.data_mut().readable = Readable::Nothing;
                if started? == 0 {
                    self.vm = Vm::Refused;
                    return Err(ConfigureError::VmRefused);
                }
            }
            self.vm = Vm::Started;
        }
        if let Some(export) = &self.exports.configure {
            let state = self.store.data_mut();
            state.configuration = configuration.to_vec();
            state.readable = Readable::Plugin;
            let params = (root.0, abi_length(configuration.len()));
            let accepted = configure(&mut self.store, host, Callback::Configure, root, export, params);
            let state = self.store.data_mut();
            state.readable = Readable::Nothing;
            state.configuration = Vec::new();
            if accepted? == 0 {
                self.on_delete(host, root)?;
                return Err(ConfigureError::Refused);
            }
        }
        Ok(root)
    }

    /// Makes a stream context under `root`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before; the same holds for every method below.
    pub fn create_stream(&mut self, host: &mut dyn Host, root: ContextId) -> Result<ContextId, Trap> {
        self.check_entry(Callback::ContextCreate)?;
        let cx = self.store.data_mut().contexts.create(Some(root));
        if let Some(export) = &self.exports.context_create {
            call(&mut self.store, host, Callback::ContextCreate, cx, export, (cx.0, root.0))?;
        }
        Ok(cx)
    }

    /// Ends a plugin context: `proxy_on_done`, then `proxy_on_delete`. A guest that would rather wait is not waited for:
    /// whoever wants to calls [`Instance::on_done`] and, when the guest has called `proxy_done`, [`Instance::on_delete`].
    pub fn delete_root(&mut self, host: &mut dyn Host, root: ContextId) -> Result<(), Trap> {
        self.on_done(host, root)?;
        self.on_delete(host, root)
    }

    /// Forgets a context: `proxy_on_delete`, the last call for its id.
    ///
    /// # Errors
    /// When the guest traps or has trapped before; the id is gone all the same.
    pub fn on_delete(&mut self, host: &mut dyn Host, cx: ContextId) -> Result<(), Trap> {
        let result = match &self.exports.delete {
            Some(export) => call(&mut self.store, host, Callback::Delete, cx, export, cx.0),
            None => Ok(()),
        };
        self.store.data_mut().contexts.remove(cx);
        result
    }

    fn check_entry(&self, callback: Callback) -> Result<(), Trap> {
        if self.is_condemned() { Err(trap::condemned(callback.name())) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("callbacks", &self.callbacks)
            .field("condemned", &self.is_condemned())
            .finish_non_exhaustive()
    }
}

pub(crate) fn new_store(code: &Code, settings: &Arc<Settings>, clock: &Arc<Clock>) -> Store<State> {
    let state = State::new(Arc::clone(settings), Arc::clone(clock));
    let mut store = Store::new(code.pre.module().engine(), state);
    store.limiter(|state| &mut state.limits);
    store.epoch_deadline_callback(limits::on_epoch);
    store
}

fn find_memory(store: &mut Store<State>, wasm: wasmtime::Instance, code: &Code) -> Result<(), LoadError> {
    let Some(Extern::Memory(memory)) = wasm.get_module_export(&mut *store, &code.memory) else {
        return Err(LoadError::NoMemory);
    };
    store.data_mut().memory = Some(memory);
    Ok(())
}

/// Runs what a module wants to run once (C1 to C3 of PROXY-WASM.md).
fn start(loan: &mut Loan<'_>, instance: &wasmtime::Instance, start: Start) -> Result<(), LoadError> {
    match start {
        Start::Nothing => {}
        Start::Command => start_one::<(), ()>(loan, instance, "_start", ())?,
        Start::Reactor(main) => {
            start_one::<(), ()>(loan, instance, "_initialize", ())?;
            match main {
                Main::None => {}
                Main::WithArguments => start_one::<(u32, u32), i32>(loan, instance, "main", (0, 0))?,
                Main::Void => start_one::<(), i32>(loan, instance, "__main_void", ())?,
            }
        }
    }
    Ok(())
}

fn start_one<P: WasmParams, R: WasmResults>(
    loan: &mut Loan<'_>,
    instance: &wasmtime::Instance,
    name: &'static str,
    params: P,
) -> Result<(), LoadError> {
    let function = instance
        .get_typed_func::<P, R>(loan.store(), name)
        .map_err(|error| LoadError::Instantiate(format!("{error:#}")))?;
    match function.call(loan.store(), params) {
        Ok(_) => Ok(()),
        Err(error) => Err(LoadError::Start(loan.trap(&error, name))),
    }
}

/// No buffer of the ABI has more than 4 GiB.
fn abi_length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
