//! Redirects of an upstream that the proxy follows itself (`internal_redirect` of a route).

use crate::support::{Proxy, Reply, Upstream};

/// Sends `/a` to `/b`, `/b` to `/c`, `/far` to another host, `/odd` to nowhere; says what it was asked for everywhere else.
async fn wanderer() -> Upstream {
    Upstream::http(|request| {
        let to = |status, location: &str| Reply::new(status).header("location", location);
        match request.path() {
            "/a" => to(302, "/b?x=1"),
            "/b?x=1" => to(302, "http://test.example/c"),
            "/far" => to(302, "https://elsewhere.example/c"),
            "/odd" => to(302, "no path"),
            "/see-other" => to(303, "/c"),
            path => {
                let field = |name| request.header(name).unwrap_or("-").to_owned();
                let text = format!("{} {path} {} {}", request.method(), field("host"), field("x-envoy-original-url"));
                Reply::ok(text)
            }
        }
    })
    .await
}

async fn proxy(upstream: &Upstream, policy: &str) -> Proxy {
    Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router] }}\n\
         filters:\n  router: {{ module: builtin:router, config: {{ routes: [{{ cluster: app, internal_redirect: {policy} }}] }} }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    ))
    .await
}

#[tokio::test]
async fn the_proxy_goes_where_it_is_sent_as_often_as_it_may() {
    let upstream = wanderer().await;
    let twice = proxy(&upstream, "{ max_hops: 2 }").await;
    let answer = twice.get("/a").await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, "GET /c test.example http://test.example/a"),
        "{answer:?}"
    );
    let once = proxy(&upstream, "{}").await;
    let answer = once.get("/a").await;
    assert_eq!((answer.status(), answer.header("location")), (302, Some("http://test.example/c")));
    // One request of the client's, three to the cluster.
    twice.metric_reaches("fyke_listener_requests_total", &[("class", "2xx")], 1.0).await;
    twice.metric_reaches("fyke_cluster_requests_total", &[("class", "3xx")], 2.0).await;
    twice.metric_reaches("fyke_cluster_requests_active", &[], 0.0).await;
}

#[tokio::test]
async fn what_the_policy_does_not_allow_is_the_clients_to_follow() {
    let upstream = wanderer().await;
    let proxy = proxy(&upstream, "{ codes: [302, 303] }").await;
    for (path, status) in [("/far", 302), ("/odd", 302)] {
        assert_eq!(proxy.get(path).await.status(), status, "{path}");
    }
    let mut client = proxy.connect().await;
    let body = client.exchange("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!(body.status(), 302, "a body was sent away once, and is not there any more");
    let other = client.exchange("DELETE /see-other HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(other.text(), "GET /c a http://a/see-other");
}

#[tokio::test]
async fn what_came_in_the_clear_goes_to_https_only_if_that_is_meant() {
    let upstream = wanderer().await;
    let both = proxy(&upstream, "{ cross_scheme: true }").await;
    assert_eq!(both.get("/far").await.text(), "GET /c elsewhere.example http://test.example/far");
    let safe = proxy(&upstream, "{ cross_scheme: true, safe_cross_scheme: true }").await;
    assert_eq!(safe.get("/far").await.status(), 302);
}

#[tokio::test]
async fn the_request_takes_headers_of_the_answer_along() {
    let upstream = Upstream::http(|request| match request.path() {
        "/in" => Reply::new(302).header("location", "/out").header("x-token", "7").header("x-token", "8"),
        "/none" => Reply::new(302).header("location", "/out"),
        _ => Reply::ok([request.all("x-token"), request.all("x-other")].concat().join(" ")),
    })
    .await;
    let proxy = proxy(&upstream, "{ copy_headers: [X-Token] }").await;
    let asked = async |path: &str| proxy.get_with(path, "x-token: own\r\nx-other: 1\r\n").await.text();
    assert_eq!(asked("/in").await, "7 8 1");
    assert_eq!(asked("/none").await, "1");
    assert_eq!(asked("/out").await, "own 1");
}

#[tokio::test]
async fn routes_say_to_which_routes_redirects_may_lead() {
    // From /a to /b to /c, each with its route; paths are rewritten, so that they have to be known again.
    let upstream = Upstream::http(|request| match request.path() {
        "/up/a" => Reply::new(302).header("location", "/b"),
        "/up/b" => Reply::new(302).header("location", "/c"),
        "/up/round" => Reply::new(302).header("location", "/round"),
        path => Reply::ok(path.to_owned()),
    })
    .await;
    let routes = |policy: &str| {
        let one = |name: &str| {
            format!(
                "{{ name: {name}, match: {{ path_prefix: /{name} }}, cluster: app, rewrite: {{ prefix: /up/{name} }}, \
                 response_headers: {{ set: {{ x-route: {name} }} }}, internal_redirect: {{ max_hops: 5, {policy} }} }}"
            )
        };
        ["a", "b", "c", "round"].map(one).join(", ")
    };
    let proxy = async |policy: &str| {
        let routes = routes(policy);
        Proxy::start(format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router] }}\n\
             filters:\n  router: {{ module: builtin:router, config: {{ routes: [{routes}] }} }}\n\
             clusters:\n  app: {{ endpoints: ['{}'] }}\n",
            upstream.address
        ))
        .await
    };
    let told = async |proxy: &Proxy, path: &str| {
        let answer = proxy.get(path).await;
        let of = |name| answer.header(name).unwrap_or("-").to_owned();
        (answer.status(), of("x-route"), of("location"), answer.text())
    };
    let say = |status, route: &str, location: &str, text: &str| {
        (status, route.to_owned(), location.to_owned(), text.to_owned())
    };
    let any = proxy("").await;
    assert_eq!(told(&any, "/a").await, say(200, "c", "-", "/up/c"));
    // What is not followed is the client's, with the headers of the route that has answered.
    let some = proxy("allowed_routes: [b]").await;
    assert_eq!(told(&some, "/a").await, say(302, "b", "/c", ""));
    assert_eq!(told(&some, "/b").await, say(302, "b", "/c", ""));
    let once = proxy("avoid_previous_routes: true").await;
    assert_eq!(told(&once, "/a").await, say(200, "c", "-", "/up/c"));
    let asked = upstream.seen().iter().filter(|request| request.path() == "/up/round").count();
    assert_eq!((told(&once, "/round").await, asked), (say(302, "round", "/round", ""), 0));
    let asked = upstream.seen().iter().filter(|request| request.path() == "/up/round").count();
    assert_eq!(asked, 2, "a redirect may lead to a route once");
}

