//! The rules of the module's essay, one test each.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use crate::abi::{Action, Level, Side};
use crate::testing::{Host, World};
use crate::{
    CallError, Cluster, ConfigError, Env, Flow, HttpFilter, HttpRequest, Present, Reply, Request, Response, Result,
    StreamLog, http_filter,
};

mod bodies;
mod chunks;
mod stateless;
mod tasks;

thread_local! {
    static DROPPED: Cell<usize> = const { Cell::new(0) };
    static LOGGED: Cell<Option<u32>> = const { Cell::new(None) };
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    cluster: String,
}

/// Asks a cluster about every request, twice if it says so.
struct Asking {
    cluster: Cluster,
}

#[derive(Default)]
struct Steps(u32);

struct CountsDrops;

impl Drop for CountsDrops {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
    }
}

#[http_filter]
impl HttpFilter for Asking {
    type Config = Config;
    type Ctx = Steps;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { cluster: env.cluster(&config.cluster)? })
    }

    async fn on_request(&self, cx: &mut Steps, request: &mut Request) -> Result<Flow> {
        let _witness = CountsDrops;
        cx.0 += 1;
        if request.contains("x-skip") {
            return Ok(Flow::Continue);
        }
        let first = self.cluster.call(HttpRequest::get("/one")).timeout(Duration::from_millis(100)).await?;
        cx.0 += 1;
        request.set("x-first", first.body())?;
        if first.status() == 403 {
            return Ok(Reply::new(403).into());
        }
        if first.status() == 202 {
            self.cluster.call(HttpRequest::post("/two").body("more")).await?;
            cx.0 += 1;
        }
        Ok(Flow::Continue)
    }

    async fn on_response(&self, cx: &mut Steps, response: &mut Response) -> Result<Flow> {
        response.set("x-steps", cx.0.to_string())?;
        Ok(Flow::Continue)
    }

    fn on_log(&self, cx: &mut Steps, _log: &StreamLog) {
        LOGGED.set(Some(cx.0));
    }
}

const CONFIG: &str = r#"{"cluster": "authz"}"#;
const GET: &[(&str, &str)] = &[(":method", "GET"), (":path", "/")];

fn asking() -> Host<Asking> {
    DROPPED.set(0);
    LOGGED.set(None);
    Host::configure(CONFIG).unwrap()
}

fn resumed<F: HttpFilter + Present>(host: &Host<F>, stream: u32) -> Vec<Side> {
    host.stream(stream, |stream| stream.resumed.clone())
}

#[test]
fn a_call_pauses_and_its_answer_resumes() {
    let host = asking();
    let stream = host.open();
    assert_eq!(host.request_headers(stream, GET, true), Action::Pause);
    let call = World::with(|world| world.calls[0].clone());
    assert_eq!((call.cluster.as_str(), call.timeout), ("authz", 100));
    assert!(call.headers.contains(&(b":authority".to_vec(), b"authz".to_vec())));
    host.answer(1, &[(":status", "200")], b"yes");
    assert_eq!(resumed(&host, stream), [Side::Request]);
    assert_eq!(host.request_header(stream, "x-first").unwrap(), "yes");
    assert_eq!(host.response_headers(stream, &[(":status", "200")], true), Action::Continue);
    assert_eq!(host.response_header(stream, "x-steps").unwrap(), "2");
    host.finish(stream);
    assert_eq!((LOGGED.get(), host.runtime().streams()), (Some(2), 0));
}

#[test]
fn two_calls_in_a_row_pause_until_the_second() {
    let host = asking();
    let stream = host.request(GET);
    host.answer(1, &[(":status", "202")], b"");
    assert!(resumed(&host, stream).is_empty());
    host.answer(2, &[(":status", "200")], b"");
    assert_eq!(resumed(&host, stream), [Side::Request]);
}

#[test]
fn streams_wait_independently_of_each_other() {
    let host = asking();
    let (first, second) = (host.request(GET), host.request(GET));
    host.answer(2, &[(":status", "200")], b"2");
    assert_eq!((resumed(&host, first).len(), resumed(&host, second).len()), (0, 1));
    host.answer(1, &[(":status", "200")], b"1");
    assert_eq!(host.request_header(first, "x-first").unwrap(), "1");
    assert_eq!(host.request_header(second, "x-first").unwrap(), "2");
}

#[test]
fn a_method_that_does_not_wait_does_not_pause() {
    let host = asking();
    let stream = host.open();
    assert_eq!(host.request_headers(stream, &[(":method", "GET"), ("x-skip", "")], true), Action::Continue);
    assert!(resumed(&host, stream).is_empty());
}

#[test]
fn the_response_phase_cancels_a_request_that_waits_and_keeps_its_ctx() {
    let host = asking();
    let stream = host.request(GET);
    assert_eq!(DROPPED.get(), 0);
    host.response_headers(stream, &[(":status", "503")], true);
    assert_eq!(DROPPED.get(), 1);
    assert_eq!(host.response_header(stream, "x-steps").unwrap(), "1");
    host.answer(1, &[(":status", "200")], b"late");
    assert!(resumed(&host, stream).is_empty());
    assert_eq!(host.request_header(stream, "x-first"), None);
}

#[test]
fn log_and_delete_cancel_too() {
    let host = asking();
    let stream = host.request(GET);
    host.finish(stream);
    assert_eq!((DROPPED.get(), LOGGED.get()), (1, Some(1)));
    host.answer(1, &[(":status", "200")], b"late");
    assert_eq!(host.runtime().streams(), 0);
}

