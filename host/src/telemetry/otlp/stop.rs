//! The end: who stops exporters says how long their last flush may take.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// As good as no limit.
const FAR: Duration = Duration::from_hours(365 * 24);

/// A stopper and what it stops. Clones of the second hear of it too.
#[must_use]
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(sender), Stop(receiver))
}

/// Stops exporters. Dropped, it stops them without a last flush.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Option<Instant>>);

impl Stopper {
    /// Queues close; what waits is sent for `grace` at most, and then dropped and counted. A second call changes the
    /// time that is left.
    pub fn stop(&self, grace: Duration) {
        let now = Instant::now();
        self.0.send_replace(Some(now.checked_add(grace).unwrap_or(now + FAR)));
    }
}

/// Whether and when to end.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    /// Whether the end has begun.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Waits for the end to begin. Cancel safe.
    pub(crate) async fn requested(&self) {
        // An error means that nobody is left to say so.
        _ = self.0.clone().wait_for(Option::is_some).await;
    }

    /// Waits until the last flush must be over. Cancel safe.
    pub(crate) async fn expired(&self) {
        let mut receiver = self.0.clone();
        loop {
            let Ok(Some(deadline)) = receiver.wait_for(Option::is_some).await.map(|deadline| *deadline) else { return };
            receiver.mark_unchanged();
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                // Without a stopper the time that was given stands.
                Ok(()) = receiver.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_flush_has_the_time_that_was_given() {
        let (stopper, stop) = channel();
        assert!(!stop.is_requested());
        let begun = Instant::now();
        stopper.stop(Duration::from_secs(3));
        assert!(stop.is_requested());
        stop.requested().await;
        drop(stopper);
        stop.expired().await;
        assert_eq!(begun.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_can_be_changed() {
        let (stopper, stop) = channel();
        stopper.stop(Duration::MAX);
        let begun = Instant::now();
        let ((), ()) = tokio::join!(stop.expired(), async { stopper.stop(Duration::from_secs(1)) });
        assert_eq!(begun.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_stopper_it_ends_at_once() {
        let (stopper, stop) = channel();
        drop(stopper);
        assert!(stop.is_requested());
        stop.requested().await;
        stop.expired().await;
    }
}
