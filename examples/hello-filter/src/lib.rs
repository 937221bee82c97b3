//! A first filter: greets on `/hello`, and signs every answer.

use fyke_sdk::{ConfigError, Env, FilterConfig, Flow, HttpFilter, Reply, Request, Response, Result, http_filter};
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
        if config.greeting.chars().any(char::is_control) {
            return Err(ConfigError::at(
                "greeting",
                "must fit in a header: no line breaks or other control characters",
            ));
        }
        Ok(Self { greeting: config.greeting })
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
    use fyke_sdk::testing::Host;

    use super::*;

    const CONFIG: &str = r#"{"greeting": "ahoy"}"#;

    #[test]
    fn hello_is_answered_here() {
        let host = Host::<Hello>::configure(CONFIG).unwrap();
        let stream = host.request(&[(":method", "GET"), (":path", "/hello")]);
        let reply = host.reply(stream).unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, b"ahoy!\n");
        assert_eq!(reply.header("x-hello").unwrap(), "ahoy");
    }

    #[test]
    fn everything_else_passes_and_is_signed() {
        let host = Host::<Hello>::configure(CONFIG).unwrap();
        let stream = host.request(&[(":method", "GET"), (":path", "/")]);
        assert!(host.reply(stream).is_none());
        host.response_headers(stream, &[(":status", "200")], true);
        assert_eq!(host.response_header(stream, "x-hello").unwrap(), "ahoy");
    }

    #[test]
    fn a_greeting_that_fits_in_no_header_is_refused() {
        let error = Host::<Hello>::configure(r#"{"greeting": "a\nb"}"#).err().unwrap();
        assert_eq!(error.path(), "greeting");
    }
}
