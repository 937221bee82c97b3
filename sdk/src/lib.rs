//! Write filters for Fyke, and for every other host that speaks Proxy-Wasm 0.2.1.
//!
//! A filter is a value with methods: each names a moment in the life of a stream, and the ones that are left out cost nothing.
//!
//! ```
//! use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Reply, Request, Response, Result, http_filter};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     greeting: String,
//! }
//!
//! struct Hello {
//!     greeting: String,
//! }
//!
//! #[http_filter]
//! impl HttpFilter for Hello {
//!     type Config = Config;
//!     type Ctx = ();
//!
//!     fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
//!         Ok(Self { greeting: config.greeting })
//!     }
//!
//!     async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
//!         if request.path() == b"/hello" {
//!             return Ok(Reply::text(200, self.greeting.as_str()).into());
//!         }
//!         Ok(Flow::Continue)
//!     }
//!
//!     async fn on_response(&self, _cx: &mut (), response: &mut Response) -> Result<Flow> {
//!         response.set("x-hello", &self.greeting)?;
//!         Ok(Flow::Continue)
//!     }
//! }
//! ```
//!
//! `cargo build --release --target wasm32-wasip1` of a `cdylib` makes a module of it.
//!
//! # Phase chart
//! From top to bottom, here and on Envoy. A method that waits (`.await`) pauses its stream and nothing else.
//!
//! | When | Method | May wait | May reply | Callback |
//! |---|---|---|---|---|
//! | at load | [`configure`](HttpFilter::configure) | no | refuses | `proxy_on_configure` |
//! | before that, when `fyke explain` asks (Fyke only) | [`explain`](HttpFilter::explain) | no | no | `proxy_on_foreign_function` 2 |
//! | request headers | [`on_request`](HttpFilter::on_request) | yes | yes | `proxy_on_request_headers` |
//! | request body, whole | [`on_request_with_body`](HttpFilter::on_request_with_body) | yes | yes | `proxy_on_request_headers`, `_body`, `_trailers` |
//! | request body, each chunk | [`on_request_chunk`](HttpFilter::on_request_chunk) | no | on error | `proxy_on_request_body` |
//! | route cleared (Fyke only) | [`on_reroute`](HttpFilter::on_reroute) | no | yes | `proxy_on_foreign_function` 1 |
//! | response headers | [`on_response`](HttpFilter::on_response) | yes | yes | `proxy_on_response_headers` |
//! | response body, whole | [`on_response_with_body`](HttpFilter::on_response_with_body) | yes | yes | `proxy_on_response_headers`, `_body`, `_trailers` |
//! | response body, each chunk | [`on_response_chunk`](HttpFilter::on_response_chunk) | no | no | `proxy_on_response_body` |
//! | stream over | [`on_log`](HttpFilter::on_log) | no | no | `proxy_on_log` |
//!
//! A module is called for what its filter has methods for. Where that depends on the configuration, a filter says so:
//! [`wants_request`](HttpFilter::wants_request), [`wants_response`](HttpFilter::wants_response),
//! [`wants_request_chunks`](HttpFilter::wants_request_chunks), [`wants_response_chunks`](HttpFilter::wants_response_chunks).
//!
//! Filters of TCP connections have a chart of their own, at [`TcpFilter`]; one type may be a filter of both. A filter of connections may let many clients
//! share a few connections to the server: [`lease`]. Beside the streams there are tasks: [`Env::every`].
//!
//! # Waiting
//! Calls ([`Cluster::call`]), gRPC ([`Cluster::grpc`]), commands of Redis ([`Redis::call`]), derived keys ([`crypto::pbkdf2`])
//! and [`sleep`] are futures. [`join`], [`join_all`], [`select`] and [`timeout`] run
//! several at once; what is dropped is cancelled. Futures of other crates work too, as long as what they wait for is one of these: nothing
//! else wakes a filter.
//!
//! A reply made by any filter, or by the host, passes the response methods of the filters between it and the client; hosts
//! differ on whether the filter that replied sees it too (Envoy shows it).
//!
//! # When it fails
//! An `Err` costs one stream: it is logged and answered with 500 and `response.code_details` = `filter_error`. A panic is a trap
//! and costs the instance. A refused configuration costs nothing, for the old one keeps serving. More in [`failures`].
//!
//! # Where to begin
//! [`guide`] builds a filter step by step; [`testing::TestHost`] is where tests begin.
//!
//! # Who owns what
//! [`abi`] is the only module with `unsafe`; `runtime` turns callbacks into methods; everything else is what authors see. On
//! wasm32 the host is outside; on any other target it is [`testing`], so that filters are tested without a proxy.
//! There are no threads and no clocks of our own: time, randomness and the network are the host's.

