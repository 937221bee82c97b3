//! The host that tests of filters of TCP connections talk to.

use std::time::Duration;

use super::message::{Received, TestResponse};
use super::place::{Place, Ring};
use super::redis::{RedisAnswer, RedisReceived};
use super::services::{GrpcAnswer, GrpcReceived};
use super::test_host::json;
use super::text::Text;
use crate::error::ConfigError;
use crate::tcp::{Side, TcpFilter, TcpPresent};
use crate::testing::native::{self, NativeTcp};
use crate::testing::pipe::{self, Driven};

/// A host with one filter of TCP connections in it, and an upstream behind it.
///
/// ```
/// # use fyke_sdk::{ConfigError, Data, Env, Result, TcpFilter, TcpFlow, tcp_filter};
/// # struct Upper;
/// # #[tcp_filter]
/// # impl TcpFilter for Upper {
/// #     type Config = ();
/// #     type Ctx = ();
/// #     fn configure((): (), _: &mut Env) -> Result<Self, ConfigError> { Ok(Self) }
/// #     fn on_downstream(&self, _: &mut (), data: &mut Data) -> Result<TcpFlow> {
/// #         let upper = data.bytes().to_ascii_uppercase();
/// #         data.replace(upper)?;
/// #         Ok(TcpFlow::Continue)
/// #     }
/// # }
/// use fyke_sdk::testing::TcpTestHost;
///
/// let mut host = TcpTestHost::<Upper>::configure("")?;
/// let connection = host.connect();
/// host.client_sends(&connection, "hello");
/// assert_eq!(host.upstream_got(&connection), "HELLO");
/// host.upstream_sends(&connection, "bye");
/// assert_eq!(host.client_got(&connection), "bye");
/// host.close(connection);
/// # Ok::<(), ConfigError>(())
/// ```
///
/// Rings and time are those of [`TestHost`](super::TestHost), Envoy aside, where connections are not tested.
pub struct TcpTestHost<F: TcpFilter + TcpPresent> {
    place: Place<NativeTcp<F>>,
}

/// A connection of a client.
#[derive(Debug)]
#[must_use = "close it, with host.close(..)"]
pub struct Connection {
    id: u32,
}

/// What came out at each end of a connection so far.
#[derive(Debug, Clone, Default)]
pub(in crate::testing) struct Looked {
    pub client: Vec<u8>,
    pub upstream: Vec<u8>,
    pub open: bool,
}

/// Bytes that came out, for comparing.
#[derive(Clone, PartialEq, Eq)]
pub struct Got(Vec<u8>);

impl Got {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Text::new(&self.0).fmt(f)
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<&T> for Got {
    fn eq(&self, other: &&T) -> bool {
        self.0 == other.as_ref()
    }
}

impl<F: TcpFilter + TcpPresent> TcpTestHost<F> {
    /// A host whose filter has this configuration, in YAML or JSON. Empty: none.
    ///
    /// # Errors
    /// The filter's refusal: the field, and what is wrong with it.
    ///
    /// # Panics
    /// When the configuration is no YAML, and in Envoy.
    #[track_caller]
    pub fn configure(configuration: &str) -> Result<Self, ConfigError> {
        let configuration = json(configuration);
        let place = match pipe::ring() {
            Ring::Native => Place::Native(Box::new(NativeTcp::configure(&configuration)?)),
            Ring::Envoy => panic!("connections are tested natively and in fyke"),
            ring => {
                let clusters = native::tcp_clusters::<F>(&configuration);
                Place::driven(ring, Driven::configure(ring, "tcp", &configuration, &clusters)?)
            }
        };
        Ok(Self { place })
    }

    /// Where this test runs.
    #[must_use]
    pub fn ring(&self) -> Ring {
        self.place.ring()
    }

    /// What a cluster answers to calls of the filter.
    pub fn cluster(&mut self, name: &str, service: impl FnMut(&Received) -> TestResponse + 'static) {
        self.place.services().set_http(name, Box::new(service));
    }

    /// What a cluster answers to gRPC calls of the filter.
    pub fn grpc(&mut self, name: &str, service: impl FnMut(&GrpcReceived) -> GrpcAnswer + 'static) {
        self.place.services().set_grpc(name, Box::new(service));
    }

