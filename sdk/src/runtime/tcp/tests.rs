//! The rules of the module's essay.

use crate::abi::Action;
use crate::testing::{TcpHost, World};
use crate::{
    Cluster, ConfigError, Conn, Data, Env, HttpRequest, Result, Side, StreamLog, TcpFilter, TcpFlow, tcp_filter,
};

mod handshakes;
mod leases;
mod waiting;

/// Frames of one length byte and a body; the client must say a word first, which a cluster judges.
struct Frames {
    gate: Cluster,
}

#[derive(Default)]
struct Seen(Vec<String>);

#[tcp_filter]
impl TcpFilter for Frames {
    type Config = ();
    type Ctx = Seen;

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { gate: env.cluster("gate")? })
    }

    async fn on_connect(&self, cx: &mut Seen, connection: &mut Conn) -> Result<TcpFlow> {
        cx.0.push("connect".to_owned());
        let answer = self.gate.call(HttpRequest::get("/may").header("x-from", connection.source_address())).await?;
        Ok(if answer.status() == 200 { TcpFlow::Continue } else { TcpFlow::Close })
    }

    fn on_downstream(&self, cx: &mut Seen, data: &mut Data) -> Result<TcpFlow> {
        cx.0.push(format!("{:?}{}", data.bytes(), if data.end_of_stream() { "." } else { "" }));
        let Some(length) = data.read(0, 1).first().copied() else { return Ok(TcpFlow::Continue) };
        match length {
            0xee => return Err(crate::Error::new("bad frame")),
            0xcc => return Ok(TcpFlow::Close),
            0xaa => {
                data.write(Side::Downstream, b"pong")?;
                data.replace(b"")?;
            }
            // The body need not be seen.
            long if long >= 100 => data.skip(u64::from(long).saturating_sub(data.len() as u64 - 1))?,
            short if data.len() <= usize::from(short) => return Ok(TcpFlow::NeedMore),
            _ => {}
        }
        Ok(TcpFlow::Continue)
    }

    fn on_close(&self, cx: &mut Seen, side: Side) {
        cx.0.push(format!("{side:?}"));
    }

    fn on_log(&self, cx: &mut Seen, _log: &StreamLog) {
        crate::log::write(crate::abi::Level::Info, &cx.0.join(" "));
    }
}

const DOWN: Side = Side::Downstream;
const OK: &[(&str, &str)] = &[(":status", "200")];

fn frames() -> TcpHost<Frames> {
    TcpHost::configure("").unwrap()
}

fn through(host: &TcpHost<Frames>) -> u32 {
    let (connection, action) = host.connect();
    assert_eq!(action, Action::Pause);
    let token = World::with(|world| u32::try_from(world.calls.len()).unwrap());
    host.answer(token, OK, b"");
    connection
}

fn log(host: &TcpHost<Frames>, connection: u32) -> String {
    host.finish(connection);
    assert_eq!(host.connections(), 0);
    World::with(|world| world.logs.pop().unwrap().1)
}

fn closed(host: &TcpHost<Frames>, connection: u32) -> Vec<Side> {
    closed_by_filter(host, connection)
}

fn closed_by_filter<F: TcpFilter + crate::TcpPresent>(host: &TcpHost<F>, connection: u32) -> Vec<Side> {
    host.connection(connection, |state| state.closed_sides.clone())
}

#[test]
fn what_arrives_while_on_connect_waits_is_shown_afterwards() {
    let host = frames();
    let (connection, action) = host.connect();
    assert_eq!(action, Action::Pause);
    assert_eq!(host.send(DOWN, connection, b"\x01a", false), Action::Pause);
    assert_eq!(host.send(DOWN, connection, b"\x01b", false), Action::Pause);
    host.answer(1, OK, b"");
    assert_eq!(host.connection(connection, |state| state.resumed_sides.clone()), [DOWN, Side::Upstream]);
    host.close(DOWN, connection);
    assert_eq!(log(&host, connection), "connect [1, 97, 1, 98] Downstream");
}

#[test]
fn needing_more_shows_everything_again_and_an_end_lets_it_go() {
    let host = frames();
    let connection = through(&host);
    assert_eq!(host.send(DOWN, connection, b"\x02", false), Action::Pause);
    assert_eq!(host.send(DOWN, connection, b"a", false), Action::Pause);
    assert_eq!(host.send(DOWN, connection, b"b", false), Action::Continue);
    assert_eq!(host.take(DOWN, connection), b"\x02ab");
    assert_eq!(host.send(DOWN, connection, b"\x05a", true), Action::Continue);
    assert_eq!(log(&host, connection), "connect [2] [2, 97] [2, 97, 98] [5, 97].");
}

#[test]
fn skipped_bytes_are_not_shown_on_a_host_that_cannot_skip() {
    let host = TcpHost::<Frames>::configure_in("", |world| world.knows_fyke = false).unwrap();
    let connection = through(&host);
    let send = |bytes: &[u8]| {
        assert_eq!(host.send(DOWN, connection, bytes, false), Action::Continue);
        host.take(DOWN, connection);
    };
    send(b"\x64abcd");
    send(&[b'x'; 95]);
    send(b"y\x01z");
    // The frame after a skip may come in pieces as well.
    assert_eq!(host.send(DOWN, connection, b"\x02", false), Action::Pause);
    assert_eq!(host.send(DOWN, connection, b"pq", false), Action::Continue);
    assert_eq!(log(&host, connection), "connect [100, 97, 98, 99, 100] [1, 122] [2] [2, 112, 113]");
}

#[test]
fn a_filter_closes_and_after_that_sees_nothing() {
    for (bytes, word) in [(b"\xcc", false), (b"\xee", true)] {
        let host = frames();
        let connection = through(&host);
        assert_eq!(host.send(DOWN, connection, bytes, false), Action::Pause);
        assert_eq!(closed(&host, connection), [DOWN]);
        assert_eq!(World::with(|world| world.logs.iter().any(|(_, line)| line.contains("bad frame"))), word);
        assert_eq!(host.send(DOWN, connection, b"\x01a", false), Action::Pause);
        assert!(log(&host, connection).starts_with("connect ["));
    }
    let host = frames();
    let (connection, _) = host.connect();
    host.answer(1, &[(":status", "403")], b"");
    assert_eq!(closed(&host, connection), [DOWN]);
    assert!(host.connection(connection, |state| state.resumed_sides.is_empty()));
}

#[test]
fn a_filter_answers_by_itself() {
    let host = frames();
    let connection = through(&host);
    assert_eq!(host.send(DOWN, connection, b"\xaa", false), Action::Continue);
    assert_eq!(host.take(DOWN, connection), b"");
    assert_eq!(host.connection(connection, |state| state.written[0].clone()), b"pong");
}

#[test]
fn a_client_that_leaves_while_on_connect_waits_cancels_it_and_keeps_the_state() {
    let host = frames();
    let (connection, _) = host.connect();
    host.close(DOWN, connection);
    host.answer(1, OK, b"");
    assert!(host.connection(connection, |state| state.resumed_sides.is_empty()));
    assert_eq!(log(&host, connection), "connect Downstream");
}
