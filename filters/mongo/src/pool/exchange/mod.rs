//! The exchanges of one client connection: a request, its reply or replies, one after the other.
//!
//! ```text
//! Idle --request--> Leasing --leased--> Sending --sent--> Awaiting --last reply--> Idle
//!   \--answered here, refused--> Idle      \--no reply wanted--> Idle   \--more to come--> Awaiting
//! ```
//!
//! Invariants:
//! - One exchange at a time. A request that comes meanwhile is told to [`Decision::Wait`] and is offered again.
//! - A reply is delivered only if it answers the request at hand; everything else closes the upstream connection.
//! - A connection goes back to the pool only at the end of an exchange, with nothing unread behind it. Whatever else
//!   ends an exchange closes the connection: the client left, the reply was unreadable, the server broke the protocol.
//! - Every request that wants a reply gets one, or its connection is closed.
//!
//! **Unacknowledged writes** (`moreToCome` on a request) end when their last byte is written: the server handles what
//! comes over one connection in order, so the next user of it waits for the write, and no reply of it can come. What a
//! client loses is that its own next operation may overtake the write over another connection, which drivers
//! with connection pools of their own do not promise either.
//!
//! **Exhaust** replies (`moreToCome` on a reply) chain: each answers the one before, and holds the connection, which is of
//! the long-lived share since nobody knows for how long.

mod local;
#[cfg(test)]
pub mod model;
mod step;
mod target;
#[cfg(test)]
mod tests;

use super::errors::{ErrorReply, Form};
use super::facts::Reply;
use super::failure::{Breakage, LeaseFailure, Sent, broken, not_sent};
use super::fleet::Topology;
use super::login::{Identity, Login, Users};
use super::operation::Operation;
use super::pins::{PinReason, Pins, Route};

pub use step::{Decision, Environment, Failure, Leased, Observed, ReplyEnd, ReplyHeader, Request, Settings, Upstream};
pub use target::{Lease, Target};

/// The state machine of one client connection.
#[derive(Debug, Default)]
pub struct Exchange {
    state: State,
    login: Login,
    greeted: bool,
    connection_id: i32,
    next_id: i32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Leasing {
        ask: Ask,
        lease: Lease,
        again: bool,
    },
    Sending {
        ask: Ask,
        server: String,
    },
    Awaiting {
        ask: Ask,
        server: String,
        response_to: i32,
        reply: Option<ReplyHeader>,
    },
}

/// What of a request is needed until its end.
#[derive(Debug)]
struct Ask {
    operation: Operation,
    request_id: i32,
    form: Form,
    more_to_come: bool,
    exhaust_allowed: bool,
}

impl Exchange {
    /// The exchanges of a connection with this number.
    pub fn new(connection_id: i32) -> Self {
        Self { connection_id, ..Self::default() }
    }

    /// Whether a command's document must be there as a whole: it is answered here.
    pub fn wants_document(name: &str) -> bool {
        local::is_local(name)
    }

    /// Who the client has proved to be.
    pub fn identity(&self) -> Option<&Identity> {
        self.login.identity()
    }

    /// Whether no exchange is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether the client is owed a reply.
    pub fn owes_reply(&self) -> bool {
        match &self.state {
            State::Idle => false,
            State::Leasing { ask, .. } | State::Sending { ask, .. } | State::Awaiting { ask, .. } => !ask.more_to_come,
        }
    }

    /// Whether it waits for a connection, and any server may have what it needs.
    pub fn is_free(&self) -> bool {
        matches!(&self.state, State::Leasing { lease, .. } if !matches!(lease.target, Target::Server(_)))
    }

    /// The operation that waits for a connection is withdrawn: nothing of it was sent.
    pub fn withdraw(&mut self) {
        if matches!(self.state, State::Leasing { .. }) {
            self.state = State::Idle;
        }
    }

    /// The lease for the operation that waits for one, by what is known now. `None`: none waits, or it is pinned to a server.
    pub fn lease_anew(&mut self, topology: Topology) -> Option<Lease> {
        let is_free = self.is_free();
        let State::Leasing { ask, lease, again } = &mut self.state else { return None };
        if is_free {
            *lease = Lease::of(&ask.operation, Route::Free, ask.exhaust_allowed, topology);
            *again = false;
        }
        is_free.then(|| lease.clone())
    }

    /// Takes a request, as soon as its command is known.
    pub fn on_request<S: Pins, U: Users>(
        &mut self,
        request: &Request<'_>,
        environment: &mut Environment<'_, S, U>,
    ) -> Decision {
        if !self.is_idle() {
            return Decision::Wait;
        }
        if let Some(answer) = self.local(request, environment) {
            return match answer {
                answer if request.more_to_come => Decision::Discard(answer.err()),
                Err(error) => Decision::Answer(error.message(request.form, self.id(), request.request_id)),
                Ok(document) => {
                    Decision::Answer(super::errors::reply(request.form, self.id(), request.request_id, &document))
                }
            };
        }
        let operation = Operation::of(request.command);
        let route = environment.pins.route(&operation, environment.now);
        let lease = Lease::of(&operation, route, request.exhaust_allowed, environment.fleet.topology());
        let ask = Ask {
            operation,
            request_id: request.request_id,
            form: request.form,
            more_to_come: request.more_to_come,
            exhaust_allowed: request.exhaust_allowed,
        };
        self.state = State::Leasing { ask, lease: lease.clone(), again: false };
        Decision::Lease(lease)
    }

