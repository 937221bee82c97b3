//! A canary on trial: who meets it, and how its streams fare beside those of the version that stands.
//!
//! Counts are kept by the workers and read by the control plane, which judges ([`Trial::verdict`]). A share of errors is compared with the
//! old version's, because an upstream that fails fails for both. Times are compared by the means of their logarithms, which a few slow
//! streams do not move, and only a difference that chance would hardly make counts.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::config::{fingerprint::Fingerprint, resolved::Canary};

/// Logarithms are kept as whole numbers of this part.
const PART: f64 = 1024.0;
/// Standard errors that a difference of times must exceed: chance does that once in a thousand times.
const ERRORS: f64 = 3.1;
/// Standard errors beyond what is accepted that traps of a short time must exceed: a canary whose share of traps is just what is accepted
/// does that once in a hundred times, one with half of it hardly ever.
const SUDDEN: f64 = 2.33;

/// Which of the two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that stands.
    Stable,
    /// The one that is tried.
    Canary,
}

/// How the streams of one version fared.
#[derive(Debug, Default)]
pub struct Tally {
    streams: AtomicU64,
    errors: AtomicU64,
    failed: AtomicU64,
    traps: AtomicU64,
    logs: AtomicU64,
    squares: AtomicU64,
}

impl Tally {
    /// A stream has ended, this long after it began; `error`: with a 5xx answer or a reset.
    pub fn ended(&self, took: Duration, error: bool) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "up to 45,000"
        )]
        let log = ((took.as_nanos().max(1) as f64).ln() * PART) as u64;
        self.logs.fetch_add(log, Ordering::Relaxed);
        self.squares.fetch_add(log * log, Ordering::Relaxed);
        if error {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream met `on_failure`.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance trapped.
    pub fn trapped(&self) {
        self.traps.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted until now.
    #[must_use]
    pub fn read(&self) -> Reading {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Reading {
            streams: get(&self.streams),
            errors: get(&self.errors),
            failed: get(&self.failed).max(get(&self.traps)),
            logs: get(&self.logs),
            squares: get(&self.squares),
        }
    }
}

/// Counts of one version at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Streams that have ended.
    pub streams: u64,
    /// With a 5xx answer or a reset.
    pub errors: u64,
    /// Streams that a trap reached, or traps where those are more.
    pub failed: u64,
    logs: u64,
    squares: u64,
}

#[expect(clippy::cast_precision_loss, reason = "shares and means")]
impl Reading {
    /// What came after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            streams: self.streams.saturating_sub(earlier.streams),
            errors: self.errors.saturating_sub(earlier.errors),
            failed: self.failed.saturating_sub(earlier.failed),
            logs: self.logs.saturating_sub(earlier.logs),
            squares: self.squares.saturating_sub(earlier.squares),
        }
    }

    fn share(&self, of: u64) -> f64 {
        of as f64 / self.streams.max(1) as f64
    }

    /// Mean and variance of the logarithms of the times.
    fn logs(&self) -> (f64, f64) {
        let count = self.streams.max(1) as f64;
        let mean = self.logs as f64 / count;
        let variance = (self.squares as f64 / count - mean * mean).max(0.0);
        (mean / PART, variance / PART / PART)
    }

    /// The geometric mean of the times; `None` without a stream.
    #[must_use]
    pub fn typical_time(&self) -> Option<Duration> {
        (self.streams > 0).then(|| Duration::from_secs_f64(self.logs().0.exp() / 1e9))
    }
}

/// A filter's canary, and the filter.
#[derive(Debug)]
pub struct Trial {
    /// The filter.
    pub filter: String,
    /// What was configured.
    pub settings: Canary,
    /// Both versions: modules and configurations. Another pair is another trial.
    pub identity: Fingerprint,
    stable: Tally,
    canary: Tally,
}

impl Trial {
    /// One that nobody has met yet.
    #[must_use]
    pub fn new(filter: String, settings: Canary, identity: Fingerprint) -> Self {
        Self { filter, settings, identity, stable: Tally::default(), canary: Tally::default() }
    }

    /// The counts of one version.
    #[must_use]
    pub fn tally(&self, side: Side) -> &Tally {
        match side {
            Side::Stable => &self.stable,
            Side::Canary => &self.canary,
        }
    }

