//! What is kept of the past. All of it is bounded.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use super::{
    super::dashboard::{
        history::{History, SERVICES, ServiceReading},
        model::{Certificate, LastUsed, ServiceKind, Time},
    },
    number,
    panels::{self, past::Pasts},
    recent::Recent,
    sum,
    tap::Taps,
    traffic::Endpoints,
    ways::Ways,
};
use crate::{
    cluster::{balance::Health, shared::SharedCluster},
    config::resolved::{ClusterProtocol, Listener, ListenerProtocol, canary_name},
    snapshot::Snapshot,
    telemetry::{Reading, Registry, histogram::Buckets, names},
    wasm::vm::TRAP_REASONS,
};

/// Filters, canaries included, whose last seconds are kept.
const FILTERS: usize = 512;
/// Endpoints whose trouble is remembered by its beginning.
const DOWN: usize = 10_000;
/// Samples of traps, a minute apart: an hour.
const MINUTES: usize = 61;
const MINUTE: u64 = 60_000;

const ANSWERS: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const POLICIES: [&str; 2] = ["close", "open"];

/// What the dashboard remembers.
pub(in super::super) struct Kept {
    history: History,
    left_out: u64,
    services: BTreeMap<(ServiceKind, String), Used>,
    filters: BTreeMap<String, Counts>,
    down: Down,
    /// How fast endpoints are used.
    pub(super) traffic: Endpoints,
    /// What goes from listeners to clusters.
    pub(super) ways: Ways,
    /// What panels showed.
    pub(super) panels: Pasts,
    /// Requests, for those who look.
    pub(super) taps: Taps,
    /// Of a generation, read when somebody first looks.
    pub(super) certificates: Option<(u64, Arc<[Certificate]>)>,
    /// The same of the filters' configurations as they are written, as JSON.
    pub(super) configurations: Option<(u64, BTreeMap<String, String>)>,
}

/// A service, as it was at the last sample.
struct Used {
    requests: u64,
    seen: Time,
    /// When its count last rose, as far as anybody saw.
    at: Option<Time>,
}

/// What a filter has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub streams: u64,
    pub failed: u64,
    pub traps: u64,
}

#[derive(Default)]
struct Counts {
    recent: Recent<Count>,
    /// Traps, a minute apart.
    minutes: VecDeque<(Time, u64)>,
    used: Option<Time>,
}

/// Endpoints that are not healthy, and since when. Clusters are looked at again when they say that something has changed.
#[derive(Default)]
struct Down {
    generation: u64,
    versions: Vec<u64>,
    clusters: BTreeMap<String, BTreeMap<SocketAddr, (Health, Time)>>,
}

impl Default for Kept {
    fn default() -> Self {
        #[expect(clippy::cast_precision_loss, reason = "bounds have few digits")]
        let bounds: Vec<f64> = Buckets::Seconds.bounds().iter().map(|bound| *bound as f64 / 1e9).collect();
        Self {
            history: History::new(&bounds),
            left_out: 0,
            services: BTreeMap::new(),
            filters: BTreeMap::new(),
            down: Down::default(),
            traffic: Endpoints::default(),
            ways: Ways::default(),
            panels: Pasts::default(),
            taps: Taps::default(),
            certificates: None,
            configurations: None,
        }
    }
}

