//! One exemplar per bucket: the last traced observation that fell into it.
//!
//! # What this is
//! [`Exemplars`] belongs to a cell (of a histogram, or with one slot of a counter) as its counts do: the worker that owns the
//! cell writes, a scrape reads, and neither waits for the other. A write is one compare-and-swap on a cache line of the
//! worker's own, five relaxed stores and one release; it allocates nothing but the very first time. An observation that is not
//! traced, which is nearly every one, does not come here at all. Until the first exemplar a store is 32 bytes and
//! reads as empty.
//!
//! # How
//! Each slot is a sequence lock over atomic words: a number that is odd while the words are being written. A reader
//! takes the words for true if the number was even before and the same after. The fences are those of Boehm, "Can seqlocks
//! get along with programming language memory models?" (MSPC 2012), section 4; all words are atomics, so that a reader that
//! comes at the wrong time reads old or mixed words, finds that out, and nothing is undefined.
//!
//! # Invariants
//! * What is read was written, as a whole, by one write. A reader that never finds a slot at rest reads nothing.
//! * A writer never waits: if another one is at the slot (cells that workers share: those of filters' metrics), its
//!   exemplar is left out. Which of two traced observations is shown does not matter.
//! * Nothing here counts. An exemplar that is lost is no observation that is lost.

use std::{
    hint,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use super::reading::UnixTime;

/// How often a reader looks again at a slot that is being written. A write takes nanoseconds, unless its thread was
/// interrupted in the middle of it: then not even a scrape should wait.
const LOOKS: u32 = 16;

/// A traced observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace. All zeros is the id of nothing (W3C Trace Context, 3.2.2.3): such an exemplar is not kept.
    pub trace: [u8; 16],
    /// The span in which it was observed.
    pub span: [u8; 8],
    /// What was observed, in the unit of observation (nanoseconds for durations), as the cell has it.
    pub value: u64,
    /// When.
    pub time: UnixTime,
}

/// What became of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is shown until another comes.
    Kept,
    /// There is no such slot, it has no trace, or somebody else was writing the slot.
    LeftOut,
}

/// A slot for each bucket.
#[derive(Debug)]
pub struct Exemplars {
    slots: OnceLock<Box<[Slot]>>,
    count: u16,
}

impl Exemplars {
    /// An empty store for so many buckets. Allocates nothing.
    #[must_use]
    pub const fn new(count: u16) -> Self {
        Self { slots: OnceLock::new(), count }
    }

    /// Puts an exemplar in the place of the one that the bucket has. Never waits; allocates the slots when it is first called
    /// (48 bytes for each bucket).
    pub fn record(&self, bucket: usize, exemplar: &Exemplar) -> Recorded {
        if bucket >= usize::from(self.count) || exemplar.trace == [0; 16] {
            return Recorded::LeftOut;
        }
        let slots = self.slots.get_or_init(|| (0..self.count).map(|_| Slot::default()).collect());
        slots.get(bucket).map_or(Recorded::LeftOut, |slot| slot.write(&pack(exemplar)))
    }

    /// Whether there never was an exemplar.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.get().is_none()
    }

    /// The exemplar of a bucket, if it has one that can be read now.
    #[must_use]
    pub fn read(&self, bucket: usize) -> Option<Exemplar> {
        self.slots.get()?.get(bucket)?.read().map(unpack)
    }

    /// All exemplars with their buckets.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Exemplar)> {
        let slots = self.slots.get().into_iter().flat_map(|slots| slots.iter().enumerate());
        slots.filter_map(|(bucket, slot)| Some((bucket, unpack(slot.read()?))))
    }

    /// Takes over the exemplars of another store that are later than its own: when a handle is dropped, and when a scrape
    /// adds the cells of a series up.
    pub fn absorb(&self, other: &Self) {
        for (bucket, exemplar) in other.iter() {
            if self.read(bucket).is_none_or(|own| own.time <= exemplar.time) {
                // Left out only if somebody records here as well, whose exemplar is as good.
                let _ = self.record(bucket, &exemplar);
            }
        }
    }
}

/// Trace (two words), span, value, time.
const WORDS: usize = 5;

#[derive(Debug, Default)]
struct Slot {
    /// Odd while a write is under way; zero before the first.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Slot {
    fn write(&self, words: &[u64; WORDS]) -> Recorded {
        let sequence = self.sequence.load(Ordering::Relaxed);
        if !sequence.is_multiple_of(2) {
            return Recorded::LeftOut;
        }
        let odd = sequence.wrapping_add(1);
        // Acquire: what the last writer wrote is older than what this one writes, in every word.
        if self.sequence.compare_exchange(sequence, odd, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Recorded::LeftOut;
        }
        // Whoever reads one of the words below also reads that the number is odd, or what comes after it.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
        self.sequence.store(odd.wrapping_add(1), Ordering::Release);
        Recorded::Kept
    }

    fn read(&self) -> Option<[u64; WORDS]> {
        for _ in 0..LOOKS {
            let before = self.sequence.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            if before.is_multiple_of(2) {
                let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    return Some(words);
                }
            }
            hint::spin_loop();
        }
        None
    }
}

fn pack(exemplar: &Exemplar) -> [u64; WORDS] {
    let trace = u128::from_be_bytes(exemplar.trace);
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    let lower = trace as u64;
    let upper = (trace >> 64) as u64;
    [upper, lower, u64::from_be_bytes(exemplar.span), exemplar.value, exemplar.time.0]
}

fn unpack([upper, lower, span, value, time]: [u64; WORDS]) -> Exemplar {
    let trace = (u128::from(upper) << 64) | u128::from(lower);
    Exemplar { trace: trace.to_be_bytes(), span: span.to_be_bytes(), value, time: UnixTime(time) }
}

#[cfg(test)]
mod tests;
