//! Futures side by side, timers, tasks of the filter, gRPC, labels.

use std::rc::Rc;

use crate::abi::{Action, Level};
use crate::testing::{Host, World};
use crate::{
    CallError, Cluster, ConfigError, Counter, Either, Env, Flow, GrpcError, HttpFilter, HttpRequest, Request, Response,
    Result, http_filter, join, join_all, select, sleep, timeout,
};

use super::{Duration, GET, resumed};

struct Busy {
    app: Cluster,
    told: Counter<2>,
    refreshed: Rc<std::cell::Cell<u32>>,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[derive(serde::Deserialize)]
struct Config {
    #[serde(default)]
    refresh: bool,
}

#[http_filter]
impl HttpFilter for Busy {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        let app = env.cluster("app")?;
        let refreshed = Rc::new(std::cell::Cell::new(0));
        if config.refresh {
            let (app, refreshed) = (app.clone(), refreshed.clone());
            env.every(Duration::from_secs(10), move || {
                let (app, refreshed) = (app.clone(), refreshed.clone());
                async move {
                    app.call(HttpRequest::get("/keys")).await?;
                    refreshed.set(refreshed.get() + 1);
                    Ok(())
                }
            });
        }
        Ok(Self { app, told: env.counter("told_total", ["how", "what"])?, refreshed })
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        let call = |path| self.app.call(HttpRequest::get(path));
        let said = match request.get_str("x-do")?.unwrap_or_default() {
            "join" => {
                let (one, two) = join(call("/1"), call("/2")).await;
                [one?.body(), two?.body()].concat()
            }
            "all" => join_all((0..3).map(|_| call("/n")))
                .await
                .into_iter()
                .flatten()
                .flat_map(|a| a.body().to_vec())
                .collect(),
            "select" => match select(call("/1"), call("/2")).await {
                Either::Left(answer) | Either::Right(answer) => answer?.body().to_vec(),
            },
            "timeout" => match timeout(ms(50), call("/1")).await {
                Ok(answer) => answer?.body().to_vec(),
                Err(elapsed) => elapsed.to_string().into_bytes(),
            },
            "sleep" => {
                sleep(ms(20)).await;
                b"rested".to_vec()
            }
            "grpc" => match self.app.grpc("a.B", "C").metadata("k", "v").timeout(ms(70)).send(*b"hi").await {
                Ok(answer) => answer.into_message(),
                Err(error) => error.to_string().into_bytes(),
            },
            "stream" => {
                let mut stream = self.app.grpc("a.B", "D").stream()?;
                stream.send(b"one")?;
                let mut said = stream.next().await?.unwrap_or_default();
                stream.send(b"two")?;
                stream.finish();
                while let Some(message) = stream.next().await? {
                    said.extend(message);
                }
                said
            }
            _ => Vec::new(),
        };
        self.told.increment([request.get_str("x-do")?.unwrap_or_default(), "x"]);
        request.set("x-said", said)?;
        Ok(Flow::Continue)
    }

    async fn on_response(&self, (): &mut (), response: &mut Response) -> Result<Flow> {
        response.set("x-refreshed", self.refreshed.get().to_string())?;
        Ok(Flow::Continue)
    }
}

fn busy() -> Host<Busy> {
    Host::configure("{}").unwrap()
}

fn ask(host: &Host<Busy>, what: &str) -> u32 {
    let mut headers = GET.to_vec();
    headers.push(("x-do", what));
    host.request(&headers)
}

fn said(host: &Host<Busy>, stream: u32) -> Option<String> {
    host.request_header(stream, "x-said")
}

const OK: &[(&str, &str)] = &[(":status", "200")];

#[test]
fn join_sends_both_and_waits_for_both_in_any_order() {
    let host = busy();
    let stream = ask(&host, "join");
    assert_eq!(World::with(|world| world.calls.len()), 2);
    host.answer(2, OK, b"b");
    assert_eq!(said(&host, stream), None);
    host.answer(1, OK, b"a");
    assert_eq!(said(&host, stream).unwrap(), "ab");
    assert_eq!(resumed(&host, stream).len(), 1);
}

#[test]
fn join_all_keeps_the_order() {
    let host = busy();
    let stream = ask(&host, "all");
    for (token, body) in [(3, b"3"), (1, b"1"), (2, b"2")] {
        assert_eq!(said(&host, stream), None);
        host.answer(token, OK, body);
    }
    assert_eq!(said(&host, stream).unwrap(), "123");
}

#[test]
fn select_takes_the_first_and_ignores_the_other() {
    let host = busy();
    let stream = ask(&host, "select");
    host.answer(2, OK, b"second");
    assert_eq!(said(&host, stream).unwrap(), "second");
    host.answer(1, OK, b"first");
    assert_eq!((said(&host, stream).unwrap().as_str(), resumed(&host, stream).len()), ("second", 1));
}

#[test]
fn a_timeout_ends_a_wait_and_the_timer_stops() {
    let host = busy();
    let stream = ask(&host, "timeout");
    host.advance(ms(49));
    assert_eq!(said(&host, stream), None);
    host.advance(ms(1));
    assert_eq!(said(&host, stream).unwrap(), "the time was up");
    assert_eq!(World::with(|world| world.tick), None);
    // In time: nobody waits for the timer any more, and it stops when it fires next.
    let stream = ask(&host, "timeout");
    host.answer(2, OK, b"quick");
    assert_eq!(said(&host, stream).unwrap(), "quick");
    host.advance(ms(60));
    assert_eq!(World::with(|world| world.tick), None);
}

