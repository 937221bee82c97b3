//! Filters that ask for more than there is: the host stays as it was, and says why.

use rustix::process::Signal;

use crate::chain::{chain, official};
use crate::support::{Launch, Proxy, Upstream, eventually, proxy::get};

#[tokio::test]
async fn every_cause_has_its_flag_in_the_log() {
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [log, router] }}\nfilters:\n  \
           log: {{ module: 'builtin:access-log', config: {{ sink: log, template: '%REQ(:path)% %RESPONSE_FLAGS% %ROUTE_NAME% %RESPONSE_CODE_DETAILS% %PROPERTY(route_metadata.team)%,%PROPERTY(route_metadata.tier)%,%PROPERTY(route_metadata.paid)%' }} }}\n  \
           router: {{ module: 'builtin:router', config: {{ routes: [{{ name: gone, match: {{ path: /gone }}, cluster: empty }}, {{ name: old, match: {{ path: /old }}, redirect: {{ path: /new }}, metadata: {{ team: a, tier: 3, paid: true }} }}, {{ name: ping, match: {{ path: /ping }}, respond: {{ status: 200 }} }}, {{ name: app, match: {{ path: /app }}, cluster: app }}] }} }}\n\
         clusters:\n  empty: {{ endpoints: [] }}\n  app: {{ endpoints: ['{}'] }}\nsinks:\n  log: {{ file: access.log }}\n",
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    for (path, status, line) in [
        ("/gone", 503, "/gone UH gone no_endpoint"),
        ("/none", 404, "/none NR - route_not_found"),
        ("/old", 301, "/old - old redirect a,3,true"),
        ("/ping", 200, "/ping - ping direct_response"),
        ("/app", 200, "/app - app via_upstream"),
    ] {
        assert_eq!(proxy.get(path).await.status(), status, "{path}");
        proxy.written("access.log", &[line]).await;
    }
}

#[tokio::test]
async fn a_client_that_gives_up_before_the_answer_has_its_flag_too() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        if let Some(request) = conn.request().await {
            recorder.saw(&request);
        }
        conn.rest().await;
    })
    .await;
    let log =
        "{ module: 'builtin:access-log', config: { sink: log, template: '%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%' } }";
    let yaml = chain(upstream.address, &[("log", log.to_owned())]) + "sinks:\n  log: { file: access.log }\n";
    let proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the request", async || (upstream.seen().len() == 1).then_some(())).await;
    drop(client);
    proxy.written("access.log", &["DC downstream_disconnected"]).await;
}

#[tokio::test]
async fn a_rewrite_cannot_make_a_dot_segment() {
    let upstream = Upstream::echo().await;
    let router = "{ module: 'builtin:router', config: { routes: [{ match: { path_prefix: /static }, rewrite: { prefix: /files/ }, cluster: app }] } }";
    let proxy = Proxy::start(chain(upstream.address, &[("router", router.to_owned())])).await;
    assert_eq!(proxy.get("/static../secret").await.status(), 400, "neither /files/../secret nor /secret");
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(proxy.get("/static/./..a/x").await.status(), 200);
    assert_eq!(upstream.last().path(), "/files/..a/x");
}

#[tokio::test]
async fn a_body_that_a_filter_blows_up_is_cut_off() {
    let upstream = Upstream::echo().await;
    let yaml = chain(upstream.address, &[("f", official("blow", "limits: { call_time: 5s }, "))])
        .replace("cluster: app }", "cluster: app, limits: { buffer: 64KiB } }");
    let proxy = Proxy::start(yaml).await;
    let before = proxy.resident();
    let mut client = proxy.connect().await;
    let _ = client.try_send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234").await;
    assert!(client.closed().await, "the stream ends");
    assert!(proxy.resident() < before + 300 * 1024 * 1024);
    assert_eq!(proxy.get("/").await.status(), 200, "others do not notice");
}

#[tokio::test]
async fn a_vm_and_a_filter_of_one_name_share_nothing() {
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [a], cluster: app }}\n  other: {{ address: '127.0.0.1:0', filters: [b], cluster: app }}\n\
         filters:\n  a: {}\n  b: {}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        official("seed visits; count visits", ""),
        official("count visits", "vm: a, "),
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    assert_eq!(proxy.get("/").await.header("x-count"), Some("101"), "what it stored while it was configured is there");
    assert_eq!(get(proxy.listener("other"), "/", "").await.header("x-count"), Some("1"));
}

#[tokio::test]
async fn a_context_has_its_filter_while_it_is_made_and_when_another_one_runs() {
    let upstream = Upstream::echo().await;
    let filters = [("one", official("born", "vm: v, ")), ("two", official("sibling", "vm: v, "))];
    let proxy = Proxy::start(chain(upstream.address, &filters)).await;
    assert_eq!(proxy.get("/").await.status(), 200);
    let seen = upstream.last();
    assert_eq!((seen.header("x-born"), seen.header("x-sibling")), (Some("one"), Some("one")));
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_said() {
    let upstream = Upstream::says("x").await;
    let flood = official("flood 20000", "limits: { call_time: 60s }, ");
    let proxy = Proxy::start(chain(upstream.address, &[("f", flood)])).await;
    assert_eq!(proxy.get("/").await.status(), 200);
    proxy.logged(&["suppressed", "\"filter\":\"f\""]).await;
    proxy.logged(&["flood 0"]).await;
}

#[tokio::test]
async fn plugins_say_goodbye_when_the_proxy_ends() {
    let upstream = Upstream::says("x").await;
    let yaml = chain(upstream.address, &[("f", official("goodbye farewell", ""))]);
    let mut proxy = Launch::new(yaml).workers(2).start().await;
    assert_eq!(proxy.get("/").await.status(), 200);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.logged(&["farewell", "\"filter\":\"f\""]).await;
}

#[tokio::test]
async fn a_plugin_that_is_not_done_is_waited_for_and_one_that_never_is_not_for_ever() {
    let upstream = Upstream::says("x").await;
    let yaml = chain(upstream.address, &[("f", official("later at last", ""))]);
    let mut proxy = Launch::new(yaml).workers(2).start().await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.logged(&["at last", "\"filter\":\"f\""]).await;
    assert!(!proxy.has_logged(&["was not done in time"]));
    // Without its timer it cannot say that it is done.
    let yaml = chain(upstream.address, &[("f", official("later never", "callbacks: [done], "))]);
    let mut proxy = Proxy::start(yaml).await;
    proxy.signal(Signal::TERM);
    proxy.logged(&["was not done in time", "\"filter\":\"f\""]).await;
    assert_eq!(proxy.ended().await, Some(0));
}