#[tokio::test]
async fn what_is_not_followed_leaves_the_request_as_it_was() {
    let upstream = Upstream::http(|request| {
        let to = request.path().strip_prefix("/from").map(|to| format!("http://a.example{to}"));
        match to {
            Some(to) => Reply::new(302).header("location", &to),
            None => Reply::ok("followed"),
        }
    })
    .await;
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router] }}\n\
         filters:\n  router:\n    module: builtin:router\n    config:\n      virtual_hosts:\n      - domains: [a.example]\n        routes:\n\
         {0}- {{ name: go, match: {{ path_prefix: /from, headers: [{{ name: x-once }}] }}, cluster: app, rewrite: {{ host: internal.svc }}, \
         request_headers: {{ remove: [x-once] }}, response_headers: {{ add: {{ x-route: go }} }}, internal_redirect: {{ allowed_routes: [good] }} }}\n\
         {0}- {{ name: good, match: {{ path: /good }}, cluster: app }}\n\
         {0}- {{ name: other, match: {{ path: /other }}, cluster: app, hash: [{{ cookie: {{ name: c, ttl: 1h }} }}] }}\n\
         {0}- {{ name: says, match: {{ path: /says }}, respond: {{ status: 200 }} }}\n\
         clusters:\n  app: {{ endpoints: ['{1}'] }}\n",
        " ".repeat(8),
        upstream.address
    ))
    .await;
    let mut client = proxy.connect().await;
    for (to, status) in [("/good", 200), ("/other", 302), ("/says", 302), ("/nowhere", 302)] {
        let answer = client.exchange(&format!("GET /from{to} HTTP/1.1\r\nhost: a.example\r\nx-once: 1\r\n\r\n")).await;
        assert_eq!(answer.status(), status, "{to}: {answer:?}");
        let route = if status == 302 { vec!["go"] } else { Vec::new() };
        assert_eq!((answer.all("x-route"), answer.header("set-cookie")), (route, None), "{to}");
    }
    // Another host's routes are not looked for at the one that the request was rewritten to.
    assert_eq!(upstream.seen().iter().filter(|request| request.header("host") == Some("internal.svc")).count(), 4);
}
