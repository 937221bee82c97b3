//! `builtin:redis` before a real Redis.

use tokio::task::JoinSet;

use crate::support::{
    Launch, Proxy,
    redis::{Redis, ask, command, reply},
    soon,
};

/// Clients that it has, the one that asks among them.
async fn clients(redis: &Redis) -> u64 {
    redis.info("connected_clients").await
}

async fn start() -> Redis {
    Redis::with(&["--maxclients", "1000"])
}

async fn proxy(redis: &Redis, config: &str, connections: usize) -> Proxy {
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: redis, filters: [redis] }}\n\
         filters:\n  redis: {{ module: builtin:redis, allow: {{ clusters: [redis] }}, config: {config} }}\n\
         clusters:\n  redis: {{ endpoints: ['{}'], circuit_breakers: {{ connections: {connections}, pending: 10000 }} }}\n",
        redis.address
    );
    Launch::new(yaml).workers(2).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_counted_and_unchanged() {
    let redis = start().await;
    let proxy = proxy(&redis, "{ prefix: {} }", 100).await;
    let mut conn = proxy.connect().await;
    assert_eq!(ask(&mut conn, &["SET", "user:1", "a"]).await, "+OK");
    assert_eq!(ask(&mut conn, &["GET", "user:1"]).await, "a");
    let large = "x".repeat(300_000);
    assert_eq!(ask(&mut conn, &["SET", "user:2", &large]).await, "+OK");
    assert_eq!(ask(&mut conn, &["GET", "user:2"]).await, large);
    assert!(ask(&mut conn, &["LPUSH", "user:1", "b"]).await.starts_with("-WRONGTYPE"));
    for (name, count) in [("set", 2.0), ("get", 2.0), ("lpush", 1.0)] {
        let labels = [("command", name), ("prefix", "user")];
        assert_eq!(proxy.metric("redis_commands_total", &labels).await, count, "{name}");
    }
    assert_eq!(proxy.metric("redis_errors_total", &[("command", "lpush"), ("error", "WRONGTYPE")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_few_connections_and_get_their_own_replies() {
    let redis = start().await;
    let proxy = proxy(&redis, "{ pool: { cluster: redis } }", 4).await;
    let mut tasks = JoinSet::new();
    for number in 0..40 {
        let mut conn = proxy.connect().await;
        tasks.spawn(async move {
            for round in 0..25 {
                let (key, value) = (format!("k:{number}"), format!("{number}/{round}"));
                conn.send(command(&["SET", &key, &value]) + &command(&["GET", &key]) + &command(&["ECHO", &value]))
                    .await;
                assert_eq!(reply(&mut conn).await, "+OK");
                assert_eq!(reply(&mut conn).await, value);
                assert_eq!(reply(&mut conn).await, value);
            }
        });
    }
    let most = clients(&redis).await;
    soon("everybody is served", async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    })
    .await;
    assert!(most <= 5 && clients(&redis).await <= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_and_subscriptions_keep_their_connection() {
    let redis = start().await;
    let proxy = proxy(&redis, "{ pool: { cluster: redis, long_lived: 2 } }", 4).await;
    let (mut one, mut other, mut listener) = (proxy.connect().await, proxy.connect().await, proxy.connect().await);
    assert_eq!(ask(&mut one, &["MULTI"]).await, "+OK");
    assert_eq!(ask(&mut other, &["SET", "t:1", "between"]).await, "+OK");
    assert_eq!(ask(&mut one, &["SET", "t:1", "inside"]).await, "+QUEUED");
    assert_eq!(ask(&mut other, &["GET", "t:1"]).await, "between");
    assert_eq!(ask(&mut one, &["EXEC"]).await, "*1");
    assert_eq!(reply(&mut one).await, "+OK");
    assert_eq!(ask(&mut other, &["GET", "t:1"]).await, "inside");
    listener.send(command(&["SUBSCRIBE", "news"])).await;
    for expected in ["*3", "subscribe", "news", ":1"] {
        assert_eq!(reply(&mut listener).await, expected);
    }
    assert_eq!(ask(&mut other, &["PUBLISH", "news", "hello"]).await, ":1");
    for expected in ["*3", "message", "news", "hello"] {
        assert_eq!(reply(&mut listener).await, expected);
    }
    // Another database is another connection.
    assert_eq!(ask(&mut one, &["SELECT", "3"]).await, "+OK");
    assert_eq!(ask(&mut one, &["GET", "t:1"]).await, "nil");
    assert_eq!(ask(&mut other, &["GET", "t:1"]).await, "inside");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_keep_no_connection_from_others() {
    let redis = start().await;
    let proxy = proxy(&redis, "{ pool: { cluster: redis, client_timeout: 1s, queue_timeout: 60s } }", 1).await;
    let mut other = proxy.connect().await;
    let large = "x".repeat(32 << 20);
    assert_eq!(redis.ask(&["SET", "large", &large]).await, "+OK");
    // One reads nothing of its reply, which fits into no buffer.
    let mut deaf = proxy.connect().await;
    deaf.send(command(&["GET", "large"])).await;
    let held = [("cluster", "redis")];
    proxy.metric_reaches("fyke_cluster_leases_active", &held, 1.0).await;
    assert_eq!(ask(&mut other, &["ECHO", "one"]).await, "one");
    // One stops in the middle of a command.
    let mut slow = proxy.connect().await;
    slow.send(&command(&["SET", "other", &large])[..20 << 20]).await;
    proxy.metric_reaches("fyke_cluster_leases_active", &held, 1.0).await;
    assert_eq!(ask(&mut other, &["ECHO", "two"]).await, "two");
    // Both were told so by the end of their connections.
    assert!(deaf.rest().await.len() < large.len());
    assert!(slow.rest().await.starts_with(b"-"));
    assert_eq!(ask(&mut other, &["STRLEN", "large"]).await, format!(":{}", large.len()));
    assert_eq!(ask(&mut other, &["EXISTS", "other"]).await, ":0");
}
