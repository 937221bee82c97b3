//! The counters of one host, bumped by every worker for every request.
//!
//! Two kinds of state, on cache lines of their own:
//!
//! * *Rows*: how many failures came in a row. They are shared by all workers, as "in a row" is about the host and not
//!   about a worker. While all is well they are zero and only read, so every core keeps the line.
//! * *Volumes*: successes and failures of the interval, for rates. They are bumped by every request, so they are
//!   striped: a worker adds to a stripe of its own, [`HostOutlier::harvest`] sums them.
//!
//! All atomics are relaxed: each number stands alone, and nothing is published through them. A success that races a
//! failure may come before or after it, as the two answers might have.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{Detection, Outcome, Reason, Settings};

/// More stripes than this save nothing, and hosts may be many.
const STRIPES: usize = 64;

/// What is counted of one host. Shared by all workers; cheap to bump, never locks.
#[derive(Debug)]
pub struct HostOutlier {
    rows: Rows,
    /// A power of two of them.
    stripes: Box<[Stripe]>,
}

/// Successes and failures of an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub success: u32,
    pub failure: u32,
}

/// The volumes of an interval, by origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Volumes {
    pub external: Volume,
    pub local: Volume,
}

impl HostOutlier {
    /// Counters for as many `workers` as will call [`Self::record`]; rounded up to a power of two, at most 64.
    pub(super) fn new(settings: &Settings, workers: usize) -> Self {
        let stripes = workers.clamp(1, STRIPES).next_power_of_two();
        let host = Self { rows: Rows::default(), stripes: (0..stripes).map(|_| Stripe::default()).collect() };
        host.configure(settings);
        host
    }

    /// Notes how a request ended. `worker` is the number of the calling worker, from 0 on: two that share a number only
    /// slow each other down.
    ///
    /// Returns a detection when this failure completes a row; its row then starts anew, so each is returned once.
    /// Never blocks.
    #[inline]
    #[must_use = "an outlier is ejected only when `Detector::try_eject` is told"]
    pub fn record(&self, worker: usize, outcome: Outcome) -> Option<Detection> {
        let stripe = self.stripes.get(worker & self.stripes.len().wrapping_sub(1))?;
        match outcome {
            Outcome::ServerError => self.failed(stripe, Reason::Consecutive5xx),
            Outcome::GatewayError => self.failed(stripe, Reason::ConsecutiveGatewayFailure),
            Outcome::LocalOrigin(_) => {
                if self.rows.split.load(Relaxed) {
                    self.failed(stripe, Reason::ConsecutiveLocalOriginFailure)
                } else {
                    self.failed(stripe, Reason::ConsecutiveGatewayFailure)
                }
            }
            Outcome::LocalOriginSuccess | Outcome::LocalOriginSuccessFinal if self.rows.split.load(Relaxed) => {
                stripe.local.success.fetch_add(1, Relaxed);
                clear(&self.rows.local);
                None
            }
            Outcome::LocalOriginSuccess => None,
            Outcome::Success | Outcome::LocalOriginSuccessFinal => {
                self.succeeded(stripe);
                None
            }
        }
    }

