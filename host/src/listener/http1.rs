//! HTTP/1.1 on a connection, parked while it is idle.
//!
//! An idle connection inside hyper holds two buffers of 8 KiB. One on which nothing has happened for a period is therefore taken
//! out of hyper: what is left is the socket and a small future that waits for it to become readable. When it does, hyper
//! serves it again. Parking only happens between requests, when nothing waits to be read or written.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use http::{HeaderValue, Method, Request, StatusCode, header::CONNECTION};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::{
    accept::LocalListener,
    activity::{Finding, Measure, Watch},
    drain::SILENCE,
    io::Io,
    serving::Taken,
};
use crate::{
    config::resolved::ListenerLimits,
    http::{outcome::Abort, runtime::ListenerMetrics, stream},
    wasm::exchange::Connection,
};

enum Next {
    Park(Box<Io>),
    SlowHead(Option<Box<Io>>),
    /// What came is no request, which the client has been told.
    Refused(Box<Io>),
    Idle,
    Closed,
}

/// Serves requests until the connection closes.
pub async fn serve(
    (listener, taken): (&Rc<LocalListener>, Taken),
    connection: Rc<Connection>,
    mut io: Io,
    limits: &ListenerLimits,
    metrics: &ListenerMetrics,
) {
    let activity = Arc::clone(&io.activity);
    let mut counted = (0, 0);
    loop {
        // Boxed: while the connection is parked, nothing of hyper is left.
        let next = Box::pin(busy((listener, taken), &connection, io, limits)).await;
        let bytes = activity.bytes();
        metrics.received.add(bytes.0 - counted.0);
        metrics.sent.add(bytes.1 - counted.1);
        counted = bytes;
        io = match next {
            Next::Park(io) => {
                connection.alarm.forget();
                *io
            }
            Next::SlowHead(io) => {
                metrics.header_timeouts.inc();
                if let Some(mut io) = io {
                    let answer = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                    let say = async {
                        let _ = io.write_all(answer).await;
                        let _ = io.shutdown().await;
                    };
                    let _ = tokio::time::timeout(limits.header_timeout, say).await;
                }
                return;
            }
            Next::Refused(mut io) => {
                let _ = io.shutdown().await;
                return;
            }
            Next::Idle => {
                metrics.idle_timeouts.inc();
                return;
            }
            Next::Closed => return,
        };
        if io.prefix.is_empty() {
            tokio::select! {
                biased;
                readable = io.transport.wire().readable() => if readable.is_err() { return },
                () = tokio::time::sleep(limits.idle_timeout) => {
                    metrics.idle_timeouts.inc();
                    return;
                }
                () = listener.drain.begun_in_silence() => return,
            }
        }
    }
}

async fn busy(
    (listener, taken): (&Rc<LocalListener>, Taken),
    connection: &Rc<Connection>,
    io: Io,
    limits: &ListenerLimits,
) -> Next {
    let activity = Arc::clone(&io.activity);
    let service = {
        let listener = Rc::clone(listener);
        let connection = Rc::clone(connection);
        let activity = Arc::clone(&activity);
        service_fn(move |request: Request<Incoming>| {
            let (listener, connection, activity) =
                (Rc::clone(&listener), Rc::clone(&connection), Arc::clone(&activity));
            // Boxed, so that hyper moves a pointer and not what a stream needs.
            Box::pin(async move {
                let connects = request.method() == Method::CONNECT;
                let Some(runtime) = listener.current_of(taken) else { return Ok(stream::misdirected()) };
                let mut response = stream::serve(runtime, connection, activity, request).await?;
                let ends = listener.drain.has_begun() || listener.overload.load().disables_keep_alive();
                let tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS
                    || (connects && response.status().is_success());
                // A client may have begun to speak into the tunnel that it asked for: what comes next need not be a request.
                if (ends || connects) && !tunnel {
                    // The one way to tell a client not to send another request here (RFC 9112, section 9.6).
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Abort>(response)
            })
        })
    };
    let mut builder = http1::Builder::new();
    builder
        // hyper's own header timeout also ends idle connections; the watch below tells them apart.
        .header_read_timeout(None)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(16 * 1024));
    let mut served = Some(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    let mut watch = Watch::new(Measure::Bytes, limits.header_timeout, limits.idle_timeout, Instant::now());
    let period = watch.period();
    let mut timer = pin!(tokio::time::sleep(period));
    let mut drained = pin!(async {
        listener.drain.begun().await;
    });
    let mut draining = false;
    let mut registered = false;
    poll_fn(|cx| {
        loop {
            let Some(conn) = &mut served else { return Poll::Ready(Next::Closed) };
            match Pin::new(&mut *conn).poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Next::Closed),
                Poll::Ready(Err(error)) => {
                    count_error(listener, &error);
                    // The refusal has been written, and the rest of what was refused may be on its way.
                    let parts =
                        served.take().filter(|_| error.is_parse()).and_then(http1::UpgradeableConnection::into_parts);
                    return Poll::Ready(
                        parts.map_or(Next::Closed, |parts| Next::Refused(Box::new(parts.io.into_inner()))),
                    );
                }
                Poll::Pending => {}
            }
            // Both keep this task's waker once they have it: from then on a look at a flag will do.
            let news = !registered || timer.is_elapsed() || (!draining && listener.drain.has_begun());
            registered = true;
            if !news {
                return Poll::Pending;
            }
            if !draining && drained.as_mut().poll(cx).is_ready() {
                draining = true;
                // The next answer tells the client; whoever asks for nothing more is waited for a moment.
                let now = Instant::now();
                watch.look(&activity, now);
                timer.as_mut().reset(now + SILENCE);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            registered = false;
            let now = Instant::now();
            timer.as_mut().reset(now + if draining { SILENCE.min(period) } else { period });
            if connection.answers.look(limits.idle_timeout, now).is_some() {
                // What has gone out is no whole answer, and nothing else can be said here.
                return Poll::Ready(Next::Idle);
            }
            let finding = watch.look(&activity, now);
            match finding {
                Finding::Fine => {}
                Finding::Quiet if draining => return Poll::Ready(Next::Closed),
                Finding::Quiet | Finding::SlowHead => {
                    // A connection that was upgraded has no parts: it belongs to its tunnel.
                    let parts = served.take().and_then(http1::UpgradeableConnection::into_parts);
                    let io = parts.map(|parts| {
                        let mut io = parts.io.into_inner();
                        if !parts.read_buf.is_empty() {
                            let mut prefix = bytes::BytesMut::from(&*parts.read_buf);
                            prefix.extend_from_slice(&io.prefix);
                            io.prefix = prefix.freeze();
                            // It came together with the last request, and was not counted as one's beginning.
                            activity.expect_head();
                        }
                        Box::new(io)
                    });
                    return Poll::Ready(match (finding, io) {
                        (Finding::SlowHead, io) => Next::SlowHead(io),
                        (_, Some(io)) => Next::Park(io),
                        (_, None) => Next::Closed,
                    });
                }
                Finding::Idle => return Poll::Ready(Next::Idle),
            }
        }
    })
    .await
}

fn count_error(listener: &LocalListener, error: &hyper::Error) {
    let metrics = &listener.current().metrics;
    if error.is_parse_too_large() {
        metrics.too_large.inc();
    } else if error.is_parse() {
        metrics.malformed.inc();
    }
    tracing::debug!(listener = &*listener.name, "connection ended: {error}");
}
