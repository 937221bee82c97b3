//! One request to the collector and what its answer means.
//!
//! A client has at most one connection, which it keeps while answers are whole. A request over a kept connection that
//! breaks without an answer is sent once more on a fresh one at once: an idle connection that the collector closes is
//! no failure. That may deliver a batch twice, which the OTLP specification prefers to losing it ("Duplicate Data").
//!
//! Nothing that a collector answers is believed: every attempt has a time limit, heads, trailers and bodies have limits
//! of size, and a connection that was given up is cut with everything that runs for it.

mod answer;
mod connection;
mod grpc;
mod http;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{Request, Uri, uri::PathAndQuery};
use bytes::Bytes;
use http_body_util::Full;
use tokio::time::timeout;

use self::connection::Connection;
pub(crate) use self::{
    answer::{Failure, Retry, quoted},
    grpc::frame,
};
use crate::telemetry::otlp::{
    connect::Connect,
    record::{PartialSuccess, Signal},
    settings::{Compression, Protocol, Settings},
    statistics::FailureReason,
};

/// Longest text of a collector that is kept, in bytes.
const MESSAGE_TEXT: usize = 256;

/// Sends requests, one at a time.
#[derive(Debug)]
pub(crate) struct Client {
    settings: Arc<Settings>,
    connector: Arc<dyn Connect>,
    wall: fn() -> SystemTime,
    kept: Option<Connection>,
}

impl Client {
    pub(crate) fn new(settings: Arc<Settings>, connector: Arc<dyn Connect>, wall: fn() -> SystemTime) -> Self {
        Self { settings, connector, wall, kept: None }
    }

    /// Sends a body that [`crate::telemetry::otlp::body::encode`] made. Cancel safe: the connection is then cut.
    pub(crate) async fn send(&mut self, signal: Signal, body: &Bytes) -> Result<PartialSuccess, Failure> {
        let limit = self.settings.timeout;
        let sent = timeout(limit, self.attempt(signal, body)).await;
        sent.unwrap_or_else(|_| Err(late(limit)))
    }

    async fn attempt(&mut self, signal: Signal, body: &Bytes) -> Result<PartialSuccess, Failure> {
        // Taken out: whatever ends this future early cuts the connection with it.
        if let Some(mut kept) = self.kept.take() {
            let answer = self.exchange(&mut kept, signal, body).await;
            if !matches!(&answer, Err(failure) if failure.reason == FailureReason::Transport) {
                return self.keep(kept, answer);
            }
        }
        let stream = self.connector.connect(&self.settings.endpoint, self.settings.protocol).await;
        let stream = stream.map_err(|error| Failure::broken(FailureReason::Connect, &error))?;
        let mut fresh = Connection::open(stream, self.settings.protocol)
            .await
            .map_err(|error| Failure::broken(FailureReason::Connect, &error))?;
        let answer = self.exchange(&mut fresh, signal, body).await;
        self.keep(fresh, answer)
    }

    /// Keeps the connection for the next request if this one has not shown it to be bad.
    fn keep(
        &mut self,
        connection: Connection,
        answer: Result<PartialSuccess, Failure>,
    ) -> Result<PartialSuccess, Failure> {
        use FailureReason::{Refused, Throttled, Unavailable};
        let spoke = match &answer {
            Ok(_) => true,
            Err(failure) => matches!(failure.reason, Throttled | Unavailable | Refused),
        };
        if spoke {
            self.kept = Some(connection);
        }
        answer
    }

    async fn exchange(
        &self,
        connection: &mut Connection,
        signal: Signal,
        body: &Bytes,
    ) -> Result<PartialSuccess, Failure> {
        let request = self.request(signal, body.clone())?;
        let response = connection.send(request).await?;
        match self.settings.protocol {
            Protocol::Grpc => grpc::answer(signal, response).await,
            Protocol::Http => http::answer(signal, response, self.wall).await,
        }
    }

    fn request(&self, signal: Signal, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let settings = &self.settings;
        let endpoint = &settings.endpoint;
        let (path, mut headers) = match settings.protocol {
            Protocol::Grpc => (signal.grpc_path().to_owned(), grpc::headers(settings.timeout, settings.compression)),
            Protocol::Http => {
                (format!("{}{}", endpoint.path(), signal.http_path()), http::headers(settings.compression))
            }
        };
        // `append` would make two of a `user-agent` that was configured.
        for (name, value) in &settings.headers {
            headers.insert(name.clone(), value.clone());
        }
        let uri = match settings.protocol {
            Protocol::Grpc => PathAndQuery::try_from(path).ok().and_then(|path| {
                Uri::builder()
                    .scheme(endpoint.scheme())
                    .authority(endpoint.authority().clone())
                    .path_and_query(path)
                    .build()
                    .ok()
            }),
            Protocol::Http => Uri::try_from(path).ok(),
        };
        if settings.protocol == Protocol::Http {
            headers.insert(::http::header::HOST, http::host(endpoint)?);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = ::http::Method::POST;
        *request.uri_mut() = uri.ok_or_else(|| Failure::ours("the endpoint makes no URI"))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Names of the exporter (OTLP specification, "User Agent").
fn user_agent() -> ::http::HeaderValue {
    ::http::HeaderValue::from_static(concat!("Fyke/", env!("CARGO_PKG_VERSION")))
}

fn gzip(compression: Compression) -> Option<::http::HeaderValue> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some(::http::HeaderValue::from_static("gzip")),
    }
}

fn late(limit: Duration) -> Failure {
    Failure { reason: FailureReason::Timeout, retry: Retry::Later(None), text: format!("no answer within {limit:?}") }
}

#[cfg(test)]
mod tests;
