//! What is lost, released or closed, and clients that end.

use super::{DOWN, UP, closed_by_filter, connected, seen, states};
use crate::abi::Action;
use crate::lease::Reason;
use crate::testing::{LeaseState, TcpHost, World};
use crate::{Cluster, ConfigError, Conn, Data, Env, LeaseRefused, Leased, Result, TcpFilter, TcpFlow, tcp_filter};

#[test]
fn what_a_client_left_unfinished_is_dropped_with_its_end() {
    let (host, connection) = connected();
    assert_eq!(host.send(DOWN, connection, b"a\nb", true), Action::Pause);
    host.lend(connection, "10.0.0.1:7");
    assert_eq!(host.take(DOWN, connection), b"a\n");
    host.send(UP, connection, b"A\n", false);
    assert_eq!((host.take(DOWN, connection), states(&host, connection)), (vec![], vec![LeaseState::Released]));
    // Nothing is held any more: the end has gone on.
    assert!(host.connection(connection, |state| state.bodies[2].is_empty()));
    assert!(closed_by_filter(&host, connection).is_empty());
    // Where nothing is held there is nothing to wait for.
    let (host, connection) = connected();
    host.send(DOWN, connection, b"a\n", false);
    host.lend(connection, "10.0.0.1:7");
    assert_eq!(host.send(DOWN, connection, b"", true), Action::Continue);
    host.send(UP, connection, b"A\n", false);
    assert_eq!((host.take(UP, connection), states(&host, connection)), (b"A\n".to_vec(), vec![LeaseState::Released]));
    // Where nothing is lent or asked for, at once.
    let (host, connection) = connected();
    assert_eq!(host.send(DOWN, connection, b"b", true), Action::Continue);
    assert_eq!(host.take(DOWN, connection), b"");
}

#[test]
fn a_lease_may_be_lost_any_number_of_times() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"a\nb\nc\n", false);
    for request in [b"a\n", b"b\n"] {
        host.lend(connection, "10.0.0.1:7");
        assert_eq!(host.take(DOWN, connection), request);
        host.send(UP, connection, b"half", false);
        host.lose(connection);
        assert_eq!(host.written(DOWN, connection), b"-lost\n");
    }
    assert_eq!(states(&host, connection), [LeaseState::Lost, LeaseState::Lost, LeaseState::Asked]);
    assert!(closed_by_filter(&host, connection).is_empty());
    assert!(seen(&host, connection).ends_with("Upstream, 10.0.0.1:7 0us false, Upstream"));
}

#[test]
fn an_answer_for_a_client_that_is_gone_is_given_back_unseen() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"a\n", false);
    host.close(DOWN, connection);
    host.lend(connection, "10.0.0.1:7");
    assert_eq!(states(&host, connection), [LeaseState::Released]);
    assert_eq!(host.take(DOWN, connection), b"");
    assert_eq!(seen(&host, connection), "Downstream");
    // After its end, nobody is there at all.
    host.foreign(connection, 3, &[[1, 0, 0, 0]; 5].concat());
    assert_eq!(host.connections(), 0);
}

#[test]
fn a_release_waits_for_what_is_skipped_and_a_rest_makes_the_connection_unfit() {
    for (said, then, state) in [
        (&b"5"[..], &b"12345"[..], LeaseState::Released),
        (b"5", b"1234", LeaseState::Draining),
        (b"x+", b"", LeaseState::Dirty),
        (b"bad\n", b"", LeaseState::Closed("it is bad".to_owned())),
    ] {
        let (host, connection) = connected();
        host.send(DOWN, connection, b"a\n", false);
        host.lend(connection, "here");
        host.send(UP, connection, said, false);
        if !then.is_empty() {
            assert_eq!(states(&host, connection), [LeaseState::Draining]);
            host.send(UP, connection, then, false);
        }
        assert_eq!(states(&host, connection), [state]);
    }
}

#[test]
fn a_method_may_close_whatever_it_answers() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"a\n", false);
    host.lend(connection, "here");
    assert_eq!(host.send(UP, connection, b"bye\n", false), Action::Pause);
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    assert_eq!(host.send(DOWN, connection, b"b\n", false), Action::Pause);
    assert_eq!(seen(&host, connection), "here 0us false");
}

/// Borrows, and knows nothing more of it.
struct Plain(Cluster);

#[tcp_filter]
impl TcpFilter for Plain {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self(env.cluster("servers")?))
    }

    async fn on_connect(&self, (): &mut (), connection: &mut Conn) -> Result<TcpFlow> {
        connection.borrows_upstream()?;
        self.0.lease().ask()?;
        Ok(TcpFlow::Continue)
    }

    fn on_leased(&self, (): &mut (), lease: Result<Leased, LeaseRefused>, _data: &mut Data) -> Result<TcpFlow> {
        lease?;
        Ok(TcpFlow::Continue)
    }
}

#[test]
fn without_on_close_a_lost_lease_closes_and_without_on_opened_connections_are_fit() {
    let host = TcpHost::<Plain>::configure("").unwrap();
    let (connection, _) = host.connect();
    host.lend(connection, "here");
    // A continue where nothing is held would let go of what comes.
    assert!(host.connection(connection, |state| state.resumed_sides.is_empty()));
    host.lose(connection);
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    let (refused, _) = host.connect();
    host.refuse(refused, Reason::Busy, "too many wait");
    assert_eq!(closed_by_filter(&host, refused), [DOWN]);
    assert!(World::with(|world| world
        .logs
        .iter()
        .any(|(_, line)| line.contains("no connection is lent: too many wait"))));
    let opened = host.open("servers", "10.0.0.1:7", b"", "");
    assert_eq!(host.verdict(opened), Some(Ok(())));
    for context in [connection, refused, opened] {
        host.finish(context);
    }
    assert_eq!(host.connections(), 0);
}
