//! The generic cell rate algorithm (ITU-T I.371): a token bucket that remembers nothing but when it will be full again.
//!
//! That moment, the theoretical arrival time, is kept exactly, as whole nanoseconds and a fraction in units of 1/count: three in a second are
//! three in every second, and not three in 0.999999999 s. `State::until` has the nanoseconds, `State::value` the fraction.

use crate::meter::{Reading, State};
use crate::rate::{Amount, Rate};

/// What no moment is further away than, in nanoseconds: 10 years.
const FAR: u64 = 10 * 366 * 86_400 * 1_000_000_000;

/// Nanoseconds of a microsecond.
#[cfg(feature = "redis")]
const MICRO: u64 = 1_000;

/// Fractions up to this one can be added in doubles, which have 53 bits, without rounding.
#[cfg(feature = "redis")]
const MOST_EXACT: u64 = 1 << 52;

/// `count` in every `period`, of which `burst` may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// Without common factors, as `period`.
    count: u64,
    /// In nanoseconds.
    period: u64,
    burst: u64,
    /// In nanoseconds.
    queue: u64,
    debt: u64,
    /// What one costs.
    one: Time,
    /// What a whole burst costs.
    capacity: Time,
    /// What no state is beyond.
    ceiling: Time,
    /// [`FAR`], in the unit of this one.
    far: u64,
}

/// Nanoseconds, and a fraction in units of 1/count that is below one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Time {
    whole: u64,
    part: u64,
}

impl Gcra {
    /// A rate, and how many may come at once.
    #[must_use]
    pub fn new(rate: Rate, burst: Amount) -> Self {
        Self::of([rate.amount.get(), rate.per.nanoseconds(), burst.get(), 0, 0], FAR)
    }

    /// Those that come too early pass all the same, and are told to wait, as long as that is no more than `nanoseconds`.
    #[must_use]
    pub fn with_queue(self, nanoseconds: u64) -> Self {
        Self::of([self.count, self.period, self.burst, nanoseconds, self.debt], self.far)
    }

    /// How much beyond an empty bucket may be charged afterwards. What is more is forgotten.
    #[must_use]
    pub fn with_debt(self, debt: u64) -> Self {
        Self::of([self.count, self.period, self.burst, self.queue, debt], self.far)
    }

    /// The part of one of `peers` that share a limit evenly: in the long run so many times less, and of the burst as much, but at least one.
    #[must_use]
    pub fn divided(self, peers: u64) -> Self {
        let peers = peers.max(1);
        let (count, period) = (self.count.max(1), u128::from(self.period) * u128::from(peers));
        // As much of it as there is in the count first, so that the period stays within its bounds.
        let divisor = greatest_common_divisor(count, peers);
        let period = u64::try_from(period / u128::from(divisor)).unwrap_or(self.far);
        let (burst, debt) = (self.burst.div_ceil(peers), self.debt.div_ceil(peers));
        Self::of([count / divisor, period, burst, self.queue, debt], self.far)
    }

    /// The same limit in whole microseconds, for who counts in doubles; all times in and out of it are microseconds then. `None` where its numbers do not
    /// fit those.
    #[cfg(feature = "redis")]
    pub(crate) fn in_microseconds(&self) -> Option<Self> {
        let (count, period) = (u128::from(self.count) * u128::from(MICRO), u128::from(self.period));
        let divisor = greatest_common_divisor(self.period, u64::try_from(count % period).ok()?);
        let divisor = u128::from(divisor);
        let (count, period) = (u64::try_from(count / divisor).ok()?, u64::try_from(period / divisor).ok()?);
        let fits = count <= MOST_EXACT && self.queue.is_multiple_of(MICRO);
        fits.then(|| Self::of([count, period, self.burst, self.queue / MICRO, self.debt], FAR / MICRO))
    }

    /// Of a cost, what it takes, what there may be with it, and what there may ever be: each whole, and a fraction in units of 1/[`Gcra::count`].
    #[cfg(feature = "redis")]
    pub(crate) fn terms(&self, cost: u64) -> [[u64; 2]; 3] {
        let most = Time { whole: self.capacity.whole.saturating_add(self.queue), part: self.capacity.part };
        [self.time_of(cost), most, self.ceiling].map(|time| [time.whole, time.part])
    }

    /// Into how many parts a fraction is divided.
    #[cfg(feature = "redis")]
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    fn of([count, period, burst, queue, debt]: [u64; 5], far: u64) -> Self {
        let (count, period) = (count.max(1), period.clamp(1, far));
        let divisor = greatest_common_divisor(count, period);
        let (count, period) = (count / divisor, period / divisor);
        let zero = Time { whole: 0, part: 0 };
        let mut gcra = Self { count, period, burst, queue, debt, one: zero, capacity: zero, ceiling: zero, far };
        gcra.one = gcra.time_of(1);
        gcra.capacity = gcra.time_of(burst);
        let ceiling = gcra.time_of(burst.saturating_add(debt));
        gcra.ceiling = Time { whole: ceiling.whole.saturating_add(queue).min(far), part: ceiling.part };
        gcra
    }

