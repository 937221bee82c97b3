//! Whatever comes in, a plan is made and a pick ends, with a host that exists or a reason.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::cluster::balance::settings::{
    Availability, DirectRouting, LeastRequest, Locality, Maglev, PeakEwma, RingHash, Selection, Selector, SlowStart,
    Subsets, ZoneAware,
};

fn any_number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), 0_u32..200, any::<u32>()]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    // Greatest sizes bounded, for a ring of 8 Mi points takes a second.
    prop_oneof![
        Just(Policy::RoundRobin),
        Just(Policy::Random),
        (any_number(), any::<f64>()).prop_map(|(choices, bias)| {
            Policy::LeastRequest(LeastRequest { selection: Selection::Choices(choices), bias })
        }),
        any::<f64>().prop_map(|bias| Policy::LeastRequest(LeastRequest { selection: Selection::FullScan, bias })),
        (any_number(), 0_u32..5000, any_number()).prop_map(|(minimum_size, maximum_size, balance_factor)| {
            Policy::RingHash(RingHash { minimum_size, maximum_size, balance_factor })
        }),
        (0_u32..5000, any_number())
            .prop_map(|(table_size, balance_factor)| Policy::Maglev(Maglev { table_size, balance_factor })),
        any::<u64>().prop_map(|millis| {
            Policy::PeakEwma(PeakEwma {
                decay: Duration::from_millis(millis),
                default_latency: Duration::from_millis(millis),
            })
        }),
    ]
}

fn any_health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Healthy), Just(Health::Degraded), Just(Health::Draining), Just(Health::Unhealthy)]
}

prop_compose! {
    fn any_host()(
        key in "[ab]?", weight in any_number(),
        priority in prop_oneof![Just(0_u32), 0_u32..3, any::<u32>()], zone in "[abc]?",
        locality_weight in any_number(), labels in prop::collection::btree_map("[kv]", "[12]", 0..3),
        health in any_health(), healthy_since: Option<u64>,
    ) -> Host {
        Host { key, weight, priority, zone, locality_weight, labels, health, healthy_since }
    }
}

fn any_locality() -> impl Strategy<Value = Locality> {
    prop_oneof![
        Just(Locality::Ignore),
        Just(Locality::Weighted),
        (any_number(), any_number(), any::<bool>()).prop_map(|(routing_enabled, minimum_cluster_size, always)| {
            let direct = if always { DirectRouting::Always } else { DirectRouting::WhenShareSuffices };
            Locality::ZoneAware(ZoneAware { routing_enabled, minimum_cluster_size, direct })
        }),
    ]
}

fn any_subsets() -> impl Strategy<Value = Option<Subsets>> {
    let fallback = || prop_oneof![Just(Fallback::None), Just(Fallback::Any), Just(Fallback::Default)];
    let selector = (prop::collection::vec("[kv]", 0..3), prop::option::of(fallback()))
        .prop_map(|(keys, fallback)| Selector { keys, fallback });
    let subsets = (prop::collection::vec(selector, 0..3), fallback()).prop_map(|(selectors, fallback)| Subsets {
        selectors,
        fallback,
        default_labels: BTreeMap::new(),
    });
    prop::option::of(subsets)
}

prop_compose! {
    fn any_settings()(
        policy in any_policy(), overprovisioning_factor in any_number(), by_weight: bool,
        panic_threshold in any_number(), fail: bool,
        locality in any_locality(), subsets in any_subsets(),
        slow_start in prop::option::of((any::<u64>(), any::<f64>(), any_number())),
    ) -> Settings {
        Settings {
            policy,
            overprovisioning_factor,
            availability: if by_weight { Availability::Weight } else { Availability::Count },
            panic_threshold,
            on_panic: if fail { OnPanic::Fail } else { OnPanic::UseAll },
            locality,
            subsets,
            slow_start: slow_start.map(|(window, aggression, minimum_weight)| {
                SlowStart { window: Duration::from_millis(window), aggression, minimum_weight }
            }),
            load_weights: None,
            override_health: vec![Health::Unhealthy],
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn any_input_gives_a_host_or_a_reason(
        settings in any_settings(), hosts in prop::collection::vec(any_host(), 0..12),
        callers in prop::collection::vec(("[abc]", any::<u32>()), 0..4),
        active in prop::collection::vec(any_number(), 12), latency in prop::collection::vec(any::<Option<f64>>(), 12),
        hash: Option<u64>, avoid in prop::collection::vec(0_usize..14, 0..4), wanted in prop::option::of(0_usize..14),
        now_ms: u64, leave: bool,
        labels in prop::collection::vec(("[kv]", "[12]"), 0..3), usable: u16, seed: u64,
    ) {
        let callers: Vec<(&str, u32)> = callers.iter().map(|(zone, count)| (zone.as_str(), *count)).collect();
        let plan = Plan::build(&settings, "a", &callers, &hosts);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let fleet = Fleet { active: RefCell::new(active), latency: RefCell::new(latency) };
        let asked = Cell::new(0);
        let usable = |host: usize| {
            asked.set(asked.get() + 1);
            usable >> host & 1 == 1
        };
        let mut local = Local::new(seed);
        for override_host in [None, wanted.map(Override::Strict), wanted.map(Override::Preferred)] {
            let avoid_priorities_of = if leave { avoid.as_slice() } else { &[] };
            let request = Request { hash, labels: &labels, override_host, avoid: &avoid, avoid_priorities_of, now_ms };
            for _ in 0..20 {
                asked.set(0);
                match plan.pick(&request, &mut local, &fleet, &usable) {
                    Ok(host) => prop_assert!(host < hosts.len()),
                    Err(reason) => {
                        prop_assert_eq!(reason == NoHost::Empty, hosts.is_empty());
                        let panics = settings.panic_threshold > 0 && settings.on_panic == OnPanic::UseAll;
                        prop_assert!(!panics || matches!(reason, NoHost::Empty | NoHost::NoSubset | NoHost::Override));
                    }
                }
                prop_assert!(asked.get() < 32 + 32 * 12 + 100, "{} questions", asked.get());
            }
        }
    }
}
