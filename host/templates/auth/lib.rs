//! Asks a service who a token belongs to, and tells the upstream.

use std::time::Duration;

use fyke_sdk::{
    Cluster, ConfigError, Env, FilterConfig, Flow, HttpFilter, HttpRequest, Reply, Request, Result, http_filter,
};
use serde::Deserialize;

/// What operators write below `config:`.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The service; needs `allow: { clusters: [...] }`.
    cluster: String,
}

/// One configuration of the filter; every stream looks at it.
pub struct __Name__ {
    authority: Cluster,
}

#[http_filter]
impl HttpFilter for __Name__ {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { authority: env.cluster(&config.cluster).map_err(|error| error.under("cluster"))? })
    }

    async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
        // Nobody but this filter says who it is.
        request.remove("x-user")?;
        let Some(token) = request.get("authorization") else {
            return Ok(Reply::text(401, "no token\n").details("token_missing").into());
        };
        let question = HttpRequest::get("/whoami").header("authorization", token);
        // Waiting pauses this stream and nothing else. An error here would be a 500: this answers 503 instead.
        match self.authority.call(question).timeout(Duration::from_millis(500)).await {
            Ok(answer) if answer.status() == 200 => {
                // The first line of the answer is the name.
                let name = answer.body().split(|byte| *byte == b'\n').next().unwrap_or_default();
                request.set("x-user", name)?;
                Ok(Flow::Continue)
            }
            Ok(_) => Ok(Reply::text(403, "not you\n").details("token_refused").into()),
            Err(_) => Ok(Reply::text(503, "ask again later\n").details("authority_unreachable").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

    use super::*;

    fn host() -> TestHost<__Name__> {
        let mut host = TestHost::configure("cluster: authority").unwrap();
        host.cluster("authority", |request| match request.header("authorization").bytes() {
            b"good" => TestResponse::ok().body("alice"),
            b"slow" => TestResponse::hang(),
            _ => TestResponse::new(404),
        });
        host
    }

    #[test]
    fn the_upstream_is_told_who_it_is() {
        let out = host().send(TestRequest::get("/").header("authorization", "good").header("x-user", "root"));
        assert_eq!(out.upstream().values("x-user"), ["alice"]);
    }

    #[test]
    fn others_do_not_get_there() {
        let mut host = host();
        assert_eq!(host.send(TestRequest::get("/")).status(), 401);
        let out = host.send(TestRequest::get("/").header("authorization", "bad"));
        assert_eq!((out.status(), out.reached_upstream()), (403, false));
    }

    #[test]
    fn a_silent_authority_is_not_waited_for_long() {
        let mut host = host();
        let flight = host.start(TestRequest::get("/").header("authorization", "slow"));
        assert!(!host.is_done(&flight));
        host.advance(Duration::from_millis(600));
        assert_eq!(host.finish(flight).status(), 503);
    }
}
