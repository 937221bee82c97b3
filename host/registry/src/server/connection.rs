//! One connection, from its first byte.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{
    Inner, handle,
    wire::{Http, Replay, sniff},
};
use crate::auth::Identity;

/// For a TLS handshake, and for the first bytes.
const BEGINNING: Duration = Duration::from_secs(10);
/// For a head, and between two requests. Longer than clients wait who poll every half minute.
const HEAD: Duration = Duration::from_secs(60);
const HEAD_BYTES: usize = 32 * 1024;

/// Serves a connection to its end. What goes wrong is between the client and us, and ends it.
pub(super) async fn serve(inner: &Arc<Inner>, stream: TcpStream, peer: SocketAddr) {
    // Answers are small, and their readers wait for them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &inner.tls else {
        match timeout(BEGINNING, sniff(stream)).await {
            Ok(Ok((http, stream))) => speak(inner, http, stream, Identity::default()).await,
            Ok(Err(_)) | Err(_) => tracing::debug!(%peer, "a connection without a request"),
        }
        return;
    };
    match timeout(BEGINNING, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let http = if session.alpn_protocol() == Some(b"h2") { Http::Two } else { Http::One };
            let certificate = session.peer_certificates().and_then(|chain| chain.first());
            let identity = certificate.map(Identity::of).unwrap_or_default();
            speak(inner, http, Replay::nothing(stream), identity).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn speak<I>(inner: &Arc<Inner>, http: Http, stream: Replay<I>, identity: Identity)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let identity = Arc::new(identity);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (inner, identity) = (Arc::clone(inner), Arc::clone(&identity));
        async move { Ok::<_, Infallible>(handle::answer(&inner, request, &identity).await) }
    });
    let io = TokioIo::new(stream);
    let mut stop = inner.stop.subscribe();
    let stopped = async {
        // Its sender lives as long as we do.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stopped);
    let result = match http {
        Http::One => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
            let connection = builder.serve_connection(io, service);
            tokio::pin!(connection);
            tokio::select! {
                result = &mut connection => result,
                () = &mut stopped => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        Http::Two => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_concurrent_streams(100).max_header_list_size(32 * 1024);
            builder.keep_alive_interval(Duration::from_secs(30)).keep_alive_timeout(Duration::from_secs(20));
            let connection = builder.serve_connection(io, service);
            tokio::pin!(connection);
            tokio::select! {
                result = &mut connection => result,
                () = &mut stopped => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
