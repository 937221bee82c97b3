//! A group: the whole cluster or a subset of it, with its own priorities and its own panic. Envoy calls it a priority
//! set.

use std::collections::BTreeMap;

use crate::cluster::balance::{
    area::{Area, Role},
    error::NoHost,
    hashed::probe,
    host::{Health, Seat},
    local::Local,
    pool::{Build, Members, Pick, Pool, Trust},
    priority::{Census, Mode, Standing, standings},
    request::Load,
    settings::{OnPanic, Policy},
};

/// Where the callers are.
pub(crate) struct Zoning<'a> {
    pub own_zone: &'a str,
    pub callers: &'a [(&'a str, u32)],
}

/// Hosts by priority.
#[derive(Debug)]
pub(crate) struct Group {
    levels: Levels,
}

/// One priority is the rule, and it costs no allocation.
#[derive(Debug)]
enum Levels {
    One(Level),
    Many(Box<[Level]>),
}

#[derive(Debug)]
struct Level {
    /// As in [`Seat::level`].
    number: u16,
    standing: Standing,
    members: Members,
    serving: Serving,
}

/// Who serves at a priority.
#[derive(Debug)]
enum Serving {
    /// Healthy and degraded hosts.
    Available { healthy: Option<Area>, degraded: Option<Box<Area>> },
    /// All of these, whatever their health.
    Regardless(Pool),
    /// Nobody, as panic is set to fail.
    Nobody,
}

/// What becomes of hosts that have no load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unloaded {
    Skip,
    Keep,
}

#[derive(Clone, Copy)]
enum Part {
    Healthy,
    Degraded,
}

impl Group {
    /// A group of `members`, ascending; `None` without any.
    pub fn new(members: &[u32], zoning: &Zoning<'_>, build: &mut Build<'_>) -> Option<Self> {
        let mut by_level: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        for member in members {
            if let Some(seat) = build.seats.get(*member as usize) {
                by_level.entry(seat.level).or_default().push(*member);
            }
        }
        let censuses: Vec<Census> = by_level.values().map(|members| census(members, build.seats)).collect();
        let standings = standings(&censuses, build.settings);
        // Whoever avoids priorities may need hosts that have no load of their own. Tables for what is rarely asked are not worth it: there any
        // host that is well is taken.
        let has_table = matches!(build.settings.policy, Policy::RingHash(_) | Policy::Maglev(_));
        let unloaded = if standings.len() > 1 && !has_table { Unloaded::Keep } else { Unloaded::Skip };
        let mut role = Role::First;
        let mut levels = Vec::with_capacity(standings.len());
        for ((number, members), standing) in by_level.into_iter().zip(standings) {
            let serving = Serving::new(&members, standing, unloaded, role, zoning, build);
            levels.push(Level { number, standing, members: Members::new(members, build.hosts.len()), serving });
            role = Role::Other;
        }
        let levels = match levels.len() {
            0 => return None,
            1 => Levels::One(levels.pop()?),
            _ => Levels::Many(levels.into()),
        };
        Some(Self { levels })
    }

    /// A host of the group.
    pub fn pick<L: Load, U: Fn(usize) -> bool>(
        &self,
        pick: &Pick<'_, L, U>,
        on_outage: Trust,
        local: &mut Local,
    ) -> Result<usize, NoHost> {
        let (level, part) = self.choose(pick, local).ok_or(NoHost::Unhealthy)?;
        let found = match (&level.serving, part) {
            (Serving::Available { healthy, .. }, Part::Healthy) => {
                healthy.as_ref().and_then(|area| area.pick(pick, local))
            }
            (Serving::Available { degraded, .. }, Part::Degraded) => {
                degraded.as_ref().and_then(|area| area.pick(pick, local))
            }
            (Serving::Regardless(pool), _) => pool.pick(&pick.trusting(Trust::Nobody), local),
            (Serving::Nobody, _) => return Err(NoHost::Panic),
        };
        found.or_else(|| self.rescue(pick, on_outage, local)).ok_or(NoHost::Unusable)
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        let inline = match &self.levels {
            Levels::One(_) => 0,
            Levels::Many(levels) => std::mem::size_of_val(&**levels),
        };
        inline + self.levels().iter().map(Level::memory).sum::<usize>()
    }

    fn levels(&self) -> &[Level] {
        match &self.levels {
            Levels::One(level) => std::slice::from_ref(level),
            Levels::Many(levels) => levels,
        }
    }

    /// The priority for one request, and which of its hosts; `None` when none has any load.
    fn choose<L, U>(&self, pick: &Pick<'_, L, U>, local: &mut Local) -> Option<(&Level, Part)> {
        if let Levels::One(level) = &self.levels
            && level.standing.healthy_load == 100
        {
            return Some((level, Part::Healthy));
        }
        let hash = match (pick.policy, pick.request.hash) {
            (Policy::RingHash(_) | Policy::Maglev(_), Some(hash)) => hash,
            _ => local.random.u64(..),
        };
        let point = u32::try_from(hash % 100).unwrap_or(0);
        if !pick.request.avoid_priorities_of.is_empty()
            && let Some(found) = self.choose_unseen(point, pick)
        {
            return Some(found);
        }
        let loads = |part: Part| {
            move |level: &Level| match part {
                Part::Healthy => u32::from(level.standing.healthy_load),
                Part::Degraded => u32::from(level.standing.degraded_load),
            }
        };
        let mut sum = 0;
        for part in [Part::Healthy, Part::Degraded] {
            for level in self.levels() {
                sum += loads(part)(level);
                if point < sum {
                    return Some((level, part));
                }
            }
        }
        None
    }

