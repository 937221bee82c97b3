//! An area: the healthy, or the degraded, hosts of a priority, divided by zone if zones matter.

use std::collections::BTreeMap;

use crate::cluster::balance::{
    group::Zoning,
    local::Local,
    pool::{Build, Pick, Pool},
    request::Load,
    settings::{Locality, Policy},
    zone::{self, Route},
};

/// Hosts of one priority and health.
#[derive(Debug)]
pub(crate) enum Area {
    Plain(Pool),
    Aware(Box<Aware>),
    Weighted(Box<Weighted>),
}

/// Zone-aware routing.
#[derive(Debug)]
pub(crate) struct Aware {
    /// For requests that do not take part.
    all: Pool,
    /// Percent of requests that take part.
    enabled: u32,
    route: Route,
    zones: Box<[Pool]>,
}

/// Zones by weight, in turn as Envoy's locality scheduler has it.
#[derive(Debug)]
pub(crate) struct Weighted {
    slot: u32,
    weights: Box<[f64]>,
    zones: Box<[Pool]>,
}

/// Whether an area may be routed by zone. Envoy does so for the healthy hosts of the first priority only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    First,
    Other,
}

impl Area {
    /// An area of `members` out of `level`, all hosts of the priority; `None` without members.
    pub fn new(
        members: Vec<u32>,
        level: &[u32],
        role: Role,
        zoning: &Zoning<'_>,
        build: &mut Build<'_>,
    ) -> Option<Self> {
        match &build.settings.locality {
            Locality::Weighted => Self::weighted(members, level, build),
            Locality::ZoneAware(_) if role == Role::First => Self::aware(members, zoning, build),
            Locality::ZoneAware(_) | Locality::Ignore => Pool::new(members, build).map(Self::Plain),
        }
    }

    /// The policy's choice; `None` when nobody in the pool that it came to is acceptable.
    pub fn pick<L: Load, U: Fn(usize) -> bool>(&self, pick: &Pick<'_, L, U>, local: &mut Local) -> Option<usize> {
        match self {
            Self::Plain(pool) => pool.pick(pick, local),
            Self::Aware(aware) => {
                if aware.enabled < 100 && local.random.u32(..100) >= aware.enabled {
                    return aware.all.pick(pick, local);
                }
                let zone = aware.zones.get(aware.route.draw(&mut local.random))?;
                zone.pick(pick, local).or_else(|| aware.all.pick(pick, local))
            }
            Self::Weighted(weighted) => {
                // Another turn where nobody in a zone is acceptable.
                weighted.zones.iter().find_map(|_| {
                    let turn = local.next_weighted(weighted.slot, weighted.weights.iter().copied())?;
                    weighted.zones.get(turn as usize)?.pick(pick, local)
                })
            }
        }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        let pools = |zones: &[Pool]| zones.iter().map(|pool| size_of::<Pool>() + pool.memory()).sum::<usize>();
        match self {
            Self::Plain(pool) => pool.memory(),
            Self::Aware(aware) => size_of::<Aware>() + aware.all.memory() + pools(&aware.zones) + 8 * aware.zones.len(),
            Self::Weighted(weighted) => size_of::<Weighted>() + pools(&weighted.zones) + 8 * weighted.weights.len(),
        }
    }

    fn aware(members: Vec<u32>, zoning: &Zoning<'_>, build: &mut Build<'_>) -> Option<Self> {
        let zones = by_zone(&members, build);
        let counts: Vec<(&str, u64)> = zones.iter().map(|(zone, hosts)| (*zone, hosts.len() as u64)).collect();
        let hashes = matches!(build.settings.policy, Policy::RingHash(_) | Policy::Maglev(_));
        let route = match &build.settings.locality {
            Locality::ZoneAware(settings) if !hashes && settings.routing_enabled > 0 => {
                zone::route(settings, zoning.own_zone, zoning.callers, &counts).zip(Some(settings.routing_enabled))
            }
            _ => None,
        };
        let all = Pool::new(members, build)?;
        let Some((route, enabled)) = route else { return Some(Self::Plain(all)) };
        let zones = zones.into_values().filter_map(|hosts| Pool::new(hosts, build)).collect();
        Some(Self::Aware(Box::new(Aware { all, enabled, route, zones })))
    }

    fn weighted(members: Vec<u32>, level: &[u32], build: &mut Build<'_>) -> Option<Self> {
        let whole = by_zone(level, build);
        let (mut zones, mut weights) = (Vec::new(), Vec::new());
        for (zone, hosts) in by_zone(&members, build) {
            let all = whole.get(zone).map_or(&[][..], Vec::as_slice);
            let weight = effective_weight(hosts.len(), all, build);
            if weight > 0.0 {
                zones.push(hosts);
                weights.push(weight);
            }
        }
        if zones.is_empty() {
            return Pool::new(members, build).map(Self::Plain);
        }
        if matches!(build.settings.policy, Policy::RingHash(_) | Policy::Maglev(_)) {
            return folded(zones, &weights, build).map(Self::Plain);
        }
        let slot = build.slot();
        let zones = zones.into_iter().filter_map(|hosts| Pool::new(hosts, build)).collect();
        Some(Self::Weighted(Box::new(Weighted { slot, weights: weights.into(), zones })))
    }
}

/// One table for all zones, the share of a host being its share of its zone's share. Envoy: `normalizeLocalityWeights`.
fn folded(zones: Vec<Vec<u32>>, weights: &[f64], build: &mut Build<'_>) -> Option<Pool> {
    let total: f64 = weights.iter().sum();
    let mut members: Vec<(u32, f64)> = Vec::new();
    for (hosts, weight) in zones.into_iter().zip(weights) {
        let sum: f64 = hosts.iter().map(|host| build.weight(*host)).sum();
        members.extend(hosts.into_iter().map(|host| (host, weight / total * build.weight(host) / sum)));
    }
    members.sort_by_key(|(host, _)| *host);
    let (members, weights) = members.into_iter().unzip();
    Pool::with_weights(members, weights, build)
}

/// A zone's weight, scaled down once fewer of its hosts are eligible than overprovisioning bears. Envoy:
/// `effectiveLocalityWeight`.
fn effective_weight(eligible: usize, all: &[u32], build: &Build<'_>) -> f64 {
    let hosts = all.iter().filter_map(|host| build.hosts.get(*host as usize));
    let weight = f64::from(hosts.map(|host| host.locality_weight).max().unwrap_or(0));
    let overprovisioning = f64::from(build.settings.overprovisioning_factor) / 100.0;
    weight * (overprovisioning * as_real(eligible) / as_real(all.len().max(1))).min(1.0)
}

fn by_zone<'a>(members: &[u32], build: &Build<'a>) -> BTreeMap<&'a str, Vec<u32>> {
    let mut zones: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for member in members {
        let zone = build.hosts.get(*member as usize).map_or("", |host| host.zone.as_str());
        zones.entry(zone).or_default().push(*member);
    }
    zones
}

#[expect(clippy::cast_precision_loss, reason = "numbers of hosts are far below 2^52")]
fn as_real(count: usize) -> f64 {
    count as f64
}
