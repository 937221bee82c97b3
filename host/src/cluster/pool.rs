//! A worker's connections to one endpoint.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use tokio::{sync::Notify, time::Instant};

use super::{
    RequestBody, balance::Ewma, choice::Priority, connect::Ends, endpoint::SharedEndpoint, lease::Link, local::Open,
    settings::Settings, sweep::Sweep,
};
use crate::{
    config::resolved::{self, Pool},
    telemetry::Gauge,
};

/// An endpoint on one worker.
#[derive(Debug)]
pub struct LocalEndpoint {
    /// What all workers know of it.
    pub shared: Arc<SharedEndpoint>,
    active: Cell<u32>,
    idle: RefCell<VecDeque<Idle>>,
    multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    /// HTTP/2 connections that are being opened, by what TLS asks for: others wait for them instead of opening more.
    opening: RefCell<Vec<Option<Rc<str>>>>,
    opened: Notify,
    /// It is no endpoint of the cluster any more, or the cluster is not needed any more.
    left: Cell<bool>,
    /// Tasks that open connections to it which are to be lent.
    pub(super) openers: Cell<u32>,
    /// What was agreed on with it last: HTTP/2. Matters for `protocol: auto`.
    multiplexes: Cell<bool>,
    /// Average latency, for balancers that want to know.
    latency: Cell<Option<Ewma>>,
}

/// A pooled HTTP/1.1 connection.
#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    ends: Ends,
    served: u64,
    open: Weak<Open>,
    /// Number of the sweep before it became idle: the clock is not asked on the way of a request.
    since: u64,
}

/// Whether a connection that was opened with this name serves requests with that one.
fn serves(opened: Option<&str>, name: Option<&str>) -> bool {
    match (opened, name) {
        (Some(opened), Some(name)) => opened.eq_ignore_ascii_case(name),
        (opened, name) => opened.is_none() && name.is_none(),
    }
}

impl Idle {
    /// Whether closing it frees a permit of this priority.
    fn is_unused(&self, priority: Priority) -> bool {
        !self.sender.is_closed() && self.open.upgrade().is_some_and(|open| open.priority == priority)
    }

    fn may_stay(&self, sweep: Sweep) -> bool {
        let fits = |open: Rc<Open>| open.until > sweep.now && !sweep.gives_up(open.priority);
        !self.sender.is_closed() && sweep.now - self.since < sweep.sweeps && self.open.upgrade().is_some_and(fits)
    }
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct Multiplexed {
    sender: http2::SendRequest<RequestBody>,
    settings: Arc<Settings>,
    ends: Ends,
    streams: Cell<u32>,
    served: Cell<u64>,
    since: Cell<Instant>,
    /// Number of the sweep that finds it too old.
    until: u64,
    /// Whose permit it has.
    priority: Priority,
    /// Requests to this host alone.
    name: Option<Rc<str>>,
    aged: Cell<bool>,
    /// Since when it takes no more streams, because another worker waits for its permit.
    gives_way: Cell<Option<Instant>>,
}

/// For how long a connection takes no more streams so that its permit may come free. Streams that last longer than that keep it, and then it is of use
/// here still.
const GIVES_WAY: Duration = Duration::from_millis(500);
/// And how long it is left in peace after that.
const IS_LEFT: Duration = Duration::from_secs(5);

impl Multiplexed {
    /// One whose first stream is about to begin.
    #[must_use]
    pub fn new(sender: http2::SendRequest<RequestBody>, settings: Arc<Settings>, ends: Ends, open: &Open) -> Rc<Self> {
        let (streams, served, since) = (Cell::new(1), Cell::new(1), Cell::new(Instant::now()));
        let (until, priority, name) = (open.until, open.priority, open.name.clone());
        let (aged, gives_way) = Default::default();
        Rc::new(Self { sender, settings, ends, streams, served, since, until, priority, name, aged, gives_way })
    }

    /// Whether it has served as many requests, or for as long, as one connection may.
    fn is_worn(&self, pool: &Pool) -> bool {
        self.aged.get()
            || self.gives_way()
            || pool.requests_per_connection > 0 && self.served.get() >= pool.requests_per_connection
    }

    /// Whether closing it frees a permit of this priority, and ends nothing.
    fn is_unused(&self, priority: Priority) -> bool {
        self.streams.get() == 0 && self.priority == priority && !self.sender.is_closed()
    }

    fn gives_way(&self) -> bool {
        self.gives_way.get().is_some_and(|since| since.elapsed() < GIVES_WAY)
    }

