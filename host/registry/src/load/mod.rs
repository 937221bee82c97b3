//! From reported loads to weights, without swinging.
//!
//! A host's load follows its weight, so this is a control loop, and a loop swings when it answers too strongly. What keeps this one calm:
//!
//! * **The curve.** `weight = base * 10^-utilisation`: 100 when idle, 32 at half, 10 when full. Its relative slope, `ln 10 * utilisation`, is
//!   never above 2.31, whatever the load is. (A straight line to zero has no such bound: its slope is `u / (1 - u)`, and hosts that are nearly full
//!   swing.)
//! * **The average.** Utilisation is an exponentially weighted average, of which each heartbeat is 30%. The loop's factor from one heartbeat to
//!   the next is then `1 - 0.3 * (1 + slope)`, between 0.7 and 0.007: it goes to its rest from one side.
//! * **The step.** A weight moves by a tenth of its base with each heartbeat at most.
//! * **The dead band.** A weight stays while it is within 3% of base of where it should be, so that a quiet fleet changes nothing and nobody's
//!   long poll wakes.
//! * **The minimum.** The curve ends at a tenth of base: a full host still shows when it has recovered.
//!
//! Weights are read some time after they were made, and loads follow later still. A loop that answers late swings sooner; with the average it takes more
//! than two heartbeats of delay at the steepest end of the curve until this one does (`simulation`).
//!
//! Heartbeats that come within a second of the last one that counted are not counted: who reports faster does not steer faster.

#[cfg(test)]
mod simulation;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Problem, shown},
    host::{Fields, Weight, typed},
};

/// How busy a host is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Load {
    /// Share of its processors in use, 0 to 1.
    pub cpu: f64,
    /// Share of its memory in use, 0 to 1.
    pub memory: f64,
}

impl Load {
    /// Each clamped into 0 to 1; what is no number counts as 0.
    #[must_use]
    pub fn new(cpu: f64, memory: f64) -> Self {
        let share = |value: f64| if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
        Self { cpu: share(cpu), memory: share(memory) }
    }

    pub(crate) fn read(fields: &Fields) -> Result<Self, Problem> {
        let share = |name| typed(fields, name, share).map(Option::unwrap_or_default);
        Ok(Self { cpu: share("cpu")?, memory: share("memory")? })
    }

    /// The part of the host that is used up. Memory counts from 80% on: below that it says what the host holds, not what it does.
    fn utilisation(self) -> f64 {
        self.cpu.max((self.memory - 0.8) / 0.2).clamp(0.0, 1.0)
    }
}

fn share(value: &Value) -> Result<f64, String> {
    let read = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    read.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| format!("must be 0 to 1, not {}", shown(value)))
}

/// What has come of a host's reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LoadState {
    utilisation: f64,
    weight: Weight,
    /// The report that counted last.
    at: SystemTime,
}

/// How much of the average the newest report is.
const NEWEST: f64 = 0.3;
/// Furthest move of a weight, as a share of its base.
const STEP: f64 = 0.1;
/// Distance from where a weight should be at which it stays, as a share of its base; never under a half, which is rounding.
const DEAD_BAND: f64 = 0.03;
/// Reports nearer than this are one.
const APART: Duration = Duration::from_secs(1);

impl LoadState {
    /// What a report makes of what there was. `base` is the weight of the host when it is idle.
    pub(crate) fn next(before: Option<Self>, load: Load, base: Weight, now: SystemTime) -> Self {
        let utilisation = load.utilisation();
        // The first report is no average, and moves the weight by a step, too.
        let before = before.unwrap_or(Self { utilisation, weight: base, at: UNIX_EPOCH });
        if now.duration_since(before.at).is_ok_and(|since| since < APART) {
            return before;
        }
        let utilisation = before.utilisation + NEWEST * (utilisation - before.utilisation);
        let (base, weight) = (f64::from(base.number()), f64::from(before.weight.number()));
        let target = (base * 10_f64.powf(-utilisation)).max(1.0);
        let away = target - weight;
        let step = (base * STEP).max(1.0);
        let weight = if away.abs() <= (base * DEAD_BAND).max(0.6) {
            before.weight
        } else {
            Weight::nearest(weight + away.clamp(-step, step))
        };
        Self { utilisation, weight, at: now }
    }

    pub(crate) fn weight(self) -> Weight {
        self.weight
    }

    /// For stores.
    pub(crate) fn write(self) -> Written {
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Written { utilisation: self.utilisation, weight: self.weight.number(), at: crate::millis(at) }
    }
}

/// A state as stores keep it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Written {
    utilisation: f64,
    weight: u8,
    /// Milliseconds since 1970.
    at: u64,
}

impl Written {
    /// `None` where somebody else has written nonsense.
    pub(crate) fn read(self) -> Option<LoadState> {
        let utilisation = Some(self.utilisation).filter(|share| (0.0..=1.0).contains(share))?;
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(self.at))?;
        Some(LoadState { utilisation, weight: Weight::new(self.weight)?, at })
    }
}
