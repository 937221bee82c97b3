//! Pressure, and when it leads to what.

use std::time::{Duration, Instant};

/// How much of something is used, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Pressure(f64);

impl Pressure {
    /// Nothing is used, or there is no limit.
    pub const NONE: Self = Self(0.0);
    /// Everything is used.
    pub const FULL: Self = Self(1.0);

    /// The nearest within 0 to 1; what is no number counts as 0.
    #[must_use]
    pub const fn new(pressure: f64) -> Self {
        if pressure.is_nan() { Self::NONE } else { Self(pressure.clamp(0.0, 1.0)) }
    }

    /// What part of `limit` is used. Without a limit there is no pressure.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sixteen digits are enough for a ratio")]
    pub fn of(used: u64, limit: Option<u64>) -> Self {
        match limit {
            None => Self::NONE,
            Some(0) => Self::FULL,
            Some(limit) => Self::new(used as f64 / limit as f64),
        }
    }

    /// From 0 to 1.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

/// How far an action is taken, from not at all to entirely, in 32 steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Level(u8);

impl Level {
    /// Not at all.
    pub const OFF: Self = Self(0);
    /// Entirely.
    pub const FULL: Self = Self(Self::STEPS);
    pub(super) const STEPS: u8 = 32;

    /// From 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::STEPS)
    }

    pub(super) const fn steps(self) -> u8 {
        self.0
    }

    /// At most [`Level::FULL`].
    pub(super) fn from_steps(steps: u8) -> Self {
        Self(steps.min(Self::STEPS))
    }
}

/// When pressure on one resource leads to an action.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trigger {
    shape: Shape,
    hold: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Threshold { on: Pressure, off: Pressure },
    Scaled { from: Pressure, to: Pressure, off: Pressure },
}

/// Why marks make no trigger.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum TriggerError {
    /// The lower mark is above the upper one.
    #[error("goes off below {off}, which is above {on}, where it goes on")]
    OffAboveOn {
        /// Lower mark.
        off: f64,
        /// Upper mark.
        on: f64,
    },
    /// The scale has no length.
    #[error("the scale from {from} to {to} does not go up")]
    Scale {
        /// Begin of the scale.
        from: f64,
        /// End of the scale.
        to: f64,
    },
}

impl Trigger {
    /// All or nothing: on from `on`, off after it was below `off` for `hold` (Envoy's `threshold`, which has no lower
    /// mark).
    ///
    /// # Errors
    /// [`TriggerError`] when `off` is above `on`.
    pub const fn threshold(on: Pressure, off: Pressure, hold: Duration) -> Result<Self, TriggerError> {
        if off.0 > on.0 {
            return Err(TriggerError::OffAboveOn { off: off.0, on: on.0 });
        }
        Ok(Self { shape: Shape::Threshold { on, off }, hold })
    }

    /// Little by little: begins above `from` and is full at `to`, rounded up to steps (Envoy's `scaled`, which has no
    /// lower mark). Once begun, at least one step stays until it was below `off` for `hold`; a higher one goes `hold`
    /// after it was last called for.
    ///
    /// # Errors
    /// [`TriggerError`] when `off` is above `from`, or the scale does not go up.
    pub const fn scaled(from: Pressure, to: Pressure, off: Pressure, hold: Duration) -> Result<Self, TriggerError> {
        if from.0 >= to.0 {
            return Err(TriggerError::Scale { from: from.0, to: to.0 });
        }
        if off.0 > from.0 {
            return Err(TriggerError::OffAboveOn { off: off.0, on: from.0 });
        }
        Ok(Self { shape: Shape::Scaled { from, to, off }, hold })
    }

    /// What pressure calls for, given what is in force.
    fn wanted(&self, pressure: Pressure, current: Level) -> Level {
        match self.shape {
            Shape::Threshold { on, .. } if pressure >= on => Level::FULL,
            Shape::Threshold { off, .. } if pressure >= off => current,
            Shape::Threshold { .. } => Level::OFF,
            Shape::Scaled { from, to, off } => {
                let share = (pressure.0 - from.0) / (to.0 - from.0);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 32")]
                let steps = (share.clamp(0.0, 1.0) * f64::from(Level::STEPS)).ceil() as u8;
                let stays = if pressure >= off { current.steps().min(1) } else { 0 };
                Level::from_steps(steps.max(stays))
            }
        }
    }
}

