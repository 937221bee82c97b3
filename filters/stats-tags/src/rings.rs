//! Tests in all rings.

use fyke_sdk::testing::{Ring, TcpTestHost, TestHost, TestRequest, TestResponse};

use crate::StatsTags;

/// A message of gRPC.
fn message(text: &str) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend(text.as_bytes());
    frame
}

#[test]
fn requests_are_counted_under_the_labels_that_rules_give_them() {
    let mut host = TestHost::<StatsTags>::configure(
        "
labels:
  - { label: path, from: { path_template: ['/users/{id}', '/users/me'] }, default: other }
  - { label: method, from: method, then: [lower_case] }
  - { label: class, from: response_code, then: [status_class] }
  - { label: host, from: host }
  - { label: version, from: { request_header: x-version }, regex: '^v(\\d+)', default: none }
",
    )
    .unwrap();
    host.upstream(|request| TestResponse::new(if request.path() == "/none" { 404 } else { 200 }));
    let _ = host.send(TestRequest::get("/users/7?a=b").header("x-version", "v12.3"));
    let _ = host.send(TestRequest::get("/users/8").header("x-version", "v12"));
    let _ = host.send(TestRequest::post("/users/me").authority("api.example").body("hello"));
    let _ = host.send(TestRequest::get("/none"));
    for (values, count) in [
        (["/users/{id}", "get", "2xx", "test.example", "12"], 2),
        (["/users/me", "post", "2xx", "api.example", "none"], 1),
        (["other", "get", "4xx", "test.example", "none"], 1),
    ] {
        let [path, method, class, host_name, version] = values;
        let labels = [("path", path), ("method", method), ("class", class), ("host", host_name), ("version", version)];
        assert_eq!(host.counter("stats_requests_total", labels), count, "{values:?}");
        let count = usize::try_from(count).unwrap();
        assert_eq!(host.histogram_count("stats_request_bytes", labels), count);
        assert_eq!(host.histogram_count("stats_response_bytes", labels), count);
        if host.ring() != Ring::Native {
            assert_eq!(host.histogram_count("stats_request_duration_milliseconds", labels), count);
        }
    }
}

#[test]
fn each_metric_names_its_labels_and_the_path_may_be_the_one_that_arrived() {
    let mut host = TestHost::<StatsTags>::configure(
        "
prefix: edge_
original_path: true
labels:
  - { label: path, from: { path_template: ['/a/{b}'] } }
  - { label: method, from: method }
metrics:
  requests: { labels: [method], name: calls_total }
  response_size: { without: [method], buckets: [10, 100] }
  request_size: { enabled: false }
",
    )
    .unwrap();
    host.upstream(|_| TestResponse::ok().body("hello"));
    let _ = host.send(TestRequest::get("/a/1?b"));
    assert_eq!(host.counter("calls_total", [("method", "GET")]), 1);
    assert_eq!(host.histogram_count("edge_response_bytes", [("path", "/a/{b}")]), 1);
    assert_eq!(host.histogram_count("edge_request_bytes", [("path", "/a/{b}"), ("method", "GET")]), 0);
}

#[test]
fn messages_are_counted_in_every_chunking_and_bodies_pass_as_they_are() {
    let mut host = TestHost::<StatsTags>::configure(
        "
grpc_messages: true
labels:
  - { label: service, from: grpc_service }
  - { label: method, from: grpc_method }
  - { label: protocol, from: protocol }
",
    )
    .unwrap();
    let body = [message("one"), message(""), message("three and more")].concat();
    let labels = [("service", "shop.Cart"), ("method", "Add"), ("protocol", "grpc")];
    let request = TestRequest::post("/shop.Cart/Add").header("content-type", "application/grpc").body(&body);
    let mut sent = 0;
    host.every_chunking(request.clone(), |out| {
        sent += 1;
        assert_eq!(out.upstream().body(), body.as_slice());
    });
    assert_eq!(host.counter("stats_request_messages_total", labels), sent * 3);
    assert_eq!(host.counter("stats_response_messages_total", labels), 0);
    let mut answered = 0;
    let answer = TestResponse::ok().header("content-type", "application/grpc").body(&body).trailer("grpc-status", "0");
    host.every_response_chunking(request, answer, |out| {
        answered += 1;
        assert_eq!(out.body(), body.as_slice());
    });
    assert_eq!(host.counter("stats_request_messages_total", labels), (sent + answered) * 3);
    assert_eq!(host.counter("stats_response_messages_total", labels), answered * 3);
    // A body of another kind is nobody's messages.
    let other = [("service", ""), ("method", ""), ("protocol", "http")];
    let _ = host.send(TestRequest::post("/shop.Cart/Add").body(&body));
    assert_eq!(host.counter("stats_requests_total", other), 1);
    assert_eq!(host.counter("stats_request_messages_total", other), 0);
}

