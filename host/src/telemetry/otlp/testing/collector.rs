//! A collector in memory. It serves over `tokio::io::duplex`, so that paused time moves only when nothing is left to
//! do.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::Instant,
};

use crate::telemetry::otlp::{
    connect::{Connect, Connecting, Stream},
    endpoint::Endpoint,
    settings::Protocol,
};

/// How a connection is met.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// By HTTP.
    Serve,
    /// It is refused.
    Refuse,
    /// It is never made.
    Hang,
    /// It takes everything and says nothing.
    Silent,
    /// These bytes, and then these again and again.
    Bytes(When, Vec<u8>, Vec<u8>),
}

/// When bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At once.
    Connected,
    /// When a request has come.
    Asked,
}

/// How a request is met.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Taken.
    Ok,
    /// This message, taken.
    Message(Vec<u8>),
    /// gRPC's code in trailers, `None`: none; and more trailers.
    Trailers(Option<u32>, Vec<(&'static str, String)>),
    /// gRPC's code in the head.
    Head(u32, Vec<(&'static str, String)>),
    /// This status, with these headers and this body.
    Http(u16, Vec<(&'static str, String)>, &'static [u8]),
    /// A body that never ends.
    Endless,
    /// The connection is cut.
    Cut,
    /// No answer.
    Hang,
}

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Names of spans, bodies of log records, numbers of data points.
    pub(crate) records: Vec<String>,
    pub(crate) at: Instant,
}

#[derive(Debug)]
pub(crate) struct Collector {
    doors: Mutex<VecDeque<Door>>,
    replies: Mutex<VecDeque<Reply>>,
    /// What comes when those are used up.
    otherwise: Mutex<(Door, Reply)>,
    received: Mutex<Vec<Received>>,
    connects: AtomicUsize,
    /// Connections whose other side is alive.
    open: Arc<AtomicUsize>,
    me: std::sync::Weak<Self>,
}

impl Collector {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            doors: Mutex::default(),
            replies: Mutex::default(),
            otherwise: Mutex::new((Door::Serve, Reply::Ok)),
            received: Mutex::default(),
            connects: AtomicUsize::new(0),
            open: Arc::default(),
            me: me.clone(),
        })
    }

    pub(crate) fn doors(&self, doors: impl IntoIterator<Item = Door>) {
        self.doors.lock().unwrap().extend(doors);
    }

    pub(crate) fn replies(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().unwrap().extend(replies);
    }

    pub(crate) fn always(&self, door: Door, reply: Reply) {
        *self.otherwise.lock().unwrap() = (door, reply);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// All records, in the order in which they came.
    pub(crate) fn records(&self) -> Vec<String> {
        self.received().into_iter().flat_map(|request| request.records).collect()
    }

    pub(crate) fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    async fn serve(self: Arc<Self>, stream: DuplexStream, protocol: Protocol) {
        let cut = Arc::new(tokio::sync::Notify::new());
        let service = service_fn(|request: Request<Incoming>| {
            let (collector, cut) = (Arc::clone(&self), Arc::clone(&cut));
            async move { Ok::<_, Infallible>(collector.reply(request, protocol, &cut).await) }
        });
        let io = TokioIo::new(stream);
        let serve = async {
            match protocol {
                Protocol::Grpc => {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    _ = builder.serve_connection(io, service).await;
                }
                Protocol::Http => {
                    _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                }
            }
        };
        tokio::select! { () = serve => {}, () = cut.notified() => {} }
    }

    async fn reply(
        &self,
        request: Request<Incoming>,
        protocol: Protocol,
        cut: &tokio::sync::Notify,
    ) -> Response<Scripted> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return Response::new(Scripted::default()) };
        let records = decode(head.uri.path(), &head.headers, protocol, &body.to_bytes());
        let request = Received { path: head.uri.path().to_owned(), headers: head.headers, records, at: Instant::now() };
        self.received.lock().unwrap().push(request);
        let reply = self.replies.lock().unwrap().pop_front();
        let reply = reply.unwrap_or_else(|| self.otherwise.lock().unwrap().1.clone());
        match reply {
            Reply::Cut => {
                cut.notify_one();
                std::future::pending().await
            }
            Reply::Hang => std::future::pending().await,
            reply => answer(reply, protocol),
        }
    }
}

