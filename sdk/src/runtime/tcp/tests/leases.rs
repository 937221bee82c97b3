//! Connections that borrow.

use std::time::Duration;

use super::{DOWN, closed_by_filter};
use crate::abi::Action;
use crate::lease::Reason;
use crate::tcp::{close, show_again, write};
use crate::testing::{LeaseState, TcpHost, World};
use crate::{
    Cluster, ConfigError, Conn, Data, Env, LeaseRefused, LeaseToken, Leased, Result, Side, StreamLog, TcpFilter,
    TcpFlow, sleep, tcp_filter,
};

const UP: Side = Side::Upstream;

/// Requests and answers are lines, and take turns.
struct Pool {
    servers: Cluster,
    eager: bool,
}

#[derive(Default)]
struct Talk {
    lease: Option<LeaseToken>,
    seen: Vec<String>,
}

fn first_line(data: &Data) -> Option<u64> {
    data.bytes().iter().position(|byte| *byte == b'\n').map(|at| at as u64 + 1)
}

#[tcp_filter]
impl TcpFilter for Pool {
    type Config = Option<bool>;
    type Ctx = Talk;

    fn configure(eager: Option<bool>, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { servers: env.cluster("servers")?, eager: eager.unwrap_or_default() })
    }

    async fn on_connect(&self, talk: &mut Talk, connection: &mut Conn) -> Result<TcpFlow> {
        connection.borrows_upstream()?;
        if self.eager {
            talk.lease = Some(self.servers.lease().ask()?);
            sleep(Duration::from_millis(10)).await;
        }
        Ok(TcpFlow::Continue)
    }

    fn on_downstream(&self, talk: &mut Talk, data: &mut Data) -> Result<TcpFlow> {
        match data.bytes() {
            b"twice\n" => {
                self.servers.lease().ask()?;
                self.servers.lease().ask()?;
            }
            b"loop\n" => show_again(DOWN)?,
            _ if talk.lease.is_none() && first_line(data).is_some() => {
                let request = self.servers.lease().endpoint("10.0.0.1:7").label("role", "primary").identity(b"me");
                let request = request.share("slow", 3).timeout(Duration::from_millis(250)).client(b"you");
                talk.lease = Some(request.ask()?);
            }
            _ => {}
        }
        Ok(TcpFlow::NeedMore)
    }

    fn on_leased(&self, talk: &mut Talk, lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        match lease {
            Ok(lease) => {
                talk.seen.push(format!("{} {}us {}", lease.endpoint, lease.waited.as_micros(), lease.reused));
                talk.lease = Some(lease.token);
            }
            Err(refused) => {
                talk.seen.push(format!("{:?} {}", refused.reason, refused.text));
                talk.lease = None;
                data.write(DOWN, b"-no\n")?;
                return Ok(if refused.reason == Reason::UnknownCluster { TcpFlow::Close } else { TcpFlow::Continue });
            }
        }
        match first_line(data) {
            Some(1) => return Ok(TcpFlow::Continue),
            Some(length) => data.pass(length)?,
            None => {}
        }
        Ok(TcpFlow::NeedMore)
    }

    fn on_upstream(&self, talk: &mut Talk, data: &mut Data) -> Result<TcpFlow> {
        match data.bytes() {
            b"bad\n" => talk.lease.take().into_iter().for_each(|lease| lease.close("it is bad")),
            b"bye\n" => close()?,
            said if said.ends_with(b"\n") => {
                talk.lease.take().into_iter().for_each(LeaseToken::release);
                show_again(DOWN)?;
            }
            said if said.ends_with(b"+") => {
                talk.lease.take().into_iter().for_each(LeaseToken::release);
                return Ok(TcpFlow::NeedMore);
            }
            said if said.ends_with(b"5") => {
                data.skip(5)?;
                talk.lease.take().into_iter().for_each(LeaseToken::release);
            }
            _ => {}
        }
        Ok(TcpFlow::Continue)
    }

    fn on_close(&self, talk: &mut Talk, side: Side) {
        talk.seen.push(format!("{side:?}"));
        if side == UP {
            talk.lease = None;
            write(DOWN, b"-lost\n").unwrap();
            show_again(DOWN).unwrap();
        }
    }

    fn on_log(&self, talk: &mut Talk, _log: &StreamLog) {
        crate::log::write(crate::abi::Level::Info, &talk.seen.join(", "));
    }
}

fn pool() -> TcpHost<Pool> {
    TcpHost::configure("").unwrap()
}

fn connected() -> (TcpHost<Pool>, u32) {
    let host = pool();
    let (connection, action) = host.connect();
    assert_eq!(action, Action::Continue);
    (host, connection)
}

fn states<F: TcpFilter + crate::TcpPresent>(host: &TcpHost<F>, connection: u32) -> Vec<LeaseState> {
    host.leases(connection).into_iter().map(|lease| lease.state).collect()
}

