//! What a histogram observed since the last flush, as quantiles or as values.
//!
//! Of an observation only its bucket is known, and of all of them their sum. So a bucket's observations are told as one
//! value, which lies at the same part of the way through each bucket: the part for which the values add up to the sum.
//! A server's mean is then the true mean, and its quantiles are within a bucket of the truth.

/// What was observed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    /// Observations per bucket, one more than bounds.
    pub(super) counts: Vec<u64>,
    /// Their sum.
    pub(super) sum: f64,
}

impl Observed {
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().fold(0, |all: u64, count| all.saturating_add(*count))
    }

    /// The value below which the fraction `quantile` (0 to 1) lies, interpolated within its bucket; the last bound for
    /// what is above it. `None` without observations or bounds.
    #[expect(clippy::cast_precision_loss, reason = "a quantile is an estimate")]
    pub(super) fn quantile(&self, bounds: &[f64], quantile: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * count as f64;
        let mut below = 0.0;
        for ((low, high), held) in buckets(bounds).zip(&self.counts) {
            let held = *held as f64;
            if held > 0.0 && below + held >= rank {
                return Some(between(low, high, ((rank - below) / held).clamp(0.0, 1.0)));
            }
            below += held;
        }
        bounds.last().copied()
    }

    /// A value for each bucket into which something fell, and how often it stands for an observation.
    pub(super) fn values(&self, bounds: &[f64]) -> Vec<(f64, u64)> {
        let above = self.counts.get(bounds.len()).copied().unwrap_or_default();
        let (way, beyond) = self.place(bounds, above);
        let inside = buckets(bounds).zip(&self.counts).map(|((low, high), held)| (between(low, high, way), *held));
        inside.chain([(beyond, above)]).filter(|(_, held)| *held > 0).collect()
    }

    /// How far into each bucket its value lies, and the value of what is above every bound.
    #[expect(clippy::cast_precision_loss, reason = "values are estimates")]
    fn place(&self, bounds: &[f64], above: u64) -> (f64, f64) {
        let above = above as f64;
        let (mut lowest, mut widths) = (0.0, 0.0);
        for ((low, high), held) in buckets(bounds).zip(&self.counts) {
            lowest += low * *held as f64;
            widths += (high - low) * *held as f64;
        }
        let last = bounds.last().copied();
        // What is above has no upper end: it takes what the sum leaves when the others are in the middle.
        let rest = (self.sum - lowest - widths / 2.0) / above;
        let beyond = match last {
            _ if above <= 0.0 || !rest.is_finite() => last.unwrap_or_default(),
            Some(last) => rest.max(last),
            None => rest,
        };
        let way = (self.sum - lowest - beyond * above) / widths;
        (if way.is_finite() { way.clamp(0.0, 1.0) } else { 0.5 }, beyond)
    }
}

/// Lower and upper ends of all buckets that have both. The first begins at zero, unless it ends below: then it is its
/// upper end alone.
fn buckets(bounds: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let first = bounds.first().map(|first| first.min(0.0));
    first.into_iter().chain(bounds.iter().copied()).zip(bounds.iter().copied())
}

fn between(low: f64, high: f64, way: f64) -> f64 {
    // Bounds may be so far apart that their difference is infinite.
    low.mul_add(1.0 - way, high * way)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 3] = [1.0, 2.0, 4.0];

    fn observed(counts: &[u64], sum: f64) -> Observed {
        Observed { counts: counts.to_vec(), sum }
    }

    #[test]
    fn quantiles_are_interpolated_and_end_at_the_last_bound() {
        let some = observed(&[0, 10, 0, 10], 0.0);
        assert_eq!(some.quantile(&BOUNDS, 0.25), Some(1.5));
        assert_eq!(some.quantile(&BOUNDS, 0.99), Some(4.0));
        assert_eq!(observed(&[0; 4], 0.0).quantile(&BOUNDS, 0.5), None);
        assert_eq!(observed(&[3], 1.0).quantile(&[], 0.5), None);
    }

    #[test]
    fn values_add_up_to_the_sum() {
        assert_eq!(observed(&[1, 2, 0, 0], 3.5).values(&BOUNDS), [(0.5, 1), (1.5, 2)]);
        assert_eq!(observed(&[0, 0, 0, 2], 100.0).values(&BOUNDS), [(50.0, 2)]);
        assert_eq!(observed(&[5], 10.0).values(&[]), [(2.0, 5)]);
    }

    #[test]
    fn a_sum_that_cannot_be_is_not_followed() {
        assert_eq!(observed(&[1, 0, 0, 0], 1e9).values(&BOUNDS), [(1.0, 1)]);
        assert_eq!(observed(&[0, 1, 0, 0], f64::NAN).values(&BOUNDS), [(1.5, 1)]);
        assert_eq!(observed(&[0, 0, 0, 1], f64::INFINITY).values(&BOUNDS), [(4.0, 1)]);
        assert_eq!(observed(&[0; 4], 0.0).values(&BOUNDS), []);
    }

    #[test]
    fn buckets_below_zero_have_values_too() {
        let values = observed(&[1, 1, 0], -7.0).values(&[-5.0, 0.0]);
        assert_eq!(values, [(-5.0, 1), (-2.0, 1)]);
    }

    proptest! {
        #[test]
        fn mean_and_count_are_true_and_every_value_is_in_its_bucket(values in prop::collection::vec(0.0_f64..8.0, 1..200)) {
            let mut counts = [0; 4];
            for value in &values {
                counts[BOUNDS.partition_point(|bound| bound < value)] += 1;
            }
            let sum: f64 = values.iter().sum();
            let told = observed(&counts, sum).values(&BOUNDS);
            prop_assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), values.len() as u64);
            let told_sum: f64 = told.iter().map(|(value, count)| value * *count as f64).sum();
            prop_assert!((told_sum - sum).abs() < 1e-6, "{told_sum} is not {sum}");
            let held: Vec<usize> = (0..4).filter(|bucket| counts[*bucket] > 0).collect();
            for ((value, _), bucket) in told.iter().zip(held) {
                prop_assert!(bucket == 0 || *value >= BOUNDS[bucket - 1]);
                prop_assert!(bucket == 3 || *value <= BOUNDS[bucket]);
            }
        }

        #[test]
        fn any_numbers_give_finite_values(
            mut bounds in prop::collection::vec(any::<f64>().prop_filter("finite", |bound| bound.is_finite()), 0..20),
            counts in prop::collection::vec(any::<u64>(), 21),
            sum in any::<f64>(),
        ) {
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            let observed = observed(&counts[..=bounds.len()], sum);
            for (value, _) in observed.values(&bounds) {
                prop_assert!(value.is_finite(), "{value} of {bounds:?}");
            }
            if let Some(value) = observed.quantile(&bounds, 0.9) {
                prop_assert!(value.is_finite());
            }
        }
    }
}
