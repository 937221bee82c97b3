//! Counters in Redis: shared by all services that have the same Redis and the same prefix, exact over them.
//!
//! A request is one round trip: `EVALSHA` of a script that reads and writes all of its counters at once, by Redis' clock (so that the services'
//! clocks do not matter). What is known to be over its limit is not asked about. No request waits longer than `timeout`, and none waits at
//! all while there is no connection; then `failure_mode` says what becomes of it.
//!
//! In a cluster it is a call for each slot, all at once, and what one node cannot say is decided by `failure_mode` alone. Where hits over
//! the limit are to count nothing, it is looked first, in half of the timeout, and counted only if all fit: a second round trip, between which
//! others may count.
//!
//! | file | owns |
//! |---|---|
//! | `script.lua` | what a charge does to a counter |
//! | `call.rs` | what the script is told, and what it answers |
//! | `link.rs` | a connection, and making it again |
//! | `target.rs` | whom it is made to |
//! | `sentinel.rs` | who the primary is |
//! | `cluster/` | who has which slots |

mod call;
mod cluster;
mod link;
mod sentinel;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::Script;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::call::{Call, Mode, SCRIPT};
use self::cluster::Cluster;
use self::link::{Ask, Common, Link};
use self::sentinel::Sentinels;
use self::target::{Access, Target};
use super::over_limit::OverLimit;
use super::{Charge, Count, Embedded, Merged, MetricsText, Store, StoreError, StoreStatus};
use crate::error::StartError;
use crate::metrics::{Counter, Histogram};
use crate::settings::{Deployment, FailureMode, OverLimitHits, RedisSettings};

/// Counters in Redis, with those of this process for when it does not answer.
#[derive(Debug)]
pub struct RedisStore {
    servers: Servers,
    common: Arc<Common>,
    failure_mode: FailureMode,
    over_limit: OverLimit,
    local: Arc<Embedded>,
    seconds: Histogram,
    timeouts: Counter,
    unavailable: Counter,
    failed: Counter,
}

#[derive(Debug)]
enum Servers {
    One(Link),
    Cluster(Cluster),
}

impl RedisStore {
    /// Connects in the background, whether Redis is there or not; the connection ends with the store. `local` is for
    /// [`FailureMode::Local`].
    ///
    /// # Errors
    /// [`StartError::Redis`] where the settings make no sense.
    pub fn new(settings: &RedisSettings, local: Arc<Embedded>) -> Result<Self, StartError> {
        let common = Arc::new(Common {
            script: Script::new(SCRIPT),
            timeout: settings.timeout(),
            connects: AtomicU64::new(0),
            connected: Notify::new(),
        });
        Ok(Self {
            servers: Servers::new(settings, &common)?,
            common,
            failure_mode: settings.failure_mode,
            over_limit: OverLimit::new(settings.over_limit_cache),
            local,
            seconds: Histogram::default(),
            timeouts: Counter::default(),
            unavailable: Counter::default(),
            failed: Counter::default(),
        })
    }