    /// A connection to `server` was lent.
    pub fn on_leased<S: Pins, U>(&mut self, server: &str, environment: &mut Environment<'_, S, U>) -> Leased {
        let State::Leasing { ask, lease, again } = std::mem::take(&mut self.state) else { return Leased::Unwanted };
        // Labels may be older than an election. One more try, then the server itself refuses, if it must.
        if !again && let Some(lease) = lease.corrected(&ask.operation, environment.fleet.role(server)) {
            self.state = State::Leasing { ask, lease: lease.clone(), again: true };
            return Leased::Again(lease);
        }
        environment.pins.forwarded(&ask.operation, server, environment.now);
        self.state = State::Sending { ask, server: server.to_owned() };
        Leased::Forward
    }

    /// No connection was lent.
    pub fn on_lease_failed<S: Pins, U>(
        &mut self,
        why: LeaseFailure,
        environment: &mut Environment<'_, S, U>,
    ) -> Failure {
        let State::Leasing { ask, lease, again } = std::mem::take(&mut self.state) else { return Failure::Nothing };
        let unreachable = matches!(why, LeaseFailure::NoEndpoint | LeaseFailure::Connect);
        if unreachable && let Some(lease) = lease.fallback() {
            self.state = State::Leasing { ask, lease: lease.clone(), again };
            return Failure::Again(lease);
        }
        // The server of a transaction is gone; its commit may be retried elsewhere.
        if unreachable && matches!(lease.target, Target::Server(_)) {
            environment.pins.failed(&ask.operation);
        }
        self.fail(&ask, &not_sent(&ask.operation, why))
    }

    /// The last byte of the request was handed to the connection.
    pub fn on_sent(&mut self) -> Upstream {
        match std::mem::take(&mut self.state) {
            State::Sending { ask, .. } if ask.more_to_come => Upstream::Release,
            State::Sending { ask, server } => {
                let response_to = ask.request_id;
                self.state = State::Awaiting { ask, server, response_to, reply: None };
                Upstream::Hold
            }
            other => {
                self.state = other;
                Upstream::Hold
            }
        }
    }

    /// A reply's header came. Only after [`Upstream::Hold`] may its bytes go to the client; after [`Upstream::Close`]
    /// none may, and [`Exchange::on_broken`] with [`Breakage::Violation`] says what the client gets.
    pub fn on_reply(&mut self, header: ReplyHeader) -> Upstream {
        match &mut self.state {
            State::Awaiting { ask, response_to, reply: reply @ None, .. }
                if header.response_to == *response_to && (ask.exhaust_allowed || !header.more_to_come) =>
            {
                *reply = Some(header);
                Upstream::Hold
            }
            _ => Upstream::Close,
        }
    }

    /// A reply's last byte is there, and did not go to the client yet. `reply` is none if it was unreadable; `clean`
    /// says that nothing is behind it that was read already.
    pub fn on_reply_end<S: Pins, U>(
        &mut self,
        reply: Option<&Reply<'_>>,
        clean: bool,
        environment: &mut Environment<'_, S, U>,
    ) -> ReplyEnd {
        let (ask, server, header) = match std::mem::take(&mut self.state) {
            State::Awaiting { ask, server, reply: Some(header), .. } => (ask, server, header),
            other => {
                self.state = other;
                return ReplyEnd { upstream: Upstream::Close, observed: None };
            }
        };
        if let Some(reply) = reply {
            environment.pins.replied(&ask.operation, &server, reply, environment.now);
        }
        let observed = reply.and_then(observed);
        let upstream = if header.more_to_come {
            self.state = State::Awaiting { ask, server, response_to: header.request_id, reply: None };
            Upstream::Hold
        } else if reply.is_none() || !clean || observed == Some(Observed::ShuttingDown) {
            Upstream::Close
        } else {
            Upstream::Release
        };
        ReplyEnd { upstream, observed }
    }

    /// The connection failed, or the server broke the protocol. It must be closed.
    pub fn on_broken<S: Pins, U>(&mut self, breakage: Breakage, environment: &mut Environment<'_, S, U>) -> Failure {
        let (ask, sent, begun) = match std::mem::take(&mut self.state) {
            State::Sending { ask, .. } => (ask, Sent::Partly, false),
            State::Awaiting { ask, reply, .. } => (ask, Sent::Wholly, reply.is_some()),
            other => {
                self.state = other;
                return Failure::Nothing;
            }
        };
        environment.pins.failed(&ask.operation);
        if begun {
            return Failure::CloseClient;
        }
        self.fail(&ask, &broken(&ask.operation, breakage, sent))
    }

    /// The client left. A lease that is asked for must be cancelled, one that is held must be closed: what would come
    /// over it is nobody's.
    pub fn on_client_gone(&mut self) -> Upstream {
        match std::mem::take(&mut self.state) {
            State::Idle => Upstream::Hold,
            // Nothing was sent over it.
            State::Leasing { .. } => Upstream::Release,
            State::Sending { .. } | State::Awaiting { .. } => Upstream::Close,
        }
    }

    fn fail(&mut self, ask: &Ask, error: &ErrorReply) -> Failure {
        if ask.more_to_come {
            return Failure::Discard;
        }
        Failure::Answer(error.message(ask.form, self.id(), ask.request_id))
    }

    /// An id for a message of our own.
    fn id(&mut self) -> i32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// Codes of the server discovery specification; those of a failed write concern count too.
fn observed(reply: &Reply<'_>) -> Option<Observed> {
    let code = if reply.ok { reply.write_concern_code } else { reply.code };
    match code? {
        // ShutdownInProgress, InterruptedAtShutdown.
        91 | 11600 => Some(Observed::ShuttingDown),
        // PrimarySteppedDown, NotWritablePrimary, NotPrimaryNoSecondaryOk, and the code of servers before 3.2.
        189 | 10107 | 13435 | 10058 => Some(Observed::NotPrimary),
        // InterruptedDueToReplStateChange, NotPrimaryOrSecondary.
        11602 | 13436 => Some(Observed::Neither),
        _ => None,
    }
}
