//! Counters in Redis: shared by all services that have the same Redis and the same prefix, exact over them.
//!
//! A request is one round trip: `EVALSHA` of a script that reads and writes all of its counters at once, by Redis' clock (so that the services'
//! clocks do not matter). What is known to be over its limit is not asked about. No request waits longer than `timeout`, and none waits at
//! all while there is no connection; then `failure_mode` says what becomes of it.
//!
//! | file | owns |
//! |---|---|
//! | `script.lua` | what a charge does to a counter |
//! | `link.rs` | the connection, and making it again |

mod link;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::{Script, Value};

use self::link::Link;
use super::over_limit::OverLimit;
use super::{Charge, Count, Embedded, Merged, MetricsText, Store, StoreError, StoreStatus};
use crate::error::StartError;
use crate::metrics::{Counter, Histogram};
use crate::rules::Algorithm;
use crate::settings::{FailureMode, OverLimitHits, RedisSettings};

/// What a charge does to a counter.
const SCRIPT: &str = include_str!("script.lua");

/// Counters in Redis, with those of this process for when it does not answer.
#[derive(Debug)]
pub struct RedisStore {
    link: Link,
    script: Script,
    failure_mode: FailureMode,
    over_limit: OverLimit,
    local: Arc<Embedded>,
    seconds: Histogram,
    timeouts: Counter,
    unavailable: Counter,
    failed: Counter,
}

impl RedisStore {
    /// Connects in the background, whether Redis is there or not; the connection ends with the store. `local` is for
    /// [`FailureMode::Local`].
    ///
    /// # Errors
    /// [`StartError::Redis`] where the settings make no sense.
    pub fn new(settings: &RedisSettings, local: Arc<Embedded>) -> Result<Self, StartError> {
        let script = Script::new(SCRIPT);
        Ok(Self {
            link: Link::new(settings, script.clone())?,
            script,
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
        let mut counts = self.ask_or_fall_back(&unknown, over_limit_hits, asked).await?.into_iter();
        Ok(known.into_iter().map(|known| known.unwrap_or_else(|| counts.next().unwrap_or_default())).collect())
    }

    async fn ask_or_fall_back(
        &self,
        charges: &[Charge],
        over_limit_hits: OverLimitHits,
        asked: u64,
    ) -> Result<Vec<Count>, StoreError> {
        let error = match self.ask(charges, over_limit_hits).await {
            Ok(counts) => {
                for (charge, count) in charges.iter().zip(&counts) {
                    self.over_limit.learn(charge, count, over_limit_hits, asked);
                }
                return Ok(counts);
            }
            Err(error) => error,
        };
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

    async fn ask(&self, charges: &[Charge], over_limit_hits: OverLimitHits) -> Result<Vec<Count>, StoreError> {
        let mut call = self.script.prepare_invoke();
        call.arg(match over_limit_hits {
            OverLimitHits::Count => "each",
            OverLimitHits::Ignore => "all",
        });
        for charge in charges {
            let (kind, burst) = match charge.measure.algorithm {
                Algorithm::FixedWindow => ("w", 0),
                Algorithm::Gcra { burst } => ("g", burst),
            };
            let period = u64::try_from(charge.measure.period().as_micros()).unwrap_or(u64::MAX);
            call.key(charge.key.as_str()).arg(kind).arg(charge.measure.requests_per_unit).arg(period);
            call.arg(charge.hits).arg(burst);
        }
        let began = tokio::time::Instant::now();
        let answer = self.link.invoke(&call).await;
        self.seconds.add(began.elapsed());
        let counts = read(charges, &answer?);
        counts.ok_or(StoreError::Failed)
    }
}

/// An answer of the script.
fn read(charges: &[Charge], answer: &Value) -> Option<Vec<Count>> {
    let Value::Array(items) = answer else { return None };
    if items.len() != charges.len() {
        return None;
    }
    let counts = charges.iter().zip(items).map(|(charge, item)| {
        let Value::Array(numbers) = item else { return None };
        let [Value::Int(passes), Value::Int(before), Value::Int(after), Value::Int(reset)] = numbers.as_slice() else {
            return None;
        };
        let reset = u64::try_from(*reset).map_or(charge.measure.period(), Duration::from_micros);
        let (before, after) = (u64::try_from(*before).ok()?, u64::try_from(*after).ok()?);
        Some(Count { before, after, over: *passes == 0, reset, cached: false })
    });
    counts.collect()
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
        self.link.status()
    }

    fn sweep(&self) {
        self.over_limit.sweep(self.local.now().steady);
        self.local.forget();
    }

    fn write_metrics(&self, text: &mut MetricsText<'_>) {
        let name = "fyke_ratelimit_redis_up";
        text.0.gauge(name, "Whether Redis is connected.", u64::from(self.link.status().is_up));
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
        text.0.counter("fyke_ratelimit_redis_connects", help, self.link.connects());
        let known = u64::try_from(self.over_limit.len()).unwrap_or(u64::MAX);
        text.0.gauge("fyke_ratelimit_local_cache_entries", "Counters known to be over their limit.", known);
        let help = "Counters that Redis was not asked about, being over their limit.";
        text.0.counter("fyke_ratelimit_local_cache_hits", help, self.over_limit.hits());
        self.local.write_metrics(text);
    }
}
