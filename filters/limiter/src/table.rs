//! The table of a process: states by the hash of their keys, in shards with a lock each.
//!
//! A key is kept as 128 bits of SipHash-2-4 under a seed that nobody outside knows, so that an entry takes 33 bytes however long the key is, and
//! nobody can choose keys that meet. Every state says until when it matters. A shard that is full forgets those that do not matter any
//! more, and where there are none, those that matter for the shortest time yet: what is lost then is a debt of moments, and it is counted.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::key::Seed;
use crate::meter::{Meter, Now, State};
use crate::store::{Charge, Operation, Outcome};

/// A power of two.
const SHARDS: usize = 256;

/// Of a shard that is full, one in so many is forgotten at a time, so that the next keys need not search again.
const SHARE: usize = 16;

/// What an entry takes in the map, with its control byte.
const ENTRY: usize = 33;

/// States of a process, within bounded memory.
pub struct Table {
    shards: Box<[Mutex<Shard>]>,
    seed: Seed,
    /// Of each shard.
    most: usize,
    evicted: AtomicU64,
}

/// How a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableStats {
    /// States that are held, those that do not matter any more among them.
    pub entries: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// States that were forgotten while they mattered, for want of room.
    pub evicted: u64,
}

#[derive(Default)]
struct Shard {
    states: HashMap<u128, State, BuildHasherDefault<Folded>>,
}

/// Keys of the map are hashes already.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = u64::try_from(number >> 64).unwrap_or(0);
    }
}

