//! Who decides, and what.

use std::time::Duration;

use super::*;

const STRANGER: &str = "203.0.113.9:4000";
const UUID: &str = "5f0c7a41-3a1b-4c5d-9e8f-0123456789ab";

#[test]
fn a_trusted_parents_decision_stands_whatever_the_share() {
    for sample in ["0%", "50%", "100%"] {
        let proxy = Proxy::new(&format!(r#"{{"sample": "{sample}"}}"#));
        for flags in ["00", "01"] {
            let sent = proxy.send(&[("traceparent", traceparent(flags)), ("tracestate", "ot=th:c,a=1".to_owned())]);
            assert_eq!(sent.traceparent()[0], TRACE);
            assert_eq!((sent.traceparent()[2].as_str(), sent.trace().unwrap().sampled), (flags, flags == "01"));
            assert_eq!(sent.header("tracestate").as_deref(), Some("ot=th:c,a=1"), "the decision is not ours");
        }
    }
}

#[test]
fn a_strangers_trace_is_left_behind() {
    let proxy = Proxy::new(r#"{"sample": "0%"}"#).peer(STRANGER);
    let sent = proxy.send(&[("traceparent", traceparent("01")), ("tracestate", "a=1".to_owned())]);
    assert_ne!(sent.traceparent()[0], TRACE);
    assert!(!sent.is_sampled());
    assert_eq!((sent.header("tracestate"), sent.trace().unwrap().parent), (None, [0; 8]));
}

#[test]
fn a_strangers_trace_may_go_on_and_he_decides_nothing() {
    // Everything in it would be sampled: the id, `rv` and the flag.
    let everything = "00-4bf92f3577b34da6a3ffffffffffffff-00f067aa0ba902b7-03".to_owned();
    let state = "ot=rv:ffffffffffffff;th:0,a=1".to_owned();
    let sampled = |share: &str| {
        let configuration = format!(r#"{{"untrusted": "continue", "sample": "{share}"}}"#);
        let proxy = Proxy::new(&configuration).peer(STRANGER);
        let count = (0..400).filter(|_| {
            let sent = proxy.send(&[("traceparent", everything.clone()), ("tracestate", state.clone())]);
            assert_eq!(sent.traceparent()[0], "4bf92f3577b34da6a3ffffffffffffff");
            let state = sent.header("tracestate").unwrap();
            assert!(
                state.starts_with("ot=rv:") && state.ends_with(",a=1") && !state.contains("ffffffffffffff"),
                "{state}"
            );
            assert_eq!(state.contains("th:"), sent.is_sampled(), "{state}");
            sent.is_sampled()
        });
        count.count()
    };
    assert_eq!((sampled("0%"), sampled("100%")), (0, 400));
    assert!((100..300).contains(&sampled("50%")));
}

#[test]
fn trust_is_a_matter_of_configuration() {
    let networks = r#"{"internal_networks": ["203.0.113.0/24"]}"#;
    for (configuration, peer, trusted) in [
        ("{}", "192.168.7.7:1", true),
        ("{}", "", true),
        ("{}", STRANGER, false),
        (r#"{"trust": "always"}"#, STRANGER, true),
        (r#"{"trust": "never"}"#, "192.168.7.7:1", false),
        (networks, STRANGER, true),
        (networks, "192.168.7.7:1", false),
    ] {
        let proxy = Proxy::new(configuration).peer(peer);
        let sent = proxy.send(&[("traceparent", traceparent("01"))]);
        assert_eq!(sent.traceparent()[0] == TRACE, trusted, "{configuration} {peer}");
    }
}

#[test]
fn the_share_is_the_hosts_unless_the_filter_has_its_own() {
    for (host, own, all) in [
        (Some(1.0), "{}", true),
        (Some(0.0), "{}", false),
        (Some(1.0), r#"{"sample":"0%"}"#, false),
        (None, r#"{"sample":"100%"}"#, true),
    ] {
        let proxy = Proxy::in_world(own, |world| world.sample = host);
        assert!((0..20).all(|_| proxy.send::<&str, &str>(&[]).is_sampled() == all), "{host:?} {own}");
    }
}

#[test]
fn where_nobody_records_no_trace_begins_and_others_go_on() {
    let proxy = Proxy::in_world("{}", |world| world.sample = None);
    assert_eq!(proxy.send::<&str, &str>(&[]).header("traceparent"), None);
    let sent = proxy.send(&[("traceparent", "nonsense"), ("tracestate", "a=1"), ("b3", "nonsense")]);
    assert_eq!((sent.header("traceparent"), sent.header("tracestate"), sent.header("b3")), (None, None, None));
    let sent = proxy.send(&[("traceparent", traceparent("01"))]);
    assert_eq!((sent.traceparent()[0].as_str(), sent.is_sampled()), (TRACE, true));
    // Whoever gets it may decide.
    let deferred = format!("{TRACE}-{PARENT}");
    assert_eq!(proxy.send(&[("b3", deferred.clone())]).header("b3"), Some(deferred.clone()));
    let stranger = Proxy::in_world("{}", |world| world.sample = None).peer(STRANGER);
    let sent = stranger.send(&[("b3", deferred), ("traceparent", traceparent("01"))]);
    assert_eq!((sent.header("traceparent"), sent.header("b3")), (None, None));
}

#[test]
fn the_same_request_id_is_the_same_decision_on_every_proxy() {
    // Its 56 bits are 0x8f..., which is just above a half.
    for (sample, sampled) in [("44%", false), ("45%", true)] {
        for _ in 0..3 {
            let proxy = Proxy::new(&format!(r#"{{"sample": "{sample}"}}"#));
            let [trace_id, _, flags] = proxy.send(&[("x-request-id", UUID)]).traceparent();
            assert!(trace_id.ends_with("8f0123456789ab"), "{trace_id}");
            assert_eq!(flags, if sampled { "03" } else { "02" });
        }
    }
    let proxy = Proxy::new("{}");
    let same: Vec<[String; 3]> = (0..2).map(|_| proxy.send(&[("x-request-id", "order-7")]).traceparent()).collect();
    assert_eq!(
        (same[0][0].get(18..), same[0][2].as_str()),
        (same[1][0].get(18..), "01"),
        "a hash is not known to be random"
    );
    assert_ne!(same[0][0], same[1][0], "they are two traces all the same");
}

#[test]
fn a_strangers_request_id_chooses_nothing() {
    let proxy = Proxy::new("{}").peer(STRANGER);
    let [trace_id, _, flags] = proxy.send(&[("x-request-id", UUID)]).traceparent();
    assert!(!trace_id.ends_with("8f0123456789ab"));
    assert_eq!(flags, "03");
}

#[test]
fn a_deferred_decision_is_made_by_the_traces_own_bits() {
    // b3 without a decision; the last seven bytes of the id are ce929d0e0e4736.
    for (sample, sampled) in [("19%", "0"), ("20%", "1")] {
        let proxy = Proxy::new(&format!(r#"{{"sample": "{sample}", "inject": ["b3"]}}"#));
        let sent = proxy.send(&[("b3", format!("{TRACE}-{PARENT}"))]);
        let value = sent.header("b3").unwrap();
        assert!(value.starts_with(TRACE) && value.ends_with(&format!("-{sampled}")), "{value}");
    }
}

#[test]
fn a_decision_by_share_says_its_threshold() {
    let proxy = Proxy::new(r#"{"sample": "50%"}"#);
    for _ in 0..50 {
        let sent = proxy.send::<&str, &str>(&[]);
        let expected = sent.is_sampled().then(|| "ot=th:8".to_owned());
        assert_eq!(sent.header("tracestate"), expected);
    }
}

#[test]
fn a_trace_is_forced_by_those_who_are_trusted() {
    for name in ["x-envoy-force-trace", "x-client-trace-id"] {
        let proxy = Proxy::new(r#"{"sample": "0%"}"#);
        let sent = proxy.send(&[(name, "1")]);
        assert!(sent.is_sampled() && sent.header(name).is_some());
        assert_eq!(sent.header("tracestate"), None, "it stands for no others");
        let refused =
            [("traceparent", traceparent("00")), ("tracestate", "ot=th:8".to_owned()), (name, "1".to_owned())];
        let sent = proxy.send(&refused);
        assert_eq!((sent.traceparent()[0].as_str(), sent.is_sampled(), sent.header("tracestate")), (TRACE, true, None));
        let stranger = Proxy::new(r#"{"sample": "0%"}"#).peer(STRANGER);
        let sent = stranger.send(&[(name, "1")]);
        assert!(!sent.is_sampled());
        assert_eq!(sent.header(name), None, "the next proxy would believe this one");
    }
    let proxy = Proxy::new(r#"{"sample": "0%", "force_headers": ["X-Trace-Me"]}"#);
    assert!(proxy.send(&[("x-trace-me", "1")]).is_sampled());
    assert!(!proxy.send(&[("x-envoy-force-trace", "1")]).is_sampled());
}

#[test]
fn a_limit_is_one_of_what_is_decided_here() {
    let proxy = Proxy::new(r#"{"sample": "100%", "max_per_second": 3}"#);
    let sampled = || (0..5).filter(|_| proxy.send::<&str, &str>(&[]).is_sampled()).count();
    assert_eq!((sampled(), sampled()), (3, 0));
    assert!(!proxy.send(&[("x-envoy-force-trace", "1")]).is_sampled(), "what is forced counts");
    assert!(proxy.send(&[("traceparent", traceparent("01"))]).is_sampled(), "what others decided does not");
    World::with(|world| world.now += u64::try_from(Duration::from_secs(2).as_nanos()).unwrap());
    let sent = proxy.send::<&str, &str>(&[]);
    assert_eq!((sent.is_sampled(), sent.header("tracestate")), (true, None), "it stands for nobody knows how many");
    assert_eq!(sampled(), 2);
}
