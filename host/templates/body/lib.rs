//! Replaces a word in bodies: in requests as they stream by, in responses as a whole.

use fyke_sdk::{Body, Chunk, ConfigError, Env, FilterConfig, Flow, HttpFilter, Response, Result, http_filter};
use serde::Deserialize;

/// What operators write below `config:`.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What answers must not say.
    word: String,
}

/// One configuration of the filter; every stream looks at it.
pub struct __Name__ {
    word: String,
}

/// What belongs to one stream.
#[derive(Default)]
pub struct Ctx {
    lines: u64,
}

#[http_filter]
impl HttpFilter for __Name__ {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        if config.word.is_empty() {
            return Err(ConfigError::at("word", "must not be empty"));
        }
        Ok(Self { word: config.word })
    }

    // Chunk by chunk: of any length, in little memory. A word may be cut in two here, a line break may not.
    fn on_request_chunk(&self, cx: &mut Ctx, chunk: &mut Chunk) -> Result<()> {
        cx.lines += chunk.bytes().iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(())
    }

    // As a whole: up to `maximum_body` bytes, with the headers still held.
    async fn on_response_with_body(&self, cx: &mut Ctx, response: &mut Response, body: &mut Body) -> Result<Flow> {
        response.set("x-lines-sent", cx.lines.to_string())?;
        if let Ok(text) = body.text()
            && text.contains(&self.word)
        {
            let clean = text.replace(&self.word, "***");
            response.set("content-length", clean.len().to_string())?;
            body.replace(clean)?;
        }
        Ok(Flow::Continue)
    }

    // What is not text is not looked at, so it may be of any length.
    fn wants_response_body(&self, _cx: &mut Ctx, response: &Response) -> bool {
        response.get("content-type").is_none_or(|kind| kind.starts_with(b"text/"))
    }
}

#[cfg(test)]
mod tests {
    use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

    use super::*;

    #[test]
    fn the_word_is_gone_in_whatever_chunks_it_comes() {
        let mut host = TestHost::<__Name__>::configure("word: darn").unwrap();
        let answer = TestResponse::ok().header("content-type", "text/plain").body("a darn day");
        host.every_response_chunking(TestRequest::get("/"), answer, |out| {
            assert_eq!(out.body(), "a *** day");
        });
    }

    #[test]
    fn lines_are_counted_in_whatever_chunks_they_come() {
        let mut host = TestHost::<__Name__>::configure("word: darn").unwrap();
        host.every_chunking(TestRequest::post("/").body("1\n2\n3\n"), |out| {
            assert_eq!(out.header("x-lines-sent"), "3");
            assert_eq!(out.upstream().body(), "1\n2\n3\n");
        });
    }

    #[test]
    fn other_bodies_pass() {
        let mut host = TestHost::<__Name__>::configure("word: darn").unwrap();
        host.upstream(|_| TestResponse::ok().header("content-type", "image/png").body("darn"));
        assert_eq!(host.send(TestRequest::get("/")).body(), "darn");
    }
}
