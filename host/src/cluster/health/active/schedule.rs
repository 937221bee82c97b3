//! When a host is asked next. Pure.
//!
//! Envoy's rules: an interval of its own for hosts that are unhealthy, for hosts that are about to change, and for
//! clusters that have had no traffic; jitter on top. Never less than a millisecond, whatever the settings say: a
//! check that fails at once must not spin.

use std::time::Duration;

use fastrand::Rng;

use super::{Operation, Settings, Transition, Verdict};

/// Whether the cluster has had traffic. Envoy asks whether it *ever* had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// It is not used: hosts are asked rarely.
    Idle,
    /// It is used.
    Busy,
}

/// The intervals of some settings.
#[derive(Debug, Clone, Copy)]
pub struct Schedule<'settings> {
    settings: &'settings Settings,
}

impl<'settings> Schedule<'settings> {
    /// The intervals of `settings`.
    #[must_use]
    pub fn new(settings: &'settings Settings) -> Self {
        Self { settings }
    }

    /// How long the first check is put off: nothing, or up to `initial_jitter`.
    #[must_use]
    pub fn first(self, random: &mut Rng) -> Duration {
        below(random, self.settings.initial_jitter)
    }

    /// How long after a check the next one is due.
    #[must_use]
    pub fn next(self, verdict: &Verdict, transition: Transition, traffic: Traffic, random: &mut Rng) -> Duration {
        let base = self.interval(verdict, transition, traffic);
        let share = base.saturating_mul(self.settings.interval_jitter_percent) / 100;
        base.saturating_add(below(random, share))
            .saturating_add(below(random, self.settings.interval_jitter))
            .max(Duration::from_millis(1))
    }

    fn interval(self, verdict: &Verdict, transition: Transition, traffic: Traffic) -> Duration {
        let settings = self.settings;
        let well = match verdict {
            Verdict::Passed | Verdict::Degraded => true,
            Verdict::Agent(reply) => reply.operation != Some(Operation::Down),
            Verdict::Failed(_) => false,
        };
        let edge = transition == Transition::ChangePending;
        let unhealthy = settings.unhealthy_interval.unwrap_or(settings.interval);
        match (traffic, well, edge) {
            (Traffic::Busy, true, false) => settings.interval,
            (Traffic::Busy, true, true) => settings.healthy_edge_interval.unwrap_or(settings.interval),
            (Traffic::Busy, false, false) => unhealthy,
            (Traffic::Busy, false, true) => settings.unhealthy_edge_interval.unwrap_or(unhealthy),
            (Traffic::Idle, true, false) => {
                settings.no_traffic_healthy_interval.unwrap_or(settings.no_traffic_interval)
            }
            (Traffic::Idle, ..) => settings.no_traffic_interval,
        }
    }
}

/// Whole milliseconds from 0 to below `limit`; nothing for a limit of less than one.
fn below(random: &mut Rng, limit: Duration) -> Duration {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(if limit == 0 { 0 } else { random.u64(0..limit) })
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::{
        super::{Failure, Kind},
        *,
    };

    fn failed() -> Verdict {
        Verdict::Failed(Failure::network("connection refused"))
    }

    fn settings() -> Settings {
        let seconds = Duration::from_secs;
        Settings {
            interval: seconds(1),
            healthy_edge_interval: Some(seconds(2)),
            unhealthy_interval: Some(seconds(3)),
            unhealthy_edge_interval: Some(seconds(4)),
            no_traffic_interval: seconds(5),
            no_traffic_healthy_interval: Some(seconds(6)),
            ..Settings::new(Kind::Mongo)
        }
    }

    #[test]
    fn each_standing_has_its_interval() {
        let (settings, mut random) = (settings(), Rng::with_seed(1));
        let mut next = |verdict: &Verdict, transition, traffic| {
            Schedule::new(&settings).next(verdict, transition, traffic, &mut random).as_secs()
        };
        let pending = Transition::ChangePending;
        for settled in [Transition::Unchanged, Transition::Changed] {
            assert_eq!(next(&Verdict::Passed, settled, Traffic::Busy), 1);
            assert_eq!(next(&failed(), settled, Traffic::Busy), 3);
            assert_eq!(next(&failed(), settled, Traffic::Idle), 5);
            assert_eq!(next(&Verdict::Degraded, settled, Traffic::Idle), 6);
        }
        assert_eq!(next(&Verdict::Passed, pending, Traffic::Busy), 2);
        assert_eq!(next(&failed(), pending, Traffic::Busy), 4);
        assert_eq!(next(&Verdict::Passed, pending, Traffic::Idle), 5);
    }

    #[test]
    fn intervals_that_are_not_set_are_the_next_general_ones() {
        let (settings, mut random) = (Settings::new(Kind::Mongo), Rng::with_seed(1));
        let mut next = |verdict: &Verdict, transition, traffic| {
            Schedule::new(&settings).next(verdict, transition, traffic, &mut random).as_secs()
        };
        for transition in [Transition::Unchanged, Transition::Changed, Transition::ChangePending] {
            assert_eq!(next(&failed(), transition, Traffic::Busy), 5);
            assert_eq!(next(&Verdict::Passed, transition, Traffic::Busy), 5);
            assert_eq!(next(&Verdict::Passed, transition, Traffic::Idle), 60);
        }
    }

    proptest! {
        #[test]
        fn jitter_stays_in_its_bounds_and_nothing_spins(
            seed: u64,
            interval in 0..10_000_u64,
            jitter in 0..10_000_u64,
            percent in 0..300_u32,
        ) {
            let settings = Settings {
                interval: Duration::from_millis(interval),
                interval_jitter: Duration::from_millis(jitter),
                interval_jitter_percent: percent,
                initial_jitter: Duration::from_millis(jitter),
                ..Settings::new(Kind::Mongo)
            };
            let mut random = Rng::with_seed(seed);
            let schedule = Schedule::new(&settings);
            let next = schedule.next(&Verdict::Passed, Transition::Unchanged, Traffic::Busy, &mut random);
            let most = interval + interval * u64::from(percent) / 100 + jitter;
            prop_assert!(next >= Duration::from_millis(interval.max(1)));
            prop_assert!(next <= Duration::from_millis(most.max(1)));
            prop_assert!(schedule.first(&mut random) <= settings.initial_jitter);
        }

        #[test]
        fn no_settings_overflow(seed: u64, percent: u32) {
            let settings = Settings {
                interval: Duration::MAX,
                interval_jitter: Duration::MAX,
                interval_jitter_percent: percent,
                initial_jitter: Duration::MAX,
                ..Settings::new(Kind::Mongo)
            };
            let mut random = Rng::with_seed(seed);
            let schedule = Schedule::new(&settings);
            let _ = schedule.first(&mut random);
            let next = schedule.next(&Verdict::Passed, Transition::Unchanged, Traffic::Busy, &mut random);
            prop_assert_eq!(next, Duration::MAX);
        }
    }
}
