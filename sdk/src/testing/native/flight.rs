//! One stream on its way through the filter, to the upstream and back.
//!
//! What a callback pauses is held here, as a host holds it: of the headers until the filter resumes them, of the body together with
//! what comes after it. The upstream gets the request when all of it is through.

use std::collections::VecDeque;

use crate::abi::{Action, MapKind, Side};
use crate::filter::{Callbacks, HttpFilter, Present};
use crate::testing::Host;
use crate::testing::kit::{Fate, Message, Outcome, Received, Services, TestResponse};
use crate::testing::properties;
use crate::testing::spans;
use crate::testing::world::{Pair, SentReply, World};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Moved,
    Rests,
}

pub(super) struct Flight {
    stream: u32,
    request: Half,
    response: Option<Half>,
    received: Option<Received>,
    outcome: Option<(Message, bool)>,
    hangs: bool,
}

/// One direction.
struct Half {
    side: Side,
    head: Head,
    events: VecDeque<Event>,
    /// A body callback said pause.
    holds: bool,
    /// The body that is through.
    passed: Vec<u8>,
}

#[derive(PartialEq, Eq)]
enum Head {
    /// Not shown to the filter yet, with these headers.
    New(Vec<Pair>),
    Held,
    Passed,
}

enum Event {
    Chunk(Vec<u8>, bool),
    Trailers(Vec<Pair>),
}

impl Half {
    fn new(side: Side, message: Message) -> Self {
        let last = message.chunks.len();
        let has_trailers = !message.trailers.is_empty();
        let chunk = |(at, bytes)| Event::Chunk(bytes, at + 1 == last && !has_trailers);
        let mut events: VecDeque<Event> = message.chunks.into_iter().enumerate().map(chunk).collect();
        if has_trailers {
            events.push_back(Event::Trailers(message.trailers));
        }
        Self { side, head: Head::New(message.headers), events, holds: false, passed: Vec::new() }
    }

    fn is_through(&self) -> bool {
        self.head == Head::Passed && self.events.is_empty() && !self.holds
    }

    fn wants_whole_body(&self, callbacks: Callbacks) -> bool {
        match self.side {
            Side::Request => callbacks.on_request_with_body,
            Side::Response => callbacks.on_response_with_body,
        }
    }

    fn step<F: HttpFilter + Present>(&mut self, host: &Host<F>, stream: u32) -> Progress {
        if let Head::New(headers) = &mut self.head {
            let headers = std::mem::take(headers);
            let action = host.headers_of(self.side, stream, headers, self.events.is_empty());
            self.head = if action == Action::Continue { Head::Passed } else { Head::Held };
            return Progress::Moved;
        }
        if self.take_resumed(host, stream) {
            return Progress::Moved;
        }
        if self.head == Head::Held && !self.wants_whole_body(F::CALLBACKS) {
            return Progress::Rests;
        }
        let Some(event) = self.events.pop_front() else {
            return Progress::Rests;
        };
        let action = match event {
            Event::Chunk(bytes, end_of_stream) => host.body(self.side, stream, &bytes, end_of_stream),
            Event::Trailers(trailers) => host.trailers_of(self.side, stream, trailers),
        };
        match action {
            Action::Continue => self.let_go(host, stream),
            Action::Pause => self.holds = true,
        }
        Progress::Moved
    }

    fn take_resumed<F: HttpFilter + Present>(&mut self, host: &Host<F>, stream: u32) -> bool {
        let resumed = host.stream(stream, |state| {
            let before = state.resumed.len();
            state.resumed.retain(|side| *side != self.side);
            state.resumed.len() < before
        });
        if resumed {
            self.let_go(host, stream);
        }
        resumed
    }

    fn let_go<F: HttpFilter + Present>(&mut self, host: &Host<F>, stream: u32) {
        self.head = Head::Passed;
        self.holds = false;
        self.passed.extend(host.take_body(self.side, stream));
    }

    /// As the next one sees it.
    fn message<F: HttpFilter + Present>(&mut self, host: &Host<F>, stream: u32) -> Message {
        let (headers, trailers) = match self.side {
            Side::Request => (MapKind::RequestHeaders, MapKind::RequestTrailers),
            Side::Response => (MapKind::ResponseHeaders, MapKind::ResponseTrailers),
        };
        let map =
            |kind: MapKind| host.stream(stream, |state| state.maps.get(kind as usize).cloned().unwrap_or_default());
        let body = std::mem::take(&mut self.passed);
        Message {
            headers: map(headers),
            chunks: if body.is_empty() { Vec::new() } else { vec![body] },
            trailers: map(trailers),
        }
    }
}