    /// Both counts now.
    #[must_use]
    pub fn read(&self) -> (Reading, Reading) {
        (self.stable.read(), self.canary.read())
    }

    /// Whether a stream meets the canary: by its request id always the same, without one by chance.
    #[must_use]
    pub fn takes(&self, request_id: Option<&[u8]>) -> bool {
        let point = match request_id {
            Some(id) => {
                let mut hasher = DefaultHasher::new();
                // Of two canaries, the streams of one are not those of the other.
                self.filter.hash(&mut hasher);
                id.hash(&mut hasher);
                hasher.finish()
            }
            None => fastrand::u64(..),
        };
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let point = point as f64 / u64::MAX as f64;
        point < self.settings.share
    }

    /// Why the canary must go, if it must.
    #[must_use]
    pub fn verdict(&self, stable: &Reading, canary: &Reading) -> Option<String> {
        let on = &self.settings.rollback_on;
        let least = self.settings.min_streams;
        if canary.streams.max(canary.failed) < least {
            return None;
        }
        // A single one may be anything.
        if canary.failed >= 2 && canary.share(canary.failed) > on.traps {
            return Some(self.traps(canary));
        }
        let (errors, before) = (canary.share(canary.errors), stable.share(stable.errors));
        if canary.errors >= 2 && errors - before > on.errors {
            return Some(format!(
                "{} of its streams ended in errors, {} of the others (at most {} more are accepted)",
                percent(errors),
                percent(before),
                percent(on.errors)
            ));
        }
        let latency = on.latency.filter(|_| stable.streams >= least)?;
        let ((mean, variance), (old_mean, old_variance)) = (canary.logs(), stable.logs());
        #[expect(clippy::cast_precision_loss, reason = "numbers of streams")]
        let error = (variance / canary.streams as f64 + old_variance / stable.streams as f64).sqrt();
        if mean - old_mean - latency.ln_1p() <= ERRORS * error {
            return None;
        }
        Some(format!(
            "its streams take {:.1?}, the others {:.1?} (at most {} more is accepted)",
            canary.typical_time().unwrap_or_default(),
            stable.typical_time().unwrap_or_default(),
            percent(latency)
        ))
    }

