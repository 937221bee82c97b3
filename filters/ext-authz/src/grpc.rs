//! Asking over gRPC.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use fyke_sdk::{Cluster, ConfigError, Env, Error, Reply, Request, Result, property};
use prost::Message as _;

use crate::body::{self, Encoding, Excerpt};
use crate::config;
use crate::messages::{
    Address, Allowed, AttributeContext, CheckRequest, CheckResponse, CheckedHttp, CheckedRequest, Denied,
    HeaderValueOption, HttpResponse, Peer, SocketAddress, Timestamp,
};
use crate::verdict::{Changes, How, Verdict};
use crate::{metadata, query};

/// How to ask.
#[derive(Debug)]
pub struct Grpc {
    cluster: Cluster,
    context_extensions: BTreeMap<String, String>,
    timeout: Duration,
}

impl Grpc {
    pub fn build(raw: config::Grpc, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self {
            cluster: env.cluster(&raw.cluster).map_err(|error| error.under("cluster"))?,
            context_extensions: raw.context_extensions,
            timeout: raw.timeout.unwrap_or(crate::filter::TIMEOUT),
        })
    }

    /// # Errors
    /// When the service cannot be asked, or answers what cannot be read.
    pub async fn ask(&self, request: &Request, body: Option<Excerpt>) -> Result<Verdict> {
        let message = self.question(request, body).encode_to_vec();
        let call = self.cluster.grpc("envoy.service.auth.v3.Authorization", "Check").timeout(self.timeout);
        let answer = call.send(message).await?;
        let answer = CheckResponse::decode(answer.message())
            .map_err(|error| Error::new(format!("the service's answer cannot be read: {error}")))?;
        if let Some(metadata) = &answer.dynamic_metadata {
            metadata::publish(metadata);
        }
        Ok(verdict(answer))
    }

    fn question(&self, request: &Request, body: Option<Excerpt>) -> CheckRequest {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in request.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(body::PARTIAL.as_bytes())) {
            // Several values are one, joined as HTTP has it.
            let merged = headers.entry(text(name)).or_default();
            if !merged.is_empty() {
                merged.push(',');
            }
            merged.push_str(&text(value));
        }
        let size = request.get("content-length").and_then(|size| std::str::from_utf8(size).ok()?.parse().ok());
        let mut size = size.unwrap_or(if request.end_of_stream() { 0 } else { -1 });
        let (mut body_as_text, mut raw_body) = (String::new(), Vec::new());
        if let Some(body) = body {
            headers.insert(body::PARTIAL.to_owned(), body.mark().to_owned());
            size = i64::try_from(body.length).unwrap_or(i64::MAX);
            match body.encoding {
                Encoding::Text => body_as_text = text(&body.bytes),
                Encoding::Bytes => raw_body = body.bytes,
            }
        }
        let http = CheckedHttp {
            id: request.get("x-request-id").map(text).unwrap_or_default(),
            method: text(request.method()),
            path: text(request.path()),
            host: text(request.authority()),
            scheme: text(request.scheme()),
            size,
            protocol: property::text(&["request", "protocol"]).unwrap_or_default(),
            headers,
            body: body_as_text,
            raw_body,
        };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: peer("source", "uri_san_peer_certificate"),
                destination: peer("destination", "uri_san_local_certificate"),
                request: Some(CheckedRequest { time: now(), http: Some(http) }),
                context_extensions: self.context_extensions.clone(),
            }),
        }
    }
}

fn peer(side: &str, principal: &str) -> Option<Peer> {
    let address = property::text(&[side, "address"])?;
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let socket_address = Some(SocketAddress { address: host, port_value: port.parse().unwrap_or(0) });
    let principal = property::text(&["connection", principal]).unwrap_or_default();
    Some(Peer { address: Some(Address { socket_address }), principal })
}

fn now() -> Option<Timestamp> {
    let since = fyke_sdk::time::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    })
}

/// Status 0 allows, everything else denies, whichever of the two messages comes with it.
fn verdict(answer: CheckResponse) -> Verdict {
    let code = answer.status.map_or(0, |status| status.code);
    match (code, answer.http_response) {
        (0, Some(HttpResponse::Ok(allowed))) => Verdict::Allowed(changes(allowed)),
        (0, _) => Verdict::Allowed(Changes::default()),
        (_, Some(HttpResponse::Denied(denied))) => Verdict::Denied(denial(denied)),
        _ => Verdict::Denied(Reply::new(403)),
    }
}

/// As Envoy has it, a request's header takes the place of the client's and a response's goes behind the upstream's, where the service does
/// not say.
fn changes(allowed: Allowed) -> Changes {
    let parts = |options: Vec<HeaderValueOption>, unsaid: How| {
        options.into_iter().filter_map(move |option| option.into_parts(unsaid)).collect()
    };
    Changes {
        remove: allowed.headers_to_remove,
        request: parts(allowed.headers, How::Overwrite),
        response: parts(allowed.response_headers_to_add, How::Append),
        query: query::Changes {
            set: allowed
                .query_parameters_to_set
                .into_iter()
                .map(|parameter| (parameter.key, parameter.value))
                .collect(),
            remove: allowed.query_parameters_to_remove,
        },
    }
}

fn denial(denied: Denied) -> Reply {
    let status = denied.status.and_then(|status| u16::try_from(status.code).ok());
    let status = status.filter(|status| (200..=599).contains(status)).unwrap_or(403);
    let headers = denied.headers.into_iter().filter_map(|option| option.into_parts(How::Append));
    headers.fold(Reply::new(status).body(denied.body), |reply, ((name, value), _)| reply.header(name, value))
}
