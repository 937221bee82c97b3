//! A TCP connection without an upstream of its own: a filter borrows one for each exchange (`fyke.upstream.lease.v1`).
//!
//! Here is what the filter has asked for. Whoever moves the connection's bytes acts on it ([`crate::tcp`]).

use std::time::Duration;

use fyke_engine::{ContextId, Status};

use super::{
    call::Call,
    exchange::{Direction, Exchange, Kind},
    foreign::Arguments,
};
use crate::cluster::lending::Reason;

/// The longest identity and the longest name of a share, in bytes.
const LONGEST_KEY: usize = 1024;
/// The longest time to wait for a connection.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What a filter asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its number.
    pub token: u32,
    /// The cluster.
    pub cluster: String,
    /// One endpoint of it.
    pub endpoint: Option<std::net::SocketAddr>,
    /// Only endpoints with this label.
    pub label: Option<(String, String)>,
    /// As whom.
    pub identity: Box<[u8]>,
    /// From which part of the connections; empty for the usual one.
    pub share: String,
    /// How many connections that may have.
    pub most: Option<u32>,
    /// How long to wait; `None`: the cluster's `connect_timeout`.
    pub timeout: Option<Duration>,
    /// Who asks, for fairness; empty: the client's address.
    pub client: Box<[u8]>,
}

/// Where a lease stands.
#[derive(Debug, Default)]
pub enum Phase {
    /// There is none.
    #[default]
    None,
    /// It was asked for.
    Asked(Box<Wanted>),
    /// It is waited for.
    Waits {
        /// Its number.
        token: u32,
    },
    /// The connection is the filter's.
    Held {
        /// Its number.
        token: u32,
    },
    /// The filter has said what becomes of it.
    Ends {
        /// Its number.
        token: u32,
        /// Somebody else may have it, once what is under way has passed.
        clean: bool,
    },
}

/// How long a connection that is lent may be held while nothing moves; `None`: for as long as the listener lets a connection idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// While the client has to go on: to send more of its request, or to read.
    pub client: Option<Duration>,
    /// While the endpoint has to.
    pub endpoint: Option<Duration>,
}

/// What a filter has made of a connection.
#[derive(Debug)]
pub struct Leasing {
    /// The filter's place in the chain.
    pub by: usize,
    /// The lease of now.
    pub phase: Phase,
    /// What is asked for while the last one ends.
    pub next: Option<Box<Wanted>>,
    /// For what is lent.
    pub limits: Limits,
    /// They are others than when it was lent.
    pub changed: bool,
    tokens: u32,
}

/// What becomes of a new connection that a filter makes fit to be lent.
#[derive(Debug, Default)]
pub enum Verdict {
    /// The handshake is under way.
    #[default]
    Open,
    /// It may be lent.
    Ready,
    /// It may not, and why.
    Refused(String),
}

/// A new connection to an endpoint, in the hands of a filter.
#[derive(Debug, Default)]
pub struct Opening {
    /// What the filter is told: `fyke.upstream.opened.v1`.
    pub event: Vec<u8>,
    /// What it has said.
    pub verdict: Verdict,
}

impl Exchange {
    /// `fyke.upstream.none.v1`
    fn leases(&mut self, index: usize) -> Option<Status> {
        let may = self.kind == Kind::Tcp && self.opening.is_none() && !self.head_passed(Direction::Request);
        if !may {
            return None;
        }
        match &self.leasing {
            Some(leasing) if leasing.by != index => None,
            Some(_) => Some(Status::Ok),
            None => {
                let (phase, next, limits, changed) = Default::default();
                self.leasing = Some(Box::new(Leasing { by: index, phase, next, limits, changed, tokens: 0 }));
                Some(Status::Ok)
            }
        }
    }

    /// `fyke.upstream.limit.v1`
    fn limit(&mut self, index: usize, args: &[u8]) -> Option<Status> {
        let mut args = Arguments(args);
        let mut limit = || {
            let milliseconds = args.u32()?;
            Some((milliseconds > 0).then(|| Duration::from_millis(milliseconds.into())))
        };
        let (endpoint, client) = (limit()?, limit()?);
        let leasing = self.leasing.as_mut().filter(|leasing| leasing.by == index && args.0.is_empty())?;
        leasing.limits = Limits { client, endpoint };
        leasing.changed = true;
        self.wake();
        Some(Status::Ok)
    }

