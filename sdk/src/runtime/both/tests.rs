//! One instance, with streams and connections in it.

use super::*;
use crate::abi::Level;
use crate::testing::World;
use crate::{
    Cluster, ConfigError, Conn, Data, Env, Flow, HttpRequest, LeaseRefused, Leased, Opened, Reply, Request, Result,
    StreamLog, TcpFlow, http_filter, tcp_filter,
};

/// Says of everything that comes what it is; connections ask first.
struct Both {
    word: String,
    gate: Cluster,
}

#[http_filter(with_tcp)]
impl HttpFilter for Both {
    type Config = String;
    type Ctx = u32;

    fn configure(word: String, env: &mut Env) -> Result<Self, ConfigError> {
        if word == "bad" {
            return Err(ConfigError::new("bad"));
        }
        Ok(Self { word, gate: env.cluster("gate")? })
    }

    async fn on_request(&self, cx: &mut u32, _request: &mut Request) -> Result<Flow> {
        *cx += 1;
        Ok(Reply::new(200).into())
    }

    fn on_log(&self, cx: &mut u32, _log: &StreamLog) {
        crate::log::write(Level::Info, &format!("{} stream {cx}", self.word));
    }
}

#[tcp_filter(with_http)]
impl TcpFilter for Both {
    type Config = String;
    type Ctx = usize;

    fn configure(word: String, env: &mut Env) -> Result<Self, ConfigError> {
        <Self as HttpFilter>::configure(word, env)
    }

    async fn on_connect(&self, _cx: &mut usize, _connection: &mut Conn) -> Result<TcpFlow> {
        let answer = self.gate.call(HttpRequest::get("/")).await?;
        Ok(if answer.status() == 200 { TcpFlow::Continue } else { TcpFlow::Close })
    }

    fn on_downstream(&self, cx: &mut usize, data: &mut Data) -> Result<TcpFlow> {
        *cx += data.len();
        Ok(TcpFlow::Continue)
    }

    fn on_log(&self, cx: &mut usize, _log: &StreamLog) {
        crate::log::write(Level::Info, &format!("{} connection {cx}", self.word));
    }
}

fn configure(runtime: &BothRuntime<Both>, word: &str) -> bool {
    let configuration = format!("\"{word}\"");
    World::with(|world| world.configuration = configuration.clone().into_bytes());
    runtime.on_configure(1, configuration.len())
}

fn open<F: HttpFilter + Present + TcpFilter + TcpPresent>(runtime: &BothRuntime<F>, context: u32) {
    World::with(|world| {
        world.stream_mut(context);
        world.effective = context;
    });
    runtime.on_context_create(context, 1);
}

fn end(runtime: &BothRuntime<Both>, context: u32) -> String {
    runtime.on_log(context);
    runtime.on_delete(context);
    World::with(|world| world.logs.pop().unwrap().1)
}

#[test]
fn streams_and_connections_of_one_instance_are_kept_apart() {
    World::reset();
    let runtime = BothRuntime::<Both>::new();
    runtime.on_context_create(1, 0);
    assert!(configure(&runtime, "old"));
    // Both exist before the host says which is which.
    open(&runtime, 2);
    open(&runtime, 3);
    assert_eq!(runtime.on_new_connection(3), Action::Pause);
    // What is refused leaves both kinds as they were; what is accepted is for both.
    assert!(!configure(&runtime, "bad"));
    open(&runtime, 4);
    assert!(configure(&runtime, "new"));
    open(&runtime, 5);
    assert_eq!(runtime.on_new_connection(5), Action::Pause);

    World::with(|world| world.effective = 2);
    assert_eq!(runtime.on_headers(abi::Side::Request, 2, true), Action::Pause);
    for token in [1, 2] {
        crate::testing::answer(&runtime, token, &[(":status", "200")], b"");
    }
    for context in [3, 5] {
        World::with(|world| {
            world.effective = context;
            assert_eq!(world.stream_mut(context).resumed_sides, [Side::Downstream, Side::Upstream]);
            world.stream_mut(context).bodies[2] = b"hello".to_vec();
        });
        assert_eq!(runtime.on_data(Side::Downstream, context, 5, false), Action::Continue);
    }
    assert_eq!(end(&runtime, 2), "old stream 1");
    assert_eq!(end(&runtime, 3), "old connection 5");
    assert_eq!(end(&runtime, 4), "old stream 0");
    assert_eq!(end(&runtime, 5), "new connection 5");
    assert_eq!((runtime.http.streams(), runtime.tcp.connections()), (0, 0));
}

#[test]
fn a_root_that_is_gone_has_neither() {
    World::reset();
    let runtime = BothRuntime::<Both>::new();
    runtime.on_context_create(1, 0);
    assert!(configure(&runtime, "here"));
    runtime.on_delete(1);
    open(&runtime, 2);
    assert_eq!(runtime.on_new_connection(2), Action::Pause);
    assert_eq!(World::with(|world| world.stream_mut(2).closed_sides.clone()), [Side::Downstream]);
}

/// Streams pass; connections borrow.
struct Borrower(Cluster);

#[http_filter(with_tcp, answers)]
impl HttpFilter for Borrower {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self(env.cluster("servers")?))
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        let key = crate::crypto::pbkdf2(crate::crypto::Hash::Sha1, b"password", b"salt", 1).await?;
        request.set("x-key", format!("{:02x}", key[0]))?;
        Ok(Flow::Continue)
    }
}

