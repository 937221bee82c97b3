//! Connections that carry bytes instead of requests: opened for one downstream connection, and closed with it.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use tokio::time::{Instant, timeout};

use super::{
    balancer,
    connect::{self, Ends},
    error::ClusterError,
    local::{LocalCluster, LocalEndpoint, Open},
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

/// Connects to an endpoint of the balancer's choice, and to another one for as long as there is one that was not tried. Each attempt
/// may take `connect_timeout`. `server_name` is what TLS asks for with `sni: auto`.
///
/// Cancel safe.
///
/// # Errors
/// What the last attempt met.
pub async fn dial(cluster: &Rc<LocalCluster>, server_name: Option<&str>) -> Result<Line, ClusterError> {
    let mut left = cluster.endpoints.clone();
    let mut met = None;
    loop {
        let picked = balancer::pick(cluster.shared.settings.load_balancer, &left, |n| fastrand::usize(..n)).cloned();
        let Some(endpoint) = picked else {
            return Err(met.unwrap_or_else(|| {
                cluster.metrics.no_endpoint.inc();
                ClusterError::NoEndpoint { cluster: cluster.name.to_string() }
            }));
        };
        match attempt(cluster, &endpoint, server_name).await {
            Ok(line) => return Ok(line),
            // Another endpoint would not have more room.
            Err(error @ ClusterError::PoolExhausted { .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(cluster = &*cluster.name, address = %endpoint.address, "not connected: {error}");
                left.retain(|other| !Rc::ptr_eq(other, &endpoint));
                met = Some(error);
            }
        }
    }
}

async fn attempt(
    cluster: &Rc<LocalCluster>,
    endpoint: &Rc<LocalEndpoint>,
    server_name: Option<&str>,
) -> Result<Line, ClusterError> {
    let settings = &cluster.shared.settings;
    let (started, limit) = (Instant::now(), settings.connect_timeout);
    let permit = match Arc::clone(&cluster.shared.permits).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => match timeout(limit, cluster.permit()).await {
            Ok(permit) => permit,
            Err(_) => {
                cluster.metrics.overflows.inc();
                return Err(ClusterError::PoolExhausted {
                    cluster: cluster.name.to_string(),
                    limit: settings.pool.connections,
                    waited: started.elapsed(),
                });
            }
        },
    };
    let open = Open::new(cluster, permit);
    let address = endpoint.address;
    match timeout(limit, connect::transport(settings, address, server_name)).await {
        Ok(Ok((transport, ends))) => {
            endpoint.count(1);
            Ok(Line { transport, address, ends, endpoint: Rc::clone(endpoint), _open: open })
        }
        Ok(Err(error)) => {
            cluster.metrics.connect_failures.inc();
            Err(error)
        }
        Err(_) => {
            cluster.metrics.connect_timeouts.inc();
            Err(ClusterError::ConnectTimeout { address, timeout: limit })
        }
    }
}
