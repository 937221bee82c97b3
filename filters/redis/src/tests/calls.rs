//! How much is done in one call of the host, whatever clients and servers say.

mod pooled;

use std::cell::RefCell;

use fyke_sdk::testing::TcpHost;
use fyke_sdk::{
    ConfigError, Conn, Data, Env, LeaseRefused, Leased, Result, Side, StreamLog, TcpCallbacks, TcpFilter, TcpFlow,
    TcpPresent,
};

use super::{POOL, command, metric, total};
use crate::Redis;
use crate::filter::Client;

/// Messages of one call.
const MESSAGES: usize = 512;
/// Bytes that one call looks at, and as many again for the last window.
const BYTES: usize = 128 << 10;

thread_local! {
    /// What each call was shown: from which side, and how many bytes.
    static SHOWN: RefCell<Vec<(Side, usize)>> = const { RefCell::new(Vec::new()) };
}

/// The filter, and what the host shows to it.
struct Watched(Redis);

impl TcpPresent for Watched {
    const CALLBACKS: TcpCallbacks = Redis::CALLBACKS;
}

impl TcpFilter for Watched {
    type Config = crate::Config;
    type Ctx = Client;

    fn configure(config: crate::Config, env: &mut Env) -> Result<Self, ConfigError> {
        SHOWN.take();
        Redis::configure(config, env).map(Self)
    }

    async fn on_connect(&self, client: &mut Client, connection: &mut Conn) -> Result<TcpFlow> {
        self.0.on_connect(client, connection).await
    }

    fn on_downstream(&self, client: &mut Client, data: &mut Data) -> Result<TcpFlow> {
        SHOWN.with_borrow_mut(|shown| shown.push((Side::Downstream, data.len())));
        self.0.on_downstream(client, data)
    }

    fn on_upstream(&self, client: &mut Client, data: &mut Data) -> Result<TcpFlow> {
        SHOWN.with_borrow_mut(|shown| shown.push((Side::Upstream, data.len())));
        self.0.on_upstream(client, data)
    }

    fn on_leased(&self, client: &mut Client, lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        self.0.on_leased(client, lease, data)
    }

    fn on_close(&self, client: &mut Client, side: Side) {
        self.0.on_close(client, side);
    }

    fn on_log(&self, client: &mut Client, log: &StreamLog) {
        self.0.on_log(client, log);
    }
}

fn host(configuration: &str) -> TcpHost<Watched> {
    TcpHost::configure(configuration).unwrap()
}

/// A first command may be longer than those that follow.
const SLACK: usize = 64;

/// The most bytes of a side that one call was done with, of what was shown since the last time; all of them are.
fn most(side: Side) -> usize {
    let mut shown: Vec<usize> =
        SHOWN.take().into_iter().filter(|(of, _)| *of == side).map(|(_, length)| length).collect();
    shown.push(0);
    shown.windows(2).map(|pair| pair[0].saturating_sub(pair[1])).max().unwrap()
}

fn wait(host: &TcpHost<Watched>) {
    for _ in 0..500 {
        host.advance(std::time::Duration::from_millis(1));
    }
}

#[test]
fn commands_that_nobody_answers_are_read_a_part_at_a_time() {
    for ends in [false, true] {
        let host = host("");
        let client = host.connect().0;
        let said = [command("BLPOP x 1"), command("PING").repeat(1023), command("CLIENT REPLY OFF")].concat();
        host.send(Side::Downstream, client, &said, false);
        host.take(Side::Downstream, client);
        assert!(most(Side::Downstream) <= MESSAGES * command("PING").len() + SLACK);
        // All of it is held, and shown at once when there is room.
        let rest = b"a\n".repeat(100_000);
        host.send(Side::Downstream, client, &rest, false);
        SHOWN.take();
        host.send(Side::Upstream, client, b"*-1\r\n", false);
        if ends {
            host.send(Side::Downstream, client, b"", true);
        }
        wait(&host);
        assert!(most(Side::Downstream) <= MESSAGES * 2 + SLACK);
        let gone = host.take(Side::Downstream, client);
        assert_eq!(gone, [command("CLIENT REPLY OFF"), rest].concat());
        assert_eq!(metric("redis_commands_total", &["other", ""]), 100_000);
        assert_eq!(metric("redis_request_bytes_total", &["other", ""]), 200_000);
    }
}

