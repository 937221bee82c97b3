//! A connection without an upstream of its own: a filter borrows one for each exchange.
//!
//! What passes the filters towards upstream is written to the borrowed connection, and what that one says comes to the filters; while there is
//! none, the client waits. Nothing of one exchange ever reaches the connection of another one.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use fyke_engine::{Callback, PeerKind};
use tokio::time::Instant;
use xxhash_rust::xxh64::xxh64;

use super::{
    far::Far,
    handshake::Handshakes,
    patience::{Awaited, Patience},
    serve::{self, End, Session},
    way::Joined,
};
use crate::{
    cluster::{
        Choice,
        lending::{Ask, Key, Lent, Reason, Refusal},
        ways::Passed,
    },
    filter::{chain, pump},
    listener::io::Io,
    transport::{both::Cut, way::Step},
    wasm::{
        foreign,
        leasing::{self, Leasing, Phase, Wanted},
    },
};

/// Leases that begin and end before others get their turn.
const TURNS: usize = 16;

type Borrowing = LocalBoxFuture<'static, Result<Lent, Refusal>>;

/// What moves the bytes of such a connection.
struct Mover<'a> {
    session: &'a Rc<Session>,
    far: Far,
    borrowing: Option<Borrowing>,
    patience: Patience,
}

/// Moves bytes until the client has ended and nothing is borrowed any more, or somebody breaks it off.
pub(super) async fn exchange_bytes(session: &Rc<Session>, io: &mut Io) -> End {
    let mut mover = Mover { session, far: Far::default(), borrowing: None, patience: Patience::default() };
    serve::join(session, io, (true, true), |both, cx, io, last| mover.step(both, cx, io, last)).await
}

