//! New connections, made fit to be lent; keys.

use std::future::Future;
use std::time::Duration;

use super::DOWN;
use crate::abi::Action;
use crate::crypto::{Hash, pbkdf2};
use crate::testing::{TcpHost, Verdict, World};
use crate::{
    ConfigError, Conn, Data, Env, Error, LeaseRefused, Leased, Opened, Result, Side, StreamLog, TcpFilter, TcpFlow,
    sleep, tcp_filter,
};

const UP: Side = Side::Upstream;

/// Greets, and proves that it knows a password.
struct Login;

async fn in_a_helper() -> Result<Vec<u8>> {
    pbkdf2(Hash::Sha1, b"password", b"salt", 2).await
}

#[tcp_filter]
impl TcpFilter for Login {
    type Config = ();
    type Ctx = u32;

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        env.every(Duration::from_secs(3600), || async {
            crate::log::write(crate::abi::Level::Info, &format!("task {:02x?}", in_a_helper().await?));
            Ok(())
        });
        Ok(Self)
    }

    async fn on_connect(&self, _times: &mut u32, _connection: &mut Conn) -> Result<TcpFlow> {
        let key = pbkdf2(Hash::Sha256, b"passwd", b"salt", 1).await?;
        Ok(if key.starts_with(b"\x55\xac\x04\x6e") { TcpFlow::Continue } else { TcpFlow::Close })
    }

    fn on_leased(&self, _times: &mut u32, _lease: Result<Leased, LeaseRefused>, _data: &mut Data) -> Result<TcpFlow> {
        Ok(TcpFlow::Continue)
    }

    async fn on_opened(&self, times: &mut u32, upstream: &mut Opened) -> Result<()> {
        *times += 1;
        if *times > 1 {
            return Err(Error::new("a context is used twice"));
        }
        if upstream.share() == "greedy" {
            return upstream.read(usize::MAX).await.map(drop);
        }
        if upstream.share() == "slow" {
            sleep(Duration::from_secs(1)).await;
            return Ok(());
        }
        let said = format!("{} {} {:?}", upstream.cluster(), upstream.endpoint(), upstream.share());
        let greeting = upstream.read_until(b"\r\n").await?;
        upstream.write(format!("{} {said}\n", String::from_utf8(upstream.identity().to_vec())?))?;
        let salt = greeting.strip_suffix(b"\r\n").unwrap_or_default();
        let key = pbkdf2(Hash::Sha256, b"password", salt, 2).await?;
        upstream.write(key)?;
        match upstream.read(2).await?.as_slice() {
            b"OK" => Ok(()),
            other => Err(Error::new(format!("not let in: {}", String::from_utf8_lossy(other)))),
        }
    }

    fn on_log(&self, _times: &mut u32, _log: &StreamLog) {
        crate::log::write(crate::abi::Level::Info, "logged");
    }
}

fn host() -> TcpHost<Login> {
    TcpHost::configure("").unwrap()
}

fn opened(host: &TcpHost<Login>) -> u32 {
    host.open("servers", "10.0.0.1:7", b"me", "")
}

/// What the endpoint says, cut into pieces; the verdict.
fn dialogue(host: &TcpHost<Login>, opened: u32, pieces: &[&[u8]]) -> Option<Verdict> {
    for piece in pieces {
        assert_eq!(host.send(UP, opened, piece, false), Action::Continue);
        host.answer_keys();
    }
    host.verdict(opened)
}

const SAID: &[u8] = b"salt\r\nOK";

/// PBKDF2-HMAC-SHA-256 of "password", "salt", 2 rounds.
const KEY: &[u8] = &[
    0xae, 0x4d, 0x0c, 0x95, 0xaf, 0x6b, 0x46, 0xd3, 0x2d, 0x0a, 0xdf, 0xf9, 0x28, 0xf0, 0x6d, 0xd0, 0x2a, 0x30, 0x3f,
    0x8e, 0xf3, 0xc2, 0x51, 0xdf, 0xd6, 0xe2, 0xd8, 0x5a, 0x95, 0x47, 0x4c, 0x43,
];

#[test]
fn a_handshake_is_the_same_wherever_it_is_cut() {
    for first in 0..=SAID.len() {
        for second in first..=SAID.len() {
            let host = host();
            let opened = opened(&host);
            assert_eq!(host.verdict(opened), None);
            let (head, rest) = SAID.split_at(first);
            let (middle, tail) = rest.split_at(second - first);
            assert_eq!(dialogue(&host, opened, &[head, middle, tail]), Some(Ok(())));
            assert_eq!(host.written(UP, opened), [b"me servers 10.0.0.1:7 \"\"\n", KEY].concat());
            host.finish(opened);
            assert_eq!(host.connections(), 0);
            assert!(World::with(|world| world.logs.is_empty()));
        }
    }
}

#[test]
fn an_endpoint_that_leaves_anywhere_leaves_nothing_behind() {
    for said in 0..SAID.len() {
        let host = host();
        let by_end = opened(&host);
        assert_eq!(dialogue(&host, by_end, &[&SAID[..said]]), None);
        host.send(UP, by_end, b"", true);
        assert!(host.verdict(by_end).unwrap().unwrap_err().contains("has closed"));
        let by_close = opened(&host);
        assert_eq!(dialogue(&host, by_close, &[&SAID[..said]]), None);
        host.close(UP, by_close);
        assert!(host.verdict(by_close).unwrap().is_err());
        // The host gave up, without a word. A key that is still derived finds nobody.
        let given_up = opened(&host);
        host.send(UP, given_up, &SAID[..said], false);
        for context in [by_end, by_close, given_up] {
            host.finish(context);
        }
        host.answer_keys();
        assert_eq!(host.connections(), 0);
    }
}

