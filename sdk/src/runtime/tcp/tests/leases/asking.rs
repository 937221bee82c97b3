//! What is asked for, and what is lent.

use std::time::Duration;

use super::{DOWN, Pool, UP, closed_by_filter, connected, seen, states};
use crate::abi::Action;
use crate::lease::Reason;
use crate::tcp::{close, show_again, write};
use crate::testing::{LeaseState, TcpHost, World};
use crate::{Cluster, ConfigError, Conn, Env, Result, TcpFilter, TcpFlow, tcp_filter};

#[test]
fn requests_that_arrive_together_are_exchanges_one_after_the_other() {
    let (host, connection) = connected();
    assert_eq!(host.send(DOWN, connection, b"one\ntwo\nth", false), Action::Pause);
    let asked = host.leases(connection).pop().unwrap();
    assert_eq!(
        (asked.cluster.as_str(), asked.endpoint.as_str(), asked.share.as_str()),
        ("servers", "10.0.0.1:7", "slow")
    );
    assert_eq!(asked.label, Some(("role".to_owned(), "primary".to_owned())));
    assert_eq!((asked.identity.as_slice(), asked.client.as_slice()), (&b"me"[..], &b"you"[..]));
    assert_eq!((asked.most, asked.timeout, asked.state), (3, 250, LeaseState::Asked));

    host.lend_after(connection, "10.0.0.1:7", Duration::from_micros(12), true);
    assert_eq!(host.take(DOWN, connection), b"one\n");
    assert_eq!(host.send(UP, connection, b"ON", false), Action::Continue);
    assert_eq!(states(&host, connection), [LeaseState::Lent]);
    host.send(UP, connection, b"E\n", false);
    assert_eq!(host.take(UP, connection), b"ONE\n");
    // The second request was shown again, and asks.
    assert_eq!(states(&host, connection), [LeaseState::Released, LeaseState::Asked]);
    host.lend(connection, "10.0.0.2:7");
    assert_eq!(host.take(DOWN, connection), b"two\n");
    host.send(UP, connection, b"TWO\n", false);
    // There is no third one yet.
    assert_eq!(states(&host, connection), [LeaseState::Released, LeaseState::Released]);
    host.send(DOWN, connection, b"ree\n", false);
    host.lend(connection, "10.0.0.1:7");
    assert_eq!(host.take(DOWN, connection), b"three\n");
    assert_eq!(seen(&host, connection), "10.0.0.1:7 12us true, 10.0.0.2:7 0us false, 10.0.0.1:7 0us false");
}

#[test]
fn exchanges_are_the_same_in_whatever_pieces_they_come() {
    let (requests, answers) = (b"a\nbc\n", [&b"A\n"[..], b"BC\n"]);
    for cut in 0..=requests.len() {
        for split in 0..=2 {
            let (host, connection) = connected();
            let (head, tail) = requests.split_at(cut);
            for (piece, end) in [(head, false), (tail, true)] {
                host.send(DOWN, connection, piece, end);
            }
            let mut went = Vec::new();
            for answer in answers {
                host.lend(connection, "10.0.0.1:7");
                went.push(host.take(DOWN, connection));
                let (head, tail) = answer.split_at(split);
                host.send(UP, connection, head, false);
                host.send(UP, connection, tail, false);
            }
            assert_eq!(went, [&b"a\n"[..], b"bc\n"], "cut at {cut}");
            assert_eq!(host.take(UP, connection), b"A\nBC\n");
            assert_eq!(states(&host, connection), [LeaseState::Released, LeaseState::Released]);
        }
    }
}

#[test]
fn a_refusal_is_told_and_the_filter_says_what_becomes_of_the_request() {
    let reasons = [
        (Reason::NoEndpoint, "NoEndpoint"),
        (Reason::Busy, "Busy"),
        (Reason::Timeout, "Timeout"),
        (Reason::Connect, "Connect"),
        (Reason::Handshake, "Handshake"),
        (Reason::Other(77), "Other(77)"),
    ];
    for (reason, name) in reasons {
        let (host, connection) = connected();
        host.send(DOWN, connection, b"a\n", false);
        host.refuse(connection, reason, "why not");
        assert_eq!(host.written(DOWN, connection), b"-no\n");
        assert_eq!(
            (host.take(DOWN, connection), states(&host, connection)),
            (b"a\n".to_vec(), vec![LeaseState::Refused])
        );
        assert_eq!(seen(&host, connection), format!("{name} why not"));
    }
    let (host, connection) = connected();
    host.send(DOWN, connection, b"a\n", false);
    host.refuse(connection, Reason::UnknownCluster, "");
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    assert_eq!(host.take(DOWN, connection), b"");
}

