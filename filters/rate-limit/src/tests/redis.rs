//! Global limits that Redis counts: the filter natively, the script in a real server, whose time is the simulated one.

mod outages;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fyke_peers::{Answer, RedisClient, RedisServer};
use fyke_sdk::RedisError;
use fyke_sdk::redis::Value;
use fyke_sdk::testing::{
    Host, Outcome, RedisAnswer, RedisReceived, Ring, TcpTestHost, TestHost, TestRequest, TestResponse, World,
};

use super::{header, host, of, passed, rule};
use crate::RateLimit;

/// A server, what was asked of it, and what happens on the way.
struct Store {
    client: RefCell<RedisClient>,
    /// Calls of the script.
    calls: Cell<usize>,
    /// Of those, calls with its text.
    texts: Cell<usize>,
    fails: RefCell<Option<RedisError>>,
    late: Cell<Duration>,
    _server: RedisServer,
}

impl Store {
    /// `None`, where there is no server; and in other rings, where nobody stands for one.
    fn start() -> Option<Rc<Self>> {
        if TestHost::<RateLimit>::configure("").unwrap().ring() != Ring::Native {
            return None;
        }
        let server = RedisServer::start()?;
        Some(Rc::new(Self {
            client: RefCell::new(server.connect()),
            calls: Cell::new(0),
            texts: Cell::new(0),
            fails: RefCell::default(),
            late: Cell::new(Duration::ZERO),
            _server: server,
        }))
    }

    fn serve(self: &Rc<Self>) -> impl FnMut(&RedisReceived) -> RedisAnswer + 'static {
        let store = Rc::clone(self);
        move |received| {
            store.calls.set(store.calls.get() + 1);
            store.texts.set(store.texts.get() + usize::from(received.name() == "EVAL"));
            if let Some(error) = store.fails.borrow().clone() {
                return error.into();
            }
            let mut command = received.command().to_vec();
            let keys: usize = String::from_utf8_lossy(&command[2]).parse().unwrap();
            command[3 + keys] = (World::with(|world| world.now) / 1_000).to_string().into_bytes();
            RedisAnswer::from(value(store.call(&command))).after(store.late.get())
        }
    }

    fn call(&self, command: &[impl AsRef<[u8]>]) -> Answer {
        self.client.borrow_mut().call(command)
    }

    /// How often it was asked since the last time.
    fn asked(&self) -> usize {
        self.calls.replace(0)
    }

    /// How many places are taken of a limit on those at the same time.
    fn held(&self, key: &str) -> i64 {
        match self.call(&["ZCARD", key]) {
            Answer::Integer(count) => count,
            other => panic!("{other:?}"),
        }
    }
}

pub fn value(answer: Answer) -> Value {
    match answer {
        Answer::Null => Value::Null,
        Answer::Integer(number) => Value::Integer(number),
        Answer::Bytes(bytes) => Value::Bytes(bytes),
        Answer::List(answers) => Value::Array(answers.into_iter().map(value).collect()),
        Answer::Error(text) => Value::error(text),
    }
}

/// A process with one rule, before a server.
fn process(store: &Rc<Store>, redis: &str, rule: &str) -> TestHost<RateLimit> {
    of_rules(store, redis, &format!("{{ name: r, global: true, {rule} }}"))
}

fn of_rules(store: &Rc<Store>, redis: &str, rules: &str) -> TestHost<RateLimit> {
    let mut host = host(&format!("{{ domain: shop, redis: {{ cluster: store, {redis} }}, rules: [{rules}] }}"));
    host.redis("store", store.serve());
    host
}

const TENANT: &str = "key: [{ from: { request_header: x-tenant } }]";

#[test]
fn what_one_process_has_counted_the_next_one_knows() {
    let Some(store) = Store::start() else { return };
    let mut first = process(&store, "", &format!("{TENANT}, limit: 10/s"));
    assert_eq!(passed(&mut first, &of("a"), 7), 7);
    assert_eq!(passed(&mut first, &of("b"), 15), 10);
    drop(first);
    let mut second = process(&store, "", &format!("{TENANT}, limit: 10/s"));
    assert_eq!(passed(&mut second, &of("a"), 7), 3);
    second.advance(Duration::from_millis(100));
    assert_eq!(passed(&mut second, &of("a"), 7), 1);
    // It is about nobody who has no key, and then nobody is asked.
    let _ = store.asked();
    assert_eq!(passed(&mut second, &TestRequest::get("/"), 7), 7);
    assert_eq!(store.asked(), 0);
    let Answer::List(mut keys) = store.call(&["KEYS", "*"]) else { panic!("no keys") };
    keys.sort_by_key(|key| format!("{key:?}"));
    let name = |tenant: &str| Answer::Bytes(format!("fyke:limit:shop:r:{tenant}:r0").into_bytes());
    assert_eq!(keys, [name("a"), name("b")]);
}

