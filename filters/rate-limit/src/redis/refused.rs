//! Keys that are known to be over a limit, and until when: what comes for them meanwhile is refused without a round trip.
//!
//! Only rates and quotas say when they will let somebody in again; of those at the same time nobody knows. Within that time nothing changes the answer for as large a cost, unless
//! somebody gives back what they have taken, which is rare, or deletes the key by hand. Then this worker is late by that, and by no more than a moment ([`LONGEST`]).

use std::collections::HashMap;

use fyke_limiter::{Meter, Reading};

/// How long a worker believes that without asking again, in nanoseconds.
const LONGEST: u64 = 5_000_000_000;

/// Keys that a worker remembers.
const MOST: usize = 4096;

/// Of those, one in so many is forgotten at a time when there is no room, first those that are over soonest.
const SHARE: usize = 16;

/// What is known to be refused.
#[derive(Debug, Default)]
pub struct Refused {
    known: HashMap<Box<[u8]>, Known>,
}

/// Moments are on the monotonic clock, in nanoseconds.
#[derive(Debug)]
struct Known {
    since: u64,
    until: u64,
    /// What costs less may fit.
    cost: u64,
    readings: Box<[Reading]>,
}

impl Refused {
    /// What the meters of a key read, where they refuse such a cost now.
    #[must_use]
    pub fn find(&self, name: &[u8], cost: u64, now: u64) -> Option<Vec<Reading>> {
        let known = self.known.get(name).filter(|known| known.until > now && cost >= known.cost)?;
        let passed = now.saturating_sub(known.since);
        let later = |time: u64| if time == u64::MAX { time } else { time.saturating_sub(passed) };
        let reading = |reading: &Reading| Reading {
            retry_after: later(reading.retry_after),
            reset: later(reading.reset),
            ..*reading
        };
        Some(known.readings.iter().map(reading).collect())
    }

    /// Remembers that meters refuse a cost; `since` is a moment before they were asked.
    pub fn add(&mut self, name: &[u8], cost: u64, meters: &[Meter], readings: Vec<Reading>, since: u64) {
        let refusing = meters.iter().zip(&readings).filter(|(_, reading)| !reading.passes);
        let timed =
            refusing.filter(|(meter, reading)| !matches!(meter, Meter::Leases(_)) && reading.retry_after != u64::MAX);
        let Some(longest) = timed.map(|(_, reading)| reading.retry_after).max() else { return };
        if self.known.len() >= MOST && !self.known.contains_key(name) {
            self.make_room(since);
        }
        let until = since.saturating_add(longest.min(LONGEST));
        self.known.insert(name.into(), Known { since, until, cost, readings: readings.into() });
    }

    fn make_room(&mut self, now: u64) {
        self.known.retain(|_, known| known.until > now);
        let mut ends: Vec<u64> = self.known.values().map(|known| known.until).collect();
        if ends.len() >= MOST
            && let Some(at) = (MOST / SHARE).checked_sub(1)
        {
            let limit = *ends.select_nth_unstable(at).1;
            self.known.retain(|_, known| known.until > limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use fyke_limiter::{Amount, Gcra, Leases, Rate};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn reading(passes: bool, retry_after: u64) -> Reading {
        Reading { passes, retry_after, reset: 10 * SECOND, ..Reading::default() }
    }

    fn meters() -> [Meter; 2] {
        let rate = Gcra::new(Rate::parse("1/s").unwrap(), Amount::new(1).unwrap());
        [Meter::Gcra(rate), Meter::Leases(Leases { limit: 1, expiry: SECOND })]
    }

    #[test]
    fn it_is_known_until_it_is_over_and_for_no_less_than_it_was_refused_for() {
        let mut refused = Refused::default();
        refused.add(b"k", 2, &meters(), vec![reading(false, 3 * SECOND), reading(true, 0)], 100);
        let found = refused.find(b"k", 2, 100 + SECOND).unwrap();
        assert_eq!((found[0].retry_after, found[0].reset), (2 * SECOND, 9 * SECOND));
        assert!(refused.find(b"k", 5, 100 + SECOND).is_some());
        for (name, cost, now) in [(&b"k"[..], 1, 100), (b"other", 2, 100), (b"k", 2, 100 + 3 * SECOND)] {
            assert_eq!(refused.find(name, cost, now), None);
        }
    }

    #[test]
    fn it_is_asked_again_after_a_moment_however_long_it_is_to_last() {
        let mut refused = Refused::default();
        refused.add(b"k", 1, &meters(), vec![reading(false, 86_400 * SECOND), reading(true, 0)], 7);
        let found = refused.find(b"k", 1, LONGEST + 6).unwrap();
        assert_eq!(found[0].retry_after, 86_400 * SECOND - (LONGEST - 1));
        assert_eq!(refused.find(b"k", 1, LONGEST + 7), None);
    }

    #[test]
    fn what_may_fit_at_any_moment_or_never_is_not_remembered() {
        let mut refused = Refused::default();
        refused.add(b"busy", 1, &meters(), vec![reading(true, 0), reading(false, SECOND)], 0);
        refused.add(b"huge", 9, &meters(), vec![reading(false, u64::MAX), reading(true, 0)], 0);
        assert_eq!((refused.find(b"busy", 1, 0), refused.find(b"huge", 9, 0)), (None, None));
    }

    #[test]
    fn its_memory_is_bounded_and_keeps_what_lasts_longest() {
        let mut refused = Refused::default();
        for at in 0..3 * MOST {
            let time = SECOND + at as u64;
            refused.add(format!("k{at}").as_bytes(), 1, &meters(), vec![reading(false, time), reading(true, 0)], 0);
            assert!(refused.known.len() <= MOST);
        }
        assert!(refused.find(format!("k{}", 3 * MOST - 1).as_bytes(), 1, 0).is_some());
        assert!(refused.find(b"k0", 1, 0).is_none());
        refused.make_room(u64::MAX);
        assert!(refused.known.is_empty());
    }
}
