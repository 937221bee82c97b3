//! Connections that a filter borrows: one for each exchange, of those that all clients share.
//!
//! A thousand clients that say something now and then need no thousand connections to the server. A filter that knows where an exchange of its
//! protocol begins and ends lets them share a few: [`Conn::borrows_upstream`](crate::Conn::borrows_upstream) says so when a client connects. For an
//! exchange it asks ([`Cluster::lease`], [`LeaseRequest::ask`]), holds the request meanwhile ([`TcpFlow::NeedMore`](crate::TcpFlow::NeedMore)), and learns in
//! [`TcpFilter::on_leased`] that a connection is there. What goes on then goes there, and
//! [`on_upstream`](TcpFilter::on_upstream) shows what it says. With the end of the answer the filter [releases](LeaseToken::release) it. The host
//! owns the sockets, the queue, the limits (`circuit_breakers` and `pool` of the cluster) and the fairness among those who wait.
//!
//! # What to know
//! - One connection at a time is lent or asked for; while one that was released still drains, the next one may be asked for.
//! - Bytes of one exchange never reach the connection of another: what is left of an answer when its connection is released
//!   closes that connection, and drops what is left.
//! - A lease that is lost says so: [`on_close`](TcpFilter::on_close) with [`Side::Upstream`](crate::Side::Upstream). The client's connection goes on.
//! - Two requests that arrive together are shown together: pass the first one on ([`Data::pass`](crate::Data::pass)), and ask to be shown the rest
//!   ([`show_again`](crate::tcp::show_again)) once the exchange is over.
//! - A new connection is the filter's before it is anybody's: [`on_opened`](TcpFilter::on_opened) is where handshakes happen.
//!
//! The [guide](crate::guide) builds a filter that does all of this. Fyke only: elsewhere `borrows_upstream` is an `Err` that says so.
//!
//! [`TcpFilter`]: crate::TcpFilter
//! [`TcpFilter::on_leased`]: crate::TcpFilter::on_leased

mod opened;

use std::fmt;
use std::time::Duration;

pub(crate) use opened::Inbox;
pub use opened::Opened;

use crate::abi::{self, Fields, Status};
use crate::callout::Cluster;
use crate::error::{Error, Result};
use crate::tcp::current;

#[cfg(doc)]
use crate::TcpFilter;

const ASK: &str = "fyke.upstream.lease.v1";
const RELEASE: &str = "fyke.upstream.release.v1";
const CLOSE: &str = "fyke.upstream.close.v1";
/// The token of a new connection, in its own context.
pub(crate) const OPENED: u32 = 0;

impl Cluster {
    /// What to borrow a connection of this cluster with; see [`lease`](crate::lease).
    ///
    /// ```no_run
    /// # use fyke_sdk::{Cluster, Result};
    /// # use std::time::Duration;
    /// # fn example(database: &Cluster) -> Result<()> {
    /// let token = database.lease().identity(b"app").label("role", "primary").timeout(Duration::from_millis(500)).ask()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease(&self) -> LeaseRequest {
        LeaseRequest {
            cluster: self.name().to_owned(),
            endpoint: String::new(),
            label: (String::new(), String::new()),
            identity: Vec::new(),
            share: String::new(),
            most: 0,
            timeout: 0,
            client: Vec::new(),
        }
    }
}

/// A connection that is wanted, from [`Cluster::lease`]. [`ask`](LeaseRequest::ask) asks for it.
#[derive(Debug, Clone)]
#[must_use = "nothing is borrowed before `ask`"]
pub struct LeaseRequest {
    cluster: String,
    endpoint: String,
    label: (String, String),
    identity: Vec<u8>,
    share: String,
    most: u32,
    timeout: u32,
    client: Vec<u8>,
}

impl LeaseRequest {
    /// A connection to this endpoint, `10.0.0.1:27017`, and no other. Default: whichever the load balancer picks.
    pub fn endpoint(mut self, address: impl Into<String>) -> Self {
        self.endpoint = address.into();
        self
    }

    /// Only to endpoints with this label, of the configuration or of [`Cluster::label`]. Default: to any. The last one counts.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.label = (key.into(), value.into());
        self
    }

    /// As whom the connection is logged in, at most 1 KiB: connections are never shared between identities, and
    /// [`Opened::identity`] says it to the handshake. Default: empty.
    pub fn identity(mut self, identity: impl AsRef<[u8]>) -> Self {
        self.identity = identity.as_ref().to_vec();
        self
    }

    /// From a part of the connections that is kept apart, with at most `most` of them in the process (0: no limit of its own): for exchanges that keep theirs
    /// for long, and would leave none to the others. The name has at most 1 KiB. Default: the usual part.
    pub fn share(mut self, name: impl Into<String>, most: u32) -> Self {
        (self.share, self.most) = (name.into(), most);
        self
    }

    /// How long to wait for one; to the millisecond, at least one. Default: the cluster's `connect_timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        self
    }

    /// Who asks, at most 1 KiB: those who wait get their turns fairly among these. Default: the client's IP address.
    pub fn client(mut self, client: impl AsRef<[u8]>) -> Self {
        self.client = client.as_ref().to_vec();
        self
    }

    /// Asks for it, on behalf of the connection whose method is running. [`TcpFilter::on_leased`] learns what comes of it, never before this
    /// method has returned.
    ///
    /// # Errors
    /// When the cluster is gone or not granted, when a connection is lent or asked for already, when the connection does not
    /// [borrow](crate::Conn::borrows_upstream), and outside of its methods.
    pub fn ask(self) -> Result<LeaseToken> {
        let Some(context) = current::context() else {
            return Err(Error::new("a connection is borrowed by a method of a TCP connection, for that connection"));
        };
        let mut arguments = Vec::new();
        for text in [&self.cluster, &self.endpoint, &self.label.0, &self.label.1] {
            abi::push_field(&mut arguments, text.as_bytes());
        }
        abi::push_field(&mut arguments, &self.identity);
        abi::push_field(&mut arguments, self.share.as_bytes());
        arguments.extend_from_slice(&self.most.to_le_bytes());
        arguments.extend_from_slice(&self.timeout.to_le_bytes());
        abi::push_field(&mut arguments, &self.client);
        let said = abi::call_foreign_function(ASK, &arguments).map_err(|status| match status {
            Status::NOT_FOUND => {
                Error::new(format!("the host lends no connections of the cluster \"{}\" ({ASK})", self.cluster))
            }
            Status::BAD_ARGUMENT => Error::new(
                "nothing can be borrowed: a connection is lent or asked for already, or this one does not borrow, or the request is malformed",
            ),
            status => status.into(),
        })?;
        let token = Fields::new(&said).u32().ok_or_else(|| Error::new(format!("the host has not answered {ASK}")))?;
        current::change(|standing| standing.asked = Some(token));
        Ok(LeaseToken { context, token })
    }
}

