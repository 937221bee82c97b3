//! Zone-aware routing: how much of the load stays in the caller's zone, and where the rest goes; Envoy's
//! `regenerateLocalityRoutingStructures`.
//!
//! If every zone's callers kept to their zone, hosts of a zone with many callers and few hosts would drown. So a zone
//! keeps what its hosts can take as their even share, and sends the rest to zones that have hosts to spare, in
//! proportion to what they can spare.

use std::collections::BTreeMap;

use crate::cluster::balance::settings::{DirectRouting, ZoneAware};

/// Parts in a whole; Envoy counts in hundredths of a percent.
pub(crate) const WHOLE: u64 = 10_000;

/// Where requests go, by index of the zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// All to the own zone.
    Direct(usize),
    /// A part to the own zone and the rest elsewhere.
    Residual {
        /// The own zone, if it has hosts.
        own: Option<usize>,
        /// Part of [`WHOLE`] that stays in it.
        stays: u64,
        /// Running sums of what the zones can spare.
        spare: Box<[u64]>,
    },
}

impl Route {
    /// The zone for one request.
    pub fn draw(&self, random: &mut fastrand::Rng) -> usize {
        match self {
            Self::Direct(own) => *own,
            Self::Residual { own, stays, spare } => {
                if let Some(own) = own
                    && random.u64(..WHOLE) < *stays
                {
                    return *own;
                }
                match spare.last() {
                    Some(total) if *total > 0 => {
                        let point = random.u64(..*total);
                        spare.partition_point(|sum| *sum <= point)
                    }
                    // Rounding left nothing to spare.
                    _ => random.usize(..spare.len().max(1)),
                }
            }
        }
    }
}

