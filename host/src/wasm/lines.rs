//! How many lines a filter may write into the proxy's log.
//!
//! A guest can log in a loop, and what it asks for in vain is logged too. The log is for people: [`MOST_LINES`] a second of one VM
//! on one worker are enough, the rest is counted and said in one line.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Lines in [`WINDOW`].
const MOST_LINES: u32 = 1_000;
const WINDOW: Duration = Duration::from_secs(1);

/// The lines of one VM.
#[derive(Debug, Default)]
pub struct Lines {
    began: Cell<Option<Instant>>,
    written: Cell<u32>,
    suppressed: Cell<u64>,
}

impl Lines {
    /// Whether one more line may be written. `filter` is told of with what was suppressed before.
    #[must_use]
    pub fn admit(&self, filter: &str) -> bool {
        let now = Instant::now();
        if self.is_over(now) {
            self.began.set(Some(now));
            self.written.set(0);
            self.tell(filter);
        }
        let room = self.written.get() < MOST_LINES;
        if room {
            self.written.set(self.written.get() + 1);
        } else {
            self.suppressed.set(self.suppressed.get() + 1);
        }
        room
    }

    /// Says how many lines were suppressed, once their second is over; to be called now and then.
    pub fn report(&self, filter: &str) {
        if self.suppressed.get() > 0 && self.is_over(Instant::now()) {
            self.tell(filter);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.began.get().is_none_or(|began| now.duration_since(began) >= WINDOW)
    }

    fn tell(&self, filter: &str) {
        let suppressed = self.suppressed.take();
        if suppressed > 0 {
            tracing::warn!(
                target: "fyke::filter",
                filter,
                suppressed,
                "the filter logs more than {MOST_LINES} lines a second; suppressed {suppressed} lines"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_the_next_second_is_a_new_one() {
        let lines = Lines::default();
        let admitted = (0..3 * MOST_LINES).filter(|_| lines.admit("f")).count();
        assert_eq!((admitted, lines.suppressed.get()), (MOST_LINES as usize, u64::from(2 * MOST_LINES)));
        lines.report("f");
        assert_ne!(lines.suppressed.get(), 0, "the second is not over");
        lines.began.set(lines.began.get().and_then(|began| began.checked_sub(WINDOW)));
        lines.report("f");
        assert_eq!(lines.suppressed.get(), 0);
        assert!(lines.admit("f"));
    }
}
