//! The ring: every host has points on a circle of 64-bit hashes, and a hash belongs to the next point; libketama's
//! method with Envoy's keys (`<host>_<number>`) and xxHash64, so that a ring here and one in Envoy agree.
//!
//! When a host leaves, its hashes move to others and no more, as long as the others keep their number of points. That
//! number is the minimum size divided by the hosts, rounded up, and so it can change with them: a larger minimum size
//! makes both that and the imbalance smaller, for a host's share scatters by about `1 / sqrt(points)`.

use xxhash_rust::xxh64::xxh64;

use crate::cluster::balance::settings::RingHash;

/// Most points that any ring has. Envoy's `DefaultMaxRingSize` and limit.
const LIMIT: u32 = 8 * 1024 * 1024;

/// A circle of points, sorted.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Box<[u64]>,
    owners: Box<[u32]>,
}

impl Ring {
    /// A ring of hosts with these keys and positive `shares`, which add up to 1.
    pub fn new<'a>(settings: &RingHash, keys: impl Iterator<Item = &'a str>, shares: &[f64]) -> Self {
        let maximum = f64::from(settings.maximum_size.clamp(1, LIMIT));
        let minimum = f64::from(settings.minimum_size.max(1)).min(maximum);
        let least = shares.iter().copied().fold(1.0, f64::min).max(f64::MIN_POSITIVE);
        // The lightest host gets a whole number of points.
        let scale = ((least * minimum).ceil() / least).min(maximum);
        let mut points: Vec<(u64, u32)> = Vec::new();
        let (mut current, mut target) = (0.0, 0.0);
        let mut key_of_point = String::new();
        for ((owner, key), share) in (0_u32..).zip(keys).zip(shares) {
            key_of_point.clear();
            key_of_point.push_str(key);
            key_of_point.push('_');
            let stem = key_of_point.len();
            target += scale * share;
            let mut number = 0_u32;
            while current < target {
                key_of_point.truncate(stem);
                key_of_point.push_str(&number.to_string());
                points.push((xxh64(key_of_point.as_bytes(), 0), owner));
                number = number.saturating_add(1);
                current += 1.0;
            }
        }
        points.sort_unstable();
        Self {
            points: points.iter().map(|(point, _)| *point).collect(),
            owners: points.iter().map(|(_, owner)| *owner).collect(),
        }
    }

    /// The owner of the first point at or behind `hash`, or of one that lies `attempt` points further.
    pub fn find(&self, hash: u64, attempt: u32) -> u32 {
        let next = self.points.partition_point(|point| *point < hash);
        let place = (next + attempt as usize) % self.owners.len().max(1);
        self.owners.get(place).copied().unwrap_or(0)
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        std::mem::size_of_val(&*self.points) + std::mem::size_of_val(&*self.owners)
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn keys(count: usize) -> Vec<String> {
        (0..count).map(|host| format!("10.0.{}.{}:80", host / 256, host % 256)).collect()
    }

    fn ring(keys: &[String], weights: &[f64], minimum_size: u32) -> Ring {
        let sum: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        let settings = RingHash { minimum_size, ..RingHash::default() };
        Ring::new(&settings, keys.iter().map(String::as_str), &shares)
    }

    /// Exact share of the circle by owner.
    fn shares(ring: &Ring) -> BTreeMap<u32, f64> {
        let mut shares = BTreeMap::new();
        let mut last = *ring.points.last().unwrap();
        for (point, owner) in ring.points.iter().zip(&ring.owners) {
            *shares.entry(*owner).or_insert(0.0) += point.wrapping_sub(last) as f64 / 2_f64.powi(64);
            last = *point;
        }
        shares
    }

    #[test]
    fn the_ring_has_the_least_size_and_whole_points() {
        let sizes: Vec<usize> =
            [1, 3, 10, 50, 2000].map(|count| ring(&keys(count), &vec![1.0; count], 1024).points.len()).into();
        assert_eq!(sizes, [1024, 1026, 1030, 1050, 2000]);
    }

    #[test]
    fn the_ring_stops_at_its_greatest_size() {
        let settings = RingHash { minimum_size: 4000, maximum_size: 100, balance_factor: 0 };
        let ring = Ring::new(&settings, ["a", "b", "c"].into_iter(), &[0.01, 0.495, 0.495]);
        assert!((100..=101).contains(&ring.points.len()), "{}", ring.points.len());
    }

    #[test]
    fn a_hash_belongs_to_the_next_point_and_the_last_wraps_round() {
        let ring = Ring { points: [10, 20, 30].into(), owners: [1, 2, 3].into() };
        let owners: Vec<u32> = [0, 10, 11, 30, 31].map(|hash| ring.find(hash, 0)).into();
        assert_eq!(owners, [1, 1, 2, 3, 1]);
        assert_eq!(ring.find(31, 2), 3);
    }

    #[test]
    fn shares_of_a_large_ring_are_within_two_percent_of_the_weights() {
        let weights = [1.0, 1.0, 2.0, 4.0];
        let found = shares(&ring(&keys(4), &weights, 400_000));
        for (owner, weight) in (0..).zip(weights) {
            let share = weight / 8.0;
            assert!((found[&owner] / share - 1.0).abs() < 0.02, "{found:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn only_the_hashes_of_a_host_that_leaves_move(
            count in 2_usize..60, leaver in any::<prop::sample::Index>(), seed in any::<u64>(),
        ) {
            let all = keys(count);
            let leaver = leaver.index(count);
            let mut rest = all.clone();
            rest.remove(leaver);
            let before = ring(&all, &vec![1.0; count], 1024);
            let after = ring(&rest, &vec![1.0; count - 1], 1024);
            let (old, new) = (before.points.len() / count, after.points.len() / (count - 1));
            // Points that the others gain take the share of the circle that they are.
            let gained = new.abs_diff(old) as f64 / new.max(old) as f64;
            let mut random = fastrand::Rng::with_seed(seed);
            let mut moved = 0;
            for _ in 0..10_000 {
                let hash = random.u64(..);
                let was = &all[before.find(hash, 0) as usize];
                if was != &all[leaver] && was != &rest[after.find(hash, 0) as usize] {
                    moved += 1;
                }
            }
            if old == new {
                prop_assert_eq!(moved, 0);
            } else {
                prop_assert!(f64::from(moved) / 10_000.0 < gained + 0.05, "{moved}, {gained}");
            }
        }
    }
}
