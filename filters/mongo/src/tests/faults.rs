//! Faults on purpose, in simulated time.

use std::time::Duration;

use bson::doc;

use super::*;

const WHILE: Duration = Duration::from_millis(50);

fn find(number: i32) -> Vec<u8> {
    command(number, &doc! { "find": "c", "$db": "d" })
}

fn ping(number: i32) -> Vec<u8> {
    command(number, &doc! { "ping": 1, "$db": "d" })
}

fn delays() -> i64 {
    assert_eq!(count("mongo.mongo.delays_injected"), count("mongo_delays_injected_total{}"));
    count("mongo_delays_injected_total{}")
}

#[test]
fn an_operation_waits_and_what_its_client_says_waits_behind_it() {
    let mut host = host("fault: { delay: { duration: 50ms } }");
    let connection = host.connect();
    host.client_sends(&connection, ping(1));
    assert_eq!(host.upstream_got(&connection), &ping(1));
    host.client_sends(&connection, find(2));
    host.client_sends(&connection, ping(3));
    assert_eq!(host.upstream_got(&connection), &ping(1));
    // The server's answers do not wait.
    host.upstream_sends(&connection, reply(1, &doc! { "ok": 1 }));
    assert_eq!(host.client_got(&connection), &reply(1, &doc! { "ok": 1 }));
    host.advance(WHILE - Duration::from_millis(1));
    assert_eq!(host.upstream_got(&connection), &ping(1));
    host.advance(Duration::from_millis(1));
    assert_eq!(host.upstream_got(&connection), &[ping(1), find(2), ping(3)].concat());
    assert_eq!(delays(), 1);
    // The delay is not the server's.
    host.upstream_sends(&connection, reply(2, &doc! { "ok": 1 }));
    assert_eq!(count("mongo_reply_time_microseconds{db=d,cmd=find,collection=c,server=127.0.0.1:9}"), 0);
    host.close(connection);
}

#[test]
fn several_operations_wait_one_after_the_other_however_they_arrive() {
    let all = [find(1), ping(2), find(3), find(4)].concat();
    for size in [1, 9, 50, all.len()] {
        let mut host = host("fault: { delay: { duration: 50ms } }");
        let connection = host.connect();
        for piece in all.chunks(size) {
            host.client_sends(&connection, piece);
        }
        for expected in [0, find(1).len() + ping(2).len(), all.len() - find(4).len()] {
            assert_eq!(host.upstream_got(&connection).bytes(), &all[..expected], "{size}");
            host.advance(WHILE);
        }
        assert_eq!(host.upstream_got(&connection), &all, "{size}");
        assert_eq!(delays(), 3);
        assert_eq!(count("mongo_operations_total{db=d,cmd=find,collection=c}"), 3);
        host.close(connection);
    }
}

#[test]
fn a_long_request_waits_and_then_passes_while_it_arrives() {
    let documents: Vec<Document> = (0..3000).map(|number| doc! { "_id": number, "x": "y".repeat(50) }).collect();
    let sections = [Section::Body(doc! { "insert": "c", "$db": "d" }), Section::Sequence("documents", documents)];
    let request = message(1, 0, opcode::MSG, &msg_body(0, &sections));
    let mut host = host("fault: { delay: { duration: 50ms } }");
    let connection = host.connect();
    let (front, rest) = request.split_at(request.len() / 2);
    host.client_sends(&connection, front);
    host.advance(WHILE);
    assert_eq!(host.upstream_got(&connection).bytes(), front);
    host.client_sends(&connection, [rest, &find(2)].concat());
    assert_eq!(host.upstream_got(&connection), &request);
    host.advance(WHILE);
    assert_eq!(host.upstream_got(&connection), &[request, find(2)].concat());
    host.close(connection);
}

#[test]
fn a_client_that_has_nothing_more_to_say_still_gets_through() {
    let mut host = host("fault: { delay: { duration: 50ms } }");
    let connection = host.connect();
    host.client_sends(&connection, find(1));
    host.client_ends(&connection);
    host.advance(WHILE);
    assert_eq!(host.upstream_got(&connection), &find(1));
    host.close(connection);
}