    fn lease(&mut self, index: usize, args: &[u8]) -> Option<u32> {
        let mut args = Arguments(args);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let cluster = text(args.bytes()?)?;
        let endpoint = match text(args.bytes()?)? {
            none if none.is_empty() => None,
            some => Some(some.parse().ok()?),
        };
        let (key, value) = (text(args.bytes()?)?, text(args.bytes()?)?);
        let label = (!key.is_empty()).then_some((key, value));
        let (identity, share) = (args.bytes()?, text(args.bytes()?)?);
        let most = Some(args.u32()?).filter(|most| *most > 0);
        let timeout = Some(args.u32()?).filter(|timeout| *timeout > 0);
        let timeout = timeout.map(|timeout| Duration::from_millis(timeout.into()).min(LONGEST_WAIT));
        let client = args.bytes()?;
        if identity.len() > LONGEST_KEY || share.len() > LONGEST_KEY || client.len() > LONGEST_KEY || !args.0.is_empty()
        {
            return None;
        }
        let leasing = self.leasing.as_mut().filter(|leasing| leasing.by == index)?;
        let token = leasing.tokens.wrapping_add(1).max(1);
        let (identity, client) = (identity.into(), client.into());
        let wanted = Box::new(Wanted { token, cluster, endpoint, label, identity, share, most, timeout, client });
        match &leasing.phase {
            Phase::None => leasing.phase = Phase::Asked(wanted),
            Phase::Ends { .. } if leasing.next.is_none() => leasing.next = Some(wanted),
            _ => return None,
        }
        leasing.tokens = token;
        self.wake();
        Some(token)
    }

    fn end_lease(&mut self, index: usize, clean: bool, args: &[u8]) -> Option<Status> {
        let mut args = Arguments(args);
        let token = args.u32()?;
        if let Some(opening) = &mut self.opening {
            if token != 0 || !matches!(opening.verdict, Verdict::Open) {
                return None;
            }
            opening.verdict =
                if clean { Verdict::Ready } else { Verdict::Refused(String::from_utf8_lossy(args.0).into_owned()) };
            self.wake();
            return Some(Status::Ok);
        }
        let leasing = self.leasing.as_mut().filter(|leasing| leasing.by == index)?;
        if leasing.next.as_ref().is_some_and(|next| next.token == token) {
            leasing.next = None;
            return Some(Status::Ok);
        }
        let now = match &leasing.phase {
            Phase::Asked(wanted) => wanted.token,
            Phase::Waits { token } | Phase::Held { token } => *token,
            Phase::None | Phase::Ends { .. } => return None,
        };
        if now != token {
            return None;
        }
        leasing.phase = match leasing.phase {
            // Nothing has begun.
            Phase::Asked(_) => Phase::None,
            Phase::Held { .. } => Phase::Ends { token, clean },
            _ => Phase::Ends { token, clean: false },
        };
        self.wake();
        Some(Status::Ok)
    }

    /// Whether the filter that borrows has nothing of an exchange before it: neither bytes of it nor some that are to come.
    pub fn is_at_rest(&mut self) -> bool {
        let Some(by) = self.leasing.as_ref().map(|leasing| leasing.by) else { return true };
        let Some(filter) = self.filters.get(by) else { return true };
        filter.request.skip == 0 && filter.request.pass == 0 && filter.response.skip == 0 && filter.response.pass == 0
    }

    /// Whether the filter that borrows has let more of the client's request go than has come.
    pub fn expects_request(&mut self) -> bool {
        let Some(by) = self.leasing.as_ref().map(|leasing| leasing.by) else { return false };
        self.filters.get(by).is_some_and(|filter| filter.request.pass > 0 || filter.request.skip > 0)
    }