/// The route of callers in `own` for `zones` with their numbers of healthy hosts; `None` where zones do not matter: too
/// few hosts or zones, or an own zone without known callers. Without any `callers` each zone counts as having equally
/// many.
pub(crate) fn route(settings: &ZoneAware, own: &str, callers: &[(&str, u32)], zones: &[(&str, u64)]) -> Option<Route> {
    let hosts: u64 = zones.iter().map(|(_, count)| *count).sum();
    let inhabited = zones.iter().filter(|(_, count)| *count > 0).count();
    if own.is_empty() || inhabited < 2 || hosts < u64::from(settings.minimum_cluster_size) {
        return None;
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (zone, count) in callers.iter().filter(|(_, count)| *count > 0) {
        let sum = counts.entry(zone).or_insert(0);
        *sum = sum.saturating_add(u64::from(*count));
    }
    if counts.is_empty() {
        counts = zones.iter().map(|(zone, _)| (*zone, 1)).chain([(own, 1)]).collect();
    }
    let always = settings.direct == DirectRouting::Always;
    if !counts.contains_key(own) || (counts.len() < 2 && !always) {
        return None;
    }
    let all: u64 = counts.values().fold(0, |sum, count| sum.saturating_add(*count));
    let part = |count: u64, all: u64| {
        u64::try_from(u128::from(WHOLE) * u128::from(count) / u128::from(all.max(1))).unwrap_or(WHOLE)
    };
    // (Share of the callers, share of the hosts.)
    let shares: Vec<(u64, u64)> = zones
        .iter()
        .map(|(zone, count)| (part(counts.get(zone).copied().unwrap_or(0), all), part(*count, hosts)))
        .collect();
    let index = zones.iter().position(|(zone, count)| *zone == own && *count > 0);
    let own_shares = index.and_then(|own| shares.get(own)).copied();
    if let (Some(own), Some((callers, hosts))) = (index, own_shares)
        && (always || (hosts > 0 && hosts >= callers))
    {
        return Some(Route::Direct(own));
    }
    let stays = own_shares.map_or(0, |(callers, hosts)| (hosts * WHOLE).checked_div(callers).unwrap_or(0));
    let mut sum = 0_u64;
    let spare = shares
        .iter()
        .enumerate()
        .map(|(zone, (callers, hosts))| {
            if Some(zone) != index {
                sum += hosts.saturating_sub(*callers);
            }
            sum
        })
        .collect();
    Some(Route::Residual { own: index, stays, spare })
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn residual(own: Option<usize>, stays: u64, spare: &[u64]) -> Route {
        Route::Residual { own, stays, spare: spare.into() }
    }

    #[test]
    fn everything_stays_when_the_own_share_suffices() {
        let found = route(&ZoneAware::default(), "a", &[("a", 1), ("b", 1)], &[("a", 3), ("b", 3)]);
        assert_eq!(found, Some(Route::Direct(0)));
    }

    /// The example in Envoy's `regenerateLocalityRoutingStructures`: callers 40/40/20 percent, hosts 25/50/25.
    #[test]
    fn what_does_not_fit_goes_where_there_is_room() {
        let found = route(&ZoneAware::default(), "a", &[("a", 4), ("b", 4), ("c", 2)], &[("a", 2), ("b", 4), ("c", 2)]);
        assert_eq!(found, Some(residual(Some(0), 6250, &[0, 1000, 1500])));
    }

    #[test]
    fn a_zone_without_hosts_sends_everything_away() {
        let found = route(&ZoneAware::default(), "z", &[], &[("a", 3), ("b", 3)]);
        assert_eq!(found, Some(residual(None, 0, &[1667, 3334])));
    }

    #[test]
    fn zones_do_not_matter_to_small_clusters_or_unknown_callers() {
        let settings = ZoneAware::default();
        assert_eq!(route(&settings, "a", &[], &[("a", 2), ("b", 3)]), None, "five hosts");
        assert_eq!(route(&settings, "a", &[], &[("a", 9)]), None, "one zone");
        assert_eq!(route(&settings, "", &[], &[("a", 3), ("b", 3)]), None, "no zone");
        assert_eq!(route(&settings, "a", &[("b", 1), ("c", 1)], &[("a", 3), ("b", 3)]), None, "no callers here");
        assert_eq!(route(&settings, "a", &[("a", 1)], &[("a", 3), ("b", 3)]), None, "callers in one zone");
    }

    #[test]
    fn direct_routing_can_be_forced() {
        let settings = ZoneAware { direct: DirectRouting::Always, ..ZoneAware::default() };
        assert_eq!(route(&settings, "a", &[("a", 9)], &[("a", 1), ("b", 9)]), Some(Route::Direct(0)));
    }

    proptest! {
        /// Expected load, not sampled: callers of all zones together burden every host within 2 percent of evenly.
        #[test]
        fn all_zones_together_burden_hosts_evenly(
            callers in prop::array::uniform4(1_u32..40), hosts in prop::array::uniform4(2_u64..40),
        ) {
            let by_caller: Vec<(&str, u32)> = NAMES.into_iter().zip(callers).collect();
            let zones: Vec<(&str, u64)> = NAMES.into_iter().zip(hosts).collect();
            let mut load = [0.0; 4];
            for (own, count) in &by_caller {
                let count = f64::from(*count);
                match route(&ZoneAware::default(), own, &by_caller, &zones).unwrap() {
                    Route::Direct(zone) => load[zone] += count,
                    Route::Residual { own, stays, spare } => {
                        let stay = own.map_or(0.0, |own| {
                            load[own] += count * stays as f64 / WHOLE as f64;
                            stays as f64 / WHOLE as f64
                        });
                        let (mut last, total) = (0, *spare.last().unwrap());
                        for (zone, sum) in spare.iter().enumerate() {
                            let part = if total == 0 { 0.25 } else { (sum - last) as f64 / total as f64 };
                            load[zone] += count * (1.0 - stay) * part;
                            last = *sum;
                        }
                    }
                }
            }
            let even = f64::from(callers.iter().sum::<u32>()) / hosts.iter().sum::<u64>() as f64;
            for (zone, count) in load.iter().zip(hosts) {
                prop_assert!((zone / count as f64 / even - 1.0).abs() < 0.02, "{load:?}");
            }
        }
    }
}
