//! What an answer, or the lack of one, means to a policy.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use super::policy::{Condition, RateLimited, ResetFormat, RetryPolicy};
use crate::{
    cluster::ClusterError,
    upstream::{UpstreamError, outcome},
};

/// Whether an attempt is the last one, as far as the policy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer stands.
    Stands,
    /// The policy wants another attempt. The word is for metrics.
    Again {
        /// The condition.
        reason: &'static str,
        /// How long the answer asks to wait.
        after: Option<Duration>,
    },
}

/// Reads an answer.
#[must_use]
pub fn of_answer(policy: &RetryPolicy, status: StatusCode, fields: &HeaderMap, now: SystemTime) -> Verdict {
    let is_server_error = status.is_server_error();
    let rate_limited = fields.contains_key("x-envoy-ratelimited");
    let grpc = |code| outcome::grpc_status(fields) == Some(code);
    let met = policy.on.iter().find_map(|condition| {
        let (met, reason) = match condition {
            // An endpoint that limits rates wants no more of the same, unless asked for by name.
            Condition::ServerError => (is_server_error && !rate_limited, "5xx"),
            Condition::GatewayError => (matches!(status.as_u16(), 502..=504) && !rate_limited, "gateway-error"),
            Condition::EnvoyRatelimited => (rate_limited, "envoy-ratelimited"),
            Condition::Retriable4xx => (status == StatusCode::CONFLICT, "retriable-4xx"),
            Condition::RetriableStatusCodes => (policy.statuses.contains(&status.as_u16()), "retriable-status-codes"),
            Condition::RetriableHeaders => {
                (policy.headers.iter().any(|header| header.fits(fields)), "retriable-headers")
            }
            Condition::Cancelled => (grpc(1), "cancelled"),
            Condition::DeadlineExceeded => (grpc(4), "deadline-exceeded"),
            Condition::ResourceExhausted => (grpc(8), "resource-exhausted"),
            Condition::Internal => (grpc(13), "internal"),
            Condition::Unavailable => (grpc(14), "unavailable"),
            Condition::Reset | Condition::ResetBeforeRequest | Condition::ConnectFailure | Condition::RefusedStream => {
                (false, "")
            }
        };
        met.then_some(reason)
    });
    match met {
        Some(reason) => {
            let after = policy.rate_limited_backoff.as_ref().and_then(|limited| wait(limited, fields, now));
            Verdict::Again { reason, after }
        }
        None => Verdict::Stands,
    }
}

/// Reads a failure. `sent` says whether anything of the request may have reached the endpoint.
#[must_use]
pub fn of_failure(policy: &RetryPolicy, error: &UpstreamError, sent: bool) -> Verdict {
    let again = |reason| Verdict::Again { reason, after: None };
    let on = |condition| policy.on.contains(&condition);
    match error {
        UpstreamError::Cluster(error) => match error {
            ClusterError::ConnectTimeout { .. }
            | ClusterError::Connect { .. }
            | ClusterError::Tls { .. }
            | ClusterError::Handshake { .. } => {
                if on(Condition::ConnectFailure) {
                    again("connect-failure")
                } else if on(Condition::ServerError) {
                    again("5xx")
                } else if on(Condition::GatewayError) {
                    again("gateway-error")
                } else if on(Condition::Reset) {
                    again("reset")
                } else if on(Condition::ResetBeforeRequest) {
                    again("reset-before-request")
                } else {
                    Verdict::Stands
                }
            }
            // Another attempt would meet the same limit, or the same empty list.
            _ => Verdict::Stands,
        },
        UpstreamError::Refused { .. } if on(Condition::RefusedStream) => again("refused-stream"),
        UpstreamError::Reset { .. }
        | UpstreamError::Refused { .. }
        | UpstreamError::PerTryTimeout { .. }
        | UpstreamError::Protocol { .. } => {
            if on(Condition::Reset) {
                again("reset")
            } else if on(Condition::ServerError) {
                again("5xx")
            } else if on(Condition::GatewayError) {
                again("gateway-error")
            } else if on(Condition::ResetBeforeRequest) && !sent {
                again("reset-before-request")
            } else {
                Verdict::Stands
            }
        }
        UpstreamError::NoExtendedConnect { .. }
        | UpstreamError::RequestBody { .. }
        | UpstreamError::Timeout { .. }
        | UpstreamError::Idle { .. }
        | UpstreamError::UnknownCluster { .. }
        | UpstreamError::NotRouted => Verdict::Stands,
    }
}

