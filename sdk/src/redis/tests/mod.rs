//! Calls in filters of every kind, and replies as they come.

mod cluster;
mod replies;

use std::time::Duration;

use serde::Deserialize;

use super::*;
use crate::testing::{RedisAnswer, TcpTestHost, TestHost, TestRequest, World};
use crate::{
    ConfigError, Conn, Counter, Env, Flow, HttpFilter, Reply, Request, Result, StreamLog, TcpFilter, TcpFlow,
    http_filter, tcp_filter,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    user: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    database: u32,
    #[serde(default)]
    resp3: bool,
    #[serde(default)]
    endpoint: String,
}

/// What `Config` says, as a handle.
fn handle(config: &Config, env: &mut Env) -> Result<Redis, ConfigError> {
    let mut redis = env.redis("cache")?.login(&config.user, &config.password).database(config.database);
    if config.resp3 {
        redis = redis.resp3();
    }
    Ok(redis.endpoint(&config.endpoint).timeout(Duration::from_millis(20)))
}

/// Does what the path says, and tells how it went.
struct Asks {
    redis: Redis,
    script: Script,
}

#[http_filter]
impl HttpFilter for Asks {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        let redis = handle(&config, env)?;
        Ok(Self { redis, script: Script::new("return ARGV[1]") })
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        let said = match request.path() {
            b"/one" => self.redis.call(&["GET", "key"]).await.map(|value| format!("{value:?}")),
            b"/pipeline" => {
                let pipeline = self.redis.pipeline().command(&["SET", "key", "1"]).command(&["INCR", "key"]);
                pipeline.call().await.map(|values| format!("{values:?}"))
            }
            b"/none" => self.redis.pipeline().call().await.map(|values| format!("{values:?}")),
            b"/empty" => self.redis.call(&[""; 0]).await.map(|value| format!("{value:?}")),
            b"/many" => {
                let many = (0..1025).fold(self.redis.pipeline(), |pipeline, _| pipeline.command(&["PING"]));
                many.call().await.map(|values| format!("{}", values.len()))
            }
            _ => self.redis.eval(&self.script, &["k"], &["a", "b"]).await.map(|value| format!("{value:?}")),
        };
        Ok(Reply::text(200, said.unwrap_or_else(|error| error.to_string())).into())
    }

    fn on_log(&self, (): &mut (), _log: &StreamLog) {
        self.redis.pipeline().command(&["PUBLISH", "ends", "1"]).send().unwrap();
    }
}

fn asks(configuration: &str) -> TestHost<Asks> {
    TestHost::configure(configuration).unwrap()
}

/// Answers all commands but those of the end.
fn answers<A: Into<RedisAnswer> + Clone + 'static>(host: &mut TestHost<Asks>, answer: A) {
    host.redis("cache", move |command| match command.name().as_str() {
        "PUBLISH" => Value::Integer(0).into(),
        _ => answer.clone().into(),
    });
}

fn said(host: &mut TestHost<Asks>, path: &str) -> String {
    String::from_utf8_lossy(host.send(TestRequest::get(path)).body().bytes()).into_owned()
}

