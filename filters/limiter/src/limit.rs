//! A limit, as a configuration writes it: all that a key may do.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::gcra::Gcra;
use crate::leases::Leases;
use crate::meter::Meter;
use crate::rate::{Amount, Quota, Rate, Span};
use crate::window::Window;

/// How long a lease is kept where nothing says so: 5 minutes.
const LEASE: u64 = 300 * 1_000_000_000;

/// A limit: `100/s`, or an object in which at least one of `rate`, `sustained`, `quota` and `concurrency` is there. All that are there must
/// pass, and where one refuses none is charged.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Limit {
    /// So many, evenly.
    pub rate: Option<Rate>,
    /// How many of `rate` may come at once. Default: as many as `rate` names.
    pub burst: Option<Amount>,
    /// A second rate, over a longer time, which may be used up at once.
    pub sustained: Option<Rate>,
    /// So many in each minute, hour or day in UTC.
    pub quota: Option<Quota>,
    /// So many at the same time; at most 4294967295.
    pub concurrency: Option<Amount>,
    /// After how long one that goes on is not counted by `concurrency` any more (twice that at the latest), in case its end is never heard of.
    /// Default: 5m.
    pub lease: Option<Span>,
    /// Those that come too early for `rate` or `sustained` wait, for no longer than this, in place of being refused. Default: nobody waits.
    pub delay: Option<Span>,
}

/// What is wrong with a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl std::fmt::Display for LimitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for LimitError {}

impl Limit {
    /// The meters of it. `debt` is how many times its burst a meter may be overdrawn by what is charged afterwards.
    ///
    /// # Errors
    /// [`LimitError`]: parts that are not there, or make no sense together.
    pub fn meters(&self, debt: u64) -> Result<Vec<Meter>, LimitError> {
        let wrong = |field, message: &str| Err(LimitError { field, message: message.to_owned() });
        if self.burst.is_some() && self.rate.is_none() {
            return wrong("burst", "belongs to a `rate`");
        }
        if self.delay.is_some() && self.rate.is_none() && self.sustained.is_none() {
            return wrong("delay", "belongs to a `rate` or to `sustained`: of what else nobody knows how long to wait");
        }
        if self.lease.is_some() && self.concurrency.is_none() {
            return wrong("lease", "belongs to `concurrency`");
        }
        if let (Some(rate), Some(sustained)) = (self.rate, self.sustained)
            && !sustained.is_slower_than(rate)
        {
            return wrong("sustained", &format!("{sustained} is no less than {rate}: it would never refuse anybody"));
        }
        let mut meters = Vec::new();
        let queue = self.delay.map_or(0, Span::nanoseconds);
        for (rate, burst) in [(self.rate, self.burst), (self.sustained, None)] {
            if let Some(rate) = rate {
                let burst = burst.unwrap_or(rate.amount);
                let gcra = Gcra::new(rate, burst).with_queue(queue);
                let gcra = if debt == 0 { gcra } else { gcra.with_debt(burst.get().saturating_mul(debt)) };
                meters.push(Meter::Gcra(gcra));
            }
        }
        if let Some(quota) = self.quota {
            meters.push(Meter::Window(Window::new(quota)));
        }
        if let Some(limit) = self.concurrency {
            if limit.get() > u64::from(u32::MAX) {
                return wrong("concurrency", "must be at most 4294967295");
            }
            let expiry = self.lease.map_or(LEASE, Span::nanoseconds);
            meters.push(Meter::Leases(Leases { limit: limit.get(), expiry }));
        }
        if meters.is_empty() {
            return wrong("rate", "a limit needs at least one of rate, sustained, quota and concurrency");
        }
        Ok(meters)
    }
}

struct LimitVisitor;

impl<'de> Visitor<'de> for LimitVisitor {
    type Value = Limit;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a rate, like 100/s, or an object with rate, burst, sustained, quota, concurrency, lease or delay")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Limit, E> {
        Ok(Limit { rate: Some(Rate::parse(text).map_err(E::custom)?), ..Limit::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Limit, A::Error> {
        // What is derived, field by field; the trait's is below.
        Limit::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitVisitor)
    }
}
