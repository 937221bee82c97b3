//! Fuzz targets: the decoder, the readers of documents, and the state machine of exchanges and pins.
//!
//! Each runs for `FYKE_FUZZ_SECONDS`; where nothing is said, for a fraction of a second, so that it never rots:
//! `FYKE_FUZZ_SECONDS=600 cargo test --release -p fyke-filter-mongo fuzz`. Whatever fails names the number that it began with, and
//! `FYKE_FUZZ_SEED` has it begin there.

mod corpus;
mod decoder;
mod documents;
mod histories;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const AT_LEAST: Duration = Duration::from_millis(300);

/// Numbers that look random, and are the same for the same seed (xorshift64*).
pub struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// One below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound.max(1)
    }

    fn is_one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Says which case failed.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("FYKE_FUZZ_SEED={}", self.0);
        }
    }
}

/// Runs one case after the other until the time is over.
fn run(mut case: impl FnMut(&mut Random)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = number("FYKE_FUZZ_SECONDS").map_or(AT_LEAST, Duration::from_secs);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let first = number("FYKE_FUZZ_SEED").unwrap_or(u64::try_from(now).unwrap());
    let began = Instant::now();
    let mut seed = first;
    while seed == first || began.elapsed() < time {
        let guard = Case(seed);
        case(&mut Random::new(seed));
        drop(guard);
        seed += 1;
    }
    eprintln!("{} cases from FYKE_FUZZ_SEED={first} on", seed - first);
}
