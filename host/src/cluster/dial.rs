//! Connections that carry bytes instead of requests: opened for one downstream connection, and closed with it.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use xxhash_rust::xxh64::xxh64;

use super::{
    Choice,
    choice::Priority,
    connect::{self, Asks, Ends},
    error::{ClusterError, Limit},
    health::outlier::Outcome,
    local::{LocalCluster, Open},
    pool::LocalEndpoint,
};
use crate::transport::Transport;

/// A connection to an endpoint.
pub struct Line {
    /// What bytes go through.
    pub transport: Transport,
    /// The endpoint.
    pub address: SocketAddr,
    /// What else is known of the connection.
    pub ends: Ends,
    endpoint: Rc<LocalEndpoint>,
    _open: Open,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.endpoint.count(-1);
    }
}

/// Connects to an endpoint of the balancer's choice, and to another one for as long as there is one that was not tried, `attempts` in all
/// (Envoy's `max_connect_attempts`). Each attempt may take `connect_timeout`. `choice` says which endpoints and whose circuit breakers; balancers
/// that hash take a client's address where it has no hash (Envoy's `source_ip`). `asks.host` is what TLS asks for with `sni: auto`.
///
/// Cancel safe.
///
/// # Errors
/// What the last attempt met.
pub async fn dial(
    cluster: &Rc<LocalCluster>,
    mut choice: Choice,
    asks: Asks<'_>,
    attempts: usize,
) -> Result<Line, ClusterError> {
    choice.hash = choice.hash.or_else(|| asks.client.map(|(client, _)| hash(client)));
    let (mut met, mut full, mut tried) = (None, false, 0);
    loop {
        let endpoint = match cluster.pick(Some(&choice)) {
            Ok(endpoint) if !choice.avoid.contains(&endpoint.address()) => endpoint,
            // Every one was tried, or has no room.
            picked => {
                let error = met.unwrap_or_else(|| match picked {
                    _ if full => cluster.overflow(choice.priority, Limit::ConnectionsPerEndpoint, Duration::ZERO),
                    Ok(_) => none(cluster),
                    Err(error) => error,
                });
                return Err(error);
            }
        };
        match attempt(cluster, &endpoint, choice.priority, asks).await {
            Ok(line) => return Ok(line),
            // Nothing was attempted, and another one may have room.
            Err(Missed::Full) => full = true,
            // Another endpoint would have no more room.
            Err(Missed::Failed(error @ ClusterError::Overflow { .. })) => return Err(error),
            Err(Missed::Failed(error)) => {
                tracing::debug!(cluster = &*cluster.name, address = %endpoint.address(), "not connected: {error}");
                tried += 1;
                if tried >= attempts {
                    return Err(error);
                }
                met = Some(error);
            }
        }
        choice.avoid.push(endpoint.address());
    }
}

/// Why an endpoint was not connected to.
enum Missed {
    /// It has as many connections as it may.
    Full,
    Failed(ClusterError),
}

impl From<ClusterError> for Missed {
    fn from(error: ClusterError) -> Self {
        Self::Failed(error)
    }
}

/// As the router's `hash: [{ source_address: true }]` computes it.
fn hash(client: SocketAddr) -> u64 {
    xxh64(client.ip().to_string().as_bytes(), 0)
}

fn none(cluster: &LocalCluster) -> ClusterError {
    ClusterError::NoEndpoint { cluster: cluster.name.to_string(), why: "all were tried".to_owned() }
}

async fn attempt(
    cluster: &Rc<LocalCluster>,
    endpoint: &Rc<LocalEndpoint>,
    priority: Priority,
    asks: Asks<'_>,
) -> Result<Line, Missed> {
    let (started, limit) = (Instant::now(), cluster.shared.settings.connect_timeout);
    let breakers = cluster.shared.breakers(priority);
    let permit = match Arc::clone(&breakers.connections).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => match timeout(limit, cluster.permit(priority)).await {
            Ok(permit) => permit?,
            Err(_) => return Err(cluster.overflow(priority, Limit::Connections, started.elapsed()).into()),
        },
    };
    let Some(open) = Open::begin(cluster, endpoint, (priority, permit)) else { return Err(Missed::Full) };
    let (transport, ends) = reach(cluster, endpoint, asks).await?;
    endpoint.count(1);
    cluster.record(endpoint, Outcome::LocalOriginSuccessFinal);
    Ok(Line { transport, address: endpoint.address(), ends, endpoint: Rc::clone(endpoint), _open: open })
}

/// Connects to an endpoint, within `connect_timeout`. A failure counts against it.
pub(super) async fn reach(
    cluster: &LocalCluster,
    endpoint: &LocalEndpoint,
    asks: Asks<'_>,
) -> Result<(Transport, Ends), ClusterError> {
    let settings = &cluster.shared.settings;
    cluster.in_time(endpoint, connect::transport(settings, endpoint.settings(), asks)).await
}
