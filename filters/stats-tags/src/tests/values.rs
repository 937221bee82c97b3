//! Sources and operations.

use fyke_sdk::abi::MapKind;

use super::*;

/// A stream of which everything is known.
fn everything(stream: &mut StreamState) {
    let request = [
        (":method", "POST"),
        (":path", "/shop.Cart/Add?x=/y/z"),
        (":authority", "Shop.Example:8443"),
        ("content-type", "application/grpc+proto"),
        ("x-call-site", "cart.rs:17"),
        ("x-user", "Alice Liddell"),
    ];
    stream.set_headers(MapKind::RequestHeaders, &request);
    stream.set_headers(MapKind::ResponseHeaders, &[(":status", "503"), ("x-cache", "MISS")]);
    for (path, text) in [
        ("response.trailers.x-cost", "12"),
        ("route_name", "carts"),
        ("route_metadata.team", "shop"),
        ("route_metadata.owner.name", "Bob"),
        ("cluster_name", "carts-v2"),
        ("connection.uri_san_peer_certificate", "spiffe://cluster.local/ns/front/sa/web"),
        ("upstream.uri_san_peer_certificate", "spiffe://other.local/ns/back/sa/cart"),
        ("source.address", "10.0.0.9:4000"),
        ("connection.tls_version", "TLSv1.3"),
    ] {
        stream.set_property(path, text);
    }
    stream.set_property("response.flags", 0x22_i64.to_le_bytes());
    stream.set_property("response.grpc_status", 14_i64.to_le_bytes());
    stream.set_property("request.duration", 12_345_678_i64.to_le_bytes());
    stream.set_property("request.size", 100_i64.to_le_bytes());
    stream.set_property("response.size", 7_i64.to_le_bytes());
    stream.set_property("request.total_size", 300_i64.to_le_bytes());
}

