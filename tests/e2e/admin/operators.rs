//! What operators see and do on the dashboard of a running proxy: panels of filters, the tester, the tap, single endpoints, what changed.

use super::dashboard::{Live, browse, signed_in, submit};
use crate::support::{Reply, Site, Upstream, endpoints, eventually, proxy::post};

/// A proxy whose requests are counted by path, with a filter that breaks some of them.
fn counted(upstream: std::net::SocketAddr) -> String {
    format!(
        r#"
admin: {{ address: 127.0.0.1:0, token_file: token }}
listeners: {{ web: {{ address: 127.0.0.1:0, filters: [stats, fault, router] }} }}
filters:
  stats:
    module: builtin:stats-tags
    config: {{ labels: [{{ label: path, from: {{ property: request.url_path }} }}, {{ label: class, from: response_code, then: [status_class] }}] }}
  fault: {{ module: builtin:fault, config: {{ abort: {{ status: 503, fraction: 100% }}, headers: {{ x-break: "1" }} }} }}
  router: {{ module: builtin:router, config: {{ routes: [{{ name: all, cluster: app }}] }} }}
clusters: {{ app: {{ endpoints: ['{upstream}'] }} }}
"#
    )
}

#[tokio::test]
async fn panels_that_a_filter_declares_are_drawn_from_its_metrics() {
    let upstream = Upstream::says("x").await;
    let proxy = crate::support::Proxy::start(counted(upstream.address)).await;
    let mut live = Live::of(&proxy, "/dashboard/filters/stats/panels").await;
    for _ in 0..20 {
        assert_eq!(proxy.get("/users").await.status(), 200);
    }
    assert_eq!(proxy.get_with("/orders", "x-break: 1\r\n").await.status(), 503);
    // Live, and to whoever has no JavaScript.
    live.sends("/users").await;
    let page = eventually("rates of both paths", async || {
        let page = proxy.ask("/dashboard/filters/stats/panels").await.text();
        (page.contains("/users · 2xx") && page.contains("/orders · 5xx")).then_some(page)
    })
    .await;
    for words in
        ["Most requests", "Errors", "Latency by labels", "stats_requests_total", "{class=5*}", " by path, class"]
    {
        assert!(page.contains(words), "{words:?} is missing in {page}");
    }
    // What the configuration does not define is not there.
    assert!(!page.contains("istio_") && !page.contains("response_code"), "{page}");
    let data = eventually("a chart's numbers", async || {
        let data = proxy.page("/dashboard/data/panels/stats/0").await;
        let rates =
            data["series"].as_array()?.iter().flat_map(|one| one["values"].as_array().cloned().unwrap_or_default());
        let is_there = rates.filter_map(|rate| rate.as_f64()).any(|rate| rate > 0.0);
        is_there.then_some(data)
    })
    .await;
    assert_eq!(data["unit"], "per_second");
    let fault = proxy.ask("/dashboard/filters/fault/panels").await.text();
    assert!(fault.contains("Delayed now") && fault.contains("abort"), "{fault}");
    // A filter without panels has no such page, and says so in the list.
    assert_eq!(proxy.ask("/dashboard/filters/router/panels").await.status(), 404);
    assert!(proxy.ask("/dashboard/filters").await.text().contains("panels of stats"));
}

#[tokio::test]
async fn a_thousand_values_of_a_label_are_twenty_rows() {
    let upstream = Upstream::says("x").await;
    let proxy = crate::support::Proxy::start(counted(upstream.address)).await;
    for number in 0..200 {
        proxy.get(&format!("/p{number}")).await;
    }
    let page = eventually("all of them", async || {
        let page = proxy.ask("/dashboard/filters/stats/panels").await.text();
        page.contains("and 180 more").then_some(page)
    })
    .await;
    assert!(page.matches("<tr data-key=\"/p").count() <= 20 * 8, "{}", page.len());
}

