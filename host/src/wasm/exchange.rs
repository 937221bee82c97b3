//! One HTTP stream, or one TCP connection, as filters see it, and what they asked for.
//!
//! The exchange lives in the worker, never in a guest. The chain ([`crate::filter`]) drives it, a
//! [`super::call::Call`] lends it to the guest that runs, and a callout that completes later finds it again through
//! the instance's context table. Everything here is synchronous: nobody holds a borrow across an await.

use std::{borrow::Cow, net::SocketAddr, rc::Rc, task::Waker, time::SystemTime};

use bytes::Bytes;
use fyke_engine::{CallbackSet, ContextId};
use http::{
    HeaderMap, Method, Version,
    uri::{PathAndQuery, Scheme},
};
use tokio::time::Instant;

pub use super::{
    half::Half,
    peer::{Connection, Peer},
};
use super::{
    leasing::{Leasing, Opening},
    maps::{RequestHead, ResponseHead},
    rope::Rope,
    route::Selection,
    tap::Watch,
    trace::Trace,
    vm::{Plugin, Slot},
};
use crate::{
    clock,
    cluster::{connect::Ends, local::LocalCluster},
    upstream::flags::Further,
};

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request and its response.
    Http,
    /// The bytes of a TCP connection, both ways.
    Tcp,
}

/// One direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From downstream to upstream, outermost filter first.
    Request,
    /// From upstream to downstream, innermost filter first.
    Response,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Request => Self::Response,
            Self::Response => Self::Request,
        }
    }
}

/// How a filter holds the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hold {
    /// It has not seen them, or they have gone on.
    #[default]
    None,
    /// Nothing goes on; what arrives is kept up to the limit, then the sender waits.
    AllAndWatermark,
    /// Nothing goes on; more than the limit is an error.
    AllAndBuffer,
    /// The headers wait, the body flows to the filter.
    HeadersOnly,
}

/// How a filter holds the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyHold {
    /// It goes on.
    #[default]
    None,
    /// Kept; more than the limit is an error.
    Buffer,
    /// Kept; at the limit the sender waits.
    Watermark,
}

/// One filter's place in one direction.
#[derive(Debug, Default)]
pub struct Stage {
    /// Whether its headers callback has run (or was not wanted).
    pub headers_seen: bool,
    /// Whether the headers wait here.
    pub hold: Hold,
    /// Arrived, not yet shown to the filter.
    pub inbox: Rope,
    /// Shown to the filter and held: what buffer hostcalls work on.
    pub held: Rope,
    /// Whether the body waits here.
    pub body_hold: BodyHold,
    /// The end of the body has arrived (trailers may still follow).
    pub end: bool,
    /// The end of the body was shown to the filter or passed on.
    pub end_seen: bool,
    /// Trailers have arrived at this stage.
    pub trailers: bool,
    /// The trailers callback has run.
    pub trailers_seen: bool,
    /// Everything has gone on.
    pub finished: bool,
    /// `proxy_continue_stream` was called.
    pub resume: bool,
    /// Bytes that the filter does not want to see, before it is shown any again.
    pub skip: u64,
    /// Bytes that go nowhere when they arrive: the rest of what was on its way to a connection that is gone.
    pub lost: u64,
    /// Bytes that go on, of those that it holds first.
    pub pass: u64,
    /// It is to be shown again what it holds.
    pub again: bool,
}

impl Stage {
    /// Bytes that wait here.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.inbox.len() + self.held.len()
    }

    /// Whether nothing of a body is here, or all of it has gone on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.finished
            || (!self.end
                && !self.trailers
                && self.body_hold == BodyHold::None
                && self.inbox.is_empty()
                && self.held.is_empty())
    }
}

/// One filter's part of a stream.
#[derive(Debug)]
pub struct FilterState {
    /// The filter's place in the worker.
    pub plugin: Rc<Plugin>,
    /// The instance on which this stream runs, once the chain has reached the filter.
    pub slot: Option<Rc<Slot>>,
    /// The stream's context in that instance.
    pub context: ContextId,
    /// The plugin context it stands under.
    pub root: ContextId,
    /// What that wants to be called for.
    pub callbacks: CallbackSet,
    /// It knows that the upstream has closed.
    pub upstream_closed: bool,
    /// It has no context of its own there, and is called with its plugin context's.
    pub stateless: bool,
    /// Whether the stream meets its canary has been decided.
    pub chosen: bool,
    /// Goes on without this filter.
    pub skipped: bool,
    /// It has changed something, so that going on without it would forward half a change.
    pub altered: bool,
    /// Towards upstream.
    pub request: Stage,
    /// Towards downstream.
    pub response: Stage,
}

