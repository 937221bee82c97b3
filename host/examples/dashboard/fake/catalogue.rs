//! What the pretended configuration has.

/// A listener.
pub struct Listener {
    pub name: &'static str,
    pub detail: &'static str,
    pub line: u32,
    pub chain: &'static [&'static str],
}

/// Requests come in there.
pub const LISTENERS: [Listener; 2] = [
    Listener {
        name: "edge",
        detail: "0.0.0.0:8443 https",
        line: 12,
        chain: &["request-id", "access-log", "ext-authz", "rate-limit", "billing"],
    },
    Listener {
        name: "internal",
        detail: "10.0.4.2:8080 http",
        line: 27,
        chain: &["request-id", "access-log", "tenant-headers"],
    },
];

/// A route: name, listener, what it matches, cluster, share of the listener's requests.
pub const ROUTES: [(&str, &str, &str, &str, f64); 9] = [
    ("users", "edge", "/users", "users", 0.27),
    ("orders", "edge", "/orders", "orders", 0.21),
    ("catalog", "edge", "/catalog", "catalog", 0.24),
    ("search", "edge", "/search", "search", 0.13),
    ("checkout", "edge", "/checkout", "payments", 0.05),
    ("media", "edge", "/media", "media", 0.10),
    ("users-internal", "internal", "/users", "users", 0.55),
    ("orders-internal", "internal", "/orders", "orders", 0.45),
    ("reports", "internal", "/reports", "reports", 0.0),
];

/// A cluster.
pub struct Cluster {
    pub name: &'static str,
    pub detail: &'static str,
    pub checked: &'static str,
    pub line: u32,
    pub endpoints: u32,
    pub net: &'static str,
    pub port: u16,
    /// Typical latency in seconds.
    pub latency: f64,
    /// Share of requests that fail.
    pub errors: f64,
}

const fn cluster(
    name: &'static str,
    detail: &'static str,
    checked: &'static str,
    (line, endpoints, port): (u32, u32, u16),
    net: &'static str,
    latency: f64,
    errors: f64,
) -> Cluster {
    Cluster { name, detail, checked, line, endpoints, net, port, latency, errors }
}

/// Requests go out there.
pub const CLUSTERS: [Cluster; 8] = [
    cluster("users", "http2, least_request", "http /healthz every 5 s", (118, 6, 8080), "10.0.1", 0.0042, 0.0004),
    cluster("orders", "http2, least_request", "http /healthz every 5 s", (131, 6, 8080), "10.0.2", 0.0118, 0.0011),
    cluster("catalog", "http1, maglev", "http /ready every 5 s", (144, 8, 9000), "10.0.3", 0.0029, 0.0002),
    cluster("search", "http2, peak_ewma", "grpc every 5 s", (160, 6, 50051), "10.0.5", 0.0340, 0.0060),
    cluster("payments", "http1 with TLS, round_robin", "tcp every 2 s", (174, 4, 8443), "10.0.6", 0.0810, 0.0170),
    cluster("media", "http1, ring_hash", "", (190, 5, 8081), "10.0.7", 0.0075, 0.0008),
    cluster("authz", "http2, least_request", "grpc every 2 s", (203, 3, 9191), "10.0.8", 0.0009, 0.0001),
    cluster("reports", "http1, round_robin", "http /healthz every 30 s", (215, 2, 8090), "10.0.9", 0.2100, 0.0),
];

/// A filter: name, module, version, processor time of a call, line.
pub const FILTERS: [(&str, &str, &str, f64, u32); 6] = [
    ("request-id", "builtin:request-id", "0.1.0", 2.1e-6, 52),
    ("access-log", "builtin:access-log", "0.1.0", 9.4e-6, 56),
    ("ext-authz", "builtin:ext-authz", "0.1.0", 21.0e-6, 63),
    ("rate-limit", "oci://registry.example.com/filters/rate-limit@sha256:9f86d081", "1.4.2", 7.7e-6, 74),
    ("billing", "./modules/billing.wasm", "2.0.3", 31.0e-6, 88),
    ("tenant-headers", "builtin:headers", "0.1.0", 4.0e-6, 101),
];
