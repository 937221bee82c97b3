//! The control plane's tasks for clusters: active health checks, the intervals of outlier detection, and plans made anew.
//!
//! Each endpoint is asked by one task of the process, whatever the number of workers; they see the outcome through atomics. A cluster is
//! watched for as long as it is part of the generation that runs.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::MissedTickBehavior,
};

use super::{
    clusters::SharedClusters,
    connect,
    endpoint::{Checked, Mark, SharedEndpoint, Status},
    health::active::{self, Connect, Kind, Report, Runner, Seen, Traffic, Transition, Verdict},
    load,
    membership::Membership,
    shared::SharedCluster,
    view::milliseconds,
};
use crate::{
    config::resolved,
    telemetry::{Events, event_kinds},
    transport::Transport,
};

/// Everything that is watched. Dropped, nothing is any more.
#[derive(Default)]
pub struct Watches {
    running: HashMap<String, Watched>,
}

struct Watched {
    cluster: Arc<SharedCluster>,
    _tasks: JoinSet<()>,
    /// Checks end with it.
    _stop: watch::Sender<()>,
}

impl Watches {
    /// From now on these are watched, and others no more; what is found is told to `events`. Must be called inside the control plane's runtime.
    pub fn follow(&mut self, clusters: &SharedClusters, events: &Events) {
        self.running
            .retain(|name, watched| clusters.get(name).is_some_and(|cluster| Arc::ptr_eq(cluster, &watched.cluster)));
        for (name, cluster) in clusters {
            if !self.running.contains_key(name)
                && let Some(watched) = Watched::begin(cluster, events)
            {
                self.running.insert(name.clone(), watched);
            }
        }
    }
}

impl Watched {
    /// Nothing where there is nothing to watch: most clusters of many.
    fn begin(cluster: &Arc<SharedCluster>, events: &Events) -> Option<Self> {
        let settings = &cluster.settings;
        let loads = settings.balancing.load_weights.as_ref();
        let checks = [(&settings.health_check, Asked::Endpoint), (&settings.agent_check, Asked::AgentBeside)];
        if checks.iter().all(|(check, _)| check.is_none()) && settings.outlier_detection.is_none() && loads.is_none() {
            return None;
        }
        // Whoever watches it again is of the same process.
        let _ = cluster.events.set(events.clone());
        let mut tasks = JoinSet::new();
        let (stop, stopped) = watch::channel(());
        tasks.spawn(rebalance(Arc::clone(cluster)));
        if let Some(outliers) = &settings.outlier_detection {
            tasks.spawn(sweep(Arc::clone(cluster), outliers.interval));
        }
        if let Some(loads) = loads {
            tasks.spawn(load::weigh(Arc::clone(cluster), Arc::clone(loads)));
            if let Some(period) = loads.out_of_band {
                tasks.spawn(load::ask(Arc::clone(cluster), Arc::clone(loads), period));
            }
        }
        for (check, asked) in checks {
            if let Some(check) = check {
                tasks.spawn(check_members(Arc::clone(cluster), Arc::clone(check), asked, stopped.clone()));
            }
        }
        // Whoever watched a cluster in whose place this one came may have marked endpoints since its plan was made.
        cluster.unbalanced.notify_one();
        Some(Self { cluster: Arc::clone(cluster), _tasks: tasks, _stop: stop })
    }
}

/// Makes the plan anew whenever somebody's health has changed.
async fn rebalance(cluster: Arc<SharedCluster>) {
    loop {
        cluster.unbalanced.notified().await;
        cluster.rebalance();
        cluster.clear_away_later();
    }
}

/// A check for each member, for as long as it is one.
async fn check_members(
    cluster: Arc<SharedCluster>,
    check: Arc<active::Settings>,
    asked: Asked,
    stopped: watch::Receiver<()>,
) {
    let mut running: PerMember<AbortHandle> = PerMember::new();
    let mut tasks = JoinSet::new();
    loop {
        let begin = |endpoint: &_| tasks.spawn(runner(&cluster, &check, asked, endpoint).run(stopped.clone()));
        running.follow(&cluster.membership(), begin, |task| task.abort());
        cluster.moved.notified().await;
        while tasks.try_join_next().is_some() {}
    }
}

/// Something for each member of a cluster, for as long as it is one.
#[derive(Debug)]
pub(crate) struct PerMember<T>(HashMap<SocketAddr, (Arc<Status>, T)>);

