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
    time::Instant,
};

use super::{
    Choice, RequestBody, balance,
    breakers::Breakers,
    choice::Priority,
    connect::{self, Asks, Ends, Sender},
    error::{ClusterError, Limit},
    health::outlier::{LocalOriginFailure, Outcome},
    lease::{Lease, Link},
    lending::Lending,
    metrics::ClusterMetrics,
    pool::{LocalEndpoint, Multiplexed, Opening, Room, Sweep},
    shared::SharedCluster,
    view::View,
};
use crate::config::resolved::ClusterProtocol;
use crate::telemetry::registry::{Gauge, Registry};

/// A cluster on one worker.
#[derive(Debug)]
pub struct LocalCluster {
    /// Its name.
    pub name: Rc<str>,
    /// What exists once per process.
    pub shared: Arc<SharedCluster>,
    /// What is counted.
    pub metrics: ClusterMetrics,
    worker: usize,
    view: RefCell<Rc<View>>,
    balance: RefCell<balance::Local>,
    /// Woken when a connection has come free.
    freed: Notify,
    /// Sweeps so far.
    sweeps: Cell<u64>,
    /// No generation that is to come has it: connections are not kept.
    retired: Cell<bool>,
    /// Connections that are lent for exchanges of bytes.
    pub(super) lending: Lending,
}

