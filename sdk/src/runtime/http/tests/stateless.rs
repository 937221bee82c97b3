//! Filters whose streams need no context: what they tell the host, and what happens when it calls them without one.

use std::cell::Cell;

use crate::abi::{Action, MapKind, Side};
use crate::testing::{Host, World};
use crate::{ConfigError, Env, Flow, HttpFilter, Reply, Request, Response, Result, http_filter};

#[derive(Default, serde::Deserialize)]
struct Config {
    #[serde(default)]
    answers: bool,
}

/// Counts its requests, and answers if it is told to.
struct Counting {
    answers: bool,
    seen: Cell<u32>,
}

#[http_filter]
impl HttpFilter for Counting {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { answers: config.answers, seen: Cell::new(0) })
    }

    fn wants_response(&self) -> bool {
        !self.answers
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        self.seen.set(self.seen.get() + 1);
        request.set("x-seen", self.seen.get().to_string())?;
        if self.answers { Ok(Reply::new(403).into()) } else { Ok(Flow::Continue) }
    }

    async fn on_response(&self, (): &mut (), response: &mut Response) -> Result<Flow> {
        let end = response.end_of_stream().to_string();
        response.set("x-end", end)?;
        Ok(Flow::Continue)
    }
}

#[derive(Default)]
struct Kept(u32);

/// Remembers its request until the response.
struct Keeping;

#[http_filter]
impl HttpFilter for Keeping {
    type Config = ();
    type Ctx = Kept;

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_request(&self, cx: &mut Kept, _request: &mut Request) -> Result<Flow> {
        cx.0 = 7;
        Ok(Flow::Continue)
    }

    async fn on_response(&self, cx: &mut Kept, response: &mut Response) -> Result<Flow> {
        response.set("x-kept", cx.0.to_string())?;
        Ok(Flow::Continue)
    }
}

#[derive(Default, serde::Deserialize)]
struct Memory {
    keeps: bool,
}

/// Selects again when it is asked, and counts how often in its `Ctx`.
struct Routing {
    keeps: bool,
}

#[http_filter]
impl HttpFilter for Routing {
    type Config = Memory;
    type Ctx = Kept;

    fn configure(config: Memory, _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { keeps: config.keeps })
    }

    fn keeps_ctx(&self) -> bool {
        self.keeps
    }

    async fn on_request(&self, cx: &mut Kept, request: &mut Request) -> Result<Flow> {
        self.on_reroute(cx, request)
    }

    fn on_reroute(&self, cx: &mut Kept, request: &mut Request) -> Result<Flow> {
        cx.0 += 1;
        request.set("x-times", cx.0.to_string())?;
        if request.get("x-refuse").is_some() { Ok(Reply::new(404).into()) } else { Ok(Flow::Continue) }
    }
}

fn skipped() -> Option<String> {
    World::with(|world| world.skipped.take())
}

#[test]
fn the_host_hears_what_a_configuration_has_no_use_for() {
    let _host = Host::<Counting>::configure("{}").unwrap();
    assert_eq!(skipped().as_deref(), Some("context_create"));
    let _host = Host::<Counting>::configure(r#"{"answers": true}"#).unwrap();
    assert_eq!(skipped().as_deref(), Some("response_headers,context_create"));
    let host = Host::<Keeping>::configure("").unwrap();
    assert_eq!(skipped(), None);
    let stream = host.request(&[(":path", "/")]);
    host.response_headers(stream, &[(":status", "200")], true);
    assert_eq!(host.response_header(stream, "x-kept").unwrap(), "7");
}

/// What a host does that took the hint: it calls with the root's id.
#[test]
fn callbacks_with_the_roots_id_run_without_a_stream() {
    let host = Host::<Counting>::configure("{}").unwrap();
    let root = 1;
    for count in ["1", "2"] {
        World::with(|world| {
            world.effective = root;
            world.stream_mut(root).set_headers(MapKind::RequestHeaders, &[(":path", "/")]);
            world.stream_mut(root).set_headers(MapKind::ResponseHeaders, &[(":status", "200")]);
        });
        assert_eq!(host.runtime().on_headers(Side::Request, root, true), Action::Continue);
        assert_eq!(host.request_header(root, "x-seen").unwrap(), count);
        assert_eq!(host.runtime().on_headers(Side::Response, root, true), Action::Continue);
        assert_eq!(host.response_header(root, "x-end").unwrap(), "true");
    }
    assert_eq!(host.runtime().streams(), 0);
}

#[test]
fn a_filter_that_remembers_nothing_selects_again_without_a_stream() {
    let host = Host::<Routing>::configure(r#"{"keeps": true}"#).unwrap();
    assert_eq!(skipped(), None);
    let stream = host.request(&[(":path", "/")]);
    host.reroute(stream);
    assert_eq!(host.request_header(stream, "x-times").unwrap(), "2");

    let host = Host::<Routing>::configure(r#"{"keeps": false}"#).unwrap();
    assert_eq!(skipped().as_deref(), Some("context_create"));
    World::with(|world| {
        world.effective = 1;
        world.stream_mut(1).set_headers(MapKind::RequestHeaders, &[(":path", "/")]);
    });
    assert_eq!(host.runtime().on_headers(Side::Request, 1, true), Action::Continue);
    host.reroute(1);
    assert_eq!(host.request_header(1, "x-times").unwrap(), "1");
    assert!(host.reply(1).is_none());
    World::with(|world| world.stream_mut(1).set_headers(MapKind::RequestHeaders, &[("x-refuse", "1")]));
    host.reroute(1);
    assert_eq!((host.reply(1).unwrap().status, host.runtime().streams()), (404, 0));
}

#[test]
fn a_reply_without_a_stream_is_sent_and_pauses() {
    let host = Host::<Counting>::configure(r#"{"answers": true}"#).unwrap();
    World::with(|world| {
        world.effective = 1;
        world.stream_mut(1).set_headers(MapKind::RequestHeaders, &[(":path", "/")]);
    });
    assert_eq!(host.runtime().on_headers(Side::Request, 1, true), Action::Pause);
    assert_eq!(host.reply(1).unwrap().status, 403);
}
