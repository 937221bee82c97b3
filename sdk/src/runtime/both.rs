//! A module that is a filter of HTTP streams and of TCP connections.
//!
//! The ABI says of a new context neither which of the two it is, so each begins as a stream, and becomes a connection when it is
//! said to be one (`proxy_on_new_connection`). The filter value is one: [`HttpFilter::configure`] makes it, and both kinds share it.

use std::marker::PhantomData;

use super::{Runtime, TcpRuntime, Waking};
use crate::abi::{self, Action};
use crate::filter::{HttpFilter, Present};
use crate::owner::Owner;
use crate::tcp::{Side, TcpFilter, TcpPresent};

#[cfg(test)]
mod tests;

/// Everything that one instance knows about its filters, streams and connections.
pub struct BothRuntime<F: HttpFilter + Present + TcpFilter + TcpPresent> {
    http: Runtime<F>,
    tcp: TcpRuntime<F>,
}

impl<F: HttpFilter + Present + TcpFilter + TcpPresent> Default for BothRuntime<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: HttpFilter + Present + TcpFilter + TcpPresent> BothRuntime<F> {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { http: Runtime::new(), tcp: TcpRuntime::new() }
    }

    /// `proxy_on_context_create`.
    pub fn on_context_create(&self, context: u32, parent: u32) {
        self.http.on_context_create(context, parent);
    }

    /// `proxy_on_configure`.
    pub fn on_configure(&self, root: u32, size: usize) -> bool {
        let Some(filter) = self.http.configure_beside(root, size) else { return false };
        self.tcp.share(root, filter);
        true
    }

    /// `proxy_on_new_connection`.
    pub fn on_new_connection(&self, context: u32) -> Action {
        self.becomes_connection(context);
        self.tcp.on_new_connection(context)
    }

    /// What began as a stream is none.
    fn becomes_connection(&self, context: u32) {
        if let Some(root) = self.http.forget(context) {
            self.tcp.on_context_create(context, root);
        }
    }

    /// `proxy_on_downstream_data` and `proxy_on_upstream_data`.
    pub fn on_data(&self, side: Side, context: u32, size: usize, end: bool) -> Action {
        self.tcp.on_data(side, context, size, end)
    }

    /// `proxy_on_downstream_connection_close` and `proxy_on_upstream_connection_close`.
    pub fn on_close(&self, side: Side, context: u32, by_host: bool) {
        self.tcp.on_close(side, context, by_host);
    }

    /// `proxy_on_request_headers` and `proxy_on_response_headers`.
    pub fn on_headers(&self, side: abi::Side, context: u32, end_of_stream: bool) -> Action {
        self.http.on_headers(side, context, end_of_stream)
    }

    /// `proxy_on_request_body` and `proxy_on_response_body`.
    pub fn on_body(&self, side: abi::Side, context: u32, size: usize, end_of_stream: bool) -> Action {
        self.http.on_body(side, context, size, end_of_stream)
    }

    /// `proxy_on_request_trailers` and `proxy_on_response_trailers`.
    pub fn on_trailers(&self, side: abi::Side, context: u32) -> Action {
        self.http.on_trailers(side, context)
    }

    /// `proxy_on_foreign_function`.
    pub fn on_foreign_function(&self, context: u32, function: u32, size: usize) {
        match function {
            // A new connection to an endpoint: it is no stream either.
            4 => {
                self.becomes_connection(context);
                self.tcp.on_foreign_function(context, function, size);
            }
            3 => self.tcp.on_foreign_function(context, function, size),
            5 => self.on_key(size),
            6 => self.on_redis(size),
            _ => self.http.on_foreign_function(context, function, size),
        }
    }

    /// `proxy_on_log`.
    pub fn on_log(&self, context: u32) {
        if self.tcp.has(context) {
            return self.tcp.on_log(context);
        }
        self.http.on_log(context);
    }

    /// `proxy_on_delete`.
    pub fn on_delete(&self, context: u32) {
        if self.http.has(context) {
            return self.http.on_delete(context);
        }
        // A connection, or a root, of which both have one.
        if !self.tcp.has(context) {
            self.http.on_delete(context);
        }
        self.tcp.on_delete(context);
    }
}

impl<F: HttpFilter + Present + TcpFilter + TcpPresent> Waking for BothRuntime<F> {
    fn wake(&self, owner: Owner) {
        match owner {
            Owner::Stream(context) if self.tcp.has(context) => self.tcp.wake(owner),
            // Tasks are the filter's, which HTTP's half has configured.
            _ => self.http.wake(owner),
        }
    }
}

/// Where the callbacks of a module find its runtime: `#[http_filter(with_tcp)]` makes it, and `#[tcp_filter(with_http)]` uses it.
pub trait Module: HttpFilter + Present + TcpFilter + TcpPresent {
    /// Looks at it.
    fn with<T>(look: impl FnOnce(&BothRuntime<Self>) -> T) -> T;
}

/// The runtime of `F`'s module, wherever it is.
pub struct OfModule<F>(PhantomData<F>);

impl<F: Module> OfModule<F> {
    /// There is nothing in it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "macros make it, as a constant")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    /// Looks at the runtime.
    pub fn with<T>(&self, look: impl FnOnce(&BothRuntime<F>) -> T) -> T {
        F::with(look)
    }
}
