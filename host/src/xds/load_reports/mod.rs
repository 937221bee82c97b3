//! Loads, for a control plane that wants to hear of them: what `fyke_envoy::xds::LoadReporter` is to tell.
//!
//! Nothing is counted for it. Endpoints have their tallies and clusters their overflows; here they are read when a report is due, and the
//! [`Ledger`] knows what of it was told before.

mod ledger;

use std::sync::Arc;

use fyke_envoy::xds::{ClusterLoad, Loads, Notice, Wanted};
use tokio::time::Instant;

use self::ledger::Ledger;
use super::status::Status;
use crate::{
    reload::keeper::Keeper,
    telemetry::{Registry, names},
};

/// What one control plane is told.
pub(super) struct Reports {
    plane: String,
    keeper: Arc<Keeper>,
    status: Arc<Status>,
    ledger: Ledger,
}

impl Reports {
    pub fn new(plane: &str, keeper: Arc<Keeper>, status: Arc<Status>) -> Self {
        Self { plane: plane.to_owned(), keeper, status, ledger: Ledger::default() }
    }
}

impl Loads for Reports {
    fn follow(&mut self, wanted: &Wanted) {
        let snapshot = self.keeper.proxy.snapshot();
        let dropped = dropped(self.keeper.proxy.registry());
        self.ledger.follow(&snapshot.clusters, wanted, dropped, Instant::now());
    }

    fn report(&mut self, wanted: &Wanted) -> Vec<ClusterLoad> {
        let snapshot = self.keeper.proxy.snapshot();
        let dropped = dropped(self.keeper.proxy.registry());
        self.ledger.report(&snapshot.clusters, wanted, dropped, Instant::now())
    }

    fn tell(&mut self, notice: Notice) {
        let plane = &*self.plane;
        match notice {
            Notice::Wanted => {
                tracing::info!(plane, "the control plane wants to hear of loads");
                self.status.load_reports_wanted();
            }
            Notice::Sent => self.status.load_report_sent(),
            Notice::Lost { reason, .. } => {
                if self.status.load_reports_lost(&reason) {
                    tracing::warn!(plane, "loads are not reported, which is tried again: {reason}");
                }
            }
        }
    }
}

/// Requests that limits of a cluster have refused so far.
fn dropped(registry: &Registry) -> impl Fn(&str) -> u64 {
    |cluster| registry.sum(&names::CLUSTER_OVERFLOWS, cluster)
}
