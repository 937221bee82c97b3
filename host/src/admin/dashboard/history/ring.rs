//! The steps of one service.

use crate::admin::dashboard::{history::STEPS, model::Summary};

/// A step of nobody: no sample was taken in it.
const NOBODY: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
struct Head {
    /// Number of the step since 1970, or [`NOBODY`].
    place: u64,
    requests: u64,
    failures: u64,
    /// Milliseconds that its counts took.
    covered: u32,
    /// Counts of buckets are divided by two so many times, so that they fit.
    shift: u32,
}

/// The last [`STEPS`] steps.
#[derive(Debug)]
pub(super) struct Ring {
    heads: Vec<Head>,
    counts: Vec<u16>,
    buckets: usize,
}

impl Ring {
    pub(super) fn new(buckets: usize) -> Self {
        let empty = Head { place: NOBODY, requests: 0, failures: 0, covered: 0, shift: 0 };
        Self { heads: vec![empty; STEPS], counts: vec![0; STEPS * buckets], buckets }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.heads.as_slice()) + size_of_val(self.counts.as_slice())
    }

    fn slot(place: u64) -> usize {
        usize::try_from(place % STEPS as u64).unwrap_or_default()
    }

    fn range(&self, slot: usize) -> std::ops::Range<usize> {
        slot * self.buckets..(slot + 1) * self.buckets
    }

    /// Adds counts to a step, which took so many milliseconds.
    pub(super) fn add(&mut self, place: u64, took: u64, requests: u64, failures: u64, delta: &[u64]) {
        let slot = Self::slot(place);
        let range = self.range(slot);
        let (Some(head), Some(counts)) = (self.heads.get_mut(slot), self.counts.get_mut(range)) else { return };
        if head.place != place {
            *head = Head { place, requests: 0, failures: 0, covered: 0, shift: 0 };
            counts.fill(0);
        }
        head.requests = head.requests.saturating_add(requests);
        head.failures = head.failures.saturating_add(failures);
        head.covered = head.covered.saturating_add(u32::try_from(took).unwrap_or(u32::MAX));
        let shift = head.shift;
        let sums = || counts.iter().zip(delta).map(|(held, more)| (u64::from(*held) << shift).saturating_add(*more));
        let largest = sums().max().unwrap_or(0);
        let shift = (u64::BITS - largest.leading_zeros()).saturating_sub(u16::BITS).max(shift);
        let fitting: Vec<u16> = sums().map(|sum| u16::try_from(sum >> shift).unwrap_or(u16::MAX)).collect();
        counts.copy_from_slice(&fitting);
        head.shift = shift;
    }

    /// Adds a step to another one, but for the time, which is returned.
    pub(super) fn add_to(&self, place: u64, sum: &mut Step) -> u32 {
        let slot = Self::slot(place);
        let (Some(head), Some(counts)) = (self.heads.get(slot), self.counts.get(self.range(slot))) else { return 0 };
        if head.place != place {
            return 0;
        }
        sum.requests = sum.requests.saturating_add(head.requests);
        sum.failures = sum.failures.saturating_add(head.failures);
        for (total, held) in sum.buckets.iter_mut().zip(counts) {
            *total = total.saturating_add(u64::from(*held) << head.shift);
        }
        head.covered
    }
}

/// Steps, added up.
#[derive(Debug)]
pub(super) struct Step {
    requests: u64,
    failures: u64,
    /// Milliseconds that somebody counted in.
    pub(super) covered: u64,
    buckets: Vec<u64>,
}

#[expect(clippy::cast_precision_loss, reason = "rates and quantiles are estimates")]
impl Step {
    pub(super) fn empty(buckets: usize) -> Self {
        Self { requests: 0, failures: 0, covered: 0, buckets: vec![0; buckets] }
    }

    fn seconds(&self) -> f64 {
        self.covered as f64 / 1e3
    }

    pub(super) fn failure_rate(&self) -> Option<f64> {
        (self.covered > 0).then(|| self.failures as f64 / self.seconds())
    }

    pub(super) fn summary(&self, bounds: &[f64]) -> Summary {
        let quantile = |quantile| self.quantile(bounds, quantile);
        Summary {
            seconds: self.seconds(),
            requests: self.requests,
            rate: (self.covered > 0).then(|| self.requests as f64 / self.seconds()),
            success: (self.requests > 0)
                .then(|| self.requests.saturating_sub(self.failures) as f64 / self.requests as f64),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
        }
    }

    /// The value below which this fraction of the observations lies, interpolated within its bucket; the last bound for
    /// what is above it. `None` without observations.
    fn quantile(&self, bounds: &[f64], quantile: f64) -> Option<f64> {
        let count: u64 = self.buckets.iter().sum();
        if count == 0 {
            return None;
        }
        let rank = quantile * count as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (upper, held) in bounds.iter().zip(&self.buckets) {
            let held = *held as f64;
            if held > 0.0 && below + held >= rank {
                return Some(lower + (upper - lower) * ((rank - below) / held).clamp(0.0, 1.0));
            }
            below += held;
            lower = *upper;
        }
        Some(lower)
    }
}
