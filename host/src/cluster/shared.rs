//! The part of a cluster that exists once per process.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    breakers::{Breakers, RetryPermit},
    choice::Priority,
    endpoint::{SharedEndpoint, Status},
    health::{self, outlier::Detector},
    lending::Shares,
    membership::Membership,
};
use crate::{
    config::resolved,
    telemetry::{Events, event_kinds::Kind},
};

/// Labels that filters may publish of one endpoint.
const MOST_LABELS: usize = 64;
/// Bytes of all their keys and values.
const MOST_LABEL_BYTES: usize = 8 * 1024;
/// Longest key and longest value of one, in bytes.
const LONGEST_LABEL: usize = 1024;

/// Settings, members and limits of a cluster.
#[derive(Debug)]
pub struct SharedCluster {
    /// Settings.
    pub settings: Arc<resolved::Cluster>,
    /// Rises with every change of the membership or of an endpoint's health.
    version: AtomicU64,
    membership: Mutex<Arc<Membership>>,
    /// Somebody is making the next membership.
    rebalancing: Mutex<()>,
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
    /// Some worker has sent a request to it.
    used: AtomicBool,
    /// Workers' requests that wait for a permit: while there are any, connections that come free are closed, not kept.
    starving: AtomicUsize,
    /// Workers of the process.
    pub(super) workers: usize,
    /// Connections that are lent, by what they are for.
    pub(super) shares: Shares,
    /// What filters have learned of endpoints.
    labels: RwLock<BTreeMap<SocketAddr, BTreeMap<String, String>>>,
}

impl SharedCluster {
    /// A cluster with no open connection.
    #[must_use]
    pub fn new(settings: Arc<resolved::Cluster>, workers: usize) -> Arc<Self> {
        let detector = settings.outlier_detection.as_deref().map(|outliers| detector(outliers.clone()));
        Self::with(settings, workers, (detector, Arc::default()), |_| Arc::default())
    }

    fn with(
        settings: Arc<resolved::Cluster>,
        workers: usize,
        (detector, checks): (Option<Arc<Detector<SocketAddr>>>, Arc<Checks>),
        status: impl Fn(SocketAddr) -> Arc<Status>,
    ) -> Arc<Self> {
        let endpoints = settings.endpoints.iter();
        let endpoints = endpoints
            .map(|endpoint| {
                let status = status(endpoint.address);
                let outlier = detector.as_ref().map(|detector| detector.add(endpoint.address, workers));
                Arc::new(SharedEndpoint { settings: Arc::clone(endpoint), status, outlier })
            })
            .collect();
        let breakers = Breakers::new(settings.circuit_breakers.usual.clone());
        Arc::new(Self {
            version: AtomicU64::new(0),
            membership: Mutex::new(Arc::new(Membership::new(&settings, 0, endpoints))),
            rebalancing: Mutex::default(),
            breakers: Arc::new(breakers),
            high: OnceLock::new(),
            detector,
            unbalanced: Notify::new(),
            events: OnceLock::new(),
            checks,
            used: AtomicBool::new(false),
            starving: AtomicUsize::new(0),
            workers,
            shares: Shares::default(),
            labels: RwLock::default(),
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
        let detector = match (&old.detector, settings.outlier_detection.as_deref()) {
            (Some(detector), Some(outliers)) => {
                detector.configure(outliers.clone());
                for gone in &before.endpoints {
                    if !settings.endpoints.iter().any(|endpoint| endpoint.address == gone.address()) {
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
        let forgets = (old.detector.is_some() && detector.is_none())
            || (old.settings.health_check.is_some() && settings.health_check.is_none());
        let (ejects, checks) = (detector.is_some(), settings.health_check.is_some());
        let places: HashMap<SocketAddr, &Arc<SharedEndpoint>> =
            before.endpoints.iter().map(|endpoint| (endpoint.address(), endpoint)).collect();
        let status = |address| match places.get(&address) {
            None => Arc::default(),
            Some(known) if forgets => Arc::new(known.status.without(!ejects, !checks)),
            Some(known) => Arc::clone(&known.status),
        };
        let cluster = Self::with(settings, workers, (detector, Arc::clone(&old.checks)), status);
        cluster.used.store(old.is_used(), Ordering::Relaxed);
        let learned = old.labels.read().unwrap_or_else(PoisonError::into_inner);
        let kept = learned
            .iter()
            .filter(|(address, _)| cluster.settings.endpoints.iter().any(|endpoint| endpoint.address == **address));
        let kept = kept.map(|(address, labels)| (*address, labels.clone())).collect();
        *cluster.labels.write().unwrap_or_else(PoisonError::into_inner) = kept;
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
        let version = self.version.load(Ordering::Relaxed) + 1;
        let next = Arc::new(Membership::new(&self.settings, version, self.membership().endpoints.clone()));
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.version.store(version, Ordering::Release);
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
        let learned = self.labels.read().unwrap_or_else(PoisonError::into_inner);
        let learned = learned.get(&endpoint).and_then(|labels| labels.get(key)).cloned();
        learned.or_else(|| {
            let endpoint = self.settings.endpoints.iter().find(|known| known.address == endpoint)?;
            endpoint.labels.get(key).cloned()
        })
    }

    /// All labels of an endpoint.
    #[must_use]
    pub fn labels(&self, endpoint: &resolved::Endpoint) -> BTreeMap<String, String> {
        let mut labels = endpoint.labels.clone();
        let learned = self.labels.read().unwrap_or_else(PoisonError::into_inner);
        labels.extend(
            learned.get(&endpoint.address).into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())),
        );
        labels
    }

    /// Publishes what a filter has learned of an endpoint, for all workers; an empty value takes it back. Returns whether there is such
    /// an endpoint, and room for another label.
    pub fn set_label(&self, endpoint: SocketAddr, key: &str, value: &str) -> bool {
        if !self.settings.endpoints.iter().any(|known| known.address == endpoint)
            || key.is_empty()
            || key.len() > LONGEST_LABEL
            || value.len() > LONGEST_LABEL
        {
            return false;
        }
        let mut learned = self.labels.write().unwrap_or_else(PoisonError::into_inner);
        let labels = learned.entry(endpoint).or_default();
        if value.is_empty() {
            labels.remove(key);
            return true;
        }
        let others = labels.iter().filter(|(other, _)| *other != key).map(|(key, value)| key.len() + value.len());
        let room = (labels.len() < MOST_LABELS || labels.contains_key(key))
            && others.sum::<usize>() + key.len() + value.len() <= MOST_LABEL_BYTES;
        if room {
            labels.insert(key.to_owned(), value.to_owned());
        }
        room
    }

    /// Whether somebody waits for a connection.
    #[must_use]
    pub fn is_starving(&self) -> bool {
        self.starving.load(Ordering::Relaxed) > 0
    }

    /// Says that somebody waits, until the value is dropped.
    #[must_use]
    pub fn starve(&self) -> Starving<'_> {
        self.starving.fetch_add(1, Ordering::Relaxed);
        Starving(&self.starving)
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

/// Somebody waits for a connection.
#[derive(Debug)]
pub struct Starving<'a>(&'a AtomicUsize);

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
