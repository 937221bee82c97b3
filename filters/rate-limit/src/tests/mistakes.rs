//! Configurations that are refused.

use fyke_sdk::testing::{Ring, TestHost};

use crate::RateLimit;

#[test]
fn mistakes_are_refused_at_their_place_with_a_reason() {
    let native = TestHost::<RateLimit>::configure("").unwrap().ring() == Ring::Native;
    let source = "from: { request_header: x }";
    let one = |rule: &str| format!("rules: [{{ name: r, {rule} }}]");
    let redis =
        |redis: &str, rule: &str| format!("{{ redis: {{ {redis} }}, rules: [{{ name: r, global: true, {rule} }}] }}");
    for (configuration, path, reason) in [
        (one("limit: -5/s"), "rules[0].limit", "must be above zero"),
        (one("limit: 0/s"), "rules[0].limit", "must be above zero"),
        (one("limit: 100/w"), "rules[0].limit", "expected a span of time"),
        (one("limit: { rate: { requests: -1, per: s } }"), "rules[0].limit.rate.requests", "above zero"),
        (one("limit: { burst: 5 }"), "rules[0].limit.burst", "belongs to a `rate`"),
        (one("limit: { rate: 1/s, sustained: 100/m }"), "rules[0].limit.sustained", "never refuse"),
        (one("key: []"), "rules[0].limit", "is missing"),
        (one("limit: 1/s, cost: 2"), "rules[0].cost", "more than ever fits"),
        (one("limit: 1/s, cost: -1"), "rules[0].cost", "above zero"),
        (one("limit: { concurrency: 3 }, cost: 2"), "rules[0].cost", "counts each as one"),
        (one("limit: 9/s, cost: { from: request_size, minimum: 5, maximum: 4 }"), "rules[0].cost.maximum", "less than"),
        (one("limit: 9/s, cost: { from: { request_header: x }, per: 4 }"), "rules[0].cost.per", "belongs to"),
        (one("limit: 1/s, key: [{ from: remote_adress }]"), "rules[0].key[0].from", "did you mean \"remote_address\"?"),
        (one("limit: 1/s, key: [{ from: { header: x } }]"), "rules[0].key[0].from", "did you mean"),
        (one("limit: 1/s, key: [{ from: request_header }]"), "rules[0].key[0].from", "{ request_header: ... }"),
        (one("limit: 1/s, key: [{ from: { method: x } }]"), "rules[0].key[0].from", "written as a word"),
        (one("limit: 1/s, key: [{ from: { request_header: 'a b' } }]"), "rules[0].key[0].from.request_header", "not the name"),
        (one("limit: 1/s, key: [{ from: { masked_address: { ipv4: 33 } } }]"), "rules[0].key[0].from.masked_address", "at most 32"),
        (one("limit: 1/s, key: [{ from: method, regex: '(' }]"), "rules[0].key[0].regex", "no regular expression"),
        (one("limit: 1/s, key: [{ from: method, default: '' }]"), "rules[0].key[0].default", "must not be empty"),
        (one(&format!("limit: 1/s, when: [{{ {source} }}]")), "rules[0].when[0]", "exactly one of"),
        (one(&format!("limit: 1/s, when: [{{ {source}, is: a, prefix: b }}]")), "rules[0].when[0]", "exactly one of"),
        (one("limit: 1/s, when: [{ from: remote_address, networks: [10.0.0.0/33] }]"), "rules[0].when[0].networks[0]", "no network"),
        (one("limit: 1/s, top: 101"), "rules[0].top", "at most 100"),
        (one("limit: 1/s, rollout: 101%"), "rules[0].rollout", "from 0% to 100%"),
        ("rules: [{ name: 'a b', limit: 1/s }]".to_owned(), "rules[0].name", "1 to 64 letters"),
        ("rules: [{ name: a, limit: 1/s }, { name: a, limit: 100/m }]".to_owned(), "rules[1].name", "name of another rule"),
        (one("limit: 1/s, global: true, key: [{ from: method }]"), "global", "is missing"),
        ("{ domain: d, global: { cluster: c }, rules: [{ name: r, limit: 1/s }] }".to_owned(), "global", "asked by no rule"),
        ("{ global: { cluster: c }, rules: [{ name: r, global: true, key: [{ from: method }] }] }".to_owned(), "global.domain", "must not be empty"),
        ("{ domain: d, global: { cluster: c }, rules: [{ name: r, global: true }] }".to_owned(), "rules[0].key", "must not be empty"),
        ("{ domain: d, global: { cluster: c }, rules: [{ name: r, global: true, key: [{ from: method }], cost: { from: response_size } }] }".to_owned(), "rules[0].cost.from", "before the answer"),
        ("failure_mode: local".to_owned(), "failure_mode", "of global rules"),
        ("{ global: { cluster: c }, redis: { cluster: c }, rules: [{ name: r, global: true, limit: 1/s, key: [{ from: method }] }] }".to_owned(), "redis", "one of them"),
        ("{ redis: { cluster: c }, rules: [{ name: r, limit: 1/s }] }".to_owned(), "redis", "asked by no rule"),
        (redis("cluster: ''", "limit: 1/s"), "redis.cluster", "must not be empty"),
        (redis("cluster: c", "top: 1"), "rules[0].limit", "none of its own"),
        (redis("cluster: c, user: u", "limit: 1/s"), "redis.password", "is missing"),
        (redis("cluster: c, peers: 2", "limit: 1/s"), "redis.peers", "failure_mode: local"),
        (redis("cluster: c, failure_mode: local, peers: 0", "limit: 1/s"), "redis.peers", "at least 1"),
        (redis("cluster: c, failure_mode: local, peers: 4", "limit: 10/s, cost: 4"), "rules[0].cost", "divided by"),
        ("{ domain: d, global: { cluster: c, peers: 2 }, rules: [{ name: r, global: true, key: [{ from: method }] }] }".to_owned(), "global.peers", "failure_mode: local"),
        (redis("cluster: c, timeout: 5", "limit: 1/s"), "redis.timeout", "expected"),
        ("answer: { status: 200 }".to_owned(), "answer.status", "from 400 to 599"),
        ("answer: { headers: { 'a b': c } }".to_owned(), "answer.headers.a b", "not the name"),
        ("rulez: []".to_owned(), "rulez", "unknown field"),
    ] {
        let refusal = TestHost::<RateLimit>::configure(&configuration).err();
        let refusal = refusal.unwrap_or_else(|| panic!("{configuration} was taken"));
        // Where the schema in the module is checked first, some are found by that, in its words.
        if native {
            assert_eq!(refusal.path(), path, "{configuration}: {refusal}");
            assert!(refusal.message().contains(reason), "{configuration}: {refusal}");
        }
    }
}