#[test]
fn sleepers_wake_in_the_order_of_their_time_and_a_stream_that_is_gone_does_not() {
    let host = busy();
    let first = ask(&host, "sleep");
    host.advance(ms(15));
    let second = ask(&host, "sleep");
    let gone = ask(&host, "sleep");
    host.finish(gone);
    host.advance(ms(5));
    assert_eq!((said(&host, first).as_deref(), said(&host, second)), (Some("rested"), None));
    host.advance(ms(15));
    assert_eq!(said(&host, second).unwrap(), "rested");
    assert_eq!(World::with(|world| world.tick), None);
}

#[test]
fn a_unary_grpc_call_brings_its_message_or_its_status() {
    let host = busy();
    let stream = ask(&host, "grpc");
    let call = World::with(|world| world.grpc[0].clone());
    assert_eq!((call.path.as_str(), call.timeout, call.sent), ("/a.B/C", Some(70), vec![b"hi".to_vec()]));
    assert_eq!(call.metadata, [(b"k".to_vec(), b"v".to_vec())]);
    host.grpc_message(1, b"there");
    assert_eq!(said(&host, stream).unwrap(), "there");
    assert!(!World::with(|world| world.grpc[0].cancelled));
    let stream = ask(&host, "grpc");
    host.grpc_close(2, 14, "no connection");
    assert_eq!(said(&host, stream).unwrap(), "gRPC status 14: no connection");
    let gone = ask(&host, "grpc");
    host.finish(gone);
    assert!(World::with(|world| world.grpc[2].cancelled));
    host.grpc_message(3, b"late");
}

#[test]
fn a_grpc_stream_brings_every_message_and_then_its_end() {
    let host = busy();
    let stream = ask(&host, "stream");
    host.grpc_message(1, b"a");
    host.grpc_message(1, b"b");
    host.grpc_message(1, b"");
    host.grpc_close(1, 0, "");
    assert_eq!(said(&host, stream).unwrap(), "ab");
    let call = World::with(|world| world.grpc[0].clone());
    assert_eq!((call.sent, call.finished, call.cancelled), (vec![b"one".to_vec(), b"two".to_vec()], true, false));
    let failing = ask(&host, "stream");
    host.grpc_close(2, 8, "too much");
    assert_eq!(host.reply(failing).unwrap().status, 500);
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_at_the_call() {
    let host = Host::<Busy>::configure_in("{}", |world| world.clusters = Some(Vec::new())).unwrap();
    let stream = ask(&host, "grpc");
    assert_eq!(said(&host, stream).unwrap(), GrpcError::UnknownCluster.to_string());
    let stream = ask(&host, "join");
    assert!(World::with(|world| world
        .logs
        .iter()
        .any(|(_, line)| line.contains(&CallError::UnknownCluster.to_string()))));
    assert_eq!(host.reply(stream).unwrap().status, 500);
}

#[test]
fn a_task_runs_at_once_and_then_every_period_and_its_failures_are_logged() {
    let host = Host::<Busy>::configure(r#"{"refresh": true}"#).unwrap();
    let calls = || World::with(|world| world.calls.len());
    assert_eq!(calls(), 0);
    host.advance(ms(1));
    assert_eq!(calls(), 1);
    host.answer(1, OK, b"");
    host.advance(Duration::from_secs(10));
    assert_eq!(calls(), 2);
    // One at a time: nothing more while the second waits.
    host.advance(Duration::from_secs(30));
    assert_eq!(calls(), 2);
    host.answer(2, &[], b"");
    assert!(World::with(|world| world
        .logs
        .iter()
        .any(|(level, line)| *level == Level::Error && line.contains("a task"))));
    host.advance(ms(1));
    assert_eq!(calls(), 3);
    let stream = host.request(GET);
    assert_eq!(host.response_headers(stream, OK, true), Action::Continue);
    assert_eq!(host.response_header(stream, "x-refreshed").unwrap(), "1");
    // A new configuration without the task ends it.
    host.reconfigure("{}").unwrap();
    host.answer(3, OK, b"");
    host.advance(Duration::from_secs(60));
    assert_eq!((calls(), World::with(|world| world.tick)), (3, None));
}

#[test]
fn labels_are_labels_on_fyke_and_part_of_the_name_elsewhere() {
    let host = busy();
    ask(&host, "none");
    ask(&host, "none");
    World::with(|world| {
        let metric = &world.labelled[0];
        assert_eq!(
            (metric.name.as_str(), metric.labels.as_slice()),
            ("told_total", ["how".to_owned(), "what".to_owned()].as_slice())
        );
        assert_eq!(metric.series[&vec!["none".to_owned(), "x".to_owned()]], [2]);
    });
    let host = Host::<Busy>::configure_in("{}", |world| world.knows_fyke = false).unwrap();
    ask(&host, "a;.b");
    ask(&host, "a;.b");
    for number in 0..1_100 {
        ask(&host, &format!("n{number}"));
    }
    World::with(|world| {
        let (_, name, values) = &world.metrics[0];
        assert_eq!((name.as_str(), values.as_slice()), ("told_total.how=.=a;_b;.what=.=x;", [2_i64].as_slice()));
        let (_, name, values) = world.metrics.last().unwrap();
        assert_eq!(
            (name.as_str(), values.as_slice()),
            ("told_total.how=.=_overflow;.what=.=_overflow;", [101_i64].as_slice())
        );
        assert_eq!(world.metrics.len(), 1_001);
    });
}
