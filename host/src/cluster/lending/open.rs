//! Opens connections for those who wait.
//!
//! Each who waits has an endpoint of the balancer's choice to which a connection is to be opened for it, until one of that endpoint's openers does
//! so. What it opens goes to the first that it suits, and what becomes of the attempt is told to the one for whom it was made.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{Ask, Kept, Reason, Refusal, line::PRIORITY, queue::Place};
use crate::cluster::{
    Choice,
    connect::Asks,
    dial,
    error::{ClusterError, Limit},
    health::outlier::Outcome,
    local::{LocalCluster, Open},
    pool::LocalEndpoint,
};

/// Connections that a worker opens to an endpoint at the same time (`maxConnecting` of MongoDB's drivers, which is 2): one that comes back is not
/// overrun by everybody who waits, and one that does not answer keeps nobody from the others.
const MOST_OPENING: u32 = 2;
/// The longest pause before a connection is opened after one that could not be.
const PAUSE: Duration = Duration::from_millis(50);

/// A task that opens connections to an endpoint.
struct Opener {
    cluster: Rc<LocalCluster>,
    endpoint: Rc<LocalEndpoint>,
}

/// For whom a connection is opened.
struct Order {
    place: Place,
    ask: Ask,
}

impl LocalCluster {
    /// Has connections to an endpoint opened while there are some who wait for them.
    pub(super) fn open_lines(self: &Rc<Self>, endpoint: &Rc<LocalEndpoint>) {
        if let Some(opener) = Opener::begin(self, endpoint) {
            tokio::task::spawn_local(opener.run());
        }
    }

    /// Has a connection opened for one who waits, or tells it why none can be.
    fn seek(self: &Rc<Self>, place: Place) {
        let Some(choice) = self.lending.queue.borrow().get(place).map(|waiter| waiter.ask.choice.clone()) else {
            return;
        };
        match self.pick_strictly(&choice) {
            Ok(endpoint) => self.aim(place, &endpoint),
            Err(error) => self.refuse(place, error.into()),
        }
    }

    fn aim(self: &Rc<Self>, place: Place, endpoint: &Rc<LocalEndpoint>) {
        if let Some(waiter) = self.lending.queue.borrow().get(place) {
            waiter.target.replace(Some(Rc::clone(endpoint)));
        }
        self.open_lines(endpoint);
    }

    /// Tells one who waits that it waits in vain.
    fn refuse(&self, place: Place, refusal: Refusal) {
        let waiter = self.lending.queue.borrow_mut().remove(place);
        if let Some(waiter) = waiter {
            // It may have left in this moment.
            let _ = waiter.reply.send(Err(refusal));
        }
    }
}

impl Opener {
    /// One more, if there may be.
    fn begin(cluster: &Rc<LocalCluster>, endpoint: &Rc<LocalEndpoint>) -> Option<Self> {
        let openers = endpoint.openers.get();
        if openers >= MOST_OPENING {
            return None;
        }
        endpoint.openers.set(openers + 1);
        Some(Self { cluster: Rc::clone(cluster), endpoint: Rc::clone(endpoint) })
    }

    async fn run(self) {
        while let Some(mut order) = self.next() {
            match self.open(&mut order).await {
                Ok(Some(line)) => {
                    self.cluster.offer(line, Some(order.place));
                    // It went to somebody who came before, or it turned out to be none of those that were asked for.
                    self.cluster.seek(order.place);
                }
                // Nobody waits, or who waits has been sent elsewhere.
                Ok(None) => {}
                Err(refusal) => {
                    self.cluster.refuse(order.place, refusal);
                    tokio::time::sleep(PAUSE.mul_f64(fastrand::f64())).await;
                }
            }
        }
    }

    /// The first who waits for a connection to the endpoint.
    fn next(&self) -> Option<Order> {
        loop {
            let order = self.take(|_| true)?;
            if self.stays(&order) {
                return Some(order);
            }
        }
    }

    /// Whether one who waits is to be served from here; else it is sent elsewhere, or told why not.
    fn stays(&self, order: &Order) -> bool {
        match self.target(&order.ask.choice) {
            Ok(target) if Rc::ptr_eq(&target, &self.endpoint) => return true,
            Ok(target) => self.cluster.aim(order.place, &target),
            Err(error) => self.cluster.refuse(order.place, error.into()),
        }
        false
    }

