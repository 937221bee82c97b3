//! Upstreams that do what upstreams should not.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use super::{Conn, Upstream};

/// Resets each connection as soon as something of a request has come.
pub struct Resetting {
    pub address: SocketAddr,
    count: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Resetting {
    pub async fn new() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    // Closed with bytes that nobody has read, the kernel sends a reset instead of an end.
                    let _ = stream.peek(&mut [0]).await;
                    counted.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, count, task }
    }

    /// Connections that were reset so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Resetting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request, sends these bytes, and closes.
pub async fn breaks_off(bytes: &'static str) -> Upstream {
    Upstream::scripted(move |mut conn, number, recorder| async move {
        let Some(mut request) = conn.request().await else { return };
        request.connection = number;
        recorder.saw(&request);
        let _ = conn.try_send(bytes).await;
    })
    .await
}

/// Reads requests and never answers.
pub async fn silent() -> Upstream {
    Upstream::scripted(|mut conn, number, recorder| async move {
        while let Some(mut request) = conn.request().await {
            request.connection = number;
            recorder.saw(&request);
        }
    })
    .await
}

/// Answers after a while, as somebody slow does. The time is part of what is tested.
pub async fn slow(after: Duration, body: &'static str) -> Upstream {
    Upstream::scripted(move |mut conn, number, recorder| async move {
        while let Some(mut request) = conn.request().await {
            request.connection = number;
            recorder.saw(&request);
            tokio::time::sleep(after).await;
            if answer(&mut conn, body).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// 200 with a body.
pub async fn answer(conn: &mut Conn, body: &str) -> std::io::Result<()> {
    conn.try_send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await
}

/// The kernel accepts nothing: a queue that is full.
pub async fn full() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(500), tokio::net::TcpStream::connect(address)).await
    {
        held.push(stream);
        assert!(held.len() < 100, "the queue does not fill");
    }
    (full, held)
}

/// Answers each request once it is told to.
pub async fn waiting(go: &Arc<Notify>) -> Upstream {
    let go = Arc::clone(go);
    Upstream::scripted(move |mut conn, _, recorder| {
        let go = Arc::clone(&go);
        async move {
            while let Some(request) = conn.request().await {
                recorder.saw(&request);
                go.notified().await;
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await
}

/// Answers the first request of a connection; reads the second one and closes, as an endpoint does whose keep-alive ends just then.
pub async fn stale() -> Upstream {
    Upstream::scripted(|mut conn, number, recorder| async move {
        for served in 0.. {
            let Some(mut request) = conn.request().await else { return };
            request.connection = number;
            recorder.saw(&request);
            if served == 1 && number == 1 {
                return;
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await
}