impl Kept {
    /// The last hour.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Services in use that there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out.max(self.history.left_out())
    }

    /// Whether a service was used since the process began to look.
    pub fn is_used(&self, kind: ServiceKind, name: &str) -> bool {
        self.services.contains_key(&(kind, name.to_owned()))
    }

    /// When a service was last used.
    pub fn last_used(&self, kind: ServiceKind, name: &str) -> LastUsed {
        match self.services.get(&(kind, name.to_owned())) {
            Some(Used { at: Some(at), .. }) => LastUsed::At(*at),
            Some(Used { requests: 0, .. }) => LastUsed::Never,
            Some(_) => LastUsed::Unknown,
            // Clusters are looked at as soon as they are in use, while there is room.
            None if kind == ServiceKind::Cluster && self.left_out == 0 => LastUsed::Never,
            None => LastUsed::Unknown,
        }
    }

    /// When a filter last saw a stream.
    pub fn filter_used(&self, name: &str) -> LastUsed {
        let Some(counts) = self.filters.get(name) else { return LastUsed::Unknown };
        match (counts.used, counts.recent.last()) {
            (Some(at), _) => LastUsed::At(at),
            (None, Some(Count { streams: 0, .. })) => LastUsed::Never,
            _ => LastUsed::Unknown,
        }
    }

    /// Streams per second of the last seconds, and the share of them that failed.
    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    pub fn filter_rate(&self, name: &str) -> (Option<f64>, Option<f64>) {
        let ends = self.filters.get(name).and_then(|counts| counts.recent.ends());
        let Some((first, last, seconds)) = ends else { return (None, None) };
        let streams = last.streams.saturating_sub(first.streams);
        let failed = last.failed.saturating_sub(first.failed);
        let rate = (seconds > 0.0).then(|| streams as f64 / seconds);
        (rate, (streams > 0).then(|| (failed as f64 / streams as f64).min(1.0)))
    }

    /// Traps of the last hour.
    pub fn recent_traps(&self, name: &str) -> u64 {
        let Some(counts) = self.filters.get(name) else { return 0 };
        let now = counts.recent.last().map_or(0, |count| count.traps);
        now.saturating_sub(counts.minutes.front().map_or(now, |(_, traps)| *traps))
    }

    /// Endpoints that are not healthy, by cluster: how they are, and since when.
    pub fn down(&self) -> &BTreeMap<String, BTreeMap<SocketAddr, (Health, Time)>> {
        &self.down.clusters
    }

    /// Takes a sample, once a second.
    pub fn sample(&mut self, now: Time, snapshot: &Snapshot, registry: &Registry) {
        let listeners = snapshot.config.listeners.iter().map(|listener| of_listener(registry, listener));
        let mut read: Vec<Read> = listeners.take(SERVICES).collect();
        let room = SERVICES.saturating_sub(read.len());
        let mut used = snapshot.clusters.values().filter(|cluster| cluster.is_used());
        read.extend(used.by_ref().take(room).map(|cluster| of_cluster(registry, cluster)));
        self.left_out = used.count() as u64;
        let readings: Vec<ServiceReading<'_>> = read.iter().map(Read::as_reading).collect();
        self.history.sample(now, &readings);
        for one in read {
            let before = self.services.get(&(one.kind, one.name.clone()));
            let at = match before {
                Some(before) if one.requests > before.requests => Some(now),
                Some(before) => before.at,
                None => (one.requests > 0).then_some(now),
            };
            self.services.insert((one.kind, one.name), Used { requests: one.requests, seen: now, at });
        }
        self.services.retain(|_, used| used.seen == now);
        self.sample_filters(now, snapshot, registry);
        self.down.follow(now, snapshot);
        self.traffic.sample(now, snapshot);
        self.ways.sample(now, registry);
        panels::sample(&mut self.panels, now, snapshot, registry);
        self.taps.tidy(now);
    }

    fn sample_filters(&mut self, now: Time, snapshot: &Snapshot, registry: &Registry) {
        let canaries = snapshot.trials.keys().map(|name| canary_name(name));
        let names: Vec<String> = snapshot.config.filters.keys().cloned().chain(canaries).take(FILTERS).collect();
        self.filters.retain(|name, _| names.contains(name));
        for name in names {
            let settings = snapshot.config.filters.get(&name);
            let vm = settings.and_then(|settings| settings.vm.clone()).unwrap_or_else(|| name.clone());
            let count = Count {
                streams: number(registry, &names::FILTER_STREAMS, &[("filter", &name)]).unwrap_or(0),
                failed: sum(registry, &names::FILTER_FAILED_STREAMS, ("filter", &name), "policy", &POLICIES),
                traps: sum(registry, &names::FILTER_TRAPS, ("filter", &vm), "reason", &TRAP_REASONS),
            };
            self.filters.entry(name).or_default().add(now, count);
        }
    }
}

impl Counts {
    fn add(&mut self, now: Time, count: Count) {
        let before = self.recent.last().map_or(0, |count| count.streams);
        if count.streams > before {
            self.used = Some(now);
        }
        // A filter that is new has begun at zero.
        if self.minutes.is_empty() {
            self.minutes.push_back((now, 0));
        } else if self.minutes.back().is_some_and(|(last, _)| now.0.saturating_sub(last.0) >= MINUTE) {
            self.minutes.push_back((now, count.traps));
        }
        self.recent.push(now, count);
        while self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
    }
}

impl Down {
    fn follow(&mut self, now: Time, snapshot: &Snapshot) {
        if self.generation != snapshot.generation || self.versions.len() != snapshot.clusters.len() {
            self.generation = snapshot.generation;
            self.versions = vec![u64::MAX; snapshot.clusters.len()];
            self.clusters.retain(|name, _| snapshot.clusters.contains_key(name));
        }
        let mut known: usize = self.clusters.values().map(BTreeMap::len).sum();
        for ((name, cluster), version) in snapshot.clusters.iter().zip(&mut self.versions) {
            let current = cluster.version();
            if *version == current {
                continue;
            }
            *version = current;
            let before = self.clusters.remove(name).unwrap_or_default();
            known -= before.len();
            let after = unhealthy(now, cluster, &before, DOWN.saturating_sub(known));
            known += after.len();
            if !after.is_empty() {
                self.clusters.insert(name.clone(), after);
            }
        }
    }
}

