//! A worker's own part of a cluster: its endpoints with their pools, and how busy they are.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hyper::client::conn::http1;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::timeout,
};

use super::{
    Choice, RequestBody,
    balance::{self, NoHost},
    breakers::Breakers,
    choice::Priority,
    connect::{self, Asks, Ends, Sender},
    demand::has_heard,
    error::{ClusterError, Limit},
    health::outlier::{LocalOriginFailure, Outcome},
    lease::{Lease, Link},
    lending::Lending,
    metrics::ClusterMetrics,
    pool::{LocalEndpoint, Multiplexed, Opening, Room},
    shared::SharedCluster,
    view::View,
    wait::Waited,
    ways::Ways,
};
use crate::config::resolved::{ClusterProtocol, Sni};
use crate::telemetry::registry::Registry;

/// A cluster on one worker.
#[derive(Debug)]
pub struct LocalCluster {
    /// Its name.
    pub name: Rc<str>,
    /// What exists once per process.
    pub shared: Arc<SharedCluster>,
    /// What is counted.
    pub metrics: ClusterMetrics,
    /// The same by listener.
    pub ways: Ways,
    pub(super) worker: usize,
    pub(super) view: RefCell<Rc<View>>,
    balance: RefCell<balance::Local>,
    /// Woken when a connection has come free.
    pub(super) freed: Notify,
    /// Sweeps so far.
    pub(super) sweeps: Cell<u64>,
    /// No generation that is to come has it: connections are not kept.
    pub(super) retired: Cell<bool>,
    /// It was known once which endpoints there are.
    warm: Cell<bool>,
    /// Connections that are lent for exchanges of bytes.
    pub(super) lending: Lending,
}

/// Counts an open connection for as long as it lives.
pub struct Open {
    cluster: Rc<LocalCluster>,
    /// Number of the sweep that finds it too old.
    pub(super) until: u64,
    /// Whose permit it has.
    pub(super) priority: Priority,
    /// What TLS has asked its endpoint for, where that is each request's own (`sni: auto`): it serves requests to that host alone.
    pub(super) name: Option<Rc<str>>,
    _room: Room,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    /// A connection that is about to be opened; nothing, where the endpoint has as many as it may.
    pub(super) fn begin(
        cluster: &Rc<LocalCluster>,
        endpoint: &Rc<LocalEndpoint>,
        (priority, permit): (Priority, OwnedSemaphorePermit),
    ) -> Option<Self> {
        let room = endpoint.room(cluster.breakers(priority).limits().connections_per_endpoint)?;
        cluster.metrics.connections.inc();
        cluster.metrics.connections_active.add(1);
        let until = cluster.lifetime();
        Some(Self { cluster: Rc::clone(cluster), until, priority, name: None, _room: room, _permit: permit })
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("cluster", &self.cluster.name).finish_non_exhaustive()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cluster.metrics.connections_active.sub(1);
        self.cluster.freed.notify_one();
    }
}

impl LocalCluster {
    /// A cluster without connections.
    #[must_use]
    pub fn new(shared: Arc<SharedCluster>, registry: &Registry, worker: usize) -> Rc<Self> {
        shared.begin_use();
        Rc::new(Self {
            name: shared.settings.name.as_str().into(),
            metrics: ClusterMetrics::new(registry, &shared.settings.name),
            ways: Ways::default(),
            view: RefCell::new(Rc::new(View::new(&shared))),
            worker,
            balance: RefCell::new(balance::Local::new(fastrand::u64(..))),
            shared,
            freed: Notify::new(),
            sweeps: Cell::new(0),
            retired: Cell::new(false),
            warm: Cell::new(false),
            lending: Lending::default(),
        })
    }

