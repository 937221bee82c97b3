//! Rules as they are written, what is wrong with them, and matching against a reference model.

mod matching;
mod mistakes;

use super::*;
use crate::messages::Unit;

pub(super) fn rules(text: &str) -> Rules {
    match Rules::parse([("rules.yaml", text)]) {
        Ok(rules) => rules,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// What a descriptor is limited to.
pub(super) fn limit(rules: &Rules, domain: &str, entries: &[(&str, &str)]) -> Option<(u32, Unit)> {
    rules.limit(domain, entries).map(|limit| (limit.measure.requests_per_unit, limit.measure.unit))
}

fn entries(pairs: &[(&str, &str)]) -> Vec<Entry> {
    pairs.iter().map(|(key, value)| Entry { key: (*key).to_owned(), value: (*value).to_owned() }).collect()
}

/// Examples 2 to 4 of envoyproxy/ratelimit's README.
#[test]
fn a_descriptor_has_the_limit_of_the_rule_that_is_as_deep_as_it_is_long() {
    let rules = rules(
        "
domain: messaging
descriptors:
  # Only allow 5 marketing messages a day
  - key: message_type
    value: marketing
    descriptors:
      - key: to_number
        rate_limit:
          unit: day
          requests_per_unit: 5
  - key: to_number
    rate_limit:
      unit: Day
      requests_per_unit: 100
  - key: remote_address
    rate_limit: { unit: second, requests_per_unit: 10 }
  - key: remote_address
    value: 50.0.0.5
    rate_limit: { unit: second, requests_per_unit: 0 }
",
    );
    let found = |entries: &[(&str, &str)]| limit(&rules, "messaging", entries);
    assert_eq!(found(&[("message_type", "marketing"), ("to_number", "2061111111")]), Some((5, Unit::Day)));
    assert_eq!(found(&[("to_number", "2061111111")]), Some((100, Unit::Day)));
    assert_eq!(found(&[("message_type", "marketing")]), None, "a rule without a limit");
    assert_eq!(found(&[("message_type", "other"), ("to_number", "1")]), None);
    assert_eq!(found(&[("remote_address", "50.0.0.5")]), Some((0, Unit::Second)));
    assert_eq!(found(&[("remote_address", "50.0.0.6")]), Some((10, Unit::Second)));
    assert_eq!(found(&[("remote_address", "50.0.0.6"), ("path", "/")]), None, "it is longer than the rule is deep");
    assert_eq!(limit(&rules, "other", &[("to_number", "1")]), None);
    assert_eq!(found(&[]), None);
}

#[test]
fn scalars_are_text_as_they_are_written() {
    let rules = rules(
        "
domain: 7
descriptors:
- { key: version, value: 1.0, rate_limit: { unit: minute, requests_per_unit: 1 } }
- { key: secure, value: true, rate_limit: { unit: minute, requests_per_unit: 2 } }
- { key: number, value: 010, rate_limit: { unit: minute, requests_per_unit: 3 } }
- { key: empty, value: '', rate_limit: { unit: minute, requests_per_unit: 4 } }
- { key: größe, value: 'ä*', rate_limit: { unit: minute, requests_per_unit: 5 } }
- { key: größe, value: 2.50, rate_limit: { unit: minute, requests_per_unit: 6 } }
",
    );
    let found = |key, value| limit(&rules, "7", &[(key, value)]).map(|(requests, _)| requests);
    assert_eq!(found("version", "1.0"), Some(1));
    assert_eq!(found("version", "1"), None);
    assert_eq!(found("secure", "true"), Some(2));
    assert_eq!(found("number", "010"), Some(3));
    assert_eq!(found("empty", "anything"), Some(4), "no value means any value");
    assert_eq!(found("größe", "äöü"), Some(5));
    assert_eq!(found("größe", "2.50"), Some(6));
}

#[test]
fn a_limit_has_all_that_is_written() {
    let rules = rules(
        "
domain: d
descriptors:
- key: k
  shadow_mode: true
  detailed_metric: true
  rate_limit:
    unit: week
    requests_per_unit: 100
    name: wide
    replaces: [{ name: narrow }, { name: other }]
    algorithm: gcra
    burst: 7
- key: free
  rate_limit: { unlimited: true, name: narrow }
- key: even
  rate_limit: { unit: hour, requests_per_unit: 9, algorithm: gcra, name: other }
- key: plain
  rate_limit: { unit: year, requests_per_unit: 4294967295, algorithm: fixed_window }
",
    );
    let found = |key| rules.limit("d", &[(key, "v")]).unwrap();
    let limit = found("k");
    assert!(limit.shadow_mode && limit.detailed_metric && !limit.unlimited);
    assert_eq!((limit.name.as_str(), limit.replaces.len()), ("wide", 2));
    assert_eq!(limit.measure.unit, Unit::Week);
    assert_eq!(limit.measure.algorithm, Algorithm::Gcra { burst: 7 });
    assert!(found("free").unlimited);
    assert_eq!(found("even").measure.algorithm, Algorithm::Gcra { burst: 9 });
    assert_eq!(found("plain").measure.requests_per_unit, u32::MAX);
    let dump = rules.to_string();
    let expected = "\
d.even: unit=HOUR requests_per_unit=9 algorithm=gcra burst=9, shadow_mode: false
d.free: unlimited, shadow_mode: false
d.k: unit=WEEK requests_per_unit=100 algorithm=gcra burst=7, shadow_mode: true
d.plain: unit=YEAR requests_per_unit=4294967295, shadow_mode: false
";
    assert_eq!(dump, expected);
}

const SHARING: &str = "
domain: d
descriptors:
- key: files
  value: 'files/*'
  share_threshold: true
  rate_limit: { unit: hour, requests_per_unit: 100 }
- key: own
  value: 'own/*'
  rate_limit: { unit: hour, requests_per_unit: 100 }
- key: route
  value_to_metric: true
  descriptors:
  - key: method
    value_to_metric: true
    descriptors:
    - key: user
      rate_limit: { unit: minute, requests_per_unit: 60 }
- key: seen
  descriptors:
  - key: user
    detailed_metric: true
    rate_limit: { unit: minute, requests_per_unit: 60 }
- key: wild
  value: 'a*'
  value_to_metric: true
  rate_limit: { unit: minute, requests_per_unit: 60 }
";

#[test]
fn values_of_a_wildcard_share_a_counter_where_they_are_to() {
    let rules = rules(SHARING);
    let counted = |pairs: &[(&str, &str)]| {
        let entries = entries(pairs);
        let found = rules.find("d", &entries).unwrap();
        found.counted(&entries).map(|(_, value)| value.to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(counted(&[("files", "files/a.pdf")]), "files/*");
    assert_eq!(counted(&[("own", "own/a.pdf")]), "own/a.pdf");
    assert_eq!(counted(&[("seen", "x"), ("user", "y")]), "x y");
}

#[test]
fn metrics_have_values_only_where_they_are_to() {
    let rules = rules(SHARING);
    let labels = |pairs: &[(&str, &str)]| {
        let entries = entries(pairs);
        let labels = rules.find("d", &entries).unwrap().labels(&entries);
        labels.map(|labels| labels.join(" "))
    };
    assert_eq!(labels(&[("files", "files/a.pdf")]), None);
    assert_eq!(labels(&[("route", "r"), ("method", "GET"), ("user", "u")]).as_deref(), Some("route_r method_GET user"));
    assert_eq!(labels(&[("seen", "x"), ("user", "u")]).as_deref(), Some("seen_x user_u"));
    assert_eq!(labels(&[("wild", "abc")]).as_deref(), Some("wild_abc"));
}
