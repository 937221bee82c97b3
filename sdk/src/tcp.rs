//! Filters of TCP connections.

use std::cell::OnceCell;

use serde::de::DeserializeOwned;

use crate::abi::{self, BufferKind, Status};
use crate::env::Env;
use crate::error::{ConfigError, Error, Result};
use crate::log::StreamLog;
use crate::property;

/// A filter of TCP connections. The value is one configuration: immutable, shared by the connections of a worker; what belongs to
/// a connection is in `Ctx`.
///
/// Every method but [`configure`](TcpFilter::configure) has a default, and [`tcp_filter`](crate::tcp_filter) exports only the
/// callbacks of the methods that are there: a direction that no filter looks at passes without a call.
///
/// | When | Method | May wait | Callback |
/// |---|---|---|---|
/// | at load | [`configure`](TcpFilter::configure) | no | `proxy_on_configure` |
/// | a client has connected, no upstream is picked yet | [`on_connect`](TcpFilter::on_connect) | yes | `proxy_on_new_connection` |
/// | bytes of the client | [`on_downstream`](TcpFilter::on_downstream) | no | `proxy_on_downstream_data` |
/// | bytes of the server | [`on_upstream`](TcpFilter::on_upstream) | no | `proxy_on_upstream_data` |
/// | one side is gone | [`on_close`](TcpFilter::on_close) | no | `proxy_on_downstream_connection_close`, `_upstream_` |
/// | connection over | [`on_log`](TcpFilter::on_log) | no | `proxy_on_log` |
///
/// An `Err` is logged and closes the connection, as [`TcpFlow::Close`] does. The instance goes on.
///
/// ```
/// use fyke_sdk::{ConfigError, Counter, Data, Env, Result, TcpFilter, TcpFlow, tcp_filter};
///
/// /// Counts lines, and lets a connection end that sends a line longer than 1 KiB.
/// struct Lines {
///     lines: Counter<0>,
/// }
///
/// #[tcp_filter]
/// impl TcpFilter for Lines {
///     type Config = ();
///     type Ctx = ();
///
///     fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
///         Ok(Self { lines: env.counter("lines_total", [])? })
///     }
///
///     fn on_downstream(&self, (): &mut (), data: &mut Data) -> Result<TcpFlow> {
///         let Some(end) = data.bytes().iter().rposition(|byte| *byte == b'\n') else {
///             return Ok(if data.len() > 1024 { TcpFlow::Close } else { TcpFlow::NeedMore });
///         };
///         let lines = data.bytes().iter().take(end + 1).filter(|byte| **byte == b'\n').count();
///         self.lines.add(u32::try_from(lines)?, []);
///         Ok(TcpFlow::Continue)
///     }
/// }
/// ```
///
/// # Streams and connections
/// A filter that means the same for both is one type, under both attributes. The module calls [`HttpFilter::configure`](crate::HttpFilter::configure), and
/// both kinds share the value that it makes; this trait's `configure` is for tests, and has to make the same.
///
/// ```
/// use fyke_sdk::{ConfigError, Conn, Counter, Env, HttpFilter, Result, StreamLog, TcpFilter, TcpFlow, http_filter, tcp_filter};
///
/// struct Count {
///     seen: Counter<1>,
/// }
///
/// #[http_filter(with_tcp)]
/// impl HttpFilter for Count {
///     type Config = ();
///     type Ctx = ();
///
///     fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
///         Ok(Self { seen: env.counter("seen_total", ["kind"])? })
///     }
///
///     fn on_log(&self, (): &mut (), _log: &StreamLog) {
///         self.seen.increment(["stream"]);
///     }
/// }
///
/// #[tcp_filter(with_http)]
/// impl TcpFilter for Count {
///     type Config = ();
///     type Ctx = ();
///
///     fn configure(config: (), env: &mut Env) -> Result<Self, ConfigError> {
///         <Self as HttpFilter>::configure(config, env)
///     }
///
///     async fn on_connect(&self, (): &mut (), _connection: &mut Conn) -> Result<TcpFlow> {
///         self.seen.increment(["connection"]);
///         Ok(TcpFlow::Continue)
///     }
/// }
/// ```
#[expect(async_fn_in_trait, reason = "a filter lives on one thread, so nobody needs the futures to be Send")]
pub trait TcpFilter: Sized + 'static {
    /// The configuration, from JSON. Add `#[serde(deny_unknown_fields)]`, so that a misspelt key is an error. `()` takes none.
    type Config: DeserializeOwned + 'static;
    /// State of one connection; `()` if there is none.
    type Ctx: Default + 'static;

    /// Makes a filter of its configuration; see [`HttpFilter::configure`](crate::HttpFilter::configure).
    ///
    /// # Errors
    /// A [`ConfigError`] refuses the configuration.
    fn configure(config: Self::Config, env: &mut Env) -> Result<Self, ConfigError>;

    /// A client has connected. What it sends while this waits is held, and shown afterwards.
    ///
    /// # Errors
    /// Closes the connection.
    async fn on_connect(&self, cx: &mut Self::Ctx, connection: &mut Conn) -> Result<TcpFlow> {
        let _ = (cx, connection);
        Ok(TcpFlow::Continue)
    }

    /// Bytes of the client: those that are new, after those that [`TcpFlow::NeedMore`] left.
    ///
    /// # Errors
    /// Closes the connection.
    fn on_downstream(&self, cx: &mut Self::Ctx, data: &mut Data) -> Result<TcpFlow> {
        let _ = (cx, data);
        Ok(TcpFlow::Continue)
    }

    /// Bytes of the server; as [`on_downstream`](TcpFilter::on_downstream).
    ///
    /// # Errors
    /// Closes the connection.
    fn on_upstream(&self, cx: &mut Self::Ctx, data: &mut Data) -> Result<TcpFlow> {
        let _ = (cx, data);
        Ok(TcpFlow::Continue)
    }

    /// One side is gone.
    fn on_close(&self, cx: &mut Self::Ctx, side: Side) {
        let _ = (cx, side);
    }

    /// The connection is over. Nothing can be changed any more.
    fn on_log(&self, cx: &mut Self::Ctx, log: &StreamLog) {
        let _ = (cx, log);
    }
}

