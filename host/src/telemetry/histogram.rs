//! Buckets, and what can be read from them.
//!
//! Bounds are fixed when the program is built: about ten per decade, at most a third apart, so that a quantile
//! read from them is within a few per cent and a canary can be judged by it. Every 1, 2.5 and 5 times a power of ten is
//! among them, and only these are exposed: round `le` values, exact because each is a bound. Rejected: base-two
//! log-linear buckets, whose bounds (`le="0.065536"`) nobody can write an objective against.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    exemplar::{Exemplar, Exemplars},
    handle::bump,
};

/// One decade of bounds, times ten so that they are whole numbers.
const DECADE: [u64; 10] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];
const NANOSECONDS: [u64; 71] = decades(1_000);
const NUMBERS: [u64; 78] = with_ones(decades(1));
/// Buckets of a cell: enough for every table and the one above its last bound.
const SLOTS: usize = NUMBERS.len() + 1;

/// For each bucket the number of the exposed bucket that it is part of.
const NANOSECONDS_EXPOSED: [u8; NANOSECONDS.len() + 1] = exposed(&NANOSECONDS);
const NUMBERS_EXPOSED: [u8; NUMBERS.len() + 1] = exposed(&NUMBERS);
/// Exposed buckets, of the table that has more: the last number and one.
#[expect(clippy::indexing_slicing, reason = "evaluated when the program is built")]
const EXPOSED: u16 = NUMBERS_EXPOSED[NUMBERS.len()] as u16 + 1;

/// Which bounds a histogram has, and in which unit it is exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// Observed in nanoseconds, 10 us to 100 s, exposed in seconds.
    Seconds,
    /// Observed and exposed as it is (bytes, counts), 1 to 100 million.
    Numbers,
}

impl Buckets {
    /// Inclusive upper bounds in the unit of observation, rising.
    #[must_use]
    pub fn bounds(self) -> &'static [u64] {
        match self {
            Self::Seconds => &NANOSECONDS,
            Self::Numbers => &NUMBERS,
        }
    }

    /// What one unit of observation is in the unit of exposition.
    fn scale(self) -> f64 {
        match self {
            Self::Seconds => 1e-9,
            Self::Numbers => 1.0,
        }
    }

    /// The bucket of an observation.
    fn slot(self, value: u64) -> usize {
        self.bounds().partition_point(|bound| *bound < value)
    }

    /// The number of the exposed bucket of an observation.
    fn exposed(self, value: u64) -> usize {
        let table: &[u8] = match self {
            Self::Seconds => &NANOSECONDS_EXPOSED,
            Self::Numbers => &NUMBERS_EXPOSED,
        };
        // No exemplar has a place there.
        table.get(self.slot(value)).map_or(usize::MAX, |number| usize::from(*number))
    }

    /// What an observation adds to the sum.
    fn summed(self, value: u64) -> u64 {
        let unit = self.sum_unit();
        value.saturating_add(unit / 2) / unit
    }

    /// The sum of durations is kept in microseconds: in nanoseconds, ten thousand day-long streams a day would wrap it within weeks.
    fn sum_unit(self) -> u64 {
        match self {
            Self::Seconds => 1_000,
            Self::Numbers => 1,
        }
    }
}

/// Where one handle counts. Aligned, so that no two cells share a cache line (or the pair that is prefetched together).
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct HistogramCell {
    sum: AtomicU64,
    slots: [AtomicU64; SLOTS],
    /// By exposed bucket. At the end: a worker that traces nothing never touches it.
    exemplars: Exemplars,
}

impl Default for HistogramCell {
    fn default() -> Self {
        Self { sum: AtomicU64::new(0), slots: [const { AtomicU64::new(0) }; SLOTS], exemplars: Exemplars::new(EXPOSED) }
    }
}