#[test]
fn lines_that_say_nothing_are_passed_a_part_at_a_time() {
    for end in [false, true] {
        let host = host("");
        let client = host.connect().0;
        let said = [b"\n".repeat(60_000), command("GET a")].concat();
        host.send(Side::Downstream, client, &said, end);
        wait(&host);
        assert!(most(Side::Downstream) <= MESSAGES + SLACK);
        assert_eq!(host.take(Side::Downstream, client), said);
        host.send(Side::Upstream, client, b"$-1\r\n", false);
        assert_eq!(metric("redis_reply_time_microseconds", &["get", "", "ok"]), 1);
        assert_eq!(total("redis_request_bytes_total") as usize, command("GET a").len());
    }
}

#[test]
fn replies_and_pushes_are_read_a_part_at_a_time() {
    for end in [false, true] {
        let host = host(r#"{"in_flight":65535}"#);
        let client = host.connect().0;
        host.send(Side::Downstream, client, &b"get a\n".repeat(20_000), false);
        wait(&host);
        assert!(most(Side::Downstream) <= MESSAGES * 6 + SLACK);
        let said = [b"+\r\n".repeat(20_000), b">1\r\n+x\r\n".repeat(10_000)].concat();
        host.send(Side::Upstream, client, &said, end);
        wait(&host);
        assert!(most(Side::Upstream) <= MESSAGES * 8 + SLACK);
        assert_eq!(host.take(Side::Upstream, client), said);
        assert_eq!(metric("redis_reply_time_microseconds", &["get", "", "ok"]), 20_000);
        assert_eq!(metric("redis_pushes_total", &["other"]), 10_000);
        assert_eq!(total("redis_reply_bytes_total") + total("redis_push_bytes_total"), said.len() as i64);
    }
}

#[test]
fn arguments_without_end_are_read_a_part_at_a_time() {
    reads_arguments(false);
}

/// A command of very many empty arguments, which is held meanwhile.
fn reads_arguments(pool: bool) {
    let host = host(if pool { POOL } else { r#"{"in_flight":1}"# });
    let client = host.connect().0;
    let first = command("BLPOP x 1");
    host.send(Side::Downstream, client, &first, false);
    if pool {
        host.lend(client, "10.0.0.1:6379");
        host.send(Side::Downstream, client, &b"\n".repeat(128), false);
    }
    let large = [b"*100000\r\n$3\r\nDEL\r\n".to_vec(), b"$0\r\n\r\n".repeat(99_999)].concat();
    host.send(Side::Downstream, client, &large, false);
    SHOWN.take();
    host.send(Side::Upstream, client, b"*-1\r\n", false);
    assert_eq!(host.take(Side::Upstream, client), b"*-1\r\n");
    if pool {
        // It goes before all of it was seen.
        host.lend(client, "10.0.0.1:6379");
    }
    let calls = SHOWN.take().len();
    assert!(calls > large.len() / BYTES, "{calls}");
    assert_eq!(host.take(Side::Downstream, client), [first, large.clone()].concat());
    host.send(Side::Upstream, client, b":0\r\n", false);
    assert_eq!(metric("redis_request_bytes_total", &["del", ""]) as usize, large.len());
    assert_eq!(metric("redis_reply_time_microseconds", &["del", "", "ok"]), 1);
}

#[test]
fn hosts_that_let_go_of_all_or_nothing_are_let_have_it() {
    let host = TcpHost::<Watched>::configure_in("", |world| world.knows_fyke = false).unwrap();
    let client = host.connect().0;
    let said = b"client reply off\n".iter().chain(b"get a\n".repeat(2000).iter()).copied().collect::<Vec<u8>>();
    host.send(Side::Downstream, client, &said, false);
    assert_eq!(host.take(Side::Downstream, client), said);
    assert!(SHOWN.take().len() == 1 && host.connection(client, |state| state.closed_sides.is_empty()));
}