/// Which of a filter's methods are there. Implemented by [`tcp_filter`](crate::tcp_filter), never by hand.
#[doc(hidden)]
pub trait TcpPresent {
    const CALLBACKS: TcpCallbacks;
}

#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set with names, made by a macro")]
pub struct TcpCallbacks {
    pub on_connect: bool,
    pub on_downstream: bool,
    pub on_upstream: bool,
    pub on_close: bool,
    pub on_log: bool,
    pub tasks: bool,
}

/// What happens to the connection after a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpFlow {
    /// What was shown goes on to the next filter, and in the end to the other side.
    Continue,
    /// What was shown is held until more is here, and is then shown again together with it. The host holds at most its
    /// `limits.buffer` (1 MiB) and makes the sender wait beyond it. At the end of a direction there is no more: what is there goes on.
    NeedMore,
    /// The connection is closed, on both sides; what was shown goes nowhere.
    Close,
}

/// A side of a connection, or the direction that comes from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The server's.
    Upstream,
}

impl Side {
    /// `proxy_stream_type_t`.
    pub(crate) const fn stream(self) -> u32 {
        match self {
            Self::Downstream => 2,
            Self::Upstream => 3,
        }
    }

    const fn buffer(self) -> BufferKind {
        match self {
            Self::Downstream => BufferKind::DownstreamData,
            Self::Upstream => BufferKind::UpstreamData,
        }
    }
}

/// A connection that begins.
#[derive(Debug)]
pub struct Conn {
    _private: (),
}

impl Conn {
    pub(crate) fn new() -> Self {
        Self { _private: () }
    }

    /// The client's address and port; empty when the host does not say.
    #[must_use]
    pub fn source_address(&self) -> String {
        property::text(&["source", "address"]).unwrap_or_default()
    }

    /// A property of the connection, raw; see [`crate::property`] for typed reading.
    #[must_use]
    pub fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        property::read(path)
    }

    /// Sets a property that filters behind this one can read.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn set_property(&mut self, path: &[&str], value: impl AsRef<[u8]>) -> Result<()> {
        property::set(path, value)
    }

    /// Sends the connection to another cluster than the listener's. Fyke only.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn set_cluster(&mut self, cluster: &str) -> Result<()> {
        self.set_property(&["fyke", "cluster"], cluster)
    }
}

/// Bytes of one direction that are here now and were not passed on yet. Untouched, they pass without being copied into the filter.
#[derive(Debug)]
pub struct Data {
    side: Side,
    /// Where they begin in the host's buffer; what is before it is skipped.
    start: usize,
    length: usize,
    end: bool,
    skip: u64,
    bytes: OnceCell<Vec<u8>>,
}

impl Data {
    pub(crate) fn new(side: Side, skipped: usize, size: usize, end: bool) -> Self {
        let start = skipped.min(size);
        Self { side, start, length: size - start, end, skip: 0, bytes: OnceCell::new() }
    }

    pub(crate) fn into_skip(self) -> u64 {
        self.skip
    }

    /// All of them; copied out of the host at the first call.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        self.bytes.get_or_init(|| self.read(0, self.length))
    }

    /// At most `length` of them from `start` on: what it takes to look at a head, and to leave a body where it is.
    #[must_use]
    pub fn read(&self, start: usize, length: usize) -> Vec<u8> {
        let length = length.min(self.length.saturating_sub(start));
        if length == 0 {
            return Vec::new();
        }
        abi::buffer(self.side.buffer(), self.start + start, length).unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none, as at an end that comes alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether this direction ends here.
    #[must_use]
    pub fn end_of_stream(&self) -> bool {
        self.end
    }

    /// Sends other bytes in their place.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn replace(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let bytes = bytes.as_ref();
        self.bytes.take();
        abi::set_buffer(self.side.buffer(), self.start, self.length, bytes)?;
        self.length = bytes.len();
        Ok(())
    }

    /// The next `count` bytes of this direction, after those that are here, pass without being shown. On Fyke without a call;
    /// elsewhere the SDK lets them pass.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn skip(&mut self, count: u64) -> Result<()> {
        let mut arguments = self.side.stream().to_le_bytes().to_vec();
        arguments.extend_from_slice(&count.to_le_bytes());
        match abi::call_foreign_function("fyke.stream.skip.v1", &arguments) {
            Err(Status::NOT_FOUND) => self.skip = self.skip.saturating_add(count),
            other => drop(other?),
        }
        Ok(())
    }

    /// Writes bytes of the filter's own towards a side, behind what has passed and before what is held. Fyke only.
    ///
    /// # Errors
    /// When the host cannot: it is not Fyke, that direction is over, or too much waits already.
    pub fn write(&mut self, to: Side, bytes: impl AsRef<[u8]>) -> Result<()> {
        let mut arguments = to.stream().to_le_bytes().to_vec();
        arguments.extend_from_slice(bytes.as_ref());
        match abi::call_foreign_function("fyke.stream.write.v1", &arguments) {
            Err(Status::NOT_FOUND) => Err(Error::new("this host cannot write to a connection (fyke.stream.write.v1)")),
            other => {
                other?;
                Ok(())
            }
        }
    }
}
