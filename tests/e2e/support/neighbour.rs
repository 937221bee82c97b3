//! Somebody else on the same worker, who must not notice what a test does.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Conn, eventually};

/// Asks a listener over and over until it is told to stop.
pub struct Neighbour {
    served: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Neighbour {
    pub fn of(address: SocketAddr) -> Self {
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let task = tokio::spawn(async move {
            let mut conn = Conn::to(address).await;
            loop {
                let answer = conn.exchange("GET /neighbour HTTP/1.1\r\nhost: a\r\n\r\n").await;
                assert_eq!(answer.status(), 200, "the neighbour was hurt: {answer:?}");
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { served, task }
    }

    /// Not one error up to now and in the next twenty requests.
    pub async fn unhurt(self) {
        let until = self.served.load(Ordering::SeqCst) + 20;
        eventually("the neighbour to be served", async || {
            (self.task.is_finished() || self.served.load(Ordering::SeqCst) >= until).then_some(())
        })
        .await;
        assert!(!self.task.is_finished(), "the neighbour was hurt; see above");
        self.task.abort();
    }
}
