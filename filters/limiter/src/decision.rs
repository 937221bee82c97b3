//! What an outcome comes to: one answer, and the meter that has the say.

use crate::meter::{Meter, Reading};
use crate::store::{Charge, Outcome};

/// What an outcome comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether all passed.
    pub admitted: bool,
    /// How long to wait before going on, in nanoseconds: that of the slowest.
    pub wait: u64,
    /// Until it is worth trying again, in nanoseconds: that of the slowest. Zero where it was admitted, `u64::MAX` where it never is.
    pub retry_after: u64,
    /// The meter that has the say; `None` where there is none.
    pub governing: Option<Governing>,
}

/// A meter that has the say: the one that refuses for longest, else the one with the smallest part left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Governing {
    /// Which charge it is of.
    pub charge: usize,
    /// The meter.
    pub meter: Meter,
    /// What it reads.
    pub reading: Reading,
}

impl Decision {
    /// Of charges and what came of them.
    #[must_use]
    pub fn of(charges: &[Charge<'_>], outcome: &Outcome) -> Self {
        let mut decision = Self { admitted: outcome.admitted, wait: 0, retry_after: 0, governing: None };
        let meters = charges.iter().enumerate().flat_map(|(at, charge)| charge.meters.iter().map(move |one| (at, one)));
        for ((charge, meter), reading) in meters.zip(&outcome.readings) {
            decision.wait = decision.wait.max(reading.wait);
            if !reading.passes {
                decision.retry_after = decision.retry_after.max(reading.retry_after);
            }
            let candidate = Governing { charge, meter: *meter, reading: *reading };
            if decision.governing.is_none_or(|governing| candidate.is_tighter(&governing)) {
                decision.governing = Some(candidate);
            }
        }
        decision
    }
}

impl Governing {
    fn is_tighter(&self, other: &Self) -> bool {
        if self.reading.passes != other.reading.passes {
            return !self.reading.passes;
        }
        if !self.reading.passes {
            return self.reading.retry_after > other.reading.retry_after;
        }
        // Parts of a whole, without dividing.
        let part = |one: &Self, whole: &Self| u128::from(one.reading.remaining) * u128::from(whole.meter.limit());
        part(self, other) < part(other, self)
    }

    /// How much of the limit is used up, from 0 to 1.
    #[must_use]
    pub fn used(&self) -> f64 {
        let limit = self.meter.limit().max(1);
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let left = self.reading.remaining as f64 / limit as f64;
        (1.0 - left).clamp(0.0, 1.0)
    }

    /// The time in which the whole limit comes back, in whole seconds, at least one. Zero of leases, which come back when they do.
    #[must_use]
    pub fn window_seconds(&self) -> u64 {
        match &self.meter {
            Meter::Gcra(gcra) => {
                let [count, period, burst, ..] = gcra.parts();
                let whole = u128::from(burst) * u128::from(period) / u128::from(count.max(1));
                u64::try_from(whole.div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1)
            }
            Meter::Window(window) => (window.period / 1_000_000_000).max(1),
            Meter::Leases(_) => 0,
        }
    }
}
