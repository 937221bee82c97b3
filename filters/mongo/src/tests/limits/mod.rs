//! How often something may be done.

mod by;
mod forms;
mod pooled;

use std::time::Duration;

use bson::doc;
use fyke_sdk::Side::{Downstream, Upstream};
use fyke_sdk::testing::TcpHost;
use serde_json::{Value, json};

use super::*;

/// The host's table of the configuration.
fn limited(configuration: &Value) -> TcpHost<Mongo> {
    TcpHost::configure(&configuration.to_string()).unwrap_or_else(|error| panic!("{configuration}: {error}"))
}

fn one(limit: &Value) -> TcpHost<Mongo> {
    limited(&json!({ "limits": [limit], "log": {} }))
}

fn find(number: i32) -> Vec<u8> {
    command(number, &doc! { "find": "c", "$db": "d" })
}

/// What the server gets of a request; empty: nothing.
fn passes(host: &TcpHost<Mongo>, client: u32, request: &[u8]) -> bool {
    host.send(Downstream, client, request, false);
    let got = host.take(Downstream, client);
    assert!(got.is_empty() || got == request);
    !got.is_empty()
}

/// The error that the client was told in the server's place.
#[track_caller]
fn told(host: &TcpHost<Mongo>, client: u32) -> Document {
    let written = host.written(Downstream, client);
    let document = crate::wire::document(&written).unwrap_or_else(|| panic!("nothing was told: {written:?}"));
    Document::from_reader(document).unwrap()
}

fn outcome(limit: &str, outcome: &str) -> i64 {
    count(&format!("mongo_limit_total{{limit={limit},outcome={outcome}}}"))
}

fn records() -> Vec<Value> {
    World::with(|world| {
        let all = world.sinks.iter().flat_map(|(_, records)| records);
        all.map(|record| serde_json::from_str(record).unwrap()).collect()
    })
}

#[test]
fn what_is_over_its_limit_is_told_so_and_the_connection_goes_on() {
    let host = one(&json!({ "name": "reads", "limit": "2/m" }));
    let (client, _) = host.connect();
    assert!(passes(&host, client, &find(1)) && passes(&host, client, &find(2)));
    assert!(!passes(&host, client, &find(3)));
    let error = told(&host, client);
    assert_eq!(error.get_f64("ok").unwrap(), 0.0);
    // The client backpressure specification's own example, and that nothing was written.
    assert_eq!(
        (error.get_i32("code").unwrap(), error.get_str("codeName").unwrap()),
        (462, "IngressRequestRateLimitExceeded")
    );
    let labels: Vec<_> = error.get_array("errorLabels").unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    assert_eq!(labels, ["SystemOverloadedError", "RetryableError", "NoWritesPerformed"]);
    assert!(error.get_str("errmsg").unwrap().contains("(reads); there is room in 30000 ms"), "{error}");
    host.advance(Duration::from_secs(29));
    assert!(!passes(&host, client, &find(4)));
    host.advance(Duration::from_secs(1));
    assert!(passes(&host, client, &find(5)));
    assert_eq!((outcome("reads", "ok"), outcome("reads", "over")), (3, 2));
    assert_eq!(count("mongo_refused_total{cmd=find,reason=limit,name=reads}"), 2);
    assert_eq!(count("mongo_dropped_total{cmd=find,reason=limit}"), 0);
    let record = &records()[0];
    assert_eq!(
        (&record["outcome"], &record["reason"], &record["by"], &record["retry_after_ms"]),
        (&json!("refused"), &json!("limit"), &json!("reads"), &json!(30_000))
    );
}

#[test]
fn a_shadow_only_counts() {
    let host = one(&json!({ "name": "new", "limit": "1/m", "shadow": true }));
    let (client, _) = host.connect();
    assert!((1..=3).all(|number| passes(&host, client, &find(number))));
    assert_eq!((outcome("new", "ok"), outcome("new", "shadow"), outcome("new", "over")), (1, 2, 0));
    host.send(Upstream, client, &reply(1, &doc! { "ok": 1 }), false);
    host.send(Upstream, client, &reply(2, &doc! { "ok": 1 }), false);
    let shadows: Vec<_> = records().iter().map(|record| record.get("shadow").cloned()).collect();
    assert_eq!(shadows, [None, Some(json!("new"))]);
}