fn calls() -> Vec<crate::testing::RedisRecord> {
    World::with(|world| world.redis.clone())
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn a_command_gets_its_reply() {
    let mut host = asks("{}");
    answers(&mut host, Value::from("value"));
    assert_eq!(said(&mut host, "/one"), format!("{:?}", Value::from("value")));
    answers(&mut host, Value::Null);
    assert_eq!(said(&mut host, "/one"), "Null");
    answers(&mut host, Value::error("WRONGTYPE of key"));
    assert_eq!(said(&mut host, "/one"), "redis answered: WRONGTYPE of key");
    let first = &calls()[0];
    assert_eq!((first.cluster.as_str(), first.endpoint.as_str(), first.timeout), ("cache", "", 20));
    assert_eq!((first.greeting.len(), &first.commands[..]), (0, &[words(&["GET", "key"])][..]));
}

#[test]
fn the_end_of_a_stream_is_told_and_nobody_waits() {
    let mut host = asks("{}");
    host.redis("cache", |command| match command.name().as_str() {
        "PUBLISH" => RedisAnswer::hang(),
        _ => Value::ok().into(),
    });
    assert_eq!(said(&mut host, "/one"), "Status(\"OK\")");
    assert_eq!(calls()[1].commands, [words(&["PUBLISH", "ends", "1"])]);
    host.advance(Duration::from_secs(1));
    assert_eq!(host.open_streams(), 0);
}

#[test]
fn a_pipeline_is_one_call_and_has_errors_among_its_values() {
    let mut host = asks("{}");
    host.redis("cache", |command| match command.name().as_str() {
        "SET" => Value::ok(),
        "INCR" => Value::error("ERR overflow"),
        _ => Value::Integer(0),
    });
    assert_eq!(said(&mut host, "/pipeline"), "[Status(\"OK\"), Error(\"ERR overflow\")]");
    assert_eq!(calls()[0].commands, [words(&["SET", "key", "1"]), words(&["INCR", "key"])]);
}

#[test]
fn what_is_no_call_is_not_sent() {
    let mut host = asks("{}");
    answers(&mut host, Value::ok());
    assert_eq!(said(&mut host, "/none"), "[]");
    assert!(said(&mut host, "/empty").contains("at least its name"));
    assert!(said(&mut host, "/many").contains("at most 1024"));
    // Only what was said at the ends.
    assert!(calls().iter().all(|call| call.commands[0][0] == b"PUBLISH"));
}

#[test]
fn failures_are_told_apart() {
    let mut host = asks("{}");
    for (error, text) in [
        (RedisError::UnknownCluster, "unknown or not granted"),
        (RedisError::Connect("refused".to_owned()), "cannot be connected to: refused"),
        (RedisError::Timeout, "in time"),
        (RedisError::Closed, "closed before"),
        (RedisError::Greeting("WRONGPASS".to_owned()), "refused the login, the database or the protocol: WRONGPASS"),
        (RedisError::Overloaded, "too much waits"),
    ] {
        answers(&mut host, error);
        for path in ["/one", "/pipeline", "/eval"] {
            assert!(said(&mut host, path).contains(text), "{text}");
        }
    }
    World::with(|world| world.knows_fyke = false);
    let flight = host.start(TestRequest::get("/one"));
    World::with(|world| world.knows_fyke = true);
    assert!(String::from_utf8_lossy(host.finish(flight).body().bytes()).contains("fyke.redis.call.v1"));
    host.remove_cluster("cache");
    let flight = host.start(TestRequest::get("/one"));
    World::with(|world| world.gone.clear());
    assert!(String::from_utf8_lossy(host.finish(flight).body().bytes()).contains("not granted"));
}

#[test]
fn what_takes_too_long_ends_with_the_timeout() {
    let mut host = asks("{}");
    for (answer, milliseconds, text) in [
        (RedisAnswer::from(Value::ok()).after(Duration::from_millis(19)), 19, "Status(\"OK\")"),
        (RedisAnswer::from(RedisError::Closed).after(Duration::from_millis(5)), 5, "closed before"),
        (RedisAnswer::from(Value::ok()).after(Duration::from_millis(20)), 20, "in time"),
        (RedisAnswer::hang(), 20, "in time"),
    ] {
        answers(&mut host, answer);
        let flight = host.start(TestRequest::get("/one"));
        host.advance(Duration::from_millis(milliseconds) - Duration::from_nanos(1));
        assert!(!host.is_done(&flight), "{text}");
        host.advance(Duration::from_nanos(1));
        assert!(String::from_utf8_lossy(host.finish(flight).body().bytes()).contains(text), "{text}");
    }
}

#[test]
fn an_answer_for_a_stream_that_is_over_is_nobodys() {
    let mut host = asks("{}");
    answers(&mut host, RedisAnswer::from(Value::ok()).after(Duration::from_millis(10)));
    let flight = host.start(TestRequest::get("/one"));
    assert_eq!(held_by_streams(), 1);
    host.cancel(flight);
    assert_eq!((held_by_streams(), host.open_streams()), (0, 0));
    host.advance(Duration::from_secs(1));
    assert_eq!(said(&mut host, "/none"), "[]");
}

#[test]
fn connections_begin_with_who_it_is_and_where() {
    for (configuration, greeting) in [
        ("{}", &[][..]),
        ("{ password: p }", &[&["AUTH", "p"][..]][..]),
        ("{ user: u, password: p, database: 2 }", &[&["AUTH", "u", "p"], &["SELECT", "2"]]),
        ("{ resp3: true }", &[&["HELLO", "3"]]),
        ("{ resp3: true, password: p }", &[&["HELLO", "3", "AUTH", "default", "p"]]),
        ("{ resp3: true, user: u, password: p, database: 1 }", &[&["HELLO", "3", "AUTH", "u", "p"], &["SELECT", "1"]]),
    ] {
        let mut host = asks(configuration);
        answers(&mut host, Value::ok());
        let _ = said(&mut host, "/one");
        let expected: Vec<_> = greeting.iter().map(|command| words(command)).collect();
        assert_eq!(calls()[0].greeting, expected, "{configuration}");
    }
    let mut host = asks("endpoint: '10.0.0.1:6379'");
    host.redis("cache", |command| {
        assert_eq!(command.endpoint(), "10.0.0.1:6379");
        Value::ok()
    });
    let _ = said(&mut host, "/one");
}

#[test]
fn a_password_is_not_printed() {
    crate::mailbox::heard(true);
    World::reset();
    let redis = Redis::new("cache").login("u", "hunter2").database(3);
    let text = format!("{redis:?} {:?}", redis.pipeline());
    assert!(text.contains("cache") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_script_is_sent_once_and_then_known_by_its_hash() {
    let mut host = asks("{}");
    let mut known = false;
    host.redis("cache", move |command| match command.name().as_str() {
        "EVALSHA" if !known => Value::error("NOSCRIPT No matching script. Please use EVAL."),
        "EVAL" => {
            known = true;
            assert_eq!(command.argument(0), "return ARGV[1]");
            Value::from(vec![Value::from("a")])
        }
        "EVALSHA" => Value::error("ERR user_script:1: oops"),
        _ => Value::Integer(0),
    });
    assert_eq!(said(&mut host, "/eval"), format!("{:?}", Value::from(vec![Value::from("a")])));
    assert_eq!(said(&mut host, "/eval"), "redis answered: ERR user_script:1: oops");
    let sent: Vec<_> = calls().iter().map(|call| String::from_utf8_lossy(&call.commands[0][0]).into_owned()).collect();
    assert_eq!(sent, ["EVALSHA", "EVAL", "PUBLISH", "EVALSHA", "PUBLISH"]);
    // `printf 'return ARGV[1]' | sha1sum`
    let hash = "098e0f0d1448c0a81dafe820f66d460eb09263da";
    assert_eq!(calls()[0].commands, [words(&["EVALSHA", hash, "1", "k", "a", "b"])]);
}

#[test]
fn among_other_commands_a_script_goes_by_its_hash_or_with_its_text() {
    let (redis, script) = (Redis::new("cache"), Script::new("return ARGV[1]"));
    let pipeline = redis.pipeline().script(&script, &["k"], &["a", "b"]).script_text(&script, &["k"], &["a", "b"]);
    for (at, command, named) in [(0, "EVALSHA", script.hash()), (1, "EVAL", script.text())] {
        let mut wanted = Vec::new();
        resp::push_command(&mut wanted, &[command, named, "1", "k", "a", "b"]);
        assert_eq!(pipeline.bytes_of(at), wanted);
    }
}

#[test]
fn a_script_has_one_timeout_for_both_attempts() {
    let mut host = asks("{}");
    host.redis("cache", |command| match command.name().as_str() {
        "EVALSHA" => RedisAnswer::from(Value::error("NOSCRIPT")).after(Duration::from_millis(15)),
        _ => RedisAnswer::hang(),
    });
    let flight = host.start(TestRequest::get("/eval"));
    host.advance(Duration::from_millis(15));
    assert_eq!(calls()[1].timeout, 5);
    host.advance(Duration::from_millis(5));
    assert!(String::from_utf8_lossy(host.finish(flight).body().bytes()).contains("in time"));
}

/// Lets in whom Redis does not know.
struct Doorman {
    redis: Redis,
}

#[tcp_filter]
impl TcpFilter for Doorman {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        // What the attribute looks for is `redis`, wherever it is.
        Ok(Self { redis: handle(&config, env)? })
    }

    async fn on_connect(&self, (): &mut (), _connection: &mut Conn) -> Result<TcpFlow> {
        let known = self.redis.call(&["EXISTS", "banned"]).await?;
        Ok(if known.as_integer() == Some(0) { TcpFlow::Continue } else { TcpFlow::Close })
    }
}

#[test]
fn connections_ask_too() {
    let mut host = TcpTestHost::<Doorman>::configure("{}").unwrap();
    let mut asked = 0;
    host.redis("cache", move |_| {
        asked += 1;
        RedisAnswer::from(Value::Integer(asked - 1)).after(Duration::from_millis(1))
    });
    let first = host.connect();
    host.client_sends(&first, "hello");
    assert_eq!(host.upstream_got(&first), "");
    host.advance(Duration::from_millis(1));
    assert_eq!(host.upstream_got(&first), "hello");
    let second = host.connect();
    host.advance(Duration::from_millis(1));
    assert!(!host.is_open(&second));
    let third = host.connect();
    host.close(third);
    host.close(first);
    host.close(second);
}

/// Begins to ask and never lets go of it.
struct Hoards(Redis);

#[http_filter]
impl HttpFilter for Hoards {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self(env.redis("cache")?))
    }

    async fn on_request(&self, (): &mut (), _request: &mut Request) -> Result<Flow> {
        let mut call = Box::pin(self.0.call(&["PING"]));
        std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
        std::mem::forget(call);
        Ok(Flow::Continue)
    }
}

