//! The connection whose method is running, and what any method may do to it.

use std::cell::Cell;

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
