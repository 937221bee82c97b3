//! What the binary is besides a proxy: a registry, a rate limit service, and a translator of Envoy's configuration.

use serde_json::{Value, json};

use crate::support::{
    Conn, Launch, Proxy, Service, Site, Upstream, eventually, process, proxy,
    tls::{self, Authority},
};

async fn hosts(registry: &Service) -> Vec<Value> {
    let answer = proxy::get(registry.address, "/v1/registration/users", "").await;
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    body["hosts"].as_array().unwrap().clone()
}

/// A proxy before an upstream, which announces itself.
fn announced(upstream: &Upstream, registry: &Service, address: &str) -> String {
    format!(
        "register: {{ service: users, address: '{address}', registry: 'http://{}', tags: {{ az: eu-1a }} }}\n{}",
        registry.address,
        proxy::plain(upstream.address)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_registers_is_found_by_another_and_takes_its_leave() {
    let upstream = Upstream::says("users").await;
    let registry = Service::start(&["registry", "--address", "127.0.0.1:0", "--open"]).await;
    // Where it is reached is known once it listens; the registry believes what it is told.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let yaml = announced(&upstream, &registry, &format!("127.0.0.1:{port}"));
    let yaml = yaml.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let mut beside = Proxy::start(yaml).await;
    eventually("the service to be registered", async || (hosts(&registry).await.len() == 1).then_some(())).await;
    assert_eq!(hosts(&registry).await[0]["tags"]["az"], "eu-1a");
    let url = format!("http://{}/v1/registration/users", registry.address);
    let edge = Site::app("", &format!("discovery: {{ rest: '{url}', refresh: 1s }}")).start().await;
    assert_eq!(edge.get("/").await.text(), "users");
    beside.signal(rustix::process::Signal::TERM);
    assert_eq!(beside.ended().await, Some(0));
    assert!(hosts(&registry).await.is_empty(), "{}", registry.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_refuses_whoever_has_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens.yaml");
    std::fs::write(&tokens, "services: { users: [secret-of-the-users] }\n").unwrap();
    let tokens = tokens.display().to_string();
    let registry = Service::start(&["registry", "--address", "127.0.0.1:0", "--tokens-file", &tokens]).await;
    let body = "ip=127.0.0.1&port=80";
    let post = |headers: &'static str| proxy::post_body(registry.address, "/v1/registration/users", headers, body);
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    assert_eq!(post(form).await.status(), 401);
    let with = "content-type: application/x-www-form-urlencoded\r\nauthorization: Bearer secret-of-the-users\r\n";
    assert_eq!(post(with).await.status(), 200);
    assert_eq!(hosts(&registry).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_who_reads_is_read_with_a_token() {
    let (folder, authority, upstream) = (tempfile::tempdir().unwrap(), Authority::new(), Upstream::says("users").await);
    let own = authority.issue(&["localhost"]);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (write("own.pem", &own.pem), write("own.key", &own.key));
    let tokens = write("tokens.yaml", "services: { users: [secret-of-the-users] }\nread: [secret-of-readers]\n");
    let settings = write(
        "registry.yaml",
        &format!("tokens_file: {tokens}\nread_tokens: true\ntls: {{ certificate: {certificate}, key: {key} }}\n"),
    );
    let registry = Service::start(&["registry", &settings, "--address", "127.0.0.1:0"]).await;
    let address = registry.address;
    let stream = tls::connect(address, authority.client(None, &[]), "localhost").await.unwrap();
    let body = format!("ip=127.0.0.1&port={}", upstream.address.port());
    let told = Conn::over(stream)
        .exchange(&format!(
            "POST /v1/registration/users HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret-of-the-users\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert_eq!(told.status(), 200, "{told:?}");
    let url = format!("https://localhost:{}/v1/registration/users", address.port());
    let found =
        |more: &str| Site::app("", &format!("discovery: {{ rest: '{url}', ca: ca.pem, refresh: 1s{more} }}")).yaml();
    let stranger = Launch::new(found("")).file("ca.pem", authority.pem()).start().await;
    stranger.logged(&["discovery says nothing", "401"]).await;
    let known = Launch::new(found(", token_file: token"))
        .file("ca.pem", authority.pem())
        .file("token", "secret-of-readers\n")
        .start()
        .await;
    assert_eq!(known.get("/").await.text(), "users");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_service_answers_as_envoys_does() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    std::fs::write(
        &rules,
        "domain: shop\ndescriptors:\n  - key: tenant\n    rate_limit: { unit: day, requests_per_unit: 2 }\n",
    )
    .unwrap();
    let settings = folder.path().join("settings.yaml");
    std::fs::write(&settings, format!("rules: {}\nlisteners: [{{ address: '127.0.0.1:0' }}]\n", rules.display()))
        .unwrap();
    let service = Service::start(&["ratelimit-service", &settings.display().to_string()]).await;
    let question =
        json!({ "domain": "shop", "descriptors": [{ "entries": [{ "key": "tenant", "value": "a" }] }] }).to_string();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let headers = "content-type: application/json\r\n";
        statuses.push(proxy::post_body(service.address, "/json", headers, &question).await.status());
    }
    assert_eq!(statuses, [200, 200, 429], "{}", service.said());
}

/// What Envoy's own examples begin with.
fn bootstrap(upstream: &Upstream) -> String {
    format!(
        "static_resources:\n  listeners:\n  - name: web\n    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}\n    \
         filter_chains:\n    - filters:\n      - name: envoy.filters.network.http_connection_manager\n        typed_config:\n          \
         \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
         stat_prefix: web\n          route_config:\n            virtual_hosts:\n            - name: all\n              domains: [\"*\"]\n              \
         routes:\n              - match: {{ prefix: / }}\n                route: {{ cluster: app }}\n          http_filters:\n          \
         - name: envoy.filters.http.router\n            typed_config:\n              \
         \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\n  clusters:\n  - name: app\n    \
         connect_timeout: 1s\n    type: STATIC\n    load_assignment:\n      cluster_name: app\n      endpoints:\n      - lb_endpoints:\n        \
         - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }}\n",
        upstream.address.port()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_of_envoy_is_converted_and_what_is_printed_runs() {
    let upstream = Upstream::says("app").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.yaml");
    std::fs::write(&file, bootstrap(&upstream)).unwrap();
    let converted = process::run(["convert", &file.display().to_string()]);
    assert_eq!(converted.code, Some(0), "{}{}", converted.stdout, converted.stderr);
    let proxy = Launch::new(converted.stdout).start().await;
    assert_eq!(proxy.get("/").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_written_into_a_bootstrap_become_files() {
    let (authority, upstream) = (Authority::new(), Upstream::says("app").await);
    let own = authority.issue(&["localhost"]);
    let folder = tempfile::tempdir().unwrap();
    let (file, kept) = (folder.path().join("envoy.yaml"), folder.path().join("kept"));
    let tls = json!({ "name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": { "tls_certificates": {
            "certificate_chain": { "inline_string": own.pem }, "private_key": { "inline_string": own.key },
        } },
    } });
    // A single message may stand for a list of one.
    let yaml =
        bootstrap(&upstream).replace("    - filters:", &format!("    - transport_socket: {tls}\n      filters:"));
    std::fs::write(&file, yaml).unwrap();
    let file = file.display().to_string();
    assert_eq!(process::run(["convert", &file]).code, Some(3));
    let converted = process::run(["convert", "--files", &kept.display().to_string(), &file]);
    assert_eq!(converted.code, Some(0), "{}{}", converted.stdout, converted.stderr);
    let proxy = Launch::new(converted.stdout).start().await;
    let stream = tls::connect(proxy.web(), authority.client(None, &[]), "localhost").await.unwrap();
    assert_eq!(Conn::over(stream).exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "app");
}

#[test]
fn what_has_no_counterpart_is_named_and_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.yaml");
    let text =
        "static_resources:\n  clusters:\n  - name: app\n    type: ORIGINAL_DST\n    lb_policy: CLUSTER_PROVIDED\n";
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let converted = process::run(["convert", &file]);
    assert_eq!(converted.code, Some(3), "{}{}", converted.stdout, converted.stderr);
    assert!(
        converted.stdout.contains("ORIGINAL_DST") && converted.stdout.contains("cluster \"app\""),
        "{}",
        converted.stdout
    );
    let ran = process::run(["run", "--envoy", &file]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("ORIGINAL_DST"), "{}", ran.stderr);
}
