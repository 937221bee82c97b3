//! One connection, from its acceptance to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::route::{self, Body};
use crate::service::Shared;
use crate::settings::duration;

/// How long a client may take to agree on TLS, and then to make its first request.
const BEGIN: Duration = Duration::from_secs(60);

/// How long the head of a request may take over HTTP/1.1, counted from the end of the one before.
const HEAD: Duration = Duration::from_secs(60);

/// Pings over HTTP/2 find out that a client is gone.
const PING: Duration = Duration::from_secs(60);

/// How long a connection that was told to go may take.
const GRACE: Duration = Duration::from_secs(10);

/// Bytes of headers.
const HEADERS: u32 = 16 << 10;

/// Requests that are under way, and when there was last one.
#[derive(Debug)]
struct Activity {
    begun: Instant,
    open: AtomicU64,
    /// Milliseconds since the connection began; zero before the first request.
    last: AtomicU64,
}

/// Serves it until it ends, or `stopped` says that it should.
pub(super) async fn serve(shared: Arc<Shared>, at: usize, stream: TcpStream, stopped: watch::Receiver<bool>) {
    shared.metrics.connections.add(1);
    let _counted = Counted(Arc::clone(&shared));
    // Answers are small, and somebody waits for them.
    let _ = stream.set_nodelay(true);
    match shared.certificates.get(at).and_then(super::Certificates::acceptor) {
        None => drive(shared, at, stream, stopped).await,
        Some(acceptor) => match tokio::time::timeout(BEGIN, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => drive(shared, at, stream, stopped).await,
            Ok(Err(error)) => tracing::debug!(target: "fyke::ratelimit", %error, "a client did not agree on TLS"),
            Err(_) => {}
        },
    }
}

/// Counts the end of a connection, however it comes.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.connections_closed.add(1);
    }
}

async fn drive<S>(shared: Arc<Shared>, at: usize, stream: S, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = shared.settings.limits.clone();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let activity = Arc::new(Activity { begun: Instant::now(), open: AtomicU64::new(0), last: AtomicU64::new(0) });
    let of_requests = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, open) = (Arc::clone(&shared), Open::new(Arc::clone(&of_requests)));
        async move {
            let response: Response<Body> = route::answer(&shared, at, request).await;
            drop(open);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let idle_timeout = duration(limits.idle_timeout);
    let mut leave = pin!(leave(&activity, idle_timeout, limits.connection_age.map(duration)));
    tokio::select! {
        ended = connection.as_mut() => return tell(ended),
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = leave.as_mut() => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = tokio::time::timeout(GRACE, connection).await {
        tell(ended);
    }
}

fn tell(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(target: "fyke::ratelimit", %error, "a connection ended early");
    }
}

/// Ready when a connection is to be told to go: it is old, or nothing happens on it.
async fn leave(activity: &Activity, idle_timeout: Duration, age: Option<Duration>) {
    let oldest = age.map(|age| activity.begun + age.mul_f64(0.9 + fastrand::f64() / 5.0));
    loop {
        let last = activity.last.load(Ordering::Relaxed);
        let idle = if last == 0 { BEGIN.min(idle_timeout) } else { idle_timeout };
        let busy = activity.open.load(Ordering::Relaxed) > 0;
        let since = if busy { Instant::now() } else { activity.begun + Duration::from_millis(last) };
        let until = oldest.map_or(since + idle, |oldest| oldest.min(since + idle));
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

/// A request that is under way.
struct Open(Arc<Activity>);

impl Open {
    fn new(activity: Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now.max(1), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