/// What a rule gives its label, for a stream of which everything is known.
fn given(rule: &str) -> String {
    let rule = rule.trim();
    let host = Host::<StatsTags>::configure(&format!(r#"{{"labels":[{{"label":"a",{rule}}}]}}"#)).unwrap();
    stream(&host, everything);
    value(&only("stats_requests_total"), "a")
}

#[test]
fn every_source_gives_its_value() {
    for (source, expected) in [
        (r#"{"request_header":"X-User"}"#, "Alice Liddell"),
        (r#"{"response_header":"x-cache"}"#, "MISS"),
        (r#"{"response_trailer":"x-cost"}"#, "12"),
        (r#"{"request_header":"x-none"}"#, ""),
        (r#""call_site""#, "cart.rs:17"),
        (r#""host""#, "Shop.Example:8443"),
        (r#""method""#, "POST"),
        (r#"{"path_template":["/{service}/{method}","/a"]}"#, "/{service}/{method}"),
        (r#"{"path_template":["/a"]}"#, ""),
        (r#""route_name""#, "carts"),
        (r#"{"route_metadata":"team"}"#, "shop"),
        (r#"{"route_metadata":"owner.name"}"#, "Bob"),
        (r#""grpc_service""#, "shop.Cart"),
        (r#""grpc_method""#, "Add"),
        (r#"{"caller":"id"}"#, "spiffe://cluster.local/ns/front/sa/web"),
        (r#"{"caller":"trust_domain"}"#, "cluster.local"),
        (r#"{"caller":"namespace"}"#, "front"),
        (r#"{"caller":"service_account"}"#, "web"),
        (r#"{"callee":"namespace"}"#, "back"),
        (r#"{"callee":"service_account"}"#, "cart"),
        (r#""cluster""#, "carts-v2"),
        (r#""response_code""#, "503"),
        (r#""response_flags""#, "UH,UF"),
        (r#""grpc_status""#, "14"),
        (r#""protocol""#, "grpc"),
        (r#"{"value":"fixed"}"#, "fixed"),
        (r#"{"property":"connection.tls_version"}"#, "TLSv1.3"),
        (r#"{"property":"request.headers.x-user"}"#, "Alice Liddell"),
        (r#"{"property":"request.duration"}"#, "12"),
        (r#"{"property_path":["route_metadata","owner","name"]}"#, "Bob"),
        (r#"{"text":"%{route_name}/%{cluster_name}"}"#, "carts/carts-v2"),
        (r#"{"text":"100%%"}"#, "100%"),
    ] {
        assert_eq!(given(&format!(r#""from":{source}"#)), expected, "{source}");
    }
}

#[test]
fn captures_and_operations_make_other_values_of_it() {
    for (rule, expected) in [
        (r#""from":"host","regex":"^(\\w+)\\.""#, "Shop"),
        (r#""from":"host","regex":"[a-z]+$|:\\d+""#, ":8443"),
        (r#""from":"host","regex":"^(?<name>\\w+)\\.(\\w+)","value":"${2}-${name}""#, "Example-Shop"),
        (r#""from":"host","regex":"(nothing)|Shop""#, ""),
        (r#""from":"host","regex":"nothing","default":"else""#, "else"),
        (r#""from":"host","then":["lower_case"]"#, "shop.example:8443"),
        (r#""from":"host","then":["without_port","lower_case"]"#, "shop.example"),
        (r#""from":{"property":"source.address"},"then":["without_port"]"#, "10.0.0.9"),
        (r#""from":"response_code","then":["status_class"]"#, "5xx"),
        (r#""from":"grpc_status","then":["status_class"]"#, ""),
        (r#""from":{"response_trailer":"x-cost"},"then":[{"ranges":[10,100]}]"#, "10-99"),
        (r#""from":"grpc_status","then":[{"ranges":[15]}]"#, "<15"),
        (r#""from":"grpc_status","then":[{"ranges":[1,2,14]}]"#, ">=14"),
        (r#""from":"grpc_status","then":[{"ranges":[14,15]}]"#, "14-14"),
        (r#""from":"host","then":[{"ranges":[1]}],"default":"none""#, "none"),
        (r#""from":"method","then":[{"map":{"values":{"POST":"write","GET":"read"}}}]"#, "write"),
        (r#""from":"method","then":[{"map":{"values":{"GET":"read"}}}]"#, "POST"),
        (r#""from":"method","then":[{"map":{"values":{"GET":"read"},"other":"write"}}]"#, "write"),
        (r#""from":"cluster","then":[{"replace":{"regex":"-v(\\d+)$","with":"/$1"}}]"#, "carts/2"),
        (r#""from":"cluster","then":[{"replace":{"regex":"q","with":""}}]"#, "carts-v2"),
        (r#""from":"method","then":[{"drop_label":{"values":["POST"]}}]"#, ""),
        (r#""from":"method","then":[{"drop_label":{"regex":"^P"}}],"default":"no""#, "no"),
        (r#""from":"method","then":[{"drop_label":{"values":["GET"]}}]"#, "POST"),
        (r#""from":"method","then":[{"drop_sample":{"values":["GET"]}}]"#, "POST"),
        (r#""from":{"request_header":"x-none"},"default":"none""#, "none"),
        (r#""from":"host","maximum_length":4"#, "Shop"),
        (r#""from":{"value":"größer"},"maximum_length":3"#, "gr"),
    ] {
        assert_eq!(given(rule), expected, "{rule}");
    }
}

#[test]
fn of_several_rules_for_a_label_the_first_with_a_value_gives_it() {
    let configuration = r#"{"labels":[
        {"label":"who","from":{"request_header":"x-user"},"regex":"^nobody$"},
        {"label":"what","from":"method"},
        {"label":"who","from":{"caller":"service_account"}},
        {"label":"who","from":{"value":"unknown"}}]}"#;
    let host = Host::<StatsTags>::configure(configuration).unwrap();
    stream(&host, everything);
    let labels = only("stats_requests_total");
    assert_eq!(labels, [("who".to_owned(), "web".to_owned()), ("what".to_owned(), "POST".to_owned())]);
    let host = Host::<StatsTags>::configure(configuration).unwrap();
    stream(&host, |_| {});
    assert_eq!(value(&only("stats_requests_total"), "who"), "unknown");
}

#[test]
fn metrics_measure_what_their_names_say() {
    let counted = |name: &str| series(name).into_iter().flat_map(|(_, counted)| counted).collect::<Vec<_>>();
    let configuration = r#"{"labels":[{"label":"a","from":{"value":"b"}}],"duration_unit":"microseconds"}"#;
    let host = Host::<StatsTags>::configure(configuration).unwrap();
    stream(&host, everything);
    stream(&host, |_| {});
    assert_eq!(counted("stats_requests_total"), [2]);
    // A stream without an end has no duration; one without an answer has no bytes of it.
    assert_eq!(counted("stats_request_duration_microseconds"), [12_345]);
    assert_eq!(counted("stats_request_bytes"), [100, 0]);
    assert_eq!(counted("stats_response_bytes"), [7, 0]);
    assert_eq!(counted("stats_request_messages_total"), [0_i64; 0]);
}

#[test]
fn a_connection_has_the_labels_that_a_connection_can_have() {
    let configuration = r#"{"labels":[
        {"label":"caller","from":{"caller":"namespace"},"default":"-"},
        {"label":"cluster","from":"cluster"},
        {"label":"code","from":"response_code","default":"0"},
        {"label":"flags","from":"response_flags"}]}"#;
    let host = TcpHost::<StatsTags>::configure(configuration).unwrap();
    connection(&host, everything);
    let names = |metric: &str| only(metric).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names("stats_tcp_connections_opened_total"), ["caller"]);
    assert_eq!(names("stats_tcp_connections_closed_total"), ["caller", "cluster", "flags"]);
    let closed = only("stats_tcp_connections_closed_total");
    let values = ["caller", "cluster", "flags"].map(|label| value(&closed, label));
    assert_eq!(values, ["front", "carts-v2", "UH,UF"]);
    assert_eq!(series("stats_tcp_received_bytes_total")[0].1, [100]);
    assert_eq!(series("stats_tcp_sent_bytes_total")[0].1, [7]);
    assert!(series("stats_requests_total").is_empty());
}

#[test]
fn a_connection_may_be_dropped_too() {
    let configuration = r#"{"labels":[{"from":{"property":"source.address"},"then":["without_port",{"drop_sample":{"values":["10.0.0.9"]}}]},
        {"label":"a","from":{"value":"b"}}]}"#;
    let host = TcpHost::<StatsTags>::configure(configuration).unwrap();
    let (connection, _) = host.connect();
    host.connection(connection, everything);
    host.finish(connection);
    assert!(series("stats_tcp_connections_closed_total").is_empty());
    assert_eq!(series("stats_tcp_connections_opened_total")[0].1, [1]);
}

#[test]
fn what_nothing_needs_is_not_asked_for() {
    let skipped = |configuration: &str| {
        let _host = Host::<StatsTags>::configure(configuration).unwrap();
        World::with(|world| world.skipped.take())
    };
    let bodies = "request_body,request_trailers,response_body,response_trailers";
    assert_eq!(skipped("{}"), Some(format!("request_headers,{bodies}")));
    let path = r#""original_path":true,"labels":[{"label":"a","from":{"path_template":["/a"]}}]"#;
    assert_eq!(skipped(&format!("{{{path}}}")).as_deref(), Some(bodies));
    assert_eq!(skipped(r#"{"grpc_messages":true}"#).as_deref(), Some("request_headers"));
    assert_eq!(skipped(&format!(r#"{{"grpc_messages":true,{path}}}"#)), None);
}

#[test]
fn another_host_has_the_labels_in_its_names() {
    let configuration = r#"{"labels":[{"label":"method","from":"method"}],"metrics":{"duration":{"enabled":false}}}"#;
    let host = Host::<StatsTags>::configure_in(configuration, |world| world.knows_fyke = false).unwrap();
    stream(&host, everything);
    let names = World::with(|world| world.metrics.iter().map(|(_, name, _)| name.clone()).collect::<Vec<_>>());
    assert!(names.iter().any(|name| name == "stats_requests_total.method=.=POST;"), "{names:?}");
}

#[test]
fn a_dotted_name_is_counted_where_no_tag_matched_too() {
    let configuration = r#"{"stat_names":["cluster.%{cluster_name|outbound_a}.upstream_rq_%{response.code}"],
        "stats_tags":[{"tag_name":"envoy.cluster_name","regex":"^cluster\\.(outbound_(\\w+)\\.)"},{"tag_name":"envoy.response_code"}]}"#;
    let host = Host::<StatsTags>::configure(configuration).unwrap();
    stream(&host, everything);
    stream(&host, |stream| {
        everything(stream);
        stream.set_property("cluster_name", "outbound_b");
    });
    let values: Vec<Vec<String>> = series("envoy_cluster_upstream_rq")
        .into_iter()
        .map(|(labels, _)| labels.into_iter().map(|(_, value)| value).collect())
        .collect();
    assert_eq!(values, [["", "503"], ["b", "503"]]);
}
