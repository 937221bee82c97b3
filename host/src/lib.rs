//! Fyke, a service proxy whose filters are sandboxed WebAssembly modules.
//!
//! The host moves bytes; everything that understands them is a filter. This crate is the host. Its parts, from the outside in,
//! and who may know whom (always downwards):
//!
//! * [`cli`]: one file per subcommand. [`admin`]: what operators ask over HTTP.
//! * [`reload`]: turns a configuration into running workers; everything new is built on the side before anything is swapped.
//! * [`worker`]: one thread per core, and all that lives on it.
//! * [`listener`]: sockets, TLS, connections. [`http`]: streams and bodies. [`tcp`]: bytes both ways.
//! * [`filter`]: the chain, phase by phase. It knows no ABI.
//! * [`wasm`]: binds the engine (crate `fyke-engine`) to streams.
//! * [`callout`], [`shared`]: what filters may use besides their stream.
//! * [`upstream`]: executes route decisions. [`discovery`]: where endpoints come from. [`cluster`]: endpoints, balancing, pools.
//! * [`telemetry`]: metrics, log sinks, the process's own log.
//! * [`dry_run`]: a configuration on a proxy of its own, for its tests and for explanations: the real parts, with stand-ins for endpoints.
//! * [`envoy`]: a filter in the words of Envoy. [`testbed`]: a proxy around one filter, for the filter's own tests; driven over a pipe.
//! * [`config`] and [`snapshot`]: plain data that all may read. [`transport`]: byte streams.
//!   [`clock`]: the wall clock. [`files`]: whole files or none. [`trust`]: the system's authorities.
//!
//! Two planes: the control plane (one small runtime) loads, validates, compiles and serves the admin API; the data plane (the
//! workers) serves traffic. What a stream touches is `!Send` and stays on its worker. There are no global registries; parts receive what
//! they need.

#![forbid(unsafe_code)]

pub mod admin;
pub mod callout;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod discovery;
pub mod dry_run;
pub mod envoy;
pub mod files;
pub mod filter;
pub mod http;
pub mod listener;
pub mod proxy_protocol;
pub mod reload;
pub mod shared;
pub mod snapshot;
pub mod tcp;
pub mod telemetry;
pub mod testbed;
pub mod transport;
pub mod trust;
pub mod upstream;
pub mod wasm;
pub mod worker;
pub mod xds;