    /// The same with the priorities of avoided hosts counted as unavailable; `None` when no other is available.
    fn choose_unseen<L, U>(&self, point: u32, pick: &Pick<'_, L, U>) -> Option<(&Level, Part)> {
        let seen = |level: &&Level| {
            let mut seats = pick.request.avoid_priorities_of.iter().filter_map(|host| pick.seats.get(*host));
            seats.any(|seat| seat.level == level.number)
        };
        let bears = |level: &Level, part: Part| match part {
            Part::Healthy => u32::from(level.standing.health),
            Part::Degraded => u32::from(level.standing.degraded_health),
        };
        let unseen = || self.levels().iter().filter(|level| !seen(level));
        let total =
            unseen().map(|level| bears(level, Part::Healthy) + bears(level, Part::Degraded)).sum::<u32>().min(100);
        let mut sum = 0;
        let mut first = None;
        for part in [Part::Healthy, Part::Degraded] {
            for level in unseen() {
                let part_load = (bears(level, part) * 100).checked_div(total)?;
                sum += part_load;
                if part_load > 0 && first.is_none() {
                    first = Some((level, part));
                }
                if point < sum {
                    return Some((level, part));
                }
            }
        }
        // What rounding left.
        first
    }

    /// Any host, when the one that load balancing came to is not acceptable: another available one that the request
    /// does not avoid, a draining one, then one that it avoids, and at last, unless panic is switched off, any whatever
    /// its health: a plan made at this moment would be in panic.
    fn rescue<L: Load, U: Fn(usize) -> bool>(
        &self,
        pick: &Pick<'_, L, U>,
        on_outage: Trust,
        local: &mut Local,
    ) -> Option<usize> {
        let seed = pick.request.hash.unwrap_or_else(|| local.random.u64(..));
        let health = |host: usize| pick.seats.get(host).map_or(Health::Unhealthy, |seat| seat.health);
        let available = |host: usize| health(host).is_available() && (pick.usable)(host);
        let draining = |host: usize| health(host) == Health::Draining && (pick.usable)(host);
        let fresh = |host: usize| !pick.request.avoid.contains(&host);
        self.search(seed, |host| available(host) && fresh(host))
            .or_else(|| self.search(seed, |host| draining(host) && fresh(host)))
            .or_else(|| self.search(seed, available))
            .or_else(|| self.search(seed, draining))
            .or_else(|| if on_outage == Trust::Nobody { self.search(seed, fresh) } else { None })
            .or_else(|| if on_outage == Trust::Nobody { self.search(seed, |_| true) } else { None })
    }

    /// The first that fits, priority by priority, in an order that follows from `seed`.
    fn search(&self, seed: u64, fits: impl Fn(usize) -> bool) -> Option<usize> {
        self.levels().iter().find_map(|level| {
            probe(seed, level.members.len()).map(|position| level.members.host(position)).find(|host| fits(*host))
        })
    }
}

impl Level {
    fn memory(&self) -> usize {
        let serving = match &self.serving {
            Serving::Available { healthy, degraded } => {
                let degraded = degraded.as_ref().map_or(0, |area| size_of::<Area>() + area.memory());
                healthy.as_ref().map_or(0, Area::memory) + degraded
            }
            Serving::Regardless(pool) => pool.memory(),
            Serving::Nobody => 0,
        };
        self.members.memory() + serving
    }
}

impl Serving {
    fn new(
        members: &[u32],
        standing: Standing,
        unloaded: Unloaded,
        role: Role,
        zoning: &Zoning<'_>,
        build: &mut Build<'_>,
    ) -> Self {
        let of = |build: &Build<'_>, wanted: &dyn Fn(Health) -> bool| -> Vec<u32> {
            let fits = |member: &u32| build.seats.get(*member as usize).is_some_and(|seat| wanted(seat.health));
            members.iter().copied().filter(fits).collect()
        };
        match standing.mode {
            Mode::Panic if build.settings.on_panic == OnPanic::Fail => Self::Nobody,
            Mode::Panic => {
                let available = !of(build, &Health::is_available).is_empty();
                let all = of(build, &|health| !available || health != Health::Draining);
                Pool::new(all, build).map_or(Self::Nobody, Self::Regardless)
            }
            Mode::Draining => {
                let draining = of(build, &|health| health == Health::Draining);
                Pool::new(draining, build).map_or(Self::Nobody, Self::Regardless)
            }
            Mode::Normal => {
                // A table for hosts without load would be a waste.
                let mut area = |load: u8, health: Health, role: Role| {
                    if load == 0 && unloaded == Unloaded::Skip {
                        return None;
                    }
                    let part = of(build, &|candidate| candidate == health);
                    Area::new(part, members, role, zoning, build)
                };
                let healthy = area(standing.healthy_load, Health::Healthy, role);
                let degraded = area(standing.degraded_load, Health::Degraded, Role::Other).map(Box::new);
                Self::Available { healthy, degraded }
            }
        }
    }
}

fn census(members: &[u32], seats: &[Seat]) -> Census {
    let mut census = Census::default();
    for seat in members.iter().filter_map(|member| seats.get(*member as usize)) {
        census.all.add(seat.weight);
        match seat.health {
            Health::Healthy => census.healthy.add(seat.weight),
            Health::Degraded => census.degraded.add(seat.weight),
            Health::Draining => census.draining.add(seat.weight),
            Health::Unhealthy => {}
        }
    }
    census
}