    /// Whether another stream may begin on it: as far as we are concerned, and as far as the endpoint is.
    fn has_room(&self, pool: &Pool) -> bool {
        self.streams.get() < pool.streams_per_connection.min(self.settings.streams()) && !self.is_worn(pool)
    }

    /// Worn, and its last stream has ended.
    fn is_over(&self, pool: &Pool) -> bool {
        self.streams.get() == 0 && self.is_worn(pool)
    }

    /// What the endpoint says of itself.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A stream on it has ended.
    pub fn release(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.since.set(Instant::now());
    }
}

impl LocalEndpoint {
    /// Without connections.
    #[must_use]
    pub fn new(shared: Arc<SharedEndpoint>) -> Rc<Self> {
        Rc::new(Self {
            shared,
            active: Cell::new(0),
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            opening: RefCell::default(),
            opened: Notify::new(),
            left: Cell::new(false),
            openers: Cell::new(0),
            multiplexes: Cell::new(true),
            latency: Cell::new(None),
        })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address()
    }

    /// What is written of it.
    #[must_use]
    pub fn settings(&self) -> &resolved::Endpoint {
        &self.shared.settings
    }

    /// Requests of this worker in flight.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// A request to it has begun (`1`) or ended (`-1`).
    pub fn count(&self, by: i32) {
        self.active.set(self.active.get().saturating_add_signed(by));
    }

    /// What was agreed on with it last.
    #[must_use]
    pub fn multiplexes(&self) -> bool {
        self.multiplexes.get()
    }

    /// Agreed on HTTP/2, or not.
    pub fn agreed(&self, http2: bool) {
        self.multiplexes.set(http2);
    }

    /// Average latency, for balancers that want to know.
    #[must_use]
    pub fn latency(&self) -> &Cell<Option<Ewma>> {
        &self.latency
    }

    /// A connection that is open already, for requests to `name`. `idle` counts pooled HTTP/1.1 connections.
    pub fn pooled(&self, settings: &Pool, idle: &Gauge, name: Option<&str>) -> Option<(Link, Ends)> {
        if let Some(found) = self.pooled_http1(idle, name) {
            return Some(found);
        }
        let mut connections = self.multiplexed.borrow_mut();
        if connections.is_empty() {
            return None;
        }
        connections.retain(|connection| !connection.sender.is_closed() && !connection.is_over(settings));
        let fits =
            |connection: &&Rc<Multiplexed>| serves(connection.name.as_deref(), name) && connection.has_room(settings);
        let found = connections.iter().find(fits)?;
        found.streams.set(found.streams.get() + 1);
        found.served.set(found.served.get() + 1);
        let link = Link::Http2 { sender: found.sender.clone(), connection: Rc::clone(found) };
        Some((link, found.ends.clone()))
    }

    fn pooled_http1(&self, gauge: &Gauge, name: Option<&str>) -> Option<(Link, Ends)> {
        let mut idle = self.idle.borrow_mut();
        let mut place = idle.len();
        // Newest first: the rest stay idle and are closed in time. One that is not ready yet is passed over.
        while let Some(index) = place.checked_sub(1) {
            place = index;
            let candidate = idle.get(index)?;
            let open = candidate.open.upgrade().filter(|_| !candidate.sender.is_closed());
            let Some(open) = open else {
                idle.remove(index);
                gauge.sub(1);
                continue;
            };
            if serves(open.name.as_deref(), name) && candidate.sender.is_ready() {
                let idle = idle.remove(index)?;
                gauge.shift(-1);
                return Some((Link::Http1 { sender: idle.sender, served: idle.served, open }, idle.ends));
            }
        }
        None
    }

    /// Keeps an HTTP/1.1 connection whose request is over.
    pub fn keep(
        &self,
        sender: http1::SendRequest<RequestBody>,
        ends: Ends,
        (served, open): (u64, &Rc<Open>),
        since: u64,
    ) {
        self.idle.borrow_mut().push_back(Idle { sender, ends, served, open: Rc::downgrade(open), since });
    }

    /// Pooled HTTP/1.1 connections.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Shares an HTTP/2 connection.
    pub fn share(&self, connection: Rc<Multiplexed>) {
        self.multiplexed.borrow_mut().push(connection);
    }

    /// Whether somebody is opening an HTTP/2 connection that serves this name.
    #[must_use]
    pub fn is_opening(&self, name: Option<&str>) -> bool {
        self.opening.borrow().iter().any(|opening| serves(opening.as_deref(), name))
    }

