use proptest::prelude::*;

use super::*;
use crate::cluster::balance::settings::{Maglev, RingHash};

fn hashing(balance_factor: u32) -> [Policy; 2] {
    [
        Policy::RingHash(RingHash { balance_factor, ..RingHash::default() }),
        Policy::Maglev(Maglev { balance_factor, ..Maglev::default() }),
    ]
}

fn pick(plan: &Plan, hash: u64, fleet: &Fleet, usable: &impl Fn(usize) -> bool) -> usize {
    plan.pick(&Request { hash: Some(hash), ..Request::default() }, &mut Local::new(hash), fleet, usable).unwrap()
}

#[test]
fn the_same_hash_goes_to_the_same_host_on_every_worker() {
    for policy in hashing(0) {
        let (one, other) = (plan(&self::policy(policy), &hosts(20)), plan(&self::policy(policy), &hosts(20)));
        for number in 0..1000_u64 {
            let hash = xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 0);
            assert_eq!(pick(&one, hash, &Fleet::idle(), &all), pick(&other, hash, &Fleet::idle(), &all));
        }
    }
}

#[test]
fn only_the_hashes_of_an_ejected_host_move_and_always_to_the_same_one() {
    for policy in hashing(0) {
        let plan = plan(&self::policy(policy), &hosts(10));
        let mut heirs = BTreeSet::new();
        for number in 0..2000_u64 {
            let hash = xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 0);
            let (before, after) =
                (pick(&plan, hash, &Fleet::idle(), &all), pick(&plan, hash, &Fleet::idle(), &|host| host != 4));
            if before == 4 {
                assert_eq!(after, pick(&plan, hash, &Fleet::idle(), &|host| host != 4));
                heirs.insert(after);
            } else {
                assert_eq!(before, after);
            }
        }
        assert_eq!(heirs.len(), 9, "its load is spread over all others");
    }
}

/// Share of hashes that are served by another host of the same key when hosts go from one list to the other, new or old
/// hosts aside.
fn disruption(policy: Policy, before: &[Host], after: &[Host]) -> f64 {
    let (old, new) = (plan(&self::policy(policy), before), plan(&self::policy(policy), after));
    let known = |list: &[Host], key: &str| list.iter().any(|host| host.key == key);
    let moved = (0..20_000_u64)
        .filter(|number| {
            let hash = xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 0);
            let was = &before[pick(&old, hash, &Fleet::idle(), &all)].key;
            let is = &after[pick(&new, hash, &Fleet::idle(), &all)].key;
            was != is && known(after, was) && known(before, is)
        })
        .count();
    moved as f64 / 20_000.0
}

#[test]
fn few_hashes_of_others_move_when_a_host_joins_or_leaves() {
    let all = hosts(50);
    let mut fewer = all.clone();
    fewer.remove(17);
    let [ring, maglev] = hashing(0);
    assert_eq!(
        (disruption(ring, &all, &fewer), disruption(ring, &fewer, &all)),
        (0.0, 0.0),
        "21 points each, both times"
    );
    assert!(disruption(maglev, &all, &fewer) < 0.015);
    assert!(disruption(maglev, &fewer, &all) < 0.015);
}

#[test]
fn a_bounded_load_sends_on_what_is_too_much_and_nothing_else() {
    for policy in hashing(150) {
        let plan = plan(&self::policy(policy), &hosts(4));
        let hash = 0x1234_5678_9abc_def0;
        let home = pick(&plan, hash, &Fleet::idle(), &all);
        let mut active = [10; 4];
        active[home] = 15;
        // (44 + 1) * 1.5 / 4, rounded up, are 17.
        assert_eq!(pick(&plan, hash, &Fleet::busy(&active), &all), home);
        active[home] = 40;
        let other = pick(&plan, hash, &Fleet::busy(&active), &all);
        assert!(other != home && other == pick(&plan, hash, &Fleet::busy(&active), &all));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_host_exceeds_its_bound(
        weights in prop::collection::vec(1_u32..20, 1..12), factor in 100_u32..300,
        hashes in prop::collection::vec(any::<u8>(), 1..400),
    ) {
        for policy in hashing(factor) {
            let policy = match policy {
                // A small table for speed.
                Policy::Maglev(settings) => Policy::Maglev(Maglev { table_size: 509, ..settings }),
                other => other,
            };
            let plan = plan(&self::policy(policy), &weighted(&weights));
            let fleet = Fleet::busy(&vec![0; weights.len()]);
            let sum: u32 = weights.iter().sum();
            for (total, hash) in (1_u64..).zip(&hashes) {
                // Few distinct hashes, so that some hosts are much in demand.
                let hash = xxhash_rust::xxh64::xxh64(&[hash % 4], 0);
                let host = pick(&plan, hash, &fleet, &all);
                fleet.active.borrow_mut()[host] += 1;
                let total = (total * u64::from(factor)).div_ceil(100) as f64;
                let slots = total * f64::from(weights[host]) / f64::from(sum);
                prop_assert!(f64::from(fleet.active(host)) <= (slots + 1e-9).ceil().max(1.0), "{policy:?}");
            }
        }
    }

    #[test]
    fn zero_switches_the_bound_off(active in prop::collection::vec(0_u32..1000, 5), hash: u64) {
        for policy in hashing(0) {
            let plan = plan(&self::policy(policy), &hosts(5));
            prop_assert_eq!(pick(&plan, hash, &Fleet::busy(&active), &all), pick(&plan, hash, &Fleet::idle(), &all));
        }
    }
}
