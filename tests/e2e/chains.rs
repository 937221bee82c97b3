//! Other filters, clusters and certificates for some connections of a listener.

use crate::{
    chain::official,
    support::{
        Conn, Launch, Proxy, Upstream,
        h2::Client,
        proxy::get,
        tls::{self, Authority, Certificate},
    },
    tcp,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A listener with these settings, filters that say who they are, and clusters that do.
async fn configuration(listener: &str) -> (String, Vec<Upstream>) {
    let upstreams = vec![Upstream::says("app").await, Upstream::says("other").await];
    let mut yaml = format!("listeners:\n  web: {{ address: '127.0.0.1:0', {listener} }}\nfilters:\n");
    for name in ["own", "one", "two"] {
        yaml.push_str(&format!("  {name}: {}\n", official(&format!("tag {name}"), "")));
    }
    let [app, other] = [0, 1].map(|index: usize| upstreams[index].address);
    yaml.push_str(&format!("clusters:\n  app: {{ endpoints: ['{app}'] }}\n  other: {{ endpoints: ['{other}'] }}\n"));
    (yaml, upstreams)
}

/// The filters that a request met, as its upstream was told, and the answer.
async fn met(conn: &mut Conn, upstreams: &[Upstream]) -> (Vec<String>, String) {
    let answer = conn.exchange(GET).await;
    let upstream = &upstreams[usize::from(answer.text() == "other")];
    let filters = upstream.last().all("x-chain").into_iter().map(str::to_owned).collect();
    (filters, answer.text())
}

fn filters(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn secured(yaml: String, certificates: &[(&str, &Certificate)]) -> Proxy {
    let launch = certificates.iter().fold(Launch::new(yaml), |launch, (name, certificate)| {
        launch.file(&format!("{name}.pem"), &certificate.pem).file(&format!("{name}.key"), &certificate.key)
    });
    launch.start().await
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_picks_filters_and_certificate() {
    let authority = Authority::new();
    let (own, internal) = (authority.issue(&["a.example"]), authority.issue(&["*.internal.example"]));
    let (yaml, upstreams) = configuration(
        "filters: [own], cluster: app, tls: { certificates: [{ certificate: own.pem, key: own.key }] }, chains: [
          { match: { sni: ['*.internal.example'] }, filters: [one], cluster: other, tls: { certificates: [{ certificate: internal.pem, key: internal.key }] } },
          { match: { sni: [a.example], alpn: [h2] }, filters: [two, own] } ]",
    )
    .await;
    let proxy = secured(yaml, &[("own", &own), ("internal", &internal)]).await;
    let web = proxy.web();
    let stream = tls::connect(web, authority.client(None, &[]), "b.internal.example").await.unwrap();
    assert!(internal.was_shown(&stream));
    assert_eq!(met(&mut Conn::over(stream), &upstreams).await, (filters(&["one"]), "other".to_owned()));
    let stream = tls::connect(web, authority.client(None, &["http/1.1"]), "a.example").await.unwrap();
    assert!(own.was_shown(&stream));
    assert_eq!(met(&mut Conn::over(stream), &upstreams).await, (filters(&["own"]), "app".to_owned()));
    // The same name, and a protocol that another chain is for.
    let stream = tls::connect(web, authority.client(None, &["h2"]), "a.example").await.unwrap();
    assert!(own.was_shown(&stream));
    let answer = Client::over(stream).await.get("/").await;
    assert_eq!(answer.body, b"app");
    assert_eq!(upstreams[0].last().all("x-chain"), ["two", "own"]);
}

#[tokio::test]
async fn connections_that_nothing_is_for_are_closed() {
    let (yaml, upstreams) =
        configuration("chains: [{ match: { source: [10.0.0.0/8] }, filters: [one], cluster: app }]").await;
    let proxy = Proxy::start(yaml).await;
    let mut conn = proxy.connect().await;
    let _ = conn.try_send(GET).await;
    assert!(conn.closed().await);
    proxy.metric_reaches("fyke_listener_connections_refused_total", &[("reason", "no_chain")], 1.0).await;
    assert!(upstreams[0].seen().is_empty());
}

#[tokio::test]
async fn the_network_and_the_ports_of_a_client_are_conditions() {
    let (yaml, upstreams) = configuration(
        "proxy_protocol: accept, filters: [own], cluster: app, chains: [
          { match: { source: [203.0.113.0/24], source_ports: ['4000-4999'] }, filters: [one] },
          { match: { destination: [192.0.2.1], destination_port: 443 }, filters: [two], cluster: other },
          { match: { source: ['127.0.0.1', '::1'] }, filters: [] } ]",
    )
    .await;
    let proxy = Proxy::start(yaml).await;
    for (header, expected) in [
        ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", (filters(&["one"]), "app".to_owned())),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 5000 443\r\n", (filters(&["two"]), "other".to_owned())),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 5000 80\r\n", (filters(&["own"]), "app".to_owned())),
        ("", (filters(&[]), "app".to_owned())),
    ] {
        let mut conn = proxy.connect().await;
        conn.send(header).await;
        assert_eq!(met(&mut conn, &upstreams).await, expected, "{header}");
    }
}