    /// From what [`Gcra::parts`] gave. `None` where that makes no sense.
    #[must_use]
    pub fn from_parts([count, period, burst, queue, debt]: [u64; 5]) -> Option<Self> {
        let sensible = count > 0 && period > 0 && period <= FAR && burst > 0 && queue <= FAR;
        sensible.then(|| Self::of([count, period, burst, queue, debt], FAR))
    }

    /// Count, period in nanoseconds, burst, queue in nanoseconds, debt.
    #[must_use]
    pub const fn parts(&self) -> [u64; 5] {
        [self.count, self.period, self.burst, self.queue, self.debt]
    }

    /// How many may come at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// What a cost takes of time. Beyond what is [`FAR`] it is that.
    fn time_of(&self, cost: u64) -> Time {
        if let Some(product) = cost.checked_mul(self.period) {
            return Time { whole: product / self.count, part: product % self.count }.capped(self.far);
        }
        let (product, count) = (u128::from(cost) * u128::from(self.period), u128::from(self.count));
        match (u64::try_from(product / count), u64::try_from(product % count)) {
            (Ok(whole), Ok(part)) => Time { whole, part }.capped(self.far),
            _ => Time { whole: self.far, part: 0 },
        }
    }

    /// How far away the bucket's being full is.
    fn debt_of(&self, state: State, now: u64) -> Time {
        // A fraction of another rate's is none of ours.
        let part = if state.value < self.count { state.value } else { 0 };
        let away = match state.until.checked_sub(now) {
            Some(whole) => Time { whole, part },
            None => Time { whole: 0, part: 0 },
        };
        // No state that was made by this clock is further away: the clock has jumped, or the rate was another.
        away.min(self.ceiling)
    }

    fn plus(&self, one: Time, other: Time) -> Time {
        let part = one.part.saturating_add(other.part);
        let whole = one.whole.saturating_add(other.whole);
        match part.checked_sub(self.count) {
            Some(part) => Time { whole: whole.saturating_add(1), part },
            None => Time { whole, part },
        }
    }

    /// Nothing, where `less` is more.
    fn minus(&self, one: Time, less: Time) -> Time {
        if one <= less {
            return Time { whole: 0, part: 0 };
        }
        match one.part.checked_sub(less.part) {
            Some(part) => Time { whole: one.whole.saturating_sub(less.whole), part },
            None => Time {
                whole: one.whole.saturating_sub(less.whole).saturating_sub(1),
                part: one.part.saturating_add(self.count).saturating_sub(less.part),
            },
        }
    }

    /// How many whole ones a time is worth.
    fn worth(&self, time: Time) -> u64 {
        let narrow = time.whole.checked_mul(self.count).and_then(|product| product.checked_add(time.part));
        match narrow {
            Some(parts) => parts / self.period,
            None => {
                let parts = u128::from(time.whole) * u128::from(self.count) + u128::from(time.part);
                u64::try_from(parts / u128::from(self.period)).unwrap_or(u64::MAX)
            }
        }
    }

    pub(crate) fn take(&self, state: State, cost: u64, now: u64) -> (Reading, State) {
        let before = self.debt_of(state, now);
        let taken = if cost == 1 { self.one } else { self.time_of(cost) };
        let after = self.plus(before, taken);
        let most = Time { whole: self.capacity.whole.saturating_add(self.queue), part: self.capacity.part };
        let passes = after <= most || cost == 0;
        let left = if passes { after } else { before };
        let retry_after = if passes {
            0
        } else if taken > most {
            u64::MAX
        } else {
            self.minus(after, most).ceil()
        };
        let reading = Reading {
            passes,
            remaining: self.worth(self.minus(self.capacity, left)),
            retry_after,
            reset: left.ceil(),
            wait: if passes { self.minus(after, self.capacity).ceil() } else { 0 },
            lease: 0,
        };
        (reading, Self::state(after, now))
    }

    pub(crate) fn settle(&self, state: State, now: u64) -> Option<State> {
        let away = state.until.checked_sub(now)?;
        (away > self.ceiling.whole.saturating_add(1)).then(|| Self::state(self.ceiling, now))
    }

    pub(crate) fn charge(&self, state: State, cost: u64, now: u64) -> State {
        let after = self.plus(self.debt_of(state, now), self.time_of(cost));
        Self::state(after.min(self.ceiling), now)
    }

    pub(crate) fn give(&self, state: State, cost: u64, now: u64) -> State {
        Self::state(self.minus(self.debt_of(state, now), self.time_of(cost)), now)
    }

    fn state(debt: Time, now: u64) -> State {
        State { until: now.saturating_add(debt.whole), value: debt.part }
    }
}

impl Time {
    fn ceil(self) -> u64 {
        self.whole.saturating_add(u64::from(self.part > 0))
    }

    fn capped(self, far: u64) -> Self {
        if self.whole >= far { Self { whole: far, part: 0 } } else { self }
    }
}

const fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}
