//! What is in order resolves, to what it says.

use std::{path::PathBuf, time::Duration};

use super::{MINIMAL, with, yaml};
use crate::cluster::balance::{Policy, Settings};
use crate::config::resolved::{
    ClusterProtocol, HeadersPause, ModuleSource, OnFailure, OriginalDestination, ProxyProtocol, Rest, Sink,
};
use crate::listener::chain::{Transport, TransportCondition};

/// The front proxy of CONFIG.md.
const FRONT_PROXY: &str = "\
listeners:
  web: { address: 0.0.0.0:8080, filters: [router] }
filters:
  router: { module: builtin:router, config: { routes: [{ cluster: app }] } }
clusters:
  app: { endpoints: [127.0.0.1:3000] }
";

/// Every key that this version honours.
const EVERYTHING: &str = r#"
node: { id: edge-1, cluster: edge, zone: eu-1a, metadata: { rack: 7 } }
workers: 3
state: var
admin: { address: 127.0.0.1:9900 }
limits: { connections: 50, memory: 2GiB }
listeners:
  edge:
    address: "[::1]:8443"
    protocol: http
    proxy_protocol: require
    original_destination: use
    filters: [b, a]
    cluster: users
    chains:
      - match:
          source: [10.0.0.0/8, "::1"]
          source_ports: [1, "1024-2047"]
          destination: [192.0.2.1]
          destination_port: 8443
          transport: plain
        filters: [b]
      - { match: { transport: plain }, cluster: empty }
    limits: { connections: 1, header_bytes: 8KiB, headers: 2, header_timeout: 3s, idle_timeout: 1m30s, streams: 4, buffer: 0B }
    drain: 0s
  file: { address: "unix:run/app.sock", mode: "0660", cluster: users }
filters:
  a:
    module: filters/a.wasm
    sha256: 0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef
    config: plain text
    vm: shared
    environment: { KEY: value, A: "" }
    on_failure: open
    isolation: worker
    limits: { memory: 4GiB, call_time: 5ms, configure_time: 1s }
    allow: { clusters: [users], shared_data: true }
    callbacks: [request_headers, log]
    headers_pause: headers_only
  b: { module: /opt/b.wasm }
clusters:
  users:
    endpoints: [10.0.0.1:8080, { address: 10.0.0.2:8080, weight: 2 }]
    protocol: auto
    load_balancer: round_robin
    connect_timeout: 250ms
    pool: { connections: 5, idle_timeout: 2h, requests_per_connection: 9 }
  empty: { endpoints: [] }
sinks:
  requests: { file: log/access.log }
  out: stdout
"#;

