//! Circuit breakers: how much of a cluster may be in use at once, over all workers.
//!
//! Connections are permits that are handed out first come first served, so a worker that has none waits in one queue with all the
//! others. Everything else is a number that is compared before it is raised. All of it is exact: a limit of ten is never eleven.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::config::resolved::{RetryLimit, Thresholds};

/// The breakers of one priority.
#[derive(Debug)]
pub struct Breakers {
    limits: Thresholds,
    /// One for each connection that may be open.
    pub connections: Arc<Semaphore>,
    /// How many wait for one of them: while there are any, connections that come free may have to be closed.
    starving: AtomicUsize,
    /// Those who do, the first that came first.
    queue: Mutex<BTreeMap<u64, Waiter>>,
    tickets: AtomicU64,
    requests: Count,
    pending: Count,
    retries: Count,
}

/// How many there are, and never more than there may be.
#[derive(Debug, Default)]
struct Count(AtomicU32);

impl Count {
    fn enter(&self, limit: u32) -> bool {
        if self.0.fetch_add(1, Ordering::Relaxed) < limit {
            return true;
        }
        self.leave();
        false
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Somebody who waits for a connection.
#[derive(Debug, Clone, Copy)]
struct Waiter {
    since: Instant,
    worker: usize,
    /// Another worker has given something up for it.
    is_paid: bool,
}

/// What is left of each limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Connections.
    pub connections: usize,
    /// Requests in flight.
    pub requests: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Attempts beyond the first.
    pub retries: u32,
}

impl Breakers {
    /// Nothing in use.
    #[must_use]
    pub fn new(limits: Thresholds) -> Self {
        let connections = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let (starving, queue, tickets) = Default::default();
        let (requests, pending, retries) = Default::default();
        Self { limits, connections, starving, queue, tickets, requests, pending, retries }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Thresholds {
        &self.limits
    }

    /// One more request in flight, if there may be; [`Breakers::end_request`] ends it.
    #[must_use]
    pub fn begin_request(&self) -> bool {
        self.requests.enter(self.limits.requests)
    }

    /// See [`Breakers::begin_request`].
    pub fn end_request(&self) {
        self.requests.leave();
    }

    /// One more request that waits for a connection, if there may be.
    #[must_use]
    pub fn wait(&self) -> Option<Waiting<'_>> {
        // Not `then_some`: made in vain, it would end a wait that has not begun.
        self.pending.enter(self.limits.pending).then(|| Waiting(self))
    }

    /// A permit to open a connection, once there is one.
    pub async fn permit(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.connections).acquire_owned().await {
            Ok(permit) => permit,
            // The semaphore is never closed; waiting on lets the time limit speak.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether somebody waits for the permit to open a connection.
    #[must_use]
    pub fn is_starving(&self) -> bool {
        self.starving.load(Ordering::Relaxed) > 0
    }

    /// Says that somebody on a worker does, until the value is dropped.
    #[must_use]
    pub fn starve(&self, worker: usize) -> Starving<'_> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        self.queue().insert(ticket, Waiter { since: Instant::now(), worker, is_paid: false });
        self.starving.fetch_add(1, Ordering::Relaxed);
        Starving { breakers: self, ticket }
    }

    fn queue(&self) -> MutexGuard<'_, BTreeMap<u64, Waiter>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next connection is for somebody who is not on this worker, and for whom nothing was given up yet: nobody waits here, or not for as
    /// long as the first of all, who has waited for longer than `patience`.
    #[must_use]
    pub fn is_anothers_turn(&self, worker: usize, patience: Duration) -> bool {
        let queue = self.queue();
        let Some((_, first)) = queue.first_key_value() else { return false };
        first.worker != worker
            && !first.is_paid
            && (first.since.elapsed() >= patience || queue.values().all(|waiter| waiter.worker != worker))
    }

    /// Whether somebody waits on another worker than this one for whom nothing was given up yet.
    #[must_use]
    pub fn owes(&self, worker: usize) -> bool {
        self.is_starving() && self.queue().values().any(|waiter| waiter.worker != worker && !waiter.is_paid)
    }

