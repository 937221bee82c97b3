//! What is counted of the pool.

use std::rc::Rc;

use fyke_sdk::{ConfigError, Counter, Env, Gauge, Histogram, Leased};

use super::failure::LeaseFailure;
use super::pins::{PinCounts, PinReason};

/// Metrics of the pool.
pub struct Stats {
    prefix: String,
    checkouts: Counter<3>,
    queue_time: Histogram<1>,
    pinned: Counter<2>,
    refused: Counter<2>,
    broken: Counter<2>,
    handshakes: Counter<2>,
    here: Counter<1>,
    pins: Counter<2>,
    waiting: Rc<Gauge<0>>,
    searching: Rc<Gauge<0>>,
    lent: Rc<Gauge<0>>,
}

/// One of those that are now; until it is dropped.
#[derive(Debug)]
pub struct Counted(Rc<Gauge<0>>);

impl Counted {
    fn new(gauge: &Rc<Gauge<0>>) -> Self {
        gauge.add(1);
        Self(Rc::clone(gauge))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Stats {
    /// Defines them.
    ///
    /// # Errors
    /// The host refuses one.
    pub fn define(prefix: &str, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self {
            prefix: prefix.to_owned(),
            checkouts: env.counter("mongo_pool_checkouts_total", ["mongo_prefix", "server", "reused"])?,
            queue_time: env.histogram("mongo_pool_queue_time_microseconds", ["mongo_prefix"])?,
            pinned: env.counter("mongo_pool_pinned_total", ["mongo_prefix", "reason"])?,
            refused: env.counter("mongo_pool_refused_total", ["mongo_prefix", "reason"])?,
            broken: env.counter("mongo_pool_broken_total", ["mongo_prefix", "reason"])?,
            handshakes: env.counter("mongo_pool_handshakes_total", ["mongo_prefix", "outcome"])?,
            pins: env.counter("mongo_pool_pins_total", ["mongo_prefix", "event"])?,
            waiting: Rc::new(env.gauge("mongo_pool_waiting", [])?),
            searching: Rc::new(env.gauge("mongo_pool_searching", [])?),
            lent: Rc::new(env.gauge("mongo_pool_lent", [])?),
            here: env.counter("mongo_pool_answered_total", ["mongo_prefix"])?,
        })
    }

    /// Somebody waits for a connection.
    pub fn waits(&self) -> Counted {
        Counted::new(&self.waiting)
    }

    /// Somebody waits for a server that can serve it.
    pub fn searches(&self) -> Counted {
        Counted::new(&self.searching)
    }

    /// Somebody has one.
    pub fn has(&self) -> Counted {
        Counted::new(&self.lent)
    }

    /// A connection was lent for an exchange.
    pub fn checkout(&self, lease: &Leased, server: &str, pinned: Option<PinReason>) {
        self.checkouts.increment([&*self.prefix, server, if lease.reused { "true" } else { "false" }]);
        let waited = u64::try_from(lease.waited.as_micros()).unwrap_or(u64::MAX);
        self.queue_time.record(waited, [&self.prefix]);
        match pinned {
            Some(PinReason::Cursor) => self.pinned.increment([&*self.prefix, "cursor"]),
            Some(PinReason::Transaction) => self.pinned.increment([&*self.prefix, "transaction"]),
            None => {}
        }
    }

    /// None was lent.
    pub fn refused(&self, why: LeaseFailure) {
        let reason = match why {
            LeaseFailure::QueueTimeout => "timeout",
            LeaseFailure::QueueFull => "queue_full",
            LeaseFailure::NoEndpoint => "no_endpoint",
            LeaseFailure::Connect => "connect",
            LeaseFailure::Authentication => "authentication",
            LeaseFailure::Draining => "draining",
        };
        self.refused.increment([&*self.prefix, reason]);
    }

    /// An operation is refused whatever its server would say.
    pub fn denied(&self, reason: &str) {
        self.refused.increment([&*self.prefix, reason]);
    }

    /// A connection was of no use any more in the middle of an exchange.
    pub fn broken(&self, reason: &str) {
        self.broken.increment([&*self.prefix, reason]);
    }

    /// A handshake is over.
    pub fn handshake(&self, outcome: &str) {
        self.handshakes.increment([&*self.prefix, outcome]);
    }

    /// What has happened to pins.
    pub fn pins(&self, before: PinCounts, now: PinCounts) {
        if before == now {
            return;
        }
        for (event, before, now) in [
            ("cursor", before.cursors, now.cursors),
            ("transaction", before.transactions, now.transactions),
            ("evicted", before.evicted, now.evicted),
            ("expired", before.expired, now.expired),
            ("missing", before.missing, now.missing),
            ("oversized", before.oversized, now.oversized),
        ] {
            let more = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
            if more > 0 {
                self.pins.add(more, [&*self.prefix, event]);
            }
        }
    }

    /// A command was answered by the proxy.
    pub fn answered(&self) {
        self.here.increment([&self.prefix]);
    }
}
