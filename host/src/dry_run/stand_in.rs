//! Endpoints that answer as they are told, and write down what they got.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, runtime::Handle, task::AbortHandle};

use crate::config::resolved::{Cluster, ClusterProtocol, TestAnswer};

/// Endpoints of a cluster that have a socket of their own; further ones share them.
const SOCKETS: usize = 64;
/// Bytes of a body that are kept.
const BODY: usize = 16 * 1024 * 1024;
/// Requests that are written down, of each cluster: the last ones.
const KEPT: usize = 100;

/// A request as an endpoint got it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Host.
    pub host: String,
    /// Headers but the host.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// What one cluster has to say and has got.
#[derive(Debug, Default)]
struct Part {
    answers: Vec<TestAnswer>,
    count: u32,
    received: Vec<Received>,
}

/// All endpoints of a configuration. They stop when this is dropped.
#[derive(Debug)]
pub struct StandIns {
    parts: Arc<Mutex<HashMap<String, Part>>>,
    addresses: BTreeMap<String, Vec<SocketAddr>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for StandIns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl StandIns {
    /// Has a socket for every endpoint.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn bind<'a>(clusters: impl Iterator<Item = &'a Cluster>, runtime: &Handle) -> io::Result<Self> {
        let _entered = runtime.enter();
        let mut stand_ins = Self { parts: Arc::default(), addresses: BTreeMap::new(), tasks: Vec::new() };
        for cluster in clusters {
            let mut addresses = Vec::new();
            for _ in cluster.endpoints.iter().take(SOCKETS) {
                let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                socket.set_nonblocking(true)?;
                addresses.push(socket.local_addr()?);
                let socket = tokio::net::TcpListener::from_std(socket)?;
                let (name, parts) = (Arc::<str>::from(cluster.name.as_str()), Arc::clone(&stand_ins.parts));
                let http2 = cluster.protocol == ClusterProtocol::Http2;
                let task = runtime.spawn(async move {
                    while let Ok((stream, _)) = socket.accept().await {
                        tokio::spawn(serve(stream, http2, Arc::clone(&name), Arc::clone(&parts)));
                    }
                });
                stand_ins.tasks.push(task.abort_handle());
            }
            stand_ins.addresses.insert(cluster.name.clone(), addresses);
        }
        Ok(stand_ins)
    }

    /// Where the stand-in of a cluster's endpoint listens.
    #[must_use]
    pub fn address(&self, cluster: &str, endpoint: usize) -> Option<SocketAddr> {
        let addresses = self.addresses.get(cluster)?;
        addresses.get(endpoint.checked_rem(addresses.len())?).copied()
    }

    /// Forgets what they got, and has them answer so from now on. Those that are not named answer with 200 and no body.
    pub fn tell(&self, answers: &BTreeMap<String, Vec<TestAnswer>>) {
        let part = |(name, answers): (&String, &Vec<TestAnswer>)| {
            (name.clone(), Part { answers: answers.clone(), ..Part::default() })
        };
        *lock(&self.parts) = answers.iter().map(part).collect();
    }

    /// How many requests a cluster got, and the last one.
    #[must_use]
    pub fn received(&self, cluster: &str) -> (u32, Option<Received>) {
        let parts = lock(&self.parts);
        let part = parts.get(cluster);
        (part.map_or(0, |part| part.count), part.and_then(|part| part.received.last().cloned()))
    }
}

fn lock(parts: &Mutex<HashMap<String, Part>>) -> MutexGuard<'_, HashMap<String, Part>> {
    parts.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, http2: bool, cluster: Arc<str>, parts: Arc<Mutex<HashMap<String, Part>>>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, Arc::clone(&cluster), Arc::clone(&parts)));
    // Connections that are cut are what somebody wanted.
    if http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    cluster: Arc<str>,
    parts: Arc<Mutex<HashMap<String, Part>>>,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let received = received(&head, body);
    let answer = {
        let mut parts = lock(&parts);
        let part = parts.entry(cluster.to_string()).or_default();
        let turn = usize::try_from(part.count).unwrap_or(usize::MAX);
        part.count = part.count.saturating_add(1);
        if part.received.len() == KEPT {
            part.received.remove(0);
        }
        part.received.push(received);
        part.answers.get(turn).or(part.answers.last()).cloned().unwrap_or_default()
    };
    tokio::time::sleep(answer.delay).await;
    if answer.reset {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

fn received(head: &http::request::Parts, body: Bytes) -> Received {
    let mut headers = head.headers.clone();
    let host = headers.remove(http::header::HOST);
    let host = match (head.uri.authority(), host) {
        (Some(authority), _) => authority.to_string(),
        (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        (None, None) => String::new(),
    };
    Received {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or("", |path| path.as_str()).to_owned(),
        host,
        headers,
        body,
    }
}
