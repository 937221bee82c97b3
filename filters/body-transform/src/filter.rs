//! The filter.

use fyke_sdk::{Body, ConfigError, Env, Flow, Headers, HttpFilter, Reply, Request, Response, Result, http_filter};

use crate::changes::Changes;
use crate::config::{Config, OnInvalid};
use crate::document::NotJson;

/// One configuration of the filter.
pub struct BodyTransform {
    request: Changes,
    response: Changes,
    on_invalid: OnInvalid,
}

#[http_filter]
impl HttpFilter for BodyTransform {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self {
            request: Changes::build(config.request).map_err(|error| error.under("request"))?,
            response: Changes::build(config.response).map_err(|error| error.under("response"))?,
            on_invalid: config.on_invalid,
        })
    }

    async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
        if !self.response.is_empty() {
            // Or the client would choose that the answer cannot be read: compressed, or a part of it.
            for name in ["accept-encoding", "range", "if-range"] {
                request.remove(name)?;
            }
        }
        Ok(Flow::Continue)
    }

    fn wants_request_body(&self, _cx: &mut (), request: &Request) -> bool {
        self.wants(&self.request, request)
    }

    async fn on_request_with_body(&self, _cx: &mut (), request: &mut Request, body: &mut Body) -> Result<Flow> {
        self.transform(&self.request, request, body, 400)
    }

    fn wants_response_body(&self, _cx: &mut (), response: &Response) -> bool {
        self.wants(&self.response, response)
    }

    async fn on_response_with_body(&self, _cx: &mut (), response: &mut Response, body: &mut Body) -> Result<Flow> {
        self.transform(&self.response, response, body, 502)
    }

    fn maximum_body(&self) -> usize {
        MAXIMUM
    }
}

/// What is read and written within the CPU time of one call, however it is made up.
const MAXIMUM: usize = 256 * 1024;

impl BodyTransform {
    fn wants(&self, changes: &Changes, headers: &Headers) -> bool {
        !changes.is_empty() && is_json(headers) && (self.on_invalid == OnInvalid::Refuse || is_plain(headers))
    }

    fn transform(&self, changes: &Changes, headers: &mut Headers, body: &mut Body, refusal: u16) -> Result<Flow> {
        // A HEAD's answer and a 304 have a type and no body.
        if body.is_empty() {
            return Ok(Flow::Continue);
        }
        let changed = if is_plain(headers) { changes.apply(body.bytes()) } else { Err(NotJson) };
        match (changed, self.on_invalid) {
            (Ok(changed), _) if changed == body.bytes() => Ok(Flow::Continue),
            (Ok(changed), _) => {
                body.replace(&changed)?;
                if headers.contains("content-length") {
                    headers.set("content-length", changed.len().to_string())?;
                }
                // They describe the bytes that were.
                for name in ["etag", "digest", "content-digest", "repr-digest", "content-md5"] {
                    headers.remove(name)?;
                }
                Ok(Flow::Continue)
            }
            (Err(NotJson), OnInvalid::Pass) => Ok(Flow::Continue),
            (Err(NotJson), OnInvalid::Refuse) => Ok(Reply::text(refusal, "not JSON\n").details("body_not_json").into()),
        }
    }
}

/// `application/json` and `application/anything+json`; of several types one is enough.
fn is_json(headers: &Headers) -> bool {
    // Some hosts join several values with commas.
    let values = headers.values("content-type");
    values.iter().flat_map(|value| value.split(|byte| *byte == b',')).any(|kind| {
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        kind == b"application/json" || (kind.starts_with(b"application/") && kind.ends_with(b"+json"))
    })
}

/// What is compressed is not read.
fn is_plain(headers: &Headers) -> bool {
    headers.get("content-encoding").is_none_or(|encoding| encoding.eq_ignore_ascii_case(b"identity"))
}
