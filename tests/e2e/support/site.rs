//! A router before clusters, and an access log that tells what became of each request.

use std::{fmt::Write, net::SocketAddr};

use serde_json::Value;

use super::{Launch, Proxy};

/// Routes, clusters and an access log.
#[derive(Default)]
pub struct Site {
    routes: Vec<String>,
    clusters: Vec<(String, String)>,
    router: String,
    host: String,
    listener: String,
}

/// What the access log says of a request.
#[derive(Debug)]
pub struct Record(pub Value);

impl Site {
    /// Everything goes to the cluster `app`; `route` is what its route says besides, and `cluster` what the cluster is.
    pub fn app(route: &str, cluster: &str) -> Self {
        let route = if route.is_empty() { "cluster: app".to_owned() } else { format!("cluster: app, {route}") };
        Self::default().route(&route).cluster("app", cluster)
    }

    /// Another route, after those before.
    pub fn route(mut self, route: &str) -> Self {
        self.routes.push(route.to_owned());
        self
    }

    /// Another cluster.
    pub fn cluster(mut self, name: &str, cluster: &str) -> Self {
        self.clusters.push((name.to_owned(), cluster.to_owned()));
        self
    }

    /// More keys of the router.
    pub fn router(mut self, keys: &str) -> Self {
        self.router = format!(", {keys}");
        self
    }

    /// More keys of the virtual host.
    pub fn host(mut self, keys: &str) -> Self {
        self.host = format!(", {keys}");
        self
    }

    /// More keys of the listener.
    pub fn listener(mut self, keys: &str) -> Self {
        self.listener = format!(", {keys}");
        self
    }

    /// As a configuration.
    pub fn yaml(&self) -> String {
        let mut yaml = format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [access-log, router]{} }}\nfilters:\n  router:\n    \
             module: builtin:router\n    config: {{ virtual_hosts: [{{ domains: ['*']{}, routes: [\n",
            self.listener, self.host
        );
        for route in &self.routes {
            writeln!(yaml, "      {{ {route} }},").unwrap();
        }
        writeln!(
            yaml,
            "      ] }}]{} }}\n  access-log:\n    module: builtin:access-log\n    config: {{ sink: log, format: json, fields: {{ \
             path: request.path, status: response.code, why: response.code_details, flags: '%RESPONSE_FLAGS%', \
             to: upstream.address, cluster: cluster_name, attempts: upstream.request_attempt_count }} }}\n\
             sinks:\n  log: {{ file: access.log }}\nclusters:",
            self.router
        )
        .unwrap();
        for (name, cluster) in &self.clusters {
            writeln!(yaml, "  {name}: {{ {cluster} }}").unwrap();
        }
        yaml
    }

    /// With one worker.
    pub async fn start(&self) -> Proxy {
        Proxy::start(self.yaml()).await
    }

    /// With several.
    pub async fn workers(&self, count: usize) -> Proxy {
        Launch::new(self.yaml()).workers(count).start().await
    }
}

/// `endpoints: [...]`
pub fn endpoints(addresses: &[SocketAddr]) -> String {
    let list: Vec<_> = addresses.iter().map(|address| format!("'{address}'")).collect();
    format!("endpoints: [{}]", list.join(", "))
}

impl Record {
    /// Waits for the record of the request to `path`.
    pub async fn of(proxy: &Proxy, path: &str) -> Self {
        let line = proxy.written("access.log", &[&format!("\"path\":\"{path}\"")]).await;
        Self(serde_json::from_str(&line).unwrap())
    }

    /// Status, `response.code_details` and Envoy's flags.
    pub fn told(&self) -> (u64, &str, &str) {
        let text = |key: &str| self.0[key].as_str().unwrap_or("");
        (self.0["status"].as_u64().unwrap_or(0), text("why"), text("flags"))
    }

    /// How often it was sent.
    pub fn attempts(&self) -> u64 {
        self.0["attempts"].as_u64().unwrap_or(0)
    }
}
