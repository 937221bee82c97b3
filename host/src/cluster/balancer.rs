//! Picks an endpoint.

use std::cell::Cell;

use crate::config::resolved::LoadBalancer;

/// What a balancer looks at.
pub trait Candidate {
    /// At least 1.
    fn weight(&self) -> u32;
    /// Requests in flight.
    fn active(&self) -> u32;
    /// State of smooth weighted round robin.
    fn credit(&self) -> &Cell<i64>;
}

/// Picks one of `candidates`; `None` only when there is none.
pub fn pick<C: Candidate>(kind: LoadBalancer, candidates: &[C], mut random: impl FnMut(usize) -> usize) -> Option<&C> {
    if candidates.len() < 2 {
        return candidates.first();
    }
    match kind {
        LoadBalancer::RoundRobin => round_robin(candidates),
        LoadBalancer::LeastRequest => least_request(candidates, random),
        LoadBalancer::Random => {
            let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight())).sum();
            let mut left = random(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
            candidates
                .iter()
                .find(|candidate| {
                    let weight = u64::from(candidate.weight());
                    let hit = left < weight;
                    left = left.saturating_sub(weight);
                    hit
                })
                .or(candidates.last())
        }
    }
}

/// Smooth weighted round robin, as nginx does it: heavy endpoints are spread between light ones.
fn round_robin<C: Candidate>(candidates: &[C]) -> Option<&C> {
    let total: i64 = candidates.iter().map(|candidate| i64::from(candidate.weight())).sum();
    let mut best: Option<&C> = None;
    for candidate in candidates {
        candidate.credit().set(candidate.credit().get() + i64::from(candidate.weight()));
        if best.is_none_or(|best| candidate.credit().get() > best.credit().get()) {
            best = Some(candidate);
        }
    }
    if let Some(best) = best {
        best.credit().set(best.credit().get() - total);
    }
    best
}

/// The less busy of two different ones picked at random, by requests per weight.
fn least_request<C: Candidate>(candidates: &[C], mut random: impl FnMut(usize) -> usize) -> Option<&C> {
    let first = random(candidates.len());
    let mut second = random(candidates.len() - 1);
    if second >= first {
        second += 1;
    }
    let (first, second) = (candidates.get(first)?, candidates.get(second)?);
    let load = |candidate: &C| (u64::from(candidate.active()) + 1) << 16;
    // a/wa < b/wb without a division.
    let (a, b) = (load(first) * u64::from(second.weight()), load(second) * u64::from(first.weight()));
    Some(if b < a { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        weight: u32,
        active: u32,
        credit: Cell<i64>,
    }

    impl Candidate for Fake {
        fn weight(&self) -> u32 {
            self.weight
        }
        fn active(&self) -> u32 {
            self.active
        }
        fn credit(&self) -> &Cell<i64> {
            &self.credit
        }
    }

    fn fakes(spec: &[(u32, u32)]) -> Vec<Fake> {
        spec.iter().map(|(weight, active)| Fake { weight: *weight, active: *active, credit: Cell::new(0) }).collect()
    }

    fn index(all: &[Fake], one: &Fake) -> usize {
        all.iter().position(|fake| std::ptr::eq(fake, one)).unwrap()
    }

    #[test]
    fn round_robin_is_smooth_and_honours_weights() {
        let all = fakes(&[(5, 0), (1, 0), (1, 0)]);
        let order: Vec<_> = (0..7).map(|_| index(&all, pick(LoadBalancer::RoundRobin, &all, |_| 0).unwrap())).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn least_request_takes_the_less_busy_of_the_two() {
        let all = fakes(&[(1, 9), (1, 3)]);
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            assert_eq!(index(&all, pick(LoadBalancer::LeastRequest, &all, |n| random.usize(..n)).unwrap()), 1);
        }
    }

    #[test]
    fn least_request_lets_a_heavier_endpoint_be_busier() {
        let all = fakes(&[(3, 3), (1, 2)]);
        assert_eq!(index(&all, pick(LoadBalancer::LeastRequest, &all, |_| 0).unwrap()), 0);
    }

    #[test]
    fn least_request_never_compares_an_endpoint_with_itself() {
        let all = fakes(&[(1, 9), (1, 0), (1, 9)]);
        let mut random = fastrand::Rng::with_seed(7);
        let hits = (0..300)
            .filter(|_| index(&all, pick(LoadBalancer::LeastRequest, &all, |n| random.usize(..n)).unwrap()) == 1)
            .count();
        assert!((150..250).contains(&hits), "an idle endpoint is in two of three pairs, got {hits} of 300");
    }

    #[test]
    fn random_honours_weights() {
        let all = fakes(&[(1, 0), (9, 0)]);
        let mut random = fastrand::Rng::with_seed(1);
        let hits = (0..1000)
            .filter(|_| index(&all, pick(LoadBalancer::Random, &all, |n| random.usize(..n)).unwrap()) == 1)
            .count();
        assert!((850..950).contains(&hits), "{hits}");
    }

    #[test]
    fn nothing_to_pick_from_is_none() {
        assert!(pick(LoadBalancer::Random, &fakes(&[]), |_| 0).is_none());
    }
}
