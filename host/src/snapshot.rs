//! The immutable view that workers run on and the admin endpoint reads.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use crate::{cluster::shared::SharedCluster, config::Config, telemetry::Sinks, wasm::build::Blueprint};

/// One accepted configuration and what was made of it.
pub struct Snapshot {
    /// Number, from 1.
    pub generation: u64,
    /// When it was accepted.
    pub since: SystemTime,
    /// The configuration.
    pub config: Arc<Config>,
    /// Filters.
    pub blueprint: Arc<Blueprint>,
    /// Where filters write.
    pub sinks: Arc<Sinks>,
    /// Clusters.
    pub clusters: Vec<Arc<SharedCluster>>,
    /// Listeners' names and the addresses that they are bound to.
    pub listeners: Vec<(String, SocketAddr)>,
}