#[test]
fn the_front_proxy_resolves() {
    let config = yaml(FRONT_PROXY).unwrap();
    let [web] = config.listeners.as_slice() else { panic!("one listener") };
    assert_eq!((web.name.as_str(), &web.address), ("web", &"0.0.0.0:8080".parse().unwrap()));
    assert_eq!((web.origin.file.as_str(), web.origin.line, web.origin.column), ("proxy.yaml", 2, 3));
    let [router] = web.filters.as_slice() else { panic!("one filter") };
    assert_eq!(router.module, ModuleSource::Builtin("router".to_owned()));
    assert_eq!(router.configuration, br#"{"routes":[{"cluster":"app"}]}"#);
    let cluster = &config.clusters["app"];
    assert_eq!(cluster.endpoints.len(), 1);
    assert_eq!((cluster.endpoints[0].address, cluster.endpoints[0].weight), ("127.0.0.1:3000".parse().unwrap(), 1));
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = yaml(FRONT_PROXY).unwrap();
    assert!(config.workers >= 1);
    assert_eq!(config.limits.connections, 20_000);
    assert!(config.admin.is_none() && config.state.is_none());
    let listener = &config.listeners[0];
    assert_eq!(listener.drain, Duration::from_secs(30));
    assert_eq!((listener.limits.connections, listener.limits.header_bytes), (10_000, 60 * 1024));
    assert_eq!((listener.limits.headers, listener.limits.streams, listener.limits.buffer), (100, 100, 1 << 20));
    assert_eq!(listener.limits.header_timeout, Duration::from_secs(10));
    assert_eq!(listener.limits.idle_timeout, Duration::from_secs(300));
    let filter = &config.filters["router"];
    assert_eq!((filter.on_failure, filter.headers_pause), (OnFailure::Close, None));
    assert_eq!((filter.limits.memory, filter.limits.call_time), (64 << 20, Duration::from_millis(10)));
    assert_eq!(filter.limits.configure_time, Duration::from_secs(10));
    assert!(filter.callbacks.is_none() && !filter.allow.shared_data);
    let cluster = &config.clusters["app"];
    assert_eq!((cluster.protocol, &cluster.balancing), (ClusterProtocol::Http1, &Settings::default()));
    assert_eq!((cluster.connect_timeout, cluster.circuit_breakers.usual.connections), (Duration::from_secs(1), 1024));
    assert_eq!((cluster.pool.idle_timeout, cluster.pool.requests_per_connection), (Duration::from_secs(3600), 0));
}

#[test]
fn everything_that_can_be_said_is_heard() {
    let config = yaml(EVERYTHING).unwrap();
    assert_eq!(
        (config.node.id.as_str(), config.node.zone.as_str(), &config.node.metadata["rack"]),
        ("edge-1", "eu-1a", &7.into())
    );
    assert_eq!((config.workers, config.limits.connections, config.limits.memory), (3, 50, Some(2 << 30)));
    assert_eq!(config.state, Some(PathBuf::from("/etc/fyke/var")));
    assert_eq!(config.admin.unwrap().address.to_string(), "127.0.0.1:9900");
    let edge = &config.listeners[0];
    let order: Vec<_> = edge.filters.iter().map(|filter| filter.name.as_str()).collect();
    assert_eq!((order, edge.target.cluster(|| 0)), (vec!["b", "a"], Some("users")));
    assert_eq!((edge.limits.header_bytes, edge.limits.buffer, edge.drain), (8192, 0, Duration::ZERO));
    assert_eq!((edge.limits.idle_timeout, edge.limits.streams), (Duration::from_secs(90), 4));
    assert_eq!(edge.proxy_protocol, ProxyProtocol::Require);
    assert_eq!((edge.original_destination, edge.rest), (OriginalDestination::Use, Rest::Own));
    let [first, second] = edge.chains.as_slice() else { panic!("two chains") };
    assert_eq!((first.matcher.source.len(), first.matcher.source_ports.as_slice()), (2, &[1..=1, 1024..=2047][..]));
    assert_eq!((first.matcher.destination.len(), first.matcher.destination_port), (1, Some(8443)));
    assert_eq!(first.matcher.transport, TransportCondition::Only(Transport::Plain));
    // What a chain does not say the listener says.
    assert_eq!((first.filters.len(), first.target.cluster(|| 0)), (1, Some("users")));
    assert_eq!((second.filters.len(), second.target.cluster(|| 0)), (2, Some("empty")));
    let file = &config.listeners[1];
    assert_eq!((file.address.to_string().as_str(), file.mode), ("unix:/etc/fyke/run/app.sock", 0o660));
    let a = &config.filters["a"];
    assert_eq!(a.module, ModuleSource::File(PathBuf::from("/etc/fyke/filters/a.wasm")));
    assert_eq!(config.filters["b"].module, ModuleSource::File(PathBuf::from("/opt/b.wasm")));
    assert!(a.sha256.as_ref().unwrap().starts_with("0123456789abcdef"));
    assert_eq!((a.configuration.as_slice(), a.vm.as_deref()), (b"plain text".as_slice(), Some("shared")));
    assert_eq!(a.environment, [("A".to_owned(), String::new()), ("KEY".to_owned(), "value".to_owned())]);
    assert_eq!(
        (a.on_failure, a.headers_pause, a.limits.memory),
        (OnFailure::Open, Some(HeadersPause::HeadersOnly), 4 << 30)
    );
    assert_eq!((a.allow.clusters.as_slice(), a.allow.shared_data), (["users".to_owned()].as_slice(), true));
    assert_eq!(a.callbacks, Some(vec!["request_headers".to_owned(), "log".to_owned()]));
    let users = &config.clusters["users"];
    assert_eq!((users.endpoints[1].weight, users.protocol), (2, ClusterProtocol::Auto));
    assert_eq!((users.balancing.policy, users.pool.requests_per_connection), (Policy::RoundRobin, 9));
    assert!(config.clusters["empty"].endpoints.is_empty());
    assert_eq!(config.sinks["requests"], Sink::File(PathBuf::from("/etc/fyke/log/access.log")));
    assert_eq!(config.sinks["out"], Sink::Stdout);
}

#[test]
fn a_filter_s_configuration_keeps_its_order_and_its_places() {
    let config = yaml(
        "\
listeners: { web: { address: 127.0.0.1:0, filters: [f] } }
filters:
  f:
    module: builtin:f
    config:
      zebra: 1
      routes:
        - match: { path: /a }
        - match:
            path: 18446744073709551615
            half: 0.5
            none:
",
    )
    .unwrap();
    let filter = &config.filters["f"];
    assert_eq!(
        String::from_utf8(filter.configuration.clone()).unwrap(),
        r#"{"zebra":1,"routes":[{"match":{"path":"/a"}},{"match":{"path":18446744073709551615,"half":0.5,"none":null}}]}"#
    );
    let at = |path: &str| filter.locations.nearest(path).map(|origin| (origin.line, origin.column));
    assert_eq!(at(""), Some((5, 5)));
    assert_eq!(at("zebra"), Some((6, 14)));
    assert_eq!(at("routes"), Some((7, 7)));
    assert_eq!(at("routes[0].match.path"), Some((8, 26)));
    assert_eq!(at("routes[1].match"), Some((9, 11)));
    assert_eq!(at("routes[1].match.path"), Some((10, 19)));
    assert_eq!(at("/routes/1/match/path"), Some((10, 19)), "a JSON pointer");
    assert_eq!(at("routes[1].match.nothing.like[3].that"), Some((9, 11)), "the nearest part around it");
    assert_eq!(at("nothing"), Some((5, 5)));
}

#[test]
fn configurations_other_than_maps_are_handed_over_as_json() {
    for (written, bytes) in
        [("[1, a]", r#"[1,"a"]"#), ("5", "5"), ("true", "true"), ("\"5\"", "5"), ("~", ""), ("{}", "{}")]
    {
        let text = format!(
            "listeners: {{ w: {{ address: 127.0.0.1:0, filters: [f] }} }}\nfilters: {{ f: {{ module: m.wasm, config: {written} }} }}\n"
        );
        let config = yaml(&text).unwrap();
        assert_eq!(config.filters["f"].configuration, bytes.as_bytes(), "{written}");
    }
}

#[test]
fn filters_may_share_an_instance_of_one_module() {
    let text = "\
listeners: { w: { address: 127.0.0.1:0, filters: [a, b] } }
filters: { a: { module: m.wasm, vm: x, config: 1 }, b: { module: m.wasm, vm: x, config: 2 } }
";
    assert!(yaml(text).is_ok());
}

#[test]
fn the_printed_schema_agrees() {
    let validator = jsonschema::validator_for(&crate::config::schema()).unwrap();
    let written = |text: &str| match yaml(text) {
        Ok(config) => config.sources.as_written().clone(),
        Err(report) => panic!("{report}"),
    };
    let front = written(FRONT_PROXY);
    assert!(validator.is_valid(&front), "{:?}", validator.validate(&front));
    let everything = written(EVERYTHING);
    assert!(validator.is_valid(&everything), "{:?}", validator.validate(&everything));
    assert!(!validator.is_valid(&serde_json::json!({ "listners": {} })));
    assert!(!validator.is_valid(&serde_json::json!({ "workers": null })));
}

#[test]
fn the_whole_is_kept_as_it_was_written() {
    let config = yaml(&with("clusters: { app: { endpoints: [127.0.0.1:1] } }\n")).unwrap();
    assert_eq!(config.sources.as_written()["clusters"]["app"]["endpoints"][0], "127.0.0.1:1");
    assert!(MINIMAL.contains("app"));
}

#[test]
fn anchors_are_expanded() {
    let config = yaml(
        "\
listeners:
  a: { address: 127.0.0.1:0, cluster: c, limits: &limits { headers: 7 } }
  b: { address: 127.0.0.1:0, cluster: c, limits: *limits }
clusters: { c: { endpoints: [] } }
",
    )
    .unwrap();
    assert_eq!(config.listeners[1].limits.headers, 7);
}

#[test]
fn auto_workers_are_at_least_one() {
    assert!(yaml(&with("workers: auto\nclusters: { app: { endpoints: [] } }\n")).unwrap().workers >= 1);
}
