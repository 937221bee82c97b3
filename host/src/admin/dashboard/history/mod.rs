//! The last hour of each service: how many requests, how many failed, how long they took.
//!
//! Counters and histograms of the host only rise; a [`History`] keeps what they rose by, in steps of [`STEP`], for [`STEPS`]
//! steps. Because each step holds the counts of the histogram's buckets, a quantile can be read from any run of steps,
//! exactly as the host reads it from the whole histogram; an average of quantiles would not be one.
//!
//! # Memory
//! A service takes its room when it has its first request: [`STEPS`] steps of 32 bytes and two bytes for each bucket, which for
//! 72 buckets is 124 KiB. With room for [`SERVICES`] services that is 31 MiB at most; services beyond it are counted and
//! left out. One that has not been seen for an hour makes room for another.
//!
//! # Gaps
//! A step in which nobody took a sample is a gap, not a zero. What was counted meanwhile belongs to the step in which it was
//! learned, together with the time that it took, so that its rate is right. A counter that is lower than before has begun anew.

mod ring;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::ring::{Ring, Step};
use crate::admin::dashboard::model::{ServiceKind, Summary, Time, Trend};

/// Length of a step, in milliseconds.
pub const STEP: u64 = 5_000;
/// Steps that are kept: an hour.
pub const STEPS: usize = 720;
/// Services that there is room for.
pub const SERVICES: usize = 256;
/// Most buckets of a histogram; those beyond it are counted with the last one.
pub const BUCKETS: usize = 128;
/// The last seconds, as pages call "now": long enough to hold two whole samples of a slow host.
const NOW: u64 = 10_000;

/// What a service has come to, since it began.
#[derive(Debug, Clone, Copy)]
pub struct ServiceReading<'a> {
    /// What it is.
    pub kind: ServiceKind,
    /// Its name.
    pub name: &'a str,
    /// Requests that have ended.
    pub requests: u64,
    /// Those that have failed: answers 500 to 599, and none at all.
    pub failures: u64,
    /// Durations, by bucket: as many as there are bounds, and one for what is above the last.
    pub buckets: &'a [u64],
}

/// The last hour of all services.
#[derive(Debug)]
pub struct History {
    /// Inclusive upper bounds of buckets, in seconds, rising.
    bounds: Vec<f64>,
    most: usize,
    services: BTreeMap<(ServiceKind, String), Entry>,
    last: Option<Time>,
    left_out: u64,
    /// Whether everything that was ever seen has found room.
    complete: bool,
}

#[derive(Debug)]
struct Entry {
    requests: u64,
    failures: u64,
    buckets: Vec<u64>,
    seen: Time,
    /// Made with the first request.
    ring: Option<Ring>,
}

impl History {
    /// An empty one. `bounds`: inclusive upper bounds of the buckets in seconds, rising.
    #[must_use]
    pub fn new(bounds: &[f64]) -> Self {
        Self::with_room(bounds, SERVICES)
    }

    /// With room for so many services.
    #[must_use]
    pub fn with_room(bounds: &[f64], most: usize) -> Self {
        let bounds = bounds.iter().copied().take(BUCKETS - 1).collect();
        Self { bounds, most, services: BTreeMap::new(), last: None, left_out: 0, complete: true }
    }

    /// Takes a sample of all services, about once a second. A sample from before the last one is ignored.
    pub fn sample(&mut self, now: Time, readings: &[ServiceReading<'_>]) {
        if self.last.is_some_and(|last| now <= last) {
            return;
        }
        let length = STEP * STEPS as u64;
        self.services.retain(|_, entry| now.0.saturating_sub(entry.seen.0) <= length);
        self.left_out = 0;
        for reading in readings {
            self.take(now, reading);
        }
        self.last = Some(now);
    }

    fn take(&mut self, now: Time, reading: &ServiceReading<'_>) {
        let key = (reading.kind, reading.name.to_owned());
        let buckets = folded(reading.buckets, self.bounds.len() + 1);
        if let Some(entry) = self.services.get_mut(&key) {
            let took = now.0.saturating_sub(entry.seen.0);
            entry.advance(now, took, reading, buckets);
            return;
        }
        if self.services.len() >= self.most {
            self.left_out += 1;
            self.complete = false;
            return;
        }
        // What was not there a moment ago has counted everything since. At the first sample nobody knows how long it took.
        let mut entry = Entry { requests: 0, failures: 0, buckets: vec![0; buckets.len()], seen: now, ring: None };
        match self.last.filter(|_| self.complete) {
            Some(last) => entry.advance(now, now.0.saturating_sub(last.0), reading, buckets),
            None => {
                (entry.requests, entry.failures, entry.buckets) = (reading.requests, reading.failures, buckets);
            }
        }
        self.services.insert(key, entry);
    }

    /// Services that there was no room for at the last sample.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Bytes that all steps take now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.services.values().filter_map(|entry| entry.ring.as_ref()).map(Ring::bytes).sum()
    }

