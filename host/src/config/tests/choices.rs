//! Choices that are a word, or a word with settings.

use super::{problem, with, yaml};
use crate::cluster::balance::Policy;

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
    ] {
        let config = yaml(&balancer(text)).unwrap_or_else(|report| panic!("{text}: {report}"));
        let policy = &config.clusters["app"].balancing.policy;
        assert!(fits(policy), "{text}: {policy:?}");
    }
}

#[test]
fn what_is_wrong_with_settings_is_said_of_the_one_that_was_meant() {
    for (text, message) in [
        ("{ ring_hash: { table_size: 251 } }", "unknown key \"table_size\""),
        ("{ maglev: { table_size: 250 } }", "prime"),
        ("{ maglev: { table_size: 1 } }", "1 is out of range"),
        ("{ ring_hsh: {} }", "unknown key \"ring_hsh\""),
    ] {
        let (found, _) = problem(&balancer(text));
        assert!(found.contains(message), "{text}: {found}");
    }
}