    /// Whether load balancing should leave this host out. One load.
    #[inline]
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.rows.ejected.load(Relaxed)
    }

    pub(super) fn set_ejected(&self, ejected: bool) {
        self.rows.ejected.store(ejected, Relaxed);
    }

    /// Takes over thresholds; rows and volumes stay.
    pub(super) fn configure(&self, settings: &Settings) {
        self.rows.consecutive_5xx.store(settings.consecutive_5xx, Relaxed);
        self.rows.consecutive_gateway_failure.store(settings.consecutive_gateway_failure, Relaxed);
        self.rows.consecutive_local_origin_failure.store(settings.consecutive_local_origin_failure, Relaxed);
        self.rows.split.store(settings.split_external_local_origin_errors, Relaxed);
    }

    /// Forgets all rows: after an ejection few new errors should not eject again.
    pub(super) fn clear_rows(&self) {
        self.rows.external.store(0, Relaxed);
        self.rows.local.store(0, Relaxed);
    }

    /// Takes the volumes of the interval that ends.
    pub(super) fn harvest(&self) -> Volumes {
        let mut volumes = Volumes::default();
        for stripe in &self.stripes {
            volumes.external.add(&stripe.external);
            volumes.local.add(&stripe.local);
        }
        volumes
    }

    #[inline]
    fn succeeded(&self, stripe: &Stripe) {
        stripe.external.success.fetch_add(1, Relaxed);
        // Loaded first: a store would take the line from all other cores with every request.
        if self.rows.external.load(Relaxed) != 0 {
            self.rows.external.store(0, Relaxed);
        }
    }

    /// `kind` says which rows the failure continues: that of 5xx, that and the one of gateway failures, or that
    /// of local origin failures.
    #[cold]
    fn failed(&self, stripe: &Stripe, kind: Reason) -> Option<Detection> {
        let rows = &self.rows;
        if kind == Reason::ConsecutiveLocalOriginFailure {
            stripe.local.failure.fetch_add(1, Relaxed);
            let threshold = rows.consecutive_local_origin_failure.load(Relaxed);
            let before = rows.local.fetch_update(Relaxed, Relaxed, |row| Some(step(row, threshold)));
            return Detection::of(None, completed(before.unwrap_or_else(|row| row), threshold, kind));
        }
        stripe.external.failure.fetch_add(1, Relaxed);
        let (any, gateway) = (rows.consecutive_5xx.load(Relaxed), rows.consecutive_gateway_failure.load(Relaxed));
        let is_gateway = kind == Reason::ConsecutiveGatewayFailure;
        // Both rows in one word, so that a success cannot come between them and tear them.
        let before = rows.external.fetch_update(Relaxed, Relaxed, |word| {
            let (any_row, gateway_row) = unpack(word);
            Some(pack(step(any_row, any), if is_gateway { step(gateway_row, gateway) } else { 0 }))
        });
        let (any_row, gateway_row) = unpack(before.unwrap_or_else(|word| word));
        Detection::of(
            if is_gateway { completed(gateway_row, gateway, kind) } else { None },
            completed(any_row, any, Reason::Consecutive5xx),
        )
    }
}

/// What is read by all and written when something fails. A line (and its neighbour, which processors fetch along) of
/// its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Rows {
    /// Rows of 5xx (high half) and of gateway failures (low half).
    external: AtomicU64,
    /// Row of local origin failures.
    local: AtomicU32,
    ejected: AtomicBool,
    split: AtomicBool,
    consecutive_5xx: AtomicU32,
    consecutive_gateway_failure: AtomicU32,
    consecutive_local_origin_failure: AtomicU32,
}

/// What one worker counts.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    external: Tally,
    local: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    success: AtomicU32,
    failure: AtomicU32,
}

impl Volume {
    /// All requests.
    pub(super) fn total(self) -> u32 {
        self.success.saturating_add(self.failure)
    }

    /// Share of the requests that succeeded, in percent; `None` without requests.
    pub(super) fn success_rate(self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| f64::from(self.success) * 100.0 / f64::from(total))
    }

    fn add(&mut self, tally: &Tally) {
        self.success = self.success.saturating_add(tally.success.swap(0, Relaxed));
        self.failure = self.failure.saturating_add(tally.failure.swap(0, Relaxed));
    }
}

/// A row with one more failure; one that reaches its threshold starts anew. A threshold of 0 is never reached, and one
/// that was lowered below the row is reached with the next failure.
fn step(row: u32, threshold: u32) -> u32 {
    let next = row.saturating_add(1);
    if threshold > 0 && next >= threshold { 0 } else { next }
}

/// Whether one more failure completed a row.
fn completed(row: u32, threshold: u32, reason: Reason) -> Option<(Reason, u32)> {
    let next = row.saturating_add(1);
    (threshold > 0 && next >= threshold).then_some((reason, next))
}

fn clear(row: &AtomicU32) {
    if row.load(Relaxed) != 0 {
        row.store(0, Relaxed);
    }
}

fn pack(any: u32, gateway: u32) -> u64 {
    (u64::from(any) << 32) | u64::from(gateway)
}

