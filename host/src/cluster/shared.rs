//! The part of a cluster that exists once per process.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

use crate::{config::resolved, telemetry::Gauge};

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
        })
    }

    /// Keeps a gauge of the cluster alive.
    pub fn keep(&self, gauge: Gauge) {
        if let Ok(mut gauges) = self.gauges.lock() {
            gauges.push(gauge);
        }
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