    /// Whether it is known which endpoints there are, or was once.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        if !self.warm.get() {
            self.warm.set(has_heard(&self.shared));
        }
        self.warm.get()
    }

    /// The endpoints as they are now.
    pub(super) fn view(&self) -> Rc<View> {
        if self.view.borrow().version() != self.shared.version() {
            let (next, gone) = self.view.borrow().next(&self.shared);
            let next = Rc::new(next);
            self.view.replace(Rc::clone(&next));
            for endpoint in gone {
                endpoint.close_idle(&self.metrics.idle);
            }
            return next;
        }
        Rc::clone(&self.view.borrow())
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.view().membership().endpoints.len()
    }

    /// Lends a connection to an endpoint of the balancer's choice. `host` is what TLS asks for with `sni: auto`.
    /// `fresh` leaves pooled connections alone.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`ClusterError`]; nothing was sent.
    pub async fn lease(
        self: &Rc<Self>,
        choice: Option<&Choice>,
        host: Option<&str>,
        fresh: bool,
    ) -> Result<Lease, ClusterError> {
        let endpoint = self.pick(choice)?;
        let (priority, client) = choice.map(|choice| (choice.priority, choice.client)).unwrap_or_default();
        // A connection that says whose it is serves nobody else.
        let fresh = fresh || self.shared.settings.proxy_protocol.is_some();
        let name = self.name(host);
        if !fresh && let Some((link, ends)) = endpoint.pooled(&self.shared.settings.pool, &self.metrics.idle, name) {
            return self.lend(priority, endpoint, link, ends, true);
        }
        // Boxed: most requests find a connection, and should not carry the room for opening one.
        let asks = Asks { host, client };
        Box::pin(self.open(priority, endpoint, asks, fresh)).await
    }

    /// What tells connections apart that are for requests to `host`; nothing, where they serve any.
    pub(super) fn name<'h>(&self, host: Option<&'h str>) -> Option<&'h str> {
        let tls = self.shared.settings.tls.as_ref().filter(|tls| matches!(tls.sni, Sni::Auto));
        tls.map(|_| host.map(connect::strip_port).unwrap_or_default())
    }

    /// The endpoint of the balancer's choice.
    pub(super) fn pick(&self, choice: Option<&Choice>) -> Result<Rc<LocalEndpoint>, ClusterError> {
        let view = self.view();
        let picked = view.pick(choice.unwrap_or(&Choice::default()), &mut self.balance.borrow_mut());
        picked.map(Rc::clone).map_err(|why| self.no_endpoint(why))
    }

    /// The endpoint of the balancer's choice among those that are what is asked for.
    pub(super) fn pick_strictly(&self, choice: &Choice) -> Result<Rc<LocalEndpoint>, ClusterError> {
        let view = self.view();
        let picked = view.pick_strictly(choice, &mut self.balance.borrow_mut());
        picked.map(Rc::clone).map_err(|why| self.no_endpoint(why))
    }

    fn no_endpoint(&self, why: NoHost) -> ClusterError {
        self.metrics.no_endpoint.inc();
        ClusterError::NoEndpoint { cluster: self.name.to_string(), why: why.to_string() }
    }

    /// An endpoint did not answer in time.
    pub fn timed_out(&self, address: SocketAddr) {
        if let Some(endpoint) = self.view.borrow().membership().endpoint(address) {
            let outcome = Outcome::LocalOrigin(LocalOriginFailure::Timeout);
            self.shared.record(endpoint, self.worker, outcome);
        }
    }

    /// A request to an endpoint has ended so.
    pub(super) fn record(&self, endpoint: &LocalEndpoint, outcome: Outcome) {
        self.shared.record(&endpoint.shared, self.worker, outcome);
    }

    /// An endpoint could not be connected to.
    pub(super) fn not_connected(&self, endpoint: &LocalEndpoint, error: &ClusterError) {
        let failure = match error {
            // Which name is asked for is the request's matter, not the endpoint's.
            ClusterError::Tls { error, .. } if self.name(None).is_some() && connect::is_of_another_name(error) => {
                self.metrics.connect_failures.inc();
                return;
            }
            ClusterError::ConnectTimeout { .. } => LocalOriginFailure::Timeout,
            ClusterError::Connect { .. } | ClusterError::Tls { .. } | ClusterError::Handshake { .. } => {
                LocalOriginFailure::ConnectFailure
            }
            // It was not tried.
            ClusterError::NoEndpoint { .. } | ClusterError::Overflow { .. } => return,
        };
        match failure {
            LocalOriginFailure::Timeout => self.metrics.connect_timeouts.inc(),
            _ => self.metrics.connect_failures.inc(),
        }
        self.record(endpoint, Outcome::LocalOrigin(failure));
    }

    /// Whether latencies count.
    pub(super) fn wants_latency(&self) -> bool {
        self.view.borrow().wants_latency()
    }

    /// An endpoint has answered after so long.
    pub(super) fn answered(&self, endpoint: &LocalEndpoint, latency: Duration) {
        self.view.borrow().answered(endpoint, latency);
    }

    pub(super) fn breakers(&self, priority: Priority) -> &Arc<Breakers> {
        self.shared.breakers(priority)
    }

    pub(super) fn overflow(&self, priority: Priority, limit: Limit, waited: Duration) -> ClusterError {
        self.metrics.overflows.inc(limit);
        let most = limit.of(self.breakers(priority).limits());
        ClusterError::Overflow { cluster: self.name.to_string(), limit, most, waited }
    }

    fn lend(
        self: &Rc<Self>,
        priority: Priority,
        endpoint: Rc<LocalEndpoint>,
        link: Link,
        ends: Ends,
        reused: bool,
    ) -> Result<Lease, ClusterError> {
        if !self.breakers(priority).begin_request() {
            // The connection is as good as before.
            if let Link::Http1 { sender, served, open } = link {
                self.give_back(&endpoint, sender, ends, (served, &open));
            } else if let Link::Http2 { connection, .. } = link {
                connection.release();
                endpoint.let_go(&connection);
                self.has_room();
            }
            return Err(self.overflow(priority, Limit::Requests, Duration::ZERO));
        }
        let lease = Lease::new(Rc::clone(self), Rc::clone(&endpoint), link, ends, reused, priority);
        if self.shared.settings.pool.preconnect > 1.0 {
            self.preconnect(&endpoint);
        }
        Ok(lease)
    }

    async fn open(
        self: &Rc<Self>,
        priority: Priority,
        endpoint: Rc<LocalEndpoint>,
        asks: Asks<'_>,
        fresh: bool,
    ) -> Result<Lease, ClusterError> {
        let permit = match self.admit(priority, &endpoint, self.name(asks.host), fresh).await? {
            Waited::Connection(link, ends) => return self.lend(priority, endpoint, link, ends, true),
            Waited::Permit(permit) => permit,
        };
        // From here on it is up to the endpoint alone.
        let (link, ends) = self.in_time(&endpoint, self.connect(priority, &endpoint, asks, permit)).await?;
        self.lend(priority, endpoint, link, ends, false)
    }

    async fn connect(
        self: &Rc<Self>,
        priority: Priority,
        endpoint: &Rc<LocalEndpoint>,
        asks: Asks<'_>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Link, Ends), ClusterError> {
        let settings = &self.shared.settings;
        let own = settings.proxy_protocol.is_some();
        let name = self.name(asks.host);
        let _opening = (!own && self.multiplexes(endpoint)).then(|| Opening::begin(endpoint, name));
        let Some(mut open) = Open::begin(self, endpoint, (priority, permit)) else {
            return Err(self.overflow(priority, Limit::ConnectionsPerEndpoint, Duration::ZERO));
        };
        open.name = name.map(Into::into);
        let address = endpoint.address();
        let failed = |error| ClusterError::Handshake { address, error };
        let opened = connect::open(settings, endpoint.settings(), asks, open).await?;
        let link = match opened.sender {
            Sender::Http1(mut sender) => {
                sender.ready().await.map_err(failed)?;
                endpoint.agreed(false);
                Link::Http1 { sender, served: 0, open: opened.kept }
            }
            Sender::Http2(mut sender, settings) => {
                endpoint.agreed(true);
                sender.ready().await.map_err(failed)?;
                let connection = Multiplexed::new(sender.clone(), settings, opened.ends.clone(), &opened.kept);
                if !own && !endpoint.has_left() {
                    endpoint.share(Rc::clone(&connection));
                    // It is for all who wait.
                    self.freed.notify_waiters();
                }
                Link::Http2 { sender, connection }
            }
        };
        self.record(endpoint, Outcome::LocalOriginSuccess);
        Ok((link, opened.ends))
    }

    /// Whether one connection to an endpoint is enough for all.
    pub(super) fn multiplexes(&self, endpoint: &LocalEndpoint) -> bool {
        match self.shared.settings.protocol {
            ClusterProtocol::Http1 | ClusterProtocol::Tcp => false,
            ClusterProtocol::Http2 => true,
            // Until an endpoint has said otherwise, it may want one connection for all.
            ClusterProtocol::Auto => endpoint.multiplexes(),
        }
    }

    /// Connects to an endpoint within `connect_timeout`. That it cannot be done, or not in time, counts against it.
    pub(super) async fn in_time<T>(
        &self,
        endpoint: &LocalEndpoint,
        connecting: impl Future<Output = Result<T, ClusterError>>,
    ) -> Result<T, ClusterError> {
        let limit = self.shared.settings.connect_timeout;
        let late = || ClusterError::ConnectTimeout { address: endpoint.address(), timeout: limit };
        let connected = timeout(limit, connecting).await.unwrap_or_else(|_| Err(late()));
        connected.inspect_err(|error| self.not_connected(endpoint, error))
    }

    /// Takes back a connection whose request is over.
    pub fn give_back(
        &self,
        endpoint: &LocalEndpoint,
        sender: http1::SendRequest<RequestBody>,
        ends: Ends,
        (served, open): (u64, &Rc<Open>),
    ) {
        let own = self.shared.settings.proxy_protocol.is_some();
        if sender.is_closed() || own || endpoint.has_left() || self.is_spent(served, open) {
            return;
        }
        if self.is_wanted_elsewhere(open.priority) {
            // A request on another worker waits for a permit: closing this connection gives it one.
            return;
        }
        endpoint.keep(sender, ends, (served, open), self.sweeps.get());
        self.metrics.idle.shift(1);
        self.has_room();
    }

    /// A stream of a connection that many share has ended: whoever waits for a connection may use that one.
    pub(super) fn has_room(&self) {
        if self.metrics.pending.own() == 0 {
            return;
        }
        if self.name(None).is_some() {
            // It is of use to some, and who they are is not known here.
            self.freed.notify_waiters();
        } else {
            self.freed.notify_one();
        }
    }
}
