//! What requests tell of their endpoints, and which are left out because of it.
//!
//! Workers record; whoever completes a row of failures decides at once, under the detector's lock. An endpoint that is ejected is passed
//! over from the next pick on; the plan is made anew on the control plane, which may take its time over tables.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Instant};

use super::{
    endpoint::{Mark, SharedEndpoint},
    health::outlier::{Change, Counts, LocalOriginFailure, Outcome, Verdict},
    shared::SharedCluster,
    view::milliseconds,
};
use crate::telemetry::event_kinds;

impl SharedCluster {
    /// A request to an endpoint has ended so, on this worker.
    pub fn record(&self, endpoint: &SharedEndpoint, worker: usize, outcome: Outcome) {
        let tally = &endpoint.status.tally;
        if let Outcome::LocalOrigin(failure) = outcome {
            let counter = match failure {
                LocalOriginFailure::ConnectFailure => &tally.connect_failures,
                LocalOriginFailure::Timeout => &tally.timeouts,
                LocalOriginFailure::Reset => &tally.resets,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let Some(outlier) = &endpoint.outlier else { return };
        let Some(detection) = outlier.record(worker, outcome) else { return };
        let Some(detector) = &self.detector else { return };
        self.judged(detector.try_eject(&endpoint.address(), detection, Instant::now()));
    }

    /// The end of an interval of outlier detection.
    pub fn sweep_outliers(&self) {
        if let Some(detector) = &self.detector {
            self.judged(detector.sweep(Instant::now()));
        }
    }

    /// An endpoint has passed its health check: whatever requests had to say of it is over.
    pub fn passed_check(&self, address: SocketAddr) {
        if let Some(detector) = &self.detector {
            self.judged(detector.health_check_passed(&address, Instant::now()).into_iter().collect());
        }
    }

    /// What was decided so far, where outliers are looked for.
    #[must_use]
    pub fn outlier_counts(&self) -> Option<Counts> {
        self.detector.as_ref().map(|detector| detector.counts())
    }

    fn judged(&self, changes: Vec<Change<SocketAddr>>) {
        if changes.is_empty() {
            return;
        }
        let membership = self.membership();
        let mut moved = false;
        for change in changes {
            let cluster = self.settings.name.as_str();
            let Some(status) = membership.endpoint(change.host).map(|endpoint| &endpoint.status) else { continue };
            match &change.verdict {
                Verdict::Ejected { .. } => {
                    tracing::warn!(cluster, "outlier: {change}");
                    self.tell(&event_kinds::ENDPOINT_EJECTED, change.host, format!("outlier: {change}"), "unhealthy");
                    moved |= status.mark(Mark::Ejected, true);
                }
                Verdict::Unejected { .. } => {
                    tracing::info!(cluster, "outlier: {change}");
                    self.tell(&event_kinds::ENDPOINT_UNEJECTED, change.host, format!("outlier: {change}"), "healthy");
                    status.recovered(milliseconds());
                    moved |= status.mark(Mark::Ejected, false);
                }
                Verdict::NotEnforced { .. } | Verdict::Overflow { .. } => tracing::debug!(cluster, "outlier: {change}"),
            }
        }
        if moved {
            self.unbalanced.notify_one();
        }
    }
}