    /// Waits until that has ended.
    pub async fn opened(&self) {
        self.opened.notified().await;
    }

    /// Closes one connection that nobody uses, and that has a permit of this priority. Returns whether there was one.
    pub fn close_one_idle(&self, priority: Priority, gauge: &Gauge) -> bool {
        let mut idle = self.idle.borrow_mut();
        let oldest = idle.iter().position(|idle| idle.is_unused(priority));
        if let Some(oldest) = oldest {
            idle.remove(oldest);
            gauge.sub(1);
            return true;
        }
        let mut connections = self.multiplexed.borrow_mut();
        let unused = connections.iter().position(|connection| connection.is_unused(priority));
        if let Some(unused) = unused {
            connections.swap_remove(unused);
        }
        unused.is_some()
    }

    /// Whether [`LocalEndpoint::close_one_idle`] would find one.
    #[must_use]
    pub fn has_idle(&self, priority: Priority) -> bool {
        self.idle.borrow().iter().any(|idle| idle.is_unused(priority))
            || self.multiplexed.borrow().iter().any(|connection| connection.is_unused(priority))
    }

    /// Has a connection that many share take no more streams, so that its permit comes free. Returns whether there is one.
    pub fn gives_way(&self, priority: Priority) -> bool {
        let connections = self.multiplexed.borrow();
        let rested = |one: &Multiplexed| one.gives_way.get().is_none_or(|since| since.elapsed() >= GIVES_WAY + IS_LEFT);
        let fit = connections.iter().filter(|one| one.priority == priority && !one.sender.is_closed() && rested(one));
        // The one that will be free soonest, as far as one can tell.
        let found = fit.min_by_key(|one| one.streams.get());
        if let Some(found) = found {
            found.gives_way.set(Some(Instant::now()));
        }
        found.is_some()
    }

    /// Whether one does so now.
    #[must_use]
    pub fn is_giving_way(&self, priority: Priority) -> bool {
        self.multiplexed.borrow().iter().any(|one| one.priority == priority && one.gives_way())
    }

    /// A stream of a connection has ended: if that was the last one, and another worker waits for the permit, it is closed.
    pub fn let_go(&self, connection: &Rc<Multiplexed>) {
        if connection.gives_way() && connection.streams.get() == 0 {
            self.multiplexed.borrow_mut().retain(|one| !Rc::ptr_eq(one, connection));
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self, sweep: Sweep, pool: &Pool, gauge: &Gauge) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|idle| idle.may_stay(sweep));
        gauge.sub(i64::try_from(before - idle.len()).unwrap_or(0));
        self.multiplexed.borrow_mut().retain(|connection| {
            connection.aged.set(connection.until <= sweep.now);
            !connection.sender.is_closed()
                && (connection.streams.get() > 0
                    || (!sweep.gives_up(connection.priority)
                        && !connection.is_over(pool)
                        && connection.since.get().elapsed() < sweep.limit))
        });
    }

    /// Whether it will get no connection any more.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.get()
    }

    /// It gets no connection any more: closes every idle one, and keeps no HTTP/2 connection for another stream.
    pub fn close_idle(&self, gauge: &Gauge) {
        self.left.set(true);
        let closed = std::mem::take(&mut *self.idle.borrow_mut());
        gauge.sub(i64::try_from(closed.len()).unwrap_or(0));
        self.multiplexed.borrow_mut().clear();
    }

    /// Room for another connection of the process to it.
    #[must_use]
    pub fn room(self: &Rc<Self>, limit: u32) -> Option<Room> {
        let connections = &self.shared.status.connections;
        if connections.fetch_add(1, Ordering::Relaxed) < limit {
            return Some(Room(Rc::clone(self)));
        }
        connections.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// A connection counts at its endpoint.
#[derive(Debug)]
pub struct Room(Rc<LocalEndpoint>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.shared.status.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An HTTP/2 connection is being opened.
pub struct Opening<'a>(&'a LocalEndpoint, Option<Rc<str>>);

impl<'a> Opening<'a> {
    /// From now until it is dropped.
    pub fn begin(endpoint: &'a LocalEndpoint, name: Option<&str>) -> Self {
        let name: Option<Rc<str>> = name.map(Into::into);
        endpoint.opening.borrow_mut().push(name.clone());
        Self(endpoint, name)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut opening = self.0.opening.borrow_mut();
        if let Some(own) = opening.iter().position(|other| *other == self.1) {
            opening.swap_remove(own);
        }
        drop(opening);
        self.0.opened.notify_waiters();
    }
}
