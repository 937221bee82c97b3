//! Listeners and connections: HTTP/1.1 and HTTP/2 on each, by what the client begins with (or, with TLS, agrees on).
//!
//! | file | owns |
//! |---|---|
//! | `connection.rs` | one connection, from its acceptance to its end |
//! | `route.rs` | which request is answered by whom; `/json`, `/healthcheck`, `/rlconfig`, `/metrics` |
//! | `grpc.rs` | unary calls over HTTP/2: frames, trailers, statuses |
//! | `tls.rs` | certificates, and replacing them |

mod connection;
mod grpc;
mod route;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub(crate) use self::tls::Certificates;
use crate::service::Shared;
use crate::settings::duration;

/// How long to wait after a failure to accept that is not the client's: there are no descriptors left.
const BREATHE: Duration = Duration::from_millis(100);

/// How often counters that are over are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// Serves until `shutdown` is ready, and drains.
pub(crate) async fn serve(shared: Arc<Shared>, listeners: Vec<TcpListener>, shutdown: impl Future<Output = ()> + Send) {
    let (stop, stopped) = watch::channel(false);
    let connections = Arc::new(Semaphore::new(shared.settings.limits.connections));
    let mut tasks = JoinSet::new();
    for (at, listener) in listeners.into_iter().enumerate() {
        tasks.spawn(accept(Arc::clone(&shared), at, listener, Arc::clone(&connections), stopped.clone()));
    }
    tasks.spawn(watch_files(Arc::clone(&shared), stopped.clone()));
    tasks.spawn(sweep(Arc::clone(&shared), stopped));
    shutdown.await;
    shared.drain();
    // Nobody having listened any more would be no error.
    let _ = stop.send(true);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(duration(shared.settings.limits.drain), ended).await.is_err() {
        tracing::warn!(target: "fyke::ratelimit", "requests were cut short at the end");
        tasks.shutdown().await;
    }
}

/// Accepts connections, and ends when all of them have.
async fn accept(
    shared: Arc<Shared>,
    at: usize,
    listener: TcpListener,
    connections: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Ended connections give their memory back.
            Some(_) = open.join_next() => continue,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                    shared.metrics.connections_refused.add(1);
                    continue;
                };
                let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
                open.spawn(async move {
                    let _permit = permit;
                    connection::serve(shared, at, stream, stopped).await;
                });
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::warn!(target: "fyke::ratelimit", %error, "cannot accept connections");
                tokio::time::sleep(BREATHE).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// The connection was gone before it was accepted.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

async fn watch_files(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let poll = duration(shared.settings.poll);
    loop {
        // Many services that share a disk should not look at the same moment.
        let wait = poll.mul_f64(0.75 + fastrand::f64() / 2.0);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        shared.reload_if_changed().await;
    }
}

async fn sweep(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => shared.store.sweep(),
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}
