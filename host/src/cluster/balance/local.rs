//! What a worker remembers from one pick to the next.
//!
//! It belongs to one worker and one cluster, and notices by itself when it meets a new plan: positions of round robin
//! then start anew at random ones, as Envoy's do, lest every rebuild favour the first hosts.

use std::sync::Arc;

use crate::cluster::balance::schedule::Schedule;

/// A worker's memory for one cluster. Empty ones cost no heap.
#[derive(Debug)]
pub struct Local {
    /// Every choice by chance comes from here.
    pub(crate) random: fastrand::Rng,
    /// Keeps the identity alive, so that no later plan can have the same address.
    plan: Option<Arc<()>>,
    turns: Vec<Turn>,
}

/// Whose turn it is in one pool of hosts.
#[derive(Debug)]
enum Turn {
    Unset,
    Cursor(u32),
    Schedule(Box<Schedule>),
}

impl Local {
    /// A memory whose random choices follow from `seed`; each worker needs a different one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), plan: None, turns: Vec::new() }
    }

    /// Forgets what belonged to another plan.
    pub(crate) fn enter(&mut self, plan: &Arc<()>) {
        if !self.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan)) {
            self.turns.clear();
            self.plan = Some(Arc::clone(plan));
        }
    }

    /// The next of `count` positions, which is not 0, in turn.
    pub(crate) fn next(&mut self, slot: u32, count: u32) -> u32 {
        let Self { random, turns, .. } = self;
        let Some(turn) = turn(turns, slot) else { return 0 };
        let position = match turn {
            Turn::Cursor(position) if *position < count => *position,
            _ => random.u32(..count.max(1)),
        };
        let next = position.saturating_add(1);
        *turn = Turn::Cursor(if next < count { next } else { 0 });
        position
    }

    /// The next position in turn by `weights`, which are positive.
    pub(crate) fn next_weighted(&mut self, slot: u32, weights: impl Iterator<Item = f64> + Clone) -> Option<u32> {
        let Self { random, turns, .. } = self;
        let turn = turn(turns, slot)?;
        if let Turn::Schedule(schedule) = turn {
            return schedule.turn();
        }
        let mut schedule = Box::new(Schedule::new(weights, random));
        let position = schedule.turn();
        *turn = Turn::Schedule(schedule);
        position
    }
}

/// The turn of a slot, which is always there.
fn turn(turns: &mut Vec<Turn>, slot: u32) -> Option<&mut Turn> {
    let slot = slot as usize;
    if turns.len() <= slot {
        turns.resize_with(slot + 1, || Turn::Unset);
    }
    turns.get_mut(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_plan_starts_at_a_random_position() {
        let mut local = Local::new(5);
        let mut starts = [0_u32; 4];
        for _ in 0..4000 {
            local.enter(&Arc::new(()));
            starts[local.next(0, 4) as usize] += 1;
        }
        assert!(starts.iter().all(|count| (850..1150).contains(count)), "{starts:?}");
    }

    #[test]
    fn the_same_plan_goes_on_where_it_was() {
        let (mut local, plan) = (Local::new(5), Arc::new(()));
        let order: Vec<u32> = (0..6)
            .map(|_| {
                local.enter(&plan);
                local.next(0, 3)
            })
            .collect();
        assert!(order.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 3), "{order:?}");
    }
}
