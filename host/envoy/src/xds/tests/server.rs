//! A server of gRPC whose every message is written by the test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::super::grpc::Guard;

/// A call that a client has begun.
pub(super) struct Call {
    pub scheme: String,
    pub path: String,
    pub headers: HeaderMap,
    requests: mpsc::Receiver<Bytes>,
    responses: mpsc::Sender<Frame<Bytes>>,
}

impl Call {
    /// The next message of the client. Fails the test when there is none.
    pub async fn read<M: Message + Default>(&mut self) -> M {
        M::decode(self.requests.recv().await.expect("the client ended the call")).expect("a message")
    }

    /// Whether the client has gone.
    pub async fn is_over(&mut self) -> bool {
        self.requests.recv().await.is_none()
    }

    pub async fn write(&self, message: &impl Message) {
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(message.encoded_len() as u32);
        message.encode(&mut bytes).unwrap();
        self.raw(bytes.freeze()).await;
    }

    pub async fn raw(&self, bytes: Bytes) {
        self.responses.send(Frame::data(bytes)).await.expect("the client listens");
    }

    /// Ends the call.
    pub async fn end(self, status: &str, message: &str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers.insert("grpc-message", message.parse().unwrap());
        let _ = self.responses.send(Frame::trailers(trailers)).await;
    }
}

struct Answer(mpsc::Receiver<Frame<Bytes>>);

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// A server on a free port, until it is dropped.
pub(super) struct Server {
    pub address: SocketAddr,
    calls: mpsc::Receiver<Call>,
    _task: Guard<()>,
}

impl Server {
    pub async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (sender, tls) = (sender.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, sender).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, sender).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, calls, _task: Guard(task) }
    }

    pub async fn call(&mut self) -> Call {
        self.calls.recv().await.expect("the server runs")
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, calls: mpsc::Sender<Call>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let calls = calls.clone();
        async move {
            let (head, mut body) = request.into_parts();
            let (responses, answer) = mpsc::channel(16);
            let (messages, requests) = mpsc::channel(64);
            let scheme = head.uri.scheme_str().unwrap_or_default().to_owned();
            let path = head.uri.path().to_owned();
            let call = Call { scheme, path, headers: head.headers, requests, responses };
            calls.send(call).await.expect("the test runs");
            tokio::spawn(async move {
                let mut buffer = BytesMut::new();
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(data) = frame.into_data() else { return };
                    buffer.put(data);
                    while buffer.len() >= 5 {
                        let length = u32::from_be_bytes(buffer[1..5].try_into().unwrap()) as usize;
                        if buffer.len() < 5 + length {
                            break;
                        }
                        buffer.advance(5);
                        if messages.send(buffer.split_to(length).freeze()).await.is_err() {
                            return;
                        }
                    }
                }
            });
            let response = Response::builder().header("content-type", "application/grpc").body(Answer(answer)).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), service)
        .await;
}
