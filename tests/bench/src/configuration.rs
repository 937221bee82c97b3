//! The same route in the words of each proxy.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use anyhow::Context as _;

use crate::contestant::{Layer, Patience, Task};

/// What a listener of Fyke has.
pub struct Chain<'a> {
    /// 0, 1 (the router), 5 or 10.
    pub filters: usize,
    /// The module of header filters, where there are some.
    pub header_filter: Option<&'a Path>,
    /// Of each filter.
    pub isolation: Isolation,
}

/// Who shares an instance of a filter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The streams of a worker: the default.
    Worker,
    /// Nobody.
    Stream,
}

/// Default limits, timeouts and metrics; the admin endpoint is on, as in production.
pub fn fyke(task: Task, listen: SocketAddr, admin: SocketAddr, chain: &Chain<'_>) -> anyhow::Result<String> {
    let filters = chain.filters;
    let isolation = match chain.isolation {
        Isolation::Worker => "",
        Isolation::Stream => ", isolation: stream",
    };
    let mut text = format!(
        "workers: {}\nadmin: {{ address: \"{admin}\" }}\nlisteners:\n  web:\n    address: \"{listen}\"\n",
        task.workers
    );
    if let Some(connections) = task.connections {
        writeln!(text, "    limits: {{ connections: {connections} }}")?;
    }
    if task.layer == Layer::Tcp {
        text.push_str("    protocol: tcp\n");
    }
    match filters {
        0 => text.push_str("    cluster: app\n"),
        1 => text.push_str("    filters: [router]\n"),
        10 => {
            let names: Vec<String> = (1..=10).map(|number| format!("header-{number}")).collect();
            writeln!(text, "    cluster: app\n    filters: [{}]", names.join(", "))?;
        }
        _ => text.push_str("    filters: [request-id, router, header-1, header-2, header-3]\n"),
    }
    if filters > 0 {
        let timeout = if task.patience == Patience::Long { ", timeout: 5m" } else { "" };
        writeln!(
            text,
            "filters:\n  router: {{ module: \"builtin:router\", config: {{ routes: [{{ cluster: app{timeout} }}] }}{isolation} }}"
        )?;
    }
    if filters > 1 {
        let module = chain.header_filter.context("no header filter")?.display().to_string();
        writeln!(text, "  request-id: {{ module: \"builtin:request-id\"{isolation} }}")?;
        for number in 1..=if filters == 10 { 10 } else { 3 } {
            writeln!(text, "  header-{number}: {{ module: {module:?}{isolation} }}")?;
        }
    }
    writeln!(text, "clusters:\n  app: {{ endpoints: [\"{}\"] }}", task.upstream)?;
    Ok(text)
}

/// One backend, connections reused as far as HAProxy goes.
pub fn haproxy(task: Task, listen: SocketAddr) -> String {
    let (mode, http) = match task.layer {
        Layer::Http => ("http", "timeout http-keep-alive 5m\n  option http-keep-alive\n  http-reuse always"),
        Layer::Tcp => ("tcp", ""),
    };
    format!(
        "global\n  nbthread {}\n  maxconn {}\n\ndefaults\n  mode {}\n  timeout connect 5s\n  timeout client 5m\n  timeout server 5m\n  \
         {}\n\nfrontend web\n  bind {listen}\n  default_backend app\n\n\
         backend app\n  server one {}\n",
        task.workers,
        task.connections.unwrap_or(9_000),
        mode,
        http,
        task.upstream,
    )
}

/// Keep-alive towards the upstream, nothing buffered on disk.
pub fn nginx(task: Task, listen: SocketAddr, folder: &Path) -> String {
    let home = folder.display();
    format!(
        "worker_processes {};\nuser root;\npid {home}/nginx.pid;\nerror_log stderr error;\nevents {{ worker_connections {}; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 5m;\n  client_max_body_size 0;\n  \
         client_body_temp_path {home}/nginx-body;\n  proxy_temp_path {home}/nginx-proxy;\n  proxy_max_temp_file_size 0;\n  proxy_request_buffering off;\n  \
         upstream app {{ server {}; keepalive 64; keepalive_requests 1000000000; keepalive_timeout 1h; }}\n  \
         server {{\n    listen {listen} backlog=4096;\n    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n  }}\n}}\n",
        task.workers,
        task.connections.map_or(4_096, |connections| connections + 1_024),
        task.upstream,
    )
}

/// The router and nothing else.
pub fn envoy(task: Task, listen: SocketAddr) -> String {
    let address = |address: SocketAddr| serde_json::json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let timeout = if task.patience == Patience::Long { "300s" } else { "15s" };
    let router = serde_json::json!({ "name": "envoy.filters.http.router", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } });
    let manager = serde_json::json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "web",
            "codec_type": "AUTO",
            "http_filters": [router],
            "route_config": { "name": "web", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "app", "timeout": timeout } }] }] },
        },
    });
    let manager = match task.layer {
        Layer::Http => manager,
        Layer::Tcp => serde_json::json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "web",
                "cluster": "app",
            },
        }),
    };
    let endpoint = serde_json::json!({ "endpoint": { "address": address(task.upstream) } });
    serde_json::json!({
        "static_resources": {
            "listeners": [{ "name": "web", "address": address(listen), "filter_chains": [{ "filters": [manager] }] }],
            "clusters": [{ "name": "app", "type": "STATIC", "connect_timeout": "5s", "load_assignment": { "cluster_name": "app", "endpoints": [{ "lb_endpoints": [endpoint] }] } }],
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_five_is_the_documented_configuration() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let task = Task {
            upstream: address(3),
            workers: 1,
            connections: None,
            patience: Patience::Default,
            layer: Layer::Http,
            redis: None,
        };
        let text = |isolation| {
            let chain = Chain { filters: 5, header_filter: Some(Path::new("/h.wasm")), isolation };
            fyke(task, address(1), address(2), &chain).unwrap()
        };
        let expected = r#"workers: 1
admin: { address: "127.0.0.1:2" }
listeners:
  web:
    address: "127.0.0.1:1"
    filters: [request-id, router, header-1, header-2, header-3]
filters:
  router: { module: "builtin:router", config: { routes: [{ cluster: app }] } }
  request-id: { module: "builtin:request-id" }
  header-1: { module: "/h.wasm" }
  header-2: { module: "/h.wasm" }
  header-3: { module: "/h.wasm" }
clusters:
  app: { endpoints: ["127.0.0.1:3"] }
"#;
        assert_eq!(text(Isolation::Worker), expected);
        let own = text(Isolation::Stream);
        assert_eq!(own.matches(", isolation: stream }").count(), 5, "{own}");
        assert_eq!(own.replace(", isolation: stream", ""), expected);
    }
}
