//! Tells a worker's connections that the proxy is going away.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::sync::Notify;

/// How long a connection may be silent once its listener drains. A client that has heard nothing of that yet may be about to send its
/// next request, and closing at that moment would lose it.
pub const SILENCE: Duration = Duration::from_millis(250);

/// One per worker.
#[derive(Debug, Clone, Default)]
pub struct Drain(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: Cell<bool>,
    notify: Notify,
}

impl Drain {
    /// Begins to drain: idle connections close, busy ones after their answer.
    pub fn begin(&self) {
        self.0.begun.set(true);
        self.0.notify.notify_waiters();
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.begun.get()
    }

    /// Waits for it, and for [`SILENCE`] longer. Cancel safe.
    pub async fn begun_in_silence(&self) {
        self.begun().await;
        tokio::time::sleep(SILENCE).await;
    }

    /// Waits for it. Cancel safe.
    pub async fn begun(&self) {
        let notified = self.0.notify.notified();
        tokio::pin!(notified);
        // Registered before the look, so that no beginning is missed.
        notified.as_mut().enable();
        if !self.has_begun() {
            notified.await;
        }
    }
}
