//! Drives one filter of TCP connections against the [`World`].

use std::cell::Cell;
use std::time::Duration;

use crate::abi::{Action, push_field};
use crate::error::ConfigError;
use crate::lease::Reason;
use crate::redis::{RedisError, Value};
use crate::runtime::TcpRuntime;
use crate::tcp::{Side, TcpFilter, TcpPresent};
use crate::testing::borrowing::{LeaseRecord, LeaseState, Verdict};
use crate::testing::host::{advance, answer, answer_keys, refusal};
use crate::testing::redis;
use crate::testing::world::{StreamState, World};

const ROOT: u32 = 1;
/// How often a filter may ask in a row to be shown again what it holds.
const TURNS: usize = 10_000;

/// One instance of a filter of TCP connections, configured. Making one resets this thread's [`World`].
pub struct TcpHost<F: TcpFilter + TcpPresent> {
    runtime: TcpRuntime<F>,
    next: Cell<u32>,
}

impl<F: TcpFilter + TcpPresent> TcpHost<F> {
    /// An instance with this configuration, in JSON.
    ///
    /// # Errors
    /// The filter's refusal, as it was told to the host.
    pub fn configure(configuration: &str) -> Result<Self, ConfigError> {
        Self::configure_in(configuration, |_| {})
    }

    /// As [`TcpHost::configure`], in a world that `prepare` has arranged.
    ///
    /// # Errors
    /// The filter's refusal.
    pub fn configure_in(configuration: &str, prepare: impl FnOnce(&mut World)) -> Result<Self, ConfigError> {
        World::reset();
        World::with(prepare);
        let host = Self { runtime: TcpRuntime::new(), next: Cell::new(ROOT + 1) };
        host.runtime.on_context_create(ROOT, 0);
        World::with(|world| world.configuration = configuration.as_bytes().to_vec());
        if host.runtime.on_configure(ROOT, configuration.len()) { Ok(host) } else { Err(refusal()) }
    }

    /// A connection; whether the filter holds it.
    pub fn connect(&self) -> (u32, Action) {
        self.connect_with(|_| {})
    }

    pub(super) fn connect_with(&self, prepare: impl FnOnce(&mut StreamState)) -> (u32, Action) {
        let connection = self.next.replace(self.next.get() + 1);
        World::with(|world| {
            prepare(world.stream_mut(connection));
            world.effective = connection;
        });
        self.runtime.on_context_create(connection, ROOT);
        let action = self.runtime.on_new_connection(connection);
        self.connection(connection, |state| state.begun = action == Action::Continue);
        self.settle(connection);
        (connection, action)
    }

    /// Bytes of a side; what the filter held so far is before them. Of a new connection (see [`TcpHost::open`]), what the endpoint says.
    pub fn send(&self, side: Side, connection: u32, bytes: &[u8], end: bool) -> Action {
        let stream = side.stream();
        let wanted = Self::looks(side);
        let size = World::with(|world| {
            world.effective = connection;
            let (held, passage) = world.stream_mut(connection).way(stream)?;
            passage.ended |= end;
            let unseen = match usize::try_from(passage.skip).unwrap_or(usize::MAX) {
                _ if !wanted => bytes.len(),
                _ if passage.holds => 0,
                skip => skip.min(bytes.len()),
            };
            let (unseen, shown) = bytes.split_at_checked(unseen)?;
            passage.gone.extend_from_slice(unseen);
            passage.skip = passage.skip.saturating_sub(bytes.len() as u64);
            held.extend_from_slice(shown);
            (wanted && (end || unseen.is_empty() || !shown.is_empty())).then_some(held.len())
        });
        let action = size.map_or(Action::Continue, |size| self.show(side, connection, size, end));
        self.settle(connection);
        action
    }

    fn looks(side: Side) -> bool {
        match side {
            Side::Downstream => F::CALLBACKS.on_downstream,
            Side::Upstream => F::CALLBACKS.on_upstream || F::CALLBACKS.on_opened,
        }
    }