#[tokio::test]
async fn the_tester_says_where_a_request_would_go_and_why() {
    let upstream = Upstream::says("x").await;
    let site = Site::default()
        .route("name: users, match: { path: /users }, cluster: app")
        .route("name: rest, match: { path_prefix: / }, cluster: other")
        .cluster("app", &endpoints(&[upstream.address]))
        .cluster("other", &endpoints(&[upstream.address]));
    let proxy = site.start().await;
    let page = proxy.ask("/dashboard/explain?url=%2Fusers%3Fa%3D1&method=GET").await.text();
    for words in ["It goes to", "services/cluster/app", "users", "listener", "matches", &upstream.address.to_string()] {
        assert!(page.contains(words), "{words:?} is missing in {page}");
    }
    let other = proxy.ask("/dashboard/explain?url=%2Fx&headers=x-a%3A1").await.text();
    assert!(other.contains("services/cluster/other") && other.contains("does not match"), "{other}");
    let none = proxy.ask("/dashboard/explain?url=nowhere").await.text();
    assert!(none.contains("No answer") && none.contains("has no scheme"), "{none}");
    // Each answer takes a proxy of its own: nobody has it made once a second.
    assert_eq!(proxy.ask("/dashboard/live?page=%2Fdashboard%2Fexplain%3Furl%3D%2Fx").await.status(), 400);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn the_tap_shows_requests_to_whoever_has_signed_in() {
    let upstream = Upstream::http(|seen| Reply::new(if seen.path().starts_with("/bad") { 503 } else { 200 })).await;
    let proxy = Site::app("", &endpoints(&[upstream.address])).start().await;
    let stranger = proxy.ask("/dashboard/tap").await.text();
    assert!(stranger.contains("Sign in") && stranger.contains("they show what users send"), "{stranger}");
    let (cookie, _) = signed_in(&proxy).await;
    let tap = async |query: &str| {
        let path = format!("/dashboard/tap{query}");
        browse(&proxy, "GET", &path, &format!("cookie: {cookie}\r\n"), "").await.text()
    };
    let only = "?status=5xx&header=x-team%3A+blue";
    assert!(tap("").await.contains("No request has fitted yet"));
    tap(only).await;
    proxy.get_with("/good", "x-team: blue-green\r\nauthorization: Bearer secret\r\n").await;
    proxy.get_with("/bad/1", "x-team: blue-green\r\n").await;
    proxy.get_with("/bad/2", "x-team: red\r\n").await;
    let all = eventually("three requests", async || {
        let page = tap("").await;
        ["/good", "/bad/1", "/bad/2"].iter().all(|path| page.contains(path)).then_some(page)
    })
    .await;
    assert!(all.contains("blue-green") && !all.contains("Bearer secret") && all.contains("***"), "{all}");
    let some = tap(only).await;
    assert!(some.contains("/bad/1") && !some.contains("/bad/2") && !some.contains("/good"), "{some}");
}

#[tokio::test]
async fn an_endpoint_is_drained_and_weighed_by_form_and_by_path_at_once() {
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let list = endpoints(&[a.address, b.address]);
    let mut proxy = Site::app("", &format!("load_balancer: round_robin, {list}")).start().await;
    let share = async |proxy: &crate::support::Proxy| {
        let mut of_a = 0;
        for _ in 0..40 {
            of_a += usize::from(proxy.get("/").await.text() == "a");
        }
        of_a
    };
    assert!((19..=21).contains(&share(&proxy).await));
    let (cookie, csrf) = signed_in(&proxy).await;
    let form = async |proxy: &crate::support::Proxy, action: &str| {
        let body = format!("csrf={csrf}&cluster=app&address={}&confirmed=yes&{action}", a.address);
        let done = submit(proxy, "/dashboard/act", &cookie, &body).await;
        (done.status(), done.header("location").unwrap_or_default().to_owned())
    };
    assert_eq!(form(&proxy, "action=drain").await, (303, "/dashboard/endpoints?cluster=app&done=drain".to_owned()));
    assert_eq!(share(&proxy).await, 0, "the next request meets it already");
    let page = browse(&proxy, "GET", "/dashboard/endpoints", &format!("cookie: {cookie}\r\n"), "").await.text();
    assert!(page.contains("drained by an operator") && page.contains(">Restore<"), "{page}");
    // It lives outside of generations: a reload, even one that changes the cluster, does not bring it back.
    let changed = Site::app("", &format!("load_balancer: round_robin, connect_timeout: 2s, {list}"));
    proxy.reload(&changed.yaml()).await;
    assert_eq!(share(&proxy).await, 0);
    assert_eq!(form(&proxy, "action=restore").await.0, 303);
    assert!((19..=21).contains(&share(&proxy).await));
    assert_eq!(form(&proxy, "action=weight&weight=3").await.0, 303);
    assert!((29..=31).contains(&share(&proxy).await));

    let path = format!("/v1/clusters/app/endpoint?address={}", a.address);
    let act = async |proxy: &crate::support::Proxy, more: &str| proxy.act(&format!("{path}{more}"), "").await;
    let (status, said) = act(&proxy, "&weight=written").await;
    assert_eq!((status, said["outcome"].as_str()), (200, Some("applied")), "{said}");
    assert!((19..=21).contains(&share(&proxy).await));
    assert_eq!(act(&proxy, "&drain=true").await.0, 200);
    let clusters = proxy.page("/clusters").await;
    let first = &clusters["app"]["endpoints"][0];
    assert_eq!((&first["health"], &first["drained"]), (&"draining".into(), &true.into()), "{first}");
    assert_eq!(act(&proxy, "&drain=true").await.1["outcome"], "unchanged");
    assert_eq!(act(&proxy, "&weight=70000").await.0, 400);
    assert_eq!(act(&proxy, "&wait=1").await.0, 400);
    assert_eq!(proxy.act("/v1/clusters/none/endpoint?address=127.0.0.1:1&drain=true", "").await.0, 404);
    assert_eq!(proxy.act("/v1/clusters/app/endpoint?address=127.0.0.1:1&drain=true", "").await.0, 404);
    assert_eq!(post(proxy.admin(), &format!("{path}&drain=true"), "").await.status(), 401);
    let audit = proxy.page("/audit").await;
    let told: Vec<&str> = audit.as_array().unwrap().iter().filter_map(|entry| entry["what"].as_str()).collect();
    assert!(told.iter().any(|what| what.starts_with("endpoint app ") && what.ends_with(" drain")), "{told:?}");
    let events = proxy.ask("/v1/events?format=json&kind=endpoint_changed").await.text();
    assert!(events.contains("weight as written"), "{events}");
}

#[tokio::test]
async fn endpoints_show_what_each_of_them_does() {
    let good = Upstream::says("a").await;
    // It is well by its checks, and yet every request fails.
    let bad = Upstream::http(|asked| Reply::new(if asked.path() == "/healthz" { 200 } else { 500 })).await;
    let check = "health_check: { http: /healthz, interval: 50ms, no_traffic_interval: 50ms, unhealthy: 1000 }";
    let list = endpoints(&[good.address, bad.address]);
    let proxy = Site::app("", &format!("load_balancer: round_robin, {check}, {list}")).start().await;
    for _ in 0..10 {
        proxy.get("/").await;
    }
    let row = |page: &str, address: std::net::SocketAddr| {
        let (_, rest) = page.split_once(&format!("data-key=\"{address}\"")).expect("a row");
        rest.split("</tr>").next().unwrap().to_owned()
    };
    let page = eventually("rates and checks of both", async || {
        let page = proxy.ask("/dashboard/endpoints?cluster=app").await.text();
        let (good, bad) = (row(&page, good.address), row(&page, bad.address));
        (good.contains("passed") && bad.contains("passed") && good.contains("/s</td>")).then_some(page)
    })
    .await;
    let numbers = |address| -> Vec<String> {
        let row = row(&page, address);
        row.split("<td class=\"num\">").skip(1).map(|cell| cell.split("</td>").next().unwrap().to_owned()).collect()
    };
    // Age, rate, active, total, p50, p99, connect, timeout, reset, 5xx.
    let (good, bad) = (numbers(good.address), numbers(bad.address));
    assert_eq!((good[2].as_str(), good[3].as_str(), bad[3].as_str()), ("0", "5", "5"), "{good:?} {bad:?}");
    assert!(good[4].contains("s") && bad[9].contains('5'), "{good:?} {bad:?}");
    assert!(!good[9].contains('5'), "{good:?}");
}

#[tokio::test]
async fn a_reload_is_shown_line_by_line() {
    let upstream = Upstream::says("x").await;
    let mut proxy = Site::app("", &endpoints(&[upstream.address])).start().await;
    proxy.reload(&Site::app("timeout: 7s", &endpoints(&[upstream.address])).yaml()).await;
    let page = proxy.ask("/dashboard").await.text();
    assert!(page.contains("timeout: 7s") && page.contains("class=\"diff\""), "{page}");
}
