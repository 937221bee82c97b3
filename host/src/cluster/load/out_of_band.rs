//! Reports that are asked for: `xds.service.orca.v3.OpenRcaService/StreamCoreMetrics`, a stream for each endpoint (gRFC A51).
//!
//! A connection of its own, opened as requests' are, made anew with growing pauses where it breaks. An endpoint that does not know the service is not
//! asked again for as long as it is a member.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use fyke_envoy::xds::Backoff;
use http::{
    Request, StatusCode,
    uri::{Authority, Scheme},
};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::time::{sleep, timeout};

use super::{LoadWeights, Report};
use crate::{
    callout::grpc,
    cluster::{
        connect,
        endpoint::SharedEndpoint,
        health::active::{HttpProtocol, HttpSession, grpc_post},
        shared::SharedCluster,
    },
    config::resolved,
};

const PATH: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";
/// A report is some dozens of figures.
const LONGEST: usize = 64 * 1024;
/// Pauses before the next attempt, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(2));
/// What a stream may be late.
const GRACE: Duration = Duration::from_secs(5);

/// `xds.service.orca.v3.OrcaLoadReportRequest`.
#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(message, optional, tag = "1")]
    report_interval: Option<prost_types::Duration>,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Later, perhaps.
    Broken(String),
    /// Never.
    Unknown,
}

/// Asks an endpoint until it turns out that it cannot be asked.
pub async fn follow(
    cluster: Arc<SharedCluster>,
    settings: Arc<LoadWeights>,
    endpoint: Arc<SharedEndpoint>,
    period: Duration,
) {
    let (cluster_name, address) = (cluster.settings.name.as_str(), endpoint.address());
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        let mut heard = false;
        let note = |report: &Report| {
            heard = true;
            endpoint.status.report(&settings, report);
        };
        match listen(&cluster.settings, &endpoint, period, note).await {
            End::Unknown => {
                tracing::warn!(cluster = cluster_name, %address, "the endpoint does not offer {PATH}: its load is known from its answers only");
                return;
            }
            End::Broken(why) => tracing::debug!(cluster = cluster_name, %address, "no load reports: {why}"),
        }
        if heard {
            backoff.reset();
        }
        sleep(backoff.next(fastrand::f64())).await;
    }
}

async fn listen(
    settings: &resolved::Cluster,
    endpoint: &SharedEndpoint,
    period: Duration,
    mut note: impl FnMut(&Report),
) -> End {
    let broken = |why: &dyn std::fmt::Display| End::Broken(why.to_string());
    let patience = period * 3 + GRACE;
    let tls = settings.tls.as_ref().map(|tls| tls.offering(&[b"h2"]));
    let host = endpoint.settings.hostname.as_deref();
    let opening = async {
        let io =
            connect::plainly(settings, tls.as_ref(), endpoint.address(), host).await.map_err(|error| broken(&error))?;
        let mut session =
            HttpSession::open(io, HttpProtocol::Http2).await.map_err(|failure| End::Broken(failure.words))?;
        let request = question(tls.is_some(), &authority(endpoint), period).map_err(|error| broken(&error))?;
        let answer = session.send(request).await.map_err(|failure| End::Broken(failure.words))?;
        // Who drops the session ends the stream.
        Ok((session, answer))
    };
    let (_session, answer) = match timeout(settings.connect_timeout + patience, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(end)) => return end,
        Err(_) => return End::Broken("there is no answer".to_owned()),
    };
    let (head, mut body) = answer.into_parts();
    if head.status != StatusCode::OK {
        return if head.status == StatusCode::NOT_FOUND { End::Unknown } else { broken(&head.status) };
    }
    if let Some(end) = said(&head.headers) {
        return end;
    }
    let mut held = BytesMut::new();
    loop {
        let frame = match timeout(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return broken(&error),
            Ok(None) => return End::Broken("the stream is over".to_owned()),
            Err(_) => return End::Broken("nothing was said for too long".to_owned()),
        };
        match frame.into_data() {
            Ok(data) => held.extend_from_slice(&data),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return said(&trailers).unwrap_or_else(|| End::Broken("the stream is over".to_owned()));
            }
        }
        loop {
            match grpc::message(&mut held, LONGEST) {
                Ok(Some(message)) => {
                    if let Some(report) = Report::decode_message(&message) {
                        note(&report);
                    }
                }
                Ok(None) => break,
                Err(status) => return End::Broken(status.message),
            }
        }
    }
}

fn authority(endpoint: &SharedEndpoint) -> String {
    endpoint.settings.hostname.clone().unwrap_or_else(|| endpoint.address().to_string())
}

fn question(tls: bool, authority: &str, period: Duration) -> Result<Request<Full<Bytes>>, http::Error> {
    let report_interval = prost_types::Duration::try_from(period).ok();
    let message = Question { report_interval }.encode_to_vec();
    let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
    let authority = authority.parse().unwrap_or_else(|_| Authority::from_static("localhost"));
    grpc_post((scheme, authority), PATH, grpc::frame(&message))
}

/// What a status says, which only comes when nothing else does.
fn said(fields: &http::HeaderMap) -> Option<End> {
    let status = fields.get("grpc-status")?.to_str().unwrap_or_default();
    Some(if status == "12" { End::Unknown } else { End::Broken(format!("gRPC status {status}")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_says_how_often() {
        let request = question(false, "a.internal:80", Duration::from_millis(2500)).unwrap();
        assert_eq!(request.uri().to_string(), format!("http://a.internal:80{PATH}"));
        let expected = Question { report_interval: Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 }) };
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let message = grpc::message(&mut BytesMut::from(&body[..]), LONGEST).unwrap().unwrap();
        assert_eq!(Question::decode(message).unwrap(), expected);
    }
}