impl HistogramCell {
    pub(super) fn observe(&self, buckets: Buckets, value: u64) {
        if let Some(slot) = self.slots.get(buckets.slot(value)) {
            slot.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(buckets.summed(value), Ordering::Relaxed);
    }

    /// The same, where no other thread observes.
    pub(super) fn note(&self, buckets: Buckets, value: u64) {
        if let Some(slot) = self.slots.get(buckets.slot(value)) {
            bump(slot, 1);
        }
        bump(&self.sum, buckets.summed(value));
    }

    /// Shows an observation that was traced as the example of its bucket. Counts nothing.
    pub(super) fn exemplify(&self, buckets: Buckets, exemplar: &Exemplar) {
        self.exemplars.record(buckets.exposed(exemplar.value), exemplar);
    }

    pub(super) fn absorb(&self, other: &Self) {
        self.sum.fetch_add(other.sum.load(Ordering::Relaxed), Ordering::Relaxed);
        for (mine, theirs) in self.slots.iter().zip(&other.slots) {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.exemplars.absorb(&other.exemplars);
    }

    pub(super) fn read(&self, buckets: Buckets) -> HistogramReading {
        let slots = buckets.bounds().len() + 1;
        HistogramReading {
            buckets,
            sum: self.sum.load(Ordering::Relaxed),
            counts: self.slots.iter().take(slots).map(|slot| slot.load(Ordering::Relaxed)).collect(),
            exemplars: self.exemplars.iter().map(|(_, exemplar)| exemplar).collect(),
        }
    }
}

/// A histogram of durations that is nobody's series: for what there may be ten thousand of, most of which are idle. It takes no room
/// until something is observed.
#[derive(Debug, Default)]
pub struct SharedDurations(OnceLock<Box<HistogramCell>>);

impl SharedDurations {
    /// Takes one duration into account. From any thread.
    pub fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.get_or_init(Box::default).observe(Buckets::Seconds, nanoseconds);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.get().map_or(0, |cell| cell.slots.iter().map(|slot| slot.load(Ordering::Relaxed)).sum())
    }

    /// All of them; `None`: nothing was observed.
    #[must_use]
    pub fn read(&self) -> Option<HistogramReading> {
        self.0.get().map(|cell| cell.read(Buckets::Seconds))
    }
}

/// A histogram as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramReading {
    buckets: Buckets,
    sum: u64,
    counts: Vec<u64>,
    exemplars: Vec<Exemplar>,
}

impl HistogramReading {
    /// Its bounds and the unit of its observations.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        self.buckets
    }

    /// Observations per bucket (not cumulative), the last above every bound.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Traced observations, at most one of each exposed bucket, in the unit of observation.
    #[must_use]
    pub fn exemplars(&self) -> &[Exemplar] {
        &self.exemplars
    }

    /// Number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of the observations, in seconds for durations.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an exposition is a float")]
    pub fn sum(&self) -> f64 {
        match self.buckets {
            Buckets::Seconds => self.sum as f64 / 1e6,
            Buckets::Numbers => self.sum as f64,
        }
    }

    /// The mean, in seconds for durations; `None` without observations.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean is a float")]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum() / count as f64)
    }

    /// The value below which the fraction `quantile` (0 to 1) of the observations lies, interpolated within its bucket,
    /// in seconds for durations. `None` without observations; the last bound for what is above it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a quantile is an estimate")]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * count as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, held) in self.buckets.bounds().iter().zip(&self.counts) {
            let (upper, held) = (*bound as f64, *held as f64);
            if held > 0.0 && below + held >= rank {
                let within = ((rank - below) / held).clamp(0.0, 1.0);
                return Some((lower + (upper - lower) * within) * self.buckets.scale());
            }
            below += held;
            lower = upper;
        }
        Some(lower * self.buckets.scale())
    }

    /// What was observed after `earlier`, a reading of the same series.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: self.buckets,
            sum: self.sum.saturating_sub(earlier.sum),
            counts: self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then)).collect(),
            exemplars: self.exemplars.clone(),
        }
    }

    /// The exposed bounds (in seconds for durations) and how many observations lie at or below each.
    #[expect(clippy::cast_precision_loss, reason = "an exposition is a float")]
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let divisor = match self.buckets {
            Buckets::Seconds => 1e9,
            Buckets::Numbers => 1.0,
        };
        let mut total = 0;
        self.buckets.bounds().iter().zip(&self.counts).filter_map(move |(bound, held)| {
            total += held;
            is_round(*bound).then(|| (*bound as f64 / divisor, total))
        })
    }
}

/// Whether a bound is 1, 2.5 or 5 times a power of ten.
const fn is_round(mut bound: u64) -> bool {
    while bound > 0 && bound.is_multiple_of(10) {
        bound /= 10;
    }
    matches!(bound, 1 | 5 | 25)
}

/// How many exposed bounds lie below each bucket.
#[expect(clippy::indexing_slicing, reason = "evaluated when the program is built")]
const fn exposed<const N: usize, const M: usize>(bounds: &[u64; N]) -> [u8; M] {
    let mut numbers = [0; M];
    let (mut index, mut below) = (0, 0);
    while index < M {
        numbers[index] = below;
        if index < N && is_round(bounds[index]) {
            below += 1;
        }
        index += 1;
    }
    numbers
}

/// Bounds from ten times `unit`, ten for each decade.
#[expect(clippy::indexing_slicing, reason = "evaluated when the program is built")]
const fn decades<const N: usize>(unit: u64) -> [u64; N] {
    let mut bounds = [0; N];
    let (mut index, mut power) = (0, unit);
    while index < N {
        bounds[index] = DECADE[index % DECADE.len()] * power;
        index += 1;
        if index.is_multiple_of(DECADE.len()) {
            power *= 10;
        }
    }
    bounds
}

