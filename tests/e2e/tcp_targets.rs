//! Where TCP connections go, and how often it is tried.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpSocket};

use crate::support::{Conn, Proxy, Upstream, eventually, faulty, soon, upstream::Refusing};

/// Says its name and ends.
async fn says(name: &'static str) -> Upstream {
    Upstream::scripted(move |mut conn, _, _| async move {
        conn.send(name).await;
        conn.finish().await;
    })
    .await
}

async fn answer(proxy: &Proxy) -> String {
    String::from_utf8(proxy.connect().await.rest().await).unwrap()
}

/// A TCP listener with these keys, and clusters.
fn listener(keys: &str, clusters: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, {keys} }}\n\
         filters:\n  log: {{ module: builtin:access-log, config: {{ format: json }} }}\nclusters:\n{clusters}"
    )
}

#[tokio::test]
async fn connections_are_spread_over_clusters_by_weight() {
    let (a, b, c) = (says("a").await, says("b").await, says("c").await);
    let clusters = [("a", &a), ("b", &b), ("c", &c)]
        .map(|(name, upstream)| format!("  {name}: {{ endpoints: ['{}'] }}\n", upstream.address))
        .concat();
    let weights =
        "weighted_clusters: [{ cluster: a, weight: 3 }, { cluster: b, weight: 1 }, { cluster: c, weight: 0 }]";
    let proxy = Proxy::start(listener(weights, &clusters)).await;
    let mut counts = [0; 3];
    for _ in 0..200 {
        match answer(&proxy).await.as_str() {
            "a" => counts[0] += 1,
            "b" => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    // 150 and 50 are expected: five standard deviations are 31.
    assert!((119..=181).contains(&counts[0]), "{counts:?}");
    assert_eq!(c.connections(), 0);
}

#[tokio::test]
async fn requests_without_a_router_are_spread_as_well() {
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let proxy = Proxy::start(format!(
        "listeners:\n  web:\n    address: '127.0.0.1:0'\n    weighted_clusters: [{{ cluster: a, weight: 1 }}, {{ cluster: b, weight: 1 }}]\n\
         clusters:\n  a: {{ endpoints: ['{}'] }}\n  b: {{ endpoints: ['{}'] }}\n",
        a.address, b.address
    ))
    .await;
    let mut seen = HashSet::new();
    for _ in 0..40 {
        seen.insert(proxy.get("/").await.body);
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn another_endpoint_is_tried_as_often_as_the_listener_says() {
    let refusing = Refusing::new();
    let good = says("good").await;
    let cluster =
        format!("  c: {{ endpoints: ['{}', '{}'], load_balancer: round_robin }}\n", refusing.address, good.address);
    let proxy = Proxy::start(listener("cluster: c, connect_attempts: 1, filters: [log]", &cluster)).await;
    let answers: Vec<String> =
        [answer(&proxy).await, answer(&proxy).await, answer(&proxy).await, answer(&proxy).await].into();
    assert_eq!(answers.iter().filter(|answer| *answer == "good").count(), 2, "{answers:?}");
    proxy.printed(&["\"details\":\"upstream_connect_failure\""]).await;
    let proxy = Proxy::start(listener("cluster: c, connect_attempts: 2", &cluster)).await;
    for _ in 0..4 {
        assert_eq!(answer(&proxy).await, "good");
    }
}

#[tokio::test]
async fn balancers_that_hash_take_the_address_of_the_client() {
    let names = ["a", "b", "c", "d"];
    let mut upstreams = Vec::new();
    for name in names {
        upstreams.push(says(name).await);
    }
    let endpoints: Vec<_> = upstreams.iter().map(|upstream| format!("'{}'", upstream.address)).collect();
    let cluster = format!("  c: {{ endpoints: [{}], load_balancer: maglev }}\n", endpoints.join(", "));
    let proxy = Proxy::start(listener("cluster: c", &cluster)).await;
    let mut all = HashSet::new();
    for last in 1..=40 {
        let mut seen = HashSet::new();
        for _ in 0..3 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
            seen.insert(Conn::over(socket.connect(proxy.web()).await.unwrap()).rest().await);
        }
        assert_eq!(seen.len(), 1, "127.0.0.{last} went to several");
        all.extend(seen);
    }
    assert_eq!(all.len(), names.len());
}

#[tokio::test]
async fn a_client_that_is_gone_is_not_connected_for_any_longer() {
    let (full, _held) = faulty::full().await;
    let cluster = format!("  c: {{ endpoints: ['{}'], connect_timeout: 10m }}\n", full.local_addr().unwrap());
    let proxy = Proxy::start(listener("cluster: c, filters: [log]", &cluster)).await;
    let client = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
    let one_is_pending =
        async || (proxy.metric("fyke_listener_connections_active", &[("listener", "web")]).await == 1.0).then_some(());
    eventually("the connection is there", one_is_pending).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let record = proxy.printed(&["downstream_reset"]).await;
    assert!(record.contains("\"cluster\":\"c\""), "{record}");
}

/// An endpoint whose first address does not answer.
#[tokio::test]
async fn a_further_address_is_tried_beside_one_that_does_not_answer() {
    let (full, _held) = faulty::full().await;
    let silent = full.local_addr().unwrap();
    let refusing = Refusing::new();
    let good = Upstream::says("good").await;
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: c }}\n\
         clusters:\n  c:\n    connect_timeout: 10m\n    endpoints:\n    - address: '{silent}'\n      additional_addresses: ['{}', '{}']\n",
        refusing.address, good.address
    ))
    .await;
    let answer = soon("an answer", proxy.get("/")).await;
    assert_eq!((answer.status(), &*answer.body), (200, &b"good"[..]));
}

/// The same endpoint by IPv6 and by IPv4, of which only the second is served.
#[tokio::test]
async fn the_other_family_is_taken_where_the_first_refuses() {
    let Ok(six) = TcpListener::bind("[::1]:0").await else { return };
    let refusing = six.local_addr().unwrap();
    drop(six);
    let good = says("good").await;
    let cluster = format!(
        "  c: {{ connect_timeout: 10m, endpoints: [{{ address: '{refusing}', additional_addresses: ['{}'] }}] }}\n",
        good.address
    );
    let proxy = Proxy::start(listener("cluster: c", &cluster)).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), answer(&proxy)).await.unwrap();
    assert_eq!(answer, "good");
}
