//! A worker's own part of a cluster: endpoints, pools, load.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::Instant,
};

use super::{
    RequestBody,
    balancer::{self, Candidate},
    connect::{self, Ends, Sender},
    error::ClusterError,
    lease::{Lease, Link},
    metrics::ClusterMetrics,
    shared::SharedCluster,
};
use crate::config::resolved::{ClusterProtocol, Pool};
use crate::telemetry::registry::{Gauge, Registry};

/// Streams on one HTTP/2 connection before another one is opened; the protocol recommends that peers allow as many.
const HTTP2_STREAMS: u32 = 100;

/// A cluster on one worker.
#[derive(Debug)]
pub struct LocalCluster {
    /// Its name.
    pub name: Rc<str>,
    /// What exists once per process.
    pub shared: Arc<SharedCluster>,
    /// Endpoints.
    pub endpoints: Vec<Rc<LocalEndpoint>>,
    /// What is counted.
    pub metrics: ClusterMetrics,
    /// Woken when a connection has come free.
    freed: Notify,
    /// Sweeps so far.
    sweeps: Cell<u64>,
    /// No generation that is to come has it: connections are not kept.
    retired: Cell<bool>,
}

/// An endpoint on one worker.
#[derive(Debug)]
pub struct LocalEndpoint {
    /// Its address.
    pub address: SocketAddr,
    weight: u32,
    active: Cell<u32>,
    credit: Cell<i64>,
    idle: RefCell<VecDeque<Idle>>,
    multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    /// An HTTP/2 connection is being opened: others wait for it instead of opening more.
    opening: Cell<bool>,
    opened: Notify,
    /// What was agreed on with it last: HTTP/2. Matters for `protocol: auto`.
    multiplexes: Cell<bool>,
}

/// A pooled HTTP/1.1 connection.
#[derive(Debug)]
pub struct Idle {
    sender: http1::SendRequest<RequestBody>,
    ends: Ends,
    served: u64,
    open: Weak<Open>,
    /// Number of the sweep before it became idle: the clock is not asked on the way of a request.
    since: u64,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct Multiplexed {
    sender: http2::SendRequest<RequestBody>,
    ends: Ends,
    streams: Cell<u32>,
    served: Cell<u64>,
    since: Cell<Instant>,
}

impl Multiplexed {
    /// Whether it has served as many requests as one connection may.
    fn is_worn(&self, pool: &Pool) -> bool {
        pool.requests_per_connection > 0 && self.served.get() >= pool.requests_per_connection
    }

    /// Worn, and its last stream has ended.
    fn is_over(&self, pool: &Pool) -> bool {
        self.streams.get() == 0 && self.is_worn(pool)
    }

    /// A stream on it has ended.
    pub fn release(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.since.set(Instant::now());
    }
}

impl Candidate for Rc<LocalEndpoint> {
    fn weight(&self) -> u32 {
        self.weight
    }
    fn active(&self) -> u32 {
        self.active.get()
    }
    fn credit(&self) -> &Cell<i64> {
        &self.credit
    }
}

impl LocalEndpoint {
    /// A request to it has begun (`1`) or ended (`-1`).
    pub fn count(&self, by: i32) {
        self.active.set(self.active.get().saturating_add_signed(by));
    }
}

/// Counts an open connection for as long as it lives.
pub struct Open {
    cluster: Rc<LocalCluster>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    /// A connection that is about to be opened.
    pub(super) fn new(cluster: &Rc<LocalCluster>, permit: OwnedSemaphorePermit) -> Self {
        cluster.metrics.connections.inc();
        cluster.metrics.connections_active.add(1);
        Self { cluster: Rc::clone(cluster), _permit: permit }
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

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

impl LocalCluster {
    /// A cluster without connections.
    #[must_use]
    pub fn new(shared: Arc<SharedCluster>, registry: &Registry) -> Rc<Self> {
        let endpoints = shared
            .settings
            .endpoints
            .iter()
            .map(|endpoint| {
                Rc::new(LocalEndpoint {
                    address: endpoint.address,
                    weight: endpoint.weight.max(1),
                    active: Cell::new(0),
                    credit: Cell::new(0),
                    idle: RefCell::default(),
                    multiplexed: RefCell::default(),
                    opening: Cell::new(false),
                    opened: Notify::new(),
                    multiplexes: Cell::new(true),
                })
            })
            .collect();
        Rc::new(Self {
            name: shared.settings.name.as_str().into(),
            metrics: ClusterMetrics::new(registry, &shared.settings.name),
            shared,
            endpoints,
            freed: Notify::new(),
            sweeps: Cell::new(0),
            retired: Cell::new(false),
        })
    }

    /// Lends a connection to an endpoint of the balancer's choice. `host` is what TLS asks for with `sni: auto`.
    /// `fresh` leaves pooled connections alone.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`ClusterError`]; nothing was sent.
    pub async fn lease(self: &Rc<Self>, host: Option<&str>, fresh: bool) -> Result<Lease, ClusterError> {
        let Some(endpoint) =
            balancer::pick(self.shared.settings.load_balancer, &self.endpoints, |n| fastrand::usize(..n))
        else {
            self.metrics.no_endpoint.inc();
            return Err(ClusterError::NoEndpoint { cluster: self.name.to_string() });
        };
        let endpoint = Rc::clone(endpoint);
        if !fresh && let Some(lease) = self.pooled(&endpoint) {
            return Ok(lease);
        }
        // Boxed: most requests find a connection, and should not carry the room for opening one.
        Box::pin(self.open(endpoint, host, fresh)).await
    }

    async fn open(
        self: &Rc<Self>,
        endpoint: Rc<LocalEndpoint>,
        host: Option<&str>,
        fresh: bool,
    ) -> Result<Lease, ClusterError> {
        let limit = self.shared.settings.connect_timeout;
        let started = Instant::now();
        match tokio::time::timeout(limit, self.connect(&endpoint, host, fresh)).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(error)) => {
                self.metrics.connect_failures.inc();
                Err(error)
            }
            Err(_) if self.shared.permits.available_permits() == 0 => {
                self.metrics.overflows.inc();
                Err(ClusterError::PoolExhausted {
                    cluster: self.name.to_string(),
                    limit: self.shared.settings.pool.connections,
                    waited: started.elapsed(),
                })
            }
            Err(_) => {
                self.metrics.connect_timeouts.inc();
                Err(ClusterError::ConnectTimeout { address: endpoint.address, timeout: limit })
            }
        }
    }

