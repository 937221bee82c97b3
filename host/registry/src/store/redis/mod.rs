//! The shared store: registries agree through a Redis server, and through nothing else.
//!
//! # Keys
//! | key (behind the prefix) | type | |
//! |---|---|---|
//! | `host:SERVICE:ADDRESS` | hash | `body` (what the host said), `at` (when), `load`, `load_weight`, `weight` (an operator's). Its expiry is the host's: every heartbeat sets it anew |
//! | | | or only `gone`: it deregistered. So "taken out" and "not there" are two things |
//! | `service:SERVICE` | set | addresses |
//! | `changes` | hash | by service, a random word that is another one after every change that readers act upon |
//! | `epoch` | string | a random word; another one when the server has lost its data |
//!
//! Writing is one script per request, so every host is whole and no registry reads before it writes. Scripts find the keys of hosts themselves, which Redis
//! Cluster does not allow.
//!
//! # Reading
//! Once a second each registry reads `changes`, and the hosts of those services that have changed, or of which a host's time is over by what it knows;
//! everything every 30 seconds. It serves what it read last. A service whose keys somebody else has filled, with too much or something else, stays
//! as it was known; the others are read.
//!
//! # When the server is away
//! Heartbeats are taken and kept for it; nothing expires, because who does not hear cannot know. When it is back, what was kept is written,
//! unless somebody has written something newer. Hosts that the server no longer has, but has not been told to forget, stay for one more TTL:
//! their heartbeats may be with a registry that has not written them yet, or the server has lost them.
//!
//! A registry that has not reached the server since it started answers reads with 503: it would say "nobody" and not know it.

mod connection;
mod scripts;
mod sync;
mod touched;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use redis::RedisResult;

use super::{Condition, Store, stored};
use crate::{
    catalog::{Catalog, Record, Registered, Registration},
    clock::Clock,
    error::{Refusal, ServeError},
    host::{Selector, ServiceName, Weight, host_address},
    load::LoadState,
    metrics::Metrics,
    millis,
    settings::Settings,
};

use connection::Link;
use scripts::{Keys, Scripts};
use sync::Known;
use touched::{Place, Touched, What};

/// See the module.
#[derive(Debug)]
pub(crate) struct Redis {
    catalog: Arc<Catalog>,
    clock: Clock,
    link: Link,
    keys: Keys,
    scripts: Scripts,
    touched: Touched,
    /// What was read last; held by the tick.
    known: tokio::sync::Mutex<Known>,
    /// The server has been read once.
    read: AtomicBool,
    /// It was read when it was asked last.
    ready: AtomicBool,
    ttl: Duration,
    load_weights: bool,
    services: usize,
    hosts_per_service: usize,
}

/// Whether a write is as old as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// It happens now: whatever the server has is older, however the clocks of registries differ.
    Now,
    /// It was kept: what the server has may be newer.
    Late,
}

impl When {
    fn flag(self) -> u8 {
        u8::from(self == Self::Late)
    }
}

