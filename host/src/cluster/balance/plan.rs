//! The plan: everything about a cluster that picks need and that changes only with membership, weights or health.
//!
//! Made on the control plane, shared by all workers, never changed. It keeps 8 bytes of every host; a cluster of few
//! equal hosts costs some hundred bytes (see [`Plan::memory`]), and tables exist only where a policy needs them and
//! load reaches them.

use std::{collections::BTreeSet, sync::Arc};

use crate::cluster::balance::{
    error::NoHost,
    group::{Group, Zoning},
    host::{Health, Host, Seat},
    local::Local,
    pool::{Build, Pick, Trust},
    request::{Load, Override, Request},
    settings::{Fallback, OnPanic, Policy, Settings},
    slow_start::Ramp,
    subset::{Directory, Place},
};

/// How a cluster's requests are spread, until something changes.
#[derive(Debug)]
pub struct Plan {
    /// Distinguishes this plan from any other.
    identity: Arc<()>,
    policy: Policy,
    /// What to believe when every host was taken out since the plan was made.
    on_outage: Trust,
    override_health: [Option<Health>; 4],
    seats: Box<[Seat]>,
    ramp: Option<Box<Ramp>>,
    /// Absent when every request belongs to a subset.
    whole: Option<Group>,
    subsets: Option<Box<Directory>>,
}

impl Plan {
    /// A plan for `hosts`, which picks will name by their index.
    ///
    /// `own_zone` is the zone of this process, empty if unknown; `callers` says how many processes like it each zone
    /// has, for zone-aware routing. Without any, all zones count as having equally many.
    #[must_use]
    pub fn build(settings: &Settings, own_zone: &str, callers: &[(&str, u32)], hosts: &[Host]) -> Self {
        let hosts = hosts.get(..u32::MAX as usize).unwrap_or(hosts);
        let seats = seats(hosts);
        let warms = matches!(settings.policy, Policy::RoundRobin | Policy::LeastRequest(_));
        let slow_start = settings.slow_start.as_ref().filter(|_| warms);
        let ramp = slow_start.and_then(|settings| Ramp::new(settings, hosts)).map(Box::new);
        let mut build = Build { settings, hosts, seats: &seats, ramp: ramp.as_deref(), slots: 0 };
        let zoning = Zoning { own_zone, callers };
        let subsets = settings.subsets.as_ref().map(|subsets| Box::new(Directory::new(subsets, &zoning, &mut build)));
        let whole = if subsets.as_ref().is_none_or(|subsets| subsets.falls_back_to(Fallback::Any)) {
            let all: Vec<u32> = (0_u32..).zip(hosts).map(|(host, _)| host).collect();
            Group::new(&all, &zoning, &mut build)
        } else {
            None
        };
        let believes = settings.panic_threshold == 0 || settings.on_panic == OnPanic::Fail;
        Self {
            identity: Arc::new(()),
            policy: settings.policy,
            on_outage: if believes { Trust::Health } else { Trust::Nobody },
            override_health: [Health::Healthy, Health::Degraded, Health::Draining, Health::Unhealthy]
                .map(|health| settings.override_health.contains(&health).then_some(health)),
            seats,
            ramp,
            whole,
            subsets,
        }
    }

    /// The host for a request, as its index.
    ///
    /// `usable` knows what has happened since the plan was made: a host for which it is false is passed over. It is not
    /// asked in panic, when health counts for nothing, and it is overruled when it refuses every host although panic is
    /// switched on.
    ///
    /// # Errors
    /// [`NoHost`] says why there is none.
    pub fn pick<L: Load, U: Fn(usize) -> bool>(
        &self,
        request: &Request<'_>,
        local: &mut Local,
        load: &L,
        usable: &U,
    ) -> Result<usize, NoHost> {
        local.enter(&self.identity);
        if let Some(wanted) = request.override_host
            && let Some(host) = self.overridden(wanted, request, usable)?
        {
            return Ok(host);
        }
        let pick = Pick {
            policy: &self.policy,
            seats: &self.seats,
            ramp: self.ramp.as_deref(),
            request,
            load,
            usable,
            trust: Trust::Health,
        };
        self.group(request.labels)?.pick(&pick, self.on_outage, local)
    }

    /// Number of hosts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there are no hosts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Bytes that the plan takes, itself included, the allocator's own overhead aside.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + 2 * size_of::<usize>()
            + std::mem::size_of_val(&*self.seats)
            + self.ramp.as_ref().map_or(0, |ramp| ramp.memory())
            + self.whole.as_ref().map_or(0, Group::memory)
            + self.subsets.as_ref().map_or(0, |subsets| size_of::<Directory>() + subsets.memory())
    }

    fn group(&self, labels: &[(&str, &str)]) -> Result<&Group, NoHost> {
        let place = self.subsets.as_ref().map_or(Place::Anywhere, |subsets| subsets.find(labels));
        match place {
            Place::Group(group) => Ok(group),
            Place::Anywhere => self.whole.as_ref().ok_or(NoHost::Empty),
            Place::Nowhere if self.seats.is_empty() => Err(NoHost::Empty),
            Place::Nowhere => Err(NoHost::NoSubset),
        }
    }

    /// The override host, if it may be used. A retry that avoids it is free to go elsewhere, as in Envoy.
    fn overridden(
        &self,
        wanted: Override,
        request: &Request<'_>,
        usable: &impl Fn(usize) -> bool,
    ) -> Result<Option<usize>, NoHost> {
        let (Override::Preferred(host) | Override::Strict(host)) = wanted;
        if request.avoid.contains(&host) {
            return Ok(None);
        }
        let seat = self.seats.get(host).filter(|seat| self.override_health.contains(&Some(seat.health)));
        match wanted {
            _ if seat.is_some() && usable(host) => Ok(Some(host)),
            Override::Preferred(_) => Ok(None),
            Override::Strict(_) if self.seats.is_empty() => Err(NoHost::Empty),
            Override::Strict(_) => Err(NoHost::Override),
        }
    }
}

fn seats(hosts: &[Host]) -> Box<[Seat]> {
    let priorities: BTreeSet<u32> = hosts.iter().map(|host| host.priority).collect();
    let priorities: Vec<u32> = priorities.into_iter().collect();
    hosts
        .iter()
        .map(|host| Seat {
            weight: host.weight.max(1),
            level: u16::try_from(priorities.partition_point(|known| *known < host.priority)).unwrap_or(u16::MAX),
            health: host.health,
        })
        .collect()
}

#[cfg(test)]
mod tests;
