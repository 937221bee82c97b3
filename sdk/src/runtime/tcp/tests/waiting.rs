//! Bytes that wait for their time.

use std::time::Duration;

use super::*;

const UP: Side = Side::Upstream;
const WHILE: Duration = Duration::from_millis(200);

/// Each byte `w` waits once, in either direction; `c` closes, `!` fails.
struct Slow;

#[derive(Default)]
struct Waited {
    /// Of each direction, how many bytes in front have waited.
    done: [usize; 2],
    shown: Vec<String>,
}

fn look(cx: &mut Waited, side: Side, data: &mut Data) -> Result<TcpFlow> {
    let at = usize::from(side == UP);
    let end = if data.end_of_stream() { "." } else { "" };
    cx.shown.push(format!("{}{}{end}", ["<", ">"][at], String::from_utf8_lossy(data.bytes())));
    if data.bytes().contains(&b'c') {
        return Ok(TcpFlow::Close);
    }
    if data.bytes().iter().skip(cx.done[at]).any(|byte| *byte == b'w') {
        cx.done[at] = data.len();
        return Ok(TcpFlow::Wait(WHILE));
    }
    cx.done[at] = 0;
    Ok(TcpFlow::Continue)
}

#[tcp_filter(tasks)]
impl TcpFilter for Slow {
    type Config = ();
    type Ctx = Waited;

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_downstream(&self, cx: &mut Waited, data: &mut Data) -> Result<TcpFlow> {
        look(cx, DOWN, data)
    }

    fn on_upstream(&self, cx: &mut Waited, data: &mut Data) -> Result<TcpFlow> {
        look(cx, UP, data)
    }

    fn on_log(&self, cx: &mut Waited, _log: &StreamLog) {
        crate::log::write(crate::abi::Level::Info, &cx.shown.join(" "));
    }
}

/// The same, without anybody who tells the time.
struct Deaf;

#[tcp_filter]
impl TcpFilter for Deaf {
    type Config = ();
    type Ctx = Waited;

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_downstream(&self, cx: &mut Waited, data: &mut Data) -> Result<TcpFlow> {
        look(cx, DOWN, data)
    }
}

/// Waits where there is nothing yet.
struct Eager;

#[tcp_filter]
impl TcpFilter for Eager {
    type Config = ();
    type Ctx = ();

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_connect(&self, (): &mut (), _connection: &mut Conn) -> Result<TcpFlow> {
        Ok(TcpFlow::Wait(WHILE))
    }
}

fn slow() -> (TcpHost<Slow>, u32) {
    let host = TcpHost::configure("").unwrap();
    let (connection, action) = host.connect();
    assert_eq!(action, Action::Continue);
    (host, connection)
}

fn shown(host: &TcpHost<Slow>, connection: u32) -> String {
    host.finish(connection);
    assert_eq!(host.connections(), 0);
    World::with(|world| world.logs.pop().unwrap().1)
}

#[test]
fn what_waits_is_shown_again_when_its_time_has_come() {
    let (host, connection) = slow();
    assert_eq!(host.send(DOWN, connection, b"w1", false), Action::Pause);
    host.advance(WHILE - Duration::from_millis(1));
    assert_eq!(host.take(DOWN, connection), b"");
    host.advance(Duration::from_millis(1));
    assert_eq!(host.take(DOWN, connection), b"w1");
    // Nobody waits, so nobody is woken.
    assert_eq!(World::with(|world| world.tick), None);
    assert_eq!(shown(&host, connection), "<w1 <w1");
}

#[test]
fn what_arrives_meanwhile_is_shown_with_it_and_the_other_direction_goes_on() {
    let (host, connection) = slow();
    host.send(DOWN, connection, b"w1", false);
    assert_eq!(host.send(DOWN, connection, b"23", false), Action::Pause);
    assert_eq!(host.send(UP, connection, b"up", false), Action::Continue);
    host.advance(WHILE);
    assert_eq!((host.take(DOWN, connection), host.take(UP, connection)), (b"w123".to_vec(), b"up".to_vec()));
    assert_eq!(shown(&host, connection), "<w1 >up <w123");
}

