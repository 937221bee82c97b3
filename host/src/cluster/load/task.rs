//! The control plane's part: weights once a period, and a question to each endpoint where they are asked.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::MissedTickBehavior,
};

use super::{
    LoadWeights, out_of_band,
    weights::{is_noticeable, scaled},
};
use crate::cluster::{shared::SharedCluster, view::milliseconds, watch::PerMember};

/// How soon a new member is asked.
const LOOK: Duration = Duration::from_secs(1);

/// Makes weights of what was reported, again and again.
pub async fn weigh(cluster: Arc<SharedCluster>, settings: Arc<LoadWeights>) {
    let mut timer = tokio::time::interval(settings.update);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        if weigh_once(&cluster, &settings, milliseconds()) {
            cluster.unbalanced.notify_one();
        }
    }
}

/// Returns whether that changed anything.
fn weigh_once(cluster: &SharedCluster, settings: &LoadWeights, now: u64) -> bool {
    let membership = cluster.membership();
    let reported: Vec<_> =
        membership.endpoints.iter().map(|endpoint| endpoint.status.reported.current(settings, now)).collect();
    let mut moved = false;
    for (endpoint, weight) in membership.endpoints.iter().zip(scaled(&reported)) {
        if is_noticeable(endpoint.status.reported_weight(), weight) {
            endpoint.status.report_weight(weight);
            moved = true;
        }
    }
    moved
}

/// Asks each member for reports, for as long as it is one.
pub async fn ask(cluster: Arc<SharedCluster>, settings: Arc<LoadWeights>, period: Duration) {
    let mut running: PerMember<AbortHandle> = PerMember::new();
    let mut tasks = JoinSet::new();
    let mut known = None;
    let mut timer = tokio::time::interval(LOOK);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let membership = cluster.membership();
        if known.replace(membership.version) == Some(membership.version) {
            continue;
        }
        let begin = |endpoint: &_| {
            let (cluster, settings) = (Arc::clone(&cluster), Arc::clone(&settings));
            tasks.spawn(out_of_band::follow(cluster, settings, Arc::clone(endpoint), period))
        };
        running.follow(&membership, begin, |task| task.abort());
        while tasks.try_join_next().is_some() {}
    }
}
