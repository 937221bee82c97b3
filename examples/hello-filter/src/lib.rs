//! A first filter: greets on `/hello`, and signs every answer.

use fyke_sdk::{
    ConfigError, Env, FilterConfig, Flow, HttpFilter, Reply, Request, Response, Result, header_value, http_filter,
};
use serde::Deserialize;

/// The configuration of [`Hello`].
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What to say.
    greeting: String,
}

/// The filter: one value for each configuration.
pub struct Hello {
    greeting: String,
}

#[http_filter]
impl HttpFilter for Hello {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { greeting: header_value(config.greeting).map_err(|error| error.under("greeting"))? })
    }

    async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
        if request.path() == b"/hello" {
            let body = format!("{}!\n", self.greeting);
            return Ok(Reply::text(200, body).header("x-hello", &self.greeting).into());
        }
        Ok(Flow::Continue)
    }

    async fn on_response(&self, _cx: &mut (), response: &mut Response) -> Result<Flow> {
        response.set("x-hello", &self.greeting)?;
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use fyke_sdk::testing::{TestHost, TestRequest};

    use super::*;

    fn host() -> TestHost<Hello> {
        TestHost::configure("greeting: ahoy").unwrap()
    }

    #[test]
    fn hello_is_answered_here() {
        let out = host().send(TestRequest::get("/hello"));
        assert_eq!((out.status(), out.reached_upstream()), (200, false));
        assert_eq!(out.body(), "ahoy!\n");
        assert_eq!(out.header("x-hello"), "ahoy");
    }

    #[test]
    fn everything_else_passes_and_is_signed() {
        let out = host().send(TestRequest::get("/"));
        assert!(out.reached_upstream());
        assert_eq!(out.header("x-hello"), "ahoy");
    }

    #[test]
    fn a_greeting_that_fits_in_no_header_is_refused() {
        let error = TestHost::<Hello>::configure(r#"greeting: "a\nb""#).err().unwrap();
        assert_eq!(error.path(), "greeting");
    }
}