#[test]
#[should_panic(expected = "1 calls of Redis are still waited for")]
fn a_call_that_outlives_its_stream_is_found() {
    let mut host = TestHost::<Hoards>::configure("").unwrap();
    host.redis("cache", |_| RedisAnswer::hang());
    let _ = host.send(TestRequest::get("/"));
}

/// Asks again and again, beside the streams.
struct Polls;

#[http_filter]
impl HttpFilter for Polls {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        let redis = env.redis("cache")?;
        let seen: Counter<1> = env.counter("seen", ["text"])?;
        env.every(Duration::from_secs(1), move || {
            let (redis, seen) = (redis.clone(), seen.clone());
            async move {
                let value = redis.call(&["GET", "text"]).await?;
                seen.increment([value.as_str().unwrap_or_default()]);
                Ok(())
            }
        });
        Ok(Self)
    }
}

#[test]
fn tasks_ask_too() {
    let mut host = TestHost::<Polls>::configure("").unwrap();
    host.redis("cache", |_| RedisAnswer::from(Value::from("x")).after(Duration::from_millis(10)));
    host.advance(Duration::from_millis(3500));
    assert_eq!(host.counter("seen", [("text", "x")]), 4);
    host.redis("cache", |_| RedisError::Closed);
    host.advance(Duration::from_secs(1));
    assert!(host.logs().last().unwrap().contains("the connection to redis was closed"));
}

#[test]
fn a_filter_that_would_not_hear_of_it_is_told_when_it_is_configured() {
    crate::mailbox::heard(false);
    World::reset();
    let error = Env::new().redis("cache").unwrap_err();
    assert!(error.message().contains("answers"));
    crate::mailbox::heard(true);
    assert!(Env::new().redis("cache").is_ok() && Env::new().redis("").is_err());
}

#[test]
fn outside_of_what_waits_nothing_is_sent() {
    crate::mailbox::heard(true);
    World::reset();
    let redis = Redis::new("cache");
    let mut call = Box::pin(redis.call(&["PING"]));
    let polled = call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(polled, std::task::Poll::Ready(Err(RedisError::NobodyWaits(_)))));
    assert!(calls().is_empty());
}
