//! Who says what there is: control planes, and where clusters find their endpoints.

use serde::Serialize;

use super::{Provenance, Time};

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sources {
    /// Control planes, by name.
    pub control_planes: Vec<ControlPlane>,
    /// Clusters whose endpoints are found somewhere, by name.
    pub discoveries: Vec<Discovery>,
}

/// A control plane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ControlPlane {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Since when there is a connection; `None`: there is none.
    pub connected: Option<Time>,
    /// Why there is none.
    pub why_not: String,
    /// When something of it was accepted last.
    pub updated: Option<Time>,
    /// What counts was known when the process ended before.
    pub from_disk: bool,
    /// Updates so far.
    pub updates: u64,
    /// What counts, by type.
    pub resources: Vec<Resources>,
    /// What waits for something else.
    pub waiting: Vec<String>,
    /// What it does not know any more, and stays.
    pub forgotten: Vec<String>,
    /// What is refused now, and why.
    pub refused: Vec<(String, String)>,
    /// Where it was defined.
    pub provenance: Provenance,
}

/// Resources of one type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resources {
    /// The type: `cluster`.
    pub kind: String,
    /// How many count.
    pub count: usize,
    /// The newest version, in the control plane's words.
    pub version: String,
}

/// Where a cluster finds its endpoints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Discovery {
    /// The cluster.
    pub cluster: String,
    /// By what: `rest`.
    pub source: String,
    /// Where that is.
    pub place: String,
    /// The version that counts, in the source's words; empty: it has none.
    pub version: String,
    /// Endpoints of that version.
    pub hosts: usize,
    /// When it came.
    pub updated: Option<Time>,
    /// When the source answered last.
    pub answered: Option<Time>,
    /// What counts was known when the process ended before.
    pub from_disk: bool,
    /// Why the last question led to nothing; empty: it did not.
    pub failure: String,
    /// Answers that changed something.
    pub updates: u64,
    /// Answers and questions that led to nothing.
    pub failures: u64,
    /// Where the cluster was defined.
    pub provenance: Provenance,
}
