//! Who is well, by what is asked and by what is seen.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{ENDPOINTS, SECOND, Time, world::is_bad};
use crate::cluster::health::{
    active::{self, Course, Failure, FailureKind, Traffic, Verdict},
    outlier,
};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Success,
    Failure,
    Timeout,
}

/// Both, or one, or nobody.
pub(super) struct Watch {
    pub outliers: Option<Outliers>,
    pub checks: Option<Checks>,
}

impl Watch {
    /// An endpoint answered, or did not in time.
    pub fn observe(&mut self, endpoint: usize, outcome: Outcome, now: Time) {
        if let Some(outliers) = &mut self.outliers {
            outliers.observe(endpoint, outcome, now);
        }
    }

    /// Time for whatever happens periodically.
    pub fn tick(&mut self, now: Time) {
        if let Some(outliers) = &mut self.outliers {
            outliers.tick(now);
        }
        if let Some(checks) = &mut self.checks {
            checks.tick(now);
        }
    }

    /// Whether an endpoint is left out.
    pub fn is_out(&self, endpoint: usize) -> bool {
        self.outliers.as_ref().is_some_and(|outliers| outliers.is_ejected(endpoint))
            || self.checks.as_ref().is_some_and(|checks| checks.is_down(endpoint))
    }
}

/// Checks as clusters make them, a second apart: whoever answers with 503 fails, and the slow ones answer in time.
pub(super) struct Checks(Vec<Checked>);

struct Checked {
    course: Course,
    due: Time,
    health: active::Health,
}

impl Default for Checks {
    fn default() -> Self {
        let settings = Arc::new(active::Settings {
            interval: Duration::from_micros(SECOND),
            interval_jitter: Duration::from_micros(SECOND / 10),
            initial_jitter: Duration::from_micros(SECOND),
            ..active::Settings::new(active::Kind::Mongo)
        });
        let checked = |endpoint: usize| {
            let seed = u64::try_from(endpoint).unwrap();
            let mut course = Course::new(Arc::clone(&settings), fastrand::Rng::with_seed(seed));
            Checked { due: micros(course.first()), course, health: active::Health::Pending }
        };
        Self((0..ENDPOINTS).map(checked).collect())
    }
}

impl Checks {
    fn tick(&mut self, now: Time) {
        for (endpoint, checked) in self.0.iter_mut().enumerate().filter(|(_, checked)| checked.due <= now) {
            let failed = Failure {
                kind: FailureKind::Active,
                exclusion: active::Exclusion::Keep,
                words: "answered 503".to_owned(),
            };
            let verdict = if is_bad(endpoint, now) { Verdict::Failed(failed) } else { Verdict::Passed };
            let (seen, next) = checked.course.checked(verdict, Duration::ZERO, Traffic::Busy);
            (checked.health, checked.due) = (seen.health, now + micros(next));
        }
    }

    fn is_down(&self, endpoint: usize) -> bool {
        self.0[endpoint].health == active::Health::Unhealthy
    }
}

fn micros(duration: Duration) -> Time {
    u64::try_from(duration.as_micros()).unwrap()
}

/// The detector that clusters use, on simulated time; hours are short here, so intervals and ejections are too.
pub(super) struct Outliers {
    detector: outlier::Detector<usize>,
    hosts: Vec<Arc<outlier::HostOutlier>>,
    midnight: Instant,
    next: Time,
}

impl Outliers {
    const INTERVAL: Time = SECOND;

    fn at(&self, now: Time) -> Instant {
        self.midnight + Duration::from_micros(now)
    }
}

impl Default for Outliers {
    fn default() -> Self {
        let mut settings = outlier::Settings {
            interval: Duration::from_micros(Self::INTERVAL),
            base_ejection_time: Duration::from_secs(5),
            max_ejection_time: Duration::from_secs(50),
            ..outlier::Settings::default()
        };
        // Few requests fit into an hour that is short.
        settings.success_rate.request_volume = 5;
        let detector = outlier::Detector::new(settings, fastrand::Rng::with_seed(4));
        let hosts = (0..ENDPOINTS).map(|endpoint| detector.add(endpoint, 1)).collect();
        Self { detector, hosts, midnight: Instant::now(), next: Self::INTERVAL }
    }
}

impl Outliers {
    fn observe(&mut self, endpoint: usize, outcome: Outcome, now: Time) {
        let told = match outcome {
            Outcome::Success => outlier::Outcome::Success,
            Outcome::Failure => outlier::Outcome::of_status(503),
            Outcome::Timeout => outlier::Outcome::LocalOrigin(outlier::LocalOriginFailure::Timeout),
        };
        if let Some(detection) = self.hosts[endpoint].record(0, told) {
            self.detector.try_eject(&endpoint, detection, self.at(now));
        }
    }

    fn tick(&mut self, now: Time) {
        if now >= self.next {
            self.next = now + Self::INTERVAL;
            self.detector.sweep(self.at(now));
        }
    }

    fn is_ejected(&self, endpoint: usize) -> bool {
        self.hosts[endpoint].is_ejected()
    }
}