#[test]
fn streams_are_dropped_by_what_they_are() {
    let mut host = TestHost::<StatsTags>::configure(
        "
labels:
  - { from: { request_header: x-probe }, then: [{ drop_sample: {} }] }
  - { label: agent, from: { request_header: user-agent }, then: [{ drop_sample: { regex: '^kube-' } }, { map: { values: { curl: tool }, other: browser } }] }
",
    )
    .unwrap();
    for (name, value) in
        [("x-probe", "1"), ("user-agent", "kube-probe/1"), ("user-agent", "curl"), ("user-agent", "Mozilla")]
    {
        let _ = host.send(TestRequest::get("/").header(name, value));
    }
    assert_eq!(host.counter("stats_requests_total", [("agent", "tool")]), 1);
    assert_eq!(host.counter("stats_requests_total", [("agent", "browser")]), 1);
    assert_eq!(host.counter("stats_requests_total", [("agent", "")]), 0);
}

#[test]
fn hostile_values_are_made_legal_and_cut() {
    let mut host = TestHost::<StatsTags>::configure(
        "labels: [{ label: who, from: { request_header: x-who }, maximum_length: 8 }, { label: all, from: { request_header: x-who } }]",
    )
    .unwrap();
    let long = "é".repeat(5000);
    for value in [&b"\xff\"a\tb"[..], long.as_bytes()] {
        let _ = host.send(TestRequest::get("/").header("x-who", value));
    }
    let count = |who, all| host.counter("stats_requests_total", [("who", who), ("all", all)]);
    assert_eq!(count("\u{fffd}\"a\tb", "\u{fffd}\"a\tb"), 1);
    assert_eq!(count("éééé", &"é".repeat(64)), 1);
}

#[test]
fn dotted_names_lose_what_tags_take_out_of_them() {
    let mut host = TestHost::<StatsTags>::configure(
        "
stat_names: ['vhost.%{request.host}.vcluster.all.upstream_rq_%{response.code}']
stats_tags:
  - { tag_name: envoy.virtual_host }
  - { tag_name: envoy.response_code, regex: '_rq(_(\\d{3}))$' }
  - { tag_name: region, fixed_value: eu }
",
    )
    .unwrap();
    let _ = host.send(TestRequest::get("/").authority("a.example"));
    let labels = [("envoy_virtual_host", "a_example"), ("envoy_response_code", "200"), ("region", "eu")];
    assert_eq!(host.counter("envoy_vhost_vcluster_all_upstream_rq", labels), 1);
    assert_eq!(host.counter("stats_requests_total", []), 1);
}

#[test]
fn connections_are_counted_when_they_begin_and_when_they_end() {
    let mut host = TcpTestHost::<StatsTags>::configure(
        "labels: [{ label: protocol, from: protocol }, { label: method, from: method, default: none }, { label: edge, from: { value: eu } }]",
    )
    .unwrap();
    let labels = [("protocol", "tcp"), ("edge", "eu")];
    let connection = host.connect();
    assert_eq!(host.counter("stats_tcp_connections_opened_total", labels), 1);
    host.client_sends(&connection, "hello");
    host.upstream_sends(&connection, "hi");
    assert_eq!(host.upstream_got(&connection), "hello");
    assert_eq!(host.client_got(&connection), "hi");
    assert_eq!(host.counter("stats_tcp_connections_closed_total", labels), 0);
    host.close(connection);
    assert_eq!(host.counter("stats_tcp_connections_opened_total", labels), 1);
    assert_eq!(host.counter("stats_tcp_connections_closed_total", labels), 1);
    if host.ring() != Ring::Native {
        assert_eq!(host.counter("stats_tcp_received_bytes_total", labels), 5);
        assert_eq!(host.counter("stats_tcp_sent_bytes_total", labels), 2);
    }
}

