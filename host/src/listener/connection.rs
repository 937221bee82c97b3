//! One downstream connection: its arrival, then HTTP/1.1, HTTP/2, or bytes.

use std::{rc::Rc, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, timeout},
};

use super::{
    accept::{Entered, LocalListener},
    activity::Activity,
    arrival::{self, Arrived},
    http1, http2,
    io::Io,
};
use crate::{
    config::resolved::ListenerProtocol,
    http::runtime::ListenerMetrics,
    tcp,
    transport::{End, Socket},
    wasm::{alarm::Alarm, exchange::Connection, under_way::Answers},
};

/// How an HTTP/2 connection begins (RFC 9113, section 3.4); the first 14 bytes are no HTTP/1.1 request.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A connection that counts as open.
pub struct Counted(Rc<ListenerMetrics>);

impl Counted {
    /// From now on.
    pub fn new(metrics: Rc<ListenerMetrics>) -> Self {
        metrics.active.add(1);
        metrics.worker_connections.add(1);
        Self(metrics)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.active.sub(1);
        self.0.worker_connections.sub(1);
    }
}

/// Serves a connection to its end.
pub async fn serve(listener: Rc<LocalListener>, socket: Socket, peer: End, (entered, counted): (Entered, Counted)) {
    let serving = listener.serving();
    let metrics = Rc::clone(&serving.runtime.metrics);
    if let Socket::Tcp(stream) = &socket {
        let _ = stream.set_nodelay(true);
    }
    let limits = serving.runtime.limits.clone();
    let started = Instant::now();
    let activity = Arc::new(Activity::default());
    // Boxed: what it takes to arrive is not needed afterwards.
    let arriving = arrival::arrive(&serving, socket, peer.clone(), &listener.drain, started + limits.header_timeout);
    let arrived = match Box::pin(arriving).await {
        Ok(arrived) => arrived,
        Err(refused) => {
            refused.count(&metrics);
            tracing::debug!(listener = &*listener.name, %peer, "connection refused: {refused}");
            return;
        }
    };
    let Arrived { transport, tls, http2: agreed, taken, runtime, remote, local } = arrived;
    let (id, name) = (entered.id, Rc::clone(&listener.name));
    let place = Box::new((entered, counted));
    let connection = Rc::new(Connection {
        id,
        remote: remote.into(),
        local: local.into(),
        listener: name,
        listener_metadata: Arc::clone(&serving.settings.metadata),
        tls,
        alarm: Alarm::default(),
        answers: Answers::default(),
        place,
    });
    let mut io = Io { transport, prefix: Bytes::new(), activity, heads: None, farewell: None };
    if listener.protocol == ListenerProtocol::Tcp {
        // What is begun on these filters ends on them.
        drop(serving);
        tcp::serve::serve(runtime, connection, io).await;
        return;
    }
    // An HTTP connection may stay for days: it must not keep a generation alive that it does not use.
    drop((serving, runtime));
    let http2 = match agreed {
        Some(http2) => http2,
        // Nobody agreed on anything: what the client says first tells.
        None => {
            let left = (limits.idle_timeout.min(limits.header_timeout)).saturating_sub(started.elapsed());
            tokio::select! {
                // What is here already is served.
                biased;
                sniffed = timeout(left, sniff(&mut io)) => match sniffed {
                    Ok(Ok(http2)) => http2,
                    Ok(Err(_)) => return,
                    Err(_) => {
                        metrics.header_timeouts.inc();
                        return;
                    }
                },
                () = listener.drain.begun_in_silence() => return,
            }
        }
    };
    if http2 {
        http2::serve((&listener, taken), connection, io, &limits, &metrics).await;
    } else {
        http1::serve((&listener, taken), connection, io, &limits, &metrics).await;
    }
}

/// Reads until it is clear whether the client speaks HTTP/2; what was read becomes the transport's prefix.
async fn sniff(io: &mut Io) -> std::io::Result<bool> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    let http2 = loop {
        let room = PREFACE.len() - first.len();
        let read = (&mut *io).take(room as u64).read_buf(&mut first).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(&first) {
            break false;
        }
        if first.len() == PREFACE.len() {
            break true;
        }
    };
    io.prefix = first.freeze();
    Ok(http2)
}
