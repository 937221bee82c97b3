use super::*;
use crate::cluster::balance::settings::{Locality, Maglev, ZoneAware};

fn aware() -> Settings {
    Settings { locality: Locality::ZoneAware(ZoneAware::default()), ..policy(Policy::Random) }
}

#[test]
fn requests_stay_in_the_zone_whose_share_suffices() {
    let hosts = zoned(&[("a", 3), ("b", 3)]);
    let found = idle_shares(&Plan::build(&aware(), "b", &[], &hosts), 100_000);
    assert_near(&found, &[0.0, 0.0, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0], 0.02);
}

#[test]
fn callers_of_all_zones_together_burden_hosts_evenly() {
    let hosts = zoned(&[("a", 2), ("b", 6), ("c", 4)]);
    let callers = [("a", 5), ("b", 2), ("c", 3)];
    for policy in [Policy::Random, Policy::RoundRobin, Policy::default()] {
        let settings = Settings { policy, ..aware() };
        let mut load = vec![0.0; hosts.len()];
        for (zone, count) in callers {
            let plan = Plan::build(&settings, zone, &callers, &hosts);
            for (sum, share) in load.iter_mut().zip(idle_shares(&plan, 200_000)) {
                *sum += share * f64::from(count) / 10.0;
            }
        }
        assert_near(&load, &[1.0 / 12.0; 12], 0.02);
    }
}

#[test]
fn a_part_of_the_requests_may_ignore_zones() {
    let hosts = zoned(&[("a", 3), ("b", 3)]);
    let locality = Locality::ZoneAware(ZoneAware { routing_enabled: 50, ..ZoneAware::default() });
    let found = idle_shares(&Plan::build(&Settings { locality, ..aware() }, "a", &[], &hosts), 100_000);
    assert!((found[..3].iter().sum::<f64>() - 0.75).abs() < 0.01, "{found:?}");
}

#[test]
fn a_zone_without_usable_hosts_is_left() {
    let hosts = zoned(&[("a", 3), ("b", 3)]);
    let plan = Plan::build(&aware(), "a", &[], &hosts);
    let found = shares(&plan, 30_000, &Request::default(), &Fleet::idle(), &|host| host > 2);
    assert_near(&found[3..], &[1.0 / 3.0; 3], 0.05);
}

#[test]
fn zones_get_requests_by_their_weights() {
    let mut hosts = zoned(&[("a", 2), ("b", 4), ("c", 1)]);
    for host in &mut hosts {
        host.locality_weight = match host.zone.as_str() {
            "a" => 1,
            "b" => 3,
            _ => 0,
        };
    }
    for policy in policies() {
        let plan = plan(&Settings { locality: Locality::Weighted, ..self::policy(policy) }, &hosts);
        let expected = [0.125, 0.125, 0.1875, 0.1875, 0.1875, 0.1875, 0.0];
        assert_near(&idle_shares(&plan, 400_000), &expected, 0.02);
    }
}

#[test]
fn a_zone_loses_weight_once_too_many_of_its_hosts_are_gone() {
    let mut hosts = zoned(&[("a", 10), ("b", 10)]);
    for host in &mut hosts {
        host.locality_weight = 1;
    }
    for host in &mut hosts[..5] {
        host.health = Health::Unhealthy;
    }
    for policy in [Policy::Random, Policy::Maglev(Maglev::default())] {
        let plan = plan(&Settings { locality: Locality::Weighted, ..self::policy(policy) }, &hosts);
        let own: f64 = idle_shares(&plan, 200_000)[..10].iter().sum();
        // 140% of a half is 0.7, against 1.
        assert!((own - 0.7 / 1.7).abs() < 0.01, "{own}");
    }
}

#[test]
fn zones_without_any_weight_do_not_matter() {
    let plan =
        plan(&Settings { locality: Locality::Weighted, ..policy(Policy::Random) }, &zoned(&[("a", 1), ("b", 3)]));
    assert_near(&idle_shares(&plan, 100_000), &[0.25; 4], 0.02);
}
