//! Borrowing, waiting, giving back.

use std::rc::Rc;

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    Ask, Kept, Key, Lent, Reason, Refusal, Waiter,
    line::{Counted, PRIORITY},
    queue::Place,
};
use crate::cluster::{Choice, local::LocalCluster, pool::LocalEndpoint};

/// A place in the queue, left when this is dropped.
struct Standing<'a> {
    cluster: &'a Rc<LocalCluster>,
    place: Place,
    reply: oneshot::Receiver<Result<Lent, Refusal>>,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let lending = &self.cluster.lending;
        let waiter = lending.queue.borrow_mut().remove(self.place);
        drop(waiter);
        lending.left.notify_waiters();
        // Whoever leaves in the moment in which it was served wants the connection no more, and others may.
        if let Ok(Ok(lent)) = self.reply.try_recv()
            && let Some(line) = lent.unwanted()
        {
            self.cluster.offer(line);
        }
    }
}

impl LocalCluster {
    /// Lends a connection for one exchange.
    ///
    /// Cancel safe: whoever stops waiting leaves the queue.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn borrow_line(self: &Rc<Self>, ask: Ask) -> Result<Lent, Refusal> {
        let result = self.lend_line(ask).await;
        match &result {
            Ok(lent) => self.metrics.lease_wait.observe(lent.waited),
            Err(refusal) => self.metrics.leases_refused.inc(refusal.reason.label()),
        }
        result
    }

    async fn lend_line(self: &Rc<Self>, ask: Ask) -> Result<Lent, Refusal> {
        let started = Instant::now();
        // Who waits already comes first.
        let waits = self.lending.queue.borrow().iter().any(|waiter| waiter.ask.key == ask.key);
        if !waits && let Some(line) = self.idle_line(&ask)? {
            return Ok(Lent::new(Rc::clone(self), line, started.elapsed()));
        }
        let Some(_waiting) = self.breakers(PRIORITY).wait() else {
            return Err(self.overflow(PRIORITY, crate::cluster::error::Limit::Pending, started.elapsed()).into());
        };
        let _pending = Counted::begin(&self.metrics.pending);
        let limit = ask.timeout.unwrap_or(self.shared.settings.connect_timeout);
        let (reply, answer) = oneshot::channel();
        let client = ask.client;
        let waiter = Waiter { ask, opening: false.into(), reply };
        let place = self.lending.queue.borrow_mut().push(client, waiter);
        let mut standing = Standing { cluster: self, place, reply: answer };
        self.open_lines();
        match timeout(limit, &mut standing.reply).await {
            Ok(Ok(Ok(mut lent))) => {
                lent.waited = started.elapsed();
                Ok(lent)
            }
            Ok(Ok(Err(refusal))) => Err(refusal),
            // Nobody answers when the worker ends.
            Ok(Err(_)) | Err(_) => {
                let text = format!("no connection of cluster \"{}\" came free within {limit:?}", self.name);
                Err(Refusal { reason: Reason::Timeout, text })
            }
        }
    }

    /// An idle connection that suits: to the endpoint of the balancer's choice, or to another one when no more may be opened.
    fn idle_line(self: &Rc<Self>, ask: &Ask) -> Result<Option<Kept>, Refusal> {
        let endpoint = self.pick(Some(&ask.choice))?;
        if ask.choice.endpoint.is_some_and(|wanted| wanted != endpoint.address()) {
            let text = "the endpoint that was asked for is gone, or unhealthy".to_owned();
            return Err(Refusal { reason: Reason::NoEndpoint, text });
        }
        if let Some(line) = self.take_idle(&ask.key, |kept| Rc::ptr_eq(&kept.endpoint, &endpoint)) {
            return Ok(Some(line));
        }
        if self.breakers(PRIORITY).connections.available_permits() > 0 {
            return Ok(None);
        }
        Ok(self.take_idle(&ask.key, |kept| self.suits(&ask.choice, &kept.endpoint)))
    }

    /// The connection of a key that has become idle last. Those on which something has happened meanwhile are closed.
    fn take_idle(&self, key: &Key, suits: impl Fn(&Kept) -> bool) -> Option<Kept> {
        loop {
            let mut idle = self.lending.idle.borrow_mut();
            let place = idle.iter().rposition(|kept| *kept.key == *key && suits(kept))?;
            let mut line = idle.remove(place)?;
            drop(idle);
            self.metrics.idle.shift(-1);
            if line.is_quiet() {
                return Some(line);
            }
        }
    }

    /// Whether an endpoint is one that was asked for.
    fn suits(&self, choice: &Choice, endpoint: &LocalEndpoint) -> bool {
        let labels = choice.labels.as_deref().unwrap_or_default();
        endpoint.shared.status.is_usable()
            && choice.endpoint.is_none_or(|wanted| wanted == endpoint.address())
            && labels
                .iter()
                .all(|(key, value)| self.shared.label(endpoint.address(), key).as_deref() == Some(value.as_str()))
    }

    /// An exchange is over: the connection goes to whoever waits, or becomes idle.
    pub(super) fn take_back(self: &Rc<Self>, mut line: Kept) {
        let pool = &self.shared.settings.pool;
        let worn = pool.requests_per_connection > 0 && line.served >= pool.requests_per_connection;
        if worn || self.is_retired() || line.open.until <= self.sweeps() || self.has_too_many() {
            return;
        }
        if !line.is_quiet() {
            self.metrics.leases_dirty.inc();
            tracing::debug!(cluster = &*self.name, "a connection that was given back is not at rest: it is closed");
            line.transport.cut();
            return;
        }
        self.offer(line);
    }

    /// Gives a connection to the first that it suits.
    pub(super) fn offer(self: &Rc<Self>, mut line: Kept) {
        loop {
            let waiter = self
                .lending
                .queue
                .borrow_mut()
                .take(|waiter| waiter.ask.key == line.key && self.suits(&waiter.ask.choice, &line.endpoint));
            let Some(waiter) = waiter else { break };
            let lent = Lent::new(Rc::clone(self), line, std::time::Duration::ZERO);
            match waiter.reply.send(Ok(lent)) {
                Ok(()) => return,
                Err(unsent) => match unsent.ok().and_then(Lent::unwanted) {
                    Some(kept) => line = kept,
                    None => return,
                },
            }
        }
        if self.is_retired() {
            return;
        }
        line.since = self.sweeps();
        self.metrics.idle.shift(1);
        self.lending.idle.borrow_mut().push_back(line);
        // Whoever waits for a permit, and for another kind of connection, needs one that is idle to be closed.
        let wanted = !self.lending.queue.borrow().is_empty() || self.has_too_many();
        if wanted && self.shared.is_starving() && self.lending.close_one_idle() {
            self.metrics.idle.sub(1);
        }
    }

    /// Whether another worker waits for a connection while this one has more than its part of them.
    pub(in crate::cluster) fn has_too_many(&self) -> bool {
        if !self.shared.is_starving() {
            return false;
        }
        let most = self.breakers(PRIORITY).limits().connections;
        let own = usize::try_from(self.metrics.connections_active.own()).unwrap_or(0);
        own.saturating_mul(self.shared.workers.max(1)) > most
    }
}
