//! The registry served: sockets, TLS, HTTP/1.1 and HTTP/2, and an end that loses nothing.

mod body;
mod connection;
mod handle;
mod reply;
mod route;
mod tls;
mod wire;

use std::{error::Error, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    auth::{Access, Identity},
    catalog::{Catalog, Expiry},
    clock::Clock,
    error::ServeError,
    metrics::Metrics,
    settings::Settings,
    store::{Store, embedded::Embedded, redis::Redis},
};

use tls::Tls;

/// How long answers that have begun may take when the registry ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a registry looks after its store and its files.
const UPKEEP: Duration = Duration::from_secs(1);

/// A registry that is ready to be served.
#[derive(Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Clock,
    metrics: Arc<Metrics>,
    catalog: Arc<Catalog>,
    store: Arc<dyn Store>,
    access: Access,
    tls: Option<Tls>,
    /// True when the registry ends: nobody waits any more.
    stop: watch::Sender<bool>,
}

/// Serves a registry until `shutdown` completes; then takes no more connections, lets go of who waits, gives answers that have begun ten
/// seconds, and saves. A socket of the standard library becomes a listener by [`TcpListener::from_std`].
///
/// Dropped before its end it closes every connection at once and saves nothing that is younger than a second.
///
/// # Errors
/// Settings that cannot be, files that cannot be read, `open` on an address that is not loopback, a socket that fails for good.
pub async fn serve(
    settings: Settings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Registry::open(settings, Clock::system()).await?.serve(listener, shutdown).await
}

impl Registry {
    /// Reads files and what is stored.
    ///
    /// # Errors
    /// As [`serve`], but for the socket.
    pub async fn open(settings: Settings, clock: Clock) -> Result<Self, ServeError> {
        settings.check()?;
        let metrics = Arc::new(Metrics::default());
        let expiry = if settings.redis.is_some() { Expiry::Store } else { Expiry::Here };
        let catalog = Arc::new(Catalog::new(&settings, expiry, clock.clone(), Arc::clone(&metrics)));
        let store: Arc<dyn Store> = match &settings.redis {
            Some(redis) => {
                let (catalog, metrics) = (Arc::clone(&catalog), Arc::clone(&metrics));
                Arc::new(Redis::open(&settings, redis, catalog, clock.clone(), metrics).await?)
            }
            None => {
                let (catalog, metrics) = (Arc::clone(&catalog), Arc::clone(&metrics));
                Arc::new(Embedded::open(catalog, metrics, settings.state.clone()).await)
            }
        };
        let access = Access::new(&settings).await?;
        let tls = match &settings.tls {
            Some(tls) => Some(Tls::open(tls).await?),
            None => None,
        };
        let nobody = settings.tokens_file.is_none() && settings.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none());
        if nobody && !settings.open {
            tracing::warn!("nobody can register: there is neither a tokens_file nor a client_ca, and it is not open");
        }
        let stop = watch::Sender::new(false);
        Ok(Self(Arc::new(Inner { settings, clock, metrics, catalog, store, access, tls, stop })))
    }

    /// Answers a request that comes another way than over a socket of [`Self::serve`], from a client without a certificate. Who lets others ask sees
    /// to [`Self::keep_up`], too, and does not do so where [`Settings::open`] is set.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        handle::answer(&self.0, request, &Identity::default()).await
    }

    /// What is to be done once a second, and [`Self::serve`] does: hosts expire, what is stored is written and read, files are read that have changed.
    pub async fn keep_up(&self) {
        keep_up(&self.0).await;
    }

    /// As [`serve`].
    ///
    /// # Errors
    /// As [`serve`].
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let inner = self.0;
        let address = listener.local_addr()?;
        if inner.settings.open && !address.ip().is_loopback() {
            return Err(ServeError::OpenToOthers(address));
        }
        // A shared store is asked before anybody asks us.
        inner.store.tick().await;
        tracing::info!(%address, "the registry serves");
        let mut upkeep = JoinSet::new();
        upkeep.spawn(keep_up_until_stopped(Arc::clone(&inner)));
        let mut connections = JoinSet::new();
        let served = tokio::select! {
            served = accept(&inner, &listener, &mut connections) => served,
            () = shutdown => Ok(()),
        };
        drop(listener);
        inner.stop.send_replace(true);
        // The upkeep ends by itself, too: one that is cut off may still be writing when the last write begins.
        let finished = async {
            while connections.join_next().await.is_some() {}
            while upkeep.join_next().await.is_some() {}
        };
        if tokio::time::timeout(PATIENCE, finished).await.is_err() {
            tracing::warn!("not everything has come to its end");
        }
        connections.shutdown().await;
        upkeep.shutdown().await;
        inner.store.close().await;
        served
    }
}

async fn keep_up_until_stopped(inner: Arc<Inner>) {
    let mut stop = inner.stop.subscribe();
    loop {
        tokio::select! {
            () = inner.clock.sleep(UPKEEP) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        keep_up(&inner).await;
    }
}

async fn keep_up(inner: &Inner) {
    let tls = async {
        match &inner.tls {
            Some(tls) => tls.refresh().await,
            None => Ok(()),
        }
    };
    let ((), tokens, tls) = tokio::join!(inner.store.tick(), inner.access.refresh(), tls);
    for error in [tokens.err(), tls.err()].into_iter().flatten() {
        inner.metrics.file_failures.add(1);
        tracing::error!(%error, "what was read before stays");
    }
}

async fn accept(inner: &Arc<Inner>, listener: &TcpListener, connections: &mut JoinSet<()>) -> Result<(), ServeError> {
    let room = Arc::new(Semaphore::new(inner.settings.limits.connections));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let (stream, peer) = next(listener).await?;
        while connections.try_join_next().is_some() {}
        let inner = Arc::clone(inner);
        connections.spawn(async move {
            connection::serve(&inner, stream, peer).await;
            drop(place);
        });
    }
}

async fn next(listener: &TcpListener) -> Result<(TcpStream, SocketAddr), ServeError> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return Ok(accepted),
            // A client that has gone before it was taken, or no descriptors: both pass.
            Err(error) if passes(&error) => {
                tracing::warn!(%error, "a connection was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn passes(error: &std::io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
        || matches!(
            error.kind(),
            std::io::ErrorKind::ConnectionAborted
                | std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::Interrupted
                | std::io::ErrorKind::OutOfMemory
        )
}
