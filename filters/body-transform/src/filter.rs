//! The filter.

use fyke_sdk::{Body, ConfigError, Env, Flow, Headers, HttpFilter, Reply, Request, Response, Result, http_filter};

use crate::changes::Changes;
use crate::config::{Config, OnInvalid};

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

    fn wants_request_body(&self, _cx: &mut (), request: &Request) -> bool {
        !self.request.is_empty() && is_json(request)
    }

    async fn on_request_with_body(&self, _cx: &mut (), request: &mut Request, body: &mut Body) -> Result<Flow> {
        self.transform(&self.request, request, body, 400)
    }

    fn wants_response_body(&self, _cx: &mut (), response: &Response) -> bool {
        !self.response.is_empty() && is_json(response)
    }

    async fn on_response_with_body(&self, _cx: &mut (), response: &mut Response, body: &mut Body) -> Result<Flow> {
        self.transform(&self.response, response, body, 502)
    }
}

impl BodyTransform {
    fn transform(&self, changes: &Changes, headers: &mut Headers, body: &mut Body, refusal: u16) -> Result<Flow> {
        // A HEAD's answer and a 304 have a type and no body.
        if body.is_empty() {
            return Ok(Flow::Continue);
        }
        match (changes.apply(body.bytes()), self.on_invalid) {
            (Some(changed), _) if changed == body.bytes() => Ok(Flow::Continue),
            (Some(changed), _) => {
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
            (None, OnInvalid::Pass) => Ok(Flow::Continue),
            (None, OnInvalid::Refuse) => Ok(Reply::text(refusal, "not JSON\n").details("body_not_json").into()),
        }
    }
}

/// `application/json` and `application/anything+json`, as they are: what is compressed is not read.
fn is_json(headers: &Headers) -> bool {
    let Some(kind) = headers.get("content-type") else { return false };
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let plain = headers.get("content-encoding").is_none_or(|encoding| encoding.eq_ignore_ascii_case(b"identity"));
    plain && (kind == b"application/json" || (kind.starts_with(b"application/") && kind.ends_with(b"+json")))
}
