//! How long a stream may take, and the wait for what few routes limit.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::stream::Stream;
use crate::{upstream::UpstreamError, wasm::exchange::Exchange};

/// How long things may take, as the route says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// From the end of the request to the end of the response.
    pub timeout: Option<Duration>,
    /// From the beginning of the stream to its end.
    pub duration: Option<Duration>,
    /// Without anything that moves.
    pub idle: Option<Duration>,
}

impl Limits {
    /// Whether there is more to watch than the timeout.
    pub fn is_unusual(self) -> bool {
        self.duration.is_some() || self.idle.is_some()
    }

    /// When the response has to be through.
    pub fn deadline(self, exchange: &Exchange) -> Option<Instant> {
        let timeout = self.timeout.and_then(|timeout| Some(exchange.request_received? + timeout));
        timeout.into_iter().chain(self.duration.map(|duration| exchange.started + duration)).min()
    }
}

/// Waits for limits that few routes have.
pub(super) struct Patience {
    limits: Limits,
    until: Option<Instant>,
    moves: u64,
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    pub fn new(stream: &Stream, limits: Limits) -> Self {
        let until = limits.duration.map(|duration| stream.exchange.borrow().started + duration);
        let quiet = limits.idle.map(|idle| Instant::now() + idle);
        let first = until.into_iter().chain(quiet).min().unwrap_or_else(Instant::now);
        Self { limits, until, moves: stream.moves(), sleep: Box::pin(tokio::time::sleep_until(first)) }
    }

    pub fn poll(&mut self, stream: &Stream, cx: &mut Context<'_>) -> Poll<UpstreamError> {
        loop {
            std::task::ready!(self.sleep.as_mut().poll(cx));
            if self.until.is_some_and(|until| until <= Instant::now()) {
                return Poll::Ready(UpstreamError::Timeout { timeout: self.limits.duration.unwrap_or_default() });
            }
            let moves = stream.moves();
            let Some(idle) = self.limits.idle.filter(|_| moves == self.moves) else {
                self.moves = moves;
                let quiet = self.limits.idle.map(|idle| Instant::now() + idle);
                let next = self.until.into_iter().chain(quiet).min().unwrap_or_else(Instant::now);
                self.sleep.as_mut().reset(next);
                continue;
            };
            return Poll::Ready(UpstreamError::Idle { timeout: idle });
        }
    }
}
