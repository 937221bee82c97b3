//! The filter.

use fyke_sdk::property::{Reads, Values};
use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Request, Response, Result, http_filter};

use crate::config::{Config, Incoming};
use crate::forwarded::Forwarded;
use crate::identity;

/// One configuration of the filter.
pub struct RequestId {
    incoming: Incoming,
    response: bool,
    forwarded: Forwarded,
    /// What is looked at of every request.
    reads: Reads,
    /// Of that, the id that it came with.
    id: usize,
}

/// The id, where the answer carries it too.
#[derive(Default)]
pub struct Ctx {
    id: Option<Box<[u8]>>,
}

#[http_filter]
impl HttpFilter for RequestId {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        let mut reads = Reads::default();
        let id = reads.request_header("x-request-id");
        let forwarded = Forwarded::new(config.trusted_hops, config.forwarded, &mut reads);
        Ok(Self { incoming: config.request_id, response: config.response, forwarded, reads, id })
    }

    async fn on_request(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        let values = self.reads.read();
        self.identify(cx, request, &values)?;
        self.forwarded.apply(request, &values)?;
        Ok(Flow::Continue)
    }

    fn wants_response(&self) -> bool {
        self.response
    }

    async fn on_response(&self, cx: &mut Ctx, response: &mut Response) -> Result<Flow> {
        if let Some(id) = &cx.id {
            response.set("x-request-id", id)?;
        }
        Ok(Flow::Continue)
    }
}

impl RequestId {
    /// Leaves exactly one id on the request.
    fn identify(&self, cx: &mut Ctx, request: &mut Request, values: &Values) -> Result<()> {
        // Most requests have none: then there is no need to ask for all of them.
        if self.incoming == Incoming::Keep
            && values.get(self.id).is_some()
            && let Ok([only]) = <[Vec<u8>; 1]>::try_from(request.values("x-request-id"))
            && identity::is_sane(&only)
        {
            if self.response {
                cx.id = Some(only.into());
            }
            return Ok(());
        }
        let id = identity::create();
        request.set("x-request-id", id)?;
        if self.response {
            cx.id = Some(Box::new(id));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fyke_sdk::abi::MapKind;
    use fyke_sdk::testing::Host;

    use super::*;

    const GET: (&str, &str) = (":method", "GET");

    fn send(configuration: &str, headers: &[(&str, &str)], tls: bool) -> (Host<RequestId>, u32) {
        let host = Host::configure(configuration).unwrap();
        let stream = host.open();
        host.stream(stream, |stream| {
            stream.set_property("source.address", "10.1.2.3:4567");
            if tls {
                stream.set_property("connection.tls_version", "TLSv1.3");
            }
        });
        host.request_headers(stream, headers, true);
        (host, stream)
    }

    #[test]
    fn a_request_without_an_id_gets_one_and_the_answer_too() {
        let (host, stream) = send(r#"{"response": true}"#, &[GET], false);
        let id = host.request_header(stream, "x-request-id").unwrap();
        assert_eq!(id.len(), 36);
        host.response_headers(stream, &[(":status", "200")], true);
        assert_eq!(host.response_header(stream, "x-request-id"), Some(id));
    }

    #[test]
    fn a_sane_id_is_kept_and_others_are_replaced() {
        let (host, stream) = send("{}", &[GET, ("x-request-id", "abc")], false);
        assert_eq!(host.request_header(stream, "x-request-id").unwrap(), "abc");
        let (host, stream) = send(r#"{"request_id": "replace"}"#, &[GET, ("x-request-id", "abc")], false);
        assert_eq!(host.request_header(stream, "x-request-id").unwrap().len(), 36);
        for bad in [&[GET, ("x-request-id", "a b")][..], &[GET, ("x-request-id", "a"), ("x-request-id", "b")]] {
            let (host, stream) = send("{}", bad, false);
            let count = host.stream(stream, |stream| {
                stream.maps[MapKind::RequestHeaders as usize].iter().filter(|(name, _)| name == b"x-request-id").count()
            });
            assert_eq!(count, 1);
            assert_eq!(host.request_header(stream, "x-request-id").unwrap().len(), 36);
        }
    }

    #[test]
    fn the_edge_believes_no_client() {
        let claims = [
            GET,
            (":authority", "a.example"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "evil"),
        ];
        let (host, stream) = send("{}", &claims, true);
        assert_eq!(host.request_header(stream, "x-forwarded-for").unwrap(), "10.1.2.3");
        assert_eq!(host.request_header(stream, "x-forwarded-proto").unwrap(), "https");
        assert_eq!(host.request_header(stream, "x-forwarded-host").unwrap(), "a.example");
    }

    #[test]
    fn behind_a_proxy_of_ours_its_claims_are_kept() {
        let claims = [
            GET,
            (":authority", "inner"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example"),
        ];
        let (host, stream) = send(r#"{"trusted_hops": 1}"#, &claims, false);
        assert_eq!(host.request_header(stream, "x-forwarded-for").unwrap(), "6.6.6.6, 7.7.7.7, 10.1.2.3");
        assert_eq!(host.request_header(stream, "x-forwarded-proto").unwrap(), "https");
        assert_eq!(host.request_header(stream, "x-forwarded-host").unwrap(), "a.example");
        let (host, stream) = send(r#"{"trusted_hops": 1}"#, &[GET, (":authority", "inner")], false);
        assert_eq!(host.request_header(stream, "x-forwarded-for").unwrap(), "10.1.2.3");
        assert_eq!(host.request_header(stream, "x-forwarded-proto").unwrap(), "http");
        assert_eq!(host.request_header(stream, "x-forwarded-host").unwrap(), "inner");
    }

    #[test]
    fn what_is_kept_is_not_added_to() {
        let keep = r#"{"forwarded": "keep"}"#;
        let (host, stream) = send(keep, &[GET, (":authority", "inner"), ("x-forwarded-for", "6.6.6.6")], true);
        assert_eq!(host.request_header(stream, "x-forwarded-for").unwrap(), "6.6.6.6");
        assert_eq!(host.request_header(stream, "x-forwarded-proto").unwrap(), "https");
        assert_eq!(host.request_header(stream, "x-forwarded-host"), None);
        let (host, stream) = send(keep, &[GET, (":authority", "inner"), ("x-forwarded-proto", "https")], false);
        assert_eq!(host.request_header(stream, "x-forwarded-for"), None);
        assert_eq!(host.request_header(stream, "x-forwarded-proto").unwrap(), "https");
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(Host::<RequestId>::configure(r#"{"trust": 1}"#).is_err());
    }
}