impl<T> PerMember<T> {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Ends it for those who are members no more, or others by the same address; then begins it for those who have none.
    pub(crate) fn follow(
        &mut self,
        membership: &Membership,
        mut begin: impl FnMut(&Arc<SharedEndpoint>) -> T,
        mut end: impl FnMut(&T),
    ) {
        let members: HashMap<SocketAddr, &Arc<SharedEndpoint>> =
            membership.endpoints.iter().map(|endpoint| (endpoint.address(), endpoint)).collect();
        self.0.retain(|address, (status, one)| {
            let stays = members.get(address).is_some_and(|endpoint| Arc::ptr_eq(&endpoint.status, status));
            if !stays {
                end(one);
            }
            stays
        });
        // In their order, so that the same members are begun with in the same order.
        for address in membership.endpoints.iter().map(|endpoint| endpoint.address()) {
            let Some(endpoint) = members.get(&address) else { continue };
            self.0.entry(address).or_insert_with(|| (Arc::clone(&endpoint.status), begin(endpoint)));
        }
    }
}

async fn sweep(cluster: Arc<SharedCluster>, interval: std::time::Duration) {
    let mut timer = tokio::time::interval(interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    timer.tick().await;
    loop {
        timer.tick().await;
        cluster.sweep_outliers();
    }
}

fn runner(
    cluster: &Arc<SharedCluster>,
    check: &Arc<active::Settings>,
    asked: Asked,
    endpoint: &Arc<SharedEndpoint>,
) -> Runner<Dial, Findings> {
    let (host, agent) = match &check.kind {
        Kind::Http(http) => (Some(http.host.as_str().to_owned()), None),
        Kind::Grpc(grpc) => (Some(grpc.authority.as_str().to_owned()), None),
        Kind::Agent(agent) => (None, Some(agent.port)),
        Kind::Tcp(_) | Kind::Redis { .. } | Kind::Mongo => (None, None),
    };
    let http2 = matches!(&check.kind, Kind::Grpc(_))
        || matches!(&check.kind, Kind::Http(http) if http.protocol == active::HttpProtocol::Http2);
    let http = matches!(&check.kind, Kind::Http(_) | Kind::Grpc(_));
    let settings = &cluster.settings;
    // A check speaks one protocol.
    let protocols: &[&[u8]] = match (http, http2) {
        (true, true) => &[b"h2"],
        (true, false) => &[b"http/1.1"],
        (false, _) => &[],
    };
    let tls = settings.tls.as_ref().filter(|_| agent.is_none()).map(|tls| tls.offering(protocols));
    let address = match agent {
        Some(port) => SocketAddr::new(endpoint.address().ip(), port),
        None => endpoint.address(),
    };
    let used = Arc::clone(cluster);
    Runner {
        connect: Dial { settings: Arc::clone(settings), address, tls, host },
        settings: Arc::clone(check),
        report: Findings::new(Arc::clone(cluster), Arc::clone(endpoint), asked),
        traffic: Arc::new(move || if used.is_used() { Traffic::Busy } else { Traffic::Idle }),
        passive: match asked {
            Asked::Endpoint => Arc::clone(endpoint.status.gave_up.get_or_init(Arc::default)),
            // Requests say nothing of it.
            Asked::AgentBeside => Arc::default(),
        },
        random: fastrand::Rng::new(),
    }
}

/// Connects as requests do.
struct Dial {
    settings: Arc<resolved::Cluster>,
    address: SocketAddr,
    tls: Option<resolved::ClusterTls>,
    host: Option<String>,
}

impl Connect for Dial {
    type Io = Transport;

    async fn connect(&self) -> io::Result<Transport> {
        connect::plainly(&self.settings, self.tls.as_ref(), self.address, self.host.as_deref()).await
    }
}

/// Writes down what checks find.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) cluster: Arc<SharedCluster>,
    pub(crate) endpoint: Arc<SharedEndpoint>,
    asked: Asked,
    /// An agent that says nothing was told of.
    is_silent: AtomicBool,
}

/// Who says how an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The health check.
    Endpoint,
    /// `agent_check`.
    AgentBeside,
}

impl Report for Findings {
    fn checked(&self, seen: Seen) {
        match self.asked {
            Asked::Endpoint => self.found(&seen),
            Asked::AgentBeside => self.told(&seen),
        }
    }
}

impl Findings {
    pub(crate) fn new(cluster: Arc<SharedCluster>, endpoint: Arc<SharedEndpoint>, asked: Asked) -> Self {
        Self { cluster, endpoint, asked, is_silent: AtomicBool::new(false) }
    }

