//! What goes into an exchange and what comes out of it.

use super::Lease;
use crate::pool::errors::{ErrorReply, Form};
use crate::pool::facts::Command;
use crate::pool::fleet::{Fleet, Limits};
use crate::pool::hello::HelloConfig;
use crate::pool::login::ClientAuth;
use crate::pool::pins::PinTable;

/// A request of a client.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its id, which its reply must name.
    pub request_id: i32,
    /// How it came.
    pub form: Form,
    /// `moreToCome`: no reply is wanted.
    pub more_to_come: bool,
    /// `exhaustAllowed`: more than one reply may come.
    pub exhaust_allowed: bool,
    /// What it asks.
    pub command: &'a Command<'a>,
    /// Its document, which only commands that are answered here need (see [`super::Exchange::wants_document`]).
    pub document: &'a [u8],
}

/// What is fixed for all exchanges.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Answers to `hello`.
    pub hello: HelloConfig,
    /// Limits to tell before any server was heard.
    pub limits: Limits,
    /// How clients are authenticated.
    pub auth: ClientAuth,
}

/// What an exchange works with: shared by all connections of a worker.
pub struct Environment<'a, S, U> {
    /// Configuration.
    pub settings: &'a Settings,
    /// What is pinned where.
    pub pins: &'a mut PinTable<S>,
    /// What the servers are.
    pub fleet: &'a Fleet,
    /// Who may log in.
    pub users: &'a mut U,
    /// Wall clock, milliseconds since 1970; pins expire by it, so workers must share it.
    pub now: u64,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Write this to the client; nothing goes upstream. The rest of the request, if any, is swallowed.
    Answer(Vec<u8>),
    /// No reply is wanted: swallow the request. The error, if it was refused, is for counters and logs.
    Discard(Option<ErrorReply>),
    /// Lease a connection, then call [`super::Exchange::on_leased`] or [`super::Exchange::on_lease_failed`].
    Lease(Lease),
    /// Offer the request again after the exchange that is under way.
    Wait,
}

/// What to do with a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// Send the request over it, then call [`super::Exchange::on_sent`].
    Forward,
    /// The server's role does not fit: give the lease back, and take this one.
    Again(Lease),
    /// Nobody waits for it: give it back.
    Unwanted,
}

/// What to do with an upstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// The exchange goes on.
    Hold,
    /// Give it back to the pool, clean.
    Release,
    /// Close it; never give it back.
    Close,
}

/// What to do after a failure. An upstream connection, if there is one, must be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Try another lease.
    Again(Lease),
    /// Write this to the client, after the rest of the request, if any, was swallowed.
    Answer(Vec<u8>),
    /// No reply is wanted.
    Discard,
    /// Close the client's connection: part of a reply is there already.
    CloseClient,
    /// There was no exchange.
    Nothing,
}

/// A reply's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Its id, which the next reply of an exhaust chain names.
    pub request_id: i32,
    /// The request that it answers.
    pub response_to: i32,
    /// Another reply follows.
    pub more_to_come: bool,
}

/// What a server says about itself with an error code; the endpoint's labels are stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It is not the primary any more: ask for its role again.
    NotPrimary,
    /// It is neither primary nor secondary, or becomes something else.
    Neither,
    /// It shuts down: its connections end.
    ShuttingDown,
}

/// The end of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyEnd {
    /// What to do with the connection.
    pub upstream: Upstream,
    /// What the server said about itself.
    pub observed: Option<Observed>,
}
