//! Says in a header how long each body is, and turns it around.

use fyke_sdk::{Body, ConfigError, Env, Flow, HttpFilter, Request, Response, Result, http_filter};
use serde::Deserialize;

/// No settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// The filter.
pub struct Whole;

#[http_filter]
impl HttpFilter for Whole {
    type Config = Config;
    type Ctx = ();

    fn configure(_config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_request_with_body(&self, _cx: &mut (), request: &mut Request, body: &mut Body) -> Result<Flow> {
        request.set("x-length", body.bytes().len().to_string())?;
        let turned: Vec<u8> = body.bytes().iter().rev().copied().collect();
        body.replace(&turned)?;
        Ok(Flow::Continue)
    }

    async fn on_response_with_body(&self, _cx: &mut (), response: &mut Response, body: &mut Body) -> Result<Flow> {
        response.set("x-length", body.bytes().len().to_string())?;
        Ok(Flow::Continue)
    }
}
