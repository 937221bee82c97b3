//! What is registered, as this process knows it. Every read is answered from here, whatever store is behind it.
//!
//! One lock over plain maps: all that happens under it is looking up, inserting, and counting up references. What costs time (writing
//! answers, hashing contents) happens on a [`View`], which is a service at one moment, outside of the lock and once for all who look at it.
//!
//! A view is dropped when anything of its service changes. Its [`Content`] is dropped only when something changes that readers act upon: a host that
//! merely lives has another `last_check_in` and the same content, the same version, and wakes nobody.

mod record;
mod service;
#[cfg(test)]
mod tests;
mod view;
mod waits;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{
    clock::{Clock, Moment},
    error::{Reason, Refusal},
    host::{Host, Selector, ServiceName, Weight},
    load::LoadState,
    metrics::Metrics,
    settings::{Limits, Settings},
};

pub(crate) use record::{Record, Registration};
pub(crate) use view::{Version, View};
pub(crate) use waits::Waiter;

use service::Service;
use waits::Waits;

/// Who says that a host's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// This process, by its clock.
    Here,
    /// The store behind it.
    Store,
}

/// What a registration was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A host that was not there.
    New,
    /// One that has said something new of itself.
    Changed,
    /// One that lives.
    Unchanged,
}

/// A registration that was taken.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) outcome: Outcome,
    pub(crate) record: Arc<Record>,
    /// As answers show it.
    pub(crate) host: Host,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    state: Mutex<State>,
    waits: Arc<Waits>,
    clock: Clock,
    metrics: Arc<Metrics>,
    limits: Limits,
    ttl: Duration,
    load_weights: bool,
    expiry: Expiry,
}

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<ServiceName, Service>,
    hosts: usize,
}

impl Catalog {
    pub(crate) fn new(settings: &Settings, expiry: Expiry, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self {
            state: Mutex::default(),
            waits: Arc::new(Waits::new(settings.limits.waiters)),
            clock,
            metrics,
            limits: settings.limits,
            ttl: settings.host_ttl,
            load_weights: settings.load_weights,
            expiry,
        }
    }

