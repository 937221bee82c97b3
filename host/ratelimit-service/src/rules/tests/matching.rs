//! Matching against a model that knows nothing of maps: it looks at all rules of a level and takes the best.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Written {
    key: &'static str,
    value: &'static str,
    requests: Option<u32>,
    below: Vec<Written>,
}

const KEYS: [&str; 3] = ["a", "b", "a_x"];
/// Empty is none.
const VALUES: [&str; 7] = ["", "x", "xy", "x*", "xy*", "*", "y"];

fn level(depth: u32) -> BoxedStrategy<Vec<Written>> {
    let below = if depth == 0 { Just(Vec::new()).boxed() } else { level(depth - 1) };
    let rule = (prop::sample::select(&KEYS[..]), prop::sample::select(&VALUES[..]), any::<bool>(), below);
    prop::collection::vec(rule, 0..6)
        .prop_map(|rules| {
            let mut unique: Vec<Written> = Vec::new();
            for (key, value, limited, below) in rules {
                if !unique.iter().any(|rule| rule.key == key && rule.value == value) {
                    unique.push(Written { key, value, requests: limited.then_some(0), below });
                }
            }
            unique
        })
        .boxed()
}

/// Gives every limit a number of its own.
fn number(rules: &mut [Written], next: &mut u32) {
    for rule in rules {
        if let Some(requests) = &mut rule.requests {
            *next += 1;
            *requests = *next;
        }
        number(&mut rule.below, next);
    }
}

fn yaml(rules: &[Written], indent: usize, text: &mut String) {
    use std::fmt::Write as _;
    let space = " ".repeat(indent);
    for rule in rules {
        writeln!(text, "{space}- key: {}", rule.key).unwrap();
        if !rule.value.is_empty() {
            writeln!(text, "{space}  value: '{}'", rule.value).unwrap();
        }
        if let Some(requests) = rule.requests {
            writeln!(text, "{space}  rate_limit: {{ unit: minute, requests_per_unit: {requests} }}").unwrap();
        }
        if !rule.below.is_empty() {
            writeln!(text, "{space}  descriptors:").unwrap();
            yaml(&rule.below, indent + 2, text);
        }
    }
}

/// How well a rule fits an entry; the first of the best is taken.
fn fit(rule: &Written, (key, value): (&str, &str)) -> Option<u8> {
    if rule.key != key {
        return None;
    }
    match rule.value {
        "" => Some(1),
        pattern if pattern.ends_with('*') => value.starts_with(&pattern[..pattern.len() - 1]).then_some(2),
        exact => (exact == value).then_some(3),
    }
}

fn model(rules: &[Written], entries: &[(&str, &str)]) -> Option<u32> {
    let (first, rest) = entries.split_first()?;
    let mut best: Option<(u8, &Written)> = None;
    for rule in rules {
        if let Some(fit) = fit(rule, *first)
            && best.is_none_or(|(known, _)| fit > known)
        {
            best = Some((fit, rule));
        }
    }
    let (_, rule) = best?;
    if rest.is_empty() { rule.requests } else { model(&rule.below, rest) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_best_rule_of_each_level_is_taken(
        written in level(2),
        asked in prop::collection::vec(
            prop::collection::vec(
                (prop::sample::select(&["a", "b", "a_x", "c"][..]), prop::sample::select(&["", "x", "xy", "xyz", "y", "x*", "_x"][..])),
                0..4,
            ),
            1..30,
        ),
    ) {
        let mut written = written;
        number(&mut written, &mut 0);
        let mut text = "domain: d\n".to_owned();
        if !written.is_empty() {
            text.push_str("descriptors:\n");
        }
        yaml(&written, 0, &mut text);
        let rules = rules(&text);
        for entries in &asked {
            let found = rules.limit("d", entries).map(|limit| limit.measure.requests_per_unit);
            prop_assert_eq!(found, model(&written, entries), "{:?} of\n{}", entries, text);
        }
    }
}
