//! Endpoints of a cluster, and what filters learn of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::abi::{self, Status};
use crate::callout::Cluster;
use crate::error::{Error, Result};

const LIST: &str = "fyke.endpoint.list.v1";
const LABEL: &str = "fyke.endpoint.label.v1";

/// One endpoint of a cluster, from [`Cluster::endpoints`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Endpoint {
    /// Address and port: `10.0.0.1:80`.
    pub address: String,
    /// Its share among the others.
    #[serde(default)]
    pub weight: u32,
    /// Where it is, if the configuration says so.
    #[serde(default)]
    pub zone: Option<String>,
    /// 0 is used first.
    #[serde(default)]
    pub priority: u32,
    /// Whether it gets traffic.
    #[serde(default)]
    pub healthy: bool,
    /// Why, or why not, in one word.
    #[serde(default)]
    pub health: String,
    /// What the configuration says of it, and what filters have learned.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Cluster {
    /// Its endpoints, in the order of the configuration. Fyke only; not in `configure`.
    ///
    /// # Errors
    /// When the host does not say: it is not Fyke, or the cluster is gone or not granted any more.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        let list =
            abi::call_foreign_function(LIST, self.name().as_bytes()).map_err(|status| self.refused(LIST, status))?;
        Ok(serde_json::from_slice(&list)?)
    }

    /// Publishes what a filter has learned of the endpoint at `address` (`10.0.0.1:80`): all workers and filters see it in [`Endpoint::labels`], and
    /// [`LeaseRequest::label`](crate::LeaseRequest::label) picks by it. An empty value takes it back. Fyke only; not in `configure`.
    ///
    /// # Errors
    /// When the host refuses it: there is no such cluster or endpoint, the key is empty, key or value is longer than 1 KiB, or the endpoint has
    /// 64 labels already.
    pub fn label(&self, address: &str, key: &str, value: &str) -> Result<()> {
        let mut arguments = Vec::new();
        for part in [self.name(), address, key] {
            abi::push_field(&mut arguments, part.as_bytes());
        }
        arguments.extend_from_slice(value.as_bytes());
        abi::call_foreign_function(LABEL, &arguments).map_err(|status| match status {
            Status::BAD_ARGUMENT => Error::new(format!("the host does not take the label \"{key}\" of {address}")),
            status => self.refused(LABEL, status),
        })?;
        Ok(())
    }

    fn refused(&self, function: &str, status: Status) -> Error {
        match status {
            Status::NOT_FOUND => Error::new(format!(
                "the host says nothing of the endpoints of \"{}\": it has no such cluster, or cannot ({function})",
                self.name()
            )),
            status => Error::from(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn what_one_filter_learns_of_an_endpoint_another_one_reads() {
        World::reset();
        let cluster = Cluster::new("db");
        assert!(cluster.endpoints().unwrap_err().to_string().contains("fyke.endpoint.list.v1"));
        World::with(|world| world.add_endpoint("db", "10.0.0.1:80"));
        World::with(|world| world.add_endpoint("db", "10.0.0.2:80"));
        cluster.label("10.0.0.2:80", "role", "primary").unwrap();
        let known = cluster.endpoints().unwrap();
        assert_eq!(known.iter().map(|one| one.address.as_str()).collect::<Vec<_>>(), ["10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(known[1].labels.get("role").unwrap(), "primary");
        assert!(known[0].labels.is_empty() && known[0].healthy);
        cluster.label("10.0.0.2:80", "role", "").unwrap();
        assert!(cluster.endpoints().unwrap()[1].labels.is_empty());
        assert!(cluster.label("10.0.0.9:80", "role", "x").is_err());
        assert!(cluster.label("10.0.0.1:80", "", "x").is_err());
        World::with(|world| world.knows_fyke = false);
        assert!(cluster.label("10.0.0.1:80", "role", "x").is_err());
    }
}