    /// Nothing panics under the lock; if it did, every map is whole between two statements.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a host, or notes that it lives. `latest` is what the store knows of its load, where that may be more than what is known here.
    pub(crate) fn register(
        &self,
        service: &ServiceName,
        registration: &Registration,
        latest: Option<LoadState>,
    ) -> Result<Registered, Refusal> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let mut state = self.state();
        self.expire(&mut state, service, now);
        let before = state.services.get(service).and_then(|service| service.host(&registration.address));
        let known = before.is_some();
        if !known {
            self.room(&state, service)?;
        }
        let load = latest.or_else(|| before.and_then(|before| before.load));
        let load = match registration.load {
            Some(reported) if self.load_weights => {
                let base = registration.tags.load_balancing_weight.unwrap_or(Weight::MAX);
                Some(LoadState::next(load, reported, base, wall))
            }
            _ => load,
        };
        let record = registration.record(before.and_then(|before| before.operator), load, wall, now + self.ttl);
        let record = Arc::new(record);
        let entry = state.services.entry(service.clone()).or_default();
        let outcome = entry.put(Arc::clone(&record));
        let host = record.shown(service, record.weight().or_else(|| entry.typical_weight()));
        if outcome == Outcome::New {
            state.hosts += 1;
        }
        drop(state);
        match outcome {
            Outcome::New => self.metrics.registrations.add(1),
            Outcome::Changed | Outcome::Unchanged => self.metrics.heartbeats.add(1),
        }
        if outcome != Outcome::Unchanged {
            self.waits.wake(service);
        }
        Ok(Registered { outcome, record, host })
    }

    fn room(&self, state: &State, service: &ServiceName) -> Result<(), Refusal> {
        let full = |what: &str, most: usize| {
            Err(Refusal::new(Reason::Full, format!("there are {most} {what} already, and no more are taken")))
        };
        match state.services.get(service) {
            None if state.services.len() >= self.limits.services => full("services", self.limits.services),
            Some(service) if service.len() >= self.limits.hosts_per_service => {
                full("hosts of this service", self.limits.hosts_per_service)
            }
            _ if state.hosts >= self.limits.hosts => full("hosts", self.limits.hosts),
            _ => Ok(()),
        }
    }

    /// Takes hosts out; says which.
    pub(crate) fn remove(&self, service: &ServiceName, which: Selector) -> Vec<SocketAddr> {
        let now = self.clock.now();
        let mut state = self.state();
        self.expire(&mut state, service, now);
        let removed = state.take(service, |record| which.meets(&record.address));
        drop(state);
        if !removed.is_empty() {
            self.metrics.deregistrations.add(removed.len());
            self.waits.wake(service);
        }
        removed
    }

    /// Sets the weight of hosts over whatever they say of themselves, or lets go of it; says of which.
    pub(crate) fn weigh(
        &self,
        service: &ServiceName,
        which: Option<Selector>,
        weight: Option<Weight>,
    ) -> Vec<SocketAddr> {
        let now = self.clock.now();
        let mut state = self.state();
        self.expire(&mut state, service, now);
        let Some(entry) = state.services.get_mut(service) else { return Vec::new() };
        let met = |record: &Record| which.is_none_or(|which| which.meets(&record.address));
        let met: Vec<Arc<Record>> = entry.hosts().filter(|record| met(record)).cloned().collect();
        let mut changed = false;
        for record in &met {
            changed |= entry.put(Arc::new(Record { operator: weight, ..Record::clone(record) })) == Outcome::Changed;
        }
        drop(state);
        if changed {
            self.waits.wake(service);
        }
        met.iter().map(|record| record.address).collect()
    }

    /// A service at this moment; one that nobody has heard of has no hosts.
    pub(crate) fn view(&self, service: &ServiceName) -> Arc<View> {
        let now = self.clock.now();
        let mut state = self.state();
        self.expire(&mut state, service, now);
        match state.services.get_mut(service) {
            Some(entry) => entry.view(service),
            None => Arc::new(View::empty(service)),
        }
    }

    /// What a host was when it was last heard of.
    pub(crate) fn record(&self, service: &ServiceName, address: &SocketAddr) -> Option<Arc<Record>> {
        self.state().services.get(service)?.host(address).cloned()
    }

    /// Every service and how many hosts it has.
    pub(crate) fn counts(&self) -> Vec<(ServiceName, usize)> {
        self.sweep();
        self.state().services.iter().map(|(name, service)| (name.clone(), service.len())).collect()
    }

    /// Where a service's hosts are.
    pub(crate) fn addresses(&self, service: &ServiceName) -> Vec<SocketAddr> {
        let state = self.state();
        let hosts = state.services.get(service).into_iter().flat_map(Service::hosts);
        hosts.map(|record| record.address).collect()
    }

    /// Every service that has hosts.
    pub(crate) fn services(&self) -> Vec<ServiceName> {
        self.state().services.keys().cloned().collect()
    }

    /// All of it.
    pub(crate) fn all(&self) -> Vec<(ServiceName, Vec<Arc<Record>>)> {
        let state = self.state();
        state.services.iter().map(|(name, service)| (name.clone(), service.hosts().cloned().collect())).collect()
    }

    /// Takes out every host whose time is over; says how many.
    pub(crate) fn sweep(&self) -> usize {
        let now = self.clock.now();
        let mut state = self.state();
        let due: Vec<ServiceName> = match self.expiry {
            Expiry::Here => state.due(now),
            Expiry::Store => Vec::new(),
        };
        due.iter().map(|service| self.expire(&mut state, service, now)).sum()
    }

    /// Services of which a host's time may be over.
    pub(crate) fn due(&self) -> Vec<ServiceName> {
        self.state().due(self.clock.now())
    }

    fn expire(&self, state: &mut State, service: &ServiceName, now: Moment) -> usize {
        let due = state.services.get(service).is_some_and(|service| service.next_expiry() <= now);
        if self.expiry == Expiry::Store || !due {
            return 0;
        }
        let gone = state.take(service, |record| record.expires <= now).len();
        if gone > 0 {
            self.metrics.expirations.add(gone);
            self.waits.wake(service);
            tracing::info!(%service, hosts = gone, "hosts were not heard of for too long");
        }
        gone
    }

    /// Makes a service what the store says that it is: `found`, and of the others those that `stays` keeps. Hosts for which `newer` holds have
    /// changed here since the store was asked.
    pub(crate) fn adopt(
        &self,
        service: &ServiceName,
        found: Vec<Record>,
        newer: impl Fn(&SocketAddr) -> bool,
        stays: impl Fn(&Record) -> bool,
    ) {
        let mut state = self.state();
        let mut changed = false;
        let listed: std::collections::HashSet<SocketAddr> = found.iter().map(|record| record.address).collect();
        let leaves = |record: &Record| !listed.contains(&record.address) && !newer(&record.address) && !stays(record);
        let gone = state.take(service, leaves).len();
        for record in found.into_iter().filter(|record| !newer(&record.address)) {
            let known = state.services.get(service).is_some_and(|entry| entry.host(&record.address).is_some());
            if !known && self.room(&state, service).is_err() {
                continue;
            }
            let outcome = state.services.entry(service.clone()).or_default().put(Arc::new(record));
            changed |= outcome != Outcome::Unchanged;
            state.hosts += usize::from(outcome == Outcome::New);
        }
        drop(state);
        self.metrics.expirations.add(gone);
        if changed || gone > 0 {
            self.waits.wake(service);
        }
    }

    /// A place among those that wait for a service to change; `None` when there is none left.
    pub(crate) fn wait(&self, service: &ServiceName) -> Option<Waiter> {
        self.waits.enter(service)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waits.count()
    }

    /// When a host that was heard of now would be gone.
    pub(crate) fn fresh(&self) -> (Moment, SystemTime) {
        (self.clock.now() + self.ttl, self.clock.wall())
    }
}

impl State {
    fn due(&self, now: Moment) -> Vec<ServiceName> {
        let due = self.services.iter().filter(|(_, service)| service.next_expiry() <= now);
        due.map(|(name, _)| name.clone()).collect()
    }

    /// Takes hosts out; a service without hosts is none.
    fn take(&mut self, service: &ServiceName, leaves: impl Fn(&Record) -> bool) -> Vec<SocketAddr> {
        let Some(entry) = self.services.get_mut(service) else { return Vec::new() };
        let gone = entry.take(leaves);
        if entry.len() == 0 {
            self.services.remove(service);
        }
        self.hosts = self.hosts.saturating_sub(gone.len());
        gone
    }
}
