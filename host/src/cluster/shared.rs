//! The part of a cluster that exists once per process.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Semaphore;

use crate::{config::resolved, telemetry::Gauge};

/// Labels that filters may publish of one endpoint.
const MOST_LABELS: usize = 64;
/// Bytes of all their keys and values.
const MOST_LABEL_BYTES: usize = 8 * 1024;
/// Longest key and longest value of one, in bytes.
const LONGEST_LABEL: usize = 1024;

/// Permits and settings of a cluster.
#[derive(Debug)]
pub struct SharedCluster {
    /// Settings.
    pub settings: Arc<resolved::Cluster>,
    /// One for each connection that may be open, first come first served across workers.
    pub permits: Arc<Semaphore>,
    /// Workers' requests that wait for a permit: while there are any, connections that come free are closed, not kept.
    starving: AtomicUsize,
    /// Gauges that live as long as the cluster.
    gauges: Mutex<Vec<Gauge>>,
    /// What filters have learned of endpoints.
    labels: RwLock<HashMap<SocketAddr, BTreeMap<String, String>>>,
}

impl SharedCluster {
    /// A cluster with no open connection.
    #[must_use]
    pub fn new(settings: Arc<resolved::Cluster>) -> Arc<Self> {
        let permits = settings.pool.connections.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            settings,
            permits: Arc::new(Semaphore::new(permits)),
            starving: AtomicUsize::new(0),
            gauges: Mutex::default(),
            labels: RwLock::default(),
        })
    }

    /// A cluster in place of one of the same name: what filters have learned of its endpoints stays known.
    #[must_use]
    pub fn in_place_of(settings: Arc<resolved::Cluster>, old: &Self) -> Arc<Self> {
        let cluster = Self::new(settings);
        let learned = old.labels.read().unwrap_or_else(PoisonError::into_inner);
        let kept = learned
            .iter()
            .filter(|(address, _)| cluster.settings.endpoints.iter().any(|endpoint| endpoint.address == **address));
        let kept = kept.map(|(address, labels)| (*address, labels.clone())).collect();
        *cluster.labels.write().unwrap_or_else(PoisonError::into_inner) = kept;
        cluster
    }

    /// Keeps a gauge of the cluster alive.
    pub fn keep(&self, gauge: Gauge) {
        if let Ok(mut gauges) = self.gauges.lock() {
            gauges.push(gauge);
        }
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

/// Somebody waits for a connection.
#[derive(Debug)]
pub struct Starving<'a>(&'a AtomicUsize);

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
