//! What a worker lends to the guests that run on it.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use tokio::time::Instant;

use super::{entropy::Entropy, scribe::Scribe, stretch::Keys, tap::Tap, trace::Tracer};
use crate::{
    callout::redis::Pipes,
    cluster::{Clusters, demand::Demand},
    config::resolved,
    telemetry::Registry,
};

/// A worker's surroundings. One per worker and generation; parts receive it, nothing is global.
pub struct Env {
    /// Number of the worker.
    pub worker: usize,
    /// Clusters by name, with this worker's pools.
    pub clusters: Rc<Clusters>,
    /// Who can be asked for others.
    pub demand: Arc<Demand>,
    /// Metrics of the process.
    pub registry: Registry,
    /// `node:`
    pub node: Arc<resolved::Node>,
    /// What the generations of a worker share.
    pub stock: Rc<Stock>,
    /// Where spans go, if anywhere.
    pub tracer: Option<Tracer>,
    /// Who watches what filters do; usually nobody.
    pub tap: Tap,
    /// Zero of the guests' monotonic clock.
    pub epoch: Instant,
}

/// What a worker keeps for all of its generations.
#[derive(Default)]
pub struct Stock {
    /// Writes header fields for guests.
    pub scribe: Scribe,
    /// Random bytes for guests.
    pub entropy: Entropy,
    /// Keys that guests had derived.
    pub keys: Keys,
    /// Connections for commands of guests.
    pub redis: Pipes,
    /// Where bytes of TCP connections lie between one socket and the other.
    pub scratch: Scratch,
}

/// See [`Stock::scratch`].
#[derive(Debug)]
pub struct Scratch(pub RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(vec![0; SCRATCH].into()))
    }
}

/// Bytes that are read at once from a TCP connection.
const SCRATCH: usize = 64 * 1024;

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("worker", &self.worker).finish_non_exhaustive()
    }
}
