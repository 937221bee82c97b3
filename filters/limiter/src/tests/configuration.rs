//! What configurations write.

use crate::{Amount, Limit, Meter, Quota, Rate, Span};

fn limit(json: &str) -> Result<Vec<Meter>, String> {
    let limit: Limit = serde_json::from_str(json).map_err(|error| error.to_string())?;
    limit.meters(0).map_err(|error| error.to_string())
}

#[test]
fn rates_are_written_in_several_ways() {
    let second = 1_000_000_000;
    for (text, amount, per) in [
        ("100/s", 100, second),
        ("5000/m", 5000, 60 * second),
        ("1M/d", 1_000_000, 86_400 * second),
        ("10k/10s", 10_000, 10 * second),
        (" 2G / 250ms ", 2_000_000_000, second / 4),
        ("1/hour", 1, 3600 * second),
    ] {
        let rate = Rate { amount: Amount::new(amount).unwrap(), per: Span::new(per).unwrap() };
        assert_eq!(Rate::parse(text), Ok(rate), "{text}");
        assert_eq!(Rate::parse(&rate.to_string()), Ok(rate));
        let written = format!("{{\"requests\":{amount},\"per\":\"{}\"}}", rate.per);
        assert_eq!(serde_json::from_str::<Rate>(&written).unwrap(), rate);
    }
}

#[test]
fn what_is_no_rate_is_refused_with_a_reason() {
    for (text, reason) in [
        ("0/s", "above zero"),
        ("-5/s", "must be above zero"),
        ("1.5/s", "whole number"),
        ("100", "expected a rate"),
        ("100/", "expected a span"),
        ("100/w", "expected a span"),
        ("/s", "whole number"),
        ("1/0s", "above zero"),
        ("1/400d", "at most 366 days"),
        ("99999999999999999999/s", "whole number"),
        ("9999999G/s", "at most 10^15"),
        ("1kk/s", "whole number"),
    ] {
        let error = Rate::parse(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
    for (json, reason) in [
        (r#"{"requests":-1,"per":"s"}"#, "above zero"),
        (r#"{"requests":0,"per":"s"}"#, "above zero"),
        (r#"{"requests":1.5,"per":"s"}"#, "whole number"),
        (r#"{"requests":1}"#, "missing field `per`"),
        (r#"{"request":1,"per":"s"}"#, "unknown field `request`"),
        ("5", "a rate, like 100/s"),
    ] {
        let error = serde_json::from_str::<Rate>(json).unwrap_err().to_string();
        assert!(error.contains(reason), "{json}: {error}");
    }
    assert!(Quota::parse("1/10s").unwrap_err().contains("a minute, an hour or a day"));
}

#[test]
fn a_limit_is_a_rate_or_all_of_its_parts() {
    assert_eq!(limit(r#""100/s""#).unwrap().len(), 1);
    let all = r#"{"rate":"100/s","burst":"1k","sustained":"2000/m","quota":"1M/d","concurrency":10,"lease":"1m","delay":"100ms"}"#;
    let meters = limit(all).unwrap();
    assert_eq!(meters.iter().map(Meter::limit).collect::<Vec<_>>(), [1000, 2000, 1_000_000, 10]);
    for (json, reason) in [
        ("{}", "rate: a limit needs"),
        (r#"{"burst":5,"quota":"1/d"}"#, "burst: belongs to a `rate`"),
        (r#"{"quota":"1/d","delay":"1s"}"#, "delay: belongs"),
        (r#"{"rate":"1/s","lease":"1s"}"#, "lease: belongs"),
        (r#"{"rate":"1/s","sustained":"60/m"}"#, "sustained: 60/m is no less than 1/s"),
        (r#"{"concurrency":5000000000}"#, "concurrency: must be at most"),
        (r#"{"rat":"1/s"}"#, "unknown field `rat`, expected one of `rate`"),
        (r#"{"concurrency":-1}"#, "above zero"),
    ] {
        let error = limit(json).unwrap_err();
        assert!(error.contains(reason), "{json}: {error}");
    }
}

#[cfg(feature = "sdk")]
#[test]
fn the_schema_is_json() {
    use fyke_sdk::FilterConfig;
    let schema: serde_json::Value = serde_json::from_str(&Limit::SCHEMA.to_json()).unwrap();
    assert_eq!(schema["anyOf"][1]["properties"].as_object().unwrap().len(), 7);
}
