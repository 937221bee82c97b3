//! What of the held bytes goes on, is dropped, or is shown again.

use super::{DOWN, closed_by_filter, connected};
use crate::abi::Action;
use crate::testing::{TcpHost, World};
use crate::{ConfigError, Data, Env, Result, StreamLog, TcpFilter, TcpFlow, tcp_filter};

#[test]
fn everything_held_goes_with_continue() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"\nrest", false);
    host.lend(connection, "10.0.0.1:7");
    assert_eq!(host.connection(connection, |state| state.resumed_sides.clone()), [DOWN]);
    assert_eq!(host.take(DOWN, connection), b"\nrest");
}

#[test]
#[should_panic(expected = "shown again")]
fn the_kit_finds_a_filter_that_looks_at_the_same_bytes_for_ever() {
    let (host, connection) = connected();
    host.send(DOWN, connection, b"loop\n", false);
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
