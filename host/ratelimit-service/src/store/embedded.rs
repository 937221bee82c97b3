//! Counters of this process: exact over its threads, within bounded memory, gone when it ends.

use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use fyke_limiter::{self as limiter, Amount, Gcra, Meter, Now, Operation, Outcome, Rate, Reading, Span, Table, Window};

use super::{Charge, Count, Merged, MetricsText, Store, StoreError, StoreStatus};
use crate::clock::Clock;
use crate::rules::{Algorithm, Measure};
use crate::settings::OverLimitHits;

/// Counters in a table of [`fyke_limiter`].
#[derive(Debug)]
pub struct Embedded {
    table: Table,
    clock: Clock,
}

impl Embedded {
    /// Of at most so many bytes. When it is full, the counters that end soonest are forgotten.
    #[must_use]
    pub fn new(bytes: usize, clock: Clock) -> Self {
        Self { table: Table::new(bytes), clock }
    }

    /// Counts. Exact whatever other threads do.
    #[must_use]
    pub fn count(&self, charges: &[Charge], over_limit_hits: OverLimitHits) -> Vec<Count> {
        if let Some(merged) = Merged::of(charges) {
            return merged.split(charges, &self.count_distinct(&merged.charges, over_limit_hits));
        }
        self.count_distinct(charges, over_limit_hits)
    }

    fn count_distinct(&self, charges: &[Charge], over_limit_hits: OverLimitHits) -> Vec<Count> {
        match over_limit_hits {
            OverLimitHits::Ignore => self.all_or_none(charges),
            OverLimitHits::Count => charges.iter().map(|charge| self.one(charge)).collect(),
        }
    }

    /// Each counter by itself, and windows whether the hits fit or not: their meter has no limit, so that it shows the whole count.
    fn one(&self, charge: &Charge) -> Count {
        let meters = [match charge.measure.algorithm {
            Algorithm::FixedWindow => window(&charge.measure, u64::MAX),
            Algorithm::Gcra { .. } => meter(&charge.measure),
        }];
        let mut outcome = Outcome::default();
        let taken = limiter::Charge { key: charge.key.as_bytes(), meters: &meters, cost: charge.hits, lease: 0 };
        self.table.apply(Operation::Take, &[taken], || self.clock.now(), &mut outcome);
        let Some(reading) = outcome.readings.first() else { return Count::default() };
        match charge.measure.algorithm {
            Algorithm::FixedWindow => {
                let after = u64::MAX - reading.remaining;
                let over = after > charge.measure.capacity();
                let before = after.saturating_sub(charge.hits);
                Count { before, after, over, reset: Duration::from_nanos(reading.reset), cached: false }
            }
            Algorithm::Gcra { .. } => fitting(charge, reading, true),
        }
    }

    fn all_or_none(&self, charges: &[Charge]) -> Vec<Count> {
        let meters: Vec<[Meter; 1]> = charges.iter().map(|charge| [meter(&charge.measure)]).collect();
        let taken: Vec<limiter::Charge<'_>> = charges
            .iter()
            .zip(&meters)
            .map(|(charge, meters)| limiter::Charge { key: charge.key.as_bytes(), meters, cost: charge.hits, lease: 0 })
            .collect();
        let mut outcome = Outcome::default();
        self.table.apply(Operation::Take, &taken, || self.clock.now(), &mut outcome);
        let readings = outcome.readings.iter();
        charges.iter().zip(readings).map(|(charge, reading)| fitting(charge, reading, outcome.admitted)).collect()
    }

    /// How many counters there are, and the bytes that they take.
    #[must_use]
    pub fn stats(&self) -> limiter::TableStats {
        self.table.stats()
    }

    /// Forgets what is over.
    pub fn forget(&self) {
        self.table.sweep(self.clock.now());
    }

    /// What time it is by its clock.
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }
}

/// What a meter with a limit has read. Where another refused, what it says after the hits did not happen.
fn fitting(charge: &Charge, reading: &Reading, admitted: bool) -> Count {
    let used = charge.measure.capacity().saturating_sub(reading.remaining);
    let (before, after) = match (reading.passes, admitted) {
        (true, true) => (used.saturating_sub(charge.hits), used),
        (true, false) => (used.saturating_sub(charge.hits), used.saturating_sub(charge.hits)),
        (false, _) => (used, used.saturating_add(charge.hits)),
    };
    let until_it_passes = !reading.passes && charge.measure.algorithm != Algorithm::FixedWindow;
    let wait = if until_it_passes { reading.retry_after } else { reading.reset };
    // What never passes is tried again in vain; that much later it may be another rule.
    let reset = if wait == u64::MAX { charge.measure.period() } else { Duration::from_nanos(wait) };
    Count { before, after, over: !reading.passes, reset, cached: false }
}

fn meter(measure: &Measure) -> Meter {
    let Algorithm::Gcra { burst } = measure.algorithm else {
        return window(measure, measure.capacity());
    };
    let amount = |number: u32| Amount::new(u64::from(number));
    match (amount(measure.requests_per_unit), amount(burst), Span::new(nanoseconds(measure.period()))) {
        (Some(amount), Some(burst), Some(per)) => Meter::Gcra(Gcra::new(Rate { amount, per }, burst)),
        // Rules refuse a rate of zero; nothing passes here either.
        _ => window(measure, 0),
    }
}

fn window(measure: &Measure, limit: u64) -> Meter {
    Meter::Window(Window { limit, period: nanoseconds(measure.period()) })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Store for Embedded {
    fn charge<'a>(
        &'a self,
        charges: &'a [Charge],
        over_limit_hits: OverLimitHits,
    ) -> BoxFuture<'a, Result<Vec<Count>, StoreError>> {
        Box::pin(future::ready(Ok(self.count(charges, over_limit_hits))))
    }

    fn status(&self) -> StoreStatus {
        StoreStatus { is_up: true, text: "in this process".to_owned() }
    }

    fn sweep(&self) {
        self.forget();
    }

    fn write_metrics(&self, text: &mut MetricsText<'_>) {
        let stats = self.stats();
        let long = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        text.0.gauge("fyke_ratelimit_counters", "Counters in this process.", long(stats.entries));
        text.0.gauge("fyke_ratelimit_counters_bytes", "Bytes that they take.", long(stats.bytes));
        let help = "Counters forgotten before they ended, for want of room.";
        text.0.counter("fyke_ratelimit_counters_evicted", help, stats.evicted);
    }
}