fn seen(host: &TcpHost<Pool>, connection: u32) -> String {
    host.finish(connection);
    assert_eq!(host.connections(), 0);
    World::with(|world| world.logs.pop().unwrap().1)
}

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
fn everything_held_goes_with_continue() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"\nrest", false);
    host.lend(connection, "10.0.0.1:7");
    assert_eq!(host.connection(connection, |state| state.resumed_sides.clone()), [DOWN]);
    assert_eq!(host.take(DOWN, connection), b"\nrest");
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

#[test]
#[should_panic(expected = "shown again")]
fn the_kit_finds_a_filter_that_looks_at_the_same_bytes_for_ever() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"loop\n", false);
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

/// A byte of length, and so many bytes: whole frames go, and of long ones nobody sees the end.
struct Framed;

#[tcp_filter]
impl TcpFilter for Framed {
    type Config = ();
    type Ctx = Vec<Vec<u8>>;

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_downstream(&self, heads: &mut Vec<Vec<u8>>, data: &mut Data) -> Result<TcpFlow> {
        heads.push(data.bytes().to_vec());
        let mut rest = data.bytes().to_vec();
        while let Some(length) = rest.first().map(|length| usize::from(*length) + 1) {
            if length > rest.len() && length < 100 {
                return Ok(TcpFlow::NeedMore);
            }
            data.pass(length as u64)?;
            rest.drain(..length.min(rest.len()));
        }
        Ok(if data.bytes().ends_with(b"!") { TcpFlow::Continue } else { TcpFlow::NeedMore })
    }

    fn on_log(&self, heads: &mut Vec<Vec<u8>>, _log: &StreamLog) {
        crate::log::write(crate::abi::Level::Info, &format!("{heads:?}"));
    }
}

#[test]
fn whole_frames_pass_and_the_beginning_of_the_next_one_waits() {
    let host = TcpHost::<Framed>::configure("").unwrap();
    let (connection, _) = host.connect();
    let send = |bytes: &[u8]| {
        host.send(DOWN, connection, bytes, false);
        host.take(DOWN, connection)
    };
    assert_eq!(send(b"\x01a\x02b"), b"\x01a");
    assert_eq!(send(b""), b"");
    assert_eq!(send(b"c\x01"), b"\x02bc");
    // 110 bytes, of which 3 are here; the rest passes unseen, in whatever pieces, and with what follows it.
    assert_eq!(send(b"d\x6exy"), b"\x01d\x6exy");
    assert_eq!(send(&[b'x'; 100]), [b'x'; 100]);
    assert_eq!(send(b"12345678\x01e"), b"12345678\x01e");
    // With everything let go, what is missing is missing all the same.
    assert_eq!(send(b"\x6e!"), b"\x6e!");
    assert_eq!(send(&[b'y'; 109]), [b'y'; 109]);
    assert_eq!(send(b"\x00"), b"\x00");
    host.finish(connection);
    let heads = World::with(|world| world.logs.pop().unwrap().1);
    let expected: &[&[u8]] = &[b"\x01a\x02b", b"\x02b", b"\x02bc\x01", b"\x01d\x6exy", b"\x01e", b"\x6e!", b"\x00"];
    assert_eq!(heads, format!("{expected:?}"));
}

#[test]
fn a_host_that_cannot_pass_says_so() {
    let host = TcpHost::<Framed>::configure_in("", |world| world.knows_fyke = false).unwrap();
    let (connection, _) = host.connect();
    host.send(DOWN, connection, b"\x01a", false);
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    assert!(World::with(|world| world.logs.iter().any(|(_, line)| line.contains("fyke.stream.pass.v1"))));
}

/// Lets the first line go, drops the second one, and waits for the end of the third.
struct Drops;

#[tcp_filter]
impl TcpFilter for Drops {
    type Config = ();
    type Ctx = ();

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_downstream(&self, (): &mut (), data: &mut Data) -> Result<TcpFlow> {
        match data.bytes() {
            b"keep\n#drop\nrest" => {
                data.pass(5)?;
                data.discard(6)?;
                assert_eq!(data.bytes(), b"keep\nrest");
                Ok(TcpFlow::NeedMore)
            }
            b"rest#" => {
                data.discard(100)?;
                assert!(data.is_empty());
                Ok(TcpFlow::NeedMore)
            }
            _ => Ok(TcpFlow::Continue),
        }
    }
}

#[test]
fn what_is_dropped_in_front_of_the_rest_goes_nowhere() {
    let host = TcpHost::<Drops>::configure("").unwrap();
    let (connection, _) = host.connect();
    assert_eq!(host.send(DOWN, connection, b"keep\n#drop\nrest", false), Action::Pause);
    assert_eq!(host.take(DOWN, connection), b"keep\n");
    assert_eq!(host.connection(connection, |state| state.bodies[2].clone()), b"rest");
    host.send(DOWN, connection, b"#", false);
    assert_eq!(host.take(DOWN, connection), b"");
    host.send(DOWN, connection, b"on", false);
    assert_eq!(host.take(DOWN, connection), b"on");
}
