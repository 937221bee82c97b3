//! A registry in this process, on a port of its own, whose time the test moves.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use fyke_registry::{Clock, Registry, ServeError, Settings};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// 2026-01-02T03:04:05Z.
pub const NOW: u64 = 1_767_323_045;

pub fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

pub fn settings(json: Value) -> Settings {
    serde_json::from_value(json).unwrap()
}

pub struct Running {
    pub address: SocketAddr,
    pub clock: Clock,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Addresses of the hosts of an answer.
    pub fn hosts(&self) -> Vec<String> {
        let body = self.json();
        let hosts = body["hosts"].as_array().unwrap().iter();
        hosts.map(|host| format!("{}:{}", host["ip_address"].as_str().unwrap(), host["port"])).collect()
    }
}

pub async fn start(json: Value) -> Running {
    start_with(settings(json), Clock::manual(wall())).await
}

pub async fn start_with(settings: Settings, clock: Clock) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = Registry::open(settings, clock.clone()).await.unwrap();
    Running::of(registry, listener, clock)
}

impl Running {
    pub fn of(registry: Registry, listener: TcpListener, clock: Clock) -> Self {
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(registry.serve(listener, async move {
            let _ = stopped.await;
        }));
        Self { address, clock, stop, task }
    }

    pub async fn stop(self) -> Result<(), ServeError> {
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }

    /// As if the process were killed.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "registry");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, json: Value) -> Answer {
        self.request(Method::POST, path, &[("content-type", "application/json")], &json.to_string()).await
    }

    pub async fn form(&self, path: &str, body: &str) -> Answer {
        self.request(Method::POST, path, &[("content-type", "application/x-www-form-urlencoded")], body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, &[], "").await
    }

    /// A metric without labels, or with them as they are written.
    pub async fn metric(&self, name: &str) -> u64 {
        let answer = self.get("/metrics").await;
        let line = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {}", answer.text())).parse().unwrap()
    }
}

/// Tries until it holds; gives up after a bounded number of tries, each of which goes over a socket or through the scheduler.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::task::yield_now().await;
    }
}