/// What a client is told.
fn told(outcome: &Outcome) -> (u16, Option<String>, [Option<String>; 3]) {
    let fields = ["ratelimit", "ratelimit-policy", "retry-after"].map(|name| header(outcome, name));
    (outcome.status(), (outcome.status() == 429).then(|| format!("{:?}", outcome.body())), fields)
}

#[test]
fn clients_are_told_the_same_as_of_local_limits() {
    let Some(store) = Store::start() else { return };
    for (number, limit) in [
        "limit: 3/10s",
        "limit: { rate: 7/s, burst: 3, sustained: 20/m }",
        "limit: { quota: 4/m }",
        "limit: { concurrency: 5 }",
        "limit: { rate: 100/s, quota: 6/d }, cost: 2",
        "limit: 5/m, cost: { from: { request_header: x-cost } }",
    ]
    .into_iter()
    .enumerate()
    {
        let sequence = |mut host: TestHost<RateLimit>| {
            let mut all = Vec::new();
            for step in [0, 50, 900, 3_000, 10_000, 70_000] {
                host.advance(Duration::from_millis(step));
                for _ in 0..5 {
                    all.push(told(&host.send(of("a").header("x-cost", "2"))));
                }
            }
            let counts = ["ok", "near", "over", "shadow", "error"]
                .map(|outcome| host.counter("rate_limit_total", [("rule", "r"), ("outcome", outcome)]));
            (all, counts)
        };
        let local = sequence(rule(limit));
        let global = sequence(process(&store, &format!("prefix: 'p{number}:'"), limit));
        assert_eq!(global, local, "{limit}");
    }
}

#[test]
fn a_request_costs_one_round_trip_and_takes_all_or_none() {
    let Some(store) = Store::start() else { return };
    let rules = format!(
        "
  {{ name: wide, global: true, limit: 100/h }},
  {{ name: tenant, global: true, {TENANT}, limit: {{ rate: 5/h, quota: 50/d }} }},
  {{ name: here, limit: 100/h }}"
    );
    let mut host = of_rules(&store, "", &rules);
    // The server does not know the script at first.
    assert_eq!((passed(&mut host, &of("a"), 1), store.asked()), (1, 2));
    assert_eq!((passed(&mut host, &of("a"), 4), store.asked()), (4, 4));
    assert_eq!((passed(&mut host, &of("a"), 50), store.asked()), (0, 1));
    // 95 are left of both that are about everybody: nothing was charged of those that were refused.
    assert_eq!(passed(&mut host, &TestRequest::get("/"), 200), 95);
    let count = |rule, outcome| host.counter("rate_limit_total", [("rule", rule), ("outcome", outcome)]);
    assert_eq!((count("tenant", "ok"), count("tenant", "near"), count("tenant", "over")), (3, 2, 50));
    assert_eq!(count("wide", "ok") + count("wide", "near"), 100);
    assert_eq!(host.histogram_count("rate_limit_store_microseconds", [("rule", "tenant")]), 6);
}

#[test]
fn what_is_refused_is_not_asked_again_until_it_may_fit() {
    let Some(store) = Store::start() else { return };
    let mut host =
        process(&store, "", &format!("{TENANT}, limit: 2/10s, cost: {{ from: {{ request_header: x-cost }} }}"));
    let cost = |cost: &str| of("a").header("x-cost", cost);
    assert_eq!(host.send(cost("1")).status(), 200);
    let _ = store.asked();
    assert_eq!((passed(&mut host, &cost("2"), 3), store.asked()), (0, 1));
    // What costs less may fit, and so may another key.
    assert_eq!((passed(&mut host, &of("b"), 1), store.asked()), (1, 1));
    assert_eq!((passed(&mut host, &cost("1"), 1), store.asked()), (1, 1));
    assert_eq!((passed(&mut host, &cost("1"), 3), store.asked()), (0, 1));
    assert_eq!(host.counter("rate_limit_cached_total", [("rule", "r")]), 4);
    host.advance(Duration::from_millis(4_999));
    let refused = host.send(cost("1"));
    assert_eq!((refused.status(), header(&refused, "retry-after").as_deref(), store.asked()), (429, Some("1"), 0));
    host.advance(Duration::from_millis(1));
    assert_eq!((passed(&mut host, &cost("1"), 1), store.asked()), (1, 1));
    assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "over")]), 7);
}