    /// A worker gives something up for the first of them. `false`: there is none any more.
    pub fn pay(&self, worker: usize) -> bool {
        let mut queue = self.queue();
        let first = queue.values_mut().find(|waiter| waiter.worker != worker && !waiter.is_paid);
        first.is_some_and(|waiter| !std::mem::replace(&mut waiter.is_paid, true))
    }

    /// What is left.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        Remaining {
            connections: self.connections.available_permits(),
            requests: self.limits.requests.saturating_sub(self.requests.now()),
            pending: self.limits.pending.saturating_sub(self.pending.now()),
            retries: self.most_retries().saturating_sub(self.retries.now()),
        }
    }

    /// Retries that may be under way now (Envoy's `RetryBudget`: a share of what is active, but never fewer than a few).
    fn most_retries(&self) -> u32 {
        match self.limits.retries {
            RetryLimit::Count(count) => count,
            RetryLimit::Budget { percent, at_least } => {
                let active = f64::from(self.requests.now().saturating_add(self.pending.now()));
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "saturates, and is not negative"
                )]
                let share = (active * percent / 100.0) as u32;
                share.max(at_least)
            }
        }
    }
}

/// A request waits for a connection.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Breakers);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.pending.leave();
    }
}

/// Somebody waits for the permit to open a connection.
#[derive(Debug)]
pub struct Starving<'a> {
    breakers: &'a Breakers,
    ticket: u64,
}

impl Starving<'_> {
    /// What was given up has come to somebody else, or has not come free yet.
    pub fn asks_again(&self) {
        if let Some(waiter) = self.breakers.queue().get_mut(&self.ticket) {
            waiter.is_paid = false;
        }
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.breakers.queue().remove(&self.ticket);
        self.breakers.starving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An attempt beyond the first is under way.
#[derive(Debug)]
pub struct RetryPermit(Arc<Breakers>);

impl RetryPermit {
    /// If there may be another one.
    #[must_use]
    pub fn of(breakers: &Arc<Breakers>) -> Option<Self> {
        breakers.retries.enter(breakers.most_retries()).then(|| Self(Arc::clone(breakers)))
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.retries.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breakers(retries: RetryLimit) -> Arc<Breakers> {
        Arc::new(Breakers::new(Thresholds { requests: 10, pending: 1, retries, ..Thresholds::default() }))
    }

    #[test]
    fn threads_never_exceed_a_limit_together() {
        let breakers = breakers(RetryLimit::Count(3));
        let most = AtomicU32::new(0);
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if breakers.begin_request() {
                            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            breakers.end_request();
                        }
                    }
                });
            }
        });
        assert!((1..=10).contains(&most.into_inner()));
        assert_eq!(breakers.remaining().requests, 10);
    }

    #[test]
    fn a_budget_grows_with_what_is_active_and_never_falls_below_its_least() {
        let breakers = breakers(RetryLimit::Budget { percent: 50.0, at_least: 2 });
        let first: Vec<_> = (0..3).map_while(|_| RetryPermit::of(&breakers)).collect();
        assert_eq!(first.len(), 2);
        assert!((0..10).all(|_| breakers.begin_request()) && !breakers.begin_request());
        let more: Vec<_> = (0..9).map_while(|_| RetryPermit::of(&breakers)).collect();
        assert_eq!(first.len() + more.len(), 5);
        assert_eq!(breakers.remaining().retries, 0);
        drop((first, more));
        assert_eq!(breakers.remaining().retries, 5);
    }

    #[test]
    fn the_queue_is_bounded() {
        let breakers = breakers(RetryLimit::Count(0));
        let waiting = breakers.wait();
        assert!(waiting.is_some() && breakers.wait().is_none());
        drop(waiting);
        assert!(breakers.wait().is_some());
        assert!(RetryPermit::of(&breakers).is_none());
    }
}
