//! Where the success rates of a cluster say that an outlier begins. Pure.

/// The mean of success rates, and the rate below which a host is an outlier; percentages both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Threshold {
    pub average: f64,
    pub ejection: f64,
}

/// The mean less `stdev_factor` thousandths of the (population) standard deviation. `None` without rates.
pub(super) fn success_rate_threshold(rates: &[f64], stdev_factor: u32) -> Option<Threshold> {
    if rates.is_empty() {
        return None;
    }
    let number = f64::from(u32::try_from(rates.len()).unwrap_or(u32::MAX));
    let average = rates.iter().sum::<f64>() / number;
    let variance = rates.iter().map(|rate| (rate - average).powi(2)).sum::<f64>() / number;
    Some(Threshold { average, ejection: average - f64::from(stdev_factor) / 1000.0 * variance.sqrt() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_bad_host_of_five_is_below_the_threshold() {
        let threshold = success_rate_threshold(&[50.0, 100.0, 100.0, 100.0, 100.0], 1900).unwrap();
        assert!((threshold.average - 90.0).abs() < 1e-9);
        assert!((threshold.ejection - 52.0).abs() < 1e-9);
    }

    #[test]
    fn without_hosts_there_is_no_threshold() {
        assert_eq!(success_rate_threshold(&[], 1900), None);
    }

    proptest! {
        #[test]
        fn the_threshold_is_a_number_not_above_the_average(
            rates in prop::collection::vec(0.0..=100.0, 1..50),
            factor: u32,
        ) {
            let threshold = success_rate_threshold(&rates, factor).unwrap();
            prop_assert!(threshold.ejection.is_finite());
            prop_assert!(threshold.ejection <= threshold.average);
        }
    }
}