    /// What the Redis servers of a cluster answer; as [`TestHost::redis`](super::TestHost::redis).
    ///
    /// # Panics
    /// In another ring than the native one.
    #[track_caller]
    pub fn redis<A: Into<RedisAnswer>>(&mut self, cluster: &str, service: impl FnMut(&RedisReceived) -> A + 'static) {
        assert!(self.ring() == Ring::Native, "Redis is faked in the native ring only: ask host.ring()");
        self.place.services().set_redis(cluster, service);
    }

    /// A client connects.
    #[track_caller]
    pub fn connect(&mut self) -> Connection {
        let id = match &mut self.place {
            Place::Native(native) => native.connect(),
            Place::Driven(_, driven) => driven.get_mut().connect(),
        };
        Connection { id }
    }

    /// The client sends, and everything comes to rest.
    #[track_caller]
    pub fn client_sends(&mut self, connection: &Connection, bytes: impl AsRef<[u8]>) {
        self.send(connection, Side::Downstream, bytes.as_ref(), false);
    }

    /// The client ends its half.
    #[track_caller]
    pub fn client_ends(&mut self, connection: &Connection) {
        self.send(connection, Side::Downstream, b"", true);
    }

    /// The upstream sends.
    #[track_caller]
    pub fn upstream_sends(&mut self, connection: &Connection, bytes: impl AsRef<[u8]>) {
        self.send(connection, Side::Upstream, bytes.as_ref(), false);
    }

    /// The upstream ends its half.
    #[track_caller]
    pub fn upstream_ends(&mut self, connection: &Connection) {
        self.send(connection, Side::Upstream, b"", true);
    }

    #[track_caller]
    fn send(&mut self, connection: &Connection, from: Side, bytes: &[u8], end: bool) {
        match &mut self.place {
            Place::Native(native) => native.send(connection.id, from, bytes, end),
            Place::Driven(_, driven) => driven.get_mut().send(connection.id, from, bytes, end),
        }
    }

    fn look(&self, connection: &Connection) -> Looked {
        match &self.place {
            Place::Native(native) => native.look(connection.id),
            Place::Driven(_, driven) => driven.borrow_mut().look(connection.id),
        }
    }

    /// All that the upstream got so far.
    #[must_use]
    pub fn upstream_got(&self, connection: &Connection) -> Got {
        Got(self.look(connection).upstream)
    }

    /// All that the client got so far.
    #[must_use]
    pub fn client_got(&self, connection: &Connection) -> Got {
        Got(self.look(connection).client)
    }

    /// Whether nobody has closed it.
    #[must_use]
    pub fn is_open(&self, connection: &Connection) -> bool {
        self.look(connection).open
    }

    /// Both ends leave.
    #[track_caller]
    pub fn close(&mut self, connection: Connection) {
        match &mut self.place {
            Place::Native(native) => native.close(connection.id),
            Place::Driven(_, driven) => driven.get_mut().cancel(connection.id),
        }
    }

    /// Sends bytes from a client in every sensible way, each on a connection of its own; `check` sees each before it is closed.
    #[track_caller]
    pub fn every_chunking(&mut self, bytes: impl AsRef<[u8]>, mut check: impl FnMut(&mut Self, &Connection)) {
        for pieces in super::chunking::chunkings(bytes.as_ref(), false) {
            let connection = self.connect();
            for piece in pieces {
                self.client_sends(&connection, piece);
            }
            check(self, &connection);
            self.close(connection);
        }
    }

    /// Time passes.
    #[track_caller]
    pub fn advance(&mut self, duration: Duration) {
        self.place.advance(duration);
    }

    /// What a counter counted.
    #[must_use]
    pub fn counter<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> i64 {
        self.place.metric(name, &labels).0
    }

    /// What the filter logged, a line each.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        self.place.logs()
    }
}

impl<F: TcpFilter + TcpPresent> Drop for TcpTestHost<F> {
    fn drop(&mut self) {
        if let (false, Place::Native(native)) = (std::thread::panicking(), &self.place) {
            let open = native.open();
            assert!(open == 0, "{open} connections are still open: one was not closed, or the filter leaks them");
            let waiting = crate::redis::held_by_streams();
            assert!(
                waiting == 0,
                "{waiting} calls of Redis are still waited for by connections that are gone: the filter leaks them"
            );
        }
    }
}
