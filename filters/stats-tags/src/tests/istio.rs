//! Istio's switch.

use fyke_sdk::abi::MapKind;

use super::*;

/// Istio's own list, in its order there.
const LABELS: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
    "response_code",
    "grpc_response_status",
];

/// What it has of TCP.
fn of_tcp() -> Vec<&'static str> {
    LABELS.into_iter().filter(|label| !matches!(*label, "response_code" | "grpc_response_status")).collect()
}

fn sorted<'a>(labels: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
    labels.sort_unstable();
    labels
}

fn of_our_node(world: &mut World) {
    let root = world.stream_mut(1);
    for (path, value) in [
        ("WORKLOAD_NAME", "cart-v2"),
        ("NAMESPACE", "shop"),
        ("CLUSTER_ID", "eu-1"),
        ("LABELS.app", "cart"),
        ("LABELS.version", "v2"),
        ("LABELS.service.istio.io/canonical-name", "cart-canonical"),
        ("LABELS.service.istio.io/canonical-revision", "v2-canonical"),
    ] {
        root.set_property(&format!("node.metadata.{path}"), value);
    }
}

fn of_a_stream(stream: &mut StreamState) {
    stream.set_headers(
        MapKind::RequestHeaders,
        &[(":path", "/a.B/C"), (":authority", "cart.shop"), ("content-type", "application/grpc")],
    );
    stream.set_headers(MapKind::ResponseHeaders, &[(":status", "200")]);
    for (path, value) in [
        ("connection.uri_san_peer_certificate", "spiffe://td/ns/front/sa/web"),
        ("connection.uri_san_local_certificate", "spiffe://td/ns/shop/sa/cart"),
        ("upstream.uri_san_peer_certificate", "spiffe://td/ns/back/sa/stock"),
        ("upstream.uri_san_local_certificate", "spiffe://td/ns/shop/sa/cart"),
        ("upstream_host_metadata.workload", "stock-v1"),
        ("upstream_host_metadata.app", "stock"),
        ("cluster_name", "stock"),
    ] {
        stream.set_property(path, value);
    }
    stream.set_property("connection.mtls", [1]);
    stream.set_property("response.grpc_status", 5_i64.to_le_bytes());
    stream.set_property("response.flags", 0_i64.to_le_bytes());
    stream.set_property("request.total_size", 99_i64.to_le_bytes());
    stream.set_property("request.size", 9_i64.to_le_bytes());
}

#[track_caller]
fn assert_labels(metric: &str, expected: &[(&str, &str)]) {
    let labels = only(metric);
    for (label, expected) in expected {
        assert_eq!(value(&labels, label), *expected, "{label}");
    }
}

#[test]
fn a_servers_proxy_says_what_it_knows() {
    let host = Host::<StatsTags>::configure_in(r#"{"istio":{}}"#, of_our_node).unwrap();
    stream(&host, of_a_stream);
    assert_eq!(sorted(only("istio_requests_total").iter().map(|(name, _)| name.as_str())), sorted(LABELS));
    assert_labels(
        "istio_requests_total",
        &[
            ("reporter", "destination"),
            ("source_workload", "unknown"),
            ("source_workload_namespace", "front"),
            ("source_principal", "spiffe://td/ns/front/sa/web"),
            ("source_canonical_revision", "latest"),
            ("destination_workload", "cart-v2"),
            ("destination_workload_namespace", "shop"),
            ("destination_principal", "spiffe://td/ns/shop/sa/cart"),
            ("destination_app", "cart"),
            ("destination_version", "v2"),
            ("destination_service", "cart.shop"),
            ("destination_service_name", "cart-canonical"),
            ("destination_service_namespace", "shop"),
            ("destination_canonical_service", "cart-canonical"),
            ("destination_canonical_revision", "v2-canonical"),
            ("destination_cluster", "eu-1"),
            ("request_protocol", "grpc"),
            ("response_code", "200"),
            ("grpc_response_status", "5"),
            ("response_flags", "-"),
            ("connection_security_policy", "mutual_tls"),
        ],
    );
    assert_eq!(series("istio_request_bytes")[0].1, [99]);
}

#[test]
fn a_clients_proxy_says_what_it_knows() {
    let host = Host::<StatsTags>::configure_in(r#"{"istio":{"reporter":"source"}}"#, of_our_node).unwrap();
    stream(&host, of_a_stream);
    assert_eq!(sorted(only("istio_requests_total").iter().map(|(name, _)| name.as_str())), sorted(LABELS));
    assert_labels(
        "istio_requests_total",
        &[
            ("reporter", "source"),
            ("source_workload", "cart-v2"),
            ("source_principal", "spiffe://td/ns/shop/sa/cart"),
            ("source_cluster", "eu-1"),
            ("destination_workload", "stock-v1"),
            ("destination_workload_namespace", "back"),
            ("destination_service_namespace", "back"),
            ("destination_principal", "spiffe://td/ns/back/sa/stock"),
            ("destination_app", "stock"),
            ("destination_version", "unknown"),
            ("destination_canonical_revision", "latest"),
            ("destination_service", "cart.shop"),
            ("destination_service_name", "stock"),
            ("connection_security_policy", "unknown"),
        ],
    );
}

#[test]
fn where_nothing_is_known_it_says_so() {
    for reporter in ["source", "destination"] {
        let host = Host::<StatsTags>::configure(&format!(r#"{{"istio":{{"reporter":"{reporter}"}}}}"#)).unwrap();
        stream(&host, |_| {});
        for (label, value) in only("istio_requests_total") {
            let expected = match label.as_str() {
                "reporter" => reporter,
                "request_protocol" => "http",
                "response_code" => "0",
                "grpc_response_status" => "",
                "response_flags" => "-",
                "source_canonical_revision" | "destination_canonical_revision" => "latest",
                _ => "unknown",
            };
            assert_eq!(value, expected, "{reporter}: {label}");
        }
    }
}

#[test]
fn connections_have_istios_labels_of_connections() {
    let host = TcpHost::<StatsTags>::configure_in(r#"{"istio":{}}"#, of_our_node).unwrap();
    connection(&host, |connection| {
        of_a_stream(connection);
        connection.maps = Default::default();
    });
    for metric in ["opened_total", "closed_total"].map(|end| format!("istio_tcp_connections_{end}")) {
        assert_eq!(sorted(only(&metric).iter().map(|(name, _)| name.as_str())), sorted(of_tcp()), "{metric}");
        assert_labels(
            &metric,
            &[("request_protocol", "tcp"), ("destination_service", "cart-canonical"), ("response_flags", "-")],
        );
    }
    assert_labels("istio_tcp_received_bytes_total", &[("source_workload_namespace", "front")]);
    assert!(series("istio_requests_total").is_empty());
}

#[test]
fn rules_of_the_operator_come_first() {
    let configuration = r#"{"istio":{},"prefix":"mesh_","labels":[
        {"label":"source_workload","from":{"caller":"service_account"}},
        {"label":"source_app","from":{"value":"mine"}},
        {"label":"request_host","from":"host"}],
        "metrics":{"requests":{"without":["source_version"]}}}"#;
    let host = Host::<StatsTags>::configure(configuration).unwrap();
    stream(&host, of_a_stream);
    let expected = [("source_workload", "web"), ("source_app", "mine"), ("request_host", "cart.shop")];
    assert_labels("mesh_requests_total", &expected);
    assert!(!only("mesh_requests_total").iter().any(|(name, _)| name == "source_version"));
    let host = Host::<StatsTags>::configure(configuration).unwrap();
    stream(&host, |_| {});
    assert_labels("mesh_requests_total", &[("source_workload", "unknown")]);
}