    /// A connection that is open already.
    fn pooled(self: &Rc<Self>, endpoint: &Rc<LocalEndpoint>) -> Option<Lease> {
        let settings = &self.shared.settings.pool;
        {
            let mut idle = endpoint.idle.borrow_mut();
            let mut place = idle.len();
            // Newest first: the rest stay idle and are closed in time. One that is not ready yet is passed over.
            while let Some(index) = place.checked_sub(1) {
                place = index;
                let candidate = idle.get(index)?;
                let open = candidate.open.upgrade().filter(|_| !candidate.sender.is_closed());
                let Some(open) = open else {
                    idle.remove(index);
                    self.metrics.idle.sub(1);
                    continue;
                };
                if candidate.sender.is_ready() {
                    let idle = idle.remove(index)?;
                    self.metrics.idle.sub(1);
                    let link = Link::Http1 { sender: idle.sender, served: idle.served, open };
                    return Some(Lease::new(Rc::clone(self), Rc::clone(endpoint), link, idle.ends, true));
                }
            }
        }
        let mut connections = endpoint.multiplexed.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed() && !connection.is_over(settings));
        let found = connections
            .iter()
            .find(|connection| connection.streams.get() < HTTP2_STREAMS && !connection.is_worn(settings))?;
        found.streams.set(found.streams.get() + 1);
        found.served.set(found.served.get() + 1);
        let link = Link::Http2 { sender: found.sender.clone(), connection: Rc::clone(found) };
        Some(Lease::new(Rc::clone(self), Rc::clone(endpoint), link, found.ends.clone(), true))
    }

    async fn connect(
        self: &Rc<Self>,
        endpoint: &Rc<LocalEndpoint>,
        host: Option<&str>,
        fresh: bool,
    ) -> Result<Lease, ClusterError> {
        let multiplexes = || match self.shared.settings.protocol {
            ClusterProtocol::Http1 | ClusterProtocol::Tcp => false,
            ClusterProtocol::Http2 => true,
            // Until an endpoint has said otherwise, it may want one connection for all.
            ClusterProtocol::Auto => endpoint.multiplexes.get(),
        };
        while multiplexes() && endpoint.opening.get() {
            endpoint.opened.notified().await;
            if let Some(lease) = self.pooled(endpoint) {
                return Ok(lease);
            }
        }
        let multiplexed = multiplexes();
        let permit = match Arc::clone(&self.shared.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match self.wait(endpoint, fresh).await {
                Waited::Lease(lease) => return Ok(*lease),
                Waited::Permit(permit) => permit,
            },
        };
        let _opening = multiplexed.then(|| Opening::begin(endpoint));
        let open = Open::new(self, permit);
        let opened = connect::open(&self.shared.settings, endpoint.address, host, open).await?;
        let link = match opened.sender {
            Sender::Http1(mut sender) => {
                sender.ready().await.map_err(|error| ClusterError::Handshake { address: endpoint.address, error })?;
                endpoint.multiplexes.set(false);
                Link::Http1 { sender, served: 0, open: opened.kept }
            }
            Sender::Http2(mut sender) => {
                endpoint.multiplexes.set(true);
                sender.ready().await.map_err(|error| ClusterError::Handshake { address: endpoint.address, error })?;
                let connection = Rc::new(Multiplexed {
                    sender: sender.clone(),
                    ends: opened.ends.clone(),
                    streams: Cell::new(1),
                    served: Cell::new(1),
                    since: Cell::new(Instant::now()),
                });
                endpoint.multiplexed.borrow_mut().push(Rc::clone(&connection));
                Link::Http2 { sender, connection }
            }
        };
        Ok(Lease::new(Rc::clone(self), Rc::clone(endpoint), link, opened.ends, false))
    }

