//! Checks against small hosts on loopback, good and bad.

mod bytes;
mod grpc;
mod http;
mod reuse;
mod runner;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{Connect, Failure, FailureKind, Kind, Probe, Settings, Verdict};

/// A host on loopback; ends when dropped.
struct Host {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Host {
    /// Calls `serve` for each connection.
    async fn start<F, S>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let count = Arc::clone(&connections);
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                served.spawn(serve(socket));
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    /// Waits for something to be sent, answers with `answer`, again and again on each connection.
    async fn answering(answer: &'static [u8]) -> Self {
        Self::start(move |mut socket| async move {
            while let Some(_request) = received(&mut socket).await {
                socket.write_all(answer).await.unwrap();
            }
        })
        .await
    }

    /// Waits for something to be sent, answers with `answer` and closes.
    async fn closing_after(answer: &'static [u8]) -> Self {
        Self::start(move |mut socket| async move {
            received(&mut socket).await;
            let _ = socket.write_all(answer).await;
        })
        .await
    }

    /// Answers with the same bytes until the other side has had enough.
    async fn endless(answer: &'static [u8], rest: &'static [u8]) -> Self {
        Self::start(move |mut socket| async move {
            received(&mut socket).await;
            let mut sent = socket.write_all(answer).await;
            while sent.is_ok() {
                sent = socket.write_all(rest).await;
            }
        })
        .await
    }

    /// Accepts, and never says a word.
    async fn silent() -> Self {
        Self::start(|mut socket| async move { while received(&mut socket).await.is_some() {} }).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn probe(&self, kind: Kind) -> Probe<Dial> {
        self.probe_with(Settings { timeout: Duration::from_secs(20), ..Settings::new(kind) })
    }

    /// A probe that soon gives up, for hosts that never answer.
    fn hasty_probe(&self, kind: Kind) -> Probe<Dial> {
        self.probe_with(Settings { timeout: Duration::from_millis(100), ..Settings::new(kind) })
    }

    fn probe_with(&self, settings: Settings) -> Probe<Dial> {
        Probe::new(Dial(self.address), Arc::new(settings))
    }
}

/// What came next; `None` at the end.
async fn received(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 4096];
    match socket.read(&mut buffer).await {
        Ok(0) | Err(_) => None,
        Ok(length) => {
            buffer.truncate(length);
            Some(buffer)
        }
    }
}

struct Dial(SocketAddr);

impl Connect for Dial {
    type Io = TcpStream;

    async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.0).await
    }
}

fn failure(verdict: Verdict) -> Failure {
    match verdict {
        Verdict::Failed(failure) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// Kind and words of a failure.
fn failed(verdict: Verdict) -> (FailureKind, String) {
    let failure = failure(verdict);
    (failure.kind, failure.words)
}

fn network(words: &str) -> (FailureKind, String) {
    (FailureKind::Network, words.into())
}

fn active(words: &str) -> (FailureKind, String) {
    (FailureKind::Active, words.into())
}

fn timed_out() -> (FailureKind, String) {
    (FailureKind::Timeout, "no answer within 100ms".into())
}
