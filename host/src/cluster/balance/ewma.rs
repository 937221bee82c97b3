//! Peak EWMA: the lower of two hosts by latency times requests in flight, as in Finagle, Linkerd and Envoy's
//! `peak_ewma`.
//!
//! The average is pessimistic: a latency above it replaces it at once, one below it pulls it down only as time passes.
//! Read later it has decayed, so that a host that was slow once is tried again.
//!
//! Hosts are drawn by weight, and requests in flight count per weight: among hosts that are equally fast and idle the
//! first draw stands, and weights hold exactly.

use std::time::Duration;

use crate::cluster::balance::{local::Local, pool::Pick, pool::Pool, request::Load, settings::PeakEwma};

/// Cost of a host that has requests in flight and has answered none. Envoy: `penalty_value`.
const PENALTY: f64 = 1_000_000.0;

/// A decaying average of latency that jumps to peaks. Copied, updated and stored back by whoever owns the numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ewma {
    milliseconds: f64,
    at: Duration,
}

impl Ewma {
    /// The average after a first answer that took `latency`; `now` is a point on a clock that never goes back.
    #[must_use]
    pub fn new(latency: Duration, now: Duration) -> Self {
        Self { milliseconds: as_milliseconds(latency), at: now }
    }

    /// The average after another answer.
    #[must_use]
    pub fn observe(self, latency: Duration, now: Duration, decay: Duration) -> Self {
        let (old, sample) = (self.milliseconds, as_milliseconds(latency));
        let keep = self.kept(now, decay);
        let milliseconds = if sample > old { sample } else { old * keep + sample * (1.0 - keep) };
        Self { milliseconds, at: self.at.max(now) }
    }

    /// The average at `now` in milliseconds, without an answer decaying towards 0.
    #[must_use]
    pub fn value(self, now: Duration, decay: Duration) -> f64 {
        self.milliseconds * self.kept(now, decay)
    }

    /// What `now` leaves of the old average: `e^(-elapsed / decay)`.
    fn kept(self, now: Duration, decay: Duration) -> f64 {
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        if decay.is_zero() { 0.0 } else { (-elapsed / decay.as_secs_f64()).exp() }
    }
}

/// Picks the lower of two.
pub(crate) fn pick<L: Load, U: Fn(usize) -> bool>(
    settings: &PeakEwma,
    pool: &Pool,
    pick: &Pick<'_, L, U>,
    local: &mut Local,
) -> Option<usize> {
    let first = pool.draw(pick, &mut local.random)?;
    if pool.len() < 2 {
        return Some(first.host);
    }
    let Some(second) = pool.draw_other(first.position, pick, &mut local.random) else { return Some(first.host) };
    let cost = |host: usize| {
        let active = f64::from(pick.load.active(host)) * pool.lightness(pick, host);
        match pick.load.latency(host).filter(|latency| *latency > 0.0) {
            Some(latency) => latency * (active + 1.0),
            None if active > 0.0 => PENALTY + active,
            None => as_milliseconds(settings.default_latency),
        }
    };
    Some(if cost(second.host) < cost(first.host) { second.host } else { first.host })
}

fn as_milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn milliseconds(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn a_peak_replaces_the_average_at_once() {
        let average = Ewma::new(milliseconds(10), milliseconds(0)).observe(milliseconds(500), milliseconds(1), DECAY);
        assert!((average.value(milliseconds(1), DECAY) - 500.0).abs() < 1e-6);
    }

    #[test]
    fn a_lower_latency_pulls_by_the_time_that_has_passed() {
        let average = Ewma::new(milliseconds(100), milliseconds(0)).observe(milliseconds(0), DECAY, DECAY);
        assert!((average.value(DECAY, DECAY) - 100.0 / std::f64::consts::E).abs() < 1e-6);
        let average = Ewma::new(milliseconds(100), DECAY).observe(milliseconds(0), DECAY, DECAY);
        assert!((average.value(DECAY, DECAY) - 100.0).abs() < 1e-6, "no time, no pull");
    }

    #[test]
    fn it_decays_while_nothing_is_measured() {
        let average = Ewma::new(milliseconds(100), milliseconds(0));
        assert!(average.value(DECAY * 10, DECAY) < 0.01);
        assert!(average.value(DECAY, Duration::ZERO) < 1e-9);
    }

    proptest! {
        #[test]
        fn it_stays_between_the_lowest_and_the_highest_latency(
            samples in prop::collection::vec((0_u64..10_000, 0_u64..5000), 1..50),
        ) {
            let (mut now, mut average) = (Duration::ZERO, None::<Ewma>);
            for (latency, wait) in &samples {
                now += milliseconds(*wait);
                let latency = milliseconds(*latency);
                average = Some(average.map_or(Ewma::new(latency, now), |old| old.observe(latency, now, DECAY)));
            }
            let value = average.unwrap().value(now, DECAY);
            let bounds = samples.iter().map(|(latency, _)| *latency);
            let (low, high) = (bounds.clone().min().unwrap(), bounds.max().unwrap());
            prop_assert!(value >= low as f64 - 1e-6 && value <= high as f64 + 1e-6);
        }
    }
}