    /// The last seconds of a service. Empty: it is not known.
    #[must_use]
    pub fn now(&self, kind: ServiceKind, name: &str) -> Summary {
        self.summary(self.one(kind, name), NOW)
    }

    /// The last `length` milliseconds of a service, an hour at most.
    #[must_use]
    pub fn last(&self, kind: ServiceKind, name: &str, length: u64) -> Summary {
        self.summary(self.one(kind, name), length)
    }

    /// The last hour of a service in at most `points` steps.
    #[must_use]
    pub fn trend(&self, kind: ServiceKind, name: &str, points: usize) -> Trend {
        self.steps(&self.one(kind, name), points)
    }

    /// The last seconds of all services of a kind together.
    #[must_use]
    pub fn now_of_all(&self, kind: ServiceKind) -> Summary {
        self.summary(self.all(kind), NOW)
    }

    /// The last hour of all services of a kind together.
    #[must_use]
    pub fn hour_of_all(&self, kind: ServiceKind) -> Summary {
        self.summary(self.all(kind), STEP * STEPS as u64)
    }

    /// The last hour of all services of a kind together, in at most `points` steps.
    #[must_use]
    pub fn trend_of_all(&self, kind: ServiceKind, points: usize) -> Trend {
        self.steps(&self.all(kind), points)
    }

    fn one(&self, kind: ServiceKind, name: &str) -> Vec<&Ring> {
        let entry = self.services.get(&(kind, name.to_owned()));
        entry.and_then(|entry| entry.ring.as_ref()).into_iter().collect()
    }

    fn all(&self, kind: ServiceKind) -> Vec<&Ring> {
        let of_kind = self.services.iter().filter(|((other, _), _)| *other == kind);
        of_kind.filter_map(|(_, entry)| entry.ring.as_ref()).collect()
    }

    fn summary(&self, rings: Vec<&Ring>, length: u64) -> Summary {
        let Some(last) = self.last else { return Summary::default() };
        let end = last.0 / STEP;
        let steps = length.div_ceil(STEP).clamp(1, STEPS as u64);
        let begin = (end + 1).saturating_sub(steps);
        self.merged(&rings, begin..=end).summary(&self.bounds)
    }

    fn steps(&self, rings: &[&Ring], points: usize) -> Trend {
        let Some(last) = self.last else { return Trend::default() };
        let group = STEPS.div_ceil(points.clamp(1, STEPS)) as u64;
        // Groups begin at round numbers, so that they do not change from one look to the next.
        let groups = STEPS as u64 / group;
        let newest = last.0 / STEP / group;
        let first = (newest + 1).saturating_sub(groups);
        let seconds = (group * STEP) as f64 / 1e3;
        let mut trend = Trend { start: Time(first * group * STEP), step: seconds, ..Trend::default() };
        for place in first..=newest {
            let merged = self.merged(rings, place * group..=(place + 1) * group - 1);
            let summary = merged.summary(&self.bounds);
            trend.rate.push(summary.rate);
            trend.failures.push(merged.failure_rate());
            trend.p50.push(summary.p50);
            trend.p90.push(summary.p90);
            trend.p99.push(summary.p99);
        }
        trend
    }

    fn merged(&self, rings: &[&Ring], places: std::ops::RangeInclusive<u64>) -> Step {
        let mut merged = Step::empty(self.bounds.len() + 1);
        for place in places {
            let mut covered = 0;
            for ring in rings {
                covered = covered.max(ring.add_to(place, &mut merged));
            }
            // Services of one sample cover the same time once.
            merged.covered += u64::from(covered);
        }
        merged
    }
}

impl Entry {
    fn advance(&mut self, now: Time, took: u64, reading: &ServiceReading<'_>, buckets: Vec<u64>) {
        let requests = rise(self.requests, reading.requests);
        let failures = rise(self.failures, reading.failures);
        // A histogram begins anew as a whole.
        let is_reset = self.buckets.iter().zip(&buckets).any(|(before, now)| now < before);
        let delta = buckets.iter().zip(&self.buckets);
        let delta: Vec<u64> = delta.map(|(now, before)| if is_reset { *now } else { now - before }).collect();
        if self.ring.is_none() && requests > 0 {
            self.ring = Some(Ring::new(buckets.len()));
        }
        if let Some(ring) = &mut self.ring {
            ring.add(now.0 / STEP, took, requests, failures, &delta);
        }
        (self.requests, self.failures, self.buckets, self.seen) = (reading.requests, reading.failures, buckets, now);
    }
}

/// What a counter rose by; one that is lower than before has begun anew.
fn rise(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

/// As many buckets as wanted; what is beyond counts with the last one.
fn folded(buckets: &[u64], wanted: usize) -> Vec<u64> {
    let mut folded: Vec<u64> = buckets.iter().copied().take(wanted).collect();
    folded.resize(wanted, 0);
    let beyond: u64 = buckets.iter().skip(wanted).fold(0, |sum, count| sum.saturating_add(*count));
    if let Some(last) = folded.last_mut() {
        *last = last.saturating_add(beyond);
    }
    folded
}
