//! How long a borrowed connection is held by a client for which nothing moves.
//!
//! Many clients share few connections, so one that stops in the middle of its request, or of reading its answer, must not keep one from all others;
//! and an endpoint that has stopped must not keep its clients. Time is looked at now and then and not at every byte: a limit is kept to a quarter of
//! it, upwards.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use crate::wasm::leasing::Limits;

/// Parts of a limit after which it is looked at.
const LOOKS: u32 = 4;
/// How often somebody looks whether the endpoint fails its health checks.
const CHECK: Duration = Duration::from_secs(1);

/// Who is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The client: more of its request, or that it reads.
    Client,
    /// The endpoint.
    Endpoint,
}

/// The clock of a connection that borrows.
#[derive(Default)]
pub(super) struct Patience {
    /// Nothing, where there is nothing to look at.
    clock: Option<Clock>,
}

struct Clock {
    timer: Pin<Box<Sleep>>,
    period: Duration,
    /// What had moved when it was looked at last.
    seen: u64,
    /// Looks since anything has.
    quiet: u32,
}

impl Patience {
    /// A connection is lent. `is_checked` says that its endpoint has health checks.
    pub fn begin(&mut self, limits: Limits, is_checked: bool) {
        let parts = [limits.client, limits.endpoint].into_iter().flatten().map(|limit| limit / LOOKS);
        let period = parts.chain(is_checked.then_some(CHECK)).min();
        let period = period.map(|period| period.max(Duration::from_millis(1)));
        match (&mut self.clock, period) {
            // A timer that still runs is looked at sooner than it need be, which costs less than setting it anew for each exchange.
            (Some(clock), Some(period)) if clock.period == period => clock.quiet = 0,
            (clock, period) => {
                *clock = period.map(|period| Clock {
                    timer: Box::pin(tokio::time::sleep(period)),
                    period,
                    seen: u64::MAX,
                    quiet: 0,
                });
            }
        }
    }

    /// Whether the one who is waited for has taken too long. `moved` is a number that changes with every byte; `look` says who is waited for, for
    /// how long, and whether the endpoint fails its health checks. To be called whenever the owner is polled while a connection is lent.
    pub fn is_over(
        &mut self,
        cx: &mut Context<'_>,
        moved: u64,
        look: impl FnOnce() -> (Awaited, Limits, bool),
    ) -> Option<Awaited> {
        let clock = self.clock.as_mut()?;
        if clock.timer.as_mut().poll(cx).is_pending() {
            return None;
        }
        clock.timer.as_mut().reset(Instant::now() + clock.period);
        // Registers it anew.
        if let Poll::Ready(()) = clock.timer.as_mut().poll(cx) {
            cx.waker().wake_by_ref();
        }
        if std::mem::replace(&mut clock.seen, moved) != moved {
            clock.quiet = 0;
            return None;
        }
        clock.quiet = clock.quiet.saturating_add(1);
        let quiet = clock.period.saturating_mul(clock.quiet);
        let (awaited, limits, fails) = look();
        let limit = match awaited {
            Awaited::Client => limits.client,
            Awaited::Endpoint if fails && quiet >= CHECK => return Some(awaited),
            Awaited::Endpoint => limits.endpoint,
        };
        limit.filter(|limit| quiet >= *limit).map(|_| awaited)
    }

    /// Nothing is lent any more, and a timer that ends then ends for good.
    pub fn rest(&mut self, cx: &mut Context<'_>) {
        if self.clock.as_mut().is_some_and(|clock| clock.timer.as_mut().poll(cx).is_ready()) {
            self.clock = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn};

    use super::*;

    /// How long it takes until somebody has taken too long.
    async fn over(
        limits: Limits,
        is_checked: bool,
        awaited: Awaited,
        mut moved: impl FnMut(Duration) -> u64,
        fails: &Cell<bool>,
    ) -> (Duration, Awaited) {
        let mut patience = Patience::default();
        patience.begin(limits, is_checked);
        let begun = Instant::now();
        let who = poll_fn(|cx| {
            let look = || (awaited, limits, fails.get());
            patience.is_over(cx, moved(begun.elapsed()), look).map_or(Poll::Pending, Poll::Ready)
        });
        let who = who.await;
        (begun.elapsed(), who)
    }

    fn limits(client: u64, endpoint: u64) -> Limits {
        let seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        Limits { client: seconds(client), endpoint: seconds(endpoint) }
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_its_own_time() {
        let well = Cell::new(false);
        for (awaited, least) in [(Awaited::Client, 8), (Awaited::Endpoint, 20)] {
            let (took, who) = over(limits(8, 20), false, awaited, |_| 0, &well).await;
            assert_eq!(who, awaited);
            let least = Duration::from_secs(least);
            assert!(took >= least && took <= least.mul_f64(1.3), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_counts_from_the_last_byte() {
        // A byte every second for a minute, then nothing.
        let moved = |time: Duration| time.as_secs().min(60);
        let (took, _) = over(limits(8, 0), false, Awaited::Client, moved, &Cell::new(false)).await;
        assert!(took >= Duration::from_secs(68) && took <= Duration::from_secs(73), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_fails_its_checks_is_not_waited_for() {
        let (took, who) = over(limits(8, 0), true, Awaited::Endpoint, |_| 0, &Cell::new(true)).await;
        assert_eq!(who, Awaited::Endpoint);
        assert!(took <= Duration::from_secs(3), "{took:?}");
    }
}
