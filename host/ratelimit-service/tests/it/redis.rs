//! Several services that share a real Redis, which is slow, stopped, killed and started again.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fyke_peers::{Answer, RedisClient, RedisServer};
use fyke_ratelimit_service::messages::{Code, RateLimitRequest, RateLimitResponse};
use fyke_ratelimit_service::{
    Algorithm, Charge, Clock, Embedded, Env, FailureMode, Measure, OverLimitHits, RedisSettings, RedisStore, Refusal,
    Span, Store, StoreError, messages::Unit,
};

use super::client::{Client, metric, request, with_hits};
use super::exact::passed;
use super::{Running, until};

/// A year, so that no window ends while a test runs.
pub(super) const RULES: &str = "
domain: d
descriptors:
- key: k
  rate_limit: { unit: year, requests_per_unit: 300 }
- key: other
  rate_limit: { unit: year, requests_per_unit: 5 }
- key: even
  rate_limit: { unit: year, requests_per_unit: 1000, algorithm: gcra, burst: 40 }
";

fn start() -> RedisServer {
    start_with(&[])
}

pub(super) fn start_with(more: &[&str]) -> RedisServer {
    RedisServer::on_port(more).expect("redis-server is needed: apt-get install redis-server")
}

pub(super) fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Has a server that has certificates listen on a port by TLS. Where somebody else takes that before it, it is another.
pub(super) fn tls_port(client: &mut RedisClient) -> u16 {
    let mut ports = (0..10).map(|_| free());
    let listens =
        |port: &u16| client.call(&["CONFIG", "SET", "tls-port", &port.to_string()]) == Answer::Bytes(b"OK".to_vec());
    ports.find(listens).expect("no port is free")
}

fn url(server: &RedisServer) -> String {
    format!("redis://{}", server.address())
}

pub(super) fn span(milliseconds: u64) -> Span {
    Span::new(milliseconds * 1_000_000).unwrap()
}

/// A service with this Redis, connected.
async fn service(server: &RedisServer, failure_mode: FailureMode, change: impl FnOnce(&mut RedisSettings)) -> Running {
    service_of(RedisSettings::new(url(server)), failure_mode, change).await
}

pub(super) async fn service_of(
    mut redis: RedisSettings,
    failure_mode: FailureMode,
    change: impl FnOnce(&mut RedisSettings),
) -> Running {
    redis.failure_mode = failure_mode;
    // The machine may be busy; where the timeout is what a test is about, it is set there.
    redis.timeout = span(5_000);
    change(&mut redis);
    let running = Running::with(RULES, |settings| settings.redis = Some(redis)).await;
    up(&running, true).await;
    running
}

pub(super) async fn up(running: &Running, is_up: bool) {
    let expected = Some(if is_up { 1.0 } else { 0.0 });
    until(async || metric(&running.handle.metrics(), "fyke_ratelimit_redis_up") == expected).await;
}

