//! HTTP/2 on both ends, with frames in the tests' own hands.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
    server::SendResponse,
};
use http::{HeaderMap, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{soon, wire::Transport};

/// A connection of a client.
pub struct Client {
    pub send: SendRequest<Bytes>,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Client {
    /// By prior knowledge.
    pub async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub async fn over(io: impl Transport + 'static) -> Self {
        // One stream that is not read must not use up what all of them share: that would be this client's own doing.
        let mut builder = h2::client::Builder::new();
        let (send, connection) = builder.initial_connection_window_size(16 * 1024 * 1024).handshake(io).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Begins a stream.
    pub async fn begin(&mut self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut ready = soon("room for a stream", self.send.clone().ready()).await.unwrap();
        ready.send_request(request, end).unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let (response, _) = self.begin(request("GET", path), true).await;
        whole(response).await.unwrap()
    }
}

/// A request to `test.example`.
pub fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://test.example{path}")).body(()).unwrap()
}

/// Waits for a whole answer.
pub async fn whole(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut body) = soon("an answer", response).await?.into_parts();
    let (bytes, trailers) = drain(&mut body).await?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: bytes, trailers })
}

/// Reads a body to its end, giving room for more as it goes.
pub async fn drain(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = next(body).await? {
        bytes.extend_from_slice(&data);
    }
    let trailers = soon("trailers", body.trailers()).await?;
    Ok((bytes, trailers))
}

/// The next piece of a body.
pub async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    match soon("a part of the body", body.data()).await {
        Some(data) => {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            Ok(Some(data))
        }
        None => Ok(None),
    }
}

/// Sends bytes as the peer allows.
pub async fn push(stream: &mut SendStream<Bytes>, bytes: impl Into<Bytes>, end: bool) {
    let mut bytes = bytes.into();
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = soon("room to send", std::future::poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap();
        let part = bytes.split_to(room.min(bytes.len()));
        stream.send_data(part, end && bytes.is_empty()).unwrap();
    }
    if end && bytes.is_empty() {
        // An empty body ends with an empty frame; otherwise the last part above has the flag.
        let _ = stream.send_data(Bytes::new(), true);
    }
}

/// A server by prior knowledge that runs until this is dropped.
pub struct Upstream {
    pub address: SocketAddr,
    connections: Arc<std::sync::atomic::AtomicUsize>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Each stream is served by `script`.
    pub async fn scripted<F>(
        script: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::built(h2::server::Builder::new(), script).await
    }

    /// The same with other settings.
    pub async fn built<F>(
        builder: h2::server::Builder,
        script: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let script = Arc::new(script);
        let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let script = Arc::clone(&script);
                tasks.spawn(serve_with(builder.clone(), stream, script));
            }
        });
        Self { address, connections, task }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Sends back what it receives while it receives it, then the request's trailers and `grpc-status`.
    pub async fn echo() -> Self {
        Self::scripted(|request, mut respond| async move {
            let (parts, mut body) = request.into_parts();
            let response = Response::builder()
                .header("x-path", parts.uri.path())
                .header("x-method", parts.method.as_str())
                .body(())
                .unwrap();
            let mut out = respond.send_response(response, false).unwrap();
            while let Ok(Some(data)) = next(&mut body).await {
                push(&mut out, data, false).await;
            }
            let mut trailers = body.trailers().await.ok().flatten().unwrap_or_default();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            let _ = out.send_trailers(trailers);
        })
        .await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection of a server.
pub async fn serve<F>(io: impl Transport + 'static, script: Arc<impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F>)
where
    F: Future<Output = ()> + Send + 'static,
{
    serve_with(h2::server::Builder::new(), io, script).await;
}

/// The same with other settings.
pub async fn serve_with<F>(
    builder: h2::server::Builder,
    io: impl Transport + 'static,
    script: Arc<impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = builder.handshake(io).await else { return };
    let mut streams = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(script(request, respond));
    }
}
