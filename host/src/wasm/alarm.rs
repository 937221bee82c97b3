//! A timer that a connection's streams use one after the other.
//!
//! Nearly every request ends long before its timeout, so setting a timer for each and taking it back is work for nothing. Here the
//! timer stays set: the next stream, whose deadline is later, leaves it as it is and sets it anew only should it ring too early.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep};

/// A connection's timer, while no stream has it.
#[derive(Debug, Default)]
pub struct Alarm(RefCell<Option<Pin<Box<Sleep>>>>);

/// The timer of a stream, until it is dropped.
#[derive(Debug)]
pub struct Lent<'a> {
    home: &'a Alarm,
    timer: Option<Pin<Box<Sleep>>>,
    due: Instant,
    registered: bool,
}

impl Alarm {
    /// A timer that rings at `due`. Streams of one connection may have one each at the same time.
    pub fn lend(&self, due: Instant) -> Lent<'_> {
        let timer = self.0.take();
        let timer = match timer {
            Some(mut timer) => {
                if timer.deadline() > due || timer.is_elapsed() {
                    timer.as_mut().reset(due);
                }
                timer
            }
            None => Box::pin(tokio::time::sleep_until(due)),
        };
        Lent { home: self, timer: Some(timer), due, registered: false }
    }

    /// Gives the timer up: the connection is idle.
    pub fn forget(&self) {
        self.0.take();
    }
}

impl Lent<'_> {
    /// Ready once its time has come. To be polled by one task.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        // Once it has the waker, a look at a flag will do.
        if self.registered && !timer.is_elapsed() {
            return Poll::Pending;
        }
        self.registered = true;
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= self.due {
                return Poll::Ready(());
            }
            // It rang for an earlier stream.
            timer.as_mut().reset(self.due);
        }
        Poll::Pending
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.home.0.borrow_mut() = self.timer.take();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn rings(alarm: &Alarm, due: Instant) -> Instant {
        let mut lent = alarm.lend(due);
        poll_fn(|cx| lent.poll(cx)).await;
        Instant::now()
    }

    /// Polls once and gives the timer back.
    async fn passes_by(alarm: &Alarm, due: Instant) {
        let mut lent = alarm.lend(due);
        poll_fn(|cx| {
            assert!(lent.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_for_whoever_has_it_and_not_before() {
        let alarm = Alarm::default();
        let start = Instant::now();
        passes_by(&alarm, start + 2 * SECOND).await;
        tokio::time::advance(SECOND).await;
        // Set for two, lent until five: rings once too early, which nobody hears.
        assert_eq!(rings(&alarm, start + 5 * SECOND).await, start + 5 * SECOND);
        // Set for five, which is over.
        assert_eq!(rings(&alarm, start + 6 * SECOND).await, start + 6 * SECOND);
        passes_by(&alarm, start + 60 * SECOND).await;
        assert_eq!(rings(&alarm, start + 7 * SECOND).await, start + 7 * SECOND, "an earlier one");
        tokio::time::advance(100 * SECOND).await;
        let now = Instant::now();
        assert_eq!(rings(&alarm, now).await, now, "at once");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_beside_each_other_have_one_each() {
        let alarm = Alarm::default();
        let start = Instant::now();
        let (first, second) = tokio::join!(rings(&alarm, start + SECOND), rings(&alarm, start + 2 * SECOND));
        assert_eq!((first, second), (start + SECOND, start + 2 * SECOND));
        alarm.forget();
        assert_eq!(rings(&alarm, start + 3 * SECOND).await, start + 3 * SECOND);
    }
}
