//! Waiting for a connection: for one of this worker that comes free, or for the permit to open another one.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    choice::Priority,
    connect::Ends,
    error::{ClusterError, Limit},
    lease::Link,
    lending,
    local::LocalCluster,
    pool::LocalEndpoint,
};
use crate::telemetry::registry::Gauge;

/// Something that waits for a connection counts for as long as it does.
pub(super) struct Pending<'a>(&'a Gauge);

impl<'a> Pending<'a> {
    pub(super) fn begin(gauge: &'a Gauge) -> Self {
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// What came first.
pub(super) enum Waited {
    Connection(Link, Ends),
    Permit(OwnedSemaphorePermit),
}

impl LocalCluster {
    /// What it takes to serve a request: a connection, or the permit to open one. That somebody else opens one which can be shared, and that a
    /// permit comes free, is waited for `connect_timeout` long each, and neither is held against an endpoint that nobody has tried.
    pub(super) async fn admit(
        self: &Rc<Self>,
        priority: Priority,
        endpoint: &Rc<LocalEndpoint>,
        fresh: bool,
    ) -> Result<Waited, ClusterError> {
        if let Some((link, ends)) = self.shared_soon(endpoint).await? {
            return Ok(Waited::Connection(link, ends));
        }
        if let Ok(permit) = Arc::clone(&self.breakers(priority).connections).try_acquire_owned() {
            return Ok(Waited::Permit(permit));
        }
        let limit = self.shared.settings.connect_timeout;
        let waited = timeout(limit, self.wait(priority, endpoint, fresh)).await;
        waited.unwrap_or_else(|_| Err(self.overflow(priority, Limit::Connections, limit)))
    }

    /// The connection for many requests that somebody else is opening; nothing, if nobody is.
    async fn shared_soon(&self, endpoint: &LocalEndpoint) -> Result<Option<(Link, Ends)>, ClusterError> {
        let settings = &self.shared.settings;
        let shared = async {
            // One that says whose it is serves nobody else.
            while settings.proxy_protocol.is_none() && self.multiplexes(endpoint) && endpoint.is_opening() {
                endpoint.opened().await;
                let found = endpoint.pooled(&settings.pool, &self.metrics.idle);
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        };
        self.in_time(endpoint, shared).await
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
        let _starving = breakers.starve();
        let acquire = breakers.permit();
        tokio::pin!(acquire);
        loop {
            if !fresh && let Some((link, ends)) = endpoint.pooled(&self.shared.settings.pool, &self.metrics.idle) {
                return Ok(Waited::Connection(link, ends));
            }
            // An idle connection to another endpoint is worth less than this request.
            self.close_one_idle(priority);
            tokio::select! {
                // With a permit there is no need to close another one.
                biased;
                permit = &mut acquire => return Ok(Waited::Permit(permit)),
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
        Ok(self.granted(priority).await)
    }

    /// The same for whoever opens connections for those who wait, and counts as none of them.
    pub(super) async fn granted(&self, priority: Priority) -> OwnedSemaphorePermit {
        let breakers = self.breakers(priority);
        let _starving = breakers.starve();
        self.close_one_idle(priority);
        breakers.permit().await
    }

    /// Closes a connection that nobody uses and that has a permit of this priority: no other one would be of use.
    fn close_one_idle(&self, priority: Priority) {
        let idle = &self.metrics.idle;
        if priority != lending::PRIORITY || !self.lending.close_one_idle(idle) {
            self.view.borrow().in_use().any(|endpoint| endpoint.close_one_idle(priority, idle));
        }
    }
}
