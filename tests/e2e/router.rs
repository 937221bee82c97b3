//! The router end to end. Its own tests try every rule; these see that what it decides is what happens.

use crate::chain::official;
use crate::support::{Proxy, Upstream};

async fn proxy(config: &str) -> (Upstream, Upstream, Proxy) {
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router, info] }}\n\
         filters:\n  router: {{ module: builtin:router, config: {config} }}\n  info: {}\n\
         clusters:\n  a: {{ endpoints: ['{}'] }}\n  b: {{ endpoints: ['{}'] }}\n",
        official("properties route_name,route_metadata.team,xds.virtual_host_name", ""),
        a.address,
        b.address
    );
    let proxy = Proxy::start(yaml).await;
    (a, b, proxy)
}

#[tokio::test]
async fn each_kind_of_match_decides() {
    let routes = r#"{ routes: [
        { name: exact, match: { path: /exact }, cluster: a },
        { name: separated, match: { path_separated_prefix: /api }, cluster: a },
        { name: regex, match: { path_regex: '/v[0-9]+/x' }, cluster: a },
        { name: method, match: { path: /m, method: [PUT, DELETE] }, cluster: a },
        { name: header, match: { path: /h, headers: [{ name: x-beta, exact: '1' }] }, cluster: a },
        { name: host, match: { path: /host, headers: [{ name: Host, exact: a }] }, cluster: a },
        { name: no-host, match: { path: /no-host, headers: [{ name: host, present: false }] }, cluster: a },
        { name: no-header, match: { path: /n, headers: [{ name: x-gamma, present: false }] }, cluster: a },
        { name: query, match: { path: /q, query: [{ name: v, prefix: ab }] }, cluster: a },
        { name: cookie, match: { path: /c, cookies: [{ name: who, suffix: son }] }, cluster: a },
        { name: never, match: { fraction: 0% }, cluster: a },
        { name: prefix, match: { path_prefix: /pre }, cluster: a },
        { name: rest, cluster: b } ] }"#;
    let (_a, _b, proxy) = proxy(routes).await;
    for (request, headers, route) in [
        ("GET /exact?x=1", "", "exact"),
        ("GET /exact/", "", "rest"),
        ("GET /api", "", "separated"),
        ("GET /api/1", "", "separated"),
        ("GET /apis", "", "rest"),
        ("GET /v12/x", "", "regex"),
        ("GET /v/x", "", "rest"),
        ("PUT /m", "content-length: 0\r\n", "method"),
        ("GET /m", "", "rest"),
        ("GET /h", "x-beta: 1\r\n", "header"),
        ("GET /h", "x-beta: 2\r\n", "rest"),
        ("GET /host", "", "host"),
        ("GET /no-host", "", "rest"),
        ("GET /n", "", "no-header"),
        ("GET /n", "x-gamma: 1\r\n", "rest"),
        ("GET /q?u=1&v=abc", "", "query"),
        ("GET /q?v=b", "", "rest"),
        ("GET /c", "cookie: a=b; who=johnson\r\n", "cookie"),
        ("GET /c", "cookie: who=john\r\n", "rest"),
        ("GET /prefix", "", "prefix"),
    ] {
        let mut client = proxy.connect().await;
        let answer = client.exchange(&format!("{request} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await;
        assert_eq!(answer.header("x-response-route_name"), Some(route), "{request} {headers:?}");
        assert_eq!(answer.text(), if route == "rest" { "b" } else { "a" });
    }
}

#[tokio::test]
async fn virtual_hosts_are_chosen_by_the_most_specific_domain() {
    let hosts = r#"{ virtual_hosts: [
        { name: star, domains: ['*'], routes: [{ cluster: b }] },
        { name: prefix, domains: ['api.*'], routes: [{ cluster: b }] },
        { name: suffix, domains: ['*.example.com'], routes: [{ cluster: a }] },
        { name: longer, domains: ['*.eu.example.com'], routes: [{ cluster: a }] },
        { name: exact, domains: [api.example.com], routes: [{ cluster: a }] },
        { name: port, domains: ['api.example.com:8443'], routes: [{ cluster: a }] } ] }"#;
    let (_a, _b, proxy) = proxy(hosts).await;
    for (host, name) in [
        ("api.example.com", "exact"),
        ("API.example.COM:8080", "exact"),
        ("API.example.COM:8443", "port"),
        ("www.example.com", "suffix"),
        ("www.eu.example.com", "longer"),
        ("api.example.org", "prefix"),
        ("other.org", "star"),
    ] {
        let mut client = proxy.connect().await;
        let answer = client.exchange(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(answer.header("x-response-xds.virtual_host_name"), Some(name), "{host}");
    }
}