    /// Why the canary must go at once, by the counts of a short time: after many good streams, bad ones make a small share of a long time.
    /// Only traps, and only more than chance makes of those that are accepted.
    #[must_use]
    pub fn alarm(&self, canary: &Reading) -> Option<String> {
        let streams = canary.streams.max(canary.failed);
        if canary.failed < 2 || streams < self.settings.min_streams {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "numbers of streams")]
        let (failed, accepted) = (canary.failed as f64, streams as f64 * self.settings.rollback_on.traps);
        // One more: small numbers vary more than the normal distribution says.
        (failed > accepted + SUDDEN * accepted.sqrt() + 1.0).then(|| self.traps(canary))
    }

    fn traps(&self, canary: &Reading) -> String {
        format!(
            "{} of its {} streams met a trap ({}, at most {} are accepted)",
            canary.failed,
            canary.streams,
            percent(canary.share(canary.failed).min(1.0)),
            percent(self.settings.rollback_on.traps)
        )
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, Format, resolved::RollbackOn};

    fn trial(share: f64, min_streams: u64, rollback_on: RollbackOn) -> Trial {
        let text = "filters:\n  f: { module: a.wasm, canary: { module: b.wasm, percent: 5 } }\nlisteners:\n  l: { address: '127.0.0.1:0', \
                    filters: [f] }\n";
        let config = config::load_text("test.yaml", text, Format::Yaml, std::path::Path::new("/")).unwrap();
        let canary = config.filters["f"].canary.as_ref().unwrap();
        let settings = Canary { version: Arc::clone(&canary.version), share, min_streams, rollback_on };
        Trial::new("f".to_owned(), settings, Fingerprint::default())
    }

    fn verdict(trial: &Trial) -> Option<String> {
        let (stable, canary) = trial.read();
        trial.verdict(&stable, &canary)
    }

    fn run(tally: &Tally, streams: u32, error_every: u32, took: impl Fn(u32) -> u64) {
        for number in 0..streams {
            tally.ended(Duration::from_micros(took(number)), error_every > 0 && number % error_every == 0);
        }
    }

    #[test]
    fn one_bad_stream_is_nothing_and_two_percent_are_too_many() {
        let trial = trial(0.5, 50, RollbackOn::default());
        run(&trial.canary, 49, 0, |_| 100);
        trial.canary.failed();
        trial.canary.trapped();
        assert_eq!(verdict(&trial), None, "too few streams");
        run(&trial.canary, 1, 0, |_| 100);
        assert_eq!(verdict(&trial), None, "one of fifty is more than 1%, and still only one");
        trial.canary.failed();
        let why = verdict(&trial).unwrap();
        assert_eq!(why, "2 of its 50 streams met a trap (4.0%, at most 1.0% are accepted)");
    }

    #[test]
    fn a_second_of_many_traps_is_an_alarm_and_one_of_some_is_none() {
        let usual = trial(0.5, 100, RollbackOn::default());
        let second = |streams, failed| Reading { streams, failed, ..Reading::default() };
        assert_eq!(usual.alarm(&second(99, 99)), None, "too few streams");
        assert_eq!(usual.alarm(&second(1000, 10)), None, "what is accepted");
        assert_eq!(usual.alarm(&second(1000, 17)), None, "what chance may make of it");
        let why = usual.alarm(&second(1000, 20)).unwrap();
        assert_eq!(why, "20 of its 1000 streams met a trap (2.0%, at most 1.0% are accepted)");
        assert_eq!(usual.alarm(&second(100, 4)), None);
        assert!(usual.alarm(&second(100, 5)).is_some());
        // Where none is accepted, two are too many.
        let strict = trial(0.5, 100, RollbackOn { traps: 0.0, ..RollbackOn::default() });
        assert_eq!(strict.alarm(&second(1000, 1)), None);
        assert!(strict.alarm(&second(1000, 2)).is_some());
    }

    #[test]
    fn errors_count_where_the_others_have_fewer() {
        let trial = trial(0.5, 100, RollbackOn::default());
        run(&trial.canary, 1000, 10, |_| 100);
        run(&trial.stable, 1000, 10, |_| 100);
        assert_eq!(verdict(&trial), None, "the upstream fails for both");
        run(&trial.stable, 9000, 0, |_| 100);
        assert!(verdict(&trial).unwrap().starts_with("10.0% of its streams ended in errors, 1.0% of the others"));
    }

    #[test]
    fn times_count_where_chance_does_not_explain_them() {
        let on = RollbackOn { latency: Some(0.2), ..RollbackOn::default() };
        // The same times but for half of them slower by 10%, then by half.
        let slowed = |factor: u64| {
            let trial = trial(0.5, 100, on);
            run(&trial.stable, 5000, 0, |number| 100 + u64::from(number % 97));
            run(&trial.canary, 500, 0, |number| (100 + u64::from(number % 97)) * factor / 100);
            verdict(&trial)
        };
        assert_eq!(slowed(100), None);
        assert_eq!(slowed(115), None);
        assert!(slowed(150).unwrap().contains("at most 20.0% more"));
        assert_eq!(trial(0.5, 1, on).verdict(&Reading::default(), &Reading::default()), None);
    }

    #[test]
    fn the_share_is_the_share_and_the_same_ids_meet_it() {
        let trial = trial(0.05, 100, RollbackOn::default());
        let ids: Vec<String> = (0..20_000).map(|number| format!("request-{number}")).collect();
        let taken: Vec<bool> = ids.iter().map(|id| trial.takes(Some(id.as_bytes()))).collect();
        let share = taken.iter().filter(|taken| **taken).count();
        assert!((850..1150).contains(&share), "{share} of 20,000");
        assert!(ids.iter().zip(taken).all(|(id, taken)| trial.takes(Some(id.as_bytes())) == taken));
    }

    proptest! {
        #[test]
        fn nobody_meets_a_share_of_nothing_and_everybody_all_of_it(id in prop::option::of(any::<Vec<u8>>())) {
            prop_assert!(!trial(0.0, 1, RollbackOn::default()).takes(id.as_deref()));
            prop_assert!(trial(1.0, 1, RollbackOn::default()).takes(id.as_deref()));
        }
    }
}
