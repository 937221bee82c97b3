//! Readers that wait for a service to change.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::host::ServiceName;

/// Who waits for what. Not under the catalog's lock: who waits for a service need not be one of its hosts, and there may be no such service yet.
#[derive(Debug)]
pub(super) struct Waits {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    services: HashMap<ServiceName, watch::Sender<()>>,
}

/// A place among those that wait; leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    waits: Arc<Waits>,
    service: ServiceName,
    changed: watch::Receiver<()>,
}

impl Waits {
    pub(super) fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default() }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>, service: &ServiceName) -> Option<Waiter> {
        let mut waiting = self.waiting();
        if waiting.count >= self.most {
            return None;
        }
        waiting.count += 1;
        let changed = waiting.services.entry(service.clone()).or_insert_with(|| watch::Sender::new(())).subscribe();
        Some(Waiter { waits: Arc::clone(self), service: service.clone(), changed })
    }

    pub(super) fn wake(&self, service: &ServiceName) {
        if let Some(sender) = self.waiting().services.get(service) {
            sender.send_replace(());
        }
    }

    pub(super) fn count(&self) -> usize {
        self.waiting().count
    }
}

impl Waiter {
    /// Waits until the service has changed since this was made, or since the last time. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // Its sender goes after all who wait.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waits.waiting();
        waiting.count = waiting.count.saturating_sub(1);
        // This one is still among them.
        if waiting.services.get(&self.service).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.services.remove(&self.service);
        }
    }
}
