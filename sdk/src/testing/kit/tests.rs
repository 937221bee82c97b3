//! The kit, tested with filters whose behaviour is known.

use std::time::Duration;

use serde::Deserialize;

use super::*;
use crate::{
    Body, CallError, Chunk, Cluster, ConfigError, Counter, Data, Env, Flow, HttpFilter, HttpRequest, Reply, Request,
    Response, Result, TcpFilter, TcpFlow, http_filter, sleep, tcp_filter,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    cluster: String,
}

/// Asks a cluster twice, in sequence.
struct Asks {
    cluster: Cluster,
    denied: Counter<1>,
}

#[http_filter]
impl HttpFilter for Asks {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        if config.cluster == "bad" {
            return Err(ConfigError::at("cluster", "must not be bad"));
        }
        Ok(Self { cluster: env.cluster(&config.cluster)?, denied: env.counter("denied", ["reason"])? })
    }

    async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
        let first = match self.cluster.call(HttpRequest::get("/who")).timeout(Duration::from_secs(2)).await {
            Ok(answer) => answer,
            Err(error) => {
                let reason = if error == CallError::Timeout { "timeout" } else { "failure" };
                self.denied.increment([reason]);
                return Ok(Reply::text(504, error.to_string()).into());
            }
        };
        let second = self.cluster.call(HttpRequest::post("/what").body(first.body())).await?;
        request.set("x-answer", second.body())?;
        Ok(Flow::Continue)
    }
}

fn asks() -> TestHost<Asks> {
    TestHost::configure("cluster: oracle").unwrap()
}

#[test]
fn clusters_answer_and_the_upstream_sees_what_came_of_it() {
    let mut host = asks();
    host.cluster("oracle", |request| match request.method().bytes() {
        b"GET" => TestResponse::ok().body("alice"),
        _ => TestResponse::ok().body(format!("{} drinks tea", request.body())),
    });
    host.upstream(|request| TestResponse::new(201).header("x-seen", request.path().bytes()).body("made"));
    let out = host.send(TestRequest::get("/tea?hot"));
    assert_eq!(out.upstream().header("x-answer"), "alice drinks tea");
    assert_eq!((out.status(), out.header("x-seen").bytes(), out.body().bytes()), (201, &b"/tea?hot"[..], &b"made"[..]));
}

#[test]
fn time_stands_still_until_it_is_moved() {
    let mut host = asks();
    host.cluster("oracle", |_| TestResponse::hang());
    let flight = host.start(TestRequest::get("/"));
    host.advance(Duration::from_millis(1999));
    assert!(!host.is_done(&flight));
    host.advance(Duration::from_millis(1));
    assert_eq!(host.finish(flight).status(), 504);
    assert_eq!(host.counter("denied", [("reason", "timeout")]), 1);
    assert_eq!(host.counter("denied", [("reason", "failure")]), 0);
}

#[test]
fn failures_and_clusters_that_vanish_are_told_apart() {
    let mut host = asks();
    host.cluster("oracle", |_| TestResponse::reset());
    assert_eq!(host.send(TestRequest::get("/")).body(), "the callout failed on its way");
    host.remove_cluster("oracle");
    assert_eq!(host.send(TestRequest::get("/")).body(), "the callout's cluster is unknown or not granted");
    assert_eq!(host.counter("denied", [("reason", "failure")]), 2);
}

#[test]
fn an_error_costs_one_stream() {
    let mut host = asks();
    host.cluster("oracle", |request| match request.method().bytes() {
        b"GET" => TestResponse::ok(),
        _ => TestResponse::reset(),
    });
    let out = host.send(TestRequest::get("/"));
    assert_eq!(out.status(), 500);
    assert!(!out.reached_upstream());
    assert_eq!(host.logs(), ["a method of the filter failed: the callout failed on its way"]);
}

#[test]
fn refusals_and_reloads() {
    let error = TestHost::<Asks>::configure("cluster: bad").err().unwrap();
    assert_eq!((error.path(), error.message()), ("cluster", "must not be bad"));
    let error = TestHost::<Asks>::configure("{ cluster: a, clutser: b }").err().unwrap();
    assert_eq!(error.path(), "clutser");
    let mut host = asks();
    host.cluster("oracle", |_| TestResponse::hang());
    host.cluster("sibyl", |_| TestResponse::ok().body("new"));
    let old = host.start(TestRequest::get("/"));
    host.reload("cluster: sibyl").unwrap();
    assert_eq!(host.send(TestRequest::get("/")).upstream().header("x-answer"), "new");
    assert!(host.reload("cluster: bad").is_err());
    assert_eq!(host.send(TestRequest::get("/")).upstream().header("x-answer"), "new");
    host.advance(Duration::from_secs(2));
    assert_eq!(host.finish(old).status(), 504, "the stream keeps the filter with which it began");
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let mut host = asks();
    host.cluster("oracle", |_| TestResponse::hang());
    let flight = host.start(TestRequest::get("/"));
    assert_eq!(host.open_streams(), 1);
    host.cancel(flight);
    assert_eq!(host.open_streams(), 0);
}