impl Flight {
    pub fn new(stream: u32, request: Message) -> Self {
        World::with(|world| properties::of_a_connection(world.stream_mut(stream)));
        Self {
            stream,
            request: Half::new(Side::Request, request),
            response: None,
            received: None,
            outcome: None,
            hangs: false,
        }
    }

    pub fn is_done(&self) -> bool {
        self.outcome.is_some()
    }

    pub fn waits_for(&self) -> &'static str {
        if self.hangs {
            "the upstream has no answer"
        } else if self.response.is_some() {
            "the filter waits in a method of the response"
        } else {
            "the filter waits in a method of the request"
        }
    }

    pub fn into_outcome(self) -> Outcome {
        let (message, reset) = self.outcome.unwrap_or_default();
        Outcome::new(message, self.received, reset)
    }

    #[track_caller]
    pub fn step<F: HttpFilter + Present>(&mut self, host: &Host<F>, services: &mut Services) -> Progress {
        if self.outcome.is_some() {
            return Progress::Rests;
        }
        let (reply, closed) =
            host.stream(self.stream, |state| (state.reply.take(), !std::mem::take(&mut state.closed).is_empty()));
        if closed {
            return self.end(Message::default(), true);
        }
        if let Some(reply) = reply {
            let is_head = host.stream(self.stream, |state| {
                state.header(MapKind::RequestHeaders, ":method").is_some_and(|method| method == "HEAD")
            });
            let message = local(reply, is_head);
            // Whoever looks at the response afterwards sees this one.
            host.stream(self.stream, |state| state.set_pairs(MapKind::ResponseHeaders, message.headers.clone()));
            return self.end(message, false);
        }
        let Some(response) = &mut self.response else {
            if !self.request.is_through() {
                return self.request.step(host, self.stream);
            }
            return self.ask(host, services);
        };
        if response.is_through() {
            let message = response.message(host, self.stream);
            return self.end(message, false);
        }
        response.step(host, self.stream)
    }

    fn end(&mut self, message: Message, reset: bool) -> Progress {
        self.outcome = Some((message, reset));
        Progress::Moved
    }

    /// Shows the request to the upstream, and takes its answer.
    #[track_caller]
    fn ask<F: HttpFilter + Present>(&mut self, host: &Host<F>, services: &mut Services) -> Progress {
        if self.hangs {
            return Progress::Rests;
        }
        let route = World::with(|world| world.selected_cluster(self.stream));
        let mut message = self.request.message(host, self.stream);
        if let Some(host) = route.as_ref().and_then(|route| route.host.clone()) {
            message.headers.retain(|(name, _)| name != b":authority");
            message.headers.push((b":authority".to_vec(), host));
        }
        for (name, value) in World::with(|world| spans::of_an_attempt(world, self.stream)) {
            message.headers.retain(|(known, _)| *known != name);
            message.headers.push((name, value));
        }
        let received = self.received.insert(Received::new(message));
        let TestResponse { message, fate } =
            services.upstream(route.as_ref().map(|route| route.cluster.as_str()), received);
        match fate {
            Fate::Answered => self.response = Some(Half::new(Side::Response, message)),
            Fate::Hangs => self.hangs = true,
            // What the host answers in its place passes the filter too.
            Fate::Reset => self.response = Some(Half::new(Side::Response, TestResponse::new(503).message)),
        }
        Progress::Moved
    }
}

/// As a host sends it: lengths are its own, and some answers have no body (RFC 9110, sections 9.3.2, 15.3.5 and 15.4.5).
fn local(mut reply: SentReply, is_head: bool) -> Message {
    reply.headers.retain(|(name, _)| name != b"content-length" && name != b"transfer-encoding");
    if is_head || matches!(reply.status, 204 | 304) {
        reply.body.clear();
    }
    let mut headers = vec![(b":status".to_vec(), reply.status.to_string().into_bytes())];
    headers.extend(reply.headers);
    Message { headers, chunks: if reply.body.is_empty() { Vec::new() } else { vec![reply.body] }, trailers: Vec::new() }
}
