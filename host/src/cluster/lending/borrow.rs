//! Borrowing, waiting, giving back.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{Ask, Kept, Key, Lent, Reason, Refusal, Waiter, line::PRIORITY, queue::Place};
use crate::cluster::{
    Choice, endpoint::SharedEndpoint, error::Limit, local::LocalCluster, pool::LocalEndpoint, wait::Pending,
};

/// So many connections in a row may go past whoever waits first, because they do not suit it, before one is closed to make room for its own. To
/// open one costs as much as many exchanges.
const MOST_PASSED: u32 = 16;

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
            self.cluster.offer(line, None);
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
        let endpoint = self.pick_strictly(&ask.choice)?;
        if let Some(line) = self.idle_line(&ask, &endpoint) {
            return Ok(Lent::new(Rc::clone(self), line, started.elapsed()));
        }
        let Some(_waiting) = self.breakers(PRIORITY).wait() else {
            return Err(self.overflow(PRIORITY, Limit::Pending, started.elapsed()).into());
        };
        let _pending = Pending::begin(&self.metrics.pending);
        let limit = ask.timeout.unwrap_or(self.shared.settings.connect_timeout);
        let (reply, answer) = oneshot::channel();
        let client = ask.client;
        let (target, has_room) = (RefCell::new(Some(Rc::clone(&endpoint))), Cell::new(false));
        let waiter = Waiter { ask, target, since: started, limit, has_room, reply };
        let place = self.lending.queue.borrow_mut().push(client, waiter);
        let mut standing = Standing { cluster: self, place, reply: answer };
        self.open_lines(&endpoint);
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
    fn idle_line(&self, ask: &Ask, endpoint: &Rc<LocalEndpoint>) -> Option<Kept> {
        if let Some(line) = self.take_idle(&ask.key, |kept| Rc::ptr_eq(&kept.endpoint, endpoint)) {
            return Some(line);
        }
        if self.breakers(PRIORITY).connections.available_permits() > 0 {
            return None;
        }
        self.take_idle(&ask.key, |kept| self.suits(&ask.choice, &kept.endpoint))
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

    /// Whether an endpoint is one that was asked for, and as well as one can have it.
    pub(super) fn suits(&self, choice: &Choice, endpoint: &LocalEndpoint) -> bool {
        endpoint.shared.meets(choice) && self.is_fit(endpoint)
    }

    /// Whether an endpoint is as well as one can have it.
    fn is_fit(&self, endpoint: &LocalEndpoint) -> bool {
        let is_well = |endpoint: &SharedEndpoint| endpoint.status.is_usable();
        (!endpoint.has_left() || self.retired.get())
            && (is_well(&endpoint.shared)
                || !self.view.borrow().membership().endpoints.iter().any(|other| is_well(other)))
    }

    /// An exchange is over: the connection goes to whoever waits, or becomes idle.
    pub(super) fn take_back(self: &Rc<Self>, mut line: Kept) {
        if self.is_spent(line.served, &line.open) || line.endpoint.has_left() || self.has_too_many() {
            return;
        }
        if !line.is_quiet() {
            self.metrics.leases_dirty.inc();
            tracing::debug!(cluster = &*self.name, "a connection that was given back is not at rest: it is closed");
            line.transport.cut();
            return;
        }
        if !self.makes_room(&line) {
            self.offer(line, None);
        }
    }

    /// Whether a connection is to be closed, so that the first who waits has one opened: for long enough others were served before it, whom these
    /// connections suit.
    fn makes_room(&self, line: &Kept) -> bool {
        let (queue, passed) = (self.lending.queue.borrow(), &self.lending.passed);
        let Some((_, first)) = queue.iter().next().filter(|_| self.shared.is_starving(PRIORITY)) else { return false };
        let suits = first.ask.key == line.key && line.endpoint.shared.meets(&first.ask.choice);
        passed.set(if suits { 0 } else { passed.get() + 1 });
        // Exchanges may be so slow that nobody waits for many of them.
        let is_late = first.since.elapsed() >= first.limit / 2;
        if suits || first.has_room.get() || (passed.get() < MOST_PASSED && !is_late) {
            return false;
        }
        passed.set(0);
        first.has_room.set(true);
        true
    }

    /// Gives a connection to the first that it suits. The one for whom it was opened takes it also from an endpoint that is not well: the
    /// balancer chose it all the same.
    pub(super) fn offer(self: &Rc<Self>, mut line: Kept, opened_for: Option<Place>) {
        let fit = self.is_fit(&line.endpoint);
        loop {
            let waiter = self.lending.queue.borrow_mut().take(|place, waiter| {
                waiter.ask.key == line.key
                    && (fit || opened_for == Some(place))
                    && line.endpoint.shared.meets(&waiter.ask.choice)
            });
            let Some(waiter) = waiter else { break };
            let lent = Lent::new(Rc::clone(self), line, Duration::ZERO);
            match waiter.reply.send(Ok(lent)) {
                Ok(()) => return,
                Err(unsent) => match unsent.ok().and_then(Lent::unwanted) {
                    Some(kept) => line = kept,
                    None => return,
                },
            }
        }
        if self.retired.get() || line.endpoint.has_left() {
            return;
        }
        line.since = self.sweeps.get();
        self.metrics.idle.shift(1);
        self.lending.idle.borrow_mut().push_back(line);
        // Whoever waits for a permit, and for another kind of connection, needs one that is idle to be closed.
        let wanted = !self.lending.queue.borrow().is_empty() || self.has_too_many();
        if wanted && self.shared.is_starving(PRIORITY) {
            self.lending.close_one_idle(&self.metrics.idle);
        }
    }

    /// Whether another worker waits for a connection while this one has more than its part of them.
    pub(in crate::cluster) fn has_too_many(&self) -> bool {
        if !self.shared.is_starving(PRIORITY) {
            return false;
        }
        let most = self.breakers(PRIORITY).limits().connections;
        let own = usize::try_from(self.metrics.connections_active.own()).unwrap_or(0);
        own.saturating_mul(self.shared.workers.max(1)) > most
    }
}