impl Connect for Collector {
    fn connect<'a>(&'a self, _: &'a Endpoint, protocol: Protocol) -> Connecting<'a> {
        Box::pin(async move {
            self.connects.fetch_add(1, Ordering::SeqCst);
            let door = self.doors.lock().unwrap().pop_front();
            let door = door.unwrap_or_else(|| self.otherwise.lock().unwrap().0.clone());
            let (near, mut far) = tokio::io::duplex(16 * 1024);
            let guard = Open::new(&self.open);
            match door {
                Door::Refuse => return Err(io::ErrorKind::ConnectionRefused.into()),
                Door::Hang => std::future::pending().await,
                Door::Serve => {
                    let collector = self.me.upgrade().unwrap();
                    tokio::spawn(async move {
                        let _guard = guard;
                        collector.serve(far, protocol).await;
                    });
                }
                Door::Silent => {
                    tokio::spawn(async move {
                        let _guard = guard;
                        tokio::io::copy(&mut far, &mut tokio::io::sink()).await
                    });
                }
                Door::Bytes(when, first, again) => {
                    tokio::spawn(async move {
                        let _guard = guard;
                        let (mut read, mut write) = tokio::io::split(far);
                        if when == When::Asked {
                            // By then HTTP/2 has sent the head of its request too.
                            read.read_exact(&mut [0; 300]).await?;
                        }
                        let writes = async {
                            write.write_all(&first).await?;
                            while !again.is_empty() {
                                write.write_all(&again).await?;
                            }
                            std::future::pending::<io::Result<u64>>().await
                        };
                        let mut sink = tokio::io::sink();
                        tokio::select! {
                            ended = writes => ended,
                            ended = tokio::io::copy(&mut read, &mut sink) => ended,
                        }
                    });
                }
            }
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// Counts while it lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn decode(path: &str, headers: &HeaderMap, protocol: Protocol, body: &[u8]) -> Vec<String> {
    let encoding = match protocol {
        Protocol::Grpc => headers.get("grpc-encoding"),
        Protocol::Http => headers.get("content-encoding"),
    };
    let body = match protocol {
        Protocol::Grpc => {
            assert_eq!(u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize, body.len() - 5);
            assert_eq!(body[0] == 1, encoding.is_some());
            &body[5..]
        }
        Protocol::Http => body,
    };
    let mut plain = Vec::new();
    let body = if encoding.is_some() {
        io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut plain).unwrap();
        plain.as_slice()
    } else {
        body
    };
    if path.ends_with("/v1/traces") || path.contains("TraceService") {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let spans = request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        spans.map(|span| span.name).collect()
    } else if path.ends_with("/v1/logs") || path.contains("LogsService") {
        let request = ExportLogsServiceRequest::decode(body).unwrap();
        let logs = request.resource_logs.into_iter().flat_map(|r| r.scope_logs).flat_map(|s| s.log_records);
        logs.map(|log| format!("{:?}", log.body.unwrap().value.unwrap())).collect()
    } else {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        let metrics = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
        metrics.map(|metric| metric.name).collect()
    }
}

/// A body of frames, and what comes after them.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    frames: VecDeque<Frame<Bytes>>,
    endless: Option<Bytes>,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.frames.pop_front().or_else(|| self.endless.clone().map(Frame::data));
        Poll::Ready(frame.map(Ok))
    }
}

fn answer(reply: Reply, protocol: Protocol) -> Response<Scripted> {
    let mut response = Response::new(Scripted::default());
    let kind = match protocol {
        Protocol::Grpc => "application/grpc",
        Protocol::Http => "application/x-protobuf",
    };
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    let mut frames = VecDeque::new();
    match reply {
        Reply::Ok => return answer(Reply::Message(Vec::new()), protocol),
        Reply::Message(message) => {
            if protocol == Protocol::Grpc {
                let length = u32::try_from(message.len()).unwrap().to_be_bytes();
                frames.push_back(Frame::data([&[0], length.as_slice(), &message].concat().into()));
                frames.push_back(Frame::trailers(headers(Some(0), Vec::new())));
            } else {
                frames.push_back(Frame::data(message.into()));
            }
        }
        Reply::Trailers(code, more) => frames.push_back(Frame::trailers(headers(code, more))),
        Reply::Head(code, more) => response.headers_mut().extend(headers(Some(code), more)),
        Reply::Http(status, more, body) => {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            frames.push_back(Frame::data(Bytes::from_static(body)));
            for (name, value) in headers(None, more) {
                response.headers_mut().insert(name.unwrap(), value);
            }
        }
        Reply::Endless => response.body_mut().endless = Some(Bytes::from_static(&[0; 1024])),
        Reply::Cut | Reply::Hang => unreachable!("answered by the caller"),
    }
    response.body_mut().frames = frames;
    response
}

fn headers(code: Option<u32>, more: Vec<(&'static str, String)>) -> HeaderMap {
    let code = code.map(|code| ("grpc-status", code.to_string()));
    let all = code.into_iter().chain(more);
    all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap())).collect()
}
