//! The policies by hash: a table says where a hash belongs, and this module what happens when it cannot go there.
//!
//! A host that is not acceptable is passed over on the ring or in the table, the same way for every request with that
//! hash. With bounded load (Mirrokni, Thorup and Zadimoghaddam, arXiv 1608.01350) so is one that already has its share
//! of the requests in flight times the factor; the next candidates come in an order that depends on the hash alone,
//! lest neighbours on the ring fall like dominoes (arXiv 1908.08762), as Envoy does it.
//!
//! Where Envoy lets a host exceed its bound by one request, the bound here is strict.

use xxhash_rust::xxh64::xxh64;

use crate::cluster::balance::{
    local::Local,
    maglev,
    pool::{ATTEMPTS, Build, Drawn, Pick, Pool},
    request::Load,
    ring,
    settings::Policy,
};

/// A table, and the members' shares where the load is bounded.
#[derive(Debug)]
pub(crate) struct Hashed {
    table: Table,
    bound: Option<Bound>,
}

#[derive(Debug)]
enum Table {
    Ring(ring::Ring),
    Maglev(maglev::Table),
}

#[derive(Debug)]
struct Bound {
    /// Percent of the average, at least 100.
    factor: u32,
    /// By position; they add up to 1.
    shares: Box<[f64]>,
}

impl Hashed {
    /// A table of `members` with positive `weights`, neither empty.
    pub fn new(members: &[u32], weights: Vec<f64>, build: &Build<'_>) -> Self {
        let sum: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.into_iter().map(|weight| weight / sum).collect();
        let keys = members.iter().map(|host| build.hosts.get(*host as usize).map_or("", |host| host.key.as_str()));
        let (table, factor) = match &build.settings.policy {
            Policy::RingHash(settings) => {
                (Table::Ring(ring::Ring::new(settings, keys, &shares)), settings.balance_factor)
            }
            Policy::Maglev(settings) => {
                (Table::Maglev(maglev::Table::new(settings.table_size, keys, &shares)), settings.balance_factor)
            }
            // No other policy has a table.
            _ => (Table::Maglev(maglev::Table::new(1, keys, &shares)), 0),
        };
        let bound = (factor > 0).then(|| Bound { factor: factor.max(100), shares: shares.into() });
        Self { table, bound }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        let table = match &self.table {
            Table::Ring(ring) => ring.memory(),
            Table::Maglev(table) => table.memory(),
        };
        size_of::<Self>() + table + self.bound.as_ref().map_or(0, |bound| std::mem::size_of_val(&*bound.shares))
    }

    /// The position for `hash`; further attempts give further candidates.
    fn find(&self, hash: u64, attempt: u32) -> u32 {
        match &self.table {
            Table::Ring(ring) => ring.find(hash, attempt),
            Table::Maglev(table) => table.find(hash, attempt),
        }
    }
}

/// Picks the host that the hash belongs to, or its substitute.
pub(crate) fn pick<L: Load, U: Fn(usize) -> bool>(
    hashed: &Hashed,
    pool: &Pool,
    pick: &Pick<'_, L, U>,
    local: &mut Local,
) -> Option<usize> {
    let hash = pick.request.hash.unwrap_or_else(|| local.random.u64(..));
    let first = (0..ATTEMPTS).find_map(|attempt| pool.accepted_at(hashed.find(hash, attempt), pick));
    let Some(bound) = &hashed.bound else {
        let found = first.or_else(|| probe(hash, pool.len()).find_map(|position| pool.accepted_at(position, pick)));
        return found.map(|drawn| drawn.host);
    };
    let active: u64 = pool.hosts().map(|host| u64::from(pick.load.active(host))).sum();
    let overload = |drawn: Drawn| {
        let slots = bound.slots(active, drawn.position);
        f64::from(pick.load.active(drawn.host).saturating_add(1)) / slots
    };
    let mut least: Option<(Drawn, f64)> = None;
    for drawn in
        first.into_iter().chain(probe(hash, pool.len()).filter_map(|position| pool.accepted_at(position, pick)))
    {
        let factor = overload(drawn);
        if factor <= 1.0 {
            return Some(drawn.host);
        }
        if least.is_none_or(|(_, least)| factor < least) {
            least = Some((drawn, factor));
        }
    }
    // Only where hosts with room are not acceptable.
    least.map(|(drawn, _)| drawn.host)
}

impl Bound {
    /// Requests in flight that a member may have, one being added to `active` of all. Rounded up, they always have room
    /// for it.
    fn slots(&self, active: u64, position: u32) -> f64 {
        let total = active.saturating_add(1).saturating_mul(u64::from(self.factor)).div_ceil(100);
        let share = self.shares.get(position as usize).copied().unwrap_or(1.0);
        (as_real(total) * share).ceil().max(1.0)
    }
}

/// All of `count` positions, each once, in an order that follows from `hash`.
pub(crate) fn probe(hash: u64, count: u32) -> impl Iterator<Item = u32> {
    let count = u64::from(count.max(1));
    let seeded = |seed| xxh64(&hash.to_le_bytes(), seed);
    let start = seeded(1) % count;
    // A step without a common divisor meets every position.
    let first = seeded(2) % count;
    let step = (first..count).chain(1..first).find(|step| divisor(*step, count) == 1).unwrap_or(1);
    (0..count).map(move |turn| u32::try_from((start + turn * step) % count).unwrap_or(0))
}

fn divisor(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[expect(clippy::cast_precision_loss, reason = "requests in flight are far below 2^52")]
fn as_real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn probing_meets_every_position_once(hash in any::<u64>(), count in 1_u32..500) {
            let mut met: Vec<u32> = probe(hash, count).collect();
            met.sort_unstable();
            prop_assert_eq!(met, (0..count).collect::<Vec<_>>());
        }
    }
}