    fn show(&self, side: Side, connection: u32, size: usize, end: bool) -> Action {
        World::with(|world| {
            world.effective = connection;
            if let Some((_, passage)) = world.stream_mut(connection).way(side.stream()) {
                // A continue from before was not for this.
                passage.resume = false;
            }
        });
        let action = self.runtime.on_data(side, connection, size, end);
        self.connection(connection, |state| {
            if action == Action::Continue {
                state.let_go(side.stream());
            } else if let Some((_, passage)) = state.way(side.stream()) {
                passage.holds = true;
            }
        });
        action
    }

    /// Does what a host does when a callback has returned.
    #[track_caller]
    pub(super) fn settle(&self, connection: u32) {
        for _ in 0..TURNS {
            let mut moved = false;
            for side in [Side::Downstream, Side::Upstream] {
                let again = self.connection(connection, |state| {
                    let again = state.move_on(side.stream());
                    let (held, passage) = state.way(side.stream())?;
                    (again && Self::looks(side)).then_some((held.len(), passage.ended))
                });
                if let Some((size, end)) = again {
                    moved = true;
                    self.show(side, connection, size, end);
                }
            }
            if !moved {
                return self.connection(connection, StreamState::drain);
            }
        }
        panic!("the filter asks without end to be shown again what it holds");
    }

    fn settle_all(&self) {
        let connections: Vec<u32> = World::with(|world| world.streams.keys().copied().collect());
        for connection in connections {
            self.settle(connection);
        }
    }

    /// Takes what of a side may go on.
    pub fn take(&self, side: Side, connection: u32) -> Vec<u8> {
        self.connection(connection, |state| {
            state.move_on(side.stream());
            state.way(side.stream()).map(|(_, passage)| std::mem::take(&mut passage.gone)).unwrap_or_default()
        })
    }

    /// Answers a callout; no headers mean that it failed.
    pub fn answer(&self, token: u32, headers: &[(&str, &str)], body: &[u8]) {
        answer(&self.runtime, token, headers, body);
        self.settle_all();
    }

    /// Gives the keys that were derived to whoever waits for them.
    pub fn answer_keys(&self) {
        answer_keys(&self.runtime);
        self.settle_all();
    }

    /// Answers a call of Redis, unless the context that asked is gone.
    pub fn answer_redis(&self, token: u32, said: Result<Vec<Value>, RedisError>) {
        redis::answer(&self.runtime, token, &said);
        self.settle_all();
    }

    /// Time passes; timers fire on the way.
    pub fn advance(&self, duration: Duration) {
        advance(&self.runtime, duration);
        self.settle_all();
    }

    /// `proxy_on_foreign_function`, with any arguments.
    pub fn foreign(&self, connection: u32, function: u32, arguments: &[u8]) {
        World::with(|world| {
            world.effective = connection;
            world.arguments = arguments.to_vec();
        });
        if F::CALLBACKS.answers {
            self.runtime.on_foreign_function(connection, function, arguments.len());
        }
        self.settle(connection);
    }

    /// What a connection has asked for so far, in order.
    #[must_use]
    pub fn leases(&self, connection: u32) -> Vec<LeaseRecord> {
        self.connection(connection, |state| state.leases.clone())
    }

    /// Lends a connection to this endpoint, a fresh one, at once.
    ///
    /// # Panics
    /// When the connection waits for none.
    #[track_caller]
    pub fn lend(&self, connection: u32, endpoint: &str) {
        self.lend_after(connection, endpoint, Duration::ZERO, false);
    }

    /// As [`TcpHost::lend`], after a while; `reused`: one that has served before.
    ///
    /// # Panics
    /// When the connection waits for none.
    #[track_caller]
    pub fn lend_after(&self, connection: u32, endpoint: &str, waited: Duration, reused: bool) {
        let token = self.decide(connection, LeaseState::Lent);
        self.tell(connection, token, 0, waited, reused, endpoint);
    }

    /// Refuses what a connection waits for.
    ///
    /// # Panics
    /// When the connection waits for nothing.
    #[track_caller]
    pub fn refuse(&self, connection: u32, reason: Reason, text: &str) {
        let token = self.decide(connection, LeaseState::Refused);
        self.tell(connection, token, reason.number(), Duration::ZERO, false, text);
    }

    #[track_caller]
    fn decide(&self, connection: u32, state: LeaseState) -> u32 {
        let token = self.connection(connection, |stream| {
            let lease = stream.leases.iter_mut().find(|lease| lease.state == LeaseState::Asked)?;
            lease.state = state;
            Some(lease.token)
        });
        match token {
            Some(token) => token,
            None => panic!("the connection waits for no lease"),
        }
    }

