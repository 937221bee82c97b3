//! What is counted.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fyke_sdk::{ConfigError, Counter, Env, Gauge, Histogram};

use crate::busiest::Busiest;
use crate::config::Config;
use crate::rule::{Applied, Rule, Rules};

/// What became of a request, of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It fitted.
    Ok,
    /// It fitted, and not much more will.
    Near,
    /// It was refused.
    Over,
    /// It would have been refused.
    Shadow,
    /// It could not be looked up.
    Error,
}

impl Word {
    const fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Near => "near",
            Self::Over => "over",
            Self::Shadow => "shadow",
            Self::Error => "error",
        }
    }
}

/// The metrics.
#[derive(Debug)]
pub struct Stats {
    total: Counter<2>,
    listed: Counter<1>,
    service: Option<Histogram<1>>,
    store: Option<Histogram<1>>,
    cached: Option<Counter<1>>,
    delay: Histogram<0>,
    delayed: Gauge<0>,
    busiest: Option<Rc<RefCell<Busiest>>>,
}

impl Stats {
    /// Defines them.
    ///
    /// # Errors
    /// When the host refuses one.
    pub fn define(rules: &Rules, config: &Config, env: &mut Env) -> Result<Self, ConfigError> {
        let (mut service, mut store, mut cached) = (None, None, None);
        if config.global.is_some() {
            service = Some(env.histogram("rate_limit_service_microseconds", ["rule"])?);
        }
        if config.redis.is_some() {
            store = Some(env.histogram("rate_limit_store_microseconds", ["rule"])?);
            cached = Some(env.counter("rate_limit_cached_total", ["rule"])?);
        }
        Ok(Self {
            total: env.counter("rate_limit_total", ["rule", "outcome"])?,
            listed: env.counter("rate_limit_listed_total", ["list"])?,
            service,
            store,
            cached,
            delay: env.histogram("rate_limit_delay_milliseconds", [])?,
            delayed: env.gauge("rate_limit_delayed", [])?,
            busiest: Busiest::begin(rules, env)?,
        })
    }

    pub fn count(&self, rule: &Rule, word: Word) {
        self.total.increment([&rule.name, word.text()]);
    }

    /// One that a list has.
    pub fn listed(&self, list: &str) {
        self.listed.increment([list]);
    }

    /// One of a key.
    pub fn busy(&self, applied: &Applied, rule: &Rule) {
        if rule.top > 0
            && let Some(busiest) = &self.busiest
            && let Ok(mut busiest) = busiest.try_borrow_mut()
        {
            busiest.add(applied.rule, &applied.entries);
        }
    }

    /// How long the service took for a rule.
    pub fn asked(&self, rule: &Rule, nanoseconds: u64) {
        if let Some(service) = &self.service {
            service.record(nanoseconds / 1_000, [&rule.name]);
        }
    }

    /// How long Redis took for a rule.
    pub fn stored(&self, rule: &Rule, nanoseconds: u64) {
        if let Some(store) = &self.store {
            store.record(nanoseconds / 1_000, [&rule.name]);
        }
    }

    /// One that is over a rule's limit, as is known without asking Redis.
    pub fn cached(&self, rule: &Rule) {
        if let Some(cached) = &self.cached {
            cached.increment([&rule.name]);
        }
    }

    /// One that waits.
    pub fn waits(&self, time: Duration) {
        self.delay.record(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), []);
        self.delayed.add(1);
    }

    /// One that has waited, or has left.
    pub fn waited(&self) {
        self.delayed.add(-1);
    }
}