pub(super) fn left(response: &RateLimitResponse) -> (Code, u32) {
    (response.overall_code(), response.statuses[0].limit_remaining)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_services_let_exactly_one_limit_pass() {
    let server = start();
    let one = service(&server, FailureMode::Error, |_| {}).await;
    let other = service(&server, FailureMode::Error, |_| {}).await;
    let mut clients = Vec::new();
    for at in 0..8 {
        clients.push(Client::connect(if at % 2 == 0 { &one } else { &other }.address()).await);
    }
    assert_eq!(passed(&clients, 1_000, &request("d", &[&[("k", "v")]])).await, 300);
    let three =
        RateLimitRequest { descriptors: vec![with_hits(&[("k", "three")], 3)], ..request("d", &[&[("k", "three")]]) };
    assert_eq!(passed(&clients, 300, &three).await, 100);
    assert_eq!(passed(&clients, 100, &request("d", &[&[("even", "v")]])).await, 40);
    // Once it is known that the limit is reached, Redis is left alone: the first of these may have to find out, the second has not.
    for running in [&one, &other] {
        for _ in 0..2 {
            let response = running.handle.should_rate_limit(&request("d", &[&[("k", "v")]])).await.unwrap();
            assert_eq!(response.overall_code(), Code::OverLimit);
        }
        let metrics = running.handle.metrics();
        assert!(metric(&metrics, "fyke_ratelimit_local_cache_hits") >= Some(1.0), "{metrics}");
        let cached = "ratelimit_service_rate_limit_over_limit_with_local_cache{domain=\"d\",key1=\"k\"}";
        assert!(metric(&metrics, cached) >= Some(1.0), "{metrics}");
    }
}

#[tokio::test]
async fn a_request_is_one_round_trip() {
    let server = start();
    let running = service(&server, FailureMode::Error, |redis| redis.over_limit_cache = 0).await;
    let client = Client::connect(running.address()).await;
    let ask = request("d", &[&[("k", "a")], &[("k", "b")], &[("other", "c")], &[("even", "d")]]);
    client.ask(ask.clone()).await.unwrap();
    let calls = || {
        let client = redis::Client::open(url(&server)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
        let count = |name: &str| {
            let line =
                stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls="))?.split(',').next());
            line.map_or(0, |calls| calls.parse::<u64>().unwrap())
        };
        (count("evalsha"), count("eval"))
    };
    let (before, _) = calls();
    for _ in 0..10 {
        client.ask(ask.clone()).await.unwrap();
    }
    assert_eq!(calls(), (before + 10, 0));
    let response = client.ask(ask).await.unwrap();
    let remaining: Vec<_> = response.statuses.iter().map(|status| (status.code(), status.limit_remaining)).collect();
    assert_eq!(remaining, [(Code::Ok, 288), (Code::Ok, 288), (Code::OverLimit, 0), (Code::Ok, 28)]);
}

#[tokio::test]
async fn a_script_that_redis_forgot_is_told_again() {
    let server = start();
    let running = service(&server, FailureMode::Error, |_| {}).await;
    let client = Client::connect(running.address()).await;
    assert!(client.passes("d", &[("k", "v")]).await);
    let mut connection = redis::Client::open(url(&server)).unwrap().get_connection().unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut connection).unwrap();
    assert_eq!(left(&client.ask(request("d", &[&[("k", "v")]])).await.unwrap()), (Code::Ok, 298));
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert_eq!(keys, ["fyke:d|k=v|year"]);
    let expiry: i64 = redis::cmd("TTL").arg("fyke:d|k=v|year").query(&mut connection).unwrap();
    assert!((0..=365 * 86_400 + 1).contains(&expiry), "a counter goes when its window does: {expiry}");
}

#[tokio::test]
async fn redis_counts_as_the_embedded_store_does() {
    let server = start();
    counts_as_embedded(RedisSettings::new(url(&server))).await;
}

/// The same charges, to Redis and to the embedded store, which is tested against a model.
pub(super) async fn counts_as_embedded(mut settings: RedisSettings) {
    let embedded = Arc::new(Embedded::new(1 << 20, Clock::system()));
    (settings.failure_mode, settings.timeout, settings.over_limit_cache) = (FailureMode::Error, span(5_000), 0);
    let store = RedisStore::new(&settings, Arc::new(Embedded::new(1 << 20, Clock::system()))).unwrap();
    until(async || store.status().is_up).await;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for step in 0..400 {
        // Counters that one mode has filled beyond their limit are none for the other.
        let mode = if next(2) == 0 { OverLimitHits::Count } else { OverLimitHits::Ignore };
        let charges: Vec<Charge> = (0..1 + next(4))
            .map(|_| {
                let (key, limit) = (next(6), 5);
                // So slow that nothing comes back while the test runs.
                let algorithm = if key < 3 { Algorithm::FixedWindow } else { Algorithm::Gcra { burst: 7 } };
                let measure = Measure { requests_per_unit: limit, unit: Unit::Year, algorithm };
                Charge { key: format!("{key}-{mode:?}-{}", step / 40), measure, hits: next(4) }
            })
            .collect();
        let (found, expected) = (store.charge(&charges, mode).await.unwrap(), embedded.count(&charges, mode));
        for ((charge, found), expected) in charges.iter().zip(&found).zip(&expected) {
            assert_eq!(found.over, expected.over, "{mode:?} {charge:?} of {charges:?}");
            // The embedded store does not say how far beyond its limit a counter is that refused all or none.
            if mode == OverLimitHits::Count && !(found.over && charge.measure.algorithm != Algorithm::FixedWindow) {
                assert_eq!(
                    (found.before, found.after),
                    (expected.before, expected.after),
                    "{mode:?} {charge:?} of {charges:?}"
                );
            }
            let difference = found.reset.abs_diff(expected.reset);
            assert!(difference < Duration::from_secs(2), "{found:?} {expected:?} {charge:?}");
        }
    }
}

#[tokio::test]
async fn while_redis_is_away_the_failure_mode_holds() {
    let mut server = start();
    let mut services = Vec::new();
    for mode in [FailureMode::Local, FailureMode::Open, FailureMode::Close, FailureMode::Error] {
        services.push(service(&server, mode, |_| {}).await);
    }
    let ask = request("d", &[&[("other", "v")]]);
    for running in &services {
        assert_eq!(running.handle.should_rate_limit(&ask).await.unwrap().overall_code(), Code::Ok);
    }
    server.process.kill();
    for running in &services {
        // A request or a ping finds out.
        up(running, false).await;
    }
    let mut decisions = Vec::new();
    for running in &services {
        let mut codes = Vec::new();
        for _ in 0..7 {
            codes.push(running.handle.should_rate_limit(&ask).await.map(|response| response.overall_code()));
        }
        decisions.push(codes);
    }
    let (passes, over) = (Ok(Code::Ok), Ok(Code::OverLimit));
    let local = [vec![passes.clone(); 5], vec![over.clone(); 2]].concat();
    let unavailable = Err(Refusal::Store(StoreError::Unavailable));
    assert_eq!(decisions, [local, vec![passes.clone(); 7], vec![over; 7], vec![unavailable; 7]]);
    let client = Client::connect(services[3].address()).await;
    assert_eq!(client.ask(ask.clone()).await.unwrap_err().code(), tonic::Code::Unavailable);
    let health = super::client::get(services[0].address(), "/healthcheck").await;
    assert!(health.status == 200 && health.body.contains("not connected"), "{}", health.body);

    server.restart();
    for running in &services {
        up(running, true).await;
    }
    // Redis has forgotten, and the services share again.
    let mut codes = Vec::new();
    for at in 0..8 {
        codes.push(services[at % 4].handle.should_rate_limit(&ask).await.map(|response| response.overall_code()));
    }
    assert_eq!(codes.iter().filter(|code| **code == passes).count(), 5, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_waits_beyond_the_timeout_while_redis_dies_and_comes_back() {
    let mut server = start();
    let timeout = Duration::from_millis(100);
    let one = service(&server, FailureMode::Open, |redis| redis.timeout = span(100)).await;
    let other = service(&server, FailureMode::Open, |redis| redis.timeout = span(100)).await;
    let done = Arc::new(AtomicBool::new(false));
    let (asked, slowest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for at in 0..16 {
        let handle = if at % 2 == 0 { one.handle.clone() } else { other.handle.clone() };
        let (done, asked, slowest) = (Arc::clone(&done), Arc::clone(&asked), Arc::clone(&slowest));
        load.spawn(async move {
            let user = at.to_string();
            let ask = request("d", &[&[("k", &user)]]);
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                let code = handle.should_rate_limit(&ask).await.unwrap().overall_code();
                assert!(matches!(code, Code::Ok | Code::OverLimit));
                let took = u64::try_from(began.elapsed().as_micros()).unwrap();
                slowest.fetch_max(took, Ordering::Relaxed);
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    let more = async |requests: u64| {
        let before = asked.load(Ordering::Relaxed);
        until(async || asked.load(Ordering::Relaxed) >= before + requests).await;
    };
    for _ in 0..3 {
        more(500).await;
        server.process.kill();
        more(500).await;
        server.restart();
        up(&one, true).await;
        up(&other, true).await;
    }
    // One that hangs: connections to it can be made, and nothing is ever answered.
    server.process.freeze();
    more(500).await;
    up(&one, false).await;
    up(&other, false).await;
    let waited = |running: &Running| {
        metric(&running.handle.metrics(), "fyke_ratelimit_redis_failures{reason=\"timeout\"}").unwrap()
    };
    assert!(waited(&one) + waited(&other) > 0.0);
    server.process.thaw();
    up(&one, true).await;
    up(&other, true).await;
    more(100).await;
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let slowest = Duration::from_micros(slowest.load(Ordering::Relaxed));
    // What is above the timeout is this machine's, which has other things to do.
    assert!(slowest < timeout + Duration::from_secs(2), "{slowest:?}");
}

#[tokio::test]
async fn redis_may_be_slow_from_the_beginning_or_nothing_at_all() {
    // Accepts connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let redis = RedisSettings::new(format!("redis://{}", silent.local_addr().unwrap()));
    let running = Running::with(RULES, |settings| settings.redis = Some(redis)).await;
    let response = running.handle.should_rate_limit(&request("d", &[&[("other", "v")]])).await.unwrap();
    assert_eq!(left(&response), (Code::Ok, 4), "counted here");
    let failures = "fyke_ratelimit_redis_failures{reason=\"unavailable\"}";
    assert_eq!(metric(&running.handle.metrics(), failures), Some(1.0));
}

#[tokio::test]
async fn a_redis_that_answers_nonsense_is_a_failure() {
    let server = start();
    let running = service(&server, FailureMode::Close, |_| {}).await;
    let mut connection = redis::Client::open(url(&server)).unwrap().get_connection().unwrap();
    // No room for another counter.
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec(&mut connection).unwrap();
    let response = running.handle.should_rate_limit(&request("d", &[&[("other", "v")]])).await.unwrap();
    assert_eq!(left(&response), (Code::OverLimit, 0));
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec(&mut connection).unwrap();
    let response = running.handle.should_rate_limit(&request("d", &[&[("other", "v")]])).await.unwrap();
    assert_eq!(left(&response), (Code::Ok, 4));
    // A value of somebody else's under our key counts as none.
    redis::cmd("SET").arg("fyke:d|other=w|year").arg("nonsense").exec(&mut connection).unwrap();
    let response = running.handle.should_rate_limit(&request("d", &[&[("other", "w")]])).await.unwrap();
    assert_eq!(left(&response), (Code::Ok, 4));
}

#[tokio::test]
async fn redis_may_want_tls_and_a_password() {
    let directory = tempfile::tempdir().unwrap();
    let authority = super::tls::Authority::new();
    authority.issue(directory.path(), "redis");
    authority.issue(directory.path(), "client");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    let file = |name: &str| path(name).display().to_string();
    let (redis_pem, redis_key, ca) = (file("redis.pem"), file("redis.key"), file("ca.pem"));
    let more = [
        "--tls-cert-file",
        &redis_pem,
        "--tls-key-file",
        &redis_key,
        "--tls-ca-cert-file",
        &ca,
        "--requirepass",
        "secret",
    ];
    let server = start_with(&more);
    let mut client = server.connect();
    client.call(&["AUTH", "secret"]);
    let port = tls_port(&mut client);
    let mut redis = RedisSettings::new(format!("rediss://:secret@localhost:{port}"));
    (redis.failure_mode, redis.timeout) = (FailureMode::Error, span(5_000));
    redis.ca = Some(path("ca.pem"));
    (redis.certificate, redis.key) = (Some(path("client.pem")), Some(path("client.key")));
    let running = Running::with_env(RULES, Env::default(), |settings| settings.redis = Some(redis)).await;
    up(&running, true).await;
    let response = running.handle.should_rate_limit(&request("d", &[&[("other", "v")]])).await.unwrap();
    assert_eq!(left(&response), (Code::Ok, 4));
    let health = running.handle.health().text;
    assert!(!health.contains("secret"), "{health}");
}