impl Redis {
    /// Reads the settings; connects with the first tick.
    pub(crate) async fn open(
        settings: &Settings,
        redis: &crate::settings::RedisSettings,
        catalog: Arc<Catalog>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ServeError> {
        Ok(Self {
            catalog,
            clock,
            link: Link::open(redis, metrics).await?,
            keys: Keys::new(&redis.prefix),
            scripts: Scripts::new(),
            touched: Touched::default(),
            known: tokio::sync::Mutex::default(),
            read: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            ttl: settings.host_ttl,
            load_weights: settings.load_weights,
            services: settings.limits.services,
            hosts_per_service: settings.limits.hosts_per_service,
        })
    }

    /// What others know of a host's load.
    async fn latest(&self, service: &ServiceName, address: &SocketAddr) -> Option<LoadState> {
        let mut connection = self.link.connection()?;
        let mut get = redis::cmd("HGET");
        let asked = get.arg(self.keys.host(service, address)).arg("load").query_async(&mut connection);
        let answer: Option<String> = self.link.checked(asked.await)?;
        stored::load(&answer?)
    }

    /// Writes a host; `false` when that did not happen.
    async fn put(&self, service: &ServiceName, record: &Record, when: When) -> bool {
        let age = match when {
            When::Now => Duration::ZERO,
            When::Late => self.clock.wall().duration_since(record.last_check_in).unwrap_or_default(),
        };
        let Some(left) = self.ttl.checked_sub(age).filter(|left| !left.is_zero()) else { return true };
        let Some(mut connection) = self.link.connection() else { return false };
        let load = record.load.map(LoadState::write).and_then(|load| serde_json::to_string(&load).ok());
        let number = |weight: Option<Weight>| weight.map(|weight| weight.to_string()).unwrap_or_default();
        let mut call = self.scripts.put.prepare_invoke();
        call.key(self.keys.host(service, &record.address)).key(self.keys.service(service)).key(self.keys.changes());
        call.arg(record.address.to_string()).arg(service.as_str());
        call.arg(stored::registration(record).to_string()).arg(stored::since_1970(record.last_check_in));
        call.arg(millis(left)).arg(word());
        call.arg(load.unwrap_or_default()).arg(number(record.load.map(LoadState::weight)));
        call.arg(when.flag()).arg(number(record.operator));
        self.link.checked(call.invoke_async::<()>(&mut connection).await).is_some()
    }

    /// Takes hosts out; says which were there, or nothing when that did not happen. With `force` hosts that are not there are marked as gone, too.
    async fn delete(
        &self,
        service: &ServiceName,
        members: &[SocketAddr],
        at: u64,
        when: When,
        force: bool,
    ) -> Option<Vec<SocketAddr>> {
        let mut connection = self.link.connection()?;
        let mut call = self.scripts.remove.prepare_invoke();
        call.key(self.keys.service(service)).key(self.keys.changes());
        call.arg(self.keys.hosts(service)).arg(service.as_str()).arg(at).arg(millis(self.ttl)).arg(word());
        call.arg(when.flag()).arg(u8::from(force));
        for member in members {
            call.arg(member.to_string());
        }
        self.link.checked(call.invoke_async(&mut connection).await).map(addresses)
    }

    /// Sets an operator's weight on hosts that are there, or lets go of it; says of which.
    async fn set_weight(
        &self,
        service: &ServiceName,
        members: &[SocketAddr],
        weight: Option<Weight>,
    ) -> Option<Vec<SocketAddr>> {
        let mut connection = self.link.connection()?;
        let mut call = self.scripts.weigh.prepare_invoke();
        call.key(self.keys.service(service)).key(self.keys.changes());
        call.arg(self.keys.hosts(service)).arg(service.as_str()).arg(word());
        call.arg(weight.map(|weight| weight.to_string()).unwrap_or_default());
        for member in members {
            call.arg(member.to_string());
        }
        self.link.checked(call.invoke_async(&mut connection).await).map(addresses)
    }

    /// Every host that somebody means: those that are known here, and those that the server knows.
    async fn meant(&self, service: &ServiceName, which: Option<Selector>) -> Vec<SocketAddr> {
        if let Some(Selector::Host(address)) = which {
            return vec![address];
        }
        let mut meant: HashSet<SocketAddr> = self.catalog.addresses(service).into_iter().collect();
        if let Some(mut connection) = self.link.connection() {
            meant.extend(self.link.checked(self.members(&mut connection, service).await).unwrap_or_default());
        }
        meant.into_iter().filter(|address| which.is_none_or(|which| which.meets(address))).collect()
    }

    fn places(service: &ServiceName, members: &[SocketAddr]) -> Vec<Place> {
        members.iter().map(|member| (service.clone(), *member)).collect()
    }

    async fn register_host(&self, service: ServiceName, registration: Registration) -> Result<Registered, Refusal> {
        let touch = self.touched.begin(vec![(service.clone(), registration.address)], What::Put);
        let latest = match registration.load {
            Some(_) if self.load_weights => self.latest(&service, &registration.address).await,
            _ => None,
        };
        match self.catalog.register(&service, &registration, latest) {
            Ok(registered) => {
                if self.put(&service, &registered.record, When::Now).await {
                    touch.done();
                }
                Ok(registered)
            }
            Err(refusal) => {
                touch.done();
                Err(refusal)
            }
        }
    }

    async fn remove_hosts(&self, service: ServiceName, which: Selector) -> Vec<SocketAddr> {
        let meant = self.meant(&service, Some(which)).await;
        let at = stored::since_1970(self.clock.wall());
        let touch = self.touched.begin(Self::places(&service, &meant), What::Remove { at });
        let mut removed = self.catalog.remove(&service, which);
        match self.delete(&service, &meant, at, When::Now, !removed.is_empty()).await {
            Some(there) => {
                removed.extend(there);
                touch.done();
            }
            // Kept for the server; but not what nobody has heard of.
            None if removed.is_empty() => touch.done(),
            None => drop(touch),
        }
        removed.sort();
        removed.dedup();
        removed
    }

    async fn weigh_hosts(
        &self,
        service: ServiceName,
        which: Option<Selector>,
        weight: Option<Weight>,
    ) -> Vec<SocketAddr> {
        let meant = self.meant(&service, which).await;
        let touch = self.touched.begin(Self::places(&service, &meant), What::Weigh);
        let mut weighed = self.catalog.weigh(&service, which, weight);
        match self.set_weight(&service, &meant, weight).await {
            Some(there) => {
                weighed.extend(there);
                touch.done();
            }
            None if weighed.is_empty() => touch.done(),
            None => drop(touch),
        }
        weighed.sort();
        weighed.dedup();
        weighed
    }

    async fn members(
        &self,
        connection: &mut redis::aio::MultiplexedConnection,
        service: &ServiceName,
    ) -> RedisResult<Vec<SocketAddr>> {
        let set = self.keys.service(service);
        // Asked first: a set that somebody else has filled is not read.
        let count: usize = redis::cmd("SCARD").arg(&set).query_async(connection).await?;
        if count > self.hosts_per_service.saturating_mul(2) {
            return Err(
                (redis::ErrorKind::UnexpectedReturnType, "a service has more hosts than there may be", set).into()
            );
        }
        Ok(addresses(redis::cmd("SMEMBERS").arg(&set).query_async(connection).await?))
    }
}

/// A word that nobody has written before.
fn word() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// What is no address somebody else has written.
fn addresses(texts: Vec<String>) -> Vec<SocketAddr> {
    texts.iter().filter_map(|text| host_address(text).ok()).collect()
}

impl Store for Redis {
    fn register(&self, service: ServiceName, registration: Registration) -> BoxFuture<'_, Result<Registered, Refusal>> {
        Box::pin(self.register_host(service, registration))
    }

    fn remove(&self, service: ServiceName, which: Selector) -> BoxFuture<'_, Vec<SocketAddr>> {
        Box::pin(self.remove_hosts(service, which))
    }

    fn weigh(
        &self,
        service: ServiceName,
        which: Option<Selector>,
        weight: Option<Weight>,
    ) -> BoxFuture<'_, Vec<SocketAddr>> {
        Box::pin(self.weigh_hosts(service, which, weight))
    }

    fn tick(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.synchronise())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.flush().await;
        })
    }

    fn condition(&self) -> Condition {
        let ready = self.ready.load(Ordering::Acquire) && self.link.connection().is_some();
        match (self.read.load(Ordering::Acquire), ready) {
            (false, _) => Condition::Unread,
            (true, false) => Condition::Away,
            (true, true) => Condition::Ready,
        }
    }
}
