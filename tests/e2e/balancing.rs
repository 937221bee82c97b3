//! Where requests go: shares, stickiness, parts of a cluster, priorities, a named endpoint, and the quick one before the slow one.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crate::support::{Proxy, Reply, Site, Upstream, endpoints, eventually, faulty::slow};

/// Names of who has answered, and how often.
async fn answers(proxy: &Proxy, requests: usize, headers: impl Fn(usize) -> String) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for number in 0..requests {
        let answer = proxy.get_with(&format!("/{number}"), &headers(number)).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        *names.entry(answer.text()).or_insert(0) += 1;
    }
    names
}

async fn four() -> (Vec<Upstream>, Vec<SocketAddr>) {
    let mut upstreams = Vec::new();
    for name in ["a", "b", "c", "d"] {
        upstreams.push(Upstream::says(name).await);
    }
    let addresses = upstreams.iter().map(|upstream| upstream.address).collect();
    (upstreams, addresses)
}

#[tokio::test]
async fn weights_hold_over_several_workers() {
    let (_upstreams, addresses) = four().await;
    let cluster = format!(
        "endpoints: [{{ address: '{}', weight: 6 }}, {{ address: '{}', weight: 3 }}, '{}']",
        addresses[0], addresses[1], addresses[2]
    );
    // The rounds are exact on each worker; a tenth of all requests is far more than four unfinished rounds. Of the balancers that draw,
    // it is more than six standard deviations.
    for (balancer, tolerance) in [("round_robin", 40), ("least_request", 70), ("random", 70)] {
        let proxy = Site::app("", &format!("load_balancer: {balancer}, {cluster}")).workers(4).await;
        let names = answers(&proxy, 400, |_| String::new()).await;
        for (name, expected) in [("a", 240), ("b", 120), ("c", 40)] {
            let got = names.get(name).copied().unwrap_or(0);
            assert!(got.abs_diff(expected) <= tolerance, "{balancer}: {names:?}");
        }
    }
}

#[tokio::test]
async fn the_same_header_goes_to_the_same_endpoint_on_every_worker() {
    let (_upstreams, addresses) = four().await;
    for balancer in ["ring_hash", "maglev", "{ ring_hash: { minimum_size: 4096 } }", "{ maglev: { table_size: 251 } }"]
    {
        let cluster = format!("load_balancer: {balancer}, {}", endpoints(&addresses));
        let proxy = Site::app("hash: [{ header: x-user }]", &cluster).workers(4).await;
        let mut used = BTreeMap::new();
        for user in 0..24 {
            let names = answers(&proxy, 6, |_| format!("x-user: user-{user}\r\n")).await;
            assert_eq!(names.len(), 1, "{balancer}: user {user} went to {names:?}");
            used.extend(names);
        }
        assert_eq!(used.len(), 4, "{balancer}: only {used:?} were used");
    }
}

#[tokio::test]
async fn an_endpoint_that_leaves_moves_few_users_but_its_own() {
    let (_upstreams, addresses) = four().await;
    let cluster = |count: usize| format!("load_balancer: ring_hash, {}", endpoints(&addresses[..count]));
    let mut proxy = Site::app("hash: [{ header: x-user }]", &cluster(4)).start().await;
    let mut before = Vec::new();
    for user in 0..60 {
        before.push(proxy.get_with("/", &format!("x-user: {user}\r\n")).await.text());
    }
    proxy.reload(&Site::app("hash: [{ header: x-user }]", &cluster(3)).yaml()).await;
    let mut moved = 0;
    for (user, before) in before.iter().enumerate() {
        let now = proxy.get_with("/", &format!("x-user: {user}\r\n")).await.text();
        assert_ne!(now, "d");
        moved += usize::from(now != *before && before != "d");
    }
    // Those that stay get some more entries of the ring each, as in Envoy, and a few of their neighbours' users with them.
    assert!(moved <= 15, "{moved} of 60 users were moved without need");
}

#[tokio::test]
async fn a_cookie_is_issued_and_leads_back() {
    let (_upstreams, addresses) = four().await;
    let cluster = format!("load_balancer: maglev, {}", endpoints(&addresses));
    let proxy = Site::app("hash: [{ cookie: { name: sticky, ttl: 1h, path: / } }]", &cluster).workers(2).await;
    let mut used = BTreeMap::new();
    for _ in 0..24 {
        let first = proxy.get("/").await;
        let cookie = first.header("set-cookie").unwrap_or_else(|| panic!("no cookie in {first:?}")).to_owned();
        assert!(cookie.starts_with("sticky=") && cookie.to_lowercase().contains("max-age=3600"), "{cookie}");
        let pair = cookie.split(';').next().unwrap().to_owned();
        for _ in 0..3 {
            let next = proxy.get_with("/", &format!("cookie: a=b; {pair}\r\n")).await;
            assert_eq!(next.text(), first.text());
            assert_eq!(next.header("set-cookie"), None, "who has one keeps it");
        }
        used.insert(first.text(), ());
    }
    assert!(used.len() > 1, "{used:?}");
}