    async fn count(&self, charges: &[Charge], over_limit_hits: OverLimitHits) -> Result<Vec<Count>, StoreError> {
        let asked = self.local.now().steady;
        let known: Vec<Option<Count>> = charges.iter().map(|charge| self.over_limit.get(charge, asked)).collect();
        if known.iter().all(Option::is_some) {
            return Ok(known.into_iter().flatten().collect());
        }
        // Where one is over and that is to leave the others alone, they are only looked at.
        let looks = over_limit_hits == OverLimitHits::Ignore && known.iter().any(Option::is_some);
        let unknown: Vec<Charge> = charges
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(charge, _)| Charge { hits: if looks { 0 } else { charge.hits }, ..charge.clone() })
            .collect();
        let mut counts = self.decide(&unknown, over_limit_hits, asked).await?.into_iter();
        Ok(known.into_iter().map(|known| known.unwrap_or_else(|| counts.next().unwrap_or_default())).collect())
    }

    /// Asks, and falls back where there is no answer.
    async fn decide(
        &self,
        charges: &[Charge],
        over_limit_hits: OverLimitHits,
        asked: u64,
    ) -> Result<Vec<Count>, StoreError> {
        let until = Instant::now() + self.common.timeout;
        let is_one_call = matches!(self.servers, Servers::One(_)) || !Cluster::are_apart(charges);
        if is_one_call || over_limit_hits == OverLimitHits::Count || charges.iter().all(|charge| charge.hits == 0) {
            let answers = self.ask(charges, over_limit_hits.into(), until).await;
            return self.complete(charges, answers, over_limit_hits, asked);
        }
        self.all_or_none(charges, until, asked).await
    }

    /// Of charges that no single call can count: looks, and counts if all fit.
    async fn all_or_none(&self, charges: &[Charge], until: Instant, asked: u64) -> Result<Vec<Count>, StoreError> {
        let ignore = OverLimitHits::Ignore;
        // A node that hangs leaves the others time to count what was looked at.
        let looks = self.ask(charges, Mode::Look, until - self.common.timeout / 2).await;
        let is_answered: Vec<bool> = looks.iter().map(Result::is_ok).collect();
        let mut counts = if looks.iter().flatten().any(|count| count.over) {
            // Nothing is to be counted, so those that nobody has answered are looked at only, too.
            let only_looked: Vec<Charge> = charges.iter().map(|charge| Charge { hits: 0, ..charge.clone() }).collect();
            self.complete(&only_looked, looks, ignore, asked)?
        } else {
            self.complete(charges, looks, ignore, asked)?
        };
        let fits = counts.iter().all(|count| !count.over);
        let answered =
            counts.iter_mut().zip(&is_answered).filter_map(|(count, is_answered)| is_answered.then_some(count));
        if !fits {
            answered.filter(|count| !count.over).for_each(|count| count.after = count.before);
            return Ok(counts);
        }
        let rest: Vec<Charge> = charges
            .iter()
            .zip(&is_answered)
            .filter(|(_, is_answered)| **is_answered)
            .map(|(charge, _)| charge.clone())
            .collect();
        let answers = self.ask(&rest, Mode::All, until).await;
        for (count, charged) in answered.zip(self.complete(&rest, answers, ignore, asked)?) {
            *count = charged;
        }
        Ok(counts)
    }

    /// Asks. Of each charge: what came of it.
    async fn ask(&self, charges: &[Charge], mode: Mode, until: Instant) -> Vec<Result<Count, StoreError>> {
        if charges.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        let answers = match &self.servers {
            Servers::Cluster(cluster) => cluster.ask(charges, mode, until).await,
            Servers::One(link) => {
                let call = Call { charges: charges.iter().collect(), mode };
                let answer = link.ask(Ask::Charge(&call), until).await.map_err(StoreError::from);
                match answer.and_then(|answer| call.read(&answer).ok_or(StoreError::Failed)) {
                    Ok(counts) => counts.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error); charges.len()],
                }
            }
        };
        self.seconds.add(began.elapsed());
        answers
    }

    /// Remembers what was answered, and decides what was not.
    fn complete(
        &self,
        charges: &[Charge],
        answers: Vec<Result<Count, StoreError>>,
        over_limit_hits: OverLimitHits,
        asked: u64,
    ) -> Result<Vec<Count>, StoreError> {
        let mut unanswered = Vec::new();
        let mut error = None;
        for (charge, answer) in charges.iter().zip(&answers) {
            match answer {
                Ok(count) => self.over_limit.learn(charge, count, over_limit_hits, asked),
                Err(reason) => {
                    error = error.or(Some(*reason));
                    unanswered.push(charge.clone());
                }
            }
        }
        let mut decided = match error {
            Some(error) => self.fall_back(&unanswered, over_limit_hits, error)?.into_iter(),
            None => Vec::new().into_iter(),
        };
        let count = |answer: Result<Count, StoreError>| answer.ok().or_else(|| decided.next()).unwrap_or_default();
        Ok(answers.into_iter().map(count).collect())
    }

    fn fall_back(
        &self,
        charges: &[Charge],
        over_limit_hits: OverLimitHits,
        error: StoreError,
    ) -> Result<Vec<Count>, StoreError> {
        match error {
            StoreError::Unavailable => self.unavailable.add(1),
            StoreError::Timeout => self.timeouts.add(1),
            StoreError::Failed => self.failed.add(1),
        }
        match self.failure_mode {
            FailureMode::Local => Ok(self.local.count(charges, over_limit_hits)),
            FailureMode::Open => Ok(charges.iter().map(|_| Count::default()).collect()),
            FailureMode::Close => Ok(charges
                .iter()
                .map(|charge| {
                    let before = charge.measure.capacity();
                    let after = before.saturating_add(charge.hits.max(1));
                    Count { before, after, over: true, reset: Duration::from_secs(1), cached: false }
                })
                .collect()),
            FailureMode::Error => Err(error),
        }
    }
}