/// Puts the whole numbers below ten in front.
#[expect(clippy::indexing_slicing, reason = "evaluated when the program is built")]
const fn with_ones(tens: [u64; 71]) -> [u64; 78] {
    let ones = [1, 2, 3, 4, 5, 6, 8];
    let mut bounds = [0; 78];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = if index < ones.len() { ones[index] } else { tens[index - ones.len()] };
        index += 1;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(buckets: Buckets, values: &[u64]) -> HistogramReading {
        let cell = HistogramCell::default();
        for value in values {
            cell.observe(buckets, *value);
        }
        cell.read(buckets)
    }

    #[test]
    fn bounds_rise_and_reach_from_ten_microseconds_to_a_hundred_seconds() {
        for buckets in [Buckets::Seconds, Buckets::Numbers] {
            assert!(buckets.bounds().windows(2).all(|pair| pair[0] < pair[1]));
            assert!(buckets.bounds().len() < SLOTS);
        }
        assert_eq!(NANOSECONDS.first(), Some(&10_000));
        assert_eq!(NANOSECONDS.last(), Some(&100_000_000_000));
        assert_eq!(NUMBERS.last(), Some(&100_000_000));
    }

    #[test]
    fn exposed_bounds_are_round() {
        let bounds: Vec<String> =
            reading(Buckets::Seconds, &[]).cumulative().map(|(bound, _)| bound.to_string()).collect();
        assert_eq!(bounds.len(), 22);
        assert_eq!(bounds[..4], ["0.00001", "0.000025", "0.00005", "0.0001"]);
        assert_eq!(bounds[19..], ["25", "50", "100"]);
    }

    #[test]
    fn a_bound_is_inclusive() {
        let reading = reading(Buckets::Seconds, &[10_000, 10_001]);
        assert_eq!(reading.cumulative().next(), Some((0.00001, 1)));
    }

    #[test]
    fn nothing_observed_has_no_quantile() {
        assert_eq!(reading(Buckets::Seconds, &[]).quantile(0.5), None);
        assert_eq!(reading(Buckets::Seconds, &[]).mean(), None);
    }

    #[test]
    fn what_lies_above_the_last_bound_reads_as_the_last_bound() {
        let reading = reading(Buckets::Seconds, &[u64::MAX]);
        assert_eq!(reading.quantile(0.99), Some(100.0));
        assert_eq!(reading.count(), 1);
    }

    proptest! {
        #[test]
        fn an_exemplar_is_in_the_exposed_bucket_of_its_value(value in any::<u64>(), seconds in any::<bool>()) {
            let buckets = if seconds { Buckets::Seconds } else { Buckets::Numbers };
            let cell = HistogramCell::default();
            let time = crate::telemetry::reading::UnixTime(1);
            cell.exemplify(buckets, &Exemplar { trace: [1; 16], span: [2; 8], value, time });
            let exposed = buckets.bounds().iter().filter(|bound| is_round(**bound));
            let expected = exposed.filter(|bound| **bound < value).count();
            prop_assert_eq!(cell.exemplars.iter().map(|(bucket, _)| bucket).collect::<Vec<_>>(), [expected]);
            prop_assert_eq!(cell.read(buckets).count(), 0);
        }

        #[test]
        fn quantiles_are_within_a_bucket_of_the_truth(
            mut values in prop::collection::vec(10_000_u64..90_000_000_000, 1..200),
            quantile in 0.0_f64..1.0,
        ) {
            let estimate = reading(Buckets::Seconds, &values).quantile(quantile).unwrap() * 1e9;
            values.sort_unstable();
            let rank = ((quantile * values.len() as f64).ceil() as usize).max(1) - 1;
            let truth = values[rank] as f64;
            prop_assert!(estimate <= truth * 1.34 && estimate >= truth / 1.34, "{estimate} against {truth}");
        }

        #[test]
        fn sums_and_counts_are_those_of_the_values(values in prop::collection::vec(0_u64..1_000_000_000, 0..100)) {
            let numbers = reading(Buckets::Numbers, &values);
            prop_assert_eq!(numbers.count(), values.len() as u64);
            prop_assert_eq!(numbers.sum(), values.iter().sum::<u64>() as f64);
            let seconds = reading(Buckets::Seconds, &values).sum();
            let exact = values.iter().sum::<u64>() as f64 / 1e9;
            prop_assert!((seconds - exact).abs() <= values.len() as f64 * 0.6e-6);
        }

        #[test]
        fn absorbing_is_observing_both(left in prop::collection::vec(any::<u32>(), 0..50), right in prop::collection::vec(any::<u32>(), 0..50)) {
            let (one, two, both) = (HistogramCell::default(), HistogramCell::default(), HistogramCell::default());
            for value in &left { one.observe(Buckets::Numbers, u64::from(*value)); both.observe(Buckets::Numbers, u64::from(*value)); }
            let before = one.read(Buckets::Numbers);
            for value in &right { two.observe(Buckets::Numbers, u64::from(*value)); both.observe(Buckets::Numbers, u64::from(*value)); }
            one.absorb(&two);
            prop_assert_eq!(one.read(Buckets::Numbers), both.read(Buckets::Numbers));
            prop_assert_eq!(one.read(Buckets::Numbers).since(&before), two.read(Buckets::Numbers));
        }
    }
}
