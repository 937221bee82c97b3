//! Properties of TLS connections, of clusters and of endpoints.

use crate::{
    guests,
    support::{
        Launch, Proxy, Upstream,
        tls::{self, Authority},
    },
    table::Table,
};

/// What is asked for at the end of a stream, and what must come of it.
const ASKED: &[(&str, &str)] = &[
    ("connection.mtls", "\"\\x01\""),
    ("connection.tls_version", "\"TLSv1.3\""),
    ("connection.requested_server_name", "\"web.example\""),
    ("connection.subject_peer_certificate", "\"CN=rcgen self signed cert\""),
    ("connection.dns_san_peer_certificate", "\"client.example\""),
    ("connection.sha256_peer_certificate_digest", "\"*\""),
    ("connection.subject_local_certificate", "\"CN=rcgen self signed cert\""),
    ("connection.dns_san_local_certificate", "\"web.example\""),
    ("upstream.tls_version", "\"TLSv1.3\""),
    ("upstream.dns_san_peer_certificate", "\"up.example\""),
    ("upstream.subject_peer_certificate", "\"CN=rcgen self signed cert\""),
    ("upstream.dns_san_local_certificate", "\"proxy.example\""),
    ("upstream.sha256_peer_certificate_digest", "\"*\""),
    ("upstream.request_attempt_count", "\"\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\""),
    ("upstream.num_endpoints", "\"\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\""),
    ("upstream.cx_pool_ready_duration", "\"**\""),
    ("response.backend_latency", "\"**\""),
    ("listener_metadata.team", "\"edge\""),
    ("xds.listener_metadata.filter_metadata.ns.key", "\"deep\""),
    ("cluster_metadata.tier", "\"gold\""),
    ("upstream_host_metadata.canary", "\"true\""),
];

pub fn rows(table: &mut Table) {
    table.group("Properties of TLS, clusters and endpoints");
    for (path, shown) in ASKED {
        let title: &'static str = format!("`{path}`").leak();
        let id: &'static str = format!("Q.{path} (TLS)").leak();
        table.row(id, title, move || async move {
            let proxy = proxy(&format!("log: get_property \"{}\" &b", path.replace('.', "\\0"))).await;
            proxy.0.logged(&["probe: delete 2"]).await;
            let lines = proxy.0.log_lines(&["probe: log> get_property"]);
            let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
            let pattern = format!("probe: log> get_property = 0 {shown}");
            assert!(crate::journal::matches(&pattern, line["message"].as_str().unwrap()), "{line} is not {pattern}");
        });
    }
    table.row("F.endpoints", "`fyke.endpoint.list.v1` and `fyke.endpoint.label.v1`: endpoints, and what a filter has learned of them", || async {
        let upstream = Upstream::says("up").await;
        let address = upstream.address.to_string();
        let script = format!(
            "request_headers: call_foreign_function \"fyke.endpoint.label.v1\" \"\\x03\\0\\0\\0app\\x{:02x}\\0\\0\\0{address}\\x04\\0\\0\\0roleprimary\" &b\n\
             request_headers: call_foreign_function \"fyke.endpoint.list.v1\" \"app\" &b\n\
             request_headers: call_foreign_function \"fyke.endpoint.list.v1\" \"other\" &b\n\
             request_headers: call_foreign_function \"fyke.endpoint.label.v1\" \"\\x03\\0\\0\\0app\\x01\\0\\0\\0x\\x01\\0\\0\\0kv\" &b\n\
             log: get_property \"upstream_host_metadata\\0role\" &b",
            address.len()
        );
        let proxy = Proxy::start(format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [it], cluster: app }}\n\
             filters:\n  it: {{ limits: {{ call_time: 2s }}, module: {:?}, allow: {{ clusters: [app] }}, environment: {{ SCRIPT: {script:?} }} }}\n\
             clusters:\n  app: {{ endpoints: [{{ address: '{address}', labels: {{ zone: a }} }}] }}\n  other: {{ endpoints: ['{address}'] }}\n",
            guests::V0_2_1
        ))
        .await;
        assert_eq!(proxy.get("/").await.status(), 200);
        proxy.logged(&["probe: delete 2"]).await;
        let said: Vec<_> = proxy.log_lines(&["probe: ", "> "]).iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].clone()).collect();
        let list = format!(
            "probe: request_headers> call_foreign_function = 0 \"[{{\\\"address\\\":\\\"{address}\\\",\\\"weight\\\":1,\\\"zone\\\":\\\"\\\",\\\"priority\\\":0,\\\"healthy\\\":true,\\\"health\\\":\\\"healthy\\\",\\\"labels\\\":{{\\\"role\\\":\\\"primary\\\",\\\"zone\\\":\\\"a\\\"}}}}]\""
        );
        assert_eq!(
            said,
            [
                "probe: request_headers> call_foreign_function = 0 null:0",
                &list,
                "probe: request_headers> call_foreign_function = 1 untouched",
                "probe: request_headers> call_foreign_function = 2 untouched",
                "probe: log> get_property = 0 \"primary\"",
            ]
        );
    });
}

/// A proxy with TLS on both sides, certificates on all four ends, and one request done.
async fn proxy(script: &str) -> (Proxy, tokio::task::JoinHandle<()>) {
    let authority = Authority::new();
    let (web, client) = (authority.issue(&["web.example"]), authority.issue(&["client.example"]));
    let (up, own) = (authority.issue(&["up.example"]), authority.issue(&["proxy.example"]));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(authority.server(&up, true, &[])));
    let server = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let mut conn = crate::support::Conn::patient(acceptor.accept(stream).await.unwrap());
        while conn.request().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nup").await;
        }
    });
    let yaml = format!(
        "listeners:\n  web:\n    address: '127.0.0.1:0'\n    tls: {{ certificates: [{{ certificate: web.pem, key: web.key }}], client_ca: ca.pem }}\n    \
         metadata: {{ team: edge, ns: {{ key: deep }} }}\n    filters: [it]\n    cluster: app\n\
         filters:\n  it: {{ limits: {{ call_time: 2s }}, module: {:?}, environment: {{ SCRIPT: {script:?} }} }}\n\
         clusters:\n  app:\n    endpoints: [{{ address: '{address}', labels: {{ canary: 'true' }} }}]\n    metadata: {{ tier: gold }}\n    \
         tls: {{ ca: ca.pem, certificate: own.pem, key: own.key, sni: up.example }}\n",
        guests::V0_2_1
    );
    let proxy = Launch::new(yaml)
        .file("web.pem", &web.pem)
        .file("web.key", &web.key)
        .file("ca.pem", authority.pem())
        .file("own.pem", &own.pem)
        .file("own.key", &own.key)
        .start()
        .await;
    let stream = tls::connect(proxy.web(), authority.client(Some(&client), &[]), "web.example").await.unwrap();
    let answer = crate::support::Conn::over(stream).exchange("GET / HTTP/1.1\r\nhost: web.example\r\n\r\n").await;
    assert_eq!(answer.status(), 200);
    (proxy, server)
}