impl Servers {
    fn new(settings: &RedisSettings, common: &Arc<Common>) -> Result<Self, StartError> {
        let common = Arc::clone(common);
        let deployment = settings.deployment();
        let deployment = deployment.map_err(|(path, message)| StartError::Redis(format!("{path}: {message}")))?;
        let access = || Access::new(settings, settings.user.as_deref(), settings.password.as_deref());
        Ok(match deployment {
            Deployment::Server(url) => Self::One(Link::new(Target::server(url, settings)?, common)),
            Deployment::Sentinel { name, addresses, login: (user, password) } => {
                let by = Access::new(settings, user, password)?;
                let access = access()?.database(settings.database.unwrap_or(0));
                let sentinels = Sentinels::new(name, addresses, access, &by);
                let sentinels = sentinels.map_err(|error| StartError::Redis(error.to_string()))?;
                Self::One(Link::new(Target::Primary(sentinels), common))
            }
            Deployment::Cluster(nodes) => Self::Cluster(Cluster::new(nodes, access()?, common)),
        })
    }

    fn status(&self) -> StoreStatus {
        let (is_up, text) = match self {
            Self::One(link) => (link.is_up(), link.status()),
            Self::Cluster(cluster) => (cluster.is_up(), cluster.status()),
        };
        StoreStatus { is_up, text }
    }
}

impl Store for RedisStore {
    fn charge<'a>(
        &'a self,
        charges: &'a [Charge],
        over_limit_hits: OverLimitHits,
    ) -> BoxFuture<'a, Result<Vec<Count>, StoreError>> {
        Box::pin(async move {
            match Merged::of(charges) {
                Some(merged) => Ok(merged.split(charges, &self.count(&merged.charges, over_limit_hits).await?)),
                None => self.count(charges, over_limit_hits).await,
            }
        })
    }

    fn status(&self) -> StoreStatus {
        self.servers.status()
    }

    fn sweep(&self) {
        self.over_limit.sweep(self.local.now().steady);
        self.local.forget();
    }

    fn write_metrics(&self, text: &mut MetricsText<'_>) {
        let name = "fyke_ratelimit_redis_up";
        text.0.gauge(name, "Whether Redis is connected.", u64::from(self.servers.status().is_up));
        let name = "fyke_ratelimit_redis_seconds";
        text.0.family(name, "histogram", "How long Redis took, or was waited for.");
        text.0.histogram(name, &[], &self.seconds);
        let name = "fyke_ratelimit_redis_failures";
        text.0.family(name, "counter", "Requests that Redis did not decide.");
        for (reason, counter) in
            [("error", &self.failed), ("timeout", &self.timeouts), ("unavailable", &self.unavailable)]
        {
            text.0.sample(name, &[("reason", reason)], counter.get());
        }
        let help = "Connections to Redis that were made.";
        text.0.counter("fyke_ratelimit_redis_connects", help, self.common.connects.load(Ordering::Relaxed));
        let known = u64::try_from(self.over_limit.len()).unwrap_or(u64::MAX);
        text.0.gauge("fyke_ratelimit_local_cache_entries", "Counters known to be over their limit.", known);
        let help = "Counters that Redis was not asked about, being over their limit.";
        text.0.counter("fyke_ratelimit_local_cache_hits", help, self.over_limit.hits());
        self.local.write_metrics(text);
    }
}
