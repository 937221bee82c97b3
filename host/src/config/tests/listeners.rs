//! What is wrong with a listener's address and chains is said at its place.

use super::{problem, problems, yaml};
use crate::config::resolved::Rest;

/// A listener with these settings.
fn listener(settings: &str) -> String {
    format!(
        "listeners:\n  w: {{ {settings} }}\nclusters: {{ c: {{ endpoints: [] }}, t: {{ protocol: tcp, endpoints: [] }} }}\n"
    )
}

/// A listener for everybody with these chains, and others.
fn chains(chains: &str, more: &str) -> String {
    listener(&format!("address: 127.0.0.1:0, chains: [{chains}], cluster: c{more}"))
}

#[test]
fn conditions_that_never_hold_are_refused() {
    for (chain, reason) in [
        ("match: { sni: [10.0.0.1] }", "is an address"),
        ("match: { alpn: [''] }", "1 to 255 bytes"),
        ("match: { source: [10.0.0.0/33] }", "beyond 32"),
        ("match: { source: [] }", "the list is empty"),
        ("match: { source_ports: ['1-x'] }", "neither a port nor a range"),
        ("match: { source_ports: ['0-1'] }", "neither a port nor a range"),
        ("match: { destination: [here] }", "neither a network"),
        ("match: { destination_port: 0 }", "out of range"),
        ("match: { transport: udp }", "unknown value"),
        ("match: { transport: plain, sni: [a.b] }", "has no \"sni\""),
    ] {
        let tls = ", protocol: tcp";
        let messages = problems(&chains(&format!("{{ {chain} }}"), tls));
        assert!(messages.len() == 1 && messages[0].starts_with("2:") && messages[0].contains(reason), "{messages:?}");
    }
}

#[test]
fn whose_proxy_header_is_believed_has_to_make_sense() {
    let trusted = |mode: &str, from: &str| {
        listener(&format!("address: 127.0.0.1:0, cluster: c, proxy_protocol: {mode}, proxy_protocol_from: [{from}]"))
    };
    let (message, help) = problem(&trusted("off", "10.0.0.0/8"));
    assert!(message.contains("nobody's header is read") && help.contains("accept"), "{message} {help}");
    assert!(problem(&trusted("accept", "")).0.contains("nobody's header would be believed"));
    let messages = problems(&trusted("accept", "10.0.0.0/8, here"));
    assert!(messages.len() == 1 && messages[0].contains("neither a network"), "{messages:?}");
    assert!(yaml(&trusted("require", "10.0.0.0/8, '2001:db8::1'")).is_ok());
}

#[test]
fn a_chain_that_no_connection_can_take_is_refused() {
    for earlier in ["match: { source: [10.0.0.0/8] }", "match: {}", "cluster: c"] {
        let (message, help) =
            problem(&chains(&format!("{{ {earlier} }}, {{ match: {{ source: [10.0.0.0/8] }} }}"), ""));
        assert!(message.contains("no connection can take this chain"), "{message}");
        assert!(help.contains("narrower one first"));
    }
    assert!(yaml(&chains("{ match: { source: [10.0.0.0/8] } }, { match: {} }", "")).is_ok());
}

#[test]
fn tls_that_cannot_be_read_is_refused_and_may_be_passed_on() {
    for condition in ["sni: [a.b]", "alpn: [h2]", "transport: tls"] {
        let chain = format!("{{ match: {{ {condition} }} }}");
        let (message, help) = problem(&chains(&chain, ""));
        assert!(message.contains("there are no certificates") && help.contains("protocol: tcp"), "{message}");
        assert!(yaml(&chains(&chain, ", protocol: tcp")).is_ok());
    }
}

