//! A pool: hosts among which the policy alone decides, all of one subset, priority, health and zone.
//!
//! It holds what the policy needs and no more: nothing for equal weights, an alias table for unequal ones, a ring or a
//! Maglev table for the policies by hash. A pool of the whole cluster does not even list its members. It is never
//! empty.
//!
//! Inside, hosts go by *position*, their place in the pool; `host` is the index that the caller knows.

use crate::cluster::balance::{
    alias::Alias,
    ewma,
    hashed::{self, Hashed},
    host::{Host, Seat},
    least_request,
    local::Local,
    random,
    request::{Load, Request},
    round_robin,
    settings::{Policy, Settings},
    slow_start::Ramp,
};

/// Draws before the search for an acceptable host becomes systematic.
pub(crate) const ATTEMPTS: u32 = 32;

/// What pools are built from.
pub(crate) struct Build<'a> {
    pub settings: &'a Settings,
    pub hosts: &'a [Host],
    pub seats: &'a [Seat],
    pub ramp: Option<&'a Ramp>,
    /// Slots of [`Local`] given away so far.
    pub slots: u32,
}

impl Build<'_> {
    /// A slot of its own in every [`Local`].
    pub fn slot(&mut self) -> u32 {
        self.slots = self.slots.saturating_add(1);
        self.slots - 1
    }

    pub fn weight(&self, host: u32) -> f64 {
        self.seats.get(host as usize).map_or(1.0, |seat| f64::from(seat.weight))
    }
}

/// One pick in progress.
pub(crate) struct Pick<'a, L, U> {
    pub policy: &'a Policy,
    pub seats: &'a [Seat],
    pub ramp: Option<&'a Ramp>,
    pub request: &'a Request<'a>,
    pub load: &'a L,
    pub usable: &'a U,
    pub trust: Trust,
}

/// Whether a pick believes in the health of hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trust {
    /// Hosts that are not usable are passed over.
    Health,
    /// Every host will do, for health has become implausible.
    Nobody,
}

impl<L: Load, U: Fn(usize) -> bool> Pick<'_, L, U> {
    /// Whether `host` may have the request.
    pub fn accepts(&self, host: usize) -> bool {
        (self.trust == Trust::Nobody || (self.usable)(host)) && !self.request.avoid.contains(&host)
    }

    /// The same pick with less faith.
    pub fn trusting(&self, trust: Trust) -> Self {
        Self { trust, ..*self }
    }
}

/// A host drawn from a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub position: u32,
    pub host: usize,
}

/// Hosts among which the policy decides.
#[derive(Debug)]
pub(crate) struct Pool {
    members: Members,
    balance: Balance,
    /// From then on no member is in slow start.
    warm_at: u64,
    slot: u32,
}

#[derive(Debug)]
enum Balance {
    Equal,
    Weighted { alias: Alias, mean: f64 },
    Hashed(Box<Hashed>),
}

impl Pool {
    /// A pool of `members`, ascending; `None` without any.
    pub fn new(members: Vec<u32>, build: &mut Build<'_>) -> Option<Self> {
        let weights = members.iter().map(|host| build.weight(*host)).collect();
        Self::with_weights(members, weights, build)
    }

    /// A pool whose members have these positive weights for the policies by hash; all others go by the hosts' own.
    pub fn with_weights(members: Vec<u32>, weights: Vec<f64>, build: &mut Build<'_>) -> Option<Self> {
        let first = *weights.first()?;
        let mut slot = 0;
        let balance = match &build.settings.policy {
            Policy::RingHash(_) | Policy::Maglev(_) => Balance::Hashed(Box::new(Hashed::new(&members, weights, build))),
            policy => {
                if matches!(policy, Policy::RoundRobin) {
                    slot = build.slot();
                }
                if weights.iter().all(|weight| weight.total_cmp(&first).is_eq()) {
                    Balance::Equal
                } else {
                    let mean =
                        weights.iter().sum::<f64>() / f64::from(u32::try_from(weights.len()).unwrap_or(u32::MAX));
                    Balance::Weighted { alias: Alias::new(&weights), mean }
                }
            }
        };
        let warm_at = build.ramp.map_or(0, |ramp| ramp.warm_at(members.iter().map(|host| *host as usize)));
        Some(Self { members: Members::new(members, build.hosts.len()), balance, warm_at, slot })
    }

    /// The policy's choice; `None` when no member is acceptable.
    pub fn pick<L: Load, U: Fn(usize) -> bool>(&self, pick: &Pick<'_, L, U>, local: &mut Local) -> Option<usize> {
        if let Balance::Hashed(hashed) = &self.balance {
            return hashed::pick(hashed, self, pick, local);
        }
        match pick.policy {
            Policy::RoundRobin => round_robin::pick(self, pick, local),
            Policy::LeastRequest(settings) => least_request::pick(settings, self, pick, local),
            Policy::PeakEwma(settings) => ewma::pick(settings, self, pick, local),
            // Policies by hash were answered by their table.
            Policy::Random | Policy::RingHash(_) | Policy::Maglev(_) => random::pick(self, pick, local),
        }
    }

    /// Number of members, at least 1.
    pub fn len(&self) -> u32 {
        self.members.len()
    }

    pub fn slot(&self) -> u32 {
        self.slot
    }

    pub fn is_weighted(&self) -> bool {
        matches!(self.balance, Balance::Weighted { .. })
    }

    /// Whether all members weigh the same at this moment.
    pub fn is_plain<L, U>(&self, pick: &Pick<'_, L, U>) -> bool {
        matches!(self.balance, Balance::Equal) && self.warm_at <= pick.request.now_ms
    }

