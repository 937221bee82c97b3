//! Proxy-Wasm as a library: modules, instances, limits and the ABI, without sockets or a runtime.
//!
//! # What this is
//! The sandbox in which Fyke runs filters. An [`Engine`] compiles WebAssembly [`Module`]s that speak
//! Proxy-Wasm (0.1.0, 0.2.0, 0.2.1, and 0.2.100's wider actions); an [`Instance`] of a module is one guest
//! with its own memory, in which plugin (root) and stream contexts live; the `on_*` methods of an instance are
//! the ABI's callbacks. What the guest asks for while it runs arrives at the embedder's [`Host`].
//!
//! # What this is not
//! There is no network here, no timer, no header map, no body, no metric, no configuration file. All
//! of those are the embedder's and are reached through [`Host`]. There is no scheduling either: a call runs on the
//! caller's thread until the guest returns or its budget is spent.
//!
//! # Who owns what
//! | thing | owner |
//! |---|---|
//! | compiled code, the epoch clock, the linked hostcalls | [`Engine`], shared by everything made from it |
//! | code of one module, what it exports | [`Module`], shared by its instances |
//! | guest memory, context ids, the plugin's configuration while it is read | [`Instance`] |
//! | a configured guest, frozen, with its code | [`Image`], shared by its instances |
//! | the room in which instances of images live | [`Engine`], reserved with the first image, kept by what lives in it |
//! | streams, maps, buffers, callouts, timers | the embedder, behind [`Host`] |
//!
//! The host is *lent*: each `on_*` call takes a `&mut dyn Host`, the store points at it while the
//! guest runs, and forgets it when the call is over, whatever the outcome. So a stream never lives in a
//! store, and handing one to a guest copies nothing.
//!
//! # Invariants
//! 1. A guest is never re-entered during a hostcall, its allocator aside; while the allocator runs
//!    only logging and clocks are permitted, anything else traps.
//! 2. A guest pointer is checked before it is used. A bad one, in either direction, traps that guest.
//! 3. A hostcall returns only the statuses that the official SDKs survive.
//! 4. After a trap the instance is condemned: nothing enters it again.
//! 5. Every call has a budget of *thread CPU time*, a memory cap, and bounded tables. A guest exceeds its budget by a few epoch
//!    ticks at most; what this crate does in one hostcall is bounded by the guest's memory, what the host does is its own affair.
//! 6. A call that ends before the next epoch tick makes no system call and, once warm, no allocation.
//! 7. Guest bytes never panic the host.
//! 8. An instance of an [`Image`] begins as the frozen one was, runs no guest code to get there, and shares no byte that it
//!    can write. There are never more of them than [`EngineOptions::images`], nor more than the kernel has mappings for: at
//!    the cap [`Image::instantiate`] fails, nothing else does.
//!
//! # The files
//! `engine`, `module` and `instance` are the public nouns; `scan` reads a module before it is
//! compiled, `cache` keeps compiled ones on disk, `image` is a frozen instance, `freeze` rewrites a module with its state,
//! `pool` is where copies of images live, `ticker` moves the epoch, `state` is what a store holds, with `contexts` (in an `id_map`) and `limits`,
//! `background` is for threads that compile, `exports` what is called in a guest, `enter` how, `calls` the callbacks as methods, `abi/` what a guest calls here (one file per family of hostcalls).
//!
//! # Example
//! ```
//! use fyke_engine::{Callback, Engine, EngineOptions};
//!
//! let engine = Engine::new(EngineOptions::default())?;
//! let module = engine.compile(&wat::parse_str(
//!     r#"(module
//!         (memory (export "memory") 1)
//!         (func (export "proxy_abi_version_0_2_1"))
//!         (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
//!         (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) i32.const 0))"#,
//! )?)?;
//! assert!(module.callbacks().contains(Callback::RequestHeaders));
//! assert!(!module.callbacks().contains(Callback::RequestBody));
//! // With a `Host` at hand: `Instance::new(&module, &InstanceOptions::default(), &mut host)`.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod abi;
mod background;
mod cache;
mod callback;
mod calls;
mod contexts;
mod engine;
mod enter;
mod error;
mod exports;
mod freeze;
mod host;
mod id_map;
mod image;
mod instance;
mod limits;
mod module;
mod pool;
mod scan;
mod state;
mod ticker;
mod trap;
mod types;

pub use self::background::run_in_background;
pub use self::callback::{Callback, CallbackSet};
pub use self::engine::{Engine, EngineOptions};
pub use self::error::{ConfigureError, EngineError, LoadError, Trap, TrapKind};
pub use self::host::{Buffer, GrpcCall, Host, HttpCall, LocalResponse, Map, Refused, SharedData};
pub use self::id_map::IdMap;
pub use self::image::Image;
pub use self::instance::{Instance, InstanceOptions};
pub use self::module::{AbiVersion, Module};
pub use self::scan::manifest;
pub use self::types::{
    BufferKind, ContextId, DataAction, HeadersAction, LogLevel, MapKind, MetricKind, PeerKind, Status, StreamKind,
};