    fn tell(&self, connection: u32, token: u32, reason: u32, waited: Duration, reused: bool, text: &str) {
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        let mut event = [token.to_le_bytes(), reason.to_le_bytes()].concat();
        event.extend_from_slice(&waited.to_le_bytes());
        event.extend_from_slice(&u32::from(reused).to_le_bytes());
        event.extend_from_slice(text.as_bytes());
        self.foreign(connection, 3, &event);
    }

    /// What is lent ends, or breaks.
    ///
    /// # Panics
    /// When nothing is lent.
    #[track_caller]
    pub fn lose(&self, connection: u32) {
        self.lose_lease(connection, false);
    }

    /// The host takes back what is lent: nothing has moved for as long as the filter has said.
    ///
    /// # Panics
    /// When nothing is lent.
    #[track_caller]
    pub fn take_back(&self, connection: u32) {
        self.lose_lease(connection, true);
    }

    #[track_caller]
    fn lose_lease(&self, connection: u32, by_host: bool) {
        let lost = self.connection(connection, |state| {
            let lease = state.leases.iter_mut().find(|lease| lease.state == LeaseState::Lent)?;
            lease.state = LeaseState::Lost;
            state.drop_exchange();
            state.passages[0].gone.clear();
            Some(())
        });
        assert!(lost.is_some(), "nothing is lent");
        self.end_side(Side::Upstream, connection, by_host);
    }

    /// A new connection to an endpoint, which the filter makes fit to be lent: what it writes is in `written`, towards upstream, and
    /// [`TcpHost::send`] answers.
    pub fn open(&self, cluster: &str, endpoint: &str, identity: &[u8], share: &str) -> u32 {
        let mut event = Vec::new();
        for part in [cluster.as_bytes(), endpoint.as_bytes(), identity, share.as_bytes()] {
            push_field(&mut event, part);
        }
        self.open_with(&event)
    }

    /// As [`TcpHost::open`], with any arguments of `fyke.upstream.opened.v1`.
    pub fn open_with(&self, arguments: &[u8]) -> u32 {
        let opened = self.next.replace(self.next.get() + 1);
        World::with(|world| {
            world.effective = opened;
            world.stream_mut(opened).opening = true;
        });
        self.runtime.on_context_create(opened, ROOT);
        self.foreign(opened, 4, arguments);
        opened
    }

    /// Takes what the filter wrote towards a side.
    pub fn written(&self, to: Side, connection: u32) -> Vec<u8> {
        let at = (to.stream() as usize).wrapping_sub(2);
        self.connection(connection, |state| state.written.get_mut(at).map(std::mem::take).unwrap_or_default())
    }

    /// What the filter has said of a new connection; `None`: the handshake is under way.
    #[must_use]
    pub fn verdict(&self, opened: u32) -> Option<Verdict> {
        self.connection(opened, |state| state.verdict.clone())
    }

    /// One side is gone.
    pub fn close(&self, side: Side, connection: u32) {
        self.end_side(side, connection, false);
    }

    fn end_side(&self, side: Side, connection: u32, by_host: bool) {
        World::with(|world| world.effective = connection);
        let callbacks = F::CALLBACKS;
        if callbacks.on_close || callbacks.on_leased || (callbacks.tasks && side == Side::Downstream) {
            self.runtime.on_close(side, connection, by_host);
        }
        self.settle(connection);
    }

    /// The end of a connection: log, then delete. New connections to endpoints are not logged.
    pub fn finish(&self, connection: u32) {
        World::with(|world| world.effective = connection);
        if F::CALLBACKS.on_log && !self.connection(connection, |state| state.opening) {
            self.runtime.on_log(connection);
        }
        self.runtime.on_delete(connection);
    }

    pub(super) fn runtime(&self) -> &TcpRuntime<F> {
        &self.runtime
    }

    /// How many connections the filter knows.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.runtime.connections()
    }

    /// Looks at a connection.
    pub fn connection<T>(&self, connection: u32, look: impl FnOnce(&mut StreamState) -> T) -> T {
        World::with(|world| look(world.stream_mut(connection)))
    }
}
