//! The filter.

use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Request, Response, Result, http_filter};

use crate::changes::Changes;
use crate::config::Config;

/// One configuration of the filter.
pub struct HeadersFilter {
    request: Changes,
    response: Changes,
}

#[http_filter]
impl HttpFilter for HeadersFilter {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self {
            request: Changes::build(config.request).map_err(|error| error.under("request"))?,
            response: Changes::build(config.response).map_err(|error| error.under("response"))?,
        })
    }

    async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
        self.request.apply(request)?;
        Ok(Flow::Continue)
    }

    fn wants_response(&self) -> bool {
        !self.response.is_empty()
    }

    async fn on_response(&self, _cx: &mut (), response: &mut Response) -> Result<Flow> {
        self.response.apply(response)?;
        Ok(Flow::Continue)
    }
}