#[test]
fn a_key_that_was_deleted_is_refused_for_a_moment_and_not_for_a_day() {
    let Some(store) = Store::start() else { return };
    let mut host = process(&store, "", &format!("{TENANT}, limit: {{ quota: 1/d }}"));
    assert_eq!(passed(&mut host, &of("a"), 3), 1);
    store.call(&["FLUSHALL"]);
    let _ = store.asked();
    host.advance(Duration::from_millis(4_999));
    assert_eq!((passed(&mut host, &of("a"), 3), store.asked()), (0, 0));
    host.advance(Duration::from_millis(1));
    assert_eq!((passed(&mut host, &of("a"), 3), store.asked()), (1, 2));
}

#[test]
fn places_are_given_back_however_a_stream_ends() {
    let Some(store) = Store::start() else { return };
    let mut host = process(&store, "", &format!("{TENANT}, limit: {{ concurrency: 2, lease: 1m }}"));
    let key = "fyke:limit:shop:r:a:c0";
    host.upstream(|request| if request.has_header("x-slow") { TestResponse::hang() } else { TestResponse::ok() });
    let slow = || of("a").header("x-slow", "1");
    let (first, second) = (host.start(slow()), host.start(slow()));
    assert_eq!(store.held(key), 2);
    // Nobody knows when one of them ends, so each is asked about.
    let _ = store.asked();
    assert_eq!((passed(&mut host, &of("a"), 3), store.asked()), (0, 3));
    host.cancel(first);
    assert_eq!(store.held(key), 1);
    assert_eq!(passed(&mut host, &of("a"), 5), 5);
    assert_eq!(store.held(key), 1);
    // What is never given back is forgotten.
    host.advance(Duration::from_mins(1));
    let others = [host.start(slow()), host.start(slow())];
    assert!(others.iter().all(|flight| !host.is_done(flight)));
    others.into_iter().for_each(|flight| host.cancel(flight));
    host.cancel(second);
    assert_eq!(store.held(key), 0);
}

#[test]
fn a_place_is_given_back_by_whoever_does_not_know_that_it_was_taken() {
    let Some(store) = Store::start() else { return };
    let mut host = process(&store, "", "limit: { concurrency: 2 }");
    // So that the server knows the script.
    assert_eq!(passed(&mut host, &of("a"), 1), 1);
    store.late.set(Duration::from_millis(5));
    // The client leaves before the answer.
    let flight = host.start(of("a"));
    assert_eq!(store.held("fyke:limit:shop:r:c0"), 1);
    host.cancel(flight);
    assert_eq!(store.held("fyke:limit:shop:r:c0"), 0);
    // The answer comes too late: the request goes on, and holds nothing.
    store.late.set(Duration::from_millis(50));
    host.upstream(|_| TestResponse::hang());
    let flight = host.start(of("a"));
    host.advance(Duration::from_millis(20));
    assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "error")]), 1);
    assert_eq!(store.held("fyke:limit:shop:r:c0"), 0);
    host.cancel(flight);
    host.advance(Duration::from_secs(1));
}

#[test]
fn a_server_that_has_forgotten_the_script_learns_it_from_what_it_is_told() {
    let Some(store) = Store::start() else { return };
    let mut host = process(&store, "", "limit: { concurrency: 9 }");
    host.upstream(|_| TestResponse::hang());
    let key = "fyke:limit:shop:r:c0";
    let held: Vec<_> = (0..4).map(|_| host.start(of("a"))).collect();
    assert_eq!(store.held(key), 4);
    let mut held = held.into_iter();
    // While it is heard of, it is taken to know it.
    host.cancel(held.next().unwrap());
    assert_eq!((store.held(key), store.texts.take()), (3, 1));
    // A failure may be a restart, which both are told who have something to say.
    store.fails.replace(Some(RedisError::Closed));
    let lost = host.start(of("a"));
    store.fails.replace(None);
    store.call(&["SCRIPT", "FLUSH"]);
    host.cancel(held.next().unwrap());
    assert_eq!((store.held(key), store.texts.take()), (2, 2));
    host.cancel(lost);
    // So may silence.
    let last = host.start(of("a"));
    assert_eq!((store.held(key), store.texts.take()), (3, 0));
    host.advance(Duration::from_secs(1));
    store.call(&["SCRIPT", "FLUSH"]);
    held.chain([last]).for_each(|flight| host.cancel(flight));
    assert_eq!((store.held(key), store.texts.take()), (0, 1));
}

