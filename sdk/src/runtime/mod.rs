//! From callbacks to methods: what the exports of a module call.

mod background;
mod both;
mod contexts;
mod http;
mod plugins;
mod tcp;

pub(crate) use background::BoxedTask;
pub use both::{BothRuntime, Module, OfModule};
pub use http::Runtime;
pub use tcp::TcpRuntime;

use std::cell::Cell;

use crate::abi::{self, Level};
use crate::callout;
pub use crate::callout::Received;
use crate::crypto;
use crate::error::Error;
use crate::owner::Owner;
use crate::redis;
use crate::timer;

/// Gives a `Ctx` back where it was borrowed, also when the future that has it is dropped in the middle.
struct Loan<'a, C> {
    cx: Option<C>,
    lender: &'a Cell<Option<C>>,
}

impl<C> Drop for Loan<'_, C> {
    fn drop(&mut self) {
        self.lender.set(self.cx.take());
    }
}

fn log_failure(error: &Error) {
    abi::log(Level::Error, &format!("a method of the filter failed: {error}"));
}

/// The callbacks that futures wait for. They are the same for streams, connections and tasks.
pub trait Waking {
    /// Something that a stream or a task waited for is here.
    fn wake(&self, owner: Owner);

    /// `proxy_on_http_call_response`.
    fn on_http_call_response(&self, token: u32, headers: u32, body: usize) {
        if let Some(owner) = callout::http_completed(token, headers, body) {
            self.wake(owner);
        }
    }

    /// `proxy_on_grpc_receive_initial_metadata`, `proxy_on_grpc_receive` and `proxy_on_grpc_receive_trailing_metadata`.
    fn on_grpc_receive(&self, token: u32, what: Received) {
        if let Some(owner) = callout::grpc_received(token, what) {
            self.wake(owner);
        }
    }

    /// `proxy_on_grpc_close`.
    fn on_grpc_close(&self, token: u32, status: u32) {
        if let Some(owner) = callout::grpc_closed(token, status) {
            self.wake(owner);
        }
    }

    /// `proxy_on_foreign_function` 5: a key was derived.
    fn on_key(&self, size: usize) {
        if let Some(owner) = crypto::derived(&abi::foreign_arguments(size)) {
            self.wake(owner);
        }
    }

    /// `proxy_on_foreign_function` 6: Redis has answered.
    fn on_redis(&self, size: usize) {
        if let Some(owner) = redis::answered(&abi::foreign_arguments(size)) {
            self.wake(owner);
        }
    }

    /// `proxy_on_tick`.
    fn on_tick(&self, root: u32) {
        timer::tick(|owner| {
            self.wake(owner);
            // Each is woken as the root's, whose timer this is.
            abi::set_effective_context(root);
        });
    }
}
