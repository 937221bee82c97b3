//! What the dashboard shows, from what the host knows.
//!
//! ```text
//! kept          counters -> the last hour, the last seconds of filters, since when endpoints are down
//! process       the frame of every page
//! services      listeners and clusters
//! warnings      what somebody should look at
//! reloads       the audit log -> attempts to change what runs
//! events        what happened lately -> the event tail
//! flow          the way of requests
//! endpoints     endpoints by cluster; `traffic`: how fast they are used
//! filters       the list of filters; `filter`: one of them; `filter_metrics`: what it counts
//! sources       control planes, and where clusters find their endpoints
//! certificates  what is presented in handshakes
//! panels        charts that filters declare, and their last hour
//! explain       the route tester; `tap`: requests as they end
//! ```
//!
//! A [`Host`] is one look: everybody who is answered from it sees the same moment, and what is expensive is found once. What
//! nobody counts is `None`, never a zero.

mod certificates;
mod endpoints;
mod events;
mod explain;
mod filter;
mod filter_metrics;
mod filters;
mod flow;
mod kept;
mod panels;
mod process;
mod recent;
mod reloads;
mod services;
mod sources;
mod tap;
mod traffic;
mod warnings;
mod ways;

use std::sync::{Arc, OnceLock};

pub(super) use self::kept::Kept;
use super::{
    Admin, board,
    dashboard::{
        Source,
        model::{
            Certificate, ClusterEndpoints, Event, Explanation, FilterPage, FilterSummary, Flow, LastUsed, Overview,
            Panel, PanelPage, Process, Provenance, Question, Service, ServiceKind, Sources, Tap, TapFilter, Time,
            Trend,
        },
    },
};
use crate::{
    config::resolved::Origin,
    snapshot::Snapshot,
    telemetry::{Metric, Reading, Registry},
};

/// A look at the host.
pub(super) struct Host<'a> {
    admin: &'a Admin,
    /// When.
    pub now: Time,
    /// What ran then.
    pub snapshot: Arc<Snapshot>,
    process: OnceLock<Process>,
    overview: OnceLock<Overview>,
}

impl<'a> Host<'a> {
    /// Now.
    pub fn new(admin: &'a Admin) -> Self {
        Self {
            admin,
            now: board::now(),
            snapshot: admin.keeper.proxy.snapshot(),
            process: OnceLock::new(),
            overview: OnceLock::new(),
        }
    }

    fn registry(&self) -> &Registry {
        self.admin.keeper.proxy.registry()
    }

    /// What a counter or a gauge shows; `None`: nobody has counted.
    fn number(&self, metric: &Metric, labels: &[(&str, &str)]) -> Option<u64> {
        number(self.registry(), metric, labels)
    }
}

impl Source for Host<'_> {
    fn now(&self) -> Time {
        self.now
    }

    fn process(&self) -> Process {
        self.process.get_or_init(|| process::process(self)).clone()
    }

    fn overview(&self) -> Overview {
        let overview = || {
            let services_left_out = self.admin.board.kept().left_out();
            Overview {
                services: services::services(self),
                services_left_out,
                warnings: warnings::warnings(self),
                reloads: reloads::reloads(self),
            }
        };
        self.overview.get_or_init(overview).clone()
    }

    fn total(&self, points: usize) -> Trend {
        self.admin.board.kept().history().trend_of_all(ServiceKind::Listener, points)
    }

    fn service(&self, kind: ServiceKind, name: &str, points: usize) -> Option<Service> {
        services::service(self, kind, name, points)
    }

    fn flow(&self) -> Flow {
        flow::flow(self)
    }

    fn clusters(&self) -> Vec<String> {
        self.snapshot.clusters.keys().cloned().collect()
    }

    fn can_change_endpoints(&self) -> bool {
        true
    }

    fn endpoints(&self, cluster: Option<&str>) -> Vec<ClusterEndpoints> {
        endpoints::endpoints(self, cluster)
    }

    fn filters(&self) -> Vec<FilterSummary> {
        self.snapshot.config.filters.values().map(|settings| filters::summary(self, settings)).collect()
    }

    fn filter(&self, name: &str) -> Option<FilterPage> {
        filter::filter(self, name)
    }

    fn panels(&self, filter: &str) -> Option<PanelPage> {
        panels::page(self, filter)
    }

    fn panel(&self, filter: &str, place: usize) -> Option<Panel> {
        panels::one(self, filter, place)
    }

    fn sources(&self) -> Sources {
        sources::sources(self)
    }

    fn certificates(&self) -> Vec<Certificate> {
        certificates::certificates(self).to_vec()
    }

    fn events(&self, most: usize) -> Vec<Event> {
        events::events(self, most)
    }

    fn listeners(&self) -> Vec<String> {
        self.snapshot.config.listeners.iter().map(|listener| listener.name.clone()).collect()
    }

    fn explain(&self, question: &Question) -> Explanation {
        explain::explain(self, question)
    }

    fn tap(&self, filter: &TapFilter, most: usize) -> Tap {
        self.admin.board.kept().taps.look(self.now, filter, most, self.admin.keeper.proxy.tap())
    }
}

fn number(registry: &Registry, metric: &Metric, labels: &[(&str, &str)]) -> Option<u64> {
    match registry.read(metric, labels)? {
        Reading::Counter(value) => Some(value),
        // A gauge that is below zero for a moment is one that nobody is in.
        Reading::Gauge(value) => Some(u64::try_from(value).unwrap_or(0)),
        Reading::Time(_) | Reading::Histogram(_) => None,
    }
}

/// The sum of several series of a metric that differ in the value of one label.
fn sum(registry: &Registry, metric: &Metric, own: (&str, &str), label: &str, values: &[&str]) -> u64 {
    let each = values.iter().filter_map(|value| number(registry, metric, &[own, (label, value)]));
    each.fold(0, u64::saturating_add)
}

fn provenance(origin: &Origin, last_used: LastUsed) -> Provenance {
    let origin = match (origin.file.as_str(), origin.line) {
        ("", _) => "admin endpoint".to_owned(),
        (file, line) => format!("{file}:{line}"),
    };
    Provenance { origin: Some(origin), last_used }
}
