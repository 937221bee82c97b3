//! HTTP/2 on a connection.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::{
    accept::LocalListener,
    activity::{Finding, Measure, Watch},
    heads::Heads,
    io::Io,
    serving::Taken,
};
use crate::{
    cluster::connect::{self, LocalExecutor},
    config::resolved::ListenerLimits,
    http::{runtime::ListenerMetrics, stream},
    wasm::exchange::Connection,
};

/// Bytes of a request's body that a client may send before they are taken.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Serves streams until the connection closes.
pub async fn serve(
    (listener, taken): (&Rc<LocalListener>, Taken),
    connection: Rc<Connection>,
    mut io: Io,
    limits: &ListenerLimits,
    metrics: &ListenerMetrics,
) {
    let activity = Arc::clone(&io.activity);
    io.heads = Some(Heads::default());
    // The preface is no request's head.
    activity.head_done();
    let service = {
        let listener = Rc::clone(listener);
        let (connection, activity) = (Rc::clone(&connection), Arc::clone(&activity));
        service_fn(move |request| {
            let runtime = listener.current_of(taken);
            let (connection, activity) = (Rc::clone(&connection), Arc::clone(&activity));
            async move {
                match runtime {
                    Some(runtime) => stream::serve(runtime, connection, activity, request).await,
                    None => Ok(stream::misdirected()),
                }
            }
        })
    };
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        // Room for all streams: some that are stuck do not stop the others.
        .initial_connection_window_size(connect::window(STREAM_WINDOW, limits.streams))
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(256 * 1024);
    let mut served = Box::pin(builder.serve_connection(TokioIo::new(io), service));
    let mut watch = Watch::new(Measure::Streams, limits.header_timeout, limits.idle_timeout, Instant::now());
    let period = watch.period();
    let mut timer = pin!(tokio::time::sleep(period));
    let mut drained = pin!(listener.drain.begun());
    let mut draining = false;
    // Streams that a client may open and give up before it is taken for an attack (CVE-2023-44487), where they are more than half
    // of those it opened meanwhile. Half of both is forgotten each period.
    let most_given_up = limits.streams.saturating_mul(2).max(200);
    let mut forgotten = 0;
    poll_fn(|cx| {
        loop {
            match served.as_mut().poll(cx) {
                Poll::Ready(result) => {
                    if let Err(error) = result {
                        tracing::debug!(listener = &*listener.name, "connection ended: {error}");
                    }
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
            let given_up = activity.given_up();
            if given_up > most_given_up && u64::from(given_up) * 2 > activity.begun() - forgotten {
                metrics.resets.inc();
                tracing::warn!(
                    listener = &*listener.name,
                    "connection closed: its client opens streams and resets them"
                );
                return Poll::Ready(());
            }
            // Not before the first stream: a client that is sent away at once comes back at once.
            let overloaded = activity.begun() > 0 && listener.overload.load().disables_keep_alive();
            if !draining && (overloaded || drained.as_mut().poll(cx).is_ready()) {
                draining = true;
                Pin::as_mut(&mut served).graceful_shutdown();
                continue;
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            timer.as_mut().reset(now + period);
            activity.forgive();
            forgotten += (activity.begun() - forgotten) / 2;
            // hyper asks none of them for more, so the client cannot be told; its other streams go on for as long as it could still take these.
            let given_up = connection.answers.look(limits.idle_timeout, now);
            let unread = given_up.is_some_and(|at| now.duration_since(at) >= limits.idle_timeout);
            match watch.look(&activity, now) {
                _ if unread => {
                    metrics.idle_timeouts.inc();
                    return Poll::Ready(());
                }
                Finding::Idle => {
                    metrics.idle_timeouts.inc();
                    return Poll::Ready(());
                }
                Finding::SlowHead => {
                    metrics.header_timeouts.inc();
                    return Poll::Ready(());
                }
                Finding::Fine | Finding::Quiet => {}
            }
        }
    })
    .await;
    let bytes = activity.bytes();
    metrics.received.add(bytes.0);
    metrics.sent.add(bytes.1);
}