#[test]
fn istios_names_and_labels_are_there_by_a_switch() {
    let chosen = "[reporter, source_principal, destination_service, request_protocol, response_code, grpc_response_status, response_flags, connection_security_policy]";
    let mut host = TestHost::<StatsTags>::configure(&format!(
        "
istio: {{}}
labels: [{{ label: destination_service, from: {{ request_header: x-service }} }}]
metrics: {{ requests: {{ labels: {chosen} }}, duration: {{ labels: [reporter] }}, request_size: {{ labels: [reporter] }}, response_size: {{ labels: [reporter] }},
  connections_opened: {{ labels: [reporter] }}, connections_closed: {{ labels: [reporter] }}, bytes_received: {{ labels: [reporter] }}, bytes_sent: {{ labels: [reporter] }} }}
"
    ))
    .unwrap();
    let _ = host.send(TestRequest::get("/"));
    let _ = host.send(TestRequest::get("/").header("x-service", "mine"));
    let security = if host.ring() == Ring::Native { "unknown" } else { "none" };
    for service in ["test.example", "mine"] {
        let labels = [
            ("reporter", "destination"),
            ("source_principal", "unknown"),
            ("destination_service", service),
            ("request_protocol", "http"),
            ("response_code", "200"),
            ("grpc_response_status", ""),
            ("response_flags", "-"),
            ("connection_security_policy", security),
        ];
        assert_eq!(host.counter("istio_requests_total", labels), 1, "{service}");
    }
    assert_eq!(host.histogram_count("istio_response_bytes", [("reporter", "destination")]), 2);
}

#[test]
fn a_new_configuration_goes_on_with_the_same_metrics() {
    let mut host = TestHost::<StatsTags>::configure("labels: [{ label: a, from: { value: x } }]").unwrap();
    let _ = host.send(TestRequest::get("/"));
    host.reload("labels: [{ label: a, from: method, then: [lower_case] }]").unwrap();
    let _ = host.send(TestRequest::get("/"));
    assert_eq!(host.counter("stats_requests_total", [("a", "x")]), 1);
    assert_eq!(host.counter("stats_requests_total", [("a", "get")]), 1);
}

#[test]
fn expressions_on_long_values_stay_within_the_time_of_a_call() {
    // About as much as is accepted, and of the kind that takes longest.
    let rules = |count: usize| {
        let rule = |number| {
            let regex = format!("(?:[a-z]{{1,16}}-?){{3}}{number}|(?:a|b|aa|ab)*c|(.)$");
            format!("{{ label: a{number}, from: {{ request_header: x-who }}, regex: '{regex}' }}")
        };
        format!("labels: [{}]", (0..count).map(rule).collect::<Vec<_>>().join(", "))
    };
    let refusal = TestHost::<StatsTags>::configure(&rules(16)).err().unwrap();
    assert!(refusal.path().ends_with(".regex"), "{refusal}");
    let mut host = TestHost::<StatsTags>::configure(&rules(8)).unwrap();
    for _ in 0..3 {
        let _ = host.send(TestRequest::get("/").header("x-who", "a".repeat(50_000)));
    }
    let labels = ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"].map(|name| (name, "a"));
    assert_eq!(host.counter("stats_requests_total", labels), 3);
}

/// What stands behind `config:` in the examples of the README.
fn examples() -> Vec<String> {
    let readme = include_str!("../README.md");
    let blocks = readme.split("```yaml").skip(1).filter_map(|rest| rest.split("```").next());
    let configuration = |block: &str| {
        let (before, after) = block.split_once("config:").unwrap();
        let indent = before.rsplit('\n').next().unwrap().len();
        let mut lines = after.lines();
        let first = lines.next().unwrap().split(" #").next().unwrap().trim().to_owned();
        let deeper = |line: &&str| line.len() > indent && line[..=indent].trim().is_empty();
        let more: Vec<&str> = lines.take_while(deeper).collect();
        if first.is_empty() { more.join("\n") } else { first }
    };
    blocks.map(configuration).collect()
}

#[test]
fn the_examples_of_the_readme_are_configurations() {
    let examples = examples();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let refusal = TestHost::<StatsTags>::configure(&example).err();
        assert_eq!(refusal, None, "{example}");
    }
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [
        ("labels: [{ label: a-b, from: host }]", "labels[0].label"),
        ("labels: [{ label: a, from: host, regex: '(' }]", "labels[0].regex"),
        ("metrics: { requests: { labels: [nothing] } }", "metrics.requests.labels[0]"),
        ("labels: [{ label: a, from: { path_template: ['/{a}', '/{b}'] } }]", "labels[0].from.path_template[1]"),
        ("stat_names: ['a.%{cluster_name}']", "stat_names[0]"),
        ("maximum_length: 0", "maximum_length"),
    ] {
        let error = TestHost::<StatsTags>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}
