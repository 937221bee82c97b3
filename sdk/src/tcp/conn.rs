//! A connection that begins.

use super::current;
use crate::abi::{self, Status};
use crate::error::{Error, Result};
use crate::property;

/// A connection that begins.
#[derive(Debug)]
pub struct Conn {
    /// Whether the filter has `on_leased`.
    leases: bool,
}

impl Conn {
    pub(crate) fn new(leases: bool) -> Self {
        Self { leases }
    }

    /// The client's address and port; empty when the host does not say.
    #[must_use]
    pub fn source_address(&self) -> String {
        property::text(&["source", "address"]).unwrap_or_default()
    }

    /// A property of the connection, raw; see [`crate::property`] for typed reading.
    #[must_use]
    pub fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        property::read(path)
    }

    /// Sets a property that filters behind this one can read.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn set_property(&mut self, path: &[&str], value: impl AsRef<[u8]>) -> Result<()> {
        property::set(path, value)
    }

    /// Sends the connection to another cluster than the listener's. Fyke only.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn set_cluster(&mut self, cluster: &str) -> Result<()> {
        self.set_property(&["fyke", "cluster"], cluster)
    }

    /// The connection gets no upstream of its own: the filter borrows one for each exchange, with [`Cluster::lease`](crate::Cluster::lease). Fyke only.
    /// What goes on while nothing is lent waits for the next lease.
    ///
    /// # Errors
    /// When the filter has no [`on_leased`](crate::TcpFilter::on_leased), when another filter of the chain borrows, and when the host cannot.
    pub fn borrows_upstream(&mut self) -> Result<()> {
        const FUNCTION: &str = "fyke.upstream.none.v1";
        if !self.leases {
            return Err(Error::new(
                "a filter that borrows connections needs a method `on_leased`, which learns of them",
            ));
        }
        abi::call_foreign_function(FUNCTION, &[]).map_err(|status| match status {
            Status::NOT_FOUND => Error::new(format!("this host lends no connections ({FUNCTION})")),
            Status::BAD_ARGUMENT => Error::new("another filter of this listener borrows connections already"),
            status => status.into(),
        })?;
        current::change(|standing| standing.borrows = true);
        Ok(())
    }
}
