//! Sets one request header and one response header: what a small filter costs, written with our SDK.

use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Request, Response, Result, http_filter};

/// The filter.
pub struct Header;

#[http_filter]
impl HttpFilter for Header {
    type Config = ();
    type Ctx = ();

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        request.set("x-guest-request", "seen")?;
        Ok(Flow::Continue)
    }

    async fn on_response(&self, (): &mut (), response: &mut Response) -> Result<Flow> {
        response.set("x-guest-response", "seen")?;
        Ok(Flow::Continue)
    }
}
