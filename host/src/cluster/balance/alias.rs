//! Weighted choice in constant time: Walker's alias method, tables built after Vose.
//!
//! Every slot is as likely as any other and belongs to one position up to a threshold and to another one above it, so
//! that a draw costs one random number and one look-up however many weights there are.

/// A table to draw positions from.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Below it the slot's own position is drawn.
    threshold: u32,
    /// At and above it this one is.
    alias: u32,
}

/// 2^32, the number of values of a threshold.
const FULL: f64 = 4_294_967_296.0;

impl Alias {
    /// A table for positive `weights`; their number fits into 32 bits.
    pub fn new(weights: &[f64]) -> Self {
        let sum: f64 = weights.iter().sum();
        let count = as_real(weights.len());
        let mut left: Vec<f64> = weights.iter().map(|weight| weight * count / sum).collect();
        let mut slots: Vec<Slot> =
            (0..as_position(weights.len())).map(|own| Slot { threshold: u32::MAX, alias: own }).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..left.len()).partition(|position| left.get(*position).is_some_and(|share| *share < 1.0));
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            let share = left.get(poor).copied().unwrap_or(1.0);
            if let Some(slot) = slots.get_mut(poor) {
                *slot = Slot { threshold: as_threshold(share), alias: as_position(rich) };
            }
            let rest = left.get(rich).copied().unwrap_or(1.0) - (1.0 - share);
            if let Some(place) = left.get_mut(rich) {
                *place = rest;
            }
            if rest < 1.0 { small.push(rich) } else { large.push(rich) }
        }
        // What is left on either side is 1 save for rounding, and its slot is its own already.
        Self { slots: slots.into() }
    }

    /// A position, each in proportion to its weight.
    pub fn draw(&self, random: &mut fastrand::Rng) -> u32 {
        let number = random.u64(..);
        let own = ((number >> 32) * u64::from(as_position(self.slots.len()))) >> 32;
        let own = u32::try_from(own).unwrap_or(0);
        match self.slots.get(own as usize) {
            Some(slot) if (number & 0xffff_ffff) >= u64::from(slot.threshold) => slot.alias,
            _ => own,
        }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        std::mem::size_of_val(&*self.slots)
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of hosts are far below 2^52")]
fn as_real(count: usize) -> f64 {
    count as f64
}

fn as_position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is between 0 and 1, and the cast saturates"
)]
fn as_threshold(share: f64) -> u32 {
    (share * FULL) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The exact probability of each position.
    fn probabilities(table: &Alias) -> Vec<f64> {
        let mut sum = vec![0.0; table.slots.len()];
        for (own, slot) in table.slots.iter().enumerate() {
            let share = if slot.alias as usize == own { 1.0 } else { f64::from(slot.threshold) / FULL };
            sum[own] += share;
            sum[slot.alias as usize] += 1.0 - share;
        }
        sum.iter().map(|share| share / as_real(table.slots.len())).collect()
    }

    proptest! {
        #[test]
        fn every_position_has_the_probability_of_its_weight(weights in prop::collection::vec(1..u32::MAX, 1..200)) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let sum: f64 = weights.iter().sum();
            for (weight, probability) in weights.iter().zip(probabilities(&Alias::new(&weights))) {
                prop_assert!((weight / sum - probability).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let table = Alias::new(&[1.0, 2.0, 7.0]);
        let mut random = fastrand::Rng::with_seed(1);
        let mut hits = [0_u32; 3];
        for _ in 0..100_000 {
            hits[table.draw(&mut random) as usize] += 1;
        }
        for (count, expected) in hits.iter().zip([10_000, 20_000, 70_000]) {
            assert!(count.abs_diff(expected) < 600, "{hits:?}");
        }
    }
}