#[test]
fn a_share_of_the_keys_is_more_than_a_shadow() {
    let host = one(&json!({ "name": "part", "by": ["collection"], "limit": "1/m", "rollout": "30%" }));
    let (client, _) = host.connect();
    let mut refused = 0;
    for number in 0..300 {
        let request = command(number, &doc! { "find": format!("c{number}"), "$db": "d" });
        assert!(passes(&host, client, &request));
        refused += i64::from(!passes(&host, client, &request));
    }
    assert!((60..120).contains(&refused), "{refused}");
    assert_eq!((outcome("part", "over"), outcome("part", "shadow")), (refused, 300 - refused));
}

#[test]
fn where_one_limit_has_no_room_none_is_charged() {
    let host = limited(&json!({ "limits": [
        { "name": "all", "limit": "3/m" },
        { "name": "one", "by": ["collection"], "limit": "1/m" },
    ]}));
    let (client, _) = host.connect();
    let of = |collection: &str| command(1, &doc! { "find": collection, "$db": "d" });
    assert!(passes(&host, client, &of("a")));
    assert!(!passes(&host, client, &of("a")) && !passes(&host, client, &of("a")));
    assert!(told(&host, client).get_str("errmsg").unwrap().contains("(one)"));
    assert!(passes(&host, client, &of("b")) && passes(&host, client, &of("c")));
    host.written(Downstream, client);
    assert!(!passes(&host, client, &of("d")));
    assert!(told(&host, client).get_str("errmsg").unwrap().contains("(all)"));
    assert_eq!((outcome("all", "ok"), outcome("all", "over")), (3, 1));
    assert_eq!((outcome("one", "ok"), outcome("one", "over")), (3, 2));
}

#[test]
fn at_the_same_time_ends_with_the_reply_and_with_the_connection() {
    let host = one(&json!({ "name": "few", "limit": { "concurrency": 1 } }));
    let ((client, _), (other, _)) = (host.connect(), host.connect());
    assert!(passes(&host, client, &find(1)));
    assert!(!passes(&host, other, &find(1)));
    assert!(!told(&host, other).get_str("errmsg").unwrap().contains("room in"));
    host.send(Upstream, client, &reply(1, &doc! { "ok": 1 }), false);
    assert!(passes(&host, other, &find(2)));
    assert!(!passes(&host, client, &find(3)));
    host.close(Downstream, other);
    host.finish(other);
    assert!(passes(&host, client, &find(4)));
    host.send(Upstream, client, &reply(4, &doc! { "ok": 1 }), false);
    // What is not answered has no end of its own.
    let insert = message(5, 0, opcode::MSG, &msg_body(2, &[Section::Body(doc! { "insert": "c", "$db": "d" })]));
    assert!(passes(&host, client, &insert) && passes(&host, client, &insert));
}

#[test]
fn greetings_and_endings_count_only_where_they_are_named() {
    let host = one(&json!({ "name": "all", "limit": "1/m" }));
    let (client, _) = host.connect();
    assert!(passes(&host, client, &find(1)) && !passes(&host, client, &find(2)));
    for name in ["hello", "ping", "saslStart", "endSessions", "commitTransaction", "abortTransaction", "killCursors"] {
        assert!(passes(&host, client, &command(3, &doc! { name: 1, "$db": "d" })), "{name}");
    }
    let host = one(&json!({ "name": "named", "match": { "commands": ["killCursors", "ping"] }, "limit": "1/m" }));
    let (client, _) = host.connect();
    assert!(passes(&host, client, &find(1)) && passes(&host, client, &find(2)));
    assert!(passes(&host, client, &command(3, &doc! { "ping": 1, "$db": "d" })));
    assert!(!passes(&host, client, &command(4, &doc! { "killCursors": "c", "$db": "d" })));
}

#[test]
fn without_shared_data_it_is_refused_at_load() {
    let error = TcpHost::<Mongo>::configure_in(r#"{"limits": [{"name": "x", "limit": "1/s"}]}"#, |world| {
        world.shares = false;
    })
    .err()
    .unwrap();
    assert_eq!(error.path(), "limits");
    assert!(error.message().contains("allow: { shared_data: true }"), "{error}");
}

#[test]
fn what_cannot_be_looked_up_goes_on_or_does_not_as_the_limit_says() {
    for (mode, goes_on) in [("open", true), ("closed", false)] {
        let host = one(&json!({ "name": "x", "limit": "5/s", "failure_mode": mode }));
        let (client, _) = host.connect();
        World::with(|world| world.shares = false);
        assert_eq!(passes(&host, client, &find(1)), goes_on, "{mode}");
        assert_eq!(outcome("x", "error"), 1);
    }
}
