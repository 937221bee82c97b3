//! Connections to the admin endpoint.
//!
//! They are few: what they cost is taken from what the proxy is for. Where there are too many, the one that has been
//! open longest makes room for the new one, so whoever opens many in vain keeps nobody out. One that has shown what
//! changes need goes last.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{AbortHandle, JoinSet},
};

use super::{Admin, access::Peer, endpoint::Endpoint, patience::Patient};

/// At a time.
const MOST: usize = 64;
/// What a connection waits for a request.
const IDLE: Duration = Duration::from_secs(30);

struct Open {
    task: AbortHandle,
    is_known: Arc<AtomicBool>,
}

/// Serves until it is aborted.
pub async fn serve(admin: Arc<Admin>, endpoint: Endpoint) {
    // It ends with this.
    let mut board = JoinSet::new();
    board.spawn(super::board::run(Arc::clone(&admin)));
    let mut open = VecDeque::with_capacity(MOST);
    loop {
        let accepted = match &endpoint {
            Endpoint::Tcp(socket) => {
                socket.accept().await.map(|(stream, remote)| begin(&admin, stream, Peer::Address(remote.ip())))
            }
            Endpoint::Unix(socket, ..) => socket.accept().await.map(|(stream, _)| begin(&admin, stream, Peer::Socket)),
        };
        match accepted {
            Ok(new) => {
                make_room(&mut open);
                open.push_back(new);
                // It is answered before so many others have come that it has to go.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!("admin endpoint cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn make_room(open: &mut VecDeque<Open>) {
    open.retain(|one| !one.task.is_finished());
    if open.len() >= MOST {
        let oldest = open.iter().position(|one| !one.is_known.load(Ordering::Relaxed)).unwrap_or_default();
        if let Some(oldest) = open.remove(oldest) {
            oldest.task.abort();
        }
    }
}

fn begin(admin: &Arc<Admin>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) -> Open {
    let is_known = Arc::new(AtomicBool::new(false));
    let task = tokio::spawn(connection(Arc::clone(admin), stream, peer, Arc::clone(&is_known))).abort_handle();
    Open { task, is_known }
}

async fn connection(
    admin: Arc<Admin>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    is_known: Arc<AtomicBool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (admin, is_known) = (Arc::clone(&admin), Arc::clone(&is_known));
        async move { Ok::<_, Infallible>(super::answer(&admin, request, peer, &is_known).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(Patient::new(stream)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("admin connection ended: {error}");
    }
}