fn unhealthy(
    now: Time,
    cluster: &SharedCluster,
    before: &BTreeMap<SocketAddr, (Health, Time)>,
    most: usize,
) -> BTreeMap<SocketAddr, (Health, Time)> {
    let membership = cluster.membership();
    let each = membership.endpoints.iter().filter_map(|endpoint| {
        let (address, health) = (endpoint.address(), endpoint.status.health());
        let since = before.get(&address).filter(|(known, _)| *known == health).map_or(now, |(_, since)| *since);
        (health != Health::Healthy).then_some((address, (health, since)))
    });
    each.take(most).collect()
}

/// A service's counters.
struct Read {
    kind: ServiceKind,
    name: String,
    requests: u64,
    failures: u64,
    buckets: Vec<u64>,
}

impl Read {
    fn as_reading(&self) -> ServiceReading<'_> {
        let Self { kind, name, requests, failures, buckets } = self;
        ServiceReading { kind: *kind, name, requests: *requests, failures: *failures, buckets }
    }
}

/// Of TCP, connections are counted, which neither fail nor take any time here.
fn of_listener(registry: &Registry, listener: &Listener) -> Read {
    let own = ("listener", listener.name.as_str());
    let of_class = |classes: &[&str]| sum(registry, &names::LISTENER_REQUESTS, own, "class", classes);
    let (requests, failures) = match listener.protocol {
        ListenerProtocol::Http => (of_class(&ANSWERS) + of_class(&["reset"]), of_class(&["5xx", "reset"])),
        ListenerProtocol::Tcp => (number(registry, &names::LISTENER_CONNECTIONS, &[own]).unwrap_or(0), 0),
    };
    let buckets = match registry.read(&names::LISTENER_REQUEST_DURATION, &[own]) {
        Some(Reading::Histogram(durations)) => durations.counts().to_vec(),
        _ => Vec::new(),
    };
    Read { kind: ServiceKind::Listener, name: listener.name.clone(), requests, failures, buckets }
}

fn of_cluster(registry: &Registry, cluster: &SharedCluster) -> Read {
    let name = &cluster.settings.name;
    let own = ("cluster", name.as_str());
    let of_class = |classes: &[&str]| sum(registry, &names::CLUSTER_REQUESTS, own, "class", classes);
    let one = |metric| number(registry, metric, &[own]).unwrap_or(0);
    let (requests, failures) = match cluster.settings.protocol {
        ClusterProtocol::Tcp => {
            let failed = one(&names::CLUSTER_CONNECT_FAILURES) + one(&names::CLUSTER_CONNECT_TIMEOUTS);
            (one(&names::CLUSTER_CONNECTIONS) + failed, failed)
        }
        _ => {
            let none = of_class(&["reset", "timeout", "unreachable"]);
            (of_class(&ANSWERS) + none, of_class(&["5xx"]) + none)
        }
    };
    let buckets = match registry.read(&names::CLUSTER_REQUEST_DURATION, &[own]) {
        Some(Reading::Histogram(durations)) => durations.counts().to_vec(),
        _ => Vec::new(),
    };
    Read { kind: ServiceKind::Cluster, name: name.clone(), requests, failures, buckets }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(streams: u64, failed: u64, traps: u64) -> Count {
        Count { streams, failed, traps }
    }

    #[test]
    fn a_filters_rate_is_that_of_the_last_ten_seconds_and_its_traps_those_of_an_hour() {
        let mut kept = Kept::default();
        let counts = kept.filters.entry("f".to_owned()).or_default();
        for second in 0..=7_200_u64 {
            counts.add(
                Time(second * 1_000),
                count(second * 5, second, u64::from(second >= 60) + u64::from(second >= 7_000)),
            );
        }
        assert_eq!(kept.filter_rate("f"), (Some(5.0), Some(0.2)));
        assert_eq!(kept.recent_traps("f"), 1);
        assert_eq!(kept.filter_used("f"), LastUsed::At(Time(7_200_000)));
        assert_eq!((kept.filter_rate("g"), kept.recent_traps("g")), ((None, None), 0));
    }

    #[test]
    fn traps_before_the_first_minute_count() {
        let mut counts = Counts::default();
        counts.add(Time(1), count(1, 1, 2));
        let mut kept = Kept::default();
        kept.filters.insert("f".to_owned(), counts);
        assert_eq!(kept.recent_traps("f"), 2);
    }
}
