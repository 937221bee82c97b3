//! A filter that does not come back from `configure`.

use std::time::{Duration, Instant};

use crate::{
    chain::{chain, misbehave},
    support::{
        Conn, Launch, Upstream,
        load::{Load, Turn},
        process::run,
    },
};

/// How much processor time it may take. Where others want the processor, that is more on the clock: who configures stands behind them.
const CONFIGURE_TIME: Duration = Duration::from_millis(1500);

/// The upstream's filter, which obeys this order.
fn yaml(upstream: &Upstream, order: &str) -> String {
    let limits = format!("limits: {{ configure_time: {}ms }}, ", CONFIGURE_TIME.as_millis());
    chain(upstream.address, &[("f", misbehave(order, &limits))])
}

/// What ran goes on meanwhile, and whoever asked is told why it was refused, wherever they look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_hangs_at_a_reload_keeps_nobody_waiting() {
    let upstream = Upstream::says("hi").await;
    let proxy = Launch::new(yaml(&upstream, "a b")).workers(2).start().await;
    proxy.rewrite(&yaml(&upstream, "configure loop"));
    let web = proxy.web();
    let mut load = Load::default();
    for _ in 0..2 {
        load.client(async move |turn: Turn| {
            let mut conn = Conn::to(web).await;
            while turn.goes_on() {
                let began = Instant::now();
                assert_eq!(conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
                assert!(began.elapsed() < CONFIGURE_TIME, "a request took {:?}", began.elapsed());
                turn.answered();
            }
        });
    }
    let command: Vec<_> = ["reload".to_owned()].into_iter().chain(proxy.admin_options()).collect();
    let began = Instant::now();
    let ended = tokio::task::spawn_blocking(move || run(command)).await.unwrap();
    let took = began.elapsed();
    let answers = load.end().await;
    println!("refused after {took:?}; {answers} answers meanwhile");
    assert!(took >= CONFIGURE_TIME && answers > 100, "{took:?}, {answers} answers");

    let why = "in configure: it used more than 1.5s of CPU time";
    assert!(ended.code == Some(2) && ended.stderr.contains(why), "{ended:?}");
    proxy.logged(&["refused, what ran goes on", why]).await;
    assert_eq!(proxy.metric("fyke_process_reloads_total", &[("outcome", "refused")]).await, 1.0);
    let audit = proxy.page("/audit").await;
    assert!(audit[0]["outcome"] == "refused" && audit[0].to_string().contains(why), "{audit:#}");
    let (status, value) = proxy.act("/reload", "").await;
    assert!(status == 422 && value["error"].as_str().unwrap().contains(why), "{value:#}");
    assert_eq!(proxy.page("/status").await["generation"], 1);
    assert_eq!(proxy.get("/").await.status(), 200);
}

/// One that hangs does not keep a good one from taking over afterwards, and nothing of it is left.
#[tokio::test]
async fn after_one_that_hangs_the_next_one_is_as_welcome_as_ever() {
    let upstream = Upstream::says("hi").await;
    let mut proxy = Launch::new(yaml(&upstream, "a b")).start().await;
    proxy.rewrite(&yaml(&upstream, "configure loop"));
    let (status, value) = proxy.act("/reload?dry_run=true", "").await;
    assert_eq!(status, 422, "{value:#}");
    let body = serde_json::json!({ "config": "configure loop" }).to_string();
    let (status, value) = proxy.change("PUT", "/filters/f?canary=10%25", "application/json", body).await;
    assert_eq!(status, 422, "{value:#}");
    assert_eq!(proxy.reload(&yaml(&upstream, "c d")).await, 2);
    assert_eq!(proxy.get("/").await.status(), 200);
    proxy.metric_reaches("fyke_filter_instances", &[("filter", "f")], 1.0).await;
    assert_eq!(proxy.metric("fyke_filter_instances", &[]).await, 1.0);
}
