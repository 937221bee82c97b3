//! What a control plane has been told of each cluster and endpoint, so that every request is told once.
//!
//! An endpoint's numbers are found again by its [`Status`], which outlives generations and ends with the last request that uses it. So
//! requests to an endpoint that has left, or to a cluster that was made anew meanwhile, are told to the last one.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use fyke_envoy::xds::{ClusterLoad, Counts, EndpointLoad, Figure, Figures, LocalityLoad, Wanted};
use tokio::time::Instant;

use crate::{
    cluster::{
        clusters::SharedClusters,
        endpoint::{SharedEndpoint, Status, Tally},
        load::told::Sum,
        shared::SharedCluster,
    },
    config::resolved::{Endpoint, Place},
};

/// Figures of single endpoints in what is told of a cluster. With more, a message would be larger than others take.
const MOST_FIGURES: usize = 20_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    clusters: BTreeMap<String, Followed>,
    /// When somebody looked at all that there is.
    looked: Option<Instant>,
}

/// A cluster.
#[derive(Debug)]
struct Followed {
    service: String,
    /// What is told next begins here.
    since: Instant,
    dropped: u64,
    /// By where its [`Status`] is in memory, which is nobody else's while [`Told::status`] is there.
    endpoints: HashMap<usize, Told>,
}

/// An endpoint.
#[derive(Debug)]
struct Told {
    settings: Arc<Endpoint>,
    /// Says whether anybody can still use it. Others may keep ledgers, too: none of them must keep it alive.
    status: Weak<Status>,
    tally: Arc<Tally>,
    told: Totals,
    figures: BTreeMap<String, Sum>,
}

/// Since the endpoint is known.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    /// Modulo 2^32.
    issued: u32,
    succeeded: u64,
    failed: u64,
}

impl Ledger {
    /// Begins with what is wanted and was not followed before, and forgets what is not wanted any more.
    pub fn follow(&mut self, clusters: &SharedClusters, wanted: &Wanted, dropped: impl Fn(&str) -> u64, now: Instant) {
        self.clusters.retain(|name, _| wanted.has(name));
        let begin = |name: &str| {
            let cluster = clusters.get(name);
            let mut followed = Followed::new(dropped(name), now);
            followed.meet(cluster, |endpoint| {
                let tally = &endpoint.status.tally;
                (Totals::read(tally).0, tally.told.sums())
            });
            followed
        };
        // One that is not there may come: it is followed from now on, too.
        for name in names(wanted, clusters) {
            self.clusters.entry(name.clone()).or_insert_with(|| begin(name));
        }
        self.looked = Some(now);
    }

    /// What has come since. Of clusters that nobody has named only those with something to tell.
    pub fn report(
        &mut self,
        clusters: &SharedClusters,
        wanted: &Wanted,
        dropped: impl Fn(&str) -> u64,
        now: Instant,
    ) -> Vec<ClusterLoad> {
        let looked = self.looked.replace(now).unwrap_or(now);
        for name in names(wanted, clusters) {
            // Whoever is new was not there when somebody looked last.
            self.clusters.entry(name.clone()).or_insert_with(|| Followed::new(0, looked));
        }
        let mut reports = Vec::new();
        for (name, followed) in &mut self.clusters {
            let cluster = clusters.get(name);
            followed.meet(cluster, |_| Default::default());
            let dropped = dropped(name);
            let load = ClusterLoad {
                name: name.clone(),
                service: followed.service.clone(),
                dropped: dropped.saturating_sub(followed.dropped),
                elapsed: now.duration_since(followed.since),
                localities: followed.localities(wanted.endpoints),
            };
            (followed.since, followed.dropped) = (now, followed.dropped.max(dropped));
            let is_named = wanted.clusters.contains(name) && cluster.is_some();
            if is_named || load.dropped > 0 || !load.localities.is_empty() {
                reports.push(load);
            }
        }
        // What limits refused is counted on when a cluster of the name comes again.
        let is_over =
            |name: &str, one: &Followed| one.endpoints.is_empty() && one.dropped == 0 && !clusters.contains_key(name);
        self.clusters.retain(|name, one| wanted.clusters.contains(name) || !is_over(name, one));
        reports
    }
}

/// Those that are wanted, there or not.
fn names<'a>(wanted: &'a Wanted, clusters: &'a SharedClusters) -> impl Iterator<Item = &'a String> {
    let all = wanted.all.then(|| clusters.keys());
    all.into_iter().flatten().chain(&wanted.clusters)
}

impl Followed {
    fn new(dropped: u64, since: Instant) -> Self {
        Self { service: String::new(), since, dropped, endpoints: HashMap::new() }
    }