#[test]
fn after_a_reply_nothing_resumes() {
    let host = asking();
    let stream = host.request(GET);
    host.answer(1, &[(":status", "403")], b"");
    assert_eq!(host.reply(stream).unwrap().status, 403);
    assert!(resumed(&host, stream).is_empty());
    assert_eq!(host.request_headers(stream, GET, true), Action::Pause);
}

#[test]
fn an_answer_without_headers_is_a_failure_and_costs_the_stream() {
    let host = asking();
    let stream = host.request(GET);
    host.answer(1, &[], b"");
    let reply = host.reply(stream).unwrap();
    assert_eq!((reply.status, reply.details.as_str()), (500, "filter_error"));
    let (level, line) = World::with(|world| world.logs.pop()).unwrap();
    assert_eq!((level, line.as_str()), (Level::Error, "a method of the filter failed: the callout failed on its way"));
    let late = host.request(GET);
    World::with(|world| world.now += 200_000_000);
    host.answer(2, &[], b"");
    assert!(host.reply(late).is_some());
    assert!(World::with(|world| world.logs.pop()).unwrap().1.ends_with("timed out"));
}

#[test]
fn an_unknown_cluster_is_an_error_at_the_call() {
    let host = asking();
    World::with(|world| world.clusters = Some(vec![]));
    let stream = host.request(GET);
    assert_eq!(host.reply(stream).unwrap().details, "filter_error");
    assert!(World::with(|world| world.logs.pop()).unwrap().1.contains("unknown or not granted"));
}

#[test]
fn answers_that_nobody_asked_for_are_ignored() {
    let host = asking();
    let stream = host.request(GET);
    host.answer(77, &[(":status", "200")], b"");
    assert!(resumed(&host, stream).is_empty());
    host.answer(1, &[(":status", "200")], b"");
    host.answer(1, &[(":status", "200")], b"again");
    assert_eq!(resumed(&host, stream), [Side::Request]);
}

#[test]
fn a_refused_configuration_leaves_the_old_one_and_streams_keep_theirs() {
    let host = asking();
    let old = host.request(GET);
    let error = host.reconfigure(r#"{"clusterr": "x"}"#).unwrap_err();
    assert_eq!(error.to_string(), "clusterr: unknown field `clusterr`, expected `cluster`");
    host.request(GET);
    assert_eq!(World::with(|world| world.calls[1].cluster.clone()), "authz");
    host.reconfigure(r#"{"cluster": "other"}"#).unwrap();
    host.request(GET);
    assert_eq!(World::with(|world| world.calls[2].cluster.clone()), "other");
    host.answer(1, &[(":status", "202")], b"");
    assert_eq!(World::with(|world| world.calls[3].cluster.clone()), "authz");
    assert!(resumed(&host, old).is_empty());
}

#[test]
fn tasks_are_used_again() {
    let host = asking();
    for _ in 0..100 {
        let stream = host.request(&[(":method", "GET"), ("x-skip", "")]);
        host.finish(stream);
    }
    assert_eq!(host.runtime().idle.borrow().len(), 1);
}

#[test]
fn a_stream_without_a_configured_filter_fails_closed() {
    let host = asking();
    host.runtime().on_context_create(500, 499);
    World::with(|world| world.effective = 500);
    assert_eq!(host.runtime().on_headers(Side::Request, 500, true), Action::Pause);
    assert_eq!(host.reply(500).unwrap().details, "filter_not_configured");
}

/// Calls two clusters at once and takes whichever answers first.
struct Racing(Cluster, Cluster);

#[http_filter]
impl HttpFilter for Racing {
    type Config = ();
    type Ctx = ();

    fn configure(_: (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self(env.cluster("a")?, env.cluster("b")?))
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow> {
        let mut a = Box::pin(self.0.call(HttpRequest::get("/")).into_future());
        let mut b = Box::pin(self.1.call(HttpRequest::get("/")).into_future());
        let first = poll_fn(|cx| match (a.as_mut().poll(cx), b.as_mut().poll(cx)) {
            (Poll::Ready(answer), _) | (_, Poll::Ready(answer)) => Poll::Ready(answer),
            _ => Poll::Pending,
        });
        request.set("x-first", first.await?.body())?;
        Ok(Flow::Continue)
    }
}

#[test]
fn ordinary_futures_join_and_race() {
    let host = Host::<Racing>::configure("").unwrap();
    let stream = host.request(GET);
    assert_eq!(World::with(|world| world.calls.len()), 2);
    host.answer(2, &[(":status", "200")], b"b");
    assert_eq!(host.request_header(stream, "x-first").unwrap(), "b");
    host.answer(1, &[(":status", "200")], b"a");
    assert_eq!(resumed(&host, stream), [Side::Request]);
}

#[test]
fn roots_of_one_instance_have_their_own_filters() {
    let host = asking();
    World::with(|world| world.configuration = br#"{"cluster": "second"}"#.to_vec());
    host.runtime().on_context_create(900, 0);
    assert!(host.runtime().on_configure(900, 21));
    host.runtime().on_context_create(901, 900);
    World::with(|world| world.effective = 901);
    host.runtime().on_headers(Side::Request, 901, true);
    assert_eq!(World::with(|world| world.calls[0].cluster.clone()), "second");
    host.runtime().on_delete(900);
    host.runtime().on_context_create(902, 900);
    assert_eq!(host.runtime().streams(), 1);
}

#[test]
fn a_call_outside_of_a_stream_is_not_sent() {
    World::reset();
    let mut call = Box::pin(Cluster::new("a").call(HttpRequest::get("/")).into_future());
    let answer = call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Err(CallError::Cancelled))));
    assert!(World::with(|world| world.calls.is_empty()));
}
