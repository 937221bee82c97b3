//! Tunnels: WebSocket and whatever else a `101 Switching Protocols` leads to.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use super::stream::Stream;
use crate::cluster::lease::Lease;

/// One read's worth; also what a tunnel holds in each direction when a side does not read.
const CHUNK: usize = 16 * 1024;

/// Joins both sides once each of them has changed its protocol. The stream lives as long as the tunnel.
pub(super) fn spawn(stream: Rc<Stream>, lease: Option<Lease>, downstream: OnUpgrade, upstream: OnUpgrade) {
    let tasks = Rc::clone(&stream.runtime.tasks);
    tasks.spawn(async move {
        // The connection has left the pool for good: it is closed with the tunnel.
        let _lease = lease;
        let idle = stream.limits.get().idle.unwrap_or(stream.runtime.limits.idle_timeout);
        let until = stream.limits.get().end(&stream.exchange.borrow());
        let whole = match tokio::try_join!(downstream, upstream) {
            Ok((downstream, upstream)) => match within(until, tunnel(downstream, upstream, idle, &stream)).await {
                Ok(()) => true,
                Err(error) => {
                    stream.failed(&format!("tunnel: {error}"));
                    false
                }
            },
            Err(error) => {
                stream.failed(&format!("upgrade: {error}"));
                false
            }
        };
        stream.end(whole);
    });
}

/// Ends a tunnel when the stream has lasted as long as its route allows.
async fn within(until: Option<Instant>, tunnel: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match until {
        None => tunnel.await,
        Some(until) => tokio::time::timeout_at(until, tunnel).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the stream has lasted as long as its route allows"))
        }),
    }
}

async fn tunnel(downstream: Upgraded, upstream: Upgraded, idle: Duration, stream: &Stream) -> io::Result<()> {
    let (mut down_read, mut down_write) = tokio::io::split(TokioIo::new(downstream));
    let (mut up_read, mut up_write) = tokio::io::split(TokioIo::new(upstream));
    let last = Cell::new(Instant::now());
    let sent = pipe(&mut down_read, &mut up_write, &last, idle, |count| {
        stream.exchange.borrow_mut().request.bytes += count;
        stream.runtime.metrics.received.add(count);
    });
    let received = pipe(&mut up_read, &mut down_write, &last, idle, |count| {
        stream.exchange.borrow_mut().response.bytes += count;
        stream.runtime.metrics.sent.add(count);
    });
    tokio::try_join!(sent, received).map(|_| ())
}

/// Copies one direction; its end closes the other side's write half and leaves the opposite direction open.
async fn pipe(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    last: &Cell<Instant>,
    idle: Duration,
    count: impl Fn(u64),
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = loop {
            match tokio::time::timeout_at(last.get() + idle, from.read(&mut buffer)).await {
                Ok(read) => break read?,
                // The other direction may have moved meanwhile.
                Err(_) if last.get().elapsed() < idle => {}
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "idle for too long")),
            }
        };
        last.set(Instant::now());
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return to.shutdown().await;
        };
        tokio::time::timeout(idle, to.write_all(bytes))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))??;
        to.flush().await?;
        count(read as u64);
        last.set(Instant::now());
    }
}
