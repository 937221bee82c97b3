//! How long a stream may take, and the wait for what few routes limit.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use crate::wasm::exchange::Exchange;

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
        timeout.into_iter().chain(self.end(exchange)).min()
    }

    /// When the stream has to be over.
    pub fn end(self, exchange: &Exchange) -> Option<Instant> {
        self.duration.map(|duration| exchange.started + duration)
    }
}

/// Which limit is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The moment at which all has to be through.
    Deadline,
    /// Nothing has moved for as long as that may be.
    Idle,
}

/// Watches a deadline and idleness, both of which few routes have. Its timer is made when it first waits.
#[derive(Default)]
pub(super) struct Patience {
    deadline: Option<Instant>,
    idle: Option<Duration>,
    /// What had moved when the timer was set.
    moves: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Without either it is never over.
    pub fn new(deadline: Option<Instant>, idle: Option<Duration>) -> Self {
        Self { deadline, idle, ..Self::default() }
    }

    /// The deadline, where it is known only now.
    pub fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        self.sleep = None;
    }

    /// To be called whenever the stream waits; `moves` is what has moved so far.
    pub fn poll(&mut self, moves: u64, cx: &mut Context<'_>) -> Poll<Late> {
        let moved = std::mem::replace(&mut self.moves, moves) != moves;
        let quiet = || self.idle.map(|idle| Instant::now() + idle);
        let next = || self.deadline.into_iter().chain(quiet()).min();
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if moved
                    && self.idle.is_some()
                    && let Some(next) = next()
                {
                    sleep.as_mut().reset(next);
                }
                sleep
            }
            None => {
                let Some(next) = next() else { return Poll::Pending };
                self.sleep.insert(Box::pin(tokio::time::sleep_until(next)))
            }
        };
        std::task::ready!(sleep.as_mut().poll(cx));
        let at = sleep.deadline();
        Poll::Ready(if self.deadline.is_some_and(|deadline| deadline <= at) { Late::Deadline } else { Late::Idle })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn over(patience: &mut Patience, moves: u64) -> Late {
        poll_fn(|cx| patience.poll(moves, cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn whichever_limit_is_over_first_is_told() {
        let begun = Instant::now();
        assert_eq!(over(&mut Patience::new(Some(begun + SECOND), Some(2 * SECOND)), 0).await, Late::Deadline);
        assert_eq!(begun.elapsed(), SECOND);
        assert_eq!(over(&mut Patience::new(Some(begun + 9 * SECOND), Some(2 * SECOND)), 0).await, Late::Idle);
        assert_eq!(begun.elapsed(), 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_begins_idleness_anew() {
        let begun = Instant::now();
        let mut patience = Patience::new(None, Some(2 * SECOND));
        for moves in 1..=3 {
            assert!(tokio::time::timeout(SECOND, over(&mut patience, moves)).await.is_err());
        }
        assert_eq!(over(&mut patience, 3).await, Late::Idle);
        // Counted from the last move, which was after two seconds.
        assert_eq!(begun.elapsed(), 4 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_it_lasts() {
        assert!(tokio::time::timeout(SECOND, over(&mut Patience::new(None, None), 0)).await.is_err());
    }
}