fn unpack(word: u64) -> (u32, u32) {
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (half(word >> 32), half(word))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{super::LocalOriginFailure, *};

    fn reasons(detection: Option<Detection>) -> Vec<Reason> {
        detection.into_iter().flat_map(|detection| detection.rows().map(|(reason, _)| reason)).collect()
    }

    #[test]
    fn a_row_is_told_when_it_is_complete_and_again_only_after_as_many_failures() {
        let host = HostOutlier::new(&Settings::default(), 1);
        for _ in 0..3 {
            for _ in 0..4 {
                assert_eq!(host.record(0, Outcome::ServerError), None);
            }
            assert_eq!(reasons(host.record(0, Outcome::ServerError)), [Reason::Consecutive5xx]);
        }
    }

    #[test]
    fn a_success_ends_a_row_and_another_5xx_ends_one_of_gateway_failures() {
        let settings = Settings { consecutive_5xx: 0, consecutive_gateway_failure: 2, ..Settings::default() };
        let host = HostOutlier::new(&settings, 1);
        for outcome in [Outcome::GatewayError, Outcome::Success, Outcome::GatewayError, Outcome::ServerError] {
            assert_eq!(host.record(0, outcome), None);
        }
        assert_eq!(host.record(0, Outcome::GatewayError), None);
        assert_eq!(reasons(host.record(0, Outcome::GatewayError)), [Reason::ConsecutiveGatewayFailure]);
    }

    #[test]
    fn one_failure_may_complete_both_rows_gateway_failures_first() {
        let host = HostOutlier::new(&Settings::default(), 1);
        let told: Vec<_> = (0..5).flat_map(|_| reasons(host.record(0, Outcome::of_status(503)))).collect();
        assert_eq!(told, [Reason::ConsecutiveGatewayFailure, Reason::Consecutive5xx]);
    }

    #[test]
    fn local_failures_are_gateway_failures_unless_origins_are_split() {
        let failure = Outcome::LocalOrigin(LocalOriginFailure::Reset);
        let mut settings = Settings { consecutive_5xx: 1, consecutive_local_origin_failure: 1, ..Settings::default() };
        let host = HostOutlier::new(&settings, 1);
        assert_eq!(reasons(host.record(0, failure)), [Reason::Consecutive5xx]);
        assert_eq!(host.record(0, Outcome::LocalOriginSuccess), None);
        assert_eq!(host.record(0, Outcome::LocalOriginSuccessFinal), None);
        let external = Volume { success: 1, failure: 1 };
        assert_eq!(host.harvest(), Volumes { external, local: Volume::default() });

        settings.split_external_local_origin_errors = true;
        host.configure(&settings);
        assert_eq!(reasons(host.record(0, failure)), [Reason::ConsecutiveLocalOriginFailure]);
        assert_eq!(host.record(0, Outcome::LocalOriginSuccess), None);
        assert_eq!(host.record(0, Outcome::LocalOriginSuccessFinal), None);
        let local = Volume { success: 2, failure: 1 };
        assert_eq!(host.harvest(), Volumes { external: Volume::default(), local });
    }

    #[test]
    fn a_lowered_threshold_is_reached_with_the_next_failure() {
        let mut settings = Settings::default();
        let host = HostOutlier::new(&settings, 1);
        for _ in 0..4 {
            assert_eq!(host.record(0, Outcome::ServerError), None);
        }
        settings.consecutive_5xx = 2;
        host.configure(&settings);
        assert_eq!(reasons(host.record(0, Outcome::ServerError)), [Reason::Consecutive5xx]);
    }

    #[test]
    fn a_worker_beyond_the_announced_ones_is_counted_too() {
        let host = HostOutlier::new(&Settings::default(), 3);
        for worker in [0, 3, 4, usize::MAX] {
            assert_eq!(host.record(worker, Outcome::Success), None);
        }
        assert_eq!(host.harvest().external.success, 4);
        assert_eq!(host.harvest(), Volumes::default());
    }

    #[test]
    fn workers_at_once_lose_no_count_and_no_detection() {
        let host = HostOutlier::new(&Settings::default(), 4);
        let detections: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    let host = &host;
                    scope.spawn(move || {
                        (0..10_000).filter(|_| host.record(worker, Outcome::ServerError).is_some()).count()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(detections, 40_000 / 5);
        assert_eq!(host.harvest().external, Volume { success: 0, failure: 40_000 });
    }
}