#[test]
fn rules_that_can_never_have_a_say_are_found() {
    let tenant = "key: [{ from: { request_header: x } }]";
    let gold = "when: [{ from: { request_header: plan }, is: gold }]";
    for (configuration, path) in [
        // Two alike, of which the most specific is the first.
        (format!("{{ apply: most_specific, rules: [{{ name: a, {tenant}, limit: 1/s }}, {{ name: b, {tenant}, limit: 5/s }}] }}"), Some("rules[1].name")),
        (format!("{{ apply: most_specific, rules: [{{ name: a, {tenant}, limit: 1/s }}, {{ name: b, {gold}, {tenant}, limit: 5/s }}] }}"), None),
        (format!("{{ apply: most_specific, rules: [{{ name: a, {tenant}, limit: 1/s, shadow: true }}, {{ name: b, {tenant}, limit: 5/s }}] }}"), None),
        // Where all must pass, one that is looser in everything.
        (format!("rules: [{{ name: a, {tenant}, limit: 1/s }}, {{ name: b, {tenant}, limit: 5/s }}]"), Some("rules[1].name")),
        (format!("rules: [{{ name: b, {tenant}, limit: 5/s }}, {{ name: a, {tenant}, limit: 1/s }}]"), Some("rules[0].name")),
        (format!("rules: [{{ name: a, {tenant}, limit: {{ rate: 1/s, burst: 50 }} }}, {{ name: b, {tenant}, limit: 5/s }}]"), None),
        (format!("rules: [{{ name: a, {tenant}, limit: 1/s }}, {{ name: b, limit: 5/s }}]"), None),
        // Whoever counts both; but what a service decides is not known here.
        (format!("{{ redis: {{ cluster: c }}, rules: [{{ name: a, global: true, {tenant}, limit: 1/s }}, {{ name: b, global: true, {tenant}, limit: 5/s }}] }}"), Some("rules[1].name")),
        (format!("{{ redis: {{ cluster: c }}, rules: [{{ name: a, global: true, {tenant}, limit: 1/s }}, {{ name: b, {tenant}, limit: 5/s }}] }}"), None),
        (format!("{{ domain: d, global: {{ cluster: c }}, rules: [{{ name: a, global: true, {tenant}, limit: 1/s }}, {{ name: b, global: true, {tenant}, limit: 5/s }}] }}"), None),
        (format!("{{ apply: most_specific, redis: {{ cluster: c }}, rules: [{{ name: a, global: true, {tenant}, limit: 1/s }}, {{ name: b, {tenant}, limit: 5/s }}] }}"), Some("rules[1].name")),
        // What a list has already.
        (format!("{{ allow: [{{ from: {{ request_header: plan }}, any_of: [gold, tin] }}], rules: [{{ name: a, {gold}, limit: 1/s }}] }}"), Some("rules[0].when[0]")),
        (format!("{{ deny: [{{ from: {{ request_header: plan }}, prefix: go }}], rules: [{{ name: a, {gold}, limit: 1/s }}] }}"), Some("rules[0].when[0]")),
        (format!("{{ deny: [{{ from: {{ request_header: plan }}, is: tin }}], rules: [{{ name: a, {gold}, limit: 1/s }}] }}"), None),
        // What contradicts itself.
        ("rules: [{ name: a, limit: 1/s, when: [{ from: method, is: GET }, { from: method, any_of: [POST, PUT] }] }]".to_owned(), Some("rules[0].when[1]")),
        ("rules: [{ name: a, limit: 1/s, when: [{ from: method, any_of: [GET, PUT] }, { from: method, any_of: [POST, PUT] }] }]".to_owned(), None),
        ("rules: [{ name: a, limit: 1/s, when: [{ from: { query: q }, present: false }, { from: { query: q }, prefix: x }] }]".to_owned(), Some("rules[0].when[1]")),
    ] {
        let refusal = TestHost::<RateLimit>::configure(&configuration).err();
        assert_eq!(refusal.as_ref().map(|refusal| refusal.path()), path, "{configuration}: {refusal:?}");
        assert!(refusal.is_none_or(|refusal| refusal.message().contains("can never match")));
    }
}

