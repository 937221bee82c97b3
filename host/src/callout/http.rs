//! `proxy_http_call`.

use std::{rc::Rc, time::Duration};

use ::http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header,
    uri::{PathAndQuery, Scheme},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::{
    cluster::{RequestBody, local::LocalCluster},
    upstream::{
        Outgoing, UpstreamError, dispatch,
        dispatch::{Purpose, Replay},
    },
};

/// An answer larger than this is a failure: it has to fit into a guest.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// A call.
#[derive(Debug, Clone)]
pub struct Request {
    /// Cluster to call.
    pub cluster: String,
    /// `:method`
    pub method: Method,
    /// `:path`
    pub path: PathAndQuery,
    /// `:scheme`
    pub scheme: Scheme,
    /// Fields, `host` among them.
    pub fields: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailers.
    pub trailers: HeaderMap,
    /// For the whole call; `None`: no limit.
    pub timeout: Option<Duration>,
}

impl Request {
    /// Bytes that it keeps until it is answered.
    #[must_use]
    pub fn size(&self) -> usize {
        let fields = self.fields.iter().chain(&self.trailers).map(|(name, value)| name.as_str().len() + value.len());
        self.body.len() + self.path.as_str().len() + fields.sum::<usize>()
    }
}

/// Its answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Fields.
    pub fields: HeaderMap,
    /// Body.
    pub body: BytesMut,
    /// Trailers.
    pub trailers: HeaderMap,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The cluster does not exist (any more).
    #[error("no such cluster")]
    UnknownCluster,
    /// The endpoint was not reached or did not answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Body(hyper::Error),
    /// The answer is larger than a guest may be given.
    #[error("the answer is larger than {LARGEST_ANSWER} bytes")]
    TooLarge,
    /// The call's own timeout.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Makes a call and collects its answer.
///
/// # Errors
/// [`CallError`].
pub async fn call(cluster: &Rc<LocalCluster>, request: Request) -> Result<Answer, CallError> {
    let timeout = request.timeout;
    let answer = collect(cluster, request);
    match timeout {
        Some(limit) => tokio::time::timeout(limit, answer).await.unwrap_or(Err(CallError::Timeout(limit))),
        None => answer.await,
    }
}

async fn collect(cluster: &Rc<LocalCluster>, request: Request) -> Result<Answer, CallError> {
    let mut fields = request.fields;
    // The host frames what it sends.
    fields.remove(header::TRANSFER_ENCODING);
    fields.remove(header::CONTENT_LENGTH);
    let trailers = (!request.trailers.is_empty()).then(|| Box::new(request.trailers));
    if let Some(trailers) = &trailers {
        // Over HTTP/1.1 trailers need chunks, whatever the method, and are named in front (RFC 9110, section 6.6.2).
        fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        fields.extend(HeaderValue::try_from(names.join(", ")).ok().map(|names| (header::TRAILER, names)));
    }
    let body = if request.body.is_empty() && trailers.is_none() {
        RequestBody::Empty
    } else {
        RequestBody::Full { bytes: Some(request.body), trailers }
    };
    let outgoing = Box::new(Outgoing {
        method: request.method,
        path: request.path,
        scheme: request.scheme,
        fields,
        body,
        purpose: Purpose::Answer,
        extensions: Extensions::new(),
    });
    let answered = dispatch(cluster, outgoing, Replay::Copy, None, |_| {}).await?;
    let (parts, mut incoming) = answered.response.into_parts();
    let mut answer = Answer { status: parts.status, fields: parts.headers, ..Answer::default() };
    while let Some(frame) = incoming.frame().await {
        match frame.map_err(CallError::Body)?.into_data() {
            Ok(data) => {
                if answer.body.len() + data.len() > LARGEST_ANSWER {
                    return Err(CallError::TooLarge);
                }
                answer.body.extend_from_slice(&data);
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    answer.trailers = trailers;
                }
            }
        }
    }
    answered.lease.finish();
    Ok(answer)
}
