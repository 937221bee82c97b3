//! What time it is, and waiting: of the system, or of a test that moves it by hand.

use std::{
    ops::Add,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

/// A point of a clock that never goes back, since that clock began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// Never.
    pub const NEVER: Self = Self(Duration::MAX);

    /// How long before this moment another one was; zero when it was not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// A clock. Clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// Spans of time do not follow steps of the wall clock: no host is lost because somebody has set it.
    System {
        began: Instant,
    },
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    wall: SystemTime,
    passed: watch::Sender<Duration>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System { began: Instant::now() })
    }

    /// One that stands still but for [`Self::advance`], for tests; its wall clock begins here.
    #[must_use]
    pub fn manual(wall: SystemTime) -> Self {
        Self(Kind::Manual(Arc::new(Manual { wall, passed: watch::Sender::new(Duration::ZERO) })))
    }

    /// Moves a manual clock and wakes who waits for a time that is now past. The system's goes by itself.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            manual.passed.send_modify(|passed| *passed = passed.saturating_add(by));
        }
    }

    /// How many wait for a manual clock; what a test looks at before it moves the clock.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        match &self.0 {
            Kind::System { .. } => 0,
            Kind::Manual(manual) => manual.passed.receiver_count(),
        }
    }

    /// Now, for spans of time.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(match &self.0 {
            Kind::System { began } => began.elapsed(),
            Kind::Manual(manual) => *manual.passed.borrow(),
        })
    }

    /// Now, for people and for other machines.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Kind::System { .. } => SystemTime::now(),
            Kind::Manual(manual) => {
                let passed = *manual.passed.borrow();
                manual.wall.checked_add(passed).unwrap_or(manual.wall)
            }
        }
    }

    /// Waits until this much time has passed. Cancel-safe.
    pub async fn sleep(&self, span: Duration) {
        match &self.0 {
            Kind::System { .. } => tokio::time::sleep(span).await,
            Kind::Manual(manual) => {
                let mut passed = manual.passed.subscribe();
                let until = passed.borrow().saturating_add(span);
                // The sender lives as long as this clock.
                let _ = passed.wait_for(|passed| *passed >= until).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_those_whose_time_has_come() {
        let clock = Clock::manual(UNIX_EPOCH);
        let (short, long) = (clock.clone(), clock.clone());
        let short = tokio::spawn(async move { short.sleep(Duration::from_secs(5)).await });
        let long = tokio::spawn(async move { long.sleep(Duration::from_secs(50)).await });
        while clock.sleepers() < 2 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(5));
        short.await.unwrap();
        assert!(!long.is_finished());
        assert_eq!(clock.wall(), UNIX_EPOCH + Duration::from_secs(5));
        clock.advance(Duration::from_secs(45));
        long.await.unwrap();
    }
}
