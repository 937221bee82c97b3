//! What is wrong with rules is said with its file, line and key.

use proptest::prelude::*;

use super::*;

fn mistakes(text: &str) -> Vec<String> {
    match Rules::parse([("rules.yaml", text)]) {
        Ok(rules) => panic!("accepted:\n{rules}"),
        Err(mistakes) => mistakes.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_mistake_of_a_file_is_named_at_once() {
    let found = mistakes(
        "domain: d
descriptors:
- key: a
  rate_limit: { unit: fortnight, requests_per_unit: 5 }
- value: b
- key: c
  rate_limt: { unit: second, requests_per_unit: 5 }
- key: d
  shadow_mode: yes please
  rate_limit: { unit: second, requests_per_unit: -1 }
- key: e
  rate_limit: { unlimited: true, unit: second }
- key: f
  quota_mode: true
  share_threshold: true
  value: exact
- key: g
  rate_limit: { unit: second, name: n }
- key: h
  rate_limit: { unit: second, requests_per_unit: 1, burst: 2 }
- key: i
  rate_limit: { unit: second, requests_per_unit: 0, algorithm: gcra }
- key: j
  rate_limit: { unit: second, requests_per_unit: 1, algorithm: leaky }
",
    );
    let expected = [
        "rules.yaml:4:23: descriptors[0].rate_limit.unit: \"fortnight\" is no unit: expected one of second, minute, hour, day, week, month, year",
        "rules.yaml:5:3: descriptors[1]: key is missing",
        "rules.yaml:7:3: descriptors[2]: unknown key \"rate_limt\", did you mean \"rate_limit\"?",
        "rules.yaml:9:16: descriptors[3].shadow_mode: expected true or false, found text",
        "rules.yaml:10:50: descriptors[3].rate_limit.requests_per_unit: -1 is not a whole number from 0 to 4294967295",
        "rules.yaml:12:34: descriptors[4].rate_limit.unit: belongs to no limit that is unlimited",
        "rules.yaml:15:3: descriptors[5].share_threshold: belongs to a value that ends with *: only such a rule has several values that can share",
        "rules.yaml:14:3: descriptors[5].quota_mode: is not supported by this service",
        "rules.yaml:18:15: descriptors[6].rate_limit: requests_per_unit is missing",
        "rules.yaml:20:53: descriptors[7].rate_limit.burst: belongs to algorithm: gcra",
        "rules.yaml:22:64: descriptors[8].rate_limit.algorithm: gcra needs a rate and a burst above zero; to refuse everything, leave out the algorithm",
        "rules.yaml:24:64: descriptors[9].rate_limit.algorithm: \"leaky\" is no algorithm: expected fixed_window or gcra",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_replaces_is_named_too() {
    let found = mistakes(
        "domain: d
descriptors:
- key: g
  rate_limit: { unit: second, requests_per_unit: 1, name: n, replaces: [{ name: n }, { name: '' }, 5, { nmae: x }] }
",
    );
    let expected = [
        "rules.yaml:4:81: descriptors[0].rate_limit.replaces[0].name: is this limit's own name: a limit cannot replace itself",
        "rules.yaml:4:94: descriptors[0].rate_limit.replaces[1].name: must not be empty",
        "rules.yaml:4:100: descriptors[0].rate_limit.replaces[2]: expected a map, found a number",
        "rules.yaml:4:105: descriptors[0].rate_limit.replaces[3]: unknown key \"nmae\", did you mean \"name\"?",
        "rules.yaml:4:103: descriptors[0].rate_limit.replaces[3]: name is missing",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_same_rule_twice_is_a_mistake() {
    let rule = |value: &str| format!("- {{ key: k, value: '{value}', descriptors: [] }}\n");
    let head = "domain: d\ndescriptors:\n";
    for (value, what) in
        [("", "key \"k\" without a value"), ("v", "key \"k\" with value \"v\""), ("v*", "key \"k\" with value \"v*\"")]
    {
        let text = format!("{head}{}{}", rule(value), rule(value));
        assert_eq!(mistakes(&text), [format!("rules.yaml:4:3: descriptors[1]: {what} is there twice")]);
    }
    let differ = format!("{head}{}{}{}", rule(""), rule("v"), rule("v*"));
    assert!(Rules::parse([("rules.yaml", differ.as_str())]).is_ok());
}

#[test]
fn a_domain_has_one_file() {
    let text = "# whose\ndomain: d\n";
    let found = Rules::parse([("a.yaml", text), ("b.yaml", text)]).unwrap_err();
    let expected = "b.yaml:2:1: domain: the domain \"d\" is already in a.yaml:2: a domain has one file";
    assert_eq!(found.to_string(), expected);
}

#[test]
fn what_is_no_file_of_rules_is_refused() {
    for (text, expected) in [
        ("", "rules.yaml:1:1: the file is empty"),
        ("descriptors: []", "rules.yaml:1:1: domain is missing"),
        ("domain: ''", "rules.yaml:1:9: domain: must not be empty"),
        ("domain: [d]", "rules.yaml:1:9: domain: expected a name"),
        ("domain: d\ndescriptors: { key: k }", "rules.yaml:2:14: descriptors: expected a list, found a map"),
        ("domain: d\ndescriptors: [k]", "rules.yaml:2:15: descriptors[0]: expected a map, found text"),
        ("[]", "rules.yaml:1:1: expected a map, found a list"),
        ("domain: d\n---\ndomain: e", "rules.yaml:3:1: a second document in one file"),
        ("domain: !secret d", "rules.yaml:1:9: tags have no meaning here"),
        ("domain: d\ndescriptors:\n- key: ''", "rules.yaml:3:3: descriptors[0].key: must not be empty"),
    ] {
        assert_eq!(mistakes(text), [expected], "{text}");
    }
    let twice = mistakes("domain: d\ndomain: e\n");
    assert!(twice.len() == 1 && twice[0].starts_with("rules.yaml:2:1: not YAML: duplicated key"), "{twice:?}");
    let deep = format!("domain: d\ndescriptors: {}", "[".repeat(10_000));
    assert_eq!(mistakes(&deep).len(), 1);
    let deep: String = (0..5_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(mistakes(&deep)[0].contains("nested more than 64 levels deep"), "{:?}", mistakes(&deep));
}

#[test]
fn what_does_nothing_is_a_warning() {
    let rules = rules(
        "domain: d
descriptors:
- { key: k, value: 'a*' }
- { key: k, value: 'ab*' }
- { key: k, value: 'b*' }
- key: r
  rate_limit: { unit: day, requests_per_unit: 1, replaces: [{ name: nobody }] }
",
    );
    let warnings: Vec<String> = rules.warnings().iter().map(ToString::to_string).collect();
    let expected = [
        "rules.yaml:4:3: descriptors[1].value: never matches: a*, which comes before it, has all of its values",
        "rules.yaml:7:69: descriptors[3].rate_limit.replaces[0].name: no limit of this domain has the name \"nobody\": there is nothing to replace",
    ];
    assert_eq!(warnings, expected);
}

proptest! {
    #[test]
    fn no_text_is_too_strange_to_be_refused(
        lines in prop::collection::vec("( |  |    )?(- )?(domain|descriptors|key|value|rate_limit|unit|name|replaces|[&*!?|>'\"{}\\[\\]ä]{1,3})?:? ?(day|[-0-9]{1,20}|\\[\\]|[&*]a|\\*)?", 0..12),
    ) {
        // Whether it is a file of rules does not matter: something is said, and its place is in the file.
        if let Err(crate::Mistakes(mistakes)) = Rules::parse([("rules.yaml", lines.join("\n").as_str())]) {
            prop_assert!(!mistakes.is_empty());
            for mistake in mistakes {
                prop_assert!(mistake.line <= lines.len() + 1, "{}", mistake);
            }
        }
    }
}
