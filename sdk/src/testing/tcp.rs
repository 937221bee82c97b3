//! Drives one filter of TCP connections against the [`World`].

use std::cell::Cell;

use crate::abi::Action;
use crate::error::ConfigError;
use crate::runtime::TcpRuntime;
use crate::tcp::{Side, TcpFilter, TcpPresent};
use crate::testing::host::{answer, refusal};
use crate::testing::world::{StreamState, World};

const ROOT: u32 = 1;

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
        (connection, self.runtime.on_new_connection(connection))
    }

    /// Bytes of a side; what the filter held so far is before them.
    pub fn send(&self, side: Side, connection: u32, bytes: &[u8], end: bool) -> Action {
        let size = World::with(|world| {
            world.effective = connection;
            let held = world.stream_mut(connection).bodies.get_mut(side.stream() as usize);
            held.map_or(0, |held| {
                held.extend_from_slice(bytes);
                held.len()
            })
        });
        let wanted = match side {
            Side::Downstream => F::CALLBACKS.on_downstream,
            Side::Upstream => F::CALLBACKS.on_upstream,
        };
        if wanted { self.runtime.on_data(side, connection, size, end) } else { Action::Continue }
    }

    /// Takes what of a side may go on.
    pub fn take(&self, side: Side, connection: u32) -> Vec<u8> {
        self.connection(connection, |state| {
            state.bodies.get_mut(side.stream() as usize).map(std::mem::take).unwrap_or_default()
        })
    }

    /// Answers a callout; no headers mean that it failed.
    pub fn answer(&self, token: u32, headers: &[(&str, &str)], body: &[u8]) {
        answer(&self.runtime, token, headers, body);
    }

    /// One side is gone.
    pub fn close(&self, side: Side, connection: u32) {
        World::with(|world| world.effective = connection);
        if F::CALLBACKS.on_close || (F::CALLBACKS.tasks && side == Side::Downstream) {
            self.runtime.on_close(side, connection);
        }
    }

    /// The end of a connection: log, then delete.
    pub fn finish(&self, connection: u32) {
        World::with(|world| world.effective = connection);
        if F::CALLBACKS.on_log {
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
