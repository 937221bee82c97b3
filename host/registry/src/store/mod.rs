//! Where hosts are kept besides this process's memory. A store changes the [`Catalog`] and sees to it that the change lasts.
//!
//! * [`embedded`]: the catalog is the store; a file brings it over a restart.
//! * [`redis`]: several registries agree through Redis and through nothing else. Each serves reads from its own catalog.
//!
//! [`Catalog`]: crate::catalog::Catalog

pub(crate) mod embedded;
pub(crate) mod redis;
mod stored;

use std::net::SocketAddr;

use futures_util::future::BoxFuture;

use crate::{
    catalog::{Registered, Registration},
    error::Refusal,
    host::{Selector, ServiceName, Weight},
};

/// How a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It works.
    Ready,
    /// It does not answer; what was known when it did is served.
    Away,
    /// It has not answered since the start: what this process knows is not worth telling.
    Unread,
}

impl Condition {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Away => "away",
            Self::Unread => "unread",
        }
    }
}

/// What every store does. None of it fails for want of the store: what cannot be kept now is kept later.
pub(crate) trait Store: Send + Sync + std::fmt::Debug {
    /// Registers a host or notes that it lives.
    ///
    /// # Errors
    /// There is no room for another host.
    fn register(&self, service: ServiceName, registration: Registration) -> BoxFuture<'_, Result<Registered, Refusal>>;

    /// Takes hosts out; says which.
    fn remove(&self, service: ServiceName, which: Selector) -> BoxFuture<'_, Vec<SocketAddr>>;

    /// Sets the weight of hosts (all of the service, without `which`), or lets go of it; says of which.
    fn weigh(
        &self,
        service: ServiceName,
        which: Option<Selector>,
        weight: Option<Weight>,
    ) -> BoxFuture<'_, Vec<SocketAddr>>;

    /// What is to be done once a second: sweeping, saving, asking what others have changed.
    fn tick(&self) -> BoxFuture<'_, ()>;

    /// What is to be done last.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// How it is.
    fn condition(&self) -> Condition;
}
