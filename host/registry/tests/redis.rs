//! Registries that share a Redis server.
#![cfg(test)]
#![allow(missing_docs, reason = "tests")]

mod support;

use std::time::Duration;

use fyke_peers::RedisServer;
use http::StatusCode;
use redis::aio::MultiplexedConnection;
use serde_json::json;
use support::{Running, start, until};

const USERS: &str = "/v1/registration/users";

fn url(server: &RedisServer) -> String {
    format!("redis+unix://{}", server.socket().display())
}

async fn connection(server: &RedisServer) -> MultiplexedConnection {
    redis::Client::open(url(server)).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn registry(server: &RedisServer) -> Running {
    start(
        json!({"open": true, "host_ttl": "600s", "load_weights": true, "redis": {"url": url(server), "prefix": "t:"}}),
    )
    .await
}

/// Lets a registry look at Redis until it shows these hosts.
async fn shows(registry: &Running, hosts: &[&str]) {
    let what = format!("{hosts:?} are shown");
    until(&what, || async {
        registry.clock.advance(Duration::from_secs(1));
        registry.get(USERS).await.hosts() == hosts
    })
    .await;
}

async fn condition(registry: &Running, status: &str) {
    until(status, || async {
        registry.clock.advance(Duration::from_secs(1));
        registry.get("/healthz").await.json()["status"] == status
    })
    .await;
}

async fn register(registry: &Running, ip: &str) {
    assert_eq!(registry.form(USERS, &format!("ip={ip}&port=80")).await.status, StatusCode::OK);
}

async fn call<T: redis::FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> T {
    let (name, arguments) = words.split_first().unwrap();
    redis::cmd(name).arg(arguments).query_async(connection).await.unwrap()
}

#[tokio::test]
async fn what_one_hears_the_others_show() {
    let Some(server) = RedisServer::start() else { return };
    let (one, two) = (registry(&server).await, registry(&server).await);
    let tags = json!({"az": "a", "canary": true, "x": "y"});
    one.post(USERS, json!({"ip": "10.0.0.1", "port": 80, "revision": "abc", "service_repo_name": "r", "tags": tags}))
        .await;
    register(&two, "fd00::1").await;
    shows(&one, &["10.0.0.1:80", "fd00::1:80"]).await;
    shows(&two, &["10.0.0.1:80", "fd00::1:80"]).await;
    // The same content has the same version everywhere.
    let (a, b) = (one.get(USERS).await, two.get(USERS).await);
    assert_eq!(a.header("etag"), b.header("etag"));
    assert_eq!(a.json()["hosts"][0]["tags"], b.json()["hosts"][0]["tags"]);

    // Weights and farewells, each at the other one.
    assert_eq!(
        two.form("/v1/loadbalancing/users/10.0.0.1", "load_balancing_weight=7").await.status,
        StatusCode::NO_CONTENT
    );
    until("the weight is shown", || async {
        one.clock.advance(Duration::from_secs(1));
        one.get(USERS).await.json()["hosts"][0]["tags"]["load_balancing_weight"] == 7
    })
    .await;
    assert_eq!(one.delete("/v1/registration/users/fd00::1").await.json(), json!({"removed": 1}));
    shows(&two, &["10.0.0.1:80"]).await;
    // One that starts now knows it all before it serves.
    assert_eq!(registry(&server).await.get(USERS).await.hosts(), ["10.0.0.1:80"]);
    assert_eq!(two.delete("/v1/registration/users/10.0.0.9").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_host_that_another_registry_has_just_heard_can_leave_and_be_weighed() {
    let Some(server) = RedisServer::start() else { return };
    let (one, two) = (registry(&server).await, registry(&server).await);
    // `two` has not looked since.
    register(&one, "10.0.0.1").await;
    register(&one, "10.0.0.2").await;
    assert_eq!(two.form("/v1/loadbalancing/users", "load_balancing_weight=7").await.status, StatusCode::NO_CONTENT);
    assert_eq!(two.delete("/v1/registration/users/10.0.0.1").await.json(), json!({"removed": 1}));
    shows(&one, &["10.0.0.2:80"]).await;
    assert_eq!(one.get(USERS).await.json()["hosts"][0]["tags"]["load_balancing_weight"], 7);
}

#[tokio::test]
async fn heartbeats_are_what_keeps_a_host() {
    let Some(server) = RedisServer::start() else { return };
    let mut redis = connection(&server).await;
    let (one, two) = (registry(&server).await, registry(&server).await);
    register(&one, "10.0.0.1").await;
    let key = "t:host:users:10.0.0.1:80";
    let left: i64 = call(&mut redis, &["PTTL", key]).await;
    assert!((590_000..=600_000).contains(&left), "{left}");
    let _: i64 = call(&mut redis, &["PEXPIRE", key, "100000"]).await;
    let mark: String = call(&mut redis, &["HGET", "t:changes", "users"]).await;
    // A heartbeat at another registry is as good, and is no change.
    shows(&two, &["10.0.0.1:80"]).await;
    register(&two, "10.0.0.1").await;
    let left: i64 = call(&mut redis, &["PTTL", key]).await;
    assert!((590_000..=600_000).contains(&left), "{left}");
    assert_eq!(call::<String>(&mut redis, &["HGET", "t:changes", "users"]).await, mark);
    // Its registry dies; nothing happens to the host.
    one.kill().await;
    two.clock.advance(Duration::from_secs(599));
    shows(&two, &["10.0.0.1:80"]).await;
    // Its time is over, by Redis.
    let _: i64 = call(&mut redis, &["PEXPIRE", key, "1"]).await;
    two.clock.advance(Duration::from_secs(60));
    shows(&two, &[]).await;
    assert_eq!(two.metric("fyke_registry_expirations_total").await, 1);
    until("its name is swept up", || async {
        two.clock.advance(Duration::from_secs(30));
        call::<i64>(&mut connection(&server).await, &["EXISTS", "t:service:users", "t:changes"]).await == 0
    })
    .await;
}

#[tokio::test]
async fn while_redis_is_away_reads_and_heartbeats_go_on() {
    let Some(mut server) = RedisServer::start() else { return };
    let (one, two) = (registry(&server).await, registry(&server).await);
    for ip in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        register(&one, ip).await;
    }
    shows(&two, &["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]).await;
    server.process.kill();
    condition(&one, "away").await;
    condition(&two, "away").await;
    // Longer than the TTL: who does not hear cannot know.
    two.clock.advance(Duration::from_secs(700));
    assert_eq!(two.get(USERS).await.hosts().len(), 3);
    register(&one, "10.0.0.1").await;
    register(&one, "10.0.0.4").await;
    assert_eq!(one.delete("/v1/registration/users/10.0.0.2").await.status, StatusCode::OK);
    assert_eq!(one.get(USERS).await.hosts(), ["10.0.0.1:80", "10.0.0.3:80", "10.0.0.4:80"]);
    assert_eq!(one.metric("fyke_registry_store_up").await, 0);

    // It comes back, and has forgotten everything: what was kept is told, and who was there stays for now.
    server.restart();
    condition(&one, "ready").await;
    shows(&two, &["10.0.0.1:80", "10.0.0.3:80", "10.0.0.4:80"]).await;
    // 10.0.0.3 is never heard of again.
    for registry in [&one, &two] {
        registry.clock.advance(Duration::from_secs(601));
    }
    register(&one, "10.0.0.1").await;
    register(&one, "10.0.0.4").await;
    shows(&one, &["10.0.0.1:80", "10.0.0.4:80"]).await;
    shows(&two, &["10.0.0.1:80", "10.0.0.4:80"]).await;
}

#[tokio::test]
async fn data_that_is_lost_without_a_break_is_no_farewell() {
    let Some(server) = RedisServer::start() else { return };
    let one = registry(&server).await;
    register(&one, "10.0.0.1").await;
    let _: String = call(&mut connection(&server).await, &["FLUSHALL"]).await;
    for _ in 0..3 {
        one.clock.advance(Duration::from_secs(40));
        assert_eq!(one.get(USERS).await.hosts(), ["10.0.0.1:80"]);
    }
    register(&one, "10.0.0.1").await;
    assert_eq!(registry(&server).await.get(USERS).await.hosts(), ["10.0.0.1:80"]);
}

#[tokio::test]
async fn a_registry_that_has_never_reached_redis_says_nothing() {
    let Some(mut server) = RedisServer::start() else { return };
    server.process.kill();
    let one = registry(&server).await;
    assert_eq!(one.get("/healthz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let refused = one.get(USERS).await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(one.post("/v3/discovery:endpoints", json!({})).await.status, StatusCode::SERVICE_UNAVAILABLE);
    register(&one, "10.0.0.1").await;
    server.restart();
    condition(&one, "ready").await;
    shows(&one, &["10.0.0.1:80"]).await;
}

#[tokio::test]
async fn readers_at_one_registry_wake_for_changes_at_another() {
    let Some(server) = RedisServer::start() else { return };
    let (one, two) = (registry(&server).await, registry(&server).await);
    let index = two.get(USERS).await.header("x-registry-index").to_owned();
    let path = format!("{USERS}?wait=5m&index={index}");
    let waits = two.get(&path);
    let changes = async {
        until("it waits", || async { two.metric("fyke_registry_waiters").await == 1 }).await;
        register(&one, "10.0.0.1").await;
        two.clock.advance(Duration::from_secs(1));
    };
    let (answer, ()) = tokio::join!(waits, changes);
    assert_eq!(answer.hosts(), ["10.0.0.1:80"]);
}

#[tokio::test]
async fn loads_are_averaged_wherever_they_are_reported() {
    let Some(server) = RedisServer::start() else { return };
    let (one, two) = (registry(&server).await, registry(&server).await);
    let busy = json!({"ip": "10.0.0.1", "port": 80, "load": {"cpu": 1}});
    for turn in 0..6 {
        one.clock.advance(Duration::from_secs(2));
        two.clock.advance(Duration::from_secs(2));
        let registry = if turn % 2 == 0 { &one } else { &two };
        let weight = registry.post(USERS, busy.clone()).await.json()["host"]["tags"]["load_balancing_weight"].clone();
        assert_eq!(weight, 90 - 10 * turn, "each goes on where the other one was");
    }
}

#[tokio::test]
async fn what_others_write_into_redis_harms_nobody() {
    let Some(server) = RedisServer::start() else { return };
    let mut redis = connection(&server).await;
    let one = registry(&server).await;
    register(&one, "10.0.0.1").await;
    let words: &[&[&str]] = &[
        &["SADD", "t:service:users", "nonsense", "10.0.0.2:80", "10.0.0.3:0", "10.0.0.4:80", "10.0.0.5:80"],
        &["HSET", "t:host:users:10.0.0.2:80", "body", "{", "at", "x"],
        &["HSET", "t:host:users:10.0.0.4:80", "body", r#"{"ip":"10.0.0.1","port":80}"#, "at", "99999999999999999999"],
        &[
            "HSET",
            "t:host:users:10.0.0.5:80",
            "body",
            r#"{"ip":"10.0.0.5","port":80}"#,
            "at",
            "18446744073709551615",
            "weight",
            "900",
            "load",
            "[]",
        ],
        &["HSET", "t:changes", "a b", "1", "users", "another"],
    ];
    for words in words {
        let _: i64 = call(&mut redis, words).await;
    }
    shows(&one, &["10.0.0.1:80", "10.0.0.5:80"]).await;
}

/// The owner of one service, or somebody at the keyboard: their service stays as it was known, and the others do not notice.
#[tokio::test]
async fn a_service_that_cannot_be_read_stops_no_other() {
    let Some(server) = RedisServer::start() else { return };
    let mut redis = connection(&server).await;
    let limited = json!({"open": true, "host_ttl": "600s", "redis": {"url": url(&server), "prefix": "t:"},
        "limits": {"hosts_per_service": 2}});
    let one = start(limited).await;
    register(&one, "10.0.0.1").await;
    shows(&one, &["10.0.0.1:80"]).await;
    let orders = "/v1/registration/orders";
    let follows = async |ip: &str| {
        let body = format!(r#"{{"ip":"{ip}","port":80}}"#);
        let mut redis = connection(&server).await;
        let host = format!("t:host:orders:{ip}:80");
        let _: i64 = call(&mut redis, &["HSET", &host, "body", &body, "at", "1767323045000"]).await;
        let _: i64 = call(&mut redis, &["SADD", "t:service:orders", &format!("{ip}:80")]).await;
        let _: i64 = call(&mut redis, &["HSET", "t:changes", "orders", ip]).await;
        until("orders to be read", || async {
            one.clock.advance(Duration::from_secs(1));
            one.get(orders).await.hosts().contains(&format!("{ip}:80"))
        })
        .await;
        assert_eq!(one.get("/healthz").await.json()["status"], "ready");
        assert_eq!(one.get(USERS).await.hosts(), ["10.0.0.1:80"]);
    };
    // More than there may be.
    let many: Vec<String> = (1..9).map(|port| format!("10.0.0.9:{port}")).collect();
    let words: Vec<&str> = ["SADD", "t:service:users"].into_iter().chain(many.iter().map(String::as_str)).collect();
    let _: i64 = call(&mut redis, &words).await;
    let _: i64 = call(&mut redis, &["HSET", "t:changes", "users", "another"]).await;
    follows("10.0.1.1").await;
    // A key of another kind, also for whoever writes there.
    let words: Vec<&str> = ["SREM", "t:service:users"].into_iter().chain(many.iter().map(String::as_str)).collect();
    let _: i64 = call(&mut redis, &words).await;
    let _: i64 = call(&mut redis, &["DEL", "t:host:users:10.0.0.1:80"]).await;
    let _: i64 = call(&mut redis, &["LPUSH", "t:host:users:10.0.0.1:80", "x"]).await;
    register(&one, "10.0.0.1").await;
    follows("10.0.1.2").await;
    // It is mended.
    let _: i64 = call(&mut redis, &["DEL", "t:host:users:10.0.0.1:80"]).await;
    register(&one, "10.0.0.1").await;
    assert_eq!(call::<i64>(&mut redis, &["EXISTS", "t:host:users:10.0.0.1:80"]).await, 1);
    shows(&one, &["10.0.0.1:80"]).await;
}

#[tokio::test]
async fn without_what_tells_of_changes_a_registry_says_that_it_hears_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let mut redis = connection(&server).await;
    let one = registry(&server).await;
    condition(&one, "ready").await;
    let _: i64 = call(&mut redis, &["DEL", "t:changes"]).await;
    let _: i64 = call(&mut redis, &["LPUSH", "t:changes", "x"]).await;
    condition(&one, "away").await;
    let _: i64 = call(&mut redis, &["DEL", "t:changes"]).await;
    condition(&one, "ready").await;
}