#[tokio::test]
async fn labels_choose_a_part_of_the_cluster() {
    let (_upstreams, addresses) = four().await;
    let labelled =
        |place: usize, labels: &str| format!("{{ address: '{}', labels: {{ {labels} }} }}", addresses[place]);
    let all = [
        labelled(0, "version: v1, size: big"),
        labelled(1, "version: v1, size: small"),
        labelled(2, "version: v2, size: big"),
        labelled(3, ""),
    ];
    let cluster = format!(
        "load_balancer: round_robin, subsets: {{ keys: [[version], [version, size]] }}, endpoints: [{}]",
        all.join(", ")
    );
    let site = Site::default()
        .route("match: { headers: [{ name: x-v, exact: v1 }] }, cluster: app, endpoint_labels: { version: v1 }")
        .route("match: { headers: [{ name: x-v, exact: big }] }, cluster: app, endpoint_labels: { size: big, version: v2 }")
        .route("match: { headers: [{ name: x-v, exact: v3 }] }, cluster: app, endpoint_labels: { version: v3 }")
        .route("cluster: app")
        .cluster("app", &cluster);
    let proxy = site.start().await;
    let names = |names: BTreeMap<String, usize>| names.into_keys().collect::<Vec<_>>().join("");
    assert_eq!(names(answers(&proxy, 8, |_| "x-v: v1\r\n".to_owned()).await), "ab");
    assert_eq!(names(answers(&proxy, 8, |_| "x-v: big\r\n".to_owned()).await), "c");
    let none = proxy.get_with("/none", "x-v: v3\r\n").await;
    assert_eq!((none.status(), none.text().contains("no_endpoint")), (503, true), "{none:?}");
    let any =
        Site::app("endpoint_labels: { version: v3 }", &cluster.replace("]] }", "]], fallback: any }")).start().await;
    assert_eq!(names(answers(&any, 16, |_| String::new()).await), "abcd");
}

#[tokio::test]
async fn the_next_priority_takes_over_when_the_first_is_down() {
    let well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let now = std::sync::Arc::clone(&well);
    let first = Upstream::http(move |request| match request.path() {
        "/healthz" if !now.load(std::sync::atomic::Ordering::SeqCst) => Reply::new(503),
        _ => Reply::ok("first"),
    })
    .await;
    let second = Upstream::says("second").await;
    let cluster = format!(
        "load_balancer: round_robin, health_check: {{ http: /healthz, interval: 50ms, no_traffic_interval: 50ms }}, \
         endpoints: ['{}', {{ address: '{}', priority: 1 }}]",
        first.address, second.address
    );
    let proxy = Site::app("", &cluster).start().await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.text(), "first");
    }
    well.store(false, std::sync::atomic::Ordering::SeqCst);
    eventually("the second priority", async || (proxy.get("/").await.text() == "second").then_some(())).await;
    assert_eq!(answers(&proxy, 10, |_| String::new()).await.into_keys().collect::<Vec<_>>(), ["second"]);
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    eventually("the first one again", async || (proxy.get("/").await.text() == "first").then_some(())).await;
    assert_eq!(answers(&proxy, 10, |_| String::new()).await.into_keys().collect::<Vec<_>>(), ["first"]);
}

#[tokio::test]
async fn a_request_may_name_its_endpoint_where_the_route_lets_it() {
    let (_upstreams, addresses) = four().await;
    let stranger = Upstream::says("stranger").await;
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&addresses));
    let proxy = Site::app("endpoint_header: x-endpoint", &cluster).start().await;
    for (place, name) in ["a", "b", "c", "d"].iter().enumerate() {
        let names = answers(&proxy, 5, |_| format!("x-endpoint: {}\r\n", addresses[place])).await;
        assert_eq!(names.into_keys().collect::<Vec<_>>(), [*name]);
    }
    for nonsense in [stranger.address.to_string(), "127.0.0.1".to_owned(), "who?".to_owned(), "a".repeat(5000)] {
        let names = answers(&proxy, 8, |_| format!("x-endpoint: {nonsense}\r\n")).await;
        assert_eq!(names.len(), 4, "{nonsense}: the load balancer chooses: {names:?}");
    }
    assert_eq!(stranger.connections(), 0);
}

#[tokio::test]
async fn peak_ewma_prefers_the_quick_one() {
    let (quick, slow) = (Upstream::says("quick").await, slow(Duration::from_millis(200), "slow").await);
    let cluster = format!("load_balancer: peak_ewma, {}", endpoints(&[quick.address, slow.address]));
    let proxy = Site::app("", &cluster).start().await;
    let names = answers(&proxy, 60, |_| String::new()).await;
    // It is tried, remembered, and left alone for as long as its average takes to sink.
    assert!(names.get("slow").copied().unwrap_or(0) <= 6, "{names:?}");
}

#[tokio::test]
async fn an_endpoint_in_the_own_zone_is_preferred() {
    let mut upstreams = Vec::new();
    for place in 0..6 {
        upstreams.push(Upstream::says(if place < 3 { "near" } else { "far" }).await);
    }
    let list: Vec<_> = upstreams
        .iter()
        .enumerate()
        .map(|(place, upstream)| {
            format!("{{ address: '{}', zone: {} }}", upstream.address, if place < 3 { "near" } else { "far" })
        })
        .collect();
    let site = Site::app("", &format!("zone_aware: {{}}, endpoints: [{}]", list.join(", ")));
    let proxy = Proxy::start(format!("node: {{ id: n, zone: near }}\n{}", site.yaml())).await;
    assert_eq!(answers(&proxy, 30, |_| String::new()).await.into_keys().collect::<Vec<_>>(), ["near"]);
}

#[tokio::test]
async fn the_endpoints_own_name_is_presented_where_the_route_wants_it() {
    let upstream = Upstream::says("x").await;
    let cluster = format!("endpoints: [{{ address: '{}', hostname: one.internal }}]", upstream.address);
    let proxy = Site::app("auto_host: true", &cluster).start().await;
    assert_eq!(proxy.get("/").await.status(), 200);
    assert_eq!(upstream.last().header("host"), Some("one.internal"));
}