/// How long the answer asks to wait, where it says so readably and within bounds.
fn wait(limited: &RateLimited, fields: &HeaderMap, now: SystemTime) -> Option<Duration> {
    limited.headers.iter().find_map(|reset| {
        let text = fields.get(&reset.name)?.to_str().ok()?.trim();
        let number = || text.parse::<u64>().ok();
        let wait = match reset.format {
            ResetFormat::Seconds => match number() {
                Some(seconds) => Duration::from_secs(seconds),
                None if reset.name == header::RETRY_AFTER => {
                    httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
                }
                None => return None,
            },
            ResetFormat::UnixTimestamp => {
                let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
                Duration::from_secs(number()?).checked_sub(since)?
            }
        };
        (wait <= Duration::from_millis(limited.max_ms)).then_some(wait)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn policy(text: &str) -> RetryPolicy {
        serde_json::from_str(text).unwrap()
    }

    fn answer(policy: &RetryPolicy, status: u16, fields: &[(&'static str, &'static str)]) -> Option<&'static str> {
        let fields: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        match of_answer(policy, StatusCode::from_u16(status).unwrap(), &fields, SystemTime::UNIX_EPOCH) {
            Verdict::Stands => None,
            Verdict::Again { reason, .. } => Some(reason),
        }
    }

    #[test]
    fn each_condition_is_met_by_its_own_answers() {
        for (on, status, fields, met) in [
            ("5xx", 500, vec![], true),
            ("5xx", 499, vec![], false),
            ("5xx", 503, vec![("x-envoy-ratelimited", "true")], false),
            ("envoy-ratelimited", 429, vec![("x-envoy-ratelimited", "true")], true),
            ("gateway-error", 500, vec![], false),
            ("gateway-error", 502, vec![], true),
            ("gateway-error", 504, vec![], true),
            ("retriable-4xx", 409, vec![], true),
            ("retriable-4xx", 404, vec![], false),
            ("unavailable", 200, vec![("grpc-status", "14")], true),
            ("unavailable", 200, vec![("grpc-status", "13")], false),
            ("internal", 200, vec![("grpc-status", "13")], true),
            ("cancelled", 200, vec![("grpc-status", "1")], true),
            ("deadline-exceeded", 200, vec![("grpc-status", "4")], true),
            ("resource-exhausted", 200, vec![("grpc-status", "8")], true),
            ("reset", 503, vec![], false),
        ] {
            let policy = policy(&format!(r#"{{"on":["{on}"]}}"#));
            assert_eq!(answer(&policy, status, &fields), met.then_some(on), "{on} {status} {fields:?}");
        }
    }

    #[test]
    fn statuses_and_headers_count_only_where_they_are_asked_for() {
        let asked = policy(
            r#"{"on":["retriable-status-codes","retriable-headers"],"statuses":[418],
                "headers":[{"name":"x-try","regex":"ag.*n"},{"name":"x-no","exact":"1"}]}"#,
        );
        assert_eq!(answer(&asked, 418, &[]), Some("retriable-status-codes"));
        assert_eq!(answer(&asked, 200, &[("x-try", "again")]), Some("retriable-headers"));
        assert_eq!(answer(&asked, 200, &[("x-try", "again!"), ("x-no", "2")]), None);
        let unasked = policy(r#"{"on":["reset"],"statuses":[418]}"#);
        assert_eq!(answer(&unasked, 418, &[]), None);
    }

    #[test]
    fn an_answer_may_say_when_to_come_back() {
        let policy = policy(
            r#"{"on":["5xx"],"rate_limited_backoff":{"max_ms":60000,
                "headers":[{"name":"x-reset","format":"unix_timestamp"},{"name":"retry-after"}]}}"#,
        );
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (name, value, wait) in [
            ("retry-after", "7", Some(7)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("retry-after", "Tue, 06 Nov 1984 08:49:37 GMT", Some(0)),
            ("retry-after", "61", None),
            ("retry-after", "soon", None),
            ("x-reset", "784111775", Some(5)),
            ("x-reset", "1", None),
        ] {
            let fields = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            let verdict = of_answer(&policy, StatusCode::SERVICE_UNAVAILABLE, &fields, now);
            let after = wait.map(Duration::from_secs);
            assert_eq!(verdict, Verdict::Again { reason: "5xx", after }, "{name}: {value}");
        }
    }

    #[test]
    fn a_failure_is_retried_only_where_it_helps() {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let refused = || UpstreamError::Cluster(ClusterError::Connect { address, error: std::io::Error::other("x") });
        let late = UpstreamError::PerTryTimeout { address: Some(address), timeout: Duration::ZERO };
        for (on, error, sent, met) in [
            ("connect-failure", &refused(), false, true),
            ("5xx", &refused(), false, true),
            ("refused-stream", &refused(), false, false),
            ("reset", &late, true, true),
            ("reset-before-request", &late, true, false),
            ("connect-failure", &late, true, false),
            ("5xx", &UpstreamError::Timeout { timeout: Duration::ZERO }, true, false),
            ("5xx", &ClusterError::NoEndpoint { cluster: "c".to_owned(), why: String::new() }.into(), false, false),
        ] {
            let policy = policy(&format!(r#"{{"on":["{on}"]}}"#));
            assert_eq!(of_failure(&policy, error, sent) != Verdict::Stands, met, "{on} {error}");
        }
    }
}