/// A trigger at work.
#[derive(Debug, Clone)]
pub(super) struct Tracker {
    trigger: Trigger,
    level: Level,
    /// When each step was last called for. A step is in force for the hold time from then: that, and not a level with
    /// the time of its last change, makes the level the highest that was called for in that time, exactly, at the cost
    /// of 32 numbers.
    called_for: [Option<Instant>; Level::STEPS as usize],
}

impl Tracker {
    pub(super) fn new(trigger: Trigger) -> Self {
        Self { trigger, level: Level::OFF, called_for: [None; Level::STEPS as usize] }
    }

    /// Takes a reading. Time that goes back counts as standing still.
    pub(super) fn update(&mut self, now: Instant, pressure: Pressure) -> Level {
        let wanted = self.trigger.wanted(pressure, self.level);
        let mut level = wanted;
        for (step, called_for) in (1..=Level::STEPS).map(Level).zip(&mut self.called_for) {
            if step <= wanted {
                *called_for = Some(now);
            }
            let held = |since| now.saturating_duration_since(since) < self.trigger.hold;
            if called_for.is_some_and(held) {
                level = level.max(step);
            }
        }
        self.level = level;
        level
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_secs(5);

    fn threshold() -> Trigger {
        Trigger::threshold(Pressure::new(0.98), Pressure::new(0.95), HOLD).unwrap()
    }

    fn scaled() -> Trigger {
        Trigger::scaled(Pressure::new(0.95), Pressure::FULL, Pressure::new(0.93), HOLD).unwrap()
    }

    /// Levels of a trigger that reads these pressures at these seconds.
    fn levels(trigger: Trigger, readings: &[(f64, f64)]) -> Vec<u8> {
        let (mut tracker, begin) = (Tracker::new(trigger), Instant::now());
        let read = |(second, pressure): &(f64, f64)| {
            tracker.update(begin + Duration::from_secs_f64(*second), Pressure::new(*pressure)).steps()
        };
        readings.iter().map(read).collect()
    }

    #[test]
    fn pressure_is_what_is_used_of_the_limit() {
        assert_eq!(Pressure::of(1, Some(2)), Pressure::new(0.5));
        assert_eq!(Pressure::of(5, Some(2)), Pressure::FULL);
        assert_eq!(Pressure::of(0, Some(0)), Pressure::FULL);
        assert_eq!(Pressure::of(5, None), Pressure::NONE);
        assert_eq!(Pressure::new(f64::NAN), Pressure::NONE);
        assert_eq!(Pressure::new(f64::INFINITY), Pressure::FULL);
    }

    #[test]
    fn marks_have_to_make_sense() {
        let p = Pressure::new;
        assert!(Trigger::threshold(p(0.9), p(0.95), HOLD).is_err());
        assert!(Trigger::threshold(p(0.9), p(0.9), HOLD).is_ok());
        assert!(Trigger::scaled(p(0.9), p(0.9), p(0.8), HOLD).is_err());
        assert!(Trigger::scaled(p(0.9), p(1.0), p(0.95), HOLD).is_err());
    }

    #[test]
    fn a_threshold_goes_on_at_once_and_off_after_the_hold_time() {
        let readings =
            [(0.0, 0.97), (1.0, 0.98), (2.0, 0.96), (9.0, 0.96), (10.0, 0.94), (13.9, 0.0), (14.1, 0.0), (15.0, 0.97)];
        assert_eq!(levels(threshold(), &readings), [0, 32, 32, 32, 32, 32, 0, 0]);
    }

    #[test]
    fn pressure_above_the_lower_mark_begins_the_hold_time_anew() {
        let readings = [(0.0, 1.0), (4.0, 0.9), (4.5, 0.96), (9.0, 0.9), (9.4, 0.9), (9.6, 0.9)];
        assert_eq!(levels(threshold(), &readings), [32, 32, 32, 32, 32, 0]);
    }

    #[test]
    fn a_scale_grows_with_pressure() {
        let readings = [(0.0, 0.95), (1.0, 0.95 + 0.05 / 64.0), (2.0, 0.975), (3.0, 1.0)];
        assert_eq!(levels(scaled(), &readings), [0, 1, 16, 32]);
    }

    #[test]
    fn a_scale_shrinks_to_what_was_called_for_in_the_hold_time() {
        let readings = [(0.0, 1.0), (1.0, 0.975), (2.0, 0.96), (4.9, 0.96), (5.1, 0.94), (6.1, 0.94), (10.2, 0.94)];
        assert_eq!(levels(scaled(), &readings), [32, 32, 32, 32, 16, 7, 1]);
    }

    #[test]
    fn the_last_step_of_a_scale_stays_until_pressure_is_below_the_lower_mark() {
        let readings = [(0.0, 0.951), (10.0, 0.94), (20.0, 0.935), (25.1, 0.92), (30.0, 0.94), (40.0, 0.94)];
        assert_eq!(levels(scaled(), &readings), [1, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn time_that_goes_back_does_no_harm() {
        assert_eq!(levels(threshold(), &[(5.0, 1.0), (1.0, 0.0), (4.0, 0.0)]), [32, 32, 32]);
    }

    fn any_trigger() -> impl Strategy<Value = Trigger> {
        let marks = prop::collection::vec(0.0..1.0_f64, 3);
        (marks, any::<bool>(), 0..8000_u64).prop_filter_map("a scale without length", |(mut marks, scaled, hold)| {
            marks.sort_by(f64::total_cmp);
            let [low, middle, high] = [Pressure::new(marks[0]), Pressure::new(marks[1]), Pressure::new(marks[2])];
            let hold = Duration::from_millis(hold);
            if scaled { Trigger::scaled(middle, high, low, hold) } else { Trigger::threshold(high, low, hold) }.ok()
        })
    }

    /// Milliseconds since the last reading, and pressure.
    fn any_readings() -> impl Strategy<Value = Vec<(u64, f64)>> {
        prop::collection::vec((0..3000_u64, 0.0..=1.0_f64), 0..80)
    }

    fn marks(trigger: &Trigger) -> (f64, f64) {
        match trigger.shape {
            Shape::Threshold { on, off } => (on.0, off.0),
            Shape::Scaled { from, off, .. } => (from.0, off.0),
        }
    }

    proptest! {
        #[test]
        fn within_the_band_nothing_goes_on_or_off(
            trigger in any_trigger(), readings in any_readings(), on in any::<bool>(),
        ) {
            let (high, low) = marks(&trigger);
            let (mut tracker, mut now) = (Tracker::new(trigger), Instant::now());
            if on {
                tracker.update(now, Pressure::FULL);
            }
            for (after, within) in readings {
                now += Duration::from_millis(after);
                let pressure = low + (high - low) * within * 0.999_999;
                let level = tracker.update(now, Pressure::new(pressure));
                if pressure < high {
                    prop_assert_eq!(level > Level::OFF, on);
                }
            }
        }

        #[test]
        fn more_pressure_never_leads_to_less_action(
            trigger in any_trigger(), readings in any_readings(), more in prop::collection::vec(0.0..1.0_f64, 80),
        ) {
            let (mut less_pressed, mut more_pressed) = (Tracker::new(trigger), Tracker::new(trigger));
            let mut now = Instant::now();
            for ((after, pressure), more) in readings.into_iter().zip(more) {
                now += Duration::from_millis(after);
                let less = less_pressed.update(now, Pressure::new(pressure));
                let more = more_pressed.update(now, Pressure::new(pressure + (1.0 - pressure) * more));
                prop_assert!(less <= more);
            }
        }

        #[test]
        fn a_level_never_sinks_within_the_hold_time(trigger in any_trigger(), readings in any_readings()) {
            let (_, low) = marks(&trigger);
            let (mut tracker, mut now) = (Tracker::new(trigger), Instant::now());
            let (mut level, mut rose, mut pressed) = (Level::OFF, now, now);
            for (after, pressure) in readings {
                now += Duration::from_millis(after);
                if pressure >= low {
                    pressed = now;
                }
                let next = tracker.update(now, Pressure::new(pressure));
                if next < level {
                    prop_assert!(now - rose >= trigger.hold);
                }
                if next == Level::OFF && level > Level::OFF {
                    prop_assert!(pressure < low && now - pressed >= trigger.hold);
                }
                if next > level {
                    rose = now;
                }
                level = next;
            }
        }

        #[test]
        fn full_pressure_is_answered_at_once(trigger in any_trigger(), readings in any_readings()) {
            let (mut tracker, mut now) = (Tracker::new(trigger), Instant::now());
            for (after, pressure) in readings {
                now += Duration::from_millis(after);
                tracker.update(now, Pressure::new(pressure));
            }
            prop_assert_eq!(tracker.update(now, Pressure::FULL), Level::FULL);
        }
    }
}
