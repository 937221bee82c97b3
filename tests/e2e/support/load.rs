//! Clients that go on until they are told to stop, and are counted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Running clients. What fails in one of them panics, and is found at the end.
#[derive(Default)]
pub struct Load {
    turn: Turn,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

/// What a client knows of its load.
#[derive(Clone, Default)]
pub struct Turn {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
}

impl Turn {
    /// Whether it shall go on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// It has been answered.
    pub fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Begins another client.
    pub fn client<F: Future<Output = ()> + Send + 'static>(&mut self, client: impl FnOnce(Turn) -> F) {
        self.clients.push(tokio::spawn(client(self.turn.clone())));
    }

    /// Ends them all. Returns how often they were answered.
    pub async fn end(self) -> u64 {
        self.turn.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.turn.answers.load(Ordering::Relaxed)
    }
}