impl Mover<'_> {
    /// Moves what can be moved now, as [`Both::step`] does.
    fn step(&mut self, both: &mut Joined, cx: &mut Context<'_>, io: &mut Io, last: bool) -> Result<(Step, Step), Cut> {
        if last && !self.with(|leasing| matches!(leasing.phase, Phase::Ends { clean: true, .. })).unwrap_or(false) {
            // What the filter has not seen off is for nobody.
            both.up.discard();
            self.session.exchange.borrow_mut().request.outlet.body.clear();
        }
        for _ in 0..TURNS {
            let (up, down) = both.step(&**self.session, cx, io, &mut self.far, last)?;
            if self.advance(both, cx) || self.runs_out(both, cx, io) {
                // There is something new to move.
                continue;
            }
            let over = up == Step::Done && !last && self.is_over(both);
            if over {
                self.session.details("closed");
            }
            return Ok((up, if over { Step::Done } else { down }));
        }
        Ok((Step::Yields, Step::Yields))
    }

    /// Whether nothing is borrowed, asked for or on its way to the client. Asked once the client has ended.
    fn is_over(&self, both: &Joined) -> bool {
        let none = self.with(|leasing| matches!(leasing.phase, Phase::None) && leasing.next.is_none());
        none.unwrap_or(true) && self.session.is_clear(both)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Leasing) -> T) -> Option<T> {
        self.session.exchange.borrow_mut().leasing.as_mut().map(|leasing| f(leasing))
    }

    /// Acts on what the filter has asked for, and on what has become of it. Returns whether something has changed.
    fn advance(&mut self, both: &mut Joined, cx: &mut Context<'_>) -> bool {
        if self.far.over().is_some() {
            self.lose(both, PeerKind::Remote);
            return true;
        }
        let asked = self.with(|leasing| match std::mem::take(&mut leasing.phase) {
            Phase::Asked(wanted) => {
                leasing.phase = Phase::Waits { token: wanted.token };
                Some(wanted)
            }
            other => {
                leasing.phase = other;
                None
            }
        });
        if let Some(wanted) = asked.flatten() {
            self.borrowing = Some(self.borrow(&wanted));
        }
        let ends = self.with(|leasing| match leasing.phase {
            Phase::Ends { clean, .. } => Some(clean),
            _ => None,
        });
        if let Some(clean) = ends.flatten() {
            return self.end(both, clean);
        }
        let Some(borrowing) = &mut self.borrowing else { return false };
        match borrowing.as_mut().poll(cx) {
            Poll::Pending => false,
            Poll::Ready(result) => {
                self.borrowing = None;
                self.granted(result);
                true
            }
        }
    }

    /// Begins to wait for a connection.
    fn borrow(&self, wanted: &Wanted) -> Borrowing {
        let runtime = &self.session.runtime;
        let exchange = self.session.exchange.borrow();
        let Some(filter) = exchange.leasing.as_ref().and_then(|leasing| exchange.filters.get(leasing.by)) else {
            return Box::pin(std::future::pending());
        };
        let Some(cluster) = runtime.env.clusters.newest(&wanted.cluster) else {
            let text = format!("there is no cluster \"{}\"", wanted.cluster);
            return Box::pin(std::future::ready(Err(Refusal { reason: Reason::UnknownCluster, text })));
        };
        let key = Rc::new(Key {
            owner: filter.plugin.settings.name.as_str().into(),
            identity: wanted.identity.clone(),
            share: wanted.share.as_str().into(),
        });
        let client = match exchange.connection.client() {
            _ if !wanted.client.is_empty() => xxh64(&wanted.client, 0),
            Some((client, _)) => xxh64(client.ip().to_string().as_bytes(), 0),
            None => 0,
        };
        let labels = wanted.label.clone().map(|label| Arc::from([label]));
        let choice = Choice { endpoint: wanted.endpoint, labels, ..Choice::default() };
        let prepare = Rc::new(Handshakes {
            env: Rc::clone(&runtime.env),
            plugin: Rc::clone(&filter.plugin),
            cluster: wanted.cluster.clone(),
            key: Rc::clone(&key),
            connection: Rc::clone(&exchange.connection),
            limit: runtime.limits.buffer,
        });
        let ask = Ask { key, choice, client, most: wanted.most, timeout: wanted.timeout, prepare };
        let (runtime, listener) = (Rc::clone(runtime), Rc::clone(&exchange.connection.listener));
        Box::pin(async move {
            let begun = Instant::now();
            let lent = cluster.borrow_line(ask).await;
            let passed = Passed { failed: lent.is_err(), time: begun.elapsed() };
            cluster.ways.note(&runtime.metrics, passed, (&runtime.env.registry, &listener, &cluster.name));
            lent
        })
    }

    /// Tells the filter what has come of it.
    fn granted(&mut self, result: Result<Lent, Refusal>) {
        let mut exchange = self.session.exchange.borrow_mut();
        let Some(leasing) = &mut exchange.leasing else { return };
        let Phase::Waits { token } = leasing.phase else { return };
        let by = leasing.by;
        let event = match result {
            Ok(lent) => {
                leasing.phase = Phase::Held { token };
                self.patience.begin(leasing.limits, lent.is_checked().0);
                let address = lent.address();
                exchange.upstream = address;
                exchange.ends = lent.ends();
                exchange.attempts += 1;
                for (index, filter) in exchange.filters.iter_mut().enumerate() {
                    filter.upstream_closed = index != by;
                }
                let text = address.map(|address| address.to_string()).unwrap_or_default();
                let event = leasing::granted(token, None, lent.waited, lent.reused, &text);
                self.far.put(lent);
                event
            }
            Err(refusal) => {
                leasing.phase = Phase::None;
                tracing::debug!(listener = &*exchange.connection.listener, "nothing is lent: {}", refusal.text);
                leasing::granted(token, Some(refusal.reason), Duration::ZERO, false, &refusal.text)
            }
        };
        let env = &self.session.runtime.env;
        if chain::wants(&exchange, by, Callback::ForeignFunction) {
            let told = chain::enter(env, &mut exchange, by, |instance, call, context| {
                instance.on_foreign_function(call, context, foreign::LEASED, &event)
            });
            if told.is_err() {
                crate::filter::failure::fail(&mut exchange, by);
            }
        }
        exchange.unsettle();
    }

    /// The filter is done with the connection. Returns whether something has changed.
    fn end(&mut self, both: &mut Joined, clean: bool) -> bool {
        if !clean {
            self.borrowing = None;
            drop(self.far.take());
            self.forget(both);
            return true;
        }
        let at_rest = {
            let mut exchange = self.session.exchange.borrow_mut();
            exchange.is_at_rest() && exchange.request.outlet.body.is_empty()
        };
        // What is under way still belongs to it.
        if !at_rest || !both.up.is_clear() {
            return false;
        }
        let lent = self.far.take();
        if !self.forget(both)
            && let Some(lent) = lent
        {
            lent.give_back();
        }
        true
    }

    /// Takes the connection away where nothing has moved for too long. Returns whether it has.
    fn runs_out(&mut self, both: &mut Joined, cx: &mut Context<'_>, io: &Io) -> bool {
        let Some(lent) = self.far.lent() else {
            self.patience.rest(cx);
            return false;
        };
        let changed = self.with(|leasing| std::mem::take(&mut leasing.changed).then_some(leasing.limits)).flatten();
        if let Some(limits) = changed {
            self.patience.begin(limits, lent.is_checked().0);
        }
        let (received, sent) = io.activity.bytes();
        let moved = received.wrapping_add(sent).wrapping_add(self.far.moved());
        let look = || {
            let mut exchange = self.session.exchange.borrow_mut();
            // What the filter itself holds waits for the endpoint.
            let unread = !both.down.is_clear() || !exchange.response.outlet.body.is_empty();
            let unsent = !both.up.is_clear() || !exchange.request.outlet.body.is_empty();
            let client = unread || (!unsent && exchange.expects_request());
            let limits = exchange.leasing.as_ref().map(|leasing| leasing.limits).unwrap_or_default();
            (if client { Awaited::Client } else { Awaited::Endpoint }, limits, lent.is_checked().1)
        };
        let Some(awaited) = self.patience.is_over(cx, moved, look) else { return false };
        tracing::debug!(address = ?lent.address(), ?awaited, "a borrowed connection is taken back: nothing moves");
        // Whether the endpoint owes an answer only the filter knows: it is not held against it.
        self.lose(both, PeerKind::Local);
        true
    }

    /// The connection has ended, or broken, under the filter's hands.
    fn lose(&mut self, both: &mut Joined, peer: PeerKind) {
        let over = self.far.over().map(|over| over.as_ref().err().map(ToString::to_string));
        let Some(lent) = self.far.take() else { return };
        let released = self.with(|leasing| matches!(leasing.phase, Phase::Ends { .. })).unwrap_or(false);
        if !released && over.is_some() {
            lent.broke();
            tracing::debug!(address = ?lent.address(), error = ?over, "a borrowed connection has ended");
        }
        drop(lent);
        self.forget(both);
        if released {
            return;
        }
        let mut exchange = self.session.exchange.borrow_mut();
        let Some(by) = exchange.leasing.as_ref().map(|leasing| leasing.by) else { return };
        if let Some(filter) = exchange.filters.get_mut(by) {
            filter.upstream_closed = true;
        }
        pump::close_upstream(&self.session.runtime.env, &mut exchange, by, peer);
        exchange.unsettle();
    }

    /// There is no lease any more, and nothing of its exchange. Returns whether something of the answer was left.
    fn forget(&mut self, both: &mut Joined) -> bool {
        both.up.discard();
        let mut exchange = self.session.exchange.borrow_mut();
        let left = exchange.clear_lease();
        for filter in &mut exchange.filters {
            filter.upstream_closed = true;
        }
        if let Some(leasing) = &mut exchange.leasing {
            leasing.phase = leasing.next.take().map_or(Phase::None, Phase::Asked);
        }
        exchange.unsettle();
        left
    }
}
