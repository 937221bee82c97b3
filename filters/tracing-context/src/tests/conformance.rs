//! What the test suite of W3C Trace Context demands, as a table: a service gets these headers, and calls another one.
//!
//! The suite wants keys of level 1, where `@` divides a tenant of at most 241 characters from a system of at most 14. Level 2 has lifted that: `@` may
//! stand anywhere but at the beginning. Those rows follow level 2, and say so.

use super::*;

const T: &str = "12345678901234567890123456789012";
const GOOD: &str = "00-12345678901234567890123456789012-1234567890123456-00";

/// With the host's ids, and with the filter's own. One after the other: hosts of one thread share a world.
fn each(check: impl Fn(&Proxy)) {
    check(&Proxy::new(r#"{"trust": "always"}"#));
    check(&Proxy::elsewhere(r#"{"trust": "always", "sample": "100%"}"#));
}

#[test]
fn traceparents_that_are_continued() {
    each(|proxy| {
        for value in [
            "00-12345678901234567890123456789012-1234567890123456-01",
            "cc-12345678901234567890123456789012-1234567890123456-01",
            "cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
            // Optional white space.
            " 00-12345678901234567890123456789012-1234567890123456-01",
            "\t00-12345678901234567890123456789012-1234567890123456-01",
            "00-12345678901234567890123456789012-1234567890123456-01 ",
            "00-12345678901234567890123456789012-1234567890123456-01\t",
            "\t 00-12345678901234567890123456789012-1234567890123456-01 \t",
        ] {
            for name in ["traceparent", "TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
                let [trace_id, span_id, flags] = proxy.send(&[(name, value)]).traceparent();
                assert_eq!((trace_id.as_str(), flags.as_str()), (T, "01"), "{value:?}");
                assert_ne!(span_id, "1234567890123456", "{value:?}");
            }
        }
    });
}

#[test]
fn traceparents_that_are_ignored() {
    each(|proxy| {
        for value in [
            // Version 00 has nothing behind the flags.
            "00-12345678901234567890123456789012-1234567890123456-01.",
            "00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
            "cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-be-like",
            // The version.
            "ff-12345678901234567890123456789012-1234567890123456-01",
            ".0-12345678901234567890123456789012-1234567890123456-01",
            "0.-12345678901234567890123456789012-1234567890123456-01",
            "000-12345678901234567890123456789012-1234567890123456-01",
            "0000-12345678901234567890123456789012-1234567890123456-01",
            "0-12345678901234567890123456789012-1234567890123456-01",
            // The trace's id.
            "00-00000000000000000000000000000000-1234567890123456-01",
            "00-.2345678901234567890123456789012-1234567890123456-01",
            "00-1234567890123456789012345678901.-1234567890123456-01",
            "00-123456789012345678901234567890123-1234567890123456-01",
            "00-1234567890123456789012345678901-1234567890123456-01",
            // The parent's id.
            "00-12345678901234567890123456789012-0000000000000000-01",
            "00-12345678901234567890123456789012-.234567890123456-01",
            "00-12345678901234567890123456789012-123456789012345.-01",
            "00-12345678901234567890123456789012-12345678901234567-01",
            "00-12345678901234567890123456789012-123456789012345-01",
            // The flags.
            "00-12345678901234567890123456789012-1234567890123456-.0",
            "00-12345678901234567890123456789012-1234567890123456-0.",
            "00-12345678901234567890123456789012-1234567890123456-001",
            "00-12345678901234567890123456789012-1234567890123456-1",
            "",
        ] {
            let [trace_id, ..] = proxy.send(&[("traceparent", value), ("tracestate", "foo=1")]).traceparent();
            for part in [T, "123456789012345678901234567890123", "23456789012345678901234567890123"] {
                assert_ne!(trace_id, part, "{value:?}");
            }
        }
    });
}

#[test]
fn two_traceparents_and_other_names_are_no_traceparent() {
    each(|proxy| {
        let other = "00-12345678901234567890123456789011-1234567890123456-01";
        for headers in [
            vec![("traceparent", other), ("traceparent", GOOD)],
            vec![("traceparent", GOOD), ("traceparent", GOOD)],
            vec![("trace-parent", GOOD)],
            vec![("trace.parent", GOOD)],
        ] {
            let [trace_id, ..] = proxy.send(&headers).traceparent();
            assert!(trace_id != T && trace_id != "12345678901234567890123456789011", "{headers:?}");
        }
    });
}

#[test]
fn a_tracestate_without_a_traceparent_is_discarded() {
    each(|proxy| {
        for value in ["foo=1", "foo=1,bar=2"] {
            let sent = proxy.send(&[("tracestate", value)]);
            assert_eq!(sent.header("tracestate").as_deref(), Some("ot=th:0"), "of this trace, and nobody else's");
            let sent = proxy.send(&[("traceparent", "nonsense"), ("tracestate", value)]);
            assert_eq!(sent.header("tracestate").as_deref(), Some("ot=th:0"));
        }
    });
}

/// `None`: it is discarded. In any case the trace goes on.
#[track_caller]
fn states(rows: &[(&[&str], Option<&str>)]) {
    each(|proxy| {
        for (values, expected) in rows {
            let mut headers = vec![("traceparent", GOOD)];
            headers.extend(values.iter().map(|value| ("TraceState", *value)));
            let sent = proxy.send(&headers);
            let [trace_id, _, flags] = sent.traceparent();
            assert_eq!((trace_id.as_str(), flags.as_str()), (T, "00"), "{values:?}");
            assert_eq!(sent.header("tracestate").as_deref(), *expected, "{values:?}");
        }
    });
}

#[test]
fn tracestates_that_are_inherited() {
    let characters: String = (' '..='~').filter(|c| !matches!(c, ',' | '=')).collect();
    let all = format!("abcdefghijklmnopqrstuvwxyz0123456789_-*/={characters}");
    let with_tenant = format!("abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/={characters}");
    let long = format!("{}=1", "z".repeat(256));
    let long_tenant = format!("{}@{}=1", "t".repeat(241), "v".repeat(14));
    let value = format!("foo={}", "v".repeat(256));
    states(&[
        (&["foo=1,bar=2"], Some("foo=1,bar=2")),
        (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], Some("foo=1,bar=2,rojo=1,congo=2,baz=3")),
        (&[""], None),
        (&["foo=1", ""], Some("foo=1")),
        (&["", "foo=1"], Some("foo=1")),
        (&["foo=1,,bar=2, \t,"], Some("foo=1,bar=2")),
        (&[&all], Some(&all)),
        (&[&with_tenant], Some(&with_tenant)),
        (&["foo=1 \t , \t bar=2, \t baz=3"], Some("foo=1,bar=2,baz=3")),
        (&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], Some("foo=1,bar=2,baz=3")),
        (&[" foo=1"], Some("foo=1")),
        (&["\tfoo=1"], Some("foo=1")),
        (&["foo=1 "], Some("foo=1")),
        (&["foo=1\t"], Some("foo=1")),
        (&["\t foo=1 \t"], Some("foo=1")),
        // Spaces at the beginning of a value are the value's.
        (&["foo=  1"], Some("foo=  1")),
        (&["foo=1", &long], Some(&format!("foo=1,{long}"))),
        (&["foo=1", &long_tenant], Some(&format!("foo=1,{long_tenant}"))),
        (&[&value], Some(&value)),
        // Level 2: what level 1 has no form for.
        (&["foo@=1,bar=2"], Some("foo@=1,bar=2")),
        (&["foo@@bar=1,bar=2"], Some("foo@@bar=1,bar=2")),
        (&["foo@bar@baz=1,bar=2"], Some("foo@bar@baz=1,bar=2")),
        (&["1a-2f@foo=1"], Some("1a-2f@foo=1")),
    ]);
}

#[test]
fn tracestates_that_are_discarded() {
    let long = format!("{}=1", "z".repeat(257));
    let value = format!("foo={}", "v".repeat(257));
    states(&[
        (&["foo=1,foo=1"], None),
        (&["foo=1,foo=2"], None),
        (&["foo=1", "foo=1"], None),
        (&["foo=1", "foo=2"], None),
        (&["foo =1"], None),
        (&["FOO=1"], None),
        (&["foo.bar=1"], None),
        (&["@foo=1,bar=2"], None),
        (&["-foo=1"], None),
        (&["foo"], None),
        (&["=1"], None),
        (&["foo=1", &long], None),
        (&[&value], None),
        (&["foo=bar=baz"], None),
        (&["foo=,bar=3"], None),
        (&["foo=a\tb"], None),
        (&["foo=größer"], None),
    ]);
}

#[test]
fn there_are_at_most_thirty_two_members() {
    let members = |from: u8, to: u8| (from..=to).map(|n| format!("bar{n:02}={n:02}")).collect::<Vec<_>>().join(",");
    let all = members(1, 32);
    states(&[
        (&[&members(1, 10), &members(11, 20), &members(21, 30), &members(31, 32)], Some(&all)),
        (&[&members(1, 10), &members(11, 20), &members(21, 30), &members(31, 33)], None),
    ]);
}

#[test]
fn tracestate_has_one_name() {
    each(|proxy| {
        for name in ["trace-state", "trace.state"] {
            let sent = proxy.send(&[("traceparent", GOOD), (name, "foo=1")]);
            assert_eq!(sent.header("tracestate"), None, "{name}");
        }
    });
}

#[test]
fn each_request_is_a_span_of_its_own() {
    each(|proxy| {
        let ids: Vec<[String; 3]> = (0..3).map(|_| proxy.send(&[("traceparent", GOOD)]).traceparent()).collect();
        assert!(ids.iter().all(|[trace_id, ..]| trace_id == T));
        assert!(ids[0][1] != ids[1][1] && ids[1][1] != ids[2][1] && ids[0][1] != ids[2][1]);
    });
}

#[test]
fn the_random_flag_goes_on_with_the_id_and_other_flags_do_not() {
    each(|proxy| {
        for (flags, after) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("fc", "00"), ("ff", "03")] {
            assert_eq!(proxy.send(&[("traceparent", traceparent(flags))]).traceparent()[2], after, "{flags}");
        }
    });
}