/// Counts an open connection for as long as it lives.
pub struct Open {
    cluster: Rc<LocalCluster>,
    /// Number of the sweep that finds it too old.
    pub(super) until: u64,
    _room: Room,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    /// A connection that is about to be opened.
    pub(super) fn new(cluster: &Rc<LocalCluster>, room: Room, permit: OwnedSemaphorePermit) -> Self {
        cluster.metrics.connections.inc();
        cluster.metrics.connections_active.add(1);
        Self { cluster: Rc::clone(cluster), until: cluster.lifetime(), _room: room, _permit: permit }
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

struct Pending<'a>(&'a Gauge);

impl<'a> Pending<'a> {
    fn begin(gauge: &'a Gauge) -> Self {
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
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
            view: RefCell::new(Rc::new(View::new(&shared, None))),
            worker,
            balance: RefCell::new(balance::Local::new(fastrand::u64(..))),
            shared,
            freed: Notify::new(),
            sweeps: Cell::new(0),
            retired: Cell::new(false),
            lending: Lending::default(),
        })
    }

    /// The endpoints as they are now.
    pub(super) fn view(&self) -> Rc<View> {
        if self.view.borrow().version() != self.shared.version() {
            let next = Rc::new(View::new(&self.shared, Some(&self.view.borrow())));
            let before = self.view.replace(Rc::clone(&next));
            for (place, endpoint) in before.endpoints().iter().enumerate() {
                if !next.has(endpoint, place) {
                    endpoint.close_idle(&self.metrics.idle);
                }
            }
            return next;
        }
        Rc::clone(&self.view.borrow())
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.view().endpoints().len()
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
        if !fresh && let Some((link, ends)) = endpoint.pooled(&self.shared.settings.pool, &self.metrics.idle) {
            return self.lend(priority, endpoint, link, ends, true);
        }
        // Boxed: most requests find a connection, and should not carry the room for opening one.
        let asks = Asks { host, client };
        Box::pin(self.open(priority, endpoint, asks, fresh)).await
    }

    /// The endpoint of the balancer's choice.
    pub(super) fn pick(&self, choice: Option<&Choice>) -> Result<Rc<LocalEndpoint>, ClusterError> {
        let view = self.view();
        let picked = view.pick(choice.unwrap_or(&Choice::default()), &mut self.balance.borrow_mut()).map(Rc::clone);
        picked.map_err(|why| {
            self.metrics.no_endpoint.inc();
            ClusterError::NoEndpoint { cluster: self.name.to_string(), why: why.to_string() }
        })
    }

    /// An endpoint did not answer in time.
    pub fn timed_out(&self, address: SocketAddr) {
        let view = self.view.borrow();
        if let Some(endpoint) = view.endpoints().iter().find(|endpoint| endpoint.address() == address) {
            self.record(endpoint, Outcome::LocalOrigin(LocalOriginFailure::Timeout));
        }
    }

    /// A request to an endpoint has ended so.
    pub(super) fn record(&self, endpoint: &LocalEndpoint, outcome: Outcome) {
        self.shared.record(&endpoint.shared, self.worker, outcome);
    }

    /// An endpoint could not be connected to.
    pub(super) fn not_connected(&self, endpoint: &LocalEndpoint, error: &ClusterError) {
        let failure = match error {
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
        let limit = self.shared.settings.connect_timeout;
        let started = Instant::now();
        match tokio::time::timeout(limit, self.connect(priority, &endpoint, asks, fresh)).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(error)) => {
                self.not_connected(&endpoint, &error);
                Err(error)
            }
            Err(_) if self.breakers(priority).connections.available_permits() == 0 => {
                Err(self.overflow(priority, Limit::Connections, started.elapsed()))
            }
            Err(_) => {
                let error = ClusterError::ConnectTimeout { address: endpoint.address(), timeout: limit };
                self.not_connected(&endpoint, &error);
                Err(error)
            }
        }
    }

    async fn connect(
        self: &Rc<Self>,
        priority: Priority,
        endpoint: &Rc<LocalEndpoint>,
        asks: Asks<'_>,
        fresh: bool,
    ) -> Result<Lease, ClusterError> {
        let settings = &self.shared.settings;
        let multiplexes = || match settings.protocol {
            ClusterProtocol::Http1 | ClusterProtocol::Tcp => false,
            ClusterProtocol::Http2 => true,
            // Until an endpoint has said otherwise, it may want one connection for all.
            ClusterProtocol::Auto => endpoint.multiplexes(),
        };
        let pooled = || endpoint.pooled(&settings.pool, &self.metrics.idle);
        let own = settings.proxy_protocol.is_some();
        while !own && multiplexes() && endpoint.is_opening() {
            endpoint.opened().await;
            if let Some((link, ends)) = pooled() {
                return self.lend(priority, Rc::clone(endpoint), link, ends, true);
            }
        }
        let multiplexed = !own && multiplexes();
        let permit = match Arc::clone(&self.breakers(priority).connections).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match self.wait(priority, endpoint, fresh).await? {
                Waited::Connection(link, ends) => {
                    return self.lend(priority, Rc::clone(endpoint), link, ends, true);
                }
                Waited::Permit(permit) => permit,
            },
        };
        let _opening = multiplexed.then(|| Opening::begin(endpoint));
        let Some(room) = endpoint.room(self.breakers(priority).limits().connections_per_endpoint) else {
            return Err(self.overflow(priority, Limit::ConnectionsPerEndpoint, Duration::ZERO));
        };
        let open = Open::new(self, room, permit);
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
                let connection = Multiplexed::new(sender.clone(), settings, opened.ends.clone(), opened.kept.until);
                if !own {
                    endpoint.share(Rc::clone(&connection));
                }
                Link::Http2 { sender, connection }
            }
        };
        self.record(endpoint, Outcome::LocalOriginSuccess);
        self.lend(priority, Rc::clone(endpoint), link, opened.ends, false)
    }

    /// All permits are taken: whichever comes first, one of them or a connection of this worker.
    async fn wait(
        self: &Rc<Self>,
        priority: Priority,
        endpoint: &Rc<LocalEndpoint>,
        fresh: bool,
    ) -> Result<Waited, ClusterError> {
        let breakers = self.breakers(priority);
        let Some(_waiting) = breakers.wait() else {
            return Err(self.overflow(priority, Limit::Pending, Duration::ZERO));
        };
        let _pending = Pending::begin(&self.metrics.pending);
        let _starving = self.shared.starve();
        let acquire = Arc::clone(&breakers.connections).acquire_owned();
        tokio::pin!(acquire);
        loop {
            // A connection that says whose it is serves nobody else.
            let fresh = fresh || self.shared.settings.proxy_protocol.is_some();
            if !fresh && let Some((link, ends)) = endpoint.pooled(&self.shared.settings.pool, &self.metrics.idle) {
                return Ok(Waited::Connection(link, ends));
            }
            // An idle connection to another endpoint is worth less than this request.
            self.close_one_idle();
            tokio::select! {
                permit = &mut acquire => match permit {
                    Ok(permit) => return Ok(Waited::Permit(permit)),
                    // The semaphore is never closed; waiting on lets the time limit speak.
                    Err(_) => std::future::pending().await,
                },
                () = self.freed.notified() => {}
            }
        }
    }

    /// Waits for a permit to open a connection, for whoever has no use for a pooled one.
    ///
    /// # Errors
    /// When too many wait already.
    pub(super) async fn permit(&self, priority: Priority) -> Result<OwnedSemaphorePermit, ClusterError> {
        let breakers = self.breakers(priority);
        let Some(_waiting) = breakers.wait() else {
            return Err(self.overflow(priority, Limit::Pending, Duration::ZERO));
        };
        let _pending = Pending::begin(&self.metrics.pending);
        self.granted(priority).await
    }

    /// The same for whoever opens connections for those who wait, and counts as none of them.
    pub(super) async fn granted(&self, priority: Priority) -> Result<OwnedSemaphorePermit, ClusterError> {
        let breakers = self.breakers(priority);
        let _starving = self.shared.starve();
        self.close_one_idle();
        match Arc::clone(&breakers.connections).acquire_owned().await {
            Ok(permit) => Ok(permit),
            // The semaphore is never closed; waiting on lets the time limit speak.
            Err(_) => std::future::pending().await,
        }
    }

    fn close_one_idle(&self) {
        if self.lending.close_one_idle() {
            self.metrics.idle.sub(1);
            return;
        }
        self.view.borrow().endpoints().iter().any(|endpoint| endpoint.close_one_idle(&self.metrics.idle));
    }

    /// Takes back a connection whose request is over.
    pub fn give_back(
        &self,
        endpoint: &LocalEndpoint,
        sender: http1::SendRequest<RequestBody>,
        ends: Ends,
        (served, open): (u64, &Rc<Open>),
    ) {
        let pool = &self.shared.settings.pool;
        let worn = pool.requests_per_connection > 0 && served >= pool.requests_per_connection;
        let own = self.shared.settings.proxy_protocol.is_some();
        if sender.is_closed() || worn || own || self.retired.get() || open.until <= self.sweeps.get() {
            return;
        }
        if self.shared.is_starving() && self.metrics.pending.own() == 0 {
            // A request on another worker waits for a permit: closing this connection gives it one.
            return;
        }
        endpoint.keep(sender, ends, (served, open), self.sweeps.get());
        self.metrics.idle.shift(1);
        if self.metrics.pending.own() > 0 {
            self.freed.notify_one();
        }
    }

    /// A stream of a connection that many share has ended: whoever waits for a connection may use that one.
    pub(super) fn has_room(&self) {
        if self.metrics.pending.own() > 0 {
            self.freed.notify_one();
        }
    }

    /// How often to sweep.
    #[must_use]
    pub fn sweep_period(&self) -> Duration {
        let pool = &self.shared.settings.pool;
        let shortest = pool.max_age.map_or(pool.idle_timeout, |age| age.min(pool.idle_timeout));
        (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// The sweep that finds a connection too old which is opened now. Connections that are opened together do not end together.
    fn lifetime(&self) -> u64 {
        let Some(age) = self.shared.settings.pool.max_age else { return u64::MAX };
        let age = age.mul_f64(1.0 - 0.2 * fastrand::f64());
        self.sweeps.get().saturating_add(self.sweeps_in(age).max(1))
    }

    fn sweeps_in(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() / self.sweep_period().as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// Closes connections that have been idle for too long. Called once every [`LocalCluster::sweep_period`].
    pub fn sweep(&self) {
        let limit: Duration = self.shared.settings.pool.idle_timeout;
        let now = self.sweeps.get() + 1;
        self.sweeps.set(now);
        let sweeps = self.sweeps_in(limit);
        let everything = self.shared.is_starving() || self.retired.get();
        let sweep = Sweep { now, sweeps, limit, everything };
        for endpoint in self.view().endpoints() {
            endpoint.sweep(sweep, &self.shared.settings.pool, &self.metrics.idle);
        }
        let view = self.view();
        // Handshakes are dear: what is lent is given up for others only by those who have more than their part.
        let sweep = Sweep { everything: self.retired.get() || self.has_too_many(), ..sweep };
        let gone =
            self.lending.sweep(|kept| kept.may_stay(sweep) && view.endpoints().iter().any(|one| kept.is_to(one)));
        self.metrics.idle.sub(gone);
    }

    /// Only streams that have begun still use it: keeps no connection any more.
    pub fn retire(&self) {
        self.retired.set(true);
        self.close_idle();
    }

    /// Closes every idle connection: the worker is going away.
    pub fn close_idle(&self) {
        for endpoint in self.view.borrow().endpoints() {
            endpoint.close_idle(&self.metrics.idle);
        }
        self.metrics.idle.sub(self.lending.close_idle());
    }

    /// Sweeps so far.
    pub(super) fn sweeps(&self) -> u64 {
        self.sweeps.get()
    }

    /// Whether no generation that is to come has it.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }
}

enum Waited {
    Connection(Link, Ends),
    Permit(OwnedSemaphorePermit),
}