#[tokio::test]
async fn one_port_speaks_with_and_without_tls() {
    let authority = Authority::new();
    let own = authority.issue(&["a.example"]);
    let (yaml, upstreams) = configuration(
        "filters: [own], cluster: app, tls: { certificates: [{ certificate: own.pem, key: own.key }] },
        chains: [{ match: { transport: plain }, filters: [one] }]",
    )
    .await;
    let proxy = secured(yaml, &[("own", &own)]).await;
    let stream = tls::connect(proxy.web(), authority.client(None, &[]), "a.example").await.unwrap();
    assert_eq!(met(&mut Conn::over(stream), &upstreams).await.0, filters(&["own"]));
    assert_eq!(met(&mut proxy.connect().await, &upstreams).await.0, filters(&["one"]));
    // A prior-knowledge client is plain, too.
    assert_eq!(Client::to(proxy.web()).await.get("/").await.body, b"app");
    // What begins like TLS and is none.
    let mut conn = proxy.connect().await;
    conn.send([22, 3, 1, 0, 5, 1, 2, 3, 4, 5]).await;
    assert!(conn.closed().await);
    proxy.metric_reaches("fyke_listener_connections_refused_total", &[("reason", "tls")], 1.0).await;
}

#[tokio::test]
async fn tls_passes_a_tcp_listener_by_its_name_without_certificates() {
    let authority = Authority::new();
    let (a, b) = (authority.issue(&["a.example"]), authority.issue(&["b.example"]));
    let secure = async |certificate: &Certificate| {
        let config = std::sync::Arc::new(authority.server(certificate, false, &[]));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let Ok(stream) = tokio_rustls::TlsAcceptor::from(std::sync::Arc::clone(&config)).accept(stream).await
                else {
                    continue;
                };
                tokio::spawn(async move { Conn::over(stream).echo().await });
            }
        });
        address
    };
    let (first, second) = (secure(&a).await, secure(&b).await);
    let plain = tcp::echo().await;
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: plain, chains: [{{ match: {{ sni: [a.example] }}, cluster: a }}, {{ match: {{ transport: tls }}, cluster: b }}] }}\n\
         clusters: {{ a: {{ protocol: tcp, endpoints: ['{first}'] }}, b: {{ protocol: tcp, endpoints: ['{second}'] }}, plain: {{ endpoints: ['{}'] }} }}\n",
        plain.address
    ))
    .await;
    for (name, expected) in [("a.example", &a), ("b.example", &b)] {
        let stream = tls::connect(proxy.web(), authority.client(None, &[]), name).await.unwrap();
        assert!(expected.was_shown(&stream), "{name}");
        let mut conn = Conn::over(stream);
        conn.send("hi").await;
        assert_eq!(conn.bytes(2).await, b"hi");
    }
    let mut conn = proxy.connect().await;
    conn.send("hi").await;
    assert_eq!(conn.bytes(2).await, b"hi");
    assert_eq!(plain.connections(), 1);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_not_waited_for_without_end() {
    let (yaml, _upstreams) = configuration(
        "filters: [own], cluster: app, limits: { header_timeout: 200ms }, chains: [{ match: { transport: plain }, filters: [one] }]",
    )
    .await;
    let proxy = Proxy::start(yaml).await;
    let mut conn = proxy.connect().await;
    assert!(conn.closed().await);
    proxy.metric_reaches("fyke_listener_header_timeouts_total", &[], 1.0).await;
}

#[tokio::test]
async fn an_open_connection_follows_its_chain_through_generations() {
    let one = "{ match: { source: [127.0.0.0/8] }, filters: [one], cluster: app }";
    let own = "filters: [own], cluster: app, ";
    let (yaml, upstreams) = configuration(&format!("{own}chains: [{one}]")).await;
    let mut proxy = Proxy::start(yaml.clone()).await;
    let mut conn = proxy.connect().await;
    assert_eq!(met(&mut conn, &upstreams).await.0, filters(&["one"]));
    // Other filters and another cluster, and the chain stands elsewhere.
    let moved = format!(
        "{{ match: {{ source: [10.0.0.0/8] }}, filters: [] }}, {}",
        one.replace("[one]", "[two, own]").replace("app", "other")
    );
    proxy.reload(&yaml.replace(one, &moved)).await;
    assert_eq!(met(&mut conn, &upstreams).await, (filters(&["two", "own"]), "other".to_owned()));
    // It is gone, and what the connection was let in for does not hold for another chain: the client has to connect again.
    proxy.reload(&yaml.replace(one, "{ match: { source: [10.0.0.0/8] }, filters: [two] }")).await;
    let answer = conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status(), answer.header("connection")), (421, Some("close")));
    assert_eq!(get(proxy.web(), "/", "").await.text(), "app");
    // The same again is no other generation.
    let generation = proxy.page("/status").await["generation"].clone();
    let (status, value) = proxy.act("/reload", "").await;
    assert_eq!((status, &value["generation"]), (200, &generation), "{value}");
    // It is the connection of the beginning that did all this.
    assert_eq!(proxy.metric("fyke_listener_connections_accepted_total", &[]).await, 2.0);
}

#[tokio::test]
async fn filters_that_a_chain_alone_has_are_swapped_and_taken_out() {
    let (yaml, upstreams) = configuration("cluster: app, chains: [{ match: {}, filters: [one] }]").await;
    let proxy = Proxy::start(yaml).await;
    let mut conn = proxy.connect().await;
    assert_eq!(met(&mut conn, &upstreams).await.0, filters(&["one"]));
    assert_eq!(proxy.page("/filters/one").await["listeners"], serde_json::json!(["web"]));
    let (status, value) = proxy.change("DELETE", "/filters/one", "text/plain", "").await;
    assert_eq!(status, 200, "{value}");
    assert_eq!(met(&mut conn, &upstreams).await.0, filters(&[]));
}