impl FilterState {
    /// A filter that the stream has not reached.
    #[must_use]
    pub fn new(plugin: Rc<Plugin>) -> Self {
        Self {
            plugin,
            slot: None,
            context: ContextId(0),
            root: ContextId(0),
            callbacks: CallbackSet::EMPTY,
            upstream_closed: false,
            stateless: false,
            chosen: false,
            skipped: false,
            altered: false,
            request: Stage::default(),
            response: Stage::default(),
        }
    }

    /// Its place in one direction.
    pub fn stage(&mut self, direction: Direction) -> &mut Stage {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

/// A reply that a filter, or the host in its place, gives instead of the upstream's.
#[derive(Debug)]
pub struct Reply {
    /// Status and fields.
    pub head: ResponseHead,
    /// Body.
    pub body: Bytes,
    /// `grpc-status`, for callers that speak gRPC.
    pub grpc_status: Option<u32>,
    /// `response.code_details`
    pub details: Cow<'static, str>,
    /// Index of the filter that replied: the ones outside of it see the reply. `None`: all that have seen the request.
    pub from: Option<usize>,
}

/// Moments of the way to the upstream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// A connection was asked for.
    pub at: Option<Instant>,
    /// It was ready, and the request on its way. Kept where some filter may ask for it after that.
    pub ready: Option<Instant>,
}

/// A redirect that the host is about to follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Redirect {
    /// There is none.
    #[default]
    None,
    /// The filter that routes is asked where it leads.
    Asked,
    /// It has said that it is not to be followed.
    Refused,
}

/// One request and its response, or one TCP connection.
#[derive(Debug)]
pub struct Exchange {
    /// Which of them.
    pub kind: Kind,
    /// Where it came in.
    pub connection: Rc<Connection>,
    /// When the request's head was complete.
    pub started: Instant,
    /// When it was over; while it lasts, `None`.
    pub ended: Option<Instant>,
    /// When its request had been received.
    pub request_received: Option<Instant>,
    /// HTTP version downstream.
    pub version: Version,
    /// The client asked with HEAD: whatever the answer is, it has no body.
    pub is_head: bool,
    /// The request's head. A TCP connection has none that anybody sees.
    pub request_head: RequestHead,
    /// The request's body and trailers.
    pub request: Half,
    /// The response's head, once there is one.
    pub response_head: Option<ResponseHead>,
    /// The response's body and trailers.
    pub response: Half,
    /// The filters, outermost first.
    pub filters: Vec<FilterState>,
    /// The route that a filter selected.
    pub selection: Option<Selection>,
    /// `set_property(["fyke", "cluster"])`, which wins over the route.
    pub cluster: Option<String>,
    /// The cluster in use, once routed.
    pub routed_to: Option<Rc<LocalCluster>>,
    /// `clear_route_cache` was called after a selection.
    pub route_cleared: bool,
    /// `response.code_details`
    pub details: Cow<'static, str>,
    /// The endpoint in use.
    pub upstream: Option<SocketAddr>,
    /// What is known of the connection to it.
    pub ends: Ends,
    /// Whether the route's policy wanted another attempt in the end.
    pub further: Further,
    /// Redirects of the upstream that were followed for it.
    pub hops: u32,
    /// Whether the filter that routes is asked about one now.
    pub redirect: Redirect,
    /// Connections to endpoints that the request was tried on.
    pub attempts: u32,
    /// When the upstream was asked for, and when a connection to it was ready.
    pub asked: Asked,
    /// Why the upstream could not be reached.
    pub upstream_failure: Option<String>,
    /// `set_property` under any other path.
    pub properties: Vec<(Vec<u8>, Vec<u8>)>,
    /// A reply that waits to be sent.
    pub reply: Option<Box<Reply>>,
    /// A reply was given, and this many filters are outside of whoever gave it: they may reply in its place, others may not.
    pub replied: Option<usize>,
    /// The stream must be reset.
    pub reset: bool,
    /// Of a TCP connection: a filter wants it closed, once what has passed the filters is written.
    pub closing: bool,
    /// Of a TCP connection: the client ended it.
    pub closed_by_client: bool,
    /// The same of a TCP connection's upstream.
    pub closed_by_upstream: bool,
    /// The response's head has been sent downstream.
    pub response_sent: bool,
    /// `log` runs: maps can be read and not written.
    pub logging: bool,
    /// `done` and `delete` have run.
    pub finished: bool,
    /// Bytes that a paused stream may hold in each direction.
    pub limit: usize,
    /// The trace that it belongs to, once a filter has said so.
    pub trace: Option<Box<Trace>>,
    /// Of a TCP connection without an upstream of its own: what a filter borrows.
    pub leasing: Option<Box<Leasing>>,
    /// It is no client's connection, but a new one to an endpoint.
    pub opening: Option<Box<Opening>>,
    /// For whoever watches what filters do.
    pub watch: Option<Box<Watch>>,
    /// Whether anybody watches has been decided.
    pub passed_by: bool,
    wakers: [Option<Waker>; 3],
}

