//! The part of a cluster that exists once per process.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    breakers::{Breakers, RetryPermit},
    choice::Priority,
    endpoint::{Gone, SharedEndpoint, Status},
    found::Found,
    health::{self, outlier::Detector},
    learned::Published,
    lending::Shares,
    membership::Membership,
};
use crate::{
    config::resolved,
    telemetry::{Events, event_kinds::Kind},
};

/// Settings, members and limits of a cluster.
#[derive(Debug)]
pub struct SharedCluster {
    /// Settings.
    pub settings: Arc<resolved::Cluster>,
    /// Rises with every change of the membership or of an endpoint's health.
    pub(super) version: AtomicU64,
    pub(super) membership: Mutex<Arc<Membership>>,
    /// Those before it, which some worker may still have.
    pub(super) replaced: Mutex<Vec<Arc<Membership>>>,
    /// Somebody is making the next membership.
    pub(super) rebalancing: Mutex<()>,
    /// There are other members than before.
    pub(super) moved: Notify,
    /// Where members come from, if they are discovered.
    pub found: Arc<Found>,
    /// Members are those that another source had named: they stay until this one has said something.
    pub(super) borrowed: AtomicBool,
    breakers: Arc<Breakers>,
    /// Hardly any cluster needs them.
    high: OnceLock<Arc<Breakers>>,
    /// Decides which endpoints are outliers.
    pub(super) detector: Option<Arc<Detector<SocketAddr>>>,
    /// Somebody's health has changed, and the plan is still the old one.
    pub(super) unbalanced: Notify,
    /// Where what happens to its endpoints is told, once it is watched.
    pub(super) events: OnceLock<Events>,
    /// Health checks so far, of its predecessors too.
    pub checks: Arc<Checks>,
    /// Somebody waits for a connection, and their worker has none to give up.
    pub hungry: Notify,
    /// Some worker has sent a request to it.
    used: AtomicBool,
    /// A control plane wants to hear what its endpoints say of their load.
    pub loads_wanted: AtomicBool,
    /// Workers of the process.
    pub(super) workers: usize,
    /// Connections that are lent, by what they are for.
    pub(super) shares: Shares,
}

impl SharedCluster {
    /// A cluster with no open connection.
    #[must_use]
    pub fn new(settings: Arc<resolved::Cluster>, workers: usize) -> Arc<Self> {
        let detector = settings.outlier_detection.as_deref().map(|outliers| detector(outliers.clone()));
        let endpoints = settings.endpoints.clone();
        Self::with((settings, endpoints), workers, (detector, Arc::default()), |_| Arc::default())
    }

    fn with(
        (settings, endpoints): (Arc<resolved::Cluster>, Vec<Arc<resolved::Endpoint>>),
        workers: usize,
        (detector, checks): (Option<Arc<Detector<SocketAddr>>>, Arc<Checks>),
        status: impl Fn(SocketAddr) -> Arc<Status>,
    ) -> Arc<Self> {
        let endpoints = endpoints
            .into_iter()
            .map(|settings| {
                let status = status(settings.address);
                let outlier = detector.as_ref().map(|detector| detector.add(settings.address, workers));
                Arc::new(SharedEndpoint { settings, status, outlier })
            })
            .collect();
        let breakers = Breakers::new(settings.circuit_breakers.usual.clone());
        Arc::new(Self {
            version: AtomicU64::new(0),
            membership: Mutex::new(Arc::new(Membership::new(&settings, 0, endpoints))),
            replaced: Mutex::default(),
            rebalancing: Mutex::default(),
            moved: Notify::new(),
            found: Arc::default(),
            borrowed: AtomicBool::new(false),
            breakers: Arc::new(breakers),
            high: OnceLock::new(),
            detector,
            unbalanced: Notify::new(),
            events: OnceLock::new(),
            checks,
            hungry: Notify::new(),
            used: AtomicBool::new(false),
            loads_wanted: AtomicBool::new(false),
            workers,
            shares: Shares::default(),
            settings,
        })
    }

    /// Tells of an endpoint.
    pub(super) fn tell(&self, kind: &'static Kind, address: SocketAddr, message: String, health: &str) {
        if let Some(events) = self.events.get() {
            let fields = serde_json::json!({ "address": address, "health": health });
            events.tell(kind, &self.settings.name, message, fields);
        }
    }

