//! Signs every answer, and tells the upstream where the request came from.

use fyke_sdk::{
    ConfigError, Env, FilterConfig, Flow, HttpFilter, Request, Response, Result, header_value, http_filter,
};
use serde::Deserialize;

/// What operators write below `config:`.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The value of `x-signed-by` on every answer.
    signature: String,
}

/// One configuration of the filter; every stream looks at it.
pub struct __Name__ {
    signature: String,
}

#[http_filter]
impl HttpFilter for __Name__ {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        let signature = header_value(config.signature).map_err(|error| error.under("signature"))?;
        Ok(Self { signature })
    }

    async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
        if let Some(address) = request.property(&["source", "address"]) {
            request.set("x-came-from", address)?;
        }
        Ok(Flow::Continue)
    }

    async fn on_response(&self, _cx: &mut (), response: &mut Response) -> Result<Flow> {
        response.set("x-signed-by", &self.signature)?;
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use fyke_sdk::testing::{TestHost, TestRequest};

    use super::*;

    #[test]
    fn answers_are_signed() {
        let mut host = TestHost::<__Name__>::configure("signature: me").unwrap();
        let out = host.send(TestRequest::get("/"));
        assert_eq!(out.header("x-signed-by"), "me");
        assert!(out.upstream().header("x-came-from").contains("127.0.0.1:"));
    }

    #[test]
    fn a_signature_that_fits_in_no_header_is_refused() {
        let error = TestHost::<__Name__>::configure(r#"signature: "a\nb""#).err().unwrap();
        assert_eq!(error.path(), "signature");
    }
}