#[tokio::test]
async fn each_action_happens() {
    let routes = r#"{ routes: [
        { match: { path_prefix: /cut/ }, cluster: a, rewrite: { prefix: /, host: inner.example } },
        { match: { path_prefix: /re/ }, cluster: a, rewrite: { regex: { pattern: '^/re/(\d+)', substitution: '/number/\1' } } },
        { match: { path: /edit }, cluster: a, request_headers: { set: { x-route: edited }, remove: [x-debug] }, response_headers: { set: { x-answer: edited } }, metadata: { team: identity } },
        { match: { path: /old }, redirect: { path: /new, code: 308 } },
        { match: { path: /ping }, respond: { status: 200, body: pong, headers: { x-from: router } } } ] }"#;
    let (a, _b, proxy) = proxy(routes).await;
    proxy.get("/cut/x/y?q=1").await;
    assert_eq!((a.last().path(), a.last().header("host")), ("/x/y?q=1", Some("inner.example")));
    proxy.get("/re/42?q=1").await;
    assert_eq!(a.last().path(), "/number/42?q=1");
    let answer = proxy.get_with("/edit", "x-debug: 1\r\nx-route: client\r\n").await;
    assert_eq!((a.last().all("x-route"), a.last().header("x-debug")), (vec!["edited"], None));
    assert_eq!(
        (answer.header("x-answer"), answer.header("x-response-route_metadata.team")),
        (Some("edited"), Some("identity"))
    );
    let before = a.seen().len();
    let answer = proxy.get("/old?q=1").await;
    assert_eq!((answer.status(), answer.header("location")), (308, Some("http://test.example/new?q=1")));
    let answer = proxy.get("/ping").await;
    assert_eq!((answer.status(), answer.text().as_str(), answer.header("x-from")), (200, "pong", Some("router")));
    assert_eq!(proxy.get("/nothing").await.status(), 404);
    assert_eq!(a.seen().len(), before, "an answer of the router's own went upstream");
}

#[tokio::test]
async fn weights_share_out_requests() {
    let (a, b, proxy) =
        proxy("{ routes: [{ weighted_clusters: [{ cluster: a, weight: 75 }, { cluster: b, weight: 25 }] }] }").await;
    let mut client = proxy.connect().await;
    for _ in 0..400 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
    }
    // Seven standard deviations from 300.
    let share = a.seen().len();
    assert!((240..=360).contains(&share), "{share} of 400");
    assert_eq!(share + b.seen().len(), 400);
}

#[tokio::test]
async fn a_route_configures_later_filters() {
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router, f] }}\n\
         filters:\n  \
           router: {{ module: builtin:router, config: {{ routes: [{{ match: {{ path: /a }}, cluster: app, filters: {{ f: 'tag route-a' }} }}, {{ match: {{ path: /b }}, cluster: app, filters: {{ f: 'tag route-b; upper' }} }}, {{ cluster: app }}] }} }}\n  \
           f: {}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        official("tag default", ""),
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    for (path, tag, body) in
        [("/a", "route-a", "x"), ("/b", "route-b", "X"), ("/c", "default", "x"), ("/a", "route-a", "x")]
    {
        let answer = proxy.get(path).await;
        assert_eq!((answer.header("x-chain"), answer.text().as_str()), (Some(tag), body), "{path}");
        assert_eq!(upstream.last().all("x-chain"), [tag]);
    }
}

#[tokio::test]
async fn a_long_path_does_not_cost_the_router_its_life() {
    let (_a, _b, proxy) =
        proxy("{ routes: [{ match: { path_regex: '(/[a-z]+)*/edit' }, cluster: a }, { cluster: b }] }").await;
    assert_eq!(proxy.get(&"/abc".repeat(15_000)).await.status(), 414);
    assert_eq!(proxy.get("/abc/edit").await.text(), "a");
    assert_eq!(proxy.metric("fyke_filter_traps_total", &[("filter", "router")]).await, 0.0);
}
