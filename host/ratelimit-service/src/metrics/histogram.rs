//! How long things take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds.
const BOUNDS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];

/// Durations in buckets, without a lock.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Each bucket alone; the last is that of all that is longer.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What a histogram held.
#[derive(Debug)]
pub(crate) struct Distribution {
    /// Upper bounds in seconds, and how many were at most so long.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    /// In seconds.
    pub sum: f64,
}

impl Histogram {
    pub fn add(&self, duration: Duration) {
        let microseconds = duration.as_nanos().div_ceil(1_000);
        let at = BOUNDS.iter().position(|bound| microseconds <= u128::from(*bound)).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            count += bucket.load(Ordering::Relaxed);
            buckets.push((Duration::from_micros(bound).as_secs_f64(), count));
        }
        count += self.buckets.last().map_or(0, |bucket| bucket.load(Ordering::Relaxed));
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        Distribution { buckets, count, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_its_bucket_and_in_all_above() {
        let histogram = Histogram::default();
        for microseconds in [50, 51, 2_000_000] {
            histogram.add(Duration::from_micros(microseconds));
        }
        let read = histogram.read();
        assert_eq!(read.buckets.first(), Some(&(0.000_05, 1)));
        assert_eq!(read.buckets.get(1), Some(&(0.000_1, 2)));
        assert_eq!(read.buckets.last(), Some(&(1.0, 2)));
        assert_eq!(read.count, 3);
        assert!((read.sum - 2.000_101).abs() < 1e-9);
    }
}