impl Table {
    /// A table that takes at most so many bytes when it is full; it begins small. At least 1 MiB. One of 150 MB holds 3.6 million states.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        // The map has a power of two of places and fills seven of eight.
        let places = (bytes.max(1 << 20) / SHARDS / ENTRY + 1).next_power_of_two() / 2;
        let random = RandomState::new();
        let seed = Seed::of([random.hash_one(0_u8), random.hash_one(1_u8)]);
        Self::with(places / 8 * 7, seed)
    }

    fn with(most: usize, seed: Seed) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, seed, most: most.max(2), evicted: AtomicU64::new(0) }
    }

    /// How it is. Looks at every shard.
    #[must_use]
    pub fn stats(&self) -> TableStats {
        let mut stats = TableStats { evicted: self.evicted.load(Ordering::Relaxed), ..TableStats::default() };
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            stats.entries += shard.states.len();
            // Capacity is seven eighths of the places.
            stats.bytes += shard.states.capacity() / 7 * 8 * ENTRY;
        }
        stats
    }

    /// Forgets what does not matter any more, and gives memory back. For an idle moment; nothing needs it.
    pub fn sweep(&self, now: Now) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let matter = shard.states.iter().filter(|(hash, state)| time_left(**hash, **state, now) > 0).count();
            if matter < shard.states.len() {
                shard.rebuild((matter * 2).min(self.most), |hash, state| time_left(hash, state, now) > 0);
            }
        }
    }

    /// Does an operation, see [`Store::apply`](crate::Store::apply). `clock` is asked once, under the locks of all that it is about.
    pub fn apply(&self, operation: Operation, charges: &[Charge<'_>], clock: impl Fn() -> Now, outcome: &mut Outcome) {
        outcome.clear();
        match charges {
            [] => {}
            [charge] => {
                let hash = self.seed.hash(charge.key);
                let Some(shard) = self.shards.get(place(hash)) else { return };
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                let now = clock();
                if operation == Operation::Take && charge.meters.len() == 1 {
                    // The usual: looked up once.
                    self.take_one(&mut shard, hash, charge, now, outcome);
                    return;
                }
                if Self::read(&mut shard, hash, operation, charge, now, outcome) {
                    self.write(&mut shard, hash, operation, charge, now);
                }
            }
            charges => self.apply_all(operation, charges, clock, outcome),
        }
    }

    fn apply_all(&self, operation: Operation, charges: &[Charge<'_>], clock: impl Fn() -> Now, outcome: &mut Outcome) {
        let hashes: Vec<u128> = charges.iter().map(|charge| self.seed.hash(charge.key)).collect();
        let mut places: Vec<usize> = hashes.iter().map(|hash| place(*hash)).collect();
        places.sort_unstable();
        places.dedup();
        // Everybody locks in the same order, so that nobody waits for somebody who waits for them.
        let mut guards: Vec<(usize, MutexGuard<'_, Shard>)> = Vec::with_capacity(places.len());
        for at in places {
            if let Some(shard) = self.shards.get(at) {
                guards.push((at, shard.lock().unwrap_or_else(PoisonError::into_inner)));
            }
        }
        let now = clock();
        let mut go = true;
        for (charge, hash) in charges.iter().zip(&hashes) {
            if let Some((_, shard)) = guards.iter_mut().find(|(at, _)| *at == place(*hash)) {
                go &= Self::read(shard, *hash, operation, charge, now, outcome);
            }
        }
        if !go || !outcome.admitted {
            return;
        }
        for (charge, hash) in charges.iter().zip(&hashes) {
            if let Some((_, shard)) = guards.iter_mut().find(|(at, _)| *at == place(*hash)) {
                self.write(shard, *hash, operation, charge, now);
            }
        }
    }

    fn take_one(&self, shard: &mut Shard, hash: u128, charge: &Charge<'_>, now: Now, outcome: &mut Outcome) {
        let Some(meter) = charge.meters.first() else { return };
        let entry = of_meter(hash, 0, meter);
        if let Some(state) = shard.states.get_mut(&entry) {
            let (reading, after) = meter.take(*state, charge.cost, now);
            if reading.passes {
                *state = after;
            } else if let Some(settled) = meter.settle(*state, now) {
                *state = settled;
            }
            outcome.add(reading);
            return;
        }
        let (reading, after) = meter.take(State::default(), charge.cost, now);
        outcome.add(reading);
        if reading.passes && charge.cost > 0 {
            self.insert(shard, entry, after, now);
        }
    }

    /// Reads the meters of a charge; whether there is something to write.
    fn read(
        shard: &mut Shard,
        hash: u128,
        operation: Operation,
        charge: &Charge<'_>,
        now: Now,
        outcome: &mut Outcome,
    ) -> bool {
        if !matches!(operation, Operation::Take | Operation::Peek) {
            return true;
        }
        for (index, meter) in charge.meters.iter().enumerate() {
            let entry = of_meter(hash, index, meter);
            let state = shard.states.get(&entry).copied().unwrap_or_default();
            let (reading, _) = meter.take(state, charge.cost, now);
            outcome.add(reading);
            if !reading.passes
                && operation == Operation::Take
                && let Some(settled) = meter.settle(state, now)
            {
                shard.states.insert(entry, settled);
            }
        }
        outcome.admitted && operation == Operation::Take
    }

    fn write(&self, shard: &mut Shard, hash: u128, operation: Operation, charge: &Charge<'_>, now: Now) {
        if charge.cost == 0 {
            return;
        }
        for (index, meter) in charge.meters.iter().enumerate() {
            let entry = of_meter(hash, index, meter);
            let known = shard.states.get(&entry).copied();
            if known.is_none() && matches!(operation, Operation::Return | Operation::Release) {
                // What is forgotten was given back by that.
                continue;
            }
            if let Some(after) = charge.after(operation, meter, known.unwrap_or_default(), now) {
                self.insert(shard, entry, after, now);
            }
        }
    }

    fn insert(&self, shard: &mut Shard, entry: u128, state: State, now: Now) {
        if shard.states.len() >= self.most && !shard.states.contains_key(&entry) {
            self.make_room(shard, now);
        }
        shard.states.insert(entry, state);
    }

    fn make_room(&self, shard: &mut Shard, now: Now) {
        let mut left: Vec<u64> = shard.states.iter().map(|(hash, state)| time_left(*hash, *state, now)).collect();
        let over = left.iter().filter(|left| **left == 0).count();
        let room = (self.most / SHARE).max(1);
        let mut limit = 0;
        let mut surplus = room.saturating_sub(over).min(left.len().saturating_sub(over));
        if let Some(last) = (over + surplus).checked_sub(1).filter(|_| surplus > 0) {
            limit = *left.select_nth_unstable(last).1;
        }
        let before = surplus;
        shard.rebuild(self.most, |hash, state| {
            let left = time_left(hash, state, now);
            let goes = left == 0 || (surplus > 0 && left <= limit);
            surplus -= usize::from(goes && left > 0);
            !goes
        });
        self.evicted.fetch_add(u64::try_from(before - surplus).unwrap_or(0), Ordering::Relaxed);
    }
}

impl Shard {
    /// Keeps some. A map that only lost entries would not give their places back but grow beyond its bounds.
    fn rebuild(&mut self, capacity: usize, mut keep: impl FnMut(u128, State) -> bool) {
        let mut states = HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default());
        states.extend(self.states.drain().filter(|(hash, state)| keep(*hash, *state)));
        self.states = states;
    }
}

/// Which shard a key is in, by bits that its place inside does not depend on.
fn place(hash: u128) -> usize {
    usize::try_from(hash >> 8 & 0xff).unwrap_or(0) % SHARDS
}

/// The entry of one meter of a key. Its lowest bit says by which clock it is over.
fn of_meter(hash: u128, index: usize, meter: &Meter) -> u128 {
    let index = u128::try_from(index).unwrap_or(0) << 8 | u128::from(meter.kind());
    // Odd, so that every bit of the sum depends on the index; the shard was chosen before.
    let mixed = hash.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    mixed & !1 | u128::from(meter.is_of_the_wall())
}

fn time_left(hash: u128, state: State, now: Now) -> u64 {
    state.until.saturating_sub(if hash & 1 == 1 { now.wall } else { now.steady })
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("most", &self.most).finish_non_exhaustive()
    }
}
