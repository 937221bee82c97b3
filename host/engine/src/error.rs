//! What can go wrong, in words for the person who has to do something about it.

use std::path::PathBuf;

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The compiler or the linker refused its configuration: this machine is not supported.
    #[error("the WebAssembly engine cannot run on this machine: {0}")]
    Unsupported(String),
    /// The thread that moves the epoch could not be started.
    #[error("cannot start the thread that enforces deadlines: {0}")]
    Ticker(#[source] std::io::Error),
    /// The directory of the cache cannot be used or created.
    #[error("cannot use the module cache at {path}: {source}")]
    CacheDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else could write into the directory of the cache, and code is loaded from it unchecked.
    #[error(
        "the module cache at {path} is not private: {reason}; use a directory of mode 0700 that belongs to this user"
    )]
    CacheNotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A module or a fresh instance of it was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Not a WebAssembly module, or not a valid one.
    #[error("not a valid WebAssembly module: {0}")]
    Invalid(String),
    /// The file is larger than any module may be.
    #[error("the module has {size} bytes, more than the {limit} that are allowed")]
    TooLarge {
        /// Bytes of the module.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// There is no ABI marker: this is WebAssembly, but not a Proxy-Wasm filter.
    #[error("the module exports no proxy_abi_version_* marker: it is not a Proxy-Wasm filter")]
    NoAbiMarker,
    /// There is an ABI marker, of a version that is not spoken here.
    #[error("the module is made for {0}; versions 0.1.0, 0.2.0, 0.2.1 and 0.2.100 are supported")]
    UnknownAbi(String),
    /// The module imports what this host does not have. All of them are named, with their signatures.
    #[error("the module imports what this host does not provide: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    /// The module imports a hostcall with other parameters than it has.
    #[error("import {import} has the signature {found}, the ABI says {expected}")]
    ImportSignature {
        /// `module.name`.
        import: String,
        /// What the module declares.
        found: String,
        /// What the ABI says.
        expected: String,
    },
    /// The module exports a callback with other parameters than it has in this ABI version.
    #[error("export {export} has the signature {found}, its ABI version says {expected}")]
    ExportSignature {
        /// Name of the export.
        export: String,
        /// What the module declares.
        found: String,
        /// What the ABI says.
        expected: String,
    },
    /// Values cannot be handed to the guest.
    #[error("the module exports neither proxy_on_memory_allocate nor malloc: values cannot be handed to it")]
    NoAllocator,
    /// There is no exported memory.
    #[error("the module exports no memory named \"memory\"")]
    NoMemory,
    /// The module starts with more memory than an instance may have.
    #[error(
        "the module starts with {size} bytes of memory, the limit is {limit}; raise it or build the module with less"
    )]
    MemoryTooLarge {
        /// Bytes that it starts with.
        size: u64,
        /// Bytes allowed.
        limit: usize,
    },
    /// The instance could not be made, for lack of address space or because of the module's tables.
    #[error("the module cannot be instantiated: {0}")]
    Instantiate(String),
    /// The module does something that cannot be copied. Says what a module has to be like.
    #[error("`isolation: stream` needs a module that {0}")]
    NotForImages(String),
    /// The instance cannot be frozen.
    #[error("`isolation: stream` cannot copy the configured instance: {0}")]
    Image(String),
    /// There is no room for the instances of images.
    #[error("`isolation: stream` cannot reserve room for {images} instances: {reason}")]
    Pool {
        /// Instances that it was to hold.
        images: usize,
        /// Why not.
        reason: String,
    },
    /// There are as many live instances of images as there may be. Dropping one makes room.
    #[error("there are {limit} live instances of `isolation: stream`, as many as there may be")]
    TooManyInstances {
        /// Instances that there may be.
        limit: usize,
    },
    /// The guest trapped or exited while it started (`_initialize`, `_start`, `main`).
    #[error("the module failed while it started: {0}")]
    Start(Trap),
}

/// A plugin was not configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// `proxy_on_vm_start` returned false: the instance is of no use.
    #[error("the filter refused to start (proxy_on_vm_start returned false); its log says why")]
    VmRefused,
    /// `proxy_on_configure` returned false: the filter does not accept this configuration.
    #[error("the filter refused its configuration (proxy_on_configure returned false); its log says why")]
    Refused,
    /// The guest trapped.
    #[error(transparent)]
    Trap(#[from] Trap),
}

/// A call into a guest did not end well. The instance is condemned.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the filter failed in {callback}: {message}")]
pub struct Trap {
    /// What happened, for metrics and policy.
    pub kind: TrapKind,
    /// The callback, by its name ([`Callback::name`](crate::Callback::name)), or the export that runs at start.
    pub callback: &'static str,
    /// What happened, for people.
    pub message: String,
    /// The guest's frames, innermost first; empty when there were none.
    pub backtrace: String,
}

/// The kinds of [`Trap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrapKind {
    /// The call used up its CPU time.
    Deadline,
    /// The guest ran out of the memory that it is allowed.
    Memory,
    /// The guest aborted: a panic, an assertion, `abort()`.
    Unreachable,
    /// The guest called `proc_exit`.
    Exit,
    /// The guest gave the host a pointer outside of its memory.
    BadPointer,
    /// Anything else: division by zero, stack overflow, a hostcall where none is allowed.
    Other,
    /// The instance had trapped before and was not entered.
    Condemned,
}

impl TrapKind {
    /// A stable label for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            TrapKind::Deadline => "deadline",
            TrapKind::Memory => "memory",
            TrapKind::Unreachable => "unreachable",
            TrapKind::Exit => "exit",
            TrapKind::BadPointer => "bad_pointer",
            TrapKind::Other => "other",
            TrapKind::Condemned => "condemned",
        }
    }
}
