//! What operators change of single endpoints: draining, and weights.
//!
//! Both live where health lives, outside of generations: they hold at once, and through reloads and rollbacks, for as long as the endpoint
//! is in its cluster. A process that starts, or takes over, begins with what is written.

use std::net::SocketAddr;

use crate::cluster::{clusters::SharedClusters, endpoint::Mark};

/// The largest weight that can be set.
pub const HEAVIEST: u32 = 65_535;

/// What is to be changed; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointChange {
    /// Whether it drains: it gets no new requests while others can take them.
    pub drain: Option<bool>,
    /// Its weight, or that which is written; 0: as if it drained.
    pub weight: Option<Weight>,
}

/// A weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// This, at most [`HEAVIEST`].
    Set(u32),
    /// What the configuration says.
    Written,
}

/// Why an endpoint is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is no such cluster.
    #[error("there is no cluster {0}")]
    Cluster(String),
    /// It has no such endpoint.
    #[error("cluster {0} has no endpoint {1}")]
    Endpoint(String, SocketAddr),
    /// The weight is too large.
    #[error("a weight is 0 to {HEAVIEST}, not {0}")]
    Weight(u32),
}

impl EndpointChange {
    /// In the words of the audit log: `endpoint app 10.0.0.1:80 drain weight 3`.
    #[must_use]
    pub fn words(&self, cluster: &str, address: SocketAddr) -> String {
        let drain = match self.drain {
            Some(true) => " drain",
            Some(false) => " restore",
            None => "",
        };
        let weight = match self.weight {
            Some(Weight::Set(weight)) => format!(" weight {weight}"),
            Some(Weight::Written) => " weight as written".to_owned(),
            None => String::new(),
        };
        format!("endpoint {cluster} {address}{drain}{weight}")
    }

    /// Makes it. Builds the balancer's tables, so a worker must not call it. Returns whether it changed anything.
    ///
    /// # Errors
    /// [`EndpointError`]; nothing is changed then.
    pub fn make(&self, clusters: &SharedClusters, cluster: &str, address: SocketAddr) -> Result<bool, EndpointError> {
        if let Some(Weight::Set(weight)) = self.weight
            && weight > HEAVIEST
        {
            return Err(EndpointError::Weight(weight));
        }
        let shared = clusters.get(cluster).ok_or_else(|| EndpointError::Cluster(cluster.to_owned()))?;
        let membership = shared.membership();
        let endpoint = membership.endpoint(address);
        let endpoint = endpoint.ok_or_else(|| EndpointError::Endpoint(cluster.to_owned(), address))?;
        let mut moved = false;
        if let Some(drain) = self.drain {
            moved |= endpoint.status.mark(Mark::Drained, drain);
        }
        match self.weight {
            // What is written needs no remembering.
            Some(Weight::Set(weight)) if weight != endpoint.settings.weight => {
                moved |= endpoint.status.set_weight(Some(weight));
            }
            Some(_) => moved |= endpoint.status.set_weight(None),
            None => {}
        }
        if moved {
            shared.rebalance();
        }
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        cluster::{balance::Health, shared::SharedCluster},
        config::{Format, load_text},
    };

    const ONE: &str = "clusters: { app: { endpoints: [{ address: 127.0.0.1:1, weight: 3 }, 127.0.0.1:2] } }\nlisteners: { web: { address: '127.0.0.1:0', cluster: app } }\n";

    fn clusters() -> SharedClusters {
        let config = load_text("p.yaml", ONE, Format::Yaml, std::path::Path::new("")).unwrap();
        let app = config.clusters.get("app").unwrap();
        [("app".to_owned(), SharedCluster::new(Arc::clone(app), 1))].into_iter().collect()
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn an_endpoint_is_drained_and_weighed_at_once_and_restored() {
        let clusters = clusters();
        let app = clusters.get("app").unwrap();
        let make = |drain, weight| EndpointChange { drain, weight }.make(&clusters, "app", address(1));
        let status = || Arc::clone(&app.membership().endpoints.first().unwrap().status);
        let before = app.version();
        assert_eq!(make(Some(true), Some(Weight::Set(9))), Ok(true));
        assert_eq!((status().health(), status().weight()), (Health::Draining, Some(9)));
        assert!(app.version() > before, "workers look again");
        assert_eq!(make(Some(true), None), Ok(false));
        // A cluster in whose place another one comes hands on what operators want.
        let next = SharedCluster::in_place_of(Arc::clone(&app.settings), 1, app);
        assert_eq!(next.membership().endpoints.first().unwrap().status.weight(), Some(9));
        assert_eq!(make(Some(false), Some(Weight::Set(3))), Ok(true));
        assert_eq!((status().health(), status().weight()), (Health::Healthy, None));
    }

    #[test]
    fn what_is_not_there_is_not_changed() {
        let clusters = clusters();
        let weigh = EndpointChange { drain: None, weight: Some(Weight::Set(HEAVIEST + 1)) };
        assert_eq!(weigh.make(&clusters, "app", address(1)), Err(EndpointError::Weight(HEAVIEST + 1)));
        let drain = EndpointChange { drain: Some(true), weight: None };
        assert!(matches!(drain.make(&clusters, "ap", address(1)), Err(EndpointError::Cluster(_))));
        assert!(matches!(drain.make(&clusters, "app", address(3)), Err(EndpointError::Endpoint(..))));
        assert_eq!(drain.words("app", address(1)), "endpoint app 127.0.0.1:1 drain");
        assert_eq!(weigh.words("app", address(1)), "endpoint app 127.0.0.1:1 weight 65536");
    }
}