    /// Weights of the members by position, slow start aside.
    pub fn weights<'a, L, U>(&'a self, pick: &'a Pick<'_, L, U>) -> impl Iterator<Item = f64> + Clone + 'a {
        (0..self.len()).map(|position| own_weight(pick.seats, self.members.host(position)))
    }

    /// Weight of a member at this moment.
    pub fn weight<L, U>(&self, drawn: Drawn, pick: &Pick<'_, L, U>) -> f64 {
        own_weight(pick.seats, drawn.host) * self.warmth(drawn.host, pick)
    }

    /// By how much `host` is lighter than the mean.
    pub fn lightness<L, U>(&self, pick: &Pick<'_, L, U>, host: usize) -> f64 {
        match &self.balance {
            Balance::Weighted { mean, .. } => mean / own_weight(pick.seats, host),
            Balance::Equal | Balance::Hashed(_) => 1.0,
        }
    }

    /// The host at `position`, if it may have the request and is warm enough for it.
    pub fn admit<L: Load, U: Fn(usize) -> bool>(
        &self,
        position: u32,
        pick: &Pick<'_, L, U>,
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        let host = self.members.host(position);
        if !pick.accepts(host) {
            return None;
        }
        let warmth = self.warmth(host, pick);
        (warmth >= 1.0 || random.f64() < warmth).then_some(host)
    }

    /// An acceptable member by weight; `None` when there is none.
    pub fn draw<L: Load, U: Fn(usize) -> bool>(
        &self,
        pick: &Pick<'_, L, U>,
        random: &mut fastrand::Rng,
    ) -> Option<Drawn> {
        for _ in 0..ATTEMPTS {
            let position = self.sample(random);
            if let Some(host) = self.admit(position, pick, random) {
                return Some(Drawn { position, host });
            }
        }
        let start = random.u32(..self.len().max(1));
        (start..self.len()).chain(0..start).find_map(|position| self.accepted_at(position, pick))
    }

    /// An acceptable member other than the one at `than`; `None` when chance does not find one soon.
    pub fn draw_other<L: Load, U: Fn(usize) -> bool>(
        &self,
        than: u32,
        pick: &Pick<'_, L, U>,
        random: &mut fastrand::Rng,
    ) -> Option<Drawn> {
        // A few tries are enough for something that only improves the choice.
        for _ in 0..4 {
            let position = match &self.balance {
                Balance::Weighted { alias, .. } => alias.draw(random),
                Balance::Equal | Balance::Hashed(_) => {
                    let other = random.u32(..self.len().saturating_sub(1).max(1));
                    if other >= than { other.saturating_add(1) } else { other }
                }
            };
            if position == than || position >= self.len() {
                continue;
            }
            if let Some(host) = self.admit(position, pick, random) {
                return Some(Drawn { position, host });
            }
        }
        None
    }

    /// All acceptable members.
    pub fn accepted<'a, L: Load, U: Fn(usize) -> bool>(
        &'a self,
        pick: &'a Pick<'_, L, U>,
    ) -> impl Iterator<Item = Drawn> + 'a {
        (0..self.len()).filter_map(|position| self.accepted_at(position, pick))
    }

    /// The member at `position`, if it is acceptable, slow start aside.
    pub fn accepted_at<L: Load, U: Fn(usize) -> bool>(&self, position: u32, pick: &Pick<'_, L, U>) -> Option<Drawn> {
        let host = self.members.host(position);
        pick.accepts(host).then_some(Drawn { position, host })
    }

    /// All members, by index of the caller.
    pub fn hosts(&self) -> impl Iterator<Item = usize> + '_ {
        self.members.hosts()
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        let balance = match &self.balance {
            Balance::Equal => 0,
            Balance::Weighted { alias, .. } => alias.memory(),
            Balance::Hashed(hashed) => hashed.memory(),
        };
        self.members.memory() + balance
    }

    fn sample(&self, random: &mut fastrand::Rng) -> u32 {
        match &self.balance {
            Balance::Weighted { alias, .. } => alias.draw(random),
            Balance::Equal | Balance::Hashed(_) => random.u32(..self.len().max(1)),
        }
    }

    /// Share of its weight that `host` has at this moment.
    fn warmth<L, U>(&self, host: usize, pick: &Pick<'_, L, U>) -> f64 {
        match pick.ramp {
            Some(ramp) if pick.request.now_ms < self.warm_at => ramp.factor(host, pick.request.now_ms),
            _ => 1.0,
        }
    }
}

/// Members by index of the caller, ascending.
#[derive(Debug)]
pub(crate) enum Members {
    /// The first so many, which is all of the cluster.
    All(u32),
    Listed(Box<[u32]>),
}

impl Members {
    /// `members` of a cluster of `total` hosts.
    pub fn new(members: Vec<u32>, total: usize) -> Self {
        if members.len() == total {
            Self::All(u32::try_from(total).unwrap_or(u32::MAX))
        } else {
            Self::Listed(members.into())
        }
    }

    pub fn len(&self) -> u32 {
        match self {
            Self::All(count) => *count,
            Self::Listed(members) => u32::try_from(members.len()).unwrap_or(u32::MAX),
        }
    }

    /// The member at `position`, which is below the length.
    pub fn host(&self, position: u32) -> usize {
        match self {
            Self::All(_) => position as usize,
            Self::Listed(members) => members.get(position as usize).map_or(usize::MAX, |host| *host as usize),
        }
    }

    pub fn hosts(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|position| self.host(position))
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        match self {
            Self::All(_) => 0,
            Self::Listed(members) => std::mem::size_of_val(&**members),
        }
    }
}

fn own_weight(seats: &[Seat], host: usize) -> f64 {
    seats.get(host).map_or(1.0, |seat| f64::from(seat.weight))
}