    /// All permits are taken: whichever comes first, one of them or a connection of this worker.
    async fn wait(self: &Rc<Self>, endpoint: &Rc<LocalEndpoint>, fresh: bool) -> Waited {
        self.metrics.pending.add(1);
        let _pending = Pending(&self.metrics.pending);
        let _starving = self.shared.starve();
        let acquire = Arc::clone(&self.shared.permits).acquire_owned();
        tokio::pin!(acquire);
        loop {
            if !fresh && let Some(lease) = self.pooled(endpoint) {
                return Waited::Lease(Box::new(lease));
            }
            // An idle connection to another endpoint is worth less than this request.
            self.close_one_idle();
            tokio::select! {
                permit = &mut acquire => match permit {
                    Ok(permit) => return Waited::Permit(permit),
                    // The semaphore is never closed; waiting on lets the time limit speak.
                    Err(_) => std::future::pending().await,
                },
                () = self.freed.notified() => {}
            }
        }
    }

    /// Waits for a permit to open a connection, for whoever has no use for a pooled one.
    pub(super) async fn permit(&self) -> OwnedSemaphorePermit {
        self.metrics.pending.add(1);
        let _pending = Pending(&self.metrics.pending);
        let _starving = self.shared.starve();
        self.close_one_idle();
        match Arc::clone(&self.shared.permits).acquire_owned().await {
            Ok(permit) => permit,
            // The semaphore is never closed; waiting on lets the time limit speak.
            Err(_) => std::future::pending().await,
        }
    }

    fn close_one_idle(&self) {
        for endpoint in &self.endpoints {
            if endpoint.idle.borrow_mut().pop_front().is_some() {
                self.metrics.idle.sub(1);
                return;
            }
            let mut connections = endpoint.multiplexed.borrow_mut();
            if let Some(idle) = connections.iter().position(|connection| connection.streams.get() == 0) {
                connections.swap_remove(idle);
                return;
            }
        }
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
        if sender.is_closed() || worn || self.retired.get() {
            return;
        }
        if self.shared.is_starving() && self.metrics.pending.own() == 0 {
            // A request on another worker waits for a permit: closing this connection gives it one.
            return;
        }
        let open = Rc::downgrade(open);
        endpoint.idle.borrow_mut().push_back(Idle { sender, ends, served, open, since: self.sweeps.get() });
        self.metrics.idle.add(1);
        if self.metrics.pending.own() > 0 {
            self.freed.notify_one();
        }
    }

    /// How often to sweep.
    #[must_use]
    pub fn sweep_period(&self) -> Duration {
        (self.shared.settings.pool.idle_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// Closes connections that have been idle for too long. Called once every [`LocalCluster::sweep_period`].
    pub fn sweep(&self) {
        let limit: Duration = self.shared.settings.pool.idle_timeout;
        let now = self.sweeps.get() + 1;
        self.sweeps.set(now);
        let sweeps = u64::try_from(limit.as_nanos() / self.sweep_period().as_nanos().max(1)).unwrap_or(u64::MAX);
        let starving = self.shared.is_starving() || self.retired.get();
        for endpoint in &self.endpoints {
            let mut idle = endpoint.idle.borrow_mut();
            let before = idle.len();
            idle.retain(|idle| !starving && !idle.sender.is_closed() && now - idle.since < sweeps);
            self.metrics.idle.sub(i64::try_from(before - idle.len()).unwrap_or(0));
            endpoint.multiplexed.borrow_mut().retain(|connection| {
                !connection.sender.is_closed()
                    && (connection.streams.get() > 0
                        || (!starving
                            && !connection.is_over(&self.shared.settings.pool)
                            && connection.since.get().elapsed() < limit))
            });
        }
    }

    /// Only streams that have begun still use it: keeps no connection any more.
    pub fn retire(&self) {
        self.retired.set(true);
        self.close_idle();
    }

    /// Closes every idle connection: the worker is going away.
    pub fn close_idle(&self) {
        for endpoint in &self.endpoints {
            let closed = std::mem::take(&mut *endpoint.idle.borrow_mut());
            self.metrics.idle.sub(i64::try_from(closed.len()).unwrap_or(0));
            endpoint.multiplexed.borrow_mut().clear();
        }
    }
}

enum Waited {
    Lease(Box<Lease>),
    Permit(OwnedSemaphorePermit),
}

struct Opening<'a>(&'a LocalEndpoint);

impl<'a> Opening<'a> {
    fn begin(endpoint: &'a LocalEndpoint) -> Self {
        endpoint.opening.set(true);
        Self(endpoint)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}