#[tcp_filter(with_http)]
impl TcpFilter for Borrower {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        <Self as HttpFilter>::configure((), env)
    }

    async fn on_connect(&self, (): &mut (), connection: &mut Conn) -> Result<TcpFlow> {
        connection.borrows_upstream()?;
        self.0.lease().ask()?;
        Ok(TcpFlow::Continue)
    }

    fn on_leased(&self, (): &mut (), lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        data.write(Side::Upstream, lease?.endpoint)?;
        Ok(TcpFlow::Continue)
    }

    async fn on_opened(&self, (): &mut (), upstream: &mut Opened) -> Result<()> {
        upstream.read(1).await.map(drop)
    }
}

fn say(runtime: &BothRuntime<Borrower>, context: u32, function: u32, arguments: &[u8]) {
    World::with(|world| {
        world.effective = context;
        world.arguments = arguments.to_vec();
    });
    runtime.on_foreign_function(context, function, arguments.len());
}

#[test]
fn what_the_host_says_reaches_the_kind_that_it_is_for() {
    World::reset();
    let runtime = BothRuntime::<Borrower>::new();
    runtime.on_context_create(1, 0);
    assert!(runtime.on_configure(1, 0));
    for context in [2, 3, 4] {
        World::with(|world| {
            world.stream_mut(context).opening = context == 3;
            world.effective = context;
        });
        runtime.on_context_create(context, 1);
    }
    // A connection, a new connection to an endpoint, and a stream.
    World::with(|world| world.effective = 2);
    assert_eq!(runtime.on_new_connection(2), Action::Continue);
    say(&runtime, 3, 4, &[0; 16]);
    World::with(|world| world.effective = 4);
    assert_eq!(runtime.on_headers(abi::Side::Request, 4, true), Action::Pause);
    assert_eq!((runtime.http.streams(), runtime.tcp.connections()), (1, 2));

    say(&runtime, 2, 3, &[&[1, 0, 0, 0][..], &[0; 16], b"here"].concat());
    assert_eq!(World::with(|world| world.stream_mut(2).written[1].clone()), b"here");
    World::with(|world| {
        world.effective = 3;
        world.stream_mut(3).bodies[3] = b"x".to_vec();
    });
    assert_eq!(runtime.on_data(Side::Upstream, 3, 1, false), Action::Continue);
    assert_eq!(World::with(|world| world.stream_mut(3).verdict.clone()), Some(Ok(())));
    assert!(crate::testing::answer_keys(&runtime));
    let key = World::with(|world| world.stream_mut(4).header(abi::MapKind::RequestHeaders, "x-key"));
    assert_eq!(key.unwrap(), "0c");
    for function in [1, 2, 6] {
        say(&runtime, 4, function, b"");
    }
    for context in [2, 3, 4] {
        runtime.on_delete(context);
    }
    assert_eq!((runtime.http.streams(), runtime.tcp.connections()), (0, 0));
}

/// Streams and connections ask the same server.
struct Asks(crate::Redis);

#[http_filter(with_tcp)]
impl HttpFilter for Asks {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self(env.redis("cache")?))
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        let said = self.0.call(&["PING"]).await?;
        request.set("x-said", said.as_str().unwrap_or_default())?;
        Ok(Flow::Continue)
    }
}

#[tcp_filter(with_http)]
impl TcpFilter for Asks {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        <Self as HttpFilter>::configure((), env)
    }

    async fn on_connect(&self, (): &mut (), _connection: &mut Conn) -> Result<TcpFlow> {
        let said = self.0.call(&["PING"]).await?;
        Ok(if said.as_str() == Some("PONG") { TcpFlow::Continue } else { TcpFlow::Close })
    }
}

#[test]
fn replies_of_redis_come_to_whoever_asked() {
    World::reset();
    let runtime = BothRuntime::<Asks>::new();
    runtime.on_context_create(1, 0);
    World::with(|world| world.configuration = b"null".to_vec());
    assert!(runtime.on_configure(1, 4));
    open(&runtime, 2);
    open(&runtime, 3);
    assert_eq!(runtime.on_new_connection(3), Action::Pause);
    World::with(|world| world.effective = 2);
    assert_eq!(runtime.on_headers(abi::Side::Request, 2, true), Action::Pause);
    // The connection was first to ask. An answer that nobody waits for, one with nothing in it, and one twice, are nobody's.
    for (context, token) in [(2, 2_u32), (3, 7), (3, 1), (3, 1)] {
        let event = [&token.to_le_bytes()[..], &[0; 4], b"+PONG\r\n"].concat();
        World::with(|world| {
            world.effective = context;
            world.arguments = event.clone();
        });
        runtime.on_foreign_function(context, 6, event.len());
        runtime.on_foreign_function(context, 6, 0);
    }
    let header = World::with(|world| world.stream_mut(2).header(abi::MapKind::RequestHeaders, "x-said"));
    assert_eq!(header.as_deref(), Some("PONG"));
    assert_eq!(World::with(|world| world.stream_mut(3).resumed_sides.clone()), [Side::Downstream, Side::Upstream]);
    for context in [2, 3] {
        runtime.on_delete(context);
    }
    assert_eq!((runtime.http.streams(), runtime.tcp.connections()), (0, 0));
}
