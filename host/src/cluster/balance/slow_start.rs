//! Slow start: a host that has just become healthy gets its load gradually.
//!
//! Envoy scales the weight of such a host. Here a choice that falls on it stands with the probability of that scale and
//! is otherwise made again, which comes to the same distribution without a table that would have to be rebuilt as time
//! passes.

use std::time::Duration;

use crate::cluster::balance::{
    host::{Health, Host},
    settings::SlowStart,
};

/// Since when hosts are healthy, and how they warm up.
#[derive(Clone, Debug)]
pub(crate) struct Ramp {
    window_ms: u64,
    exponent: f64,
    minimum: f64,
    /// By host; `None` for those that are not warming up.
    since: Box<[Option<u64>]>,
}

impl Ramp {
    /// The ramp for `hosts`; `None` without a window.
    pub fn new(settings: &SlowStart, hosts: &[Host]) -> Option<Self> {
        if settings.window < Duration::from_millis(1) {
            return None;
        }
        let exponent = if settings.aggression > 0.0 { 1.0 / settings.aggression } else { 1.0 };
        let since = hosts.iter().map(|host| host.healthy_since.filter(|_| host.health == Health::Healthy)).collect();
        Some(Self {
            window_ms: u64::try_from(settings.window.as_millis()).unwrap_or(u64::MAX),
            exponent,
            minimum: f64::from(settings.minimum_weight.min(100)) / 100.0,
            since,
        })
    }

    /// Share of its weight that `host` has at `now_ms`, above 0 and at most 1. Envoy: `applySlowStartFactor`.
    pub fn factor(&self, host: usize, now_ms: u64) -> f64 {
        let Some(Some(since)) = self.since.get(host) else { return 1.0 };
        // The first millisecond counts as over: a factor of 0 would never end where it is all that there is.
        let elapsed = now_ms.saturating_sub(*since).max(1);
        if elapsed >= self.window_ms {
            return 1.0;
        }
        (as_real(elapsed) / as_real(self.window_ms)).powf(self.exponent).max(self.minimum).clamp(1e-6, 1.0)
    }

    /// When the last of `hosts` is warm.
    pub fn warm_at(&self, hosts: impl Iterator<Item = usize>) -> u64 {
        hosts
            .filter_map(|host| self.since.get(host).copied().flatten())
            .map(|since| since.saturating_add(self.window_ms))
            .max()
            .unwrap_or(0)
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + std::mem::size_of_val(&*self.since)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of durations needs no more than 52 bits")]
fn as_real(milliseconds: u64) -> f64 {
    milliseconds as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(aggression: f64) -> Ramp {
        let host = Host { healthy_since: Some(1000), ..Host::default() };
        let cold = Host { healthy_since: Some(1000), health: Health::Degraded, ..Host::default() };
        let settings = SlowStart { window: Duration::from_secs(10), aggression, minimum_weight: 10 };
        Ramp::new(&settings, &[host, cold, Host::default()]).unwrap()
    }

    #[test]
    fn weight_grows_in_a_straight_line_from_the_minimum() {
        let ramp = ramp(1.0);
        let curve: Vec<f64> = [0, 1000, 1500, 2000, 6000, 11_000, 50_000].map(|now| ramp.factor(0, now)).into();
        assert_eq!(curve, [0.1, 0.1, 0.1, 0.1, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn aggression_bends_the_line() {
        assert!((ramp(2.0).factor(0, 3500) - 0.5).abs() < 1e-9, "the square root of a quarter");
        assert!((ramp(0.5).factor(0, 6000) - 0.25).abs() < 1e-9, "the square of a half");
        assert!((ramp(f64::NAN).factor(0, 6000) - 0.5).abs() < 1e-9);
        assert!((ramp(-1.0).factor(0, 6000) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn only_healthy_hosts_of_known_age_warm_up() {
        assert!([1, 2, 3].iter().all(|host| ramp(1.0).factor(*host, 1000) >= 1.0));
    }
}
