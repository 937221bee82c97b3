//! Bodies, whole and in chunks, and what arrives while a method waits.

use super::{GET, resumed};
use crate::abi::{Action, Side};
use crate::testing::Host;
use crate::{
    Body, Callbacks, Chunk, Cluster, ConfigError, Env, Error, Flow, HttpFilter, HttpRequest, Present, Request,
    Response, Result, http_filter,
};

/// Wants bodies whole.
struct Whole;

#[http_filter]
impl HttpFilter for Whole {
    type Config = ();
    type Ctx = ();

    fn configure(_: (), _: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_request_with_body(&self, _: &mut (), request: &mut Request, body: &mut Body) -> Result<Flow> {
        request.set("x-length", body.len().to_string())?;
        let upper = body.text()?.to_uppercase();
        body.replace(upper)?;
        Ok(Flow::Continue)
    }

    async fn on_response_with_body(&self, _: &mut (), response: &mut Response, body: &mut Body) -> Result<Flow> {
        response.set("x-length", body.len().to_string())?;
        Ok(Flow::Continue)
    }

    fn maximum_body(&self) -> usize {
        8
    }
}

#[test]
fn a_whole_body_is_held_with_its_headers() {
    let host = Host::<Whole>::configure("").unwrap();
    let stream = host.open();
    assert_eq!(host.request_headers(stream, GET, false), Action::Pause);
    assert_eq!(host.body(Side::Request, stream, b"abc", false), Action::Pause);
    assert_eq!(host.body(Side::Request, stream, b"def", true), Action::Continue);
    assert_eq!(host.request_header(stream, "x-length").unwrap(), "6");
    assert_eq!(host.take_body(Side::Request, stream), b"ABCDEF");
}

#[test]
fn a_message_without_a_body_has_an_empty_one_and_trailers_end_one() {
    let host = Host::<Whole>::configure("").unwrap();
    let stream = host.request(GET);
    assert_eq!(host.request_header(stream, "x-length").unwrap(), "0");
    host.response_headers(stream, &[(":status", "200")], false);
    assert_eq!(host.body(Side::Response, stream, b"abc", false), Action::Pause);
    assert_eq!(host.runtime().on_trailers(Side::Response, stream), Action::Continue);
    assert_eq!(host.response_header(stream, "x-length").unwrap(), "3");
}

#[test]
fn a_body_above_the_maximum_is_answered() {
    let host = Host::<Whole>::configure("").unwrap();
    let stream = host.open();
    host.request_headers(stream, GET, false);
    assert_eq!(host.body(Side::Request, stream, b"123456789", false), Action::Pause);
    assert_eq!(host.reply(stream).unwrap().status, 413);
    let stream = host.request(GET);
    host.response_headers(stream, &[(":status", "200")], false);
    host.body(Side::Response, stream, b"123456789", false);
    assert_eq!(host.reply(stream).unwrap().status, 502);
}

/// Streams a body, after asking.
struct Chunks(Cluster);

#[http_filter]
impl HttpFilter for Chunks {
    type Config = ();
    type Ctx = ();

    fn configure(_: (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self(env.cluster("a")?))
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow> {
        if request.contains("x-ask") {
            self.0.call(HttpRequest::get("/")).await?;
        }
        Ok(Flow::Continue)
    }

    fn on_request_chunk(&self, _: &mut (), chunk: &mut Chunk) -> Result<()> {
        let upper = chunk.bytes().to_ascii_uppercase();
        chunk.replace(upper)
    }

    fn on_response_chunk(&self, _: &mut (), chunk: &mut Chunk) -> Result<()> {
        if chunk.bytes() == b"bad" { Err(Error::new("bad")) } else { Ok(()) }
    }
}

#[test]
fn chunks_pass_one_by_one() {
    let host = Host::<Chunks>::configure("").unwrap();
    let stream = host.open();
    assert_eq!(host.request_headers(stream, GET, false), Action::Continue);
    for (chunk, end) in [("ab", false), ("cd", true)] {
        assert_eq!(host.body(Side::Request, stream, chunk.as_bytes(), end), Action::Continue);
        assert_eq!(host.take_body(Side::Request, stream), chunk.to_uppercase().into_bytes());
    }
}

#[test]
fn a_chunk_while_headers_wait_is_held_and_delivered_before_they_go_on() {
    let host = Host::<Chunks>::configure("").unwrap();
    let stream = host.open();
    assert_eq!(host.request_headers(stream, &[("x-ask", "")], false), Action::Pause);
    assert_eq!(host.body(Side::Request, stream, b"ab", false), Action::Pause);
    assert_eq!(host.body(Side::Request, stream, b"cd", true), Action::Pause);
    host.answer(1, &[(":status", "200")], b"");
    assert_eq!(host.take_body(Side::Request, stream), b"ABCD");
    assert_eq!(resumed(&host, stream), [Side::Request]);
}

#[test]
fn an_error_in_a_response_that_is_under_way_resets_it() {
    let host = Host::<Chunks>::configure("").unwrap();
    let stream = host.request(GET);
    assert_eq!(host.body(Side::Response, stream, b"bad", false), Action::Pause);
    assert!(host.reply(stream).is_none());
    assert_eq!(host.stream(stream, |stream| stream.closed.clone()), [Side::Response]);
}

#[test]
fn the_macro_sees_which_methods_are_there() {
    let Callbacks { on_request, on_request_chunk, on_response, on_response_chunk, on_log, .. } = Chunks::CALLBACKS;
    assert_eq!(
        [on_request, on_request_chunk, on_response, on_response_chunk, on_log],
        [true, true, false, true, false]
    );
}