#[test]
fn each_direction_has_its_own_time() {
    let (host, connection) = slow();
    host.send(DOWN, connection, b"w", false);
    host.advance(WHILE / 2);
    host.send(UP, connection, b"w", false);
    host.advance(WHILE / 2);
    assert_eq!((host.take(DOWN, connection), host.take(UP, connection)), (b"w".to_vec(), Vec::new()));
    host.advance(WHILE / 2);
    assert_eq!(host.take(UP, connection), b"w");
    assert_eq!(shown(&host, connection), "<w >w <w >w");
}

#[test]
fn it_may_wait_again() {
    let (host, connection) = slow();
    host.send(DOWN, connection, b"w1", false);
    host.send(DOWN, connection, b"w2", false);
    host.advance(WHILE);
    assert_eq!(host.take(DOWN, connection), b"");
    host.advance(WHILE);
    assert_eq!(host.take(DOWN, connection), b"w1w2");
    assert_eq!(shown(&host, connection), "<w1 <w1w2 <w1w2");
}

#[test]
fn an_end_waits_with_what_is_before_it() {
    for ends_later in [false, true] {
        let (host, connection) = slow();
        assert_eq!(host.send(DOWN, connection, b"w", !ends_later), Action::Pause);
        if ends_later {
            assert_eq!(host.send(DOWN, connection, b"", true), Action::Pause);
        }
        host.advance(WHILE);
        assert_eq!(host.take(DOWN, connection), b"w");
        assert_eq!(shown(&host, connection), if ends_later { "<w <w." } else { "<w. <w." });
    }
}

#[test]
fn nobody_is_woken_for_a_connection_that_is_gone() {
    for closes in [true, false] {
        let (host, connection) = slow();
        host.send(DOWN, connection, b"w", false);
        if closes {
            host.close(DOWN, connection);
            host.advance(WHILE);
            assert_eq!(shown(&host, connection), "<w");
        } else {
            host.finish(connection);
            host.advance(WHILE);
        }
        assert_eq!(World::with(|world| world.tick), None);
    }
}

#[test]
fn after_a_close_nothing_is_shown() {
    let (host, connection) = slow();
    host.send(UP, connection, b"w", false);
    host.send(DOWN, connection, b"c", false);
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    host.advance(WHILE);
    assert_eq!(shown(&host, connection), ">w <c");
}

#[test]
fn a_thousand_connections_wait_each_for_itself() {
    let host = TcpHost::<Slow>::configure("").unwrap();
    let connections: Vec<u32> = (0..1000)
        .map(|_| {
            let (connection, _) = host.connect();
            host.send(DOWN, connection, b"w", false);
            host.advance(Duration::from_millis(1));
            connection
        })
        .collect();
    let waiting = || connections.iter().filter(|one| host.take(DOWN, **one).is_empty()).count();
    // The last 199 of them: one was due just now.
    assert_eq!(waiting(), 199);
    host.advance(WHILE);
    assert_eq!(World::with(|world| world.tick), None);
}

#[test]
fn a_filter_that_hears_no_clock_closes_and_says_why() {
    let host = TcpHost::<Deaf>::configure("").unwrap();
    let (connection, _) = host.connect();
    host.send(DOWN, connection, b"w", false);
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    let log = World::with(|world| world.logs.pop().unwrap().1);
    assert!(log.contains("#[tcp_filter(tasks)]"), "{log}");
}

#[test]
fn a_host_that_shows_nothing_twice_closes_the_connection() {
    let (host, connection) = slow();
    World::with(|world| world.knows_fyke = false);
    host.send(DOWN, connection, b"w", false);
    host.advance(WHILE);
    assert_eq!(closed_by_filter(&host, connection), [DOWN]);
    let log = World::with(|world| world.logs.pop().unwrap().1);
    assert!(log.contains("fyke.stream.show.v1"), "{log}");
}

#[test]
fn on_connect_has_nothing_to_show_again() {
    let host = TcpHost::<Eager>::configure("").unwrap();
    let (connection, action) = host.connect();
    assert_eq!((action, closed_by_filter(&host, connection)), (Action::Pause, vec![DOWN]));
}