    /// A cluster in place of one of the same name: what is known of its endpoints stays known.
    #[must_use]
    pub fn in_place_of(settings: Arc<resolved::Cluster>, workers: usize, old: &Self) -> Arc<Self> {
        let before = old.membership();
        // Whoever was discovered stays until the source has said otherwise; where it is another one, until it has said anything.
        let (endpoints, borrowed) = match (&settings.discovery, &old.settings.discovery) {
            (Some(now), Some(known)) => {
                let borrowed = now.place != known.place || old.borrowed.load(Ordering::Relaxed);
                (before.endpoints.iter().map(|endpoint| Arc::clone(&endpoint.settings)).collect(), borrowed)
            }
            _ => (settings.endpoints.clone(), false),
        };
        let stay: HashSet<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        let detector = match (&old.detector, settings.outlier_detection.as_deref()) {
            (Some(detector), Some(outliers)) => {
                detector.configure(outliers.clone());
                for gone in &before.endpoints {
                    if !stay.contains(&gone.address()) {
                        detector.remove(&gone.address());
                    }
                }
                Some(Arc::clone(detector))
            }
            (None, Some(outliers)) => Some(detector(outliers.clone())),
            (_, None) => None,
        };
        // Marks that nobody would take away any more are not taken over. What is known is shared otherwise, with those who watch the
        // old cluster until this one takes its place: they must not mark an endpoint here that nobody will look at again.
        let gone = Gone {
            outliers: old.detector.is_some() && detector.is_none(),
            checks: old.settings.health_check.is_some() && settings.health_check.is_none(),
            agents: old.settings.agent_check.is_some() && settings.agent_check.is_none(),
        };
        let places: HashMap<SocketAddr, &Arc<SharedEndpoint>> =
            before.endpoints.iter().map(|endpoint| (endpoint.address(), endpoint)).collect();
        let status = |address| match places.get(&address) {
            None => Arc::default(),
            Some(known) if gone.is_any() => Arc::new(known.status.without(gone)),
            Some(known) => Arc::clone(&known.status),
        };
        let cluster = Self::with((settings, endpoints), workers, (detector, Arc::clone(&old.checks)), status);
        cluster.used.store(old.is_used(), Ordering::Relaxed);
        cluster.borrowed.store(borrowed, Ordering::Relaxed);
        cluster.loads_wanted.store(old.loads_wanted.load(Ordering::Relaxed), Ordering::Relaxed);
        cluster
    }

    /// Rises with every change of the membership or of an endpoint's health.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether some worker has sent a request to it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Some worker is about to send a request to it.
    pub fn begin_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// The members, and how requests are spread over them.
    #[must_use]
    pub fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.membership.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the balancer look at the health of endpoints again. Builds tables: where a worker asks for it, that should be rare.
    pub fn rebalance(&self) {
        // One at a time, and apart from the lock that workers take: none of them waits while tables are built.
        let _turn = self.rebalancing.lock().unwrap_or_else(PoisonError::into_inner);
        self.install(self.membership().endpoints.clone());
    }

    /// The limits that count requests of a priority.
    #[must_use]
    pub fn breakers(&self, priority: Priority) -> &Arc<Breakers> {
        match priority {
            Priority::Default => &self.breakers,
            Priority::High => {
                self.high.get_or_init(|| Arc::new(Breakers::new(self.settings.circuit_breakers.high.clone())))
            }
        }
    }

    /// The same, where something was ever counted.
    #[must_use]
    pub fn breakers_in_use(&self, priority: Priority) -> Option<&Arc<Breakers>> {
        match priority {
            Priority::Default => Some(&self.breakers),
            Priority::High => self.high.get(),
        }
    }

    /// Room for one more attempt, if there is.
    #[must_use]
    pub fn retry_permit(&self, priority: Priority) -> Option<RetryPermit> {
        RetryPermit::of(self.breakers(priority))
    }

    /// A label of an endpoint: what a filter has learned, else what the configuration says.
    #[must_use]
    pub fn label(&self, endpoint: SocketAddr, key: &str) -> Option<String> {
        self.membership().endpoint(endpoint)?.label(key)
    }

    /// Publishes what a filter has learned of an endpoint, for all workers; an empty value takes it back. Returns whether there is such
    /// an endpoint, and room for another label. Builds tables where subsets are made by it, so that should be rare.
    pub fn set_label(&self, endpoint: SocketAddr, key: &str, value: &str) -> bool {
        let membership = self.membership();
        let Some(found) = membership.endpoint(endpoint) else { return false };
        let published = found.status.learned.publish(key, value);
        if published == Published::Changed
            && self.settings.balancing.subsets.as_ref().is_some_and(|subsets| subsets.go_by(key))
        {
            self.rebalance();
        }
        published != Published::Refused
    }

    /// Whether somebody waits for the permit to open a connection, on any worker.
    #[must_use]
    pub fn is_starving(&self, priority: Priority) -> bool {
        self.breakers_in_use(priority).is_some_and(|breakers| breakers.is_starving())
    }
}

/// Health checks so far.
#[derive(Debug, Default)]
pub struct Checks {
    /// Those that were well.
    pub passed: AtomicU64,
    /// Those that were not.
    pub failed: AtomicU64,
}

fn detector(outliers: health::outlier::Settings) -> Arc<Detector<SocketAddr>> {
    Arc::new(Detector::new(outliers, fastrand::Rng::new()))
}