#[test]
fn an_error_says_why_and_what_comes_after_it_is_nobodys() {
    let host = host();
    let opened = opened(&host);
    assert_eq!(dialogue(&host, opened, &[b"salt\r\nNO, go away"]), Some(Err("not let in: NO".to_owned())));
    assert_eq!(host.send(UP, opened, b"more", true), Action::Continue);
    host.finish(opened);
    assert_eq!(host.connections(), 0);
}

#[test]
fn a_connection_with_something_unread_is_fit_for_nobody() {
    let host = host();
    let unread = opened(&host);
    assert!(
        dialogue(&host, unread, &[b"salt\r\nOKAY"]).unwrap().unwrap_err().contains("more than the handshake has read")
    );
    let flood = opened(&host);
    let verdict = dialogue(&host, flood, &[&vec![b'x'; 1 << 20], b"y"]);
    assert!(verdict.unwrap().unwrap_err().contains("more than the handshake reads"));
    let greedy = host.open("servers", "10.0.0.1:7", b"", "greedy");
    assert!(host.verdict(greedy).unwrap().unwrap_err().contains("at most"));
}

#[test]
fn what_nobody_understands_is_refused() {
    let host = host();
    for event in [&b""[..], b"\x01", b"\x01\0\0\0", b"\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff"] {
        let opened = host.open_with(event);
        assert!(host.verdict(opened).unwrap().is_err());
        host.foreign(opened, 4, event);
        host.finish(opened);
    }
    // The same connection is not opened twice.
    let twice = opened(&host);
    host.foreign(twice, 4, b"");
    assert_eq!(host.verdict(twice), None);
    host.finish(twice);
    assert_eq!(host.connections(), 0);
}

#[test]
fn a_handshake_may_wait_for_time() {
    let host = host();
    let slow = host.open("servers", "10.0.0.1:7", b"", "slow");
    host.advance(Duration::from_millis(999));
    assert_eq!(host.verdict(slow), None);
    host.advance(Duration::from_millis(1));
    assert_eq!(host.verdict(slow), Some(Ok(())));
}

#[test]
fn keys_are_derived_for_connections_and_for_tasks() {
    let host = host();
    let (connection, action) = host.connect();
    assert_eq!(action, Action::Pause);
    host.foreign(connection, 5, b"\x63\0\0\0key of nobody");
    host.answer_keys();
    assert_eq!(host.connection(connection, |state| state.resumed_sides.clone()), [DOWN, UP]);
    host.advance(Duration::from_millis(5));
    host.answer_keys();
    // RFC 6070.
    let expected = "task [ea, 6c, 01, 4d, c7, 2d, 6f, 8c, cd, 1e, d9, 2a, ce, 1d, 41, f0, d8, de, 89, 57]";
    assert_eq!(World::with(|world| world.logs.pop().unwrap().1), expected);
    // No key: it could not be derived.
    let (failed, _) = host.connect();
    let (token, _, _) = World::with(|world| world.keys.pop_front()).unwrap();
    host.foreign(failed, 5, &token.to_le_bytes());
    assert_eq!(host.connection(failed, |state| state.closed_sides.clone()), [DOWN]);
    assert!(World::with(|world| world.logs.iter().any(|(_, line)| line.contains("could not derive"))));
}

/// Derives keys where the attribute does not see it.
struct Hidden;

#[tcp_filter]
impl TcpFilter for Hidden {
    type Config = ();
    type Ctx = ();

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_connect(&self, (): &mut (), _connection: &mut Conn) -> Result<TcpFlow> {
        in_a_helper().await?;
        Ok(TcpFlow::Continue)
    }
}

#[test]
fn a_key_that_nobody_could_hear_of_is_an_error_at_once() {
    let host = TcpHost::<Hidden>::configure("").unwrap();
    let (connection, _) = host.connect();
    assert_eq!(host.connection(connection, |state| state.closed_sides.clone()), [DOWN]);
    assert!(World::with(|world| world.logs.iter().any(|(_, line)| line.contains("tcp_filter(answers)"))));
}

#[test]
fn keys_have_bounds_and_other_hosts_say_so() {
    let ask = |password: &[u8], rounds| {
        let mut future = Box::pin(pbkdf2(Hash::Sha256, password, b"salt", rounds));
        super::super::poll(7, future.as_mut())
    };
    let refused = |said| match said {
        std::task::Poll::Ready(Err(error)) => Error::to_string(&error),
        other => panic!("{other:?}"),
    };
    let _host = host();
    assert!(refused(ask(&[0; 1025], 1)).contains("1 KiB"));
    assert!(refused(ask(b"p", 0)).contains("rounds"));
    assert!(refused(ask(b"p", 10_000_001)).contains("rounds"));
    assert!(ask(b"p", 1).is_pending());
    World::with(|world| world.knows_fyke = false);
    assert!(refused(ask(b"p", 1)).contains("fyke.crypto.pbkdf2.v1"));
    crate::mailbox::heard(true);
    let outside = std::pin::pin!(pbkdf2(Hash::Sha1, b"", b"", 1))
        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(refused(outside).contains("there is none"));
}
