//! A connection that is lent.

use std::{
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use dashmap::DashMap;
use tokio::io::{AsyncRead, ReadBuf};

use super::Key;
use crate::{
    cluster::{
        choice::Priority,
        connect::Ends,
        endpoint::Mark,
        health::outlier::{LocalOriginFailure, Outcome},
        local::{LocalCluster, Open},
        pool::LocalEndpoint,
        sweep::Sweep,
    },
    transport::Transport,
};

/// An open connection, lent or not.
pub struct Kept {
    pub(super) transport: Transport,
    pub(super) ends: Ends,
    pub(super) endpoint: Rc<LocalEndpoint>,
    pub(super) key: Rc<Key>,
    pub(super) open: Open,
    /// Exchanges so far.
    pub(super) served: u64,
    /// The sweep before it became idle.
    pub(super) since: u64,
    pub(super) _share: Option<ShareSlot>,
}

impl Kept {
    /// Whether it may be idle for longer.
    #[must_use]
    pub fn may_stay(&mut self, sweep: Sweep) -> bool {
        !sweep.everything
            && self.open.until > sweep.now
            && sweep.now - self.since < sweep.sweeps
            && !self.endpoint.has_left()
            && self.endpoint.shared.status.is_usable()
            && self.is_quiet()
    }

    /// Whether nothing has happened on it that nobody has asked for: neither bytes nor an end.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut self.transport).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        read.is_pending()
    }
}

/// A connection, lent for one exchange. Dropped, it is closed.
pub struct Lent {
    cluster: Rc<LocalCluster>,
    line: Option<Kept>,
    /// It has served before.
    pub reused: bool,
    /// How long its borrower has waited for it.
    pub waited: Duration,
}

impl Lent {
    pub(super) fn new(cluster: Rc<LocalCluster>, mut line: Kept, waited: Duration) -> Self {
        let reused = line.served > 0;
        line.served += 1;
        line.endpoint.count(1);
        cluster.metrics.leases_active.shift(1);
        Self { cluster, line: Some(line), reused, waited }
    }

    /// What bytes go through; `None` never, but for one that is given back.
    pub fn transport(&mut self) -> Option<&mut Transport> {
        self.line.as_mut().map(|line| &mut line.transport)
    }

    /// The endpoint's address.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.line.as_ref().map(|line| line.endpoint.address())
    }

    /// What else is known of the connection.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.line.as_ref().map(|line| line.ends.clone()).unwrap_or_default()
    }

    /// Whether its endpoint has health checks, and whether it fails them now.
    #[must_use]
    pub fn is_checked(&self) -> (bool, bool) {
        let has_checks = self.cluster.shared.settings.health_check.is_some();
        let fails = |line: &Kept| line.endpoint.shared.status.has(Mark::FailedCheck);
        (has_checks, has_checks && self.line.as_ref().is_some_and(fails))
    }

    /// It broke, or ended, in the middle of an exchange.
    pub fn broke(&self) {
        if let Some(line) = &self.line {
            self.cluster.record(&line.endpoint, Outcome::LocalOrigin(LocalOriginFailure::Reset));
        }
    }

    /// The exchange is over and nothing is left of it: somebody else may have the connection.
    pub fn give_back(mut self) {
        let line = self.line.take();
        let cluster = Rc::clone(&self.cluster);
        if let Some(line) = &line {
            line.endpoint.count(-1);
        }
        drop(self);
        if let Some(line) = line {
            cluster.take_back(line);
        }
    }

    /// Nobody wanted it: it is as it was.
    pub(super) fn unwanted(mut self) -> Option<Kept> {
        let mut line = self.line.take()?;
        line.endpoint.count(-1);
        line.served -= 1;
        Some(line)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.cluster.metrics.leases_active.shift(-1);
        if let Some(line) = self.line.take() {
            line.endpoint.count(-1);
            // An ordinary close would let the endpoint believe that all was said.
            line.transport.cut();
        }
    }
}

/// How many connections each share of a cluster has in the process; those that have none are not there.
#[derive(Debug, Default, Clone)]
pub struct Shares(Arc<DashMap<Key, u32>>);

/// A connection counts in its share.
#[derive(Debug)]
pub struct ShareSlot {
    shares: Shares,
    key: Rc<Key>,
}

impl Shares {
    /// Room for one more connection of a share that may have `most`.
    pub fn enter(&self, key: &Rc<Key>, most: u32) -> Option<ShareSlot> {
        let mut count = self.0.entry(Key::clone(key)).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ShareSlot { shares: self.clone(), key: Rc::clone(key) })
    }
}

impl Drop for ShareSlot {
    fn drop(&mut self) {
        self.shares.0.remove_if_mut(&self.key, |_, count| {
            *count -= 1;
            *count == 0
        });
    }
}

/// Which circuit breakers count lent connections.
pub const PRIORITY: Priority = Priority::Default;
