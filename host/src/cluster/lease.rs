//! One connection, lent for one request.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::atomic::Ordering};

use futures_util::future::Either;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use tokio::time::Instant;

use super::{
    RequestBody,
    choice::Priority,
    connect::Ends,
    error::ClusterError,
    health::{
        active::IMMEDIATE_FAIL,
        outlier::{LocalOriginFailure, Outcome},
    },
    load::Report,
    local::{LocalCluster, Open},
    pool::{LocalEndpoint, Multiplexed},
    settings::ExtendedConnect,
};

/// The connection itself.
#[derive(Debug)]
pub enum Link {
    /// HTTP/1.1.
    Http1 {
        /// Takes the request.
        sender: http1::SendRequest<RequestBody>,
        /// Requests before this one.
        served: u64,
        /// Its place in the pool, which a tunnel keeps when hyper has let go of the connection.
        open: Rc<Open>,
    },
    /// HTTP/2.
    Http2 {
        /// Takes the request.
        sender: http2::SendRequest<RequestBody>,
        /// The connection that it shares.
        connection: Rc<Multiplexed>,
    },
}

/// A lent connection. Dropped without [`Lease::finish`], an HTTP/1.1 connection is closed and an HTTP/2 stream reset.
#[derive(Debug)]
pub struct Lease {
    cluster: Rc<LocalCluster>,
    endpoint: Rc<LocalEndpoint>,
    link: Option<Link>,
    ends: Ends,
    reused: bool,
    priority: Priority,
    /// When it was lent.
    lent: Instant,
    /// The answer has said how busy the endpoint is.
    has_reported: Cell<bool>,
}

/// A request that got no answer.
#[derive(Debug)]
pub struct SendError {
    /// Why.
    pub error: hyper::Error,
    /// The request, when not one byte of it was written.
    pub unsent: Option<Box<Request<RequestBody>>>,
}

impl Lease {
    pub(super) fn new(
        cluster: Rc<LocalCluster>,
        endpoint: Rc<LocalEndpoint>,
        link: Link,
        ends: Ends,
        reused: bool,
        priority: Priority,
    ) -> Self {
        endpoint.count(1);
        endpoint.shared.status.tally.requests.begin();
        Self {
            cluster,
            endpoint,
            link: Some(link),
            ends,
            reused,
            priority,
            lent: Instant::now(),
            has_reported: Cell::new(false),
        }
    }

    /// The endpoint's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address()
    }

    /// What is known of the connection.
    #[must_use]
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Whether the connection has served a request before: it may be stale.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether it speaks HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self.link, Some(Link::Http2 { .. }))
    }

    /// Whether the endpoint takes an extended CONNECT (RFC 8441): waits until it says so, `connect_timeout` long. Only HTTP/2 has it.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`ClusterError::ConnectTimeout`] when the endpoint says nothing.
    pub async fn extended_connect(&self) -> Result<ExtendedConnect, ClusterError> {
        let Some(Link::Http2 { connection, .. }) = &self.link else { return Ok(ExtendedConnect::Refuse) };
        self.cluster.in_time(&self.endpoint, async { Ok(connection.settings().extended_connect().await) }).await
    }

    /// Sends the request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<> {
        // Not an `async fn`, which would keep room for the request besides the one in hyper's future.
        let sending = match &mut self.link {
            Some(Link::Http1 { sender, served, .. }) => {
                *served += 1;
                Some(Either::Left(sender.try_send_request(request)))
            }
            Some(Link::Http2 { sender, .. }) => Some(Either::Right(sender.try_send_request(request))),
            // A lease is used once; there is no link only after `finish`.
            None => None,
        };
        async move {
            let result = match sending {
                Some(sending) => sending.await,
                None => std::future::pending().await,
            };
            result.map_err(|mut error| SendError {
                unsent: error.take_message().map(Box::new),
                error: error.into_error(),
            })
        }
    }

    /// The head of an answer has come.
    pub fn answered(&self, status: StatusCode, outcome: impl FnOnce() -> Outcome) {
        let took = self.lent.elapsed();
        let tally = &self.endpoint.shared.status.tally;
        tally.answers.observe(took);
        if status.is_server_error() {
            tally.server_errors.fetch_add(1, Ordering::Relaxed);
        }
        if self.endpoint.shared.outlier.is_some() {
            self.cluster.record(&self.endpoint, outcome());
        }
        if self.cluster.wants_latency() {
            self.cluster.answered(&self.endpoint, took);
        }
    }

    /// The head of an answer has come: it may say that the endpoint is failing.
    pub fn told(&self, fields: &HeaderMap) {
        if let Some(check) = self.endpoint.shared.status.gave_up.get()
            && fields.contains_key(&IMMEDIATE_FAIL)
        {
            check.notify_one();
        }
        self.reported(fields);
    }

    /// The fields of an answer, or its trailers, have come: they may say how busy the endpoint is.
    pub fn reported(&self, fields: &HeaderMap) {
        let (shared, status) = (&self.cluster.shared, &self.endpoint.shared.status);
        let (weights, told) = (&shared.settings.balancing.load_weights, shared.loads_wanted.load(Ordering::Relaxed));
        if weights.is_none() && !told {
            return;
        }
        let Some(report) = Report::of(fields) else { return };
        if let Some(settings) = weights {
            status.report(settings, &report);
        }
        // What head and trailers say is of one request.
        if told && !self.has_reported.replace(true) {
            status.tally.told.note(&report);
        }
    }

    /// There was no answer.
    pub fn broke(&self) {
        self.cluster.record(&self.endpoint, Outcome::LocalOrigin(LocalOriginFailure::Reset));
    }

    /// The endpoint's own name, if it has one.
    #[must_use]
    pub fn hostname(&self) -> Option<&str> {
        self.endpoint.shared.settings.hostname.as_deref()
    }

    /// The request and its answer are through: the connection can serve another one.
    pub fn finish(mut self) {
        if let Some(Link::Http1 { sender, served, open }) = self.link.take_if(|link| matches!(link, Link::Http1 { .. }))
        {
            self.cluster.give_back(&self.endpoint, sender, std::mem::take(&mut self.ends), (served, &open));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.count(-1);
        self.endpoint.shared.status.tally.requests.end();
        self.cluster.shared.breakers(self.priority).end_request();
        if let Some(Link::Http2 { connection, .. }) = &self.link {
            connection.release();
            self.endpoint.let_go(connection);
            self.cluster.has_room();
        }
    }
}
