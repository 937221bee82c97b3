//! Filters of TCP connections, and what any of their methods may do: [`write()`], [`show_again`], [`show_now`], [`close`],
//! [`limit_leases`], [`taken_back`].

mod conn;
pub(crate) mod current;
mod data;

use std::time::Duration;

use serde::de::DeserializeOwned;

pub use conn::Conn;
pub use current::{close, limit_leases, show_again, show_now, taken_back, write};
pub use data::Data;
pub(crate) use data::Outcome;

use crate::abi::BufferKind;
use crate::env::Env;
use crate::error::{ConfigError, Result};
use crate::lease::{LeaseRefused, Leased, Opened};
use crate::log::StreamLog;

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
/// | what was asked for is lent, or not (Fyke only) | [`on_leased`](TcpFilter::on_leased) | no | `proxy_on_foreign_function` 3 |
/// | a new connection is to be made fit to be lent (Fyke only) | [`on_opened`](TcpFilter::on_opened) | yes | `proxy_on_foreign_function` 4, `proxy_on_upstream_data` |
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

    /// Charts of the metrics that it defines; see [`HttpFilter::PANELS`](crate::HttpFilter::PANELS), which counts where one type is a
    /// filter of both. Default: none.
    const PANELS: &'static [crate::Panel] = &[];

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

    /// What this connection has asked for ([`LeaseRequest::ask`](crate::LeaseRequest::ask)) is lent, or it is not, and why. `data` is what the host holds of
    /// the client, perhaps nothing: [`TcpFlow::Continue`] lets all of it go, [`TcpFlow::NeedMore`] leaves what [`Data::pass`] has not let go.
    ///
    /// Without this method a connection cannot borrow. More in [`lease`](crate::lease).
    ///
    /// # Errors
    /// Closes the connection; so does the refusal itself, with `let lease = lease?;`.
    fn on_leased(&self, cx: &mut Self::Ctx, lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        let _ = (cx, data);
        lease?;
        Ok(TcpFlow::Continue)
    }

    /// A new connection to an endpoint, before it is lent to anybody: the handshake, within the cluster's `connect_timeout`. It belongs to no client, so
    /// `cx` is a value of its own, dropped afterwards. Without this method connections are fit as they are.
    ///
    /// # Errors
    /// The connection is closed and not lent; whoever waits for one learns the error's text
    /// ([`Reason::Handshake`](crate::lease::Reason::Handshake)). So it is where the endpoint has said more than was read.
    async fn on_opened(&self, cx: &mut Self::Ctx, upstream: &mut Opened) -> Result<()> {
        let _ = (cx, upstream);
        Ok(())
    }

    /// One side is gone. Of a connection that borrows, [`Side::Upstream`] is the connection that was lent: it has ended or broken and the lease is over,
    /// what was on its way is dropped, and the client's connection goes on. That may happen several times. There, a filter without this
    /// method has its connection closed, since its client would wait for an answer that does not come.
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
    pub on_leased: bool,
    pub on_opened: bool,
    pub on_close: bool,
    pub on_log: bool,
    pub tasks: bool,
    /// Whether the module exports `proxy_on_foreign_function`.
    pub answers: bool,
}

/// What happens to the connection after a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpFlow {
    /// What was shown goes on to the next filter, and in the end to the other side.
    Continue,
    /// What was shown is held until more is here, and is then shown again together with it. The host holds at most its
    /// `limits.buffer` (1 MiB) and makes the sender wait beyond it. At the end of a direction there is no more: what is there goes on. Of a client
    /// whose connection borrows, it is held as long as something is lent or asked for, and dropped otherwise.
    NeedMore,
    /// What was shown is held for this long, to the host's millisecond, and is then shown again, with whatever has arrived in the meantime: until then
    /// nothing of its direction is shown, and the other direction goes on. The host's bound is that of [`NeedMore`](TcpFlow::NeedMore). It ends early only with
    /// the connection, or by [`show_now`]; at the end of a direction it lasts as long, and the end is shown again with the bytes. From [`on_leased`](TcpFilter::on_leased) it is about what the
    /// client has said. Where nothing is left to hold, what arrives waits. From [`on_connect`](TcpFilter::on_connect), which can [`sleep`](crate::sleep()), it closes the
    /// connection as it does on hosts other than Fyke, where nothing is shown twice.
    ///
    /// The attribute finds the word `Wait` inside of the `impl`; where it is hidden in a helper, say `#[tcp_filter(tasks)]`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use fyke_sdk::{ConfigError, Data, Env, Result, TcpFilter, TcpFlow, tcp_filter};
    ///
    /// /// Whatever a client says goes on a quarter of a second later.
    /// struct Slow;
    ///
    /// #[tcp_filter]
    /// impl TcpFilter for Slow {
    ///     type Config = ();
    ///     /// Whether what is shown has waited.
    ///     type Ctx = bool;
    ///
    ///     fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
    ///         Ok(Self)
    ///     }
    ///
    ///     fn on_downstream(&self, waited: &mut bool, _data: &mut Data) -> Result<TcpFlow> {
    ///         *waited = !*waited;
    ///         Ok(if *waited { TcpFlow::Wait(Duration::from_millis(250)) } else { TcpFlow::Continue })
    ///     }
    /// }
    /// ```
    Wait(Duration),
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