/// A share of many; the random numbers of tests are always the same.
#[test]
fn a_share_waits_and_a_share_fails_each_drawn_for_itself() {
    let mut host = host(
        "fault: { match: { commands: [find] }, delay: { duration: 1ms, percentage: 20% }, abort: { code: 91, percentage: 10% } }",
    );
    let connection = host.connect();
    for number in 0..2000 {
        host.client_sends(&connection, find(number));
        host.advance(Duration::from_millis(1));
        host.client_sends(&connection, command(number, &doc! { "count": "c", "$db": "d" }));
    }
    let (waited, failed) = (delays(), count("mongo_refused_total{cmd=find,reason=fault}"));
    assert!((340..460).contains(&waited), "{waited}");
    assert!((150..250).contains(&failed), "{failed}");
    assert_eq!(count("mongo_refused_total{cmd=count,reason=fault}"), 0);
    host.close(connection);
}

#[test]
fn a_failure_says_what_the_configuration_says() {
    let named = "fault: { abort: { code: 91, labels: [RetryableWriteError] } }";
    let own = "fault: { abort: { code: 424242, code_name: Oops, message: too bad } }";
    let nameless = "fault: { abort: { code: 424242 } }";
    for (configuration, name, message, labels) in [
        (named, Some("ShutdownInProgress"), "the proxy lets this operation fail (fault)", Some(1)),
        (own, Some("Oops"), "too bad", None),
        (nameless, None, "the proxy lets this operation fail (fault)", None),
    ] {
        let mut host = host(configuration);
        let connection = host.connect();
        host.client_sends(&connection, find(1));
        assert!(host.upstream_got(&connection).bytes().is_empty());
        let got = host.client_got(&connection);
        let document = Document::from_reader(crate::wire::document(got.bytes()).unwrap()).unwrap();
        assert_eq!((document.get_str("codeName").ok(), document.get_str("errmsg").unwrap()), (name, message));
        assert_eq!(document.get_array("errorLabels").ok().map(Vec::len), labels);
        host.close(connection);
    }
}

#[test]
fn what_fails_may_have_waited_and_is_written_down() {
    let mut host = host("{ fault: { delay: { duration: 50ms }, abort: { code: 112 } }, log: {} }");
    let connection = host.connect();
    host.client_sends(&connection, find(1));
    assert!(host.client_got(&connection).bytes().is_empty());
    host.advance(WHILE);
    assert!(!host.client_got(&connection).bytes().is_empty() && host.upstream_got(&connection).bytes().is_empty());
    let record = World::with(|world| world.sinks[0].1[0].clone());
    assert!(record.contains(r#""outcome":"refused","reason":"fault""#), "{record}");
    host.close(connection);
}

#[test]
fn what_cannot_be_read_passes_at_once() {
    let mut host = host("fault: { delay: { duration: 50ms }, abort: { code: 6 } }");
    let connection = host.connect();
    let odd = message(1, 0, 7, &[0; 9]);
    host.client_sends(&connection, &odd);
    assert_eq!(host.upstream_got(&connection), &odd);
    assert!(host.client_got(&connection).bytes().is_empty());
    host.close(connection);
}

#[test]
fn a_client_that_leaves_while_it_waits_is_forgotten() {
    let mut host = host("fault: { delay: { duration: 50ms } }");
    let connection = host.connect();
    host.client_sends(&connection, find(1));
    host.close(connection);
    host.advance(WHILE);
    assert_eq!(count("mongo_operations_total{db=d,cmd=find,collection=c}"), 0);
    assert_eq!(World::with(|world| world.tick), None);
}

#[test]
fn a_request_whose_beginning_has_gone_on_does_not_wait_in_its_middle() {
    let rows = Section::Sequence("documents", vec![doc! { "x": "y".repeat(30_000) }; 4]);
    let far = message(1, 0, opcode::MSG, &msg_body(0, &[rows, Section::Body(doc! { "insert": "c", "$db": "d" })]));
    let mut host = host("fault: { delay: { duration: 50ms } }");
    let connection = host.connect();
    for piece in far.chunks(9_000) {
        host.client_sends(&connection, piece);
    }
    assert_eq!(host.upstream_got(&connection), &far);
    host.client_sends(&connection, find(2));
    assert_eq!(host.upstream_got(&connection), &far);
    host.advance(WHILE);
    assert_eq!(host.upstream_got(&connection), &[far, find(2)].concat());
    host.close(connection);
}