    /// Drops what is left of an exchange whose connection is gone: it belongs to no other one. Returns whether there was something of
    /// the answer.
    pub fn clear_lease(&mut self) -> bool {
        let Some(by) = self.leasing.as_ref().map(|leasing| leasing.by) else { return false };
        self.request.outlet.body.clear();
        let Some(filter) = self.filters.get_mut(by) else { return false };
        // The rest of a request that was let go belongs to no other connection.
        filter.request.lost = filter.request.lost.saturating_add(std::mem::take(&mut filter.request.skip));
        let stage = &mut filter.response;
        let left = stage.held_bytes() > 0 || stage.skip > 0;
        stage.skip = 0;
        stage.inbox.clear();
        stage.held.clear();
        stage.body_hold = super::exchange::BodyHold::None;
        left
    }

    /// Lets the first `count` bytes go on that filter `index` has been shown, and those that are still missing unseen.
    fn pass(&mut self, index: usize, from: Direction, count: u64) -> Option<Status> {
        if self.kind != Kind::Tcp {
            return None;
        }
        let stage = self.filters.get_mut(index)?.stage(from);
        stage.pass = stage.pass.saturating_add(count);
        self.wake();
        Some(Status::Ok)
    }

    /// Shows filter `index` again what it holds.
    fn show(&mut self, index: usize, from: Direction) -> Option<Status> {
        if self.kind != Kind::Tcp {
            return None;
        }
        self.filters.get_mut(index)?.stage(from).again = true;
        self.wake();
        Some(Status::Ok)
    }
}

/// Answers `fyke.upstream.*` and the functions of streams that go with it.
pub fn call(host: &mut Call<'_>, cx: ContextId, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Option<Status> {
    match name {
        b"fyke.upstream.none.v1" => host.stream(cx, Exchange::leases).flatten(),
        b"fyke.upstream.limit.v1" => host.stream(cx, |exchange, index| exchange.limit(index, args)).flatten(),
        b"fyke.upstream.lease.v1" => {
            // The filter may have no say over that cluster.
            let cluster = std::str::from_utf8(Arguments(args).bytes()?).ok()?;
            if host.cluster(cx, cluster).is_none() {
                return Some(Status::NotFound);
            }
            let token = host.stream(cx, |exchange, index| exchange.lease(index, args)).flatten()?;
            out.extend_from_slice(&token.to_le_bytes());
            Some(Status::Ok)
        }
        b"fyke.upstream.release.v1" | b"fyke.upstream.close.v1" => {
            let clean = name == b"fyke.upstream.release.v1";
            host.stream(cx, |exchange, index| exchange.end_lease(index, clean, args)).flatten()
        }
        _ => None,
    }
}

/// `fyke.stream.pass.v1` and `fyke.stream.show.v1`.
pub fn of_stream(host: &mut Call<'_>, cx: ContextId, name: &[u8], args: &[u8]) -> Option<Status> {
    let mut args = Arguments(args);
    let stream = fyke_engine::StreamKind::from_abi(args.u32()?)?;
    let count = if name == b"fyke.stream.pass.v1" { Some(args.u64()?) } else { None };
    host.stream(cx, |exchange, index| {
        let from = super::call::direction(exchange.kind, stream)?;
        match count {
            Some(count) => exchange.pass(index, from, count),
            None => exchange.show(index, from),
        }
    })
    .flatten()
}

/// The bytes of the event that ends waiting: the token, 0 or the [`Reason`], microseconds waited, whether the connection had served before, and the
/// endpoint's address or the reason in words.
#[must_use]
pub fn granted(token: u32, reason: Option<Reason>, waited: Duration, reused: bool, text: &str) -> Vec<u8> {
    let mut event = Vec::with_capacity(20 + text.len());
    event.extend_from_slice(&token.to_le_bytes());
    event.extend_from_slice(&reason.map_or(0, |reason| reason as u32).to_le_bytes());
    event.extend_from_slice(&u64::try_from(waited.as_micros()).unwrap_or(u64::MAX).to_le_bytes());
    event.extend_from_slice(&u32::from(reused).to_le_bytes());
    event.extend_from_slice(text.as_bytes());
    event
}