    /// Where to send whoever asks so, after however long a wait: to this endpoint, while it suits.
    fn target(&self, choice: &Choice) -> Result<Rc<LocalEndpoint>, ClusterError> {
        self.cluster.view();
        if self.cluster.suits(choice, &self.endpoint) {
            return Ok(Rc::clone(&self.endpoint));
        }
        self.cluster.pick_strictly(choice)
    }

    /// The first for whom nobody opens a connection yet, if it is accepted: nobody is passed over.
    fn take(&self, accepts: impl Fn(&Ask) -> bool) -> Option<Order> {
        let queue = self.cluster.lending.queue.borrow();
        let first = queue.iter().find(|(_, waiter)| waiter.awaits(&self.endpoint));
        let (place, waiter) = first.filter(|(_, waiter)| accepts(&waiter.ask))?;
        waiter.target.take();
        Some(Order { place, ask: waiter.ask.clone() })
    }

    /// Whether somebody waits for the connection: the one for whom it is to be opened, or now another one, whom it would do as well.
    fn is_wanted(&self, order: &mut Order) -> bool {
        if self.cluster.lending.queue.borrow().get(order.place).is_some() {
            return true;
        }
        let next = self.take(|ask| ask.key == order.ask.key);
        next.map(|next| *order = next).is_some()
    }

    /// Opens a connection, unless nobody waits for it any more or the endpoint is none of those any more that were asked for.
    async fn open(&self, order: &mut Order) -> Result<Option<Kept>, Refusal> {
        let (cluster, endpoint) = (&self.cluster, &self.endpoint);
        let share = match order.ask.most {
            Some(most) => match cluster.shared.shares.enter(&order.ask.key, most) {
                Some(slot) => Some(slot),
                None => {
                    let text = format!("all {most} connections of the share \"{}\" are in use", order.ask.key.share);
                    return Err(Refusal { reason: Reason::Full, text });
                }
            },
            None => None,
        };
        let Some(permit) = self.permit(order).await else { return Ok(None) };
        if let Some(waiter) = cluster.lending.queue.borrow().get(order.place) {
            waiter.has_room.set(true);
        }
        let Some(open) = Open::begin(cluster, endpoint, (PRIORITY, permit)) else {
            return Err(cluster.overflow(PRIORITY, Limit::ConnectionsPerEndpoint, Duration::ZERO).into());
        };
        let (transport, ends) = dial::reach(cluster, endpoint, Asks::default()).await?;
        let (address, limit) = (endpoint.address(), cluster.shared.settings.connect_timeout);
        let prepared = timeout(limit, order.ask.prepare.prepare(transport, address, ends.clone())).await;
        let refused = |text: String| Refusal {
            reason: Reason::Handshake,
            text: format!("{address} was connected to, and the connection is not fit to be lent: {text}"),
        };
        let transport = prepared.unwrap_or_else(|_| Err(format!("it took longer than {limit:?}"))).map_err(refused)?;
        cluster.record(endpoint, Outcome::LocalOriginSuccess);
        let (endpoint, key) = (Rc::clone(endpoint), Rc::clone(&order.ask.key));
        Ok(Some(Kept { transport, ends, endpoint, key, open, served: 0, since: 0, _share: share }))
    }

    /// Waits for a permit for as long as somebody waits for the connection, and the endpoint is one for it.
    async fn permit(&self, order: &mut Order) -> Option<OwnedSemaphorePermit> {
        let cluster = &self.cluster;
        if let Ok(permit) = Arc::clone(&cluster.breakers(PRIORITY).connections).try_acquire_owned() {
            return Some(permit);
        }
        let mut permit = pin!(cluster.granted(PRIORITY));
        loop {
            tokio::select! {
                biased;
                permit = &mut permit => return Some(permit).filter(|_| self.stays(order)),
                () = cluster.lending.left.notified() => if !self.is_wanted(order) { return None },
            }
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.endpoint.openers.set(self.endpoint.openers.get().saturating_sub(1));
    }
}
