//! Gauges that are set when somebody looks: health of endpoints, and what is left of limits.
//!
//! A cluster that nothing has happened to has one series, however many limits it has: of ten thousand most are idle.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    choice::Priority,
    clusters::SharedClusters,
    endpoint::{Health, Mark},
    health::outlier::Reason,
    shared::SharedCluster,
};
use crate::telemetry::{
    Gauge, Registry,
    names::{self, Metric},
    registry::Counter,
};

/// The gauges of all clusters.
#[derive(Default)]
pub struct Gauges {
    of: BTreeMap<String, OfCluster>,
}

#[derive(Default)]
struct OfCluster {
    gauges: BTreeMap<(&'static str, &'static str, &'static str), Gauge>,
    counters: BTreeMap<(&'static str, &'static str), (Counter, u64)>,
}

impl Gauges {
    /// Sets them to what is the case now. Those of clusters that are gone go.
    pub fn refresh(&mut self, registry: &Registry, clusters: &SharedClusters) {
        self.of.retain(|name, _| clusters.contains_key(name));
        for (name, cluster) in clusters {
            let of = self.of.entry(name.clone()).or_default();
            of.refresh(registry, name, cluster);
        }
    }
}

impl OfCluster {
    fn refresh(&mut self, registry: &Registry, name: &str, cluster: &SharedCluster) {
        let membership = cluster.membership();
        let mut health = [(Health::Healthy, 0), (Health::Degraded, 0), (Health::Draining, 0), (Health::Unhealthy, 0)];
        let mut ejected = 0;
        for endpoint in &membership.endpoints {
            let now = endpoint.status.health();
            health.iter_mut().filter(|(one, _)| *one == now).for_each(|(_, count)| *count += 1);
            ejected += i64::from(endpoint.status.has(Mark::Ejected));
        }
        for (one, count) in health {
            let labels = [("cluster", name), ("health", one.label())];
            // Nobody needs to be told that nothing is wrong, but that nobody is healthy.
            self.set(registry, &names::CLUSTER_ENDPOINTS, (one.label(), ""), &labels, count, one == Health::Healthy);
        }
        let labels = [("cluster", name), ("health", "ejected")];
        self.set(registry, &names::CLUSTER_ENDPOINTS, ("ejected", ""), &labels, ejected, false);
        self.count(registry, &names::CLUSTER_CHECKS, name, ("outcome", "passed"), &cluster.checks.passed);
        self.count(registry, &names::CLUSTER_CHECKS, name, ("outcome", "failed"), &cluster.checks.failed);
        if let Some(counts) = cluster.outlier_counts() {
            for reason in Reason::ALL {
                let word = ("reason", reason.as_str());
                self.count_to(registry, &names::CLUSTER_OUTLIERS, name, word, counts.detected(reason));
                self.count_to(registry, &names::CLUSTER_EJECTIONS, name, word, counts.enforced(reason));
            }
        }
        if cluster.is_used() {
            self.limits(registry, name, cluster);
        }
    }

    fn limits(&mut self, registry: &Registry, name: &str, cluster: &SharedCluster) {
        for priority in [Priority::Default, Priority::High] {
            let left = cluster.breakers(priority).remaining();
            let connections = u32::try_from(left.connections).unwrap_or(u32::MAX);
            for (limit, left) in [
                ("connections", connections),
                ("requests", left.requests),
                ("pending", left.pending),
                ("retries", left.retries),
            ] {
                let labels = [("cluster", name), ("priority", priority.label()), ("limit", limit)];
                let key = (priority.label(), limit);
                // The second set of limits is of interest to those who use it.
                let always = priority == Priority::Default;
                if always || !cluster.is_untouched(priority) {
                    self.set(registry, &names::CLUSTER_LIMIT_REMAINING, key, &labels, i64::from(left), true);
                }
            }
        }
    }

    fn set(
        &mut self,
        registry: &Registry,
        metric: &'static Metric,
        (key, more): (&'static str, &'static str),
        labels: &[(&'static str, &str)],
        value: i64,
        always: bool,
    ) {
        let key = (metric.name, key, more);
        if let Some(gauge) = self.gauges.get(&key) {
            gauge.set(value);
        } else if always || value != 0 {
            let gauge = registry.gauge(metric, labels);
            gauge.set(value);
            self.gauges.insert(key, gauge);
        }
    }

    fn count(
        &mut self,
        registry: &Registry,
        metric: &'static Metric,
        cluster: &str,
        word: (&'static str, &'static str),
        now: &AtomicU64,
    ) {
        self.count_to(registry, metric, cluster, word, now.load(Ordering::Relaxed));
    }

    /// A number that only rises, counted somewhere else.
    fn count_to(
        &mut self,
        registry: &Registry,
        metric: &'static Metric,
        cluster: &str,
        (label, word): (&'static str, &'static str),
        now: u64,
    ) {
        if now == 0 {
            return;
        }
        let (counter, before) = self
            .counters
            .entry((metric.name, word))
            .or_insert_with(|| (registry.counter(metric, &[("cluster", cluster), (label, word)]), 0));
        // Another cluster of this name began anew.
        counter.add(if now >= *before { now - *before } else { now });
        *before = now;
    }
}