#[test]
fn what_is_known_at_the_end_is_charged_at_the_end() {
    let Some(store) = Store::start() else { return };
    let mut host =
        process(&store, "", &format!("{TENANT}, limit: 10/10s, cost: {{ from: {{ response_header: x-cost }} }}"));
    host.upstream(|_| TestResponse::ok().header("x-cost", "25"));
    let first = host.send(of("a"));
    assert_eq!((first.status(), header(&first, "ratelimit").as_deref()), (200, Some("\"r\";r=9;t=1")));
    // 25 were charged of 10: it takes 16 s until there is one again.
    let refused = host.send(of("a"));
    assert_eq!((refused.status(), header(&refused, "retry-after").as_deref()), (429, Some("16")));
    host.advance(Duration::from_secs(16));
    assert_eq!(passed(&mut host, &of("a"), 2), 1);
}

#[test]
fn those_that_come_too_early_wait_and_those_that_may_not_take_nothing() {
    let Some(store) = Store::start() else { return };
    let limit = "{ name: r, global: true, limit: { rate: 10/s, burst: 1, delay: 10s } }";
    let configuration = format!("{{ max_delayed: 1, redis: {{ cluster: store }}, rules: [{limit}] }}");
    let mut host = super::host(&configuration);
    host.redis("store", store.serve());
    assert_eq!(host.send(of("a")).status(), 200);
    let waiting = host.start(of("a"));
    assert_eq!(passed(&mut host, &of("a"), 3), 0);
    host.advance(Duration::from_millis(100));
    assert!(host.finish(waiting).reached_upstream());
    // Had they been charged, it would take longer.
    host.advance(Duration::from_millis(100));
    assert_eq!(host.send(of("a")).status(), 200);
}

#[test]
fn a_shadow_has_no_say() {
    let Some(store) = Store::start() else { return };
    let rules = "{ name: r, global: true, limit: 2/h, shadow: true }, { name: s, global: true, limit: 4/h }";
    let mut host = of_rules(&store, "", rules);
    assert_eq!(passed(&mut host, &of("a"), 9), 4);
    let count = |rule, outcome| host.counter("rate_limit_total", [("rule", rule), ("outcome", outcome)]);
    assert_eq!((count("r", "ok"), count("r", "shadow"), count("r", "over")), (2, 2, 0));
    assert_eq!((count("s", "ok"), count("s", "near"), count("s", "over")), (3, 1, 5));
    // Alone, it is known to be over without being asked.
    let mut host = process(&store, "prefix: 'alone:'", "limit: 2/h, shadow: true");
    let _ = store.asked();
    assert_eq!((passed(&mut host, &of("a"), 9), store.asked()), (9, 3));
    assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "shadow")]), 7);
}

#[test]
fn the_rights_that_the_readme_names_are_enough() {
    let Some(store) = Store::start() else { return };
    let readme = include_str!("../../README.md");
    let (_, named) = readme.split_once("The user needs ").unwrap();
    let (named, _) = named.split_once(" |").unwrap();
    let rights: Vec<String> =
        named.split('`').skip(1).step_by(2).map(|name| format!("+{}", name.to_lowercase())).collect();
    assert!(rights.contains(&"+zrem".to_owned()), "{rights:?}");
    let mut user = ["ACL", "SETUSER", "proxy", "on", ">p", "~fyke:limit:*"].map(str::to_owned).to_vec();
    user.extend(rights);
    assert_eq!(store.call(&user), Answer::Bytes(b"OK".to_vec()));
    store.call(&["AUTH", "proxy", "p"]);
    let limit = "limit: { rate: 10/h, quota: 1k/d }, cost: { from: { response_header: x-cost } }";
    for (number, rule) in
        ["limit: { rate: 6/m, sustained: 100/h, quota: 100/d, concurrency: 9 }", limit].iter().enumerate()
    {
        let mut host = process(&store, &format!("prefix: 'fyke:limit:{number}:', failure_mode: closed"), rule);
        host.upstream(|_| TestResponse::ok().header("x-cost", "1"));
        let errors =
            |host: &TestHost<RateLimit>| host.counter("rate_limit_total", [("rule", "r"), ("outcome", "error")]);
        assert_eq!((passed(&mut host, &of("a"), 5), errors(&host)), (5, 0), "{rule}");
    }
}

