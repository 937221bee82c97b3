//! Where counters are kept: in this process ([`Embedded`]), or in Redis for several ([`RedisStore`]).
//!
//! A [`Charge`] is a counter's key, what it is compared with, and a number of hits. What a store answers is a [`Count`] for each, in their
//! order; what that means for a client is not the store's business. Keys are text without secrets in it, bounded by [`key`].
//!
//! | file | owns |
//! |---|---|
//! | `key.rs` | keys that cannot be mistaken for each other |
//! | `embedded.rs` | counters in this process |
//! | `over_limit.rs` | what is known to be over its limit until its window ends |
//! | `redis/` | counters in Redis |

mod embedded;
mod key;
mod over_limit;
mod redis;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use embedded::Embedded;
pub(crate) use key::Keys;
pub use redis::RedisStore;

use crate::metrics::Text;
use crate::rules::Measure;
use crate::settings::OverLimitHits;

/// Hits of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Whose.
    pub key: String,
    /// What they are compared with.
    pub measure: Measure,
    /// How many; zero looks, and counts nothing.
    pub hits: u64,
}

/// What came of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// The counter before the hits.
    pub before: u64,
    /// The counter with them. Where hits over the limit do not count it is what it would be.
    pub after: u64,
    /// Whether the hits are over the limit.
    pub over: bool,
    /// Until the counter begins anew; of GCRA until the hits would pass, or else until it is as if nobody had been here.
    pub reset: Duration,
    /// Whether this was known without asking.
    pub cached: bool,
}

/// Why a store cannot say. Whether anything was counted is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no connection.
    #[error("the store is not connected")]
    Unavailable,
    /// It took too long.
    #[error("the store took too long")]
    Timeout,
    /// It answered what is no answer, or an error.
    #[error("the store failed")]
    Failed,
}

/// How a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether it answers.
    pub is_up: bool,
    /// In words, for people.
    pub text: String,
}

/// Where counters are kept.
pub trait Store: Send + Sync + fmt::Debug {
    /// Counts. Two charges may be of the same counter; then the second sees the first.
    ///
    /// Not cancel-safe: where the future is dropped, the hits may have been counted or not.
    fn charge<'a>(
        &'a self,
        charges: &'a [Charge],
        over_limit_hits: OverLimitHits,
    ) -> BoxFuture<'a, Result<Vec<Count>, StoreError>>;

    /// How it is.
    fn status(&self) -> StoreStatus;

    /// Forgets what is over. Called once a minute.
    fn sweep(&self) {}

    /// Writes metrics of its own.
    #[doc(hidden)]
    fn write_metrics(&self, _: &mut MetricsText<'_>) {}
}

/// Where a store writes its metrics.
#[derive(Debug)]
pub struct MetricsText<'a>(pub(crate) &'a mut Text);

/// Charges of which each has a key of its own, and how the others are found in them.
#[derive(Debug)]
struct Merged {
    charges: Vec<Charge>,
    /// For each charge there was: where it is, and how many hits of the same key were before it.
    places: Vec<(usize, u64)>,
}

impl Merged {
    /// `None` where all keys differ, which is the usual.
    fn of(charges: &[Charge]) -> Option<Self> {
        if charges.len() < 2 {
            return None;
        }
        let mut known: HashMap<&str, usize> = HashMap::with_capacity(charges.len());
        let mut merged = Self { charges: Vec::new(), places: Vec::with_capacity(charges.len()) };
        for charge in charges {
            let at = *known.entry(&charge.key).or_insert(merged.charges.len());
            match merged.charges.get_mut(at) {
                Some(same) => {
                    merged.places.push((at, same.hits));
                    same.hits = same.hits.saturating_add(charge.hits);
                }
                None => {
                    merged.places.push((at, 0));
                    merged.charges.push(charge.clone());
                }
            }
        }
        (merged.charges.len() < charges.len()).then_some(merged)
    }

    /// The counts of the charges there were, out of those of the merged.
    fn split(&self, charges: &[Charge], counts: &[Count]) -> Vec<Count> {
        let each = charges.iter().zip(&self.places);
        each.map(|(charge, (at, earlier))| {
            let count = counts.get(*at).copied().unwrap_or_default();
            let before = count.before.saturating_add(*earlier);
            let after = before.saturating_add(charge.hits);
            let over = match charge.measure.algorithm {
                crate::rules::Algorithm::FixedWindow => after > charge.measure.capacity(),
                crate::rules::Algorithm::Gcra { .. } => count.over,
            };
            Count { before, after, over, ..count }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