#[test]
fn what_a_chain_refers_to_has_to_be_there() {
    let (message, help) = problem(&chains("{ cluster: d }", ""));
    assert!(message.contains("cluster \"d\" does not exist") && help.contains("one of: c, t"), "{message} {help}");
    let (message, _) = problem(&chains("{ filters: [f] }", ""));
    assert!(message.contains("filter \"f\" does not exist"), "{message}");
    let (message, _) = problem(&chains("{ cluster: t }", ""));
    assert!(message.contains("takes no requests"), "{message}");
}

#[test]
fn where_connections_go_has_to_be_said_once() {
    let (message, help) = problem(&listener("address: 127.0.0.1:0, chains: [{ match: {} }]"));
    assert!(message.contains("sends what it takes nowhere") && help.contains("cluster: NAME"), "{message}");
    let config = yaml(&listener("address: 127.0.0.1:0, chains: [{ match: { source: ['::1'] }, cluster: c }]")).unwrap();
    assert_eq!(config.listeners[0].rest, Rest::Closed);
    assert_eq!(yaml(&chains("{ match: { source: ['::1'] } }", "")).unwrap().listeners[0].rest, Rest::Own);
}

#[test]
fn permissions_are_of_files_and_octal() {
    let (message, _) = problem(&listener("address: 127.0.0.1:0, cluster: c, mode: '0600'"));
    assert!(message.contains("only sockets in the file system"), "{message}");
    for mode in ["0689", "rw", "7777", "+600"] {
        let (message, help) = problem(&listener(&format!("address: unix:a.sock, cluster: c, mode: '{mode}'")));
        assert!(message.contains("are no permissions") && help.contains("0660"), "{message}");
    }
    let (message, _) = problem(&listener("address: 'unix:', cluster: c"));
    assert!(message.contains("cannot be empty"), "{message}");
}

#[test]
fn two_listeners_cannot_have_the_same_file() {
    let text = "listeners:\n  a: { address: unix:a.sock, cluster: c }\n  b: { address: unix:a.sock, cluster: c }\nclusters: { c: { endpoints: [] } }\n";
    assert!(problem(text).0.contains("is used twice"));
}

#[test]
fn a_limit_of_memory_that_nothing_fits_in_is_refused() {
    let (message, help) =
        problem(&format!("limits: {{ memory: 1MiB }}\n{}", listener("address: 127.0.0.1:0, cluster: c")));
    assert!(message.contains("out of range") && help.contains("16MiB"), "{message} {help}");
}

#[test]
fn weighted_clusters_exist_have_a_weight_and_stand_alone() {
    let weighted = |shares: &str| format!("address: 127.0.0.1:0, protocol: tcp, weighted_clusters: [{shares}]");
    for (settings, reason) in [
        (weighted("{ cluster: d, weight: 1 }"), "cluster \"d\" does not exist"),
        (weighted("{ cluster: c, weight: 0 }, { cluster: t, weight: 0 }"), "all weights are 0"),
        (weighted("{ cluster: c, weight: 1 }") + ", cluster: t", "exclude each other"),
        (
            weighted("{ cluster: c, weight: 1 }").replace("tcp", "http") + ", connect_attempts: 2",
            "only TCP connections",
        ),
        (weighted("{ cluster: t, weight: 1 }").replace("tcp", "http"), "takes no requests"),
    ] {
        let (message, _) = problem(&listener(&settings));
        assert!(message.contains(reason), "{message}");
    }
    let shares = weighted("{ cluster: c, weight: 1 }, { cluster: t, weight: 2 }");
    let chain = ", chains: [{ match: { source: ['::1'] } }, { match: { source: ['::2'] }, cluster: c }]";
    let config = yaml(&listener(&(shares + chain + ", connect_attempts: 7"))).unwrap();
    let listener = &config.listeners[0];
    assert_eq!(listener.connect_attempts, 7);
    assert_eq!(listener.chains[0].target.clusters().collect::<Vec<_>>(), ["c", "t"]);
    assert_eq!(listener.chains[1].target.clusters().collect::<Vec<_>>(), ["c"]);
}
