//! Who may ask a Redis server, and how it is reached.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{admitted, global, pressure::Pressure};
use crate::support::{Launch, Upstream, eventually, redis::Redis, tls::Authority};

/// What the filter's README says that a user needs.
const RIGHTS: [&str; 10] =
    ["+eval", "+evalsha", "+time", "+get", "+set", "+pexpire", "+zcount", "+zadd", "+zrem", "+zremrangebyscore"];

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_user_with_few_rights_counts() {
    let authority = Authority::new();
    let certificate = authority.issue(&["redis.internal"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (own, key) = (file("own.pem", &certificate.pem), file("key.pem", &certificate.key));
    let ca = file("ca.pem", &authority.pem());
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let port = address.port().to_string();
    let options = ["--tls-port", &port, "--tls-cert-file", &own, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let redis = Redis::with(&[&options[..], &["--tls-auth-clients", "no"]].concat());
    let user = [&["ACL", "SETUSER", "proxy", "on", ">hunter2", "~fyke:limit:*"][..], &RIGHTS].concat();
    assert_eq!(redis.ask(&user).await, "+OK");

    let upstream = Upstream::says("ok").await;
    let options = "user: proxy, password: hunter2, timeout: 10s, failure_mode: closed";
    let yaml =
        global(&upstream, &redis, options, "{ name: all, global: true, limit: { rate: 10/d, concurrency: 50 } }");
    let plain = format!("limits: {{ protocol: tcp, endpoints: ['{}'] }}", redis.address);
    assert!(yaml.contains(&plain), "{yaml}");
    let yaml = yaml.replace(
        &plain,
        &format!("limits: {{ protocol: tcp, endpoints: ['{address}'], tls: {{ ca: ca.pem, sni: redis.internal }} }}"),
    );
    let proxy = Launch::new(yaml).file("ca.pem", authority.pem()).workers(2).start().await;
    assert_eq!(admitted(&proxy, 4, 10, "").await, 10);
    // What is given back needs rights, too.
    eventually("the places to be free", async || (redis.held("fyke:limit:shop:all:c1").await == ":0").then_some(()))
        .await;
    assert_eq!(proxy.metric("rate_limit_total", &[("outcome", "error")]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_log_in_gets_what_the_mode_says_and_storms_nobody() {
    let (upstream, redis) = (Upstream::says("ok").await, Redis::start());
    let rule = "{ name: all, global: true, key: [{ from: { request_header: x-phase } }], limit: 10/d }";
    for (mode, through) in [("open", None), ("closed", Some(0)), ("local, peers: 5", Some(2))] {
        let options = format!("user: proxy, password: hunter2, timeout: 2s, failure_mode: {mode}");
        let proxy = Launch::new(global(&upstream, &redis, &options, rule)).workers(2).start().await;
        let before = redis.info("total_connections_received").await;
        let pressure = Pressure::begin(&[&proxy], 8);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        pressure.seen(0, 10).await;
        let storm = redis.info("total_connections_received").await - before;
        // Each worker tries again after 10 ms at the soonest, then after twice as long each time.
        assert!(storm <= 30, "{mode}: {storm} connections");
        let answers = pressure.answers(0);
        let admitted = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(admitted, through.unwrap_or(answers.len()), "{mode}: {} answers", answers.len());
        proxy.logged(&["limits in redis cannot be looked up", "WRONGPASS"]).await;
        assert!(proxy.log_lines(&["hunter2"]).is_empty());
        // Once it may, it counts.
        assert_eq!(redis.ask(&["ACL", "SETUSER", "proxy", "on", ">hunter2", "~*", "+@all"]).await, "+OK");
        let errors = async || proxy.metric("rate_limit_total", &[("rule", "all"), ("outcome", "error")]).await;
        eventually("Redis is asked again", async || {
            let before = errors().await;
            pressure.round(3).await;
            (errors().await <= before).then_some(())
        })
        .await;
        let before = errors().await;
        let phase = pressure.round(5).await;
        assert_eq!((pressure.admitted(phase), errors().await), (10, before), "{mode}");
        pressure.end().await;
        assert_eq!(redis.ask(&["ACL", "DELUSER", "proxy"]).await, ":1");
        redis.ask(&["FLUSHALL"]).await;
    }
}
