//! Tells a control plane how much goes where: a client of `envoy.service.load_stats.v3.LoadReportingService` (LRS).
//!
//! The call begins with who this proxy is. The control plane answers which clusters it wants to hear of, and how often; it may say something
//! else at any time. What there is to tell is the application's affair ([`Loads`]): it is asked when a report is due, and says what has come
//! since the one before. The connection is one of its own, so nothing that goes wrong here touches what is listened to. A call that ends is
//! made again after a while, whatever the reason; a control plane that does not implement it may come to do so.

mod messages;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    time::Duration,
};

use prost::Message;
use tokio::time::{Instant, sleep, sleep_until};

pub(super) use self::messages::{ClusterStats, LoadStatsRequest, LoadStatsResponse};
use super::{
    Backoff,
    client::Settings,
    connect::connect,
    grpc::{self, Guard},
};

const METHOD: &str = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
/// <https://www.envoyproxy.io/docs/envoy/latest/api/client_features>
const ALL_CLUSTERS: &str = "envoy.lrs.supports_send_all_clusters";
/// Reports are not sent more often than this.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest, whatever is asked for.
const LONGEST: Duration = Duration::from_hours(24);
/// Where a control plane does not say how often.
const USUAL: Duration = Duration::from_secs(10);

/// What a control plane wants to hear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of these clusters.
    pub clusters: BTreeSet<String>,
    /// Of all that there are.
    pub all: bool,
    /// Of each endpoint, and not only of each locality.
    pub endpoints: bool,
}

impl Wanted {
    /// Whether it wants to hear of a cluster.
    #[must_use]
    pub fn has(&self, cluster: &str) -> bool {
        self.all || self.clusters.contains(cluster)
    }

    /// Whether it wants to hear nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.all && self.clusters.is_empty()
    }
}

/// What became of requests since the report before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that were sent.
    pub issued: u64,
    /// Those that were answered well.
    pub succeeded: u64,
    /// Those that were not.
    pub failed: u64,
    /// Those that are under way now.
    pub active: u64,
}

/// What endpoints have said of their load (ORCA), by the names of figures: `cpu_utilization`, `named_metrics.queue`.
pub type Figures = BTreeMap<String, Figure>;

/// One of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figure {
    /// Answers that told it.
    pub count: u64,
    /// The sum of what they told.
    pub total: f64,
}

/// Of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterLoad {
    /// Its name.
    pub name: String,
    /// The name of its assignment, where that is another one; else empty.
    pub service: String,
    /// Requests that a limit refused.
    pub dropped: u64,
    /// The time that it is about.
    pub elapsed: Duration,
    /// Where requests went; none: nowhere.
    pub localities: Vec<LocalityLoad>,
}

/// Of the endpoints of a cluster in one failure domain, with one priority.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalityLoad {
    /// The failure domain; empty: unknown.
    pub zone: String,
    /// The priority.
    pub priority: u32,
    /// All together.
    pub counts: Counts,
    /// What they have said, all together.
    pub figures: Figures,
    /// Each, where that is wanted.
    pub endpoints: Vec<EndpointLoad>,
}

/// Of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointLoad {
    /// Where it is.
    pub address: SocketAddr,
    /// What became of its requests.
    pub counts: Counts,
    /// What it has said.
    pub figures: Figures,
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The control plane has said what it wants, the first time on this call.
    Wanted,
    /// A report was sent.
    Sent,
    /// There is no call any more, or none came to be.
    Lost {
        /// Why.
        reason: String,
        /// The next attempt is made after this.
        retry_in: Duration,
    },
}

/// Who knows what there is to tell. It is asked on a task: it must not block.
pub trait Loads: Send + 'static {
    /// This is wanted from now on. What was followed before and still is goes on; what is new begins now.
    fn follow(&mut self, wanted: &Wanted);
    /// What has come since the report before, or since it is followed.
    fn report(&mut self, wanted: &Wanted) -> Vec<ClusterLoad>;
    /// How it goes.
    fn tell(&mut self, notice: Notice);
}

/// Reports until this is dropped.
pub struct LoadReporter {
    _task: Guard<()>,
}

impl LoadReporter {
    /// Starts the task, on the runtime that this is called on. Of the settings only those count that are about the connection, and the node.
    #[must_use]
    pub fn start(settings: Settings, loads: impl Loads) -> Self {
        Self { _task: Guard(tokio::spawn(run(settings, loads))) }
    }
}

impl std::fmt::Debug for LoadReporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadReporter").finish_non_exhaustive()
    }
}

async fn run(settings: Settings, mut loads: impl Loads) {
    let mut backoff = settings.backoff.clone();
    loop {
        let Err(reason) = call(&settings, &mut loads, &mut backoff).await;
        let retry_in = backoff.next(fastrand::f64());
        loads.tell(Notice::Lost { reason, retry_in });
        sleep(retry_in).await;
    }
}

/// One call, until it ends.
async fn call(settings: &Settings, loads: &mut impl Loads, backoff: &mut Backoff) -> Result<Infallible, String> {
    let connection = connect(settings.address.clone(), settings.tls.clone(), settings.connect_timeout).await?;
    let (requests, mut responses) =
        grpc::call(&connection, METHOD, &settings.origin(), &settings.headers, settings.largest_message)?;
    let mut node = settings.node.message();
    node.client_features.push(ALL_CLUSTERS.to_owned());
    requests.send(&LoadStatsRequest { node: Some(node), cluster_stats: Vec::new() })?;
    let (mut wanted, mut interval) = (Wanted::default(), USUAL);
    let mut heard = false;
    let mut due = Instant::now();
    loop {
        tokio::select! {
            message = responses.next() => {
                let response = LoadStatsResponse::decode(message?);
                let response = response.map_err(|error| format!("a response is malformed: {error}"))?;
                backoff.reset();
                wanted = Wanted::read(&response);
                interval = self::interval(&response);
                loads.follow(&wanted);
                if !std::mem::replace(&mut heard, true) {
                    loads.tell(Notice::Wanted);
                }
            }
            () = sleep_until(due), if !wanted.is_nothing() => {
                let cluster_stats = loads.report(&wanted).into_iter().map(ClusterStats::new).collect();
                requests.send(&LoadStatsRequest { node: None, cluster_stats })?;
                loads.tell(Notice::Sent);
            }
        }
        due = Instant::now() + interval;
    }
}

fn interval(response: &LoadStatsResponse) -> Duration {
    let said = response.load_reporting_interval.and_then(|interval| Duration::try_from(interval).ok());
    said.filter(|interval| !interval.is_zero()).unwrap_or(USUAL).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_within_bounds_whatever_is_asked_for() {
        let said = |seconds, nanos| {
            let load_reporting_interval = Some(prost_types::Duration { seconds, nanos });
            interval(&LoadStatsResponse { load_reporting_interval, ..LoadStatsResponse::default() })
        };
        assert_eq!(said(3, 0), Duration::from_secs(3));
        assert_eq!((said(0, 1), said(i64::MAX, 0)), (SHORTEST, LONGEST));
        assert_eq!((said(0, 0), said(-1, 0)), (USUAL, USUAL));
        assert_eq!(interval(&LoadStatsResponse::default()), USUAL);
    }
}