    /// Takes in endpoints that are new; `told` is what counts as told of them.
    fn meet(
        &mut self,
        cluster: Option<&Arc<SharedCluster>>,
        told: impl Fn(&SharedEndpoint) -> (Totals, BTreeMap<String, Sum>),
    ) {
        let Some(cluster) = cluster else { return };
        cluster.loads_wanted.store(true, Ordering::Relaxed);
        self.service = match cluster.settings.discovery.as_ref().map(|discovery| &discovery.place) {
            Some(Place::Xds { service, .. }) if *service != cluster.settings.name => service.clone(),
            _ => String::new(),
        };
        for endpoint in &cluster.membership().endpoints {
            let entry = self.endpoints.entry(Arc::as_ptr(&endpoint.status).addr()).or_insert_with(|| {
                let (told, figures) = told(endpoint);
                Told {
                    settings: Arc::clone(&endpoint.settings),
                    status: Arc::downgrade(&endpoint.status),
                    tally: Arc::clone(&endpoint.status.tally),
                    told,
                    figures,
                }
            });
            entry.settings = Arc::clone(&endpoint.settings);
        }
    }

    /// What has come since, by failure domain and priority; endpoints that nobody can use any more are told for the last time.
    fn localities(&mut self, with_endpoints: bool) -> Vec<LocalityLoad> {
        let mut localities: BTreeMap<(u32, String), BTreeMap<SocketAddr, (Counts, Figures)>> = BTreeMap::new();
        self.endpoints.retain(|_, endpoint| {
            // Looked at before the numbers are: they do not change any more.
            let is_used = endpoint.status.strong_count() > 0;
            let counts = endpoint.told.advance(&endpoint.tally);
            let figures = endpoint.said();
            if counts != Counts::default() || !figures.is_empty() {
                let key = (endpoint.settings.priority, endpoint.settings.zone.clone());
                let sum = localities.entry(key).or_default().entry(endpoint.settings.address).or_default();
                add(&mut sum.0, counts);
                add_figures(&mut sum.1, &figures);
            }
            is_used
        });
        let each = localities.values().flat_map(BTreeMap::values);
        let are_few = each.map(|(_, figures)| figures.len()).sum::<usize>() <= MOST_FIGURES;
        let each = localities.into_iter().map(|((priority, zone), endpoints)| {
            let (mut counts, mut figures) = Default::default();
            for (of_one, said) in endpoints.values() {
                add(&mut counts, *of_one);
                add_figures(&mut figures, said);
            }
            let one = |(address, (counts, figures))| {
                let figures = if are_few { figures } else { Figures::new() };
                EndpointLoad { address, counts, figures }
            };
            let endpoints = if with_endpoints { endpoints.into_iter().map(one).collect() } else { Vec::new() };
            LocalityLoad { zone, priority, counts, figures, endpoints }
        });
        each.collect()
    }
}

impl Told {
    /// What the endpoint has said since, which counts as told from now on.
    fn said(&mut self) -> Figures {
        let now = self.tally.told.sums();
        let mut figures = Figures::new();
        for (name, sum) in &now {
            let before = self.figures.get(name).copied().unwrap_or_default();
            if sum.count > before.count {
                let figure = Figure { count: sum.count - before.count, total: sum.total - before.total };
                figures.insert(name.clone(), figure);
            }
        }
        self.figures = now;
        figures
    }
}

fn add_figures(sum: &mut Figures, said: &Figures) {
    for (name, one) in said {
        let figure = sum.entry(name.clone()).or_default();
        figure.count += one.count;
        figure.total += one.total;
    }
}

fn add(sum: &mut Counts, one: Counts) {
    sum.issued += one.issued;
    sum.succeeded += one.succeeded;
    sum.failed += one.failed;
    sum.active += one.active;
}

impl Totals {
    /// All so far, and what is under way.
    fn read(tally: &Tally) -> (Self, u32) {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // An answer is counted first and then as an error: read in the same order, an error is hardly ever taken for a success.
        let answers = tally.answers.count();
        let errors = number(&tally.server_errors);
        let lost = number(&tally.connect_failures) + number(&tally.timeouts) + number(&tally.resets);
        let (issued, active) = tally.requests.read();
        (Self { issued, succeeded: answers.saturating_sub(errors), failed: errors + lost }, active)
    }

    /// What has come since, which counts as told from now on.
    fn advance(&mut self, tally: &Tally) -> Counts {
        let (now, active) = Self::read(tally);
        let counts = Counts {
            issued: now.issued.wrapping_sub(self.issued).into(),
            // What was read in the middle of being counted is made good for by the next report.
            succeeded: now.succeeded.saturating_sub(self.succeeded),
            failed: now.failed.saturating_sub(self.failed),
            active: active.into(),
        };
        *self = Self {
            issued: now.issued,
            succeeded: self.succeeded.max(now.succeeded),
            failed: self.failed.max(now.failed),
        };
        counts
    }
}

#[cfg(test)]
mod tests;