#[test]
#[should_panic(expected = "a call of the cluster \"oracle\" has no answer")]
fn what_never_ends_says_what_it_waits_for() {
    let mut host = asks();
    host.cluster("oracle", |_| TestResponse::hang());
    let _ = host.send(TestRequest::get("/"));
}

#[test]
#[should_panic(expected = "say what it answers, with host.cluster(\"oracle\"")]
fn a_cluster_without_an_answer_is_named() {
    let _ = asks().send(TestRequest::get("/"));
}

#[test]
#[should_panic(expected = "1 streams are still open")]
fn a_forgotten_stream_is_found() {
    let mut host = asks();
    host.cluster("oracle", |_| TestResponse::hang());
    let _ = host.start(TestRequest::get("/"));
}

/// Upper case in both directions, the request in chunks and the response as a whole.
struct Upper;

#[http_filter]
impl HttpFilter for Upper {
    type Config = ();
    type Ctx = ();

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
        request.remove("content-length")?;
        if request.contains("x-late") {
            sleep(Duration::from_secs(1)).await;
        }
        Ok(Flow::Continue)
    }

    fn on_request_chunk(&self, _cx: &mut (), chunk: &mut Chunk) -> Result<()> {
        chunk.replace(chunk.bytes().to_ascii_uppercase())
    }

    async fn on_response_with_body(&self, _cx: &mut (), response: &mut Response, body: &mut Body) -> Result<Flow> {
        response.remove("content-length")?;
        body.replace(body.bytes().to_ascii_uppercase())?;
        Ok(Flow::Continue)
    }

    fn maximum_body(&self) -> usize {
        16
    }
}

#[test]
fn bodies_survive_every_chunking_and_a_wait() {
    let mut host = TestHost::<Upper>::configure("").unwrap();
    host.upstream(|request| TestResponse::ok().body(request.body().bytes()).trailer("x-end", "1"));
    host.every_chunking(TestRequest::post("/").body("hello"), |out| {
        assert_eq!((out.upstream().body().bytes(), out.body().bytes()), (&b"HELLO"[..], &b"HELLO"[..]));
        assert_eq!(out.trailer("x-end"), "1");
    });
    let flight = host.start(TestRequest::post("/").header("x-late", "1").chunks(["he", "llo"]));
    assert!(!host.is_done(&flight));
    host.advance(Duration::from_secs(1));
    assert_eq!(host.finish(flight).upstream().body(), "HELLO");
    host.every_response_chunking(TestRequest::get("/"), TestResponse::ok().body("hello"), |out| {
        assert_eq!(out.body(), "HELLO");
    });
    host.upstream(|_| TestResponse::ok().body("more than sixteen bytes"));
    assert_eq!(host.send(TestRequest::get("/")).status(), 502);
}

/// Asks over gRPC.
struct Grpc {
    cluster: Cluster,
}

#[http_filter]
impl HttpFilter for Grpc {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { cluster: env.cluster("g")? })
    }

    async fn on_response(&self, _cx: &mut (), response: &mut Response) -> Result<Flow> {
        let unary = self.cluster.grpc("a.B", "C").metadata("x-a", "1").send("one").await;
        response.set(
            "x-unary",
            unary.map_or_else(|error| error.to_string().into_bytes(), |answer| answer.message().to_vec()),
        )?;
        Ok(Flow::Continue)
    }
}

#[test]
fn grpc_is_answered_message_by_message() {
    let mut host = TestHost::<Grpc>::configure("").unwrap();
    host.grpc("g", |call| {
        assert_eq!((call.path(), call.metadata("x-a").unwrap().bytes()), ("/a.B/C", &b"1"[..]));
        GrpcAnswer::message([&call.messages()[0][..], b"!"].concat())
    });
    assert_eq!(host.send(TestRequest::get("/")).header("x-unary"), "one!");
    host.grpc("g", |_| GrpcAnswer::status(7, "no"));
    assert!(host.send(TestRequest::get("/")).header("x-unary").contains("no"));
    host.grpc("g", |_| GrpcAnswer::hang());
    let flight = host.start(TestRequest::get("/"));
    host.advance(Duration::from_secs(10));
    assert_eq!(host.finish(flight).status(), 200);
}

/// Lines pass whole.
struct WholeLines;

#[tcp_filter]
impl TcpFilter for WholeLines {
    type Config = ();
    type Ctx = ();

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_downstream(&self, (): &mut (), data: &mut Data) -> Result<TcpFlow> {
        let end = data.bytes().iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        data.pass(end as u64)?;
        Ok(TcpFlow::NeedMore)
    }
}

#[test]
fn what_a_filter_passes_comes_out_while_it_holds_the_rest() {
    let mut host = TcpTestHost::<WholeLines>::configure("").unwrap();
    host.every_chunking("one\ntwo\nth", |host, connection| {
        assert_eq!(host.upstream_got(connection), "one\ntwo\n");
        host.client_sends(connection, "ree\n");
        assert_eq!(host.upstream_got(connection), "one\ntwo\nthree\n");
        host.client_ends(connection);
    });
}
