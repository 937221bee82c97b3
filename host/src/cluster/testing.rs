//! Clusters without a proxy, and servers for them that say nothing.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::{local::LocalCluster, shared::SharedCluster};
use crate::{
    config::{Format, load_text},
    telemetry::Registry,
};

/// Runs a test as a worker runs its tasks.
pub(super) async fn on_a_worker<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

/// Lets every task do what it can without waiting.
pub(super) async fn settled() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// Waits for a condition.
#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let waits = async move {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (what, place) = (what.to_owned(), std::panic::Location::caller());
    async move {
        tokio::time::timeout(Duration::from_secs(10), waits).await.unwrap_or_else(|_| panic!("{place}: never {what}"));
    }
}

/// A server.
pub(super) struct Server {
    pub address: SocketAddr,
    taken: Rc<Cell<usize>>,
}

impl Server {
    /// One that takes connections and says nothing.
    pub async fn start() -> Self {
        let mut kept = Vec::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serving(listener, move |stream| kept.push(stream))
    }

    /// One that does this with connections.
    pub fn serving(listener: TcpListener, mut serve: impl FnMut(TcpStream) + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let taken: Rc<Cell<usize>> = Rc::default();
        let count = Rc::clone(&taken);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.set(count.get() + 1);
                serve(stream);
            }
        });
        Self { address, taken }
    }

    pub async fn several<const N: usize>() -> [Self; N] {
        let mut servers = Vec::new();
        for _ in 0..N {
            servers.push(Self::start().await);
        }
        servers.try_into().unwrap_or_else(|_| panic!("as many as were started"))
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.taken.get()
    }
}

/// A cluster of these; `more` of its configuration.
pub(super) fn shared(addresses: &[SocketAddr], more: &str, workers: usize) -> Arc<SharedCluster> {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("'{address}'")).collect();
    let text = format!(
        "clusters: {{ app: {{ endpoints: [{}], {more} }} }}\nlisteners: {{ web: {{ address: '127.0.0.1:0', cluster: app }} }}\n",
        endpoints.join(", ")
    );
    let config = load_text("test.yaml", &text, Format::Yaml, std::path::Path::new(".")).unwrap();
    SharedCluster::new(Arc::clone(&config.clusters["app"]), workers)
}

/// A worker's part of it.
pub(super) fn local(shared: &Arc<SharedCluster>, worker: usize) -> Rc<LocalCluster> {
    LocalCluster::new(Arc::clone(shared), &Registry::new(), worker)
}