#![deny(missing_docs, unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

extern crate self as fyke_sdk;

pub mod abi;
mod body;
#[doc = include_str!("../docs/failures.md")]
pub mod failures {}
#[doc = include_str!("../docs/guide.md")]
#[allow(
    clippy::test_attr_in_doctest,
    reason = "`tests/e2e/authors.rs` builds the guide as a project and runs its tests"
)]
pub mod guide {}
mod callout;
mod configure;
mod cookie;
pub mod crypto;
mod endpoint;
mod env;
mod error;
mod filter;
mod flow;
mod future;
mod hash;
mod headers;
pub mod lease;
pub mod log;
mod mailbox;
mod metric;
mod owner;
mod panel;
pub mod property;
mod query;
pub mod random;
pub mod redis;
mod request;
mod response;
pub mod routes;
#[doc(hidden)]
pub mod runtime;
mod schema;
mod shared;
pub mod tcp;
mod template;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod time;
mod timer;
pub mod trace;
pub mod units;

pub use body::{Body, Chunk};
pub use callout::{
    CallError, Cluster, GrpcCall, GrpcError, GrpcResponse, GrpcStream, HttpCall, HttpRequest, HttpResponse,
    PendingCall, PendingGrpc,
};
pub use cookie::{SameSite, SetCookie};
pub use endpoint::Endpoint;
pub use env::Env;
pub use error::{ConfigError, Error, Result};
pub use filter::HttpFilter;
#[doc(hidden)]
pub use filter::{Callbacks, Present};
pub use flow::{Flow, Reply};
pub use future::{Either, join, join_all, select};
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use fyke_sdk_macros::{FilterConfig, http_filter, tcp_filter};
pub use headers::{Headers, header_name, header_value};
pub use lease::{LeaseRefused, LeaseRequest, LeaseToken, Leased, Opened};
pub use log::{LogSink, StreamLog};
pub use metric::{Counter, DynamicCounter, DynamicGauge, DynamicHistogram, Gauge, Histogram, MetricDefinition};
pub use panel::{Chart, Panel, Unit};
#[doc(hidden)]
pub use panel::{bytes as panel_bytes, check as check_panels, length as panel_length};
pub use query::Query;
pub use redis::{Redis, RedisError};
pub use request::Request;
pub use response::Response;
pub use routes::{
    Backoff, Connect, HeaderMatch, HeaderTest, HedgePolicy, InternalRedirect, Mirror, Priority, RateLimitedBackoff,
    ResetFormat, ResetHeader, RetryOn, RetryPolicy, RouteAction, RouteHandle, RouteOverrides, Routes, Upgrade,
    WeightedCluster,
};
pub use schema::{FilterConfig, Schema};
#[doc(hidden)]
pub use schema::{Of as SchemaOf, Unknown as UnknownSchema};
pub use shared::Shared;
pub use tcp::{Conn, Data, Side, TcpFilter, TcpFlow};
#[doc(hidden)]
pub use tcp::{TcpCallbacks, TcpPresent};
pub use template::Template;
pub use timer::{Elapsed, sleep, timeout};