/// A connection that is lent, or asked for. Belongs into the `Ctx` of its connection.
///
/// Dropping it does nothing: the lease goes on until it is released or closed, until it is lost, or until the client's connection ends.
#[derive(Debug, PartialEq, Eq)]
pub struct LeaseToken {
    context: u32,
    token: u32,
}

impl LeaseToken {
    /// The exchange is over: the connection may be lent to somebody else once everything that the filter has let go or skipped has passed. If something of the
    /// answer is left with the filter then, or the endpoint has said something that nobody asked for, it is closed instead. A lease that is still waited for is
    /// given up. One that is over already stays over.
    pub fn release(self) {
        self.end(RELEASE, "");
    }

    /// The connection is fit for nobody: it is closed at once, and what was under way is dropped. `why` is for the host's log. As
    /// [`release`](LeaseToken::release) otherwise.
    pub fn close(self, why: &str) {
        self.end(CLOSE, why);
    }

    fn end(self, function: &str, why: &str) {
        // The number says nothing to any other connection.
        if current::context() != Some(self.context) {
            abi::log(abi::Level::Warn, "a lease can only be ended by a method of the connection that has it");
            return;
        }
        say(function, self.token, why);
        current::change(|standing| {
            standing.asked = standing.asked.filter(|asked| *asked != self.token);
            standing.held = standing.held.filter(|held| *held != self.token);
        });
    }
}

/// The host refuses what is over already: then there is nothing to do.
fn say(function: &str, token: u32, why: &str) {
    let arguments = [&token.to_le_bytes(), why.as_bytes()].concat();
    let _ = abi::call_foreign_function(function, &arguments);
}

/// Gives back what nobody has used, or a connection that is fit to be lent.
pub(crate) fn give_back(token: u32) {
    say(RELEASE, token, "");
}

/// Says why a new connection is not fit to be lent.
pub(crate) fn refuse_opened(why: &str) {
    say(CLOSE, OPENED, why);
}

/// A connection is lent to this one.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leased {
    /// What ends the lease.
    pub token: LeaseToken,
    /// Where it leads: `10.0.0.1:27017`.
    pub endpoint: String,
    /// How long the connection was waited for.
    pub waited: Duration,
    /// Whether it has served before.
    pub reused: bool,
}

/// Nothing is lent. With `?` it closes the client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseRefused {
    /// Why.
    pub reason: Reason,
    /// The same in words, for logs.
    pub text: String,
}

impl LeaseRefused {
    /// It was lent, and was gone before the filter could be told.
    pub(crate) fn lost() -> Self {
        Self { reason: Reason::Connect, text: "the connection has ended before it could be used".to_owned() }
    }
}

impl fmt::Display for LeaseRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no connection is lent: {}",
            if self.text.is_empty() { "the host does not say why" } else { &self.text }
        )
    }
}

impl std::error::Error for LeaseRefused {}

/// Why nothing is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No endpoint suits: none is there, is healthy, or has the label.
    NoEndpoint,
    /// Too many wait already, or the share is full.
    Busy,
    /// None came free in time.
    Timeout,
    /// The endpoint could not be connected to.
    Connect,
    /// [`on_opened`](TcpFilter::on_opened) did not make the connection fit to be lent.
    Handshake,
    /// The cluster is gone.
    UnknownCluster,
    /// A number that this SDK does not know.
    Other(u32),
}

impl Reason {
    const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::NoEndpoint,
            2 => Self::Busy,
            3 => Self::Timeout,
            4 => Self::Connect,
            5 => Self::Handshake,
            6 => Self::UnknownCluster,
            other => Self::Other(other),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::NoEndpoint => 1,
            Self::Busy => 2,
            Self::Timeout => 3,
            Self::Connect => 4,
            Self::Handshake => 5,
            Self::UnknownCluster => 6,
            Self::Other(other) => other,
        }
    }
}

/// What has come of a request, by its token, as the host says it to the connection `context`.
pub(crate) fn answer(context: u32, arguments: &[u8]) -> Option<(u32, Result<Leased, LeaseRefused>)> {
    let mut fields = Fields::new(arguments);
    let (token, reason, waited, reused) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u32()?);
    let text = String::from_utf8_lossy(fields.rest()).into_owned();
    let answer = match reason {
        0 => Ok(Leased {
            token: LeaseToken { context, token },
            endpoint: text,
            waited: Duration::from_micros(waited),
            reused: reused != 0,
        }),
        reason => Err(LeaseRefused { reason: Reason::from_number(reason), text }),
    };
    Some((token, answer))
}
