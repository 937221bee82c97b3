//! Whose turn it is, by earliest deadline: smooth weighted round robin as Envoy's `EdfScheduler` does it, O(log n) for
//! a turn.
//!
//! Time is counted in turns. A position of weight `w` among a sum of `W` is due every `W / w` turns, so in any stretch
//! of turns each gets its share, within a turn or two, and heavy positions lie between light ones.
//!
//! The beginning is random: one position, drawn by weight, is due at once, the others at a random point of their first
//! interval. That is what one sees who comes to a schedule that has always run, at any of its turns, and so every turn
//! after a rebuild falls to each in proportion to its weight. Plans may be rebuilt at every request and weights still
//! hold.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

/// Turns of weighted positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedule {
    due: BinaryHeap<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: f64,
    interval: f64,
    position: u32,
}

impl Schedule {
    /// A schedule of positive weights, numbered from 0.
    pub fn new(weights: impl Iterator<Item = f64> + Clone, random: &mut fastrand::Rng) -> Self {
        let sum: f64 = weights.clone().sum();
        let mut point = random.f64() * sum;
        let mut first = true;
        let due = (0_u32..)
            .zip(weights)
            .map(|(position, weight)| {
                let interval = sum / weight;
                let phase = random.f64();
                let hit = first && point < weight;
                point -= weight;
                first &= !hit;
                Entry { deadline: if hit { 0.0 } else { phase * interval }, interval, position }
            })
            .collect();
        Self { due }
    }

    /// The position whose turn it is; `None` without any.
    pub fn turn(&mut self) -> Option<u32> {
        let mut next = self.due.peek_mut()?;
        next.deadline += next.interval;
        let position = next.position;
        // Puts the entry where its new deadline belongs.
        drop::<PeekMut<'_, Entry>>(next);
        Some(position)
    }
}

impl Ord for Entry {
    /// Reversed, for the heap has its greatest entry on top.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then_with(|| other.position.cmp(&self.position))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_stretch_of_turns_holds_each_share(
            weights in prop::collection::vec(1_u32..1000, 1..40), seed in any::<u64>(), skip in 0_usize..500,
        ) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let sum: f64 = weights.iter().sum();
            let mut schedule = Schedule::new(weights.iter().copied(), &mut fastrand::Rng::with_seed(seed));
            for _ in 0..skip {
                schedule.turn();
            }
            let mut hits = vec![0.0; weights.len()];
            for turns in 1..1000_u32 {
                hits[schedule.turn().unwrap() as usize] += 1.0;
                for (count, weight) in hits.iter().zip(&weights) {
                    // A position is due once an interval, and the clock of turns is off by at most the number of
                    // positions' phases.
                    let share = f64::from(turns) * weight / sum;
                    let slack = 2.0 + f64::from(u32::try_from(weights.len()).unwrap()) * weight / sum;
                    prop_assert!((count - share).abs() <= slack, "{count} of {share}");
                }
            }
        }
    }

    #[test]
    fn heavy_positions_lie_between_light_ones() {
        let mut schedule = Schedule::new([5.0, 1.0, 1.0].into_iter(), &mut fastrand::Rng::with_seed(3));
        let order: Vec<u32> = (0..70).filter_map(|_| schedule.turn()).collect();
        assert!(order.windows(8).all(|window| window.iter().any(|position| *position != 0)), "{order:?}");
        assert_eq!(order.iter().filter(|position| **position == 0).count(), 50);
    }

    #[test]
    fn nobody_has_no_turn() {
        assert_eq!(Schedule::default().turn(), None);
    }
}
