//! HTTP for what is fetched before a proxy can proxy: one request, redirects, retries, and a limit for everything.
//!
//! Each request has a connection of its own: a module takes five at most, once. HTTP/1.1 is what all registries and
//! file servers speak. There is no proxy in between, no cookie, no compression.

use std::{cell::OnceCell, error::Error, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT},
};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_rustls::TlsConnector;

use super::{
    answer::Answer,
    error::{SourceError, is_transient},
};
use crate::config::module::Url;

/// How much of an answer that says no is read.
const EXCUSE: usize = 4096;

/// What fetching may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of a module.
    pub size: usize,
    /// Time for a module, whatever it takes.
    pub total: Duration,
    /// Time to connect to an address, and for the TLS handshake.
    pub connect: Duration,
    /// Time between two signs of life.
    pub idle: Duration,
    /// How often a request is made again.
    pub retries: u32,
    /// What is waited before the first of them, at most; twice as much before each other.
    pub backoff: Duration,
    /// The longest wait that a server may ask for; who asks for more is not asked again.
    pub retry_after: Duration,
    /// How many redirects are followed.
    pub redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // As much as the engine loads.
            size: 64 << 20,
            total: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            retries: 3,
            backoff: Duration::from_millis(500),
            retry_after: Duration::from_secs(10),
            redirects: 5,
        }
    }
}

/// What fetches one module.
pub(super) struct Client {
    pub limits: Limits,
    /// `None`: the system's, read when the first server wants to be verified, so that they are never stale.
    pub roots: Option<Arc<RootCertStore>>,
    pub tls: OnceCell<TlsConnector>,
    deadline: Instant,
}

/// What is asked for.
pub(super) struct Request<'a> {
    pub url: &'a Url,
    pub accept: &'a str,
    /// Sent to the host of `url` and to nobody to whom that redirects.
    pub authorization: Option<HeaderValue>,
    /// Makes it a POST.
    pub form: Option<String>,
    /// How long the body of the answer may be.
    pub limit: usize,
}

impl Client {
    /// The time runs from now.
    pub fn new(limits: Limits, roots: Option<Arc<RootCertStore>>) -> Self {
        Self { limits, roots, tls: OnceCell::new(), deadline: Instant::now() + limits.total }
    }

    /// Asks until there is an answer that will not be another one in a moment.
    pub async fn send(&self, request: &Request<'_>) -> Result<Answer, SourceError> {
        let mut retry: u32 = 0;
        loop {
            let (error, asked) = match self.follow(request).await {
                Ok(answer) if !is_transient(answer.status) => return Ok(answer),
                Ok(answer) => (answer.refusal(), answer.retry_after()),
                Err(error) if error.is_outage() => (error, None),
                Err(error) => return Err(error),
            };
            // Not all at once, where many proxies have lost the same registry.
            let backoff =
                self.limits.backoff.saturating_mul(1_u32 << retry.min(16)).mul_f64(0.5 + fastrand::f64() / 2.0);
            let wait = asked.unwrap_or(backoff);
            let patient = asked.is_none_or(|asked| asked <= self.limits.retry_after);
            if retry >= self.limits.retries || !patient || Instant::now() + wait >= self.deadline {
                return Err(error);
            }
            tracing::info!(at = %request.url, %error, ?wait, "fetching again");
            tokio::time::sleep(wait).await;
            retry += 1;
        }
    }

    /// The body of a plain request that has to be answered with 200.
    pub async fn get(&self, url: &Url, limit: usize) -> Result<Vec<u8>, SourceError> {
        self.send(&Request { url, accept: "*/*", authorization: None, form: None, limit }).await?.ok()
    }

    async fn follow(&self, request: &Request<'_>) -> Result<Answer, SourceError> {
        let mut url = request.url.clone();
        let mut authorization = request.authorization.clone();
        for _ in 0..=self.limits.redirects {
            let answer = self.exchange(&url, request, authorization.as_ref()).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) || request.form.is_some() {
                return Ok(answer);
            }
            let refused = |reason: String| SourceError::Redirect { at: url.to_string(), reason };
            let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.ok_or_else(|| refused("it redirects to nowhere".to_owned()))?;
            let next = url.redirected(location).map_err(|error| refused(format!("it redirects, but {error}")))?;
            if !next.same_origin(&url) {
                authorization = None;
            }
            url = next;
        }
        let reason = format!("it redirects more than {} times", self.limits.redirects);
        Err(SourceError::Redirect { at: request.url.to_string(), reason })
    }

    async fn exchange(
        &self,
        url: &Url,
        request: &Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, SourceError> {
        let head = head(url, request, authorization)
            .map_err(|error| SourceError::Unreachable { at: url.to_string(), reason: error.to_string() })?;
        let tcp = self.connect(url).await?;
        let response = if url.is_secure() {
            let tls = self.handshake(url, tcp).await?;
            self.respond(url, tls, head).await?
        } else {
            self.respond(url, tcp, head).await?
        };
        let (head, body) = response.into_parts();
        let body = match head.status {
            StatusCode::OK => self.read(url, body, request.limit).await?,
            status if status.is_redirection() => Vec::new(),
            // What it says is of use, and no matter if it is late or too much.
            _ => self.read(url, body, EXCUSE).await.unwrap_or_default(),
        };
        Ok(Answer { url: url.clone(), status: head.status, headers: head.headers, body })
    }

    async fn respond<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        url: &Url,
        stream: S,
        head: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, SourceError> {
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the response, or with the runtime. What fails there fails here, too.
            tokio::spawn(connection);
            sender.send_request(head).await
        };
        self.within(self.limits.idle, url, "answering", exchange).await?.map_err(|error| broken(url, &error))
    }

    async fn read(&self, url: &Url, mut body: Incoming, limit: usize) -> Result<Vec<u8>, SourceError> {
        let too_large = || SourceError::TooLarge { at: url.to_string(), limit };
        // Declared, it need not even begin.
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(frame) = self.within(self.limits.idle, url, "sending more", body.frame()).await? {
            let frame = frame.map_err(|error| broken(url, &error))?;
            let Some(data) = frame.data_ref() else { continue };
            if data.len() > limit - bytes.len() {
                return Err(too_large());
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    }

    /// What the work comes to, unless that takes too long.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        url: &Url,
        doing: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, SourceError> {
        let until = Instant::now() + limit;
        let (until, doing, after) = if until <= self.deadline {
            (until, doing, limit)
        } else {
            (self.deadline, "all of it together", self.limits.total)
        };
        let timeout = |_| SourceError::Timeout { at: url.to_string(), doing, after };
        tokio::time::timeout_at(until, work).await.map_err(timeout)
    }
}

fn head(
    url: &Url,
    request: &Request<'_>,
    authorization: Option<&HeaderValue>,
) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let mut builder = http::Request::builder()
        .uri(url.path_and_query())
        .header(HOST, url.authority())
        .header(ACCEPT, request.accept)
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .header(USER_AGENT, concat!("fyke/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = authorization {
        builder = builder.header(AUTHORIZATION, authorization);
    }
    match &request.form {
        None => builder.body(Full::default()),
        Some(form) => builder
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form.clone())),
    }
}

/// A connection that ended too soon, or on which something else was spoken.
fn broken(url: &Url, error: &hyper::Error) -> SourceError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason = format!("{reason}: {error}");
        source = error.source();
    }
    SourceError::Unreachable { at: url.to_string(), reason }
}
