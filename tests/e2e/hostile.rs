//! Filters that ask for more than there is: the host stays as it was, and says why.

use crate::support::{
    Proxy, Upstream,
    filters::{chain, official},
};

#[tokio::test]
async fn every_cause_has_its_flag_in_the_log() {
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [log, router] }}\nfilters:\n  \
           log: {{ module: 'builtin:access-log', config: {{ sink: log, template: '%REQ(:path)% %RESPONSE_FLAGS% %ROUTE_NAME% %RESPONSE_CODE_DETAILS%' }} }}\n  \
           router: {{ module: 'builtin:router', config: {{ routes: [{{ name: gone, match: {{ path: /gone }}, cluster: empty }}, {{ name: old, match: {{ path: /old }}, redirect: {{ path: /new }}, metadata: {{ team: a }} }}, {{ name: ping, match: {{ path: /ping }}, respond: {{ status: 200 }} }}, {{ name: app, match: {{ path: /app }}, cluster: app }}] }} }}\n\
         clusters:\n  empty: {{ endpoints: [] }}\n  app: {{ endpoints: ['{}'] }}\nsinks:\n  log: {{ file: access.log }}\n",
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    for (path, status, line) in [
        ("/gone", 503, "/gone UH gone no_endpoint"),
        ("/none", 404, "/none NR - route_not_found"),
        ("/old", 301, "/old - old redirect"),
        ("/ping", 200, "/ping - ping direct_response"),
        ("/app", 200, "/app - app via_upstream"),
    ] {
        assert_eq!(proxy.get(path).await.status(), status, "{path}");
        proxy.written("access.log", &[line]).await;
    }
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
