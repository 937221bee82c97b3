//! A task per host: asks, tells, waits, until it is stopped.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use super::{Connect, Course, Exclusion, Failure, FailureKind, Probe, Seen, Settings, Traffic, Verdict};

/// Is told of every check.
pub trait Report: Send + Sync {
    /// A check of the host has ended, or its traffic has failed it. Called on the runner's task: it must not block.
    fn checked(&self, seen: Seen);
}

/// What the task of one host needs. Spawned on the control plane's runtime.
pub struct Runner<C, R> {
    /// Dials the host.
    pub connect: C,
    /// What is asked, and when. Shared by the cluster's hosts.
    pub settings: Arc<Settings>,
    /// Is told.
    pub report: R,
    /// Whether the cluster has had traffic; asked after each check.
    pub traffic: Arc<dyn Fn() -> Traffic + Send + Sync>,
    /// Notified when an ordinary answer of the host carried `x-envoy-immediate-health-check-fail`: the host becomes
    /// unhealthy at once, without waiting for a check. Notices that come during a check are heeded after it.
    pub passive: Arc<Notify>,
    /// For jitter. Seeded apart for each host, or they would all be asked at once.
    pub random: Rng,
}

impl<C: Connect, R: Report> Runner<C, R> {
    /// Runs until `stop` is sent to or its sender is dropped. Checks never overlap.
    ///
    /// Stopping closes the connection at once, in the middle of a check too; such a check is not reported.
    pub async fn run(self, mut stop: watch::Receiver<()>) {
        // Either a value or the end of the sender is the end.
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = self.checks() => {}
        }
    }

    async fn checks(self) {
        let Self { connect, settings, report, traffic, passive, random } = self;
        let mut course = Course::new(Arc::clone(&settings), random);
        let mut probe = Probe::new(connect, settings);
        let mut due = after(course.first());
        loop {
            tokio::select! {
                biased;
                () = passive.notified() => {
                    report.checked(course.failed_by_traffic(passive_failure()));
                    continue;
                }
                () = sleep_until(due) => {}
            }
            let began = Instant::now();
            let verdict = probe.check().await;
            let (seen, next) = course.checked(verdict, began.elapsed(), traffic());
            due = after(next);
            report.checked(seen);
        }
    }
}

/// Further away than a year is never; an `Instant` cannot hold any duration.
fn after(delay: Duration) -> Instant {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    let now = Instant::now();
    now.checked_add(delay.min(YEAR)).unwrap_or(now)
}

fn passive_failure() -> Verdict {
    Verdict::Failed(Failure {
        exclusion: Exclusion::Exclude,
        ..Failure::of(FailureKind::Passive, "an answer to ordinary traffic had x-envoy-immediate-health-check-fail")
    })
}
