//! Callouts: requests that a filter sends to a cluster while its stream, or its task, waits.
//!
//! A call is an ordinary future: nothing is sent before it is first polled, several are joined or raced like any others, and
//! dropping one forgets its answer. Only the host's callbacks make progress.

mod grpc;
mod http;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

#[doc(hidden)]
pub use grpc::Received;
pub use grpc::{GrpcCall, GrpcError, GrpcResponse, GrpcStream, PendingGrpc};
pub(crate) use grpc::{closed as grpc_closed, received as grpc_received};
pub(crate) use http::complete as http_completed;
pub use http::{HttpCall, HttpRequest, HttpResponse, PendingCall};

/// Until when a call waits, unless it says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that this filter may call; from [`Env::cluster`](crate::Env::cluster).
#[derive(Debug, Clone)]
pub struct Cluster {
    name: Rc<str>,
}

impl Cluster {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a request there, when awaited.
    ///
    /// ```no_run
    /// # use fyke_sdk::{Cluster, HttpRequest, Result};
    /// # use std::time::Duration;
    /// # async fn example(authz: &Cluster) -> Result<()> {
    /// let answer = authz.call(HttpRequest::get("/check").header("x-token", "t")).timeout(Duration::from_millis(200)).await?;
    /// if answer.status() == 200 { /* ... */ }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a call is sent when it is awaited"]
    pub fn call(&self, request: HttpRequest) -> HttpCall {
        HttpCall::new(self.name.clone(), request)
    }

    /// Calls a gRPC method there. Messages are bytes: bring the encoder that you like.
    ///
    /// ```no_run
    /// # use fyke_sdk::{Cluster, Result};
    /// # async fn example(limiter: &Cluster, message: &[u8]) -> Result<()> {
    /// let answer = limiter.grpc("envoy.service.ratelimit.v3.RateLimitService", "ShouldRateLimit").send(message).await?;
    /// let bytes = answer.message();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a call is sent when its message is"]
    pub fn grpc(&self, service: impl Into<String>, method: impl Into<String>) -> GrpcCall {
        GrpcCall::new(self.name.clone(), service.into(), method.into())
    }
}

/// What the host takes: 1 ms to 24 days.
fn milliseconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX.unsigned_abs())
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The host has no such cluster, or does not grant it to this filter.
    UnknownCluster,
    /// The time was up.
    Timeout,
    /// The call could not be started.
    Connect,
    /// The call failed on its way.
    Reset,
    /// There is no stream that could wait for the answer.
    Cancelled,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCluster => "the callout's cluster is unknown or not granted",
            Self::Timeout => "the callout timed out",
            Self::Connect => "the callout could not be started",
            Self::Reset => "the callout failed on its way",
            Self::Cancelled => "the callout has no stream to wait for it",
        })
    }
}

impl std::error::Error for CallError {}
