//! Weights from what endpoints say of their load: Envoy's `client_side_weighted_round_robin`, gRPC's `weighted_round_robin` (gRFC A58).
//!
//! An endpoint's weight is how many requests it serves for what they cost it: requests a second over its utilization, in which errors count as a
//! penalty. Reports come with answers, on any worker; once a period the control plane makes weights of them, and a plan where they have moved.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::Report;

/// Settings.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadWeights {
    /// How long an endpoint has to report before its reports count. Default 10 s. Envoy: `blackout_period`.
    pub blackout: Duration,
    /// After so long without a report there is none. Default 3 min. Envoy: `weight_expiration_period`.
    pub expiration: Duration,
    /// How often weights are made. Default 1 s, at least 100 ms. Envoy: `weight_update_period`.
    pub update: Duration,
    /// What an error counts, in requests that cost all there is. Default 1. Envoy: `error_utilization_penalty`.
    pub error_penalty: f64,
    /// Figures of which the largest is the utilization where the service has no measure of its own. Default: none, the CPU counts. Envoy:
    /// `metric_names_for_computing_utilization`.
    pub metrics: Vec<String>,
    /// Endpoints are asked for a report this often, beside answers. Default: they are not. Envoy: `enable_oob_load_report`, `oob_reporting_period`.
    pub out_of_band: Option<Duration>,
}

impl Default for LoadWeights {
    fn default() -> Self {
        Self {
            blackout: Duration::from_secs(10),
            expiration: Duration::from_mins(3),
            update: Duration::from_secs(1),
            error_penalty: 1.0,
            metrics: Vec::new(),
            out_of_band: None,
        }
    }
}

impl LoadWeights {
    /// What a report says that its endpoint should get; nothing where it does not say enough.
    #[must_use]
    pub fn weight(&self, report: &Report) -> Option<f64> {
        let rate = report.rps_fractional;
        let mut busy = report.busyness(&self.metrics);
        if rate <= 0.0 || busy <= 0.0 {
            return None;
        }
        if report.eps > 0.0 && self.error_penalty > 0.0 {
            busy += report.eps / rate * self.error_penalty;
        }
        Some(rate / busy).filter(|weight| weight.is_finite() && *weight > 0.0)
    }
}

/// What an endpoint has reported, over all workers. Times are milliseconds on a clock of the process, never 0.
#[derive(Debug, Default)]
pub struct Reported {
    weight: AtomicU64,
    /// The first of an unbroken row; 0: there is none.
    since: AtomicU64,
    /// The last.
    at: AtomicU64,
}

impl Reported {
    /// A report has come.
    pub fn note(&self, weight: f64, now: u64) {
        self.weight.store(weight.to_bits(), Relaxed);
        self.at.store(now.max(1), Relaxed);
        let _ = self.since.compare_exchange(0, now.max(1), Relaxed, Relaxed);
    }

    /// The weight that counts now, if there is one.
    #[must_use]
    pub fn current(&self, settings: &LoadWeights, now: u64) -> Option<f64> {
        let (since, at) = (self.since.load(Relaxed), self.at.load(Relaxed));
        if since == 0 {
            return None;
        }
        if Duration::from_millis(now.saturating_sub(at)) >= settings.expiration {
            // Should it report again, it has to do so for a while.
            self.since.store(0, Relaxed);
            return None;
        }
        let counts = Duration::from_millis(now.saturating_sub(since)) >= settings.blackout;
        counts.then(|| f64::from_bits(self.weight.load(Relaxed)))
    }
}

/// The heaviest weight of a plan.
const HEAVIEST: f64 = 10_000.0;
/// A weight that has moved by less stays: a plan made anew would do next to nothing.
const NOTICEABLE: f64 = 0.01;

/// The weights of a plan from those that endpoints have; those without one get the middle one of the others, and nobody has one where fewer
/// than two endpoints say anything, for then there is nothing to compare.
#[must_use]
pub fn scaled(weights: &[Option<f64>]) -> Vec<Option<u32>> {
    let mut known: Vec<f64> = weights.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let [_, .., heaviest] = *known else { return vec![None; weights.len()] };
    let middle = known.get(known.len() / 2).copied().unwrap_or(heaviest);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10,000")]
    let scale = |weight: f64| (weight / heaviest * HEAVIEST).round().clamp(1.0, HEAVIEST) as u32;
    weights.iter().map(|weight| Some(scale(weight.unwrap_or(middle)))).collect()
}

/// Whether requests would be spread noticeably otherwise.
#[must_use]
pub fn is_noticeable(before: Option<u32>, after: Option<u32>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => f64::from(before.abs_diff(after)) > NOTICEABLE * f64::from(before),
        (before, after) => before != after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rps: f64, cpu: f64, eps: f64) -> Report {
        Report { rps_fractional: rps, cpu_utilization: cpu, eps, ..Report::default() }
    }

    #[test]
    fn a_weight_is_requests_for_what_they_cost_and_errors_cost_more() {
        let settings = LoadWeights::default();
        assert_eq!(settings.weight(&report(100.0, 0.5, 0.0)), Some(200.0));
        assert_eq!(settings.weight(&report(100.0, 0.5, 50.0)), Some(100.0));
        let mild = LoadWeights { error_penalty: 0.0, ..LoadWeights::default() };
        assert_eq!(mild.weight(&report(100.0, 0.5, 50.0)), Some(200.0));
        for unsaid in [report(0.0, 0.5, 0.0), report(100.0, 0.0, 0.0), report(0.0, 0.0, 1.0)] {
            assert_eq!(settings.weight(&unsaid), None);
        }
    }

    #[test]
    fn reports_count_when_they_have_come_for_a_while_and_until_they_stop() {
        let settings = LoadWeights::default();
        let reported = Reported::default();
        assert_eq!(reported.current(&settings, 1), None);
        reported.note(2.0, 1_000);
        assert_eq!(reported.current(&settings, 10_999), None);
        reported.note(3.0, 10_000);
        assert_eq!(reported.current(&settings, 11_000), Some(3.0));
        assert_eq!(reported.current(&settings, 189_999), Some(3.0));
        assert_eq!(reported.current(&settings, 190_000), None);
        reported.note(4.0, 200_000);
        assert_eq!(reported.current(&settings, 200_001), None, "it begins anew");
        assert_eq!(reported.current(&settings, 210_000), Some(4.0));
    }

    #[test]
    fn who_says_nothing_gets_the_middle_one() {
        assert_eq!(
            scaled(&[Some(50.0), None, Some(100.0), Some(200.0)]),
            [Some(2500), Some(5000), Some(5000), Some(10_000)]
        );
        assert_eq!(scaled(&[Some(1e-9), Some(1e9)]), [Some(1), Some(10_000)]);
        assert_eq!(scaled(&[Some(5.0), None]), [None, None], "nothing to compare with");
        assert_eq!(scaled(&[]), []);
    }

    #[test]
    fn a_hundredth_is_not_noticed() {
        assert!(!is_noticeable(Some(1000), Some(1010)) && is_noticeable(Some(1000), Some(1011)));
        assert!(is_noticeable(None, Some(1)) && is_noticeable(Some(1), None) && !is_noticeable(None, None));
    }
}
