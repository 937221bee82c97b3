//! The guest's callbacks, resolved once.
//!
//! One that is absent, or that the plugin does not want, is `None`: nothing about it is looked up when a
//! stream comes.

use wasmtime::{
    Extern, Instance, InstancePre, Linker, Module, ModuleExport, Store, TypedFunc, WasmParams, WasmResults,
};

use crate::callback::{Callback, CallbackSet};
use crate::module::AbiVersion;
use crate::state::State;

/// Compiled code, linked, and where in it everything is that is called or read from here.
pub(crate) struct Code {
    pub(crate) pre: InstancePre<State>,
    pub(crate) memory: ModuleExport,
    pub(crate) allocator: ModuleExport,
    /// In the order of [`Callback::ALL`]. An instance finds its exports by number instead of by name.
    callbacks: Vec<Option<ModuleExport>>,
}

impl Code {
    pub(crate) fn new(linker: &Linker<State>, module: &Module, allocator: &str) -> wasmtime::Result<Code> {
        let find = |name: &str| {
            module.get_export_index(name).ok_or_else(|| wasmtime::Error::msg(format!("there is no export {name}")))
        };
        Ok(Code {
            pre: linker.instantiate_pre(module)?,
            memory: find("memory")?,
            allocator: find(allocator)?,
            callbacks: Callback::ALL.iter().map(|callback| module.get_export_index(callback.export())).collect(),
        })
    }
}

/// A callback whose parameters are these.
pub(crate) type Export<P, R> = Option<TypedFunc<P, R>>;

/// A headers callback, which lacks `end_of_stream` in 0.1.0.
pub(crate) enum Headers {
    Absent,
    Short(TypedFunc<(u32, u32), i32>),
    Long(TypedFunc<(u32, u32, u32), i32>),
}

/// All of them.
pub(crate) struct Exports {
    pub(crate) context_create: Export<(u32, u32), ()>,
    pub(crate) vm_start: Export<(u32, u32), i32>,
    pub(crate) configure: Export<(u32, u32), i32>,
    pub(crate) request_headers: Headers,
    pub(crate) request_body: Export<(u32, u32, u32), i32>,
    pub(crate) request_trailers: Export<(u32, u32), i32>,
    pub(crate) response_headers: Headers,
    pub(crate) response_body: Export<(u32, u32, u32), i32>,
    pub(crate) response_trailers: Export<(u32, u32), i32>,
    pub(crate) new_connection: Export<u32, i32>,
    pub(crate) downstream_data: Export<(u32, u32, u32), i32>,
    pub(crate) upstream_data: Export<(u32, u32, u32), i32>,
    pub(crate) downstream_connection_close: Export<(u32, u32), ()>,
    pub(crate) upstream_connection_close: Export<(u32, u32), ()>,
    pub(crate) http_call_response: Export<(u32, u32, u32, u32, u32), ()>,
    pub(crate) grpc_receive_initial_metadata: Export<(u32, u32, u32), ()>,
    pub(crate) grpc_receive: Export<(u32, u32, u32), ()>,
    pub(crate) grpc_receive_trailing_metadata: Export<(u32, u32, u32), ()>,
    pub(crate) grpc_close: Export<(u32, u32, u32), ()>,
    pub(crate) tick: Export<u32, ()>,
    pub(crate) queue_ready: Export<(u32, u32), ()>,
    pub(crate) foreign_function: Export<(u32, u32, u32), ()>,
    pub(crate) done: Export<u32, i32>,
    pub(crate) log: Export<u32, ()>,
    pub(crate) delete: Export<u32, ()>,
}

impl Exports {
    /// Resolves those in `wanted`. Their signatures were checked when the module was scanned.
    pub(crate) fn resolve(
        instance: &Instance,
        store: &mut Store<State>,
        code: &Code,
        wanted: CallbackSet,
    ) -> wasmtime::Result<Exports> {
        let mut resolver = Resolver { instance, store, code, wanted };
        Ok(Exports {
            context_create: resolver.export(Callback::ContextCreate)?,
            vm_start: resolver.export(Callback::VmStart)?,
            configure: resolver.export(Callback::Configure)?,
            request_headers: resolver.headers(Callback::RequestHeaders)?,
            request_body: resolver.export(Callback::RequestBody)?,
            request_trailers: resolver.export(Callback::RequestTrailers)?,
            response_headers: resolver.headers(Callback::ResponseHeaders)?,
            response_body: resolver.export(Callback::ResponseBody)?,
            response_trailers: resolver.export(Callback::ResponseTrailers)?,
            new_connection: resolver.export(Callback::NewConnection)?,
            downstream_data: resolver.export(Callback::DownstreamData)?,
            upstream_data: resolver.export(Callback::UpstreamData)?,
            downstream_connection_close: resolver.export(Callback::DownstreamConnectionClose)?,
            upstream_connection_close: resolver.export(Callback::UpstreamConnectionClose)?,
            http_call_response: resolver.export(Callback::HttpCallResponse)?,
            grpc_receive_initial_metadata: resolver.export(Callback::GrpcReceiveInitialMetadata)?,
            grpc_receive: resolver.export(Callback::GrpcReceive)?,
            grpc_receive_trailing_metadata: resolver.export(Callback::GrpcReceiveTrailingMetadata)?,
            grpc_close: resolver.export(Callback::GrpcClose)?,
            tick: resolver.export(Callback::Tick)?,
            queue_ready: resolver.export(Callback::QueueReady)?,
            foreign_function: resolver.export(Callback::ForeignFunction)?,
            done: resolver.export(Callback::Done)?,
            log: resolver.export(Callback::Log)?,
            delete: resolver.export(Callback::Delete)?,
        })
    }
}

struct Resolver<'a> {
    instance: &'a Instance,
    store: &'a mut Store<State>,
    code: &'a Code,
    wanted: CallbackSet,
}

impl Resolver<'_> {
    fn export<P: WasmParams, R: WasmResults>(&mut self, callback: Callback) -> wasmtime::Result<Export<P, R>> {
        if !self.wanted.contains(callback) {
            return Ok(None);
        }
        let Some(Some(at)) = self.code.callbacks.get(callback as usize) else { return Ok(None) };
        function(self.instance, self.store, at).map(Some)
    }

    fn headers(&mut self, callback: Callback) -> wasmtime::Result<Headers> {
        Ok(if self.store.data().settings.abi == AbiVersion::V0_1_0 {
            self.export(callback)?.map_or(Headers::Absent, Headers::Short)
        } else {
            self.export(callback)?.map_or(Headers::Absent, Headers::Long)
        })
    }
}

/// The function at `at`, if it has that type.
pub(crate) fn function<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<State>,
    at: &ModuleExport,
) -> wasmtime::Result<TypedFunc<P, R>> {
    match instance.get_module_export(&mut *store, at) {
        Some(Extern::Func(function)) => function.typed(&*store),
        _ => Err(wasmtime::Error::msg("an export is not the function that it was")),
    }
}