#[test]
fn rules_that_never_refuse_are_told() {
    let tenant = "key: [{ from: { request_header: x } }]";
    let gold = "when: [{ from: { request_header: plan }, is: gold }]";
    for (rules, idle) in [
        (format!("{{ name: a, limit: 5/s }}, {{ name: b, {tenant}, limit: 5/s }}"), true),
        (format!("{{ name: b, {gold}, {tenant}, limit: 9/s }}, {{ name: a, {tenant}, limit: 5/s }}"), true),
        (format!("{{ name: a, {gold}, limit: 5/s }}, {{ name: b, {tenant}, limit: 9/s }}"), false),
        (format!("{{ name: a, limit: 5/s, shadow: true }}, {{ name: b, {tenant}, limit: 9/s }}"), false),
        (format!("{{ name: a, limit: 5/s }}, {{ name: b, {tenant}, limit: {{ rate: 9/s, quota: 1k/d }} }}"), false),
        (format!("{{ name: a, limit: 5/s }}, {{ name: b, {tenant}, limit: 1/s }}"), false),
    ] {
        let host = super::host(&format!("rules: [{rules}]"));
        let said = host.logs().iter().any(|line| line.contains("rule \"b\" never refuses anybody: rule \"a\""));
        assert!(host.ring() != Ring::Native || said == idle, "{rules}: {:?}", host.logs());
    }
}

#[test]
fn no_configuration_limits_nobody() {
    let mut host = TestHost::<RateLimit>::configure("").unwrap();
    assert_eq!(super::passed(&mut host, &super::of("a"), 3), 3);
}

#[test]
fn the_examples_of_the_readme_are_configurations() {
    let readme = include_str!("../../README.md");
    let blocks: Vec<&str> = readme.split("```yaml").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        let (before, after) = block.split_once("config:").unwrap();
        let indent = before.rsplit('\n').next().unwrap().len();
        let lines = after.lines().skip(1).take_while(|line| line.len() > indent && line[..=indent].trim().is_empty());
        let example = lines.collect::<Vec<_>>().join("\n");
        assert_eq!(TestHost::<RateLimit>::configure(&example).err(), None, "{example}");
    }
}
