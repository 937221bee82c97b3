//! Families, series and their bounds.

use super::*;

fn definition(json: &str) -> Definition {
    serde_json::from_str(json).unwrap()
}

fn values(values: &[&str]) -> Vec<u8> {
    encode(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
}

#[test]
fn series_are_told_apart_by_their_labels() {
    let metrics = LabelledMetrics::default();
    let family =
        metrics.define("f", 1_000, definition(r#"{"kind":"counter","name":"hits","labels":["a","b"]}"#)).unwrap();
    family.record(2, &values(&["x", "y"])).unwrap();
    family.record(3, &values(&["x", "y"])).unwrap();
    family.record(1, &values(&["xy", ""])).unwrap();
    let [reading] = &metrics.gather()[..] else { panic!("one family") };
    let expected = [
        (vec!["x".to_owned(), "y".to_owned()], Shown::Number(5)),
        (vec!["xy".to_owned(), String::new()], Shown::Number(1)),
    ];
    assert_eq!(reading.series, expected);
}

#[test]
fn what_a_kind_does_not_allow_is_refused() {
    let metrics = LabelledMetrics::default();
    let counter = metrics.define("f", 1_000, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
    for (value, bytes) in [
        (0, values(&["x"])),
        (-1, values(&["x"])),
        (1, values(&[])),
        (1, values(&["x", "y"])),
        (1, vec![9, 0, 0, 0, 1]),
    ] {
        assert_eq!(counter.record(value, &bytes), Err(FilterMetricError::Refused), "{value} {bytes:?}");
    }
    let gauge = metrics.define("f", 1_000, definition(r#"{"kind":"gauge","name":"g"}"#)).unwrap();
    gauge.record(5, b"").unwrap();
    gauge.record(-5, b"").unwrap();
    assert_eq!(metrics.gather()[1].series, [(vec![], Shown::Number(-5))]);
}

#[test]
fn a_histogram_counts_into_its_own_buckets() {
    let metrics = LabelledMetrics::default();
    let family =
        metrics.define("f", 1_000, definition(r#"{"kind":"histogram","name":"h","buckets":[-1,10,20]}"#)).unwrap();
    for value in [-5, 10, 11, 99] {
        family.record(value, b"").unwrap();
    }
    let shown = Shown::Histogram { buckets: vec![(-1, 1), (10, 2), (20, 3)], sum: 115, count: 4 };
    assert_eq!(metrics.gather()[0].series, [(vec![], shown)]);
}

#[test]
fn the_same_definition_is_shared_and_another_one_of_that_name_refused() {
    let metrics = LabelledMetrics::default();
    let first = metrics.define("f", 1_000, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
    let second = metrics.define("g", 1_000, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    for json in [
        r#"{"kind":"counter","name":"1"}"#,
        r#"{"kind":"counter","name":""}"#,
        r#"{"kind":"counter","name":"fyke_x"}"#,
        r#"{"kind":"counter","name":"x","labels":["le"]}"#,
        r#"{"kind":"counter","name":"x","labels":["__x"]}"#,
        r#"{"kind":"counter","name":"x","labels":["a","a"]}"#,
        r#"{"kind":"counter","name":"x","labels":["a b"]}"#,
        r#"{"kind":"counter","name":"x","buckets":[1]}"#,
        r#"{"kind":"histogram","name":"x","buckets":[2,1]}"#,
    ] {
        metrics.define("f", 1_000, definition(json)).unwrap_err();
    }
}

#[test]
fn series_of_a_filter_are_bounded() {
    let metrics = LabelledMetrics::default();
    let define = |owner: &str, name: &str| {
        metrics
            .define(owner, 100, definition(&format!(r#"{{"kind":"counter","name":"{name}","labels":["a"]}}"#)))
            .unwrap()
    };
    for name in ["one", "two"] {
        let family = define("f", name);
        for value in 0..75 {
            family.record(1, &values(&[&value.to_string()])).unwrap();
        }
    }
    let counts: Vec<_> = metrics.gather().iter().map(|family| family.series.len()).collect();
    assert_eq!(counts, [75, 25 + 1]);
    assert_eq!(metrics.overflows(), 50);
    assert_eq!(metrics.gather()[1].series.last().unwrap(), &(vec![OVERFLOW.to_owned()], Shown::Number(50)));
    define("another", "three").record(1, &values(&["x"])).unwrap();
    assert_eq!(metrics.overflows(), 50, "every filter has its own bound");
}

#[test]
fn long_and_illegal_values_are_made_legal_and_meet_in_one_series() {
    let metrics = LabelledMetrics::default();
    let family = metrics.define("f", 1_000, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
    let long = format!("{}é{}", "x".repeat(LONGEST_VALUE - 1), "y".repeat(100));
    family.record(1, &values(&[&long])).unwrap();
    family.record(1, &values(&["x".repeat(LONGEST_VALUE - 1).as_str()])).unwrap();
    family.record(1, &[1, 0, 0, 0, 0xff]).unwrap();
    family.record(1, &values(&["\u{fffd}"])).unwrap();
    for length in [86_u32, 200, 256, 300] {
        let bytes = [&length.to_le_bytes()[..], &vec![0xff; length as usize]].concat();
        family.record(2, &bytes).unwrap();
    }
    let series = &metrics.gather()[0].series;
    let mut shown: Vec<_> = series.iter().map(|(labels, _)| labels.clone()).collect();
    shown.dedup();
    assert_eq!((shown.len(), series.len()), (3, 3), "{series:?}");
    let series: Vec<_> = series.iter().filter(|(labels, _)| labels[0].chars().count() != LONGEST_VALUE / 3).collect();
    assert!(series.iter().all(|(_, shown)| *shown == Shown::Number(2)), "{series:?}");
}

#[test]
fn a_client_that_says_overflow_makes_no_second_series_of_it() {
    let metrics = LabelledMetrics::default();
    let family = metrics.define("f", 1, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
    for value in ["x", OVERFLOW, "y"] {
        family.record(1, &values(&[value])).unwrap();
    }
    let series = &metrics.gather()[0].series;
    assert_eq!(series[..], [(vec!["x".to_owned()], Shown::Number(1)), (vec![OVERFLOW.to_owned()], Shown::Number(2))]);
}

#[test]
fn another_version_of_a_filter_may_count_otherwise_and_another_filter_only_when_nobody_counts() {
    let metrics = LabelledMetrics::default();
    let with = |labels: &str| definition(&format!(r#"{{"kind":"counter","name":"hits","labels":[{labels}]}}"#));
    let old = metrics.define("f", 2, with(r#""a""#)).unwrap();
    old.record(1, &values(&["x"])).unwrap();
    old.record(1, &values(&["y"])).unwrap();
    // The new version is configured while the old one runs.
    let new = metrics.define("f", 2, with(r#""a","b""#)).unwrap();
    assert!(metrics.define("g", 2, with("")).unwrap_err().contains("by another filter"));
    assert_eq!(metrics.gather()[0].labels, ["a", "b"]);
    // A version that was only tried leaves nothing behind.
    drop(new);
    assert_eq!(metrics.gather()[0].labels, ["a"]);
    drop(old);
    let other = metrics.define("f", 2, with(r#""c""#)).unwrap();
    // What the old one had of the filter's series is free again.
    other.record(1, &values(&["x"])).unwrap();
    other.record(1, &values(&["y"])).unwrap();
    assert_eq!(metrics.overflows(), 0);
    drop(other);
    assert!(metrics.define("g", 2, with("")).is_ok());
}
