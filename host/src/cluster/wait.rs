//! Waiting for a connection: for one of this worker that comes free, or for the permit to open another one.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout},
};

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

/// Who waits on another worker comes first when it has waited for so long: a connection that changes hands costs a handshake, so it does not
/// for less.
const PATIENCE: Duration = Duration::from_millis(50);

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
        name: Option<&str>,
        fresh: bool,
    ) -> Result<Waited, ClusterError> {
        if let Some((link, ends)) = self.shared_soon(endpoint, name).await? {
            return Ok(Waited::Connection(link, ends));
        }
        if let Ok(permit) = Arc::clone(&self.breakers(priority).connections).try_acquire_owned() {
            return Ok(Waited::Permit(permit));
        }
        let limit = self.shared.settings.connect_timeout;
        let waited = timeout(limit, self.wait(priority, endpoint, name, fresh)).await;
        waited.unwrap_or_else(|_| Err(self.overflow(priority, Limit::Connections, limit)))
    }

    /// The connection for many requests that somebody else is opening; nothing, if nobody is.
    async fn shared_soon(
        &self,
        endpoint: &LocalEndpoint,
        name: Option<&str>,
    ) -> Result<Option<(Link, Ends)>, ClusterError> {
        let settings = &self.shared.settings;
        let shared = async {
            // One that says whose it is serves nobody else.
            while settings.proxy_protocol.is_none() && self.multiplexes(endpoint) && endpoint.is_opening(name) {
                endpoint.opened().await;
                let found = endpoint.pooled(&settings.pool, &self.metrics.idle, name);
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
        name: Option<&str>,
        fresh: bool,
    ) -> Result<Waited, ClusterError> {
        let breakers = self.breakers(priority);
        let Some(_waiting) = breakers.wait() else {
            return Err(self.overflow(priority, Limit::Pending, Duration::ZERO));
        };
        let _pending = Pending::begin(&self.metrics.pending);
        let starving = breakers.starve(self.worker);
        let (acquire, patience) = (breakers.permit(), sleep(PATIENCE));
        tokio::pin!(acquire, patience);
        let mut has_asked = false;
        loop {
            let pool = &self.shared.settings.pool;
            if !fresh && let Some((link, ends)) = endpoint.pooled(pool, &self.metrics.idle, name) {
                return Ok(Waited::Connection(link, ends));
            }
            // An idle connection to another endpoint is worth less than this request, here and on other workers.
            if !self.close_one_idle(priority) && !std::mem::replace(&mut has_asked, true) {
                self.shared.hungry.notify_waiters();
            }
            tokio::select! {
                // With a permit there is no need to close another one.
                biased;
                permit = &mut acquire => return Ok(Waited::Permit(permit)),
                () = self.freed.notified() => {}
                () = &mut patience => {
                    // Others may have had nothing to give up then, or a connection here has room again.
                    patience.as_mut().reset(Instant::now() + PATIENCE);
                    starving.asks_again();
                    self.shared.hungry.notify_waiters();
                }
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
        let granted = self.granted(priority);
        tokio::pin!(granted);
        // Once it waits in line, others are told.
        if let std::task::Poll::Ready(permit) = futures_util::poll!(&mut granted) {
            return Ok(permit);
        }
        self.shared.hungry.notify_waiters();
        Ok(granted.await)
    }

    /// The same for whoever opens connections for those who wait, and counts as none of them.
    pub(super) async fn granted(&self, priority: Priority) -> OwnedSemaphorePermit {
        let breakers = self.breakers(priority);
        let _starving = breakers.starve(self.worker);
        self.close_one_idle(priority);
        breakers.permit().await
    }

    /// Gives up what others wait for: a connection that nobody uses; or, where they have waited long enough, one that takes no more
    /// streams from now on. What is lent is not given up so soon, because its handshakes are dear ([`LocalCluster::sweep`]).
    pub fn give_way(&self) {
        for priority in [Priority::Default, Priority::High] {
            let Some(breakers) = self.shared.breakers_in_use(priority) else { continue };
            let view = self.view.borrow();
            while breakers.owes(self.worker)
                && let Some(endpoint) = view.in_use().find(|endpoint| endpoint.has_idle(priority))
            {
                if !breakers.pay(self.worker) {
                    break;
                }
                endpoint.close_one_idle(priority, &self.metrics.idle);
            }
            let is_late = breakers.owes(self.worker) && breakers.is_anothers_turn(self.worker, PATIENCE);
            // One at a time: more would keep requests here from what they need, and help nobody sooner.
            if is_late
                && !view.in_use().any(|endpoint| endpoint.is_giving_way(priority))
                && view.in_use().any(|endpoint| endpoint.gives_way(priority))
            {
                breakers.pay(self.worker);
            }
        }
    }

    /// Whether a connection that comes free is to be closed, so that somebody on another worker can open one: those who wait here come first
    /// only if nobody else has waited for much longer.
    pub(super) fn is_wanted_elsewhere(&self, priority: Priority) -> bool {
        let breakers = self.breakers(priority);
        breakers.is_starving() && breakers.is_anothers_turn(self.worker, PATIENCE) && breakers.pay(self.worker)
    }

    /// Closes a connection that nobody uses and that has a permit of this priority: no other one would be of use. Returns whether there
    /// was one.
    fn close_one_idle(&self, priority: Priority) -> bool {
        let idle = &self.metrics.idle;
        priority == lending::PRIORITY && self.lending.close_one_idle(idle)
            || self.view.borrow().in_use().any(|endpoint| endpoint.close_one_idle(priority, idle))
    }
}
