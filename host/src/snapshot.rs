//! The immutable view that workers run on and the admin endpoint reads.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use crate::{
    cluster::clusters::SharedClusters,
    config::{Config, resolved::Address},
    reload::overlay::Overlay,
    telemetry::{Sinks, export::Tracing},
    wasm::{build::Blueprint, trial::Trial},
};

/// One accepted configuration and what was made of it.
pub struct Snapshot {
    /// Number, from 1.
    pub generation: u64,
    /// The generation that it is again, after a rollback; else its own number.
    pub origin: u64,
    /// When it was accepted.
    pub since: SystemTime,
    /// The configuration.
    pub config: Arc<Config>,
    /// What of it is written, without what was changed over the admin endpoint.
    pub written: Arc<Config>,
    /// What was changed there.
    pub overlay: Overlay,
    /// For each filter the generation since which it has this module and configuration.
    pub versions: BTreeMap<String, u64>,
    /// Canaries, by filter.
    pub trials: BTreeMap<String, Arc<Trial>>,
    /// Filters.
    pub blueprint: Arc<Blueprint>,
    /// Where filters write.
    pub sinks: Arc<Sinks>,
    /// Where spans go.
    pub tracing: Option<Arc<Tracing>>,
    /// Clusters.
    pub clusters: Arc<SharedClusters>,
    /// Listeners' names and the addresses that they are bound to.
    pub listeners: Vec<(String, Address)>,
}
