//! The connection whose method is running, and what any method may do to it.

use std::cell::Cell;
use std::time::Duration;

use super::Side;
use crate::abi::{self, Status};
use crate::error::{Error, Result};

/// What the filter has made of a connection, besides what is in its answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// It has no upstream of its own.
    pub borrows: bool,
    /// The lease that is waited for.
    pub asked: Option<u32>,
    /// The lease that it has.
    pub held: Option<u32>,
    /// The filter has closed it.
    pub closed: bool,
    /// What waits is shown now: of the client's, and of the upstream's.
    pub hurries: (bool, bool),
}

impl Standing {
    pub fn hurries(&mut self, side: Side) -> &mut bool {
        match side {
            Side::Downstream => &mut self.hurries.0,
            Side::Upstream => &mut self.hurries.1,
        }
    }

    /// Whether somebody will say something about a lease.
    pub fn expects(&self) -> bool {
        self.asked.is_some() || self.held.is_some()
    }
}

thread_local! {
    /// The host has ended what it says has ended.
    static TAKEN_BACK: Cell<bool> = const { Cell::new(false) };
    /// By context. `None` outside of the methods of a connection.
    static CURRENT: Cell<Option<(u32, Standing)>> = const { Cell::new(None) };
}

/// Runs a method of a connection, and returns what it has made of it.
pub(crate) fn within<T>(context: u32, standing: Standing, method: impl FnOnce() -> T) -> (T, Standing) {
    let before = CURRENT.replace(Some((context, standing)));
    let result = method();
    let now = CURRENT.replace(before);
    (result, now.map_or(standing, |(_, standing)| standing))
}

/// Runs a method that is told of an end. `by_host`: nobody but the host has made it.
pub(crate) fn ending<T>(by_host: bool, method: impl FnOnce() -> T) -> T {
    let before = TAKEN_BACK.replace(by_host);
    let result = method();
    TAKEN_BACK.set(before);
    result
}

/// In [`on_close`](crate::TcpFilter::on_close) with [`Side::Upstream`](super::Side::Upstream), of a connection that borrows: whether the host has taken back what it
/// had lent, because nothing moved for too long ([`limit_leases`]). Otherwise it has ended or broken. Elsewhere `false`.
#[must_use]
pub fn taken_back() -> bool {
    TAKEN_BACK.get()
}

/// The context of the connection whose method is running.
pub(crate) fn context() -> Option<u32> {
    CURRENT.get().map(|(context, _)| context)
}

pub(crate) fn change(change: impl FnOnce(&mut Standing)) {
    if let Some((context, mut standing)) = CURRENT.get() {
        change(&mut standing);
        CURRENT.set(Some((context, standing)));
    }
}

fn required() -> Result<()> {
    match CURRENT.get() {
        Some(_) => Ok(()),
        None => Err(Error::new("only a method of a TCP connection can do this, for its own connection")),
    }
}

/// Arguments that begin with a direction.
pub(super) fn call(function: &str, side: Side, rest: &[u8]) -> Result<(), Status> {
    let arguments = [&side.stream().to_le_bytes(), rest].concat();
    abi::call_foreign_function(function, &arguments).map(drop)
}

/// As [`call`]. Of a host that has no such function, `lack` says what it cannot do.
pub(super) fn demand(function: &str, lack: &str, side: Side, rest: &[u8]) -> Result<()> {
    call(function, side, rest).map_err(|status| match status {
        Status::NOT_FOUND => Error::new(format!("{lack} ({function})")),
        status => status.into(),
    })
}

/// Writes to the effective connection.
pub(crate) fn write_to(to: Side, bytes: &[u8]) -> Result<()> {
    demand("fyke.stream.write.v1", "this host cannot write to a connection", to, bytes)
}

/// Writes bytes of the filter's own towards a side, as [`Data::write`](super::Data::write), from any method of a connection: from
/// [`on_close`](crate::TcpFilter::on_close) for example, to answer in the place of an upstream that is lost. Fyke only.
///
/// # Errors
/// When the host cannot: it is not Fyke, that direction is over, or too much waits already; outside of the methods of a connection.
pub fn write(to: Side, bytes: impl AsRef<[u8]>) -> Result<()> {
    required()?;
    write_to(to, bytes.as_ref())
}

/// What the host holds of a direction, since [`TcpFlow::NeedMore`](super::TcpFlow::NeedMore), is shown once more when the method that is running has
/// returned, though nothing new has arrived: after an exchange, for the request that waits behind it. Where nothing is held, nothing
/// happens. Fyke only. A method that asks for this each time that it is shown its own bytes never ends.
///
/// # Errors
/// When the host cannot: it is not Fyke; outside of the methods of a connection.
pub fn show_again(side: Side) -> Result<()> {
    required()?;
    show(side)
}

/// As [`show_again`], where that direction may be waiting ([`TcpFlow::Wait`](super::TcpFlow::Wait)): the waiting ends, and what it answers then counts. Fyke only.
///
/// # Errors
/// When the host cannot: it is not Fyke; outside of the methods of a connection.
pub fn show_now(side: Side) -> Result<()> {
    required()?;
    change(|standing| *standing.hurries(side) = true);
    show(side)
}

/// Shows what is held of the effective connection once more.
pub(crate) fn show(side: Side) -> Result<()> {
    demand("fyke.stream.show.v1", "this host shows nothing twice", side, &[])
}

/// How long what this connection borrows is held while no byte moves: while the endpoint has to go on, and while the client has to, with the rest of what the filter
/// has let go ([`Data::pass`](super::Data::pass)) or by reading. To the millisecond, and kept to a quarter of it, upwards; `None` is for as long as the listener lets a
/// connection idle, which is the default. From now on, for what is lent now too. Then the host takes the connection back:
/// [`on_close`](crate::TcpFilter::on_close) with [`Side::Upstream`] says so, and [`taken_back`] that it was this. It does as well where an endpoint that fails
/// its health checks says nothing for a second or two. Fyke only.
///
/// # Errors
/// When the connection does not [borrow](crate::Conn::borrows_upstream), when the host cannot, and outside of the methods of a connection.
pub fn limit_leases(endpoint: Option<Duration>, client: Option<Duration>) -> Result<()> {
    const FUNCTION: &str = "fyke.upstream.limit.v1";
    required()?;
    let milliseconds = |limit: Option<Duration>| {
        limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1)).to_le_bytes()
    };
    let arguments = [milliseconds(endpoint), milliseconds(client)].concat();
    abi::call_foreign_function(FUNCTION, &arguments).map(drop).map_err(|status| match status {
        Status::NOT_FOUND => Error::new(format!("this host does not limit what it lends ({FUNCTION})")),
        Status::BAD_ARGUMENT => Error::new("only a connection that borrows can limit what it borrows"),
        status => status.into(),
    })
}

/// Closes the connection, as [`TcpFlow::Close`](super::TcpFlow::Close) does, from methods that answer something else. What was written towards the client
/// is delivered. Whatever the method answers, nothing is shown to it any more.
///
/// # Errors
/// Outside of the methods of a connection.
pub fn close() -> Result<()> {
    required()?;
    change(|standing| standing.closed = true);
    abi::close_connection(Side::Downstream);
    Ok(())
}
