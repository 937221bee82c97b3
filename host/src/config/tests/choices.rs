//! Choices that are a word, or a word with settings.

use std::time::Duration;

use super::{problem, with, yaml};
use crate::{
    cluster::{balance::Policy, load::LoadWeights},
    config::resolved::{Place, RetryLimit},
};

fn balancer(text: &str) -> String {
    with(&format!("clusters: {{ app: {{ endpoints: [127.0.0.1:1], load_balancer: {text} }} }}\n"))
}

#[test]
fn each_load_balancer_is_a_word_or_has_settings() {
    for (text, fits) in [
        ("round_robin", (|policy| matches!(policy, Policy::RoundRobin)) as fn(&Policy) -> bool),
        ("{ round_robin: {} }", |policy| matches!(policy, Policy::RoundRobin)),
        ("{ random: {} }", |policy| matches!(policy, Policy::Random)),
        ("{ least_request: { choices: 3, active_request_bias: 0.5 } }", |policy| {
            matches!(policy, Policy::LeastRequest(_))
        }),
        ("{ ring_hash: { minimum_size: 4096, bounded_load: +20% } }", |policy| matches!(policy, Policy::RingHash(_))),
        ("{ maglev: { table_size: 251 } }", |policy| matches!(policy, Policy::Maglev(_))),
        ("{ peak_ewma: { decay: 5s } }", |policy| matches!(policy, Policy::PeakEwma(_))),
        ("client_side_weighted_round_robin", |policy| matches!(policy, Policy::RoundRobin)),
    ] {
        let config = yaml(&balancer(text)).unwrap_or_else(|report| panic!("{text}: {report}"));
        let policy = &config.clusters["app"].balancing.policy;
        assert!(fits(policy), "{text}: {policy:?}");
    }
}

#[test]
fn weights_of_load_have_what_envoy_has() {
    let load_weights = |text: &str| yaml(&balancer(text)).unwrap().clusters["app"].balancing.load_weights.clone();
    assert_eq!(load_weights("round_robin"), None);
    let default = load_weights("client_side_weighted_round_robin").unwrap();
    assert_eq!(*default, LoadWeights::default());
    let set = load_weights(
        "{ client_side_weighted_round_robin: { blackout: 0s, expiration: 5s, update: 1ms, error_penalty: 0, metrics: [utilization.disk], out_of_band: 3s } }",
    )
    .unwrap();
    let expected = LoadWeights {
        blackout: Duration::ZERO,
        expiration: Duration::from_secs(5),
        update: Duration::from_millis(100),
        error_penalty: 0.0,
        metrics: vec!["utilization.disk".to_owned()],
        out_of_band: Some(Duration::from_secs(3)),
    };
    assert_eq!(*set, expected);
}

#[test]
fn what_is_wrong_with_settings_is_said_of_the_one_that_was_meant() {
    for (text, message) in [
        ("{ ring_hash: { table_size: 251 } }", "unknown key \"table_size\""),
        ("{ maglev: { table_size: 250 } }", "prime"),
        ("{ maglev: { table_size: 1 } }", "1 is out of range"),
        ("{ client_side_weighted_round_robin: { metrics: [queue] } }", "`queue` is no figure of a load report"),
        ("{ client_side_weighted_round_robin: { metrics: [named_metrics.] } }", "`named_metrics.` is no figure"),
        ("{ ring_hsh: {} }", "unknown key \"ring_hsh\""),
    ] {
        let (found, _) = problem(&balancer(text));
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn requests_of_high_priority_have_a_budget_of_their_own_or_that_of_the_others() {
    let cluster = |breakers: &str| {
        with(&format!("clusters: {{ app: {{ endpoints: [127.0.0.1:1], circuit_breakers: {breakers} }} }}\n"))
    };
    let budget = |percent, least| RetryLimit::budget(Some(percent), Some(least));
    for (text, usual, high) in [
        ("{}", budget(20.0, 3), budget(20.0, 3)),
        ("{ retry_budget: 50%, retry_minimum: 1 }", budget(50.0, 1), budget(50.0, 1)),
        ("{ retry_minimum: 1, high: { retry_budget: 70% } }", budget(20.0, 1), budget(70.0, 1)),
        ("{ retries: 7, high: { retry_minimum: 9 } }", RetryLimit::Count(7), budget(20.0, 9)),
        ("{ retry_budget: 50%, high: { retries: 2 } }", budget(50.0, 3), RetryLimit::Count(2)),
    ] {
        let config = yaml(&cluster(text)).unwrap_or_else(|report| panic!("{text}: {report}"));
        let breakers = &config.clusters["app"].circuit_breakers;
        assert_eq!((breakers.usual.retries, breakers.high.retries), (usual, high), "{text}");
    }
    let (found, _) = problem(&cluster("{ high: { retries: 2, retry_budget: 10% } }"));
    assert!(found.contains("`retries` is instead of a budget"), "{found}");
}

#[test]
fn agents_are_the_health_check_or_beside_it() {
    let cluster = |checks: &str| with(&format!("clusters: {{ app: {{ endpoints: [127.0.0.1:1], {checks} }} }}\n"));
    let config =
        yaml(&cluster("agent_check: { port: 8079, send: 'ask', interval: 2s }, health_check: { tcp: {} }")).unwrap();
    let agents = config.clusters["app"].agent_check.as_ref().unwrap();
    assert_eq!((agents.interval, agents.no_traffic_interval), (Duration::from_secs(2), Duration::from_secs(2)));
    assert!(config.clusters["app"].health_check.is_some());
    let (found, _) = problem(&cluster("agent_check: { port: 8079 }, health_check: { agent: { port: 8079 } }"));
    assert!(found.contains("the agents are the health check already"), "{found}");
}

#[test]
fn names_are_one_or_several_with_addresses_among_them() {
    let cluster = |dns: &str| with(&format!("clusters: {{ app: {{ discovery: {{ dns: {dns} }} }} }}\n"));
    let config = yaml(&cluster("[a.test:80, { address: 'b.test:81', priority: 2, zone: z }, '10.0.0.1:82']")).unwrap();
    let discovery = config.clusters["app"].discovery.as_ref().unwrap();
    assert_eq!(discovery.words(), ("dns", "a.test:80, b.test:81".to_owned()));
    let Place::Dns(names) = &discovery.place else { panic!("{discovery:?}") };
    assert_eq!((names.names[1].like.priority, names.names[1].like.zone.as_str()), (2, "z"));
    assert_eq!(names.addresses[0].address.to_string(), "10.0.0.1:82");
    for (dns, message) in [
        ("[]", "the list is empty"),
        ("[a.test]", "is not a name and a port"),
        ("[{ address: 'a_b?:80' }]", "is not the name of a host"),
        ("['10.0.0.1:0']", "an endpoint cannot have port 0"),
        (
            "[{ address: 'a.test:80', additional_addresses: ['10.0.0.1:80'] }]",
            "a name has the addresses that it is found to have",
        ),
    ] {
        let report = yaml(&cluster(dns)).unwrap_err().to_string();
        assert!(report.contains(message), "{dns}: {report}");
    }
}
