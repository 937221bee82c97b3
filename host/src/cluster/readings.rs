//! Metrics that are read off clusters when somebody asks: health of endpoints, checks, outliers, and what is left of limits.
//!
//! Nothing is kept for them: of ten thousand clusters most are idle, and a registered series would cost each more than it has to tell.

use std::{sync::atomic::Ordering, time::SystemTime};

use super::{
    balance::Health, choice::Priority, clusters::SharedClusters, endpoint::Mark, health::outlier::Reason,
    shared::SharedCluster,
};
use crate::telemetry::{
    Reading,
    names::{self, Metric},
    registry::FamilyReading,
};

/// All of them, now.
#[must_use]
pub fn readings(clusters: &SharedClusters) -> Vec<FamilyReading> {
    let family = |metric: &'static Metric, read: fn(&str, &SharedCluster, &mut Series)| {
        let mut series = Series(Vec::new());
        for (name, cluster) in clusters {
            read(name, cluster, &mut series);
        }
        FamilyReading { metric, series: series.0 }
    };
    let families = [
        family(&names::CLUSTER_ENDPOINTS, endpoints),
        family(&names::CLUSTER_CHECKS, checks),
        family(&names::CLUSTER_DISCOVERY, discovery),
        family(&names::CLUSTER_DISCOVERY_AGE, age),
        family(&names::CLUSTER_OUTLIERS, outliers),
        family(&names::CLUSTER_EJECTIONS, ejections),
        family(&names::CLUSTER_LIMIT_REMAINING, limits),
    ];
    families.into_iter().filter(|family| !family.series.is_empty()).collect()
}

struct Series(Vec<(Vec<String>, Reading)>);

impl Series {
    fn put<const N: usize>(&mut self, labels: [&str; N], reading: Reading) {
        self.0.push((labels.map(str::to_owned).to_vec(), reading));
    }
}

fn endpoints(name: &str, cluster: &SharedCluster, series: &mut Series) {
    let membership = cluster.membership();
    let count = |test: &dyn Fn(Health, bool) -> bool| {
        let each = membership.endpoints.iter().map(|endpoint| &endpoint.status);
        let count = each.filter(|status| test(status.health(), status.has(Mark::Ejected))).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    };
    for health in [Health::Healthy, Health::Degraded, Health::Draining, Health::Unhealthy] {
        let count = count(&|now, _| now == health);
        // That nobody is healthy is worth saying; that nothing is wrong is not.
        if count > 0 || health == Health::Healthy {
            series.put([name, health.label()], Reading::Gauge(count));
        }
    }
    if cluster.settings.outlier_detection.is_some() {
        series.put([name, "ejected"], Reading::Gauge(count(&|_, ejected| ejected)));
    }
}

fn checks(name: &str, cluster: &SharedCluster, series: &mut Series) {
    if cluster.settings.health_check.is_some() {
        series.put([name, "passed"], Reading::Counter(cluster.checks.passed.load(Ordering::Relaxed)));
        series.put([name, "failed"], Reading::Counter(cluster.checks.failed.load(Ordering::Relaxed)));
    }
}

fn discovery(name: &str, cluster: &SharedCluster, series: &mut Series) {
    if cluster.settings.discovery.is_none() {
        return;
    }
    let state = cluster.found.state();
    for (outcome, count) in [
        ("updated", state.updates),
        ("unchanged", state.unchanged),
        ("empty", state.empty),
        ("malformed", state.malformed),
        ("unreachable", state.unreachable),
    ] {
        series.put([name, outcome], Reading::Counter(count));
    }
}

fn age(name: &str, cluster: &SharedCluster, series: &mut Series) {
    let Some(answered) = cluster.settings.discovery.as_ref().and(cluster.found.state().answered) else { return };
    let age = SystemTime::now().duration_since(answered).unwrap_or_default();
    series.put([name], Reading::Gauge(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
}

fn outliers(name: &str, cluster: &SharedCluster, series: &mut Series) {
    if let Some(counts) = cluster.outlier_counts() {
        for reason in Reason::ALL {
            series.put([name, reason.as_str()], Reading::Counter(counts.detected(reason)));
        }
    }
}

fn ejections(name: &str, cluster: &SharedCluster, series: &mut Series) {
    if let Some(counts) = cluster.outlier_counts() {
        for reason in Reason::ALL {
            series.put([name, reason.as_str()], Reading::Counter(counts.enforced(reason)));
        }
    }
}

fn limits(name: &str, cluster: &SharedCluster, series: &mut Series) {
    if !cluster.is_used() {
        return;
    }
    for priority in [Priority::Default, Priority::High] {
        let Some(breakers) = cluster.breakers_in_use(priority) else { continue };
        let left = breakers.remaining();
        let connections = i64::try_from(left.connections).unwrap_or(i64::MAX);
        for (limit, left) in [
            ("connections", connections),
            ("requests", left.requests.into()),
            ("pending", left.pending.into()),
            ("retries", left.retries.into()),
        ] {
            series.put([name, priority.label(), limit], Reading::Gauge(left));
        }
    }
}