    /// An agent beside the endpoint has spoken, or has not: then all stays as it is, because whether the endpoint can be reached is for checks to say.
    fn told(&self, seen: &Seen) {
        let (status, address) = (&self.endpoint.status, self.endpoint.address());
        let cluster = self.cluster.settings.name.as_str();
        let reply = match &seen.verdict {
            Verdict::Agent(reply) => reply,
            Verdict::Failed(failure) => {
                // Once, lest an agent that nobody can reach be taken for one that agrees.
                if self.is_silent.swap(true, Ordering::Relaxed) {
                    tracing::debug!(cluster, %address, "the agent says nothing: {}", failure.words);
                } else {
                    tracing::warn!(cluster, %address, "the agent says nothing: {}", failure.words);
                }
                return;
            }
            Verdict::Passed | Verdict::Degraded => return,
        };
        self.is_silent.store(false, Ordering::Relaxed);
        let (was_usable, before) = (status.is_usable(), status.health());
        // Word by word, as it is said: what an agent does not speak of stays, whoever else has been asked or reloaded meanwhile.
        if let Some(operation) = reply.operation {
            status.mark(Mark::AgentDown, operation == active::Operation::Down);
        }
        if let Some(wanted) = reply.administration {
            status.mark(Mark::AgentDraining, wanted == active::Administration::Drain);
            status.mark(Mark::AgentMaintenance, wanted == active::Administration::Maintenance);
        }
        let weighs = reply.weight.is_some_and(|percent| status.weigh(u32::from(percent)));
        if status.health() != before {
            self.moved(was_usable, reply.reason.as_deref().unwrap_or_default());
        } else if weighs {
            self.cluster.unbalanced.notify_one();
        }
    }

    /// Its standing is another now, and `why`, if it says so.
    fn moved(&self, was_usable: bool, why: &str) {
        let (status, address) = (&self.endpoint.status, self.endpoint.address());
        let cluster = self.cluster.settings.name.as_str();
        if !was_usable && status.is_usable() {
            status.recovered(milliseconds());
        }
        match status.health().label() {
            "healthy" => {
                tracing::info!(cluster, %address, "endpoint is healthy");
                let message = format!("endpoint {address} is healthy");
                self.cluster.tell(&event_kinds::ENDPOINT_RECOVERED, address, message, "healthy");
            }
            health => {
                let reasons = status.reasons().join(", ");
                let why = if why.is_empty() { &reasons } else { why };
                tracing::warn!(cluster, %address, "endpoint is {health}: {why}");
                let message = format!("endpoint {address} is {health}: {why}");
                self.cluster.tell(&event_kinds::ENDPOINT_HEALTH, address, message, health);
            }
        }
        // Many may change at once: one plan serves all of them.
        self.cluster.unbalanced.notify_one();
    }

    fn found(&self, seen: &Seen) {
        let (status, address) = (&self.endpoint.status, self.endpoint.address());
        let cluster = self.cluster.settings.name.as_str();
        let failed = matches!(seen.verdict, Verdict::Failed(_));
        let counter = if failed { &self.cluster.checks.failed } else { &self.cluster.checks.passed };
        counter.fetch_add(1, Ordering::Relaxed);
        let words = match &seen.verdict {
            Verdict::Failed(failure) => failure.words.clone(),
            Verdict::Passed | Verdict::Degraded | Verdict::Agent(_) => String::new(),
        };
        if !words.is_empty() {
            tracing::debug!(cluster, %address, "health check failed: {words}");
        }
        let was_usable = status.is_usable();
        let mut moved = status.mark(Mark::FailedCheck, seen.health == active::Health::Unhealthy);
        moved |= status.mark(Mark::Degraded, seen.health == active::Health::Degraded);
        moved |= status.mark(Mark::Draining, seen.health == active::Health::Draining);
        if let Some(percent) = seen.weight {
            moved |= status.weigh(u32::from(percent));
        }
        *status.finding.lock().unwrap_or_else(PoisonError::into_inner) = words.clone();
        *status.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Checked {
            at: milliseconds(),
            took: Some(seen.elapsed).filter(|took| !took.is_zero()),
            passed: !failed,
            finding: words.clone(),
        });
        if !failed {
            self.cluster.passed_check(address);
        } else if status.has(Mark::Absent) && status.has(Mark::FailedCheck) && self.cluster.purge(address) {
            tracing::info!(cluster, %address, "endpoint is forgotten: it is no longer discovered, and its health check fails");
            let message =
                format!("endpoint {address} is forgotten: it is no longer discovered, and its health check fails");
            self.cluster.tell(&event_kinds::ENDPOINTS_DISCOVERED, address, message, "unhealthy");
            return;
        }
        if moved {
            self.moved(was_usable, &words);
        } else if seen.transition == Transition::ChangePending {
            tracing::debug!(cluster, %address, "more checks like this one will change the endpoint's health");
        }
    }
}