/// Who waits for the chain to move.
#[derive(Debug, Clone, Copy)]
pub enum Waiting {
    /// The task that answers the request.
    Main = 0,
    /// The one that sends the request's body.
    RequestBody = 1,
    /// The one that sends the response's body.
    ResponseBody = 2,
}

impl Exchange {
    /// A stream whose request has just been read.
    #[must_use]
    pub fn new(
        connection: Rc<Connection>,
        version: Version,
        head: RequestHead,
        plugins: &[Rc<Plugin>],
        limit: usize,
    ) -> Self {
        Self {
            kind: Kind::Http,
            connection,
            started: Instant::now(),
            ended: None,
            request_received: None,
            version,
            is_head: head.method == Method::HEAD,
            request_head: head,
            request: Half::default(),
            response_head: None,
            response: Half::default(),
            filters: plugins.iter().map(|plugin| FilterState::new(Rc::clone(plugin))).collect(),
            selection: None,
            cluster: None,
            routed_to: None,
            route_cleared: false,
            details: Cow::Borrowed(""),
            upstream: None,
            ends: Ends::default(),
            further: Further::default(),
            hops: 0,
            redirect: Redirect::None,
            attempts: 0,
            asked: Asked::default(),
            upstream_failure: None,
            properties: Vec::new(),
            reply: None,
            replied: None,
            reset: false,
            closing: false,
            closed_by_client: false,
            closed_by_upstream: false,
            response_sent: false,
            logging: false,
            finished: false,
            limit,
            trace: None,
            leasing: None,
            opening: None,
            watch: None,
            passed_by: false,
            wakers: [None, None, None],
        }
    }

    /// A TCP connection that has just been accepted.
    #[must_use]
    pub fn tcp(connection: Rc<Connection>, plugins: &[Rc<Plugin>], limit: usize) -> Self {
        let head = RequestHead::new(Method::GET, PathAndQuery::from_static("/"), Scheme::HTTP, HeaderMap::new());
        let mut exchange = Self::new(connection, Version::HTTP_11, head, plugins, limit);
        exchange.kind = Kind::Tcp;
        // There is nobody to be told with a status: what goes wrong ends the connection.
        exchange.response_sent = true;
        exchange.request.outlet.started = true;
        exchange.response.outlet.started = true;
        exchange
    }

    /// One direction.
    pub fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// When the request began, by the wall clock.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        clock::wall().checked_sub(self.started.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Remembers whom to wake when a filter lets the stream go on.
    pub fn wait(&mut self, who: Waiting, waker: &Waker) {
        let place = self.waker(who);
        match place {
            Some(old) if old.will_wake(waker) => {}
            _ => *place = Some(waker.clone()),
        }
    }

    /// Whoever waited there has what it waited for, or wants it no more: waking it would only have it polled in vain.
    pub fn waits_no_more(&mut self, who: Waiting) {
        *self.waker(who) = None;
    }

    fn waker(&mut self, who: Waiting) -> &mut Option<Waker> {
        let [main, request, response] = &mut self.wakers;
        match who {
            Waiting::Main => main,
            Waiting::RequestBody => request,
            Waiting::ResponseBody => response,
        }
    }

    /// A filter is shown the headers of a direction, which a trace may want to know.
    pub fn enters(&mut self, direction: Direction, index: usize) {
        if let (Some(trace), Some(filter)) = (&mut self.trace, self.filters.get(index)) {
            trace.enters(&filter.plugin.settings.name, direction);
        }
    }

    /// The headers go on behind a filter.
    pub fn leaves(&mut self, direction: Direction, index: usize) {
        if let (Some(trace), Some(filter)) = (&mut self.trace, self.filters.get(index)) {
            trace.leaves(&filter.plugin.settings.name, direction);
        }
    }

    /// Says that the filters of both directions may have something to do again.
    pub fn unsettle(&mut self) {
        self.request.settled = false;
        self.response.settled = false;
    }

    /// Wakes everybody who waits, and lets the filters be walked again.
    pub fn wake(&mut self) {
        self.unsettle();
        for waker in &mut self.wakers {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// Records a reply. Only filters outside of an earlier one's origin may put another in its place. Returns whether it was recorded.
    pub fn reply_with(&mut self, reply: Reply) -> bool {
        let outside = reply.from.unwrap_or(usize::MAX);
        if self.replied.is_some_and(|earlier| outside >= earlier) {
            return false;
        }
        self.replied = Some(outside);
        self.reply = Some(Box::new(reply));
        true
    }
}