#[test]
fn an_answer_that_was_not_asked_for_is_nobodys() {
    let (host, connection) = connected();
    let event = |token: u32| [token.to_le_bytes(), [0; 4], [0; 4], [0; 4], [0; 4]].concat();
    host.foreign(connection, 3, &event(1));
    host.send(DOWN, connection, b"a\n", false);
    host.foreign(connection, 3, &event(2));
    assert_eq!(states(&host, connection), [LeaseState::Asked]);
    host.lend(connection, "here");
    host.foreign(connection, 3, &event(1));
    assert_eq!(states(&host, connection), [LeaseState::Lent]);
    assert_eq!(seen(&host, connection), "here 0us false");
}

#[test]
fn nothing_that_the_host_says_is_too_short_or_too_strange() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"a\n", false);
    let event = [&[1, 0, 0, 0][..], &[0xff; 16], b"\xff\xfe"].concat();
    for function in [0, 1, 2, 3, 4, 5, 6, u32::MAX] {
        for length in 0..20 {
            host.foreign(connection, function, &event[..length]);
            host.foreign(9999, function, &event[..length]);
        }
    }
    // A connection of a client is no new one, whatever the host says.
    host.foreign(connection, 4, &[0; 16]);
    assert_eq!(states(&host, connection), [LeaseState::Asked]);
    host.lend(connection, "here");
    assert_eq!(host.take(DOWN, connection), b"a\n");
}

#[test]
fn a_lease_that_is_answered_while_on_connect_waits_is_told_afterwards() {
    for lost in [false, true] {
        let host = TcpHost::<Pool>::configure("true").unwrap();
        let (connection, action) = host.connect();
        assert_eq!(action, Action::Pause);
        host.send(DOWN, connection, b"a\n", false);
        host.lend(connection, "here");
        assert_eq!(host.take(DOWN, connection), b"");
        if lost {
            host.lose(connection);
        }
        host.advance(Duration::from_millis(10));
        // What arrived before the lease was shown when `on_connect` was done, and waits for it.
        let told = if lost { "Connect the connection has ended" } else { "here 0us false" };
        assert_eq!(host.written(DOWN, connection), if lost { &b"-no\n"[..] } else { b"" });
        assert_eq!(host.take(DOWN, connection), b"a\n");
        assert!(seen(&host, connection).starts_with(told));
    }
}

#[test]
fn one_connection_at_a_time() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"twice\n", false);
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    assert!(World::with(|world| world.logs.iter().any(|(_, line)| line.contains("lent or asked for already"))));
}

#[test]
fn outside_of_a_connections_methods_there_is_no_connection() {
    let (host, connection) = connected();
    assert!(write(DOWN, b"x").is_err() && show_again(DOWN).is_err() && close().is_err());
    assert!(Cluster::new("servers").lease().ask().is_err());
    host.send(DOWN, connection, b"a\n", false);
    // Nor does a lease mean anything to another connection, which may have one of the same number.
    let (other, _) = host.connect();
    host.send(DOWN, other, b"a\n", false);
    for state in [LeaseState::Asked, LeaseState::Asked] {
        World::with(|world| world.effective = other);
        let token = crate::lease::answer(connection, &[[1, 0, 0, 0], [0; 4], [0; 4], [0; 4], [0; 4]].concat());
        let ((), _) = crate::tcp::current::within(other, crate::tcp::current::Standing::default(), || {
            token.unwrap().1.unwrap().token.release();
        });
        assert_eq!(states(&host, other), [state]);
    }
}

#[test]
fn another_host_refuses_by_name() {
    let host = TcpHost::<Pool>::configure_in("", |world| world.knows_fyke = false).unwrap();
    let (connection, _) = host.connect();
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    assert!(World::with(|world| world.logs.iter().any(|(_, line)| line.contains("fyke.upstream.none.v1"))));
}

/// Wants to borrow, and would never learn of it.
struct Deaf;

#[tcp_filter]
impl TcpFilter for Deaf {
    type Config = ();
    type Ctx = ();

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_connect(&self, (): &mut (), connection: &mut Conn) -> Result<TcpFlow> {
        connection.borrows_upstream()?;
        Ok(TcpFlow::Continue)
    }
}

#[test]
fn a_filter_that_cannot_learn_of_a_lease_cannot_borrow() {
    let host = TcpHost::<Deaf>::configure("").unwrap();
    let (connection, _) = host.connect();
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    assert!(World::with(|world| world.logs.iter().any(|(_, line)| line.contains("on_leased"))));
}
