//! Conditions on a connection, and the list of chains that they lead to.

use std::{net::SocketAddr, ops::RangeInclusive};

use ipnet::IpNet;

use super::Pattern;

/// What is known of a connection when its chain is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// Who connects: as the PROXY protocol says, if it does. `None`: a socket in the file system.
    pub source: Option<SocketAddr>,
    /// What it connected to: as the PROXY protocol says, if it does. `None`: a socket in the file system.
    pub destination: Option<SocketAddr>,
    /// Whether it begins with a TLS hello.
    pub transport: Transport,
    /// The name in the hello.
    pub sni: Option<&'a str>,
    /// Protocols that the hello offers, in the client's order.
    pub alpn: &'a [&'a [u8]],
    /// The protocol of the application, where its first bytes show it.
    pub application: Option<Application>,
}

/// How bytes are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// As they are.
    Plain,
    /// In TLS.
    Tls,
}

/// What is carried, as far as a listener can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Application {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2, by its preface.
    Http2,
    /// Something else.
    Other,
}

/// The condition on [`Connection::transport`] (Envoy's `transport_protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TransportCondition {
    /// None. The default.
    #[default]
    Any,
    /// That one.
    Only(Transport),
}

/// Conditions of a chain (Envoy's `FilterChainMatch`). What is empty, or `None`, or `Any`, is no condition: the default
/// matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// Names, one of which the client asks for.
    pub sni: Vec<Pattern>,
    /// Protocols, one of which the client offers. Compared byte for byte.
    pub alpn: Vec<Vec<u8>>,
    /// Networks, in one of which the client is.
    pub source: Vec<IpNet>,
    /// Ports, one of which the client connects from.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// Networks, to one of which the client connected.
    pub destination: Vec<IpNet>,
    /// The port that the client connected to.
    pub destination_port: Option<u16>,
    /// How bytes are carried.
    pub transport: TransportCondition,
    /// Protocols, one of which is seen. Matches nothing whose first bytes were not looked at.
    pub application: Vec<Application>,
}

/// The condition that does not hold: the first, in the order of [`Matcher`]'s fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Mismatch {
    /// [`Matcher::sni`].
    #[error("the server name is none of `sni`")]
    Sni,
    /// [`Matcher::alpn`].
    #[error("no protocol that the client offers is in `alpn`")]
    Alpn,
    /// [`Matcher::source`].
    #[error("the client's address is in no network of `source`")]
    Source,
    /// [`Matcher::source_ports`].
    #[error("the client's port is not in `source_ports`")]
    SourcePort,
    /// [`Matcher::destination`].
    #[error("the address connected to is in no network of `destination`")]
    Destination,
    /// [`Matcher::destination_port`].
    #[error("the port connected to is not `destination_port`")]
    DestinationPort,
    /// [`Matcher::transport`].
    #[error("the connection is not what `transport` asks for")]
    Transport,
    /// [`Matcher::application`].
    #[error("the protocol seen is none of `application`")]
    Application,
}

impl Matcher {
    /// Whether all conditions hold.
    #[must_use]
    pub fn matches(&self, connection: &Connection<'_>) -> bool {
        self.check(connection).is_ok()
    }

    /// Which condition does not hold.
    ///
    /// # Errors
    /// [`Mismatch`], the first.
    pub fn check(&self, connection: &Connection<'_>) -> Result<(), Mismatch> {
        let Connection { source, destination, transport, sni, alpn, application } = *connection;
        one_of(&self.sni, Mismatch::Sni, |pattern| sni.is_some_and(|name| pattern.matches(name)))?;
        one_of(&self.alpn, Mismatch::Alpn, |protocol| alpn.contains(&protocol.as_slice()))?;
        one_of_networks(&self.source, Mismatch::Source, source)?;
        one_of(&self.source_ports, Mismatch::SourcePort, |ports| {
            source.is_some_and(|source| ports.contains(&source.port()))
        })?;
        one_of_networks(&self.destination, Mismatch::Destination, destination)?;
        if self.destination_port.is_some_and(|port| destination.map(|destination| destination.port()) != Some(port)) {
            return Err(Mismatch::DestinationPort);
        }
        match self.transport {
            TransportCondition::Only(only) if only != transport => return Err(Mismatch::Transport),
            TransportCondition::Only(_) | TransportCondition::Any => {}
        }
        one_of(&self.application, Mismatch::Application, |wanted| application == Some(*wanted))
    }

    /// Whether the connection's first bytes have to be seen before this can be answered.
    #[must_use]
    pub fn needs_bytes(&self) -> bool {
        !(self.sni.is_empty() && self.alpn.is_empty() && self.application.is_empty())
            || self.transport != TransportCondition::Any
    }
}

fn one_of<T>(values: &[T], mismatch: Mismatch, holds: impl FnMut(&T) -> bool) -> Result<(), Mismatch> {
    if values.is_empty() || values.iter().any(holds) { Ok(()) } else { Err(mismatch) }
}

fn one_of_networks(networks: &[IpNet], mismatch: Mismatch, address: Option<SocketAddr>) -> Result<(), Mismatch> {
    let address = address.map(|address| address.ip().to_canonical());
    one_of(networks, mismatch, |network| address.is_some_and(|address| network.contains(&address)))
}

/// The chains of a listener, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chains<T> {
    ordered: Vec<(Matcher, T)>,
    default: Option<T>,
    needs_bytes: bool,
}

/// What a connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a, T> {
    /// A chain, by its place in the order, from 0.
    Chain(usize, &'a T),
    /// The listener's own chain: no other matches.
    Default(&'a T),
    /// None matches and the listener has none of its own: the connection is to be closed.
    Nothing,
}

impl<T> Chains<T> {
    /// Chains in their order, and what all other connections take.
    #[must_use]
    pub fn new(chains: Vec<(Matcher, T)>, default: Option<T>) -> Self {
        let needs_bytes = chains.iter().any(|(matcher, _)| matcher.needs_bytes());
        Self { ordered: chains, default, needs_bytes }
    }

    /// Whether a connection's first bytes have to be seen before [`Chains::choose`] can be asked.
    #[must_use]
    pub fn needs_bytes(&self) -> bool {
        self.needs_bytes
    }

    /// The first chain that matches, else the listener's own.
    #[must_use]
    pub fn choose(&self, connection: &Connection<'_>) -> Choice<'_, T> {
        let found = self.ordered.iter().enumerate().find(|(_, (matcher, _))| matcher.matches(connection));
        match (found, &self.default) {
            (Some((place, (_, chain))), _) => Choice::Chain(place, chain),
            (None, Some(default)) => Choice::Default(default),
            (None, None) => Choice::Nothing,
        }
    }

    /// The chain at a place in the order, from 0.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&T> {
        self.ordered.get(place).map(|(_, chain)| chain)
    }

    /// The chains in their order, without the listener's own.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.ordered.iter().map(|(_, chain)| chain)
    }

    /// What [`Chains::choose`] says of each chain up to the one it takes: why it does not match, or that it does.
    pub fn explain(&self, connection: &Connection<'_>) -> impl Iterator<Item = (&T, Result<(), Mismatch>)> {
        let taken = self.ordered.iter().position(|(matcher, _)| matcher.matches(connection));
        let count = taken.map_or(self.ordered.len(), |place| place + 1);
        self.ordered.iter().take(count).map(|(matcher, chain)| (chain, matcher.check(connection)))
    }
}

#[cfg(test)]
mod tests;
