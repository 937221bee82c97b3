//! What becomes of connections between checks, with a host that the test plays itself, in memory.

use ::http::uri::{Authority, PathAndQuery};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
};

use super::{
    super::{HttpCheck, HttpProtocol},
    *,
};

/// Hands the other end of each connection to the test.
struct Pipes {
    ends: mpsc::UnboundedSender<DuplexStream>,
    /// How many bytes a connection holds.
    size: usize,
}

impl Connect for Pipes {
    type Io = DuplexStream;

    async fn connect(&self) -> io::Result<DuplexStream> {
        let (near, far) = duplex(self.size);
        self.ends.send(far).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }
}

fn probe(kind: Kind, size: usize) -> (Probe<Pipes>, mpsc::UnboundedReceiver<DuplexStream>) {
    let (ends, connections) = mpsc::unbounded_channel();
    (Probe::new(Pipes { ends, size }, Arc::new(Settings::new(kind))), connections)
}

const PING: Kind = Kind::Redis { key: None };
const PONG: &[u8] = b"+PONG\r\n";

/// A check, and what the host does meanwhile. Fails a test that would wait for ever.
async fn meet<T>(probe: &mut Probe<Pipes>, host: impl Future<Output = T>) -> (Verdict, T) {
    let both = async { tokio::join!(probe.check(), host) };
    tokio::time::timeout(Duration::from_secs(10), both).await.unwrap()
}

async fn answer(end: &mut DuplexStream, bytes: &[u8]) {
    assert_ne!(end.read(&mut [0; 1024]).await.unwrap(), 0);
    end.write_all(bytes).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_asked_for_cost_a_connection_its_reuse() {
    let (mut probe, mut connections) = probe(PING, 1024);
    let (verdict, mut end) = meet(&mut probe, async {
        let mut end = connections.recv().await.unwrap();
        answer(&mut end, PONG).await;
        end
    })
    .await;
    assert_eq!(verdict, Verdict::Passed);
    end.write_all(b"-ERR idle for too long\r\n").await.unwrap();
    let (verdict, ()) = meet(&mut probe, async {
        answer(&mut connections.recv().await.unwrap(), PONG).await;
    })
    .await;
    assert_eq!(verdict, Verdict::Passed);
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_an_answer_do_the_same() {
    let (mut probe, mut connections) = probe(PING, 1024);
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (verdict, end) = meet(&mut probe, async {
            let mut end = connections.recv().await.unwrap();
            answer(&mut end, b"+PONG\r\n+PO").await;
            end
        })
        .await;
        assert_eq!(verdict, Verdict::Passed);
        ends.push(end);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_breaks_under_a_check_is_replaced_within_it() {
    let http = HttpCheck::new(PathAndQuery::from_static("/"), Authority::from_static("a"));
    let well = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    for (kind, well) in [(PING, PONG), (Kind::Http(http), &well[..])] {
        let (mut probe, mut connections) = probe(kind, 1024);
        let (verdict, mut end) = meet(&mut probe, async {
            let mut end = connections.recv().await.unwrap();
            answer(&mut end, well).await;
            end
        })
        .await;
        assert_eq!(verdict, Verdict::Passed);
        let (verdict, ()) = meet(&mut probe, async {
            // It takes the request and closes without a word.
            answer(&mut end, b"").await;
            drop(end);
            answer(&mut connections.recv().await.unwrap(), well).await;
        })
        .await;
        assert_eq!(verdict, Verdict::Passed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_that_breaks_is_not_replaced() {
    let (mut probe, mut connections) = probe(PING, 1024);
    let (verdict, ()) = meet(&mut probe, async {
        answer(&mut connections.recv().await.unwrap(), b"").await;
    })
    .await;
    assert_eq!(failed(verdict), network("connection closed before an answer"));
    assert!(connections.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_no_bytes_leaves_nothing_behind() {
    // From the first bytes of a connection to somewhere in its request.
    for (size, protocol) in
        (4..160).step_by(12).flat_map(|size| [(size, HttpProtocol::Http1), (size, HttpProtocol::Http2)])
    {
        let path = PathAndQuery::from_maybe_shared(format!("/{}", "long".repeat(100))).unwrap();
        let http = HttpCheck::new(path, Authority::from_static("a"));
        let (mut probe, mut connections) = probe(Kind::Http(HttpCheck { protocol, ..http }), size);
        let verdict = probe.check().await;
        assert_eq!(failed(verdict), (FailureKind::Timeout, "no answer within 1s".into()));
        let mut end = connections.recv().await.unwrap();
        // Aborted tasks are let go of when the runtime comes to them.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(end.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
