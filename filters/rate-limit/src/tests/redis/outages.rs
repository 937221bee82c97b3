//! While Redis cannot be asked, or says nonsense.

use super::*;

#[test]
fn while_it_cannot_be_asked_the_mode_decides() {
    let Some(store) = Store::start() else { return };
    let errors = [
        RedisError::Connect("refused".to_owned()),
        RedisError::Timeout,
        RedisError::Closed,
        RedisError::Greeting("WRONGPASS".to_owned()),
        RedisError::Overloaded,
    ];
    for (mode, count) in [
        ("failure_mode: open", 9),
        ("failure_mode: closed", 0),
        ("failure_mode: local", 6),
        ("failure_mode: local, peers: 3", 2),
        // At least one.
        ("failure_mode: local, peers: 100", 1),
    ] {
        for error in &errors {
            store.fails.replace(Some(error.clone()));
            let mut host = process(&store, mode, "limit: 6/h");
            assert_eq!(passed(&mut host, &of("a"), 9), count, "{mode} {error}");
            assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "error")]), 9);
            assert_eq!(host.histogram_count("rate_limit_store_microseconds", [("rule", "r")]), 9);
            assert!(host.logs().iter().any(|line| line.contains("limits in redis cannot be looked up")));
            // When it is back, it counts.
            store.fails.replace(None);
            assert_eq!(passed(&mut host, &of("a"), 9), 6, "{mode} {error}");
            store.call(&["FLUSHALL"]);
        }
    }
}

#[test]
fn an_outage_is_said_once_a_second() {
    let Some(store) = Store::start() else { return };
    store.fails.replace(Some(RedisError::Overloaded));
    let mut host = process(&store, "failure_mode: open", "limit: 6/h");
    let said =
        |host: &TestHost<RateLimit>| host.logs().iter().filter(|line| line.contains("cannot be looked up")).count();
    assert_eq!((passed(&mut host, &of("a"), 50), said(&host)), (50, 1));
    host.advance(Duration::from_secs(1));
    assert_eq!((passed(&mut host, &of("a"), 50), said(&host)), (50, 2));
    assert!(host.logs().iter().any(|line| line.contains("49 such lines")));
    assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "error")]), 100);
}

#[test]
fn a_local_place_is_given_back_here() {
    let Some(store) = Store::start() else { return };
    store.fails.replace(Some(RedisError::Overloaded));
    let mut host = process(&store, "failure_mode: local, peers: 2", "limit: { concurrency: 2 }");
    host.upstream(|_| TestResponse::hang());
    let held = host.start(of("a"));
    assert_eq!(host.send(of("a")).status(), 429);
    host.cancel(held);
    let held = host.start(of("a"));
    assert!(!host.is_done(&held));
    host.cancel(held);
}

#[test]
fn what_is_no_answer_is_a_failure() {
    let Some(store) = Store::start() else { return };
    let now = World::with(|world| world.now).cast_signed() / 1_000;
    let list = |numbers: &[i64]| Value::Array(numbers.iter().map(|number| Value::Integer(*number)).collect());
    for answer in [
        Value::from("x"),
        Value::Null,
        list(&[]),
        list(&[1, now]),
        list(&[0, now, 0, 0]),
        list(&[1, now, 0, 0, 0]),
        list(&[1, -1, 0, 0]),
        Value::error("WRONGTYPE Operation against a key"),
        Value::error("OOM command not allowed"),
        Value::error("NOSCRIPT for ever"),
    ] {
        let mut host = process(&store, "failure_mode: closed", "limit: 6/h");
        let said = answer.clone();
        host.redis("store", move |_| said.clone());
        let refused = host.send(of("a"));
        assert_eq!(refused.status(), 429, "{answer:?}");
        assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "error")]), 1, "{answer:?}");
    }
}

#[test]
fn nobody_waits_longer_than_the_timeout() {
    let Some(store) = Store::start() else { return };
    for (redis, milliseconds) in [("timeout: 50ms", 50), ("", 20)] {
        let mut host = process(&store, redis, "limit: 6/h");
        host.redis("store", |_| RedisAnswer::hang());
        let flight = host.start(of("a"));
        host.advance(Duration::from_millis(milliseconds - 1));
        assert!(!host.is_done(&flight));
        host.advance(Duration::from_millis(1));
        assert!(host.finish(flight).reached_upstream());
    }
}
