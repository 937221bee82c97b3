//! The way of requests: listener, route, filters, cluster, endpoints.

use serde::Serialize;

use super::{Health, Provenance};

/// Everything that requests pass, and how many.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Flow {
    /// In the order in which they should be drawn, within each column.
    pub nodes: Vec<Node>,
    /// From left to right. Edges whose ends are unknown are not drawn.
    pub edges: Vec<Edge>,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Requests come in.
    Listener,
    /// The router's decision.
    Route,
    /// A filter of a chain.
    Filter,
    /// The cluster that was chosen.
    Cluster,
    /// Who answers.
    Endpoint,
}

/// Something that requests pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Unique among the nodes.
    pub id: String,
    /// Where it stands.
    pub column: Column,
    /// Its name.
    pub name: String,
    /// More about it: an address, a match, a version.
    pub detail: String,
    /// What it is part of: of a filter its chain, of an endpoint its cluster; empty: nothing.
    pub group: String,
    /// How it is, where somebody looks after it.
    pub health: Option<Health>,
    /// Where it was defined, when it was last used.
    pub provenance: Provenance,
}

/// Requests from one node to the next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Edge {
    /// Where they come from.
    pub from: String,
    /// Where they go.
    pub to: String,
    /// Requests per second.
    pub rate: Option<f64>,
    /// Share of them that failed there.
    pub errors: Option<f64>,
    /// What the target adds to their latency, in seconds: the median, or the mean where no more is known.
    pub added: Option<f64>,
}