#[test]
fn connections_of_it_begin_with_who_it_is_and_say_it_to_nobody_else() {
    let Some(store) = Store::start() else { return };
    let redis = "user: proxy, password: hunter2, database: 3, prefix: '{x}:'";
    let mut host = process(&store, redis, "limit: 1/h");
    host.redis("store", |received| {
        let said = received.greeting().iter().map(|command| command.join(&b' ')).collect::<Vec<_>>();
        assert_eq!(said, [&b"AUTH proxy hunter2"[..], b"SELECT 3"]);
        if received.name() == "EVALSHA" {
            assert_eq!(received.argument(2), "{x}:shop:r:r0");
        }
        RedisError::Greeting("WRONGPASS invalid username-password pair".to_owned())
    });
    assert_eq!(host.send(of("a")).status(), 200);
    assert!(host.logs().iter().any(|line| line.contains("WRONGPASS")));
    assert!(host.logs().iter().all(|line| !line.contains("hunter2")));
    let config: crate::Config = serde_json::from_value(serde_json::json!({
        "redis": { "cluster": "store", "user": "proxy", "password": "hunter2" },
    }))
    .unwrap();
    let printed = format!("{config:?}");
    assert!(printed.contains("proxy") && !printed.contains("hunter2"));
}

#[test]
fn connections_of_clients_are_limited_by_it() {
    let Some(store) = Store::start() else { return };
    let rule = "{ name: r, global: true, key: [{ from: remote_address }], limit: { concurrency: 2, rate: 4/m } }";
    let mut host =
        TcpTestHost::<RateLimit>::configure(&format!("{{ redis: {{ cluster: store }}, rules: [{rule}] }}")).unwrap();
    host.redis("store", store.serve());
    let (one, other, third) = (host.connect(), host.connect(), host.connect());
    assert!(host.is_open(&one) && host.is_open(&other) && !host.is_open(&third));
    for connection in [one, other, third] {
        host.close(connection);
    }
    let open: Vec<bool> = (0..3)
        .map(|_| {
            let connection = host.connect();
            let open = host.is_open(&connection);
            host.close(connection);
            open
        })
        .collect();
    assert_eq!(open, [true, true, false], "four in a minute");
}

#[test]
fn it_says_where_a_request_would_be_counted() {
    if host("").ring() != Ring::Native {
        return;
    }
    let configuration = serde_json::json!({
        "domain": "shop",
        "redis": { "cluster": "store" },
        "deny": [{ "from": "path", "is": "/denied" }],
        "rules": [
            { "name": "a", "global": true, "limit": "1/s", "key": [{ "from": { "request_header": "x-tenant" } }] },
            { "name": "b", "limit": "1/s", "cost": { "from": "response_size" }, "shadow": true },
            { "name": "c", "limit": "1/s", "when": [{ "from": "method", "is": "POST" }] },
        ],
    });
    let host = Host::<RateLimit>::configure(&configuration.to_string()).unwrap();
    let explained = |path: &str, tenant: Option<&str>| {
        let mut headers = vec![(":method", "GET"), (":path", path)];
        headers.extend(tenant.map(|tenant| ("x-tenant", tenant)));
        let stream = host.open();
        host.stream(stream, |stream| stream.set_headers(fyke_sdk::abi::MapKind::RequestHeaders, &headers));
        let lines = host.explain(stream);
        host.finish(stream);
        lines
    };
    assert_eq!(
        explained("/", Some("blue")),
        [
            "rule \"a\" counts it as 1, in redis (cluster \"store\", key fyke:limit:shop:a:blue), which is not asked here",
            "rule \"b\" counts it when it is over, in this process, as a shadow",
            "rule \"c\" is not about it: `when[0]` is not true",
        ]
    );
    assert_eq!(explained("/", None)[0], "rule \"a\" is not about it: `key[0]` has no value");
    assert_eq!(explained("/denied", None), ["`deny` has it: it is refused, and no rule counts it"]);
    // Whoever was asked for an explanation asks nobody in turn.
    let stream = host.open();
    host.request_headers(stream, &[(":method", "GET"), (":path", "/"), ("x-tenant", "blue")], true);
    assert!(host.reply(stream).is_none() && World::with(|world| world.redis.is_empty()));
    host.finish(stream);
}

#[test]
fn a_share_of_streams_is_explained_as_one() {
    let host = Host::<RateLimit>::configure(r#"{"rules": [{"name": "r", "limit": "1/h", "rollout": "30%"}]}"#).unwrap();
    let stream = host.open();
    let headers = [(":method", "GET"), (":path", "/")];
    host.stream(stream, |stream| stream.set_headers(fyke_sdk::abi::MapKind::RequestHeaders, &headers));
    let lines = host.explain(stream);
    assert!(lines[0].ends_with("with a say for 30% of the streams"), "{lines:?}");
    host.finish(stream);
}
