//! Servers behind the proxy, and what they received.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, task::JoinHandle};

use super::{Conn, Message, eventually};

/// An answer as bytes.
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new(200) }
    }

    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn bytes(self, method: &str) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !matches!(self.status, 204 | 304) {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        let mut bytes = (head + "\r\n").into_bytes();
        if method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// A server that runs until this is dropped.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a script of a connection has.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Vec<Message>>>);

impl Recorder {
    /// Remembers a request that the script has read.
    pub fn saw(&self, message: &Message) {
        self.0.lock().unwrap().push(message.clone());
    }
}

impl Upstream {
    /// Each connection is served by `script`: the connection, its number from 1, and where to note what it read.
    pub async fn scripted<F>(script: impl Fn(Conn, usize, Recorder) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let recorder = Recorder(Arc::clone(&seen));
        let (count, alive) = (Arc::clone(&connections), Arc::clone(&open));
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                alive.fetch_add(1, Ordering::SeqCst);
                let guard = Open(Arc::clone(&alive));
                let served = script(Conn::patient(stream), number, recorder.clone());
                tasks.spawn(async move {
                    let _guard = guard;
                    served.await;
                });
            }
        });
        Self { address, seen, connections, open, task }
    }

    /// Answers each request, keeping connections open.
    pub async fn http(answer: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::scripted(move |mut conn, number, recorder| {
            let answer = Arc::clone(&answer);
            async move {
                while let Some(mut request) = conn.request().await {
                    request.connection = number;
                    recorder.saw(&request);
                    if conn.try_send(answer(&request).bytes(request.method())).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers each request with 200 and this body.
    pub async fn says(body: &'static str) -> Self {
        Self::http(move |_| Reply::ok(body)).await
    }

    /// Answers with the request's body.
    pub async fn echo() -> Self {
        Self::http(|request| Reply::ok(request.body.clone())).await
    }

    /// What was received so far.
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    /// The last request.
    #[track_caller]
    pub fn last(&self) -> Message {
        self.seen().pop().expect("the upstream has seen a request")
    }

    /// Waits for so many requests.
    #[track_caller]
    pub fn received(&self, count: usize) -> impl Future<Output = Vec<Message>> {
        eventually(format!("{count} requests at the upstream"), async move || {
            Some(self.seen()).filter(|seen| seen.len() >= count)
        })
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address on which nobody listens for as long as this lives.
pub struct Refusing {
    pub address: SocketAddr,
    _bound: tokio::net::TcpSocket,
}

impl Refusing {
    pub fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { address: socket.local_addr().unwrap(), _bound: socket }
    }
}
