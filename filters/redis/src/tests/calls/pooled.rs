//! The same of clients that share connections.

use fyke_sdk::testing::LeaseState;

use super::*;
use crate::tests::text;

#[test]
fn arguments_without_end_are_read_a_part_at_a_time_before_they_go() {
    reads_arguments(true);
}

#[test]
fn what_a_client_of_the_pool_says_meanwhile_is_read_a_part_at_a_time() {
    for end in [false, true] {
        let host = host(POOL);
        let client = host.connect().0;
        let said = [command("GET a"), b"\n".repeat(100_000), command("GET b")].concat();
        host.send(Side::Downstream, client, &said, end);
        host.lend(client, "10.0.0.1:6379");
        assert_eq!(host.take(Side::Downstream, client), command("GET a"));
        SHOWN.take();
        host.send(Side::Upstream, client, b"$-1\r\n", false);
        wait(&host);
        host.lend(client, "10.0.0.1:6379");
        assert!(most(Side::Downstream) <= MESSAGES + SLACK);
        assert_eq!(host.take(Side::Downstream, client), command("GET b"));
        assert_eq!(metric("redis_commands_total", &["get", ""]), 2);
        assert_eq!(total("redis_request_bytes_total") as usize, 2 * command("GET a").len());
    }
}

#[test]
fn answers_of_the_filter_are_given_a_part_at_a_time() {
    for end in [false, true] {
        let host = host(r#"{"pool":{"cluster":"redis","clients":{"password":"x"}}}"#);
        let client = host.connect().0;
        host.send(Side::Downstream, client, &[b"reset\n".repeat(9000), command("QUIT")].concat(), end);
        wait(&host);
        assert!(most(Side::Downstream) <= MESSAGES * 6 + SLACK);
        assert_eq!(text(host.written(Side::Downstream, client)), [&"+RESET\r\n".repeat(9000), "+OK\r\n"].concat());
        assert_eq!(metric("redis_answered_here_total", &["reset", "ok"]), 9000);
    }
}

#[test]
fn what_a_lent_connection_says_is_read_a_part_at_a_time_and_answers_wait_for_it() {
    let host = host(POOL);
    let client = host.connect().0;
    host.send(Side::Downstream, client, &command("SUBSCRIBE a"), false);
    host.lend(client, "10.0.0.1:6379");
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n";
    let said = ["*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n".to_owned(), message.repeat(5000)].concat();
    host.send(Side::Upstream, client, said.as_bytes(), false);
    assert!(most(Side::Upstream) <= MESSAGES * message.len() + SLACK);
    assert_eq!(host.take(Side::Upstream, client), said.as_bytes());
    assert_eq!(metric("redis_pushes_total", &["message"]), 5000);
    host.send(Side::Downstream, client, &command("UNSUBSCRIBE a"), false);
    host.send(Side::Upstream, client, b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n", false);
    assert_eq!(host.leases(client).last().map(|lease| lease.state.clone()), Some(LeaseState::Released));
}
