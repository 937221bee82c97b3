//! A new connection to an endpoint, in the hands of the filter that makes it fit to be lent.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::abi::Fields;
use crate::error::{Error, Result};
use crate::tcp::{Side, current};

/// What the endpoint may say before somebody reads it.
const MOST_UNREAD: usize = 1 << 20;

/// A new connection to an endpoint; see [`TcpFilter::on_opened`](crate::TcpFilter::on_opened).
///
/// ```
/// use fyke_sdk::{Error, Opened, Result};
///
/// /// Logs in, in a protocol of lines.
/// async fn log_in(upstream: &mut Opened) -> Result<()> {
///     let greeting = upstream.read_until(b"\n").await?;
///     if !greeting.starts_with(b"HELLO") {
///         return Err(Error::new("the endpoint does not greet"));
///     }
///     upstream.write([b"USER ", upstream.identity(), b"\n"].concat())?;
///     match upstream.read_until(b"\n").await?.as_slice() {
///         b"OK\n" => Ok(()),
///         _ => Err(Error::new("the endpoint does not let us in")),
///     }
/// }
/// ```
pub struct Opened {
    cluster: String,
    endpoint: String,
    identity: Vec<u8>,
    share: String,
    inbox: Rc<Inbox>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("cluster", &self.cluster)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Opened {
    /// What the host says of it.
    pub(crate) fn of_event(arguments: &[u8], inbox: Rc<Inbox>) -> Option<Self> {
        let mut fields = Fields::new(arguments);
        let (cluster, endpoint) = (fields.text()?, fields.text()?);
        let (identity, share) = (fields.bytes()?.to_vec(), fields.text()?);
        Some(Self { cluster, endpoint, identity, share, inbox })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The endpoint's address: `10.0.0.1:27017`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// As whom the connection is to be logged in: what [`LeaseRequest::identity`](crate::LeaseRequest::identity) said.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// The part of the connections to which it will belong; empty: the usual one.
    #[must_use]
    pub fn share(&self) -> &str {
        &self.share
    }

    /// Says something to the endpoint.
    ///
    /// # Errors
    /// When the host cannot.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        current::write_to(Side::Upstream, bytes.as_ref())
    }

    /// The next `count` bytes that the endpoint says; waits for them.
    ///
    /// # Errors
    /// When the endpoint closes the connection before, when it says more than 1 MiB that nobody has read, and for more than that at once.
    pub async fn read(&mut self, count: usize) -> Result<Vec<u8>> {
        if count > MOST_UNREAD {
            return Err(Error::new(format!("a handshake reads at most {MOST_UNREAD} bytes at once, not {count}")));
        }
        poll_fn(|cx| self.inbox.poll(cx, |bytes| (bytes.len() >= count).then_some(count))).await
    }

    /// What the endpoint says up to `end` and with it, `b"\r\n"` for example; waits for it.
    ///
    /// # Errors
    /// As [`read`](Opened::read).
    pub async fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        // Nothing is looked at twice, whatever comes in whichever pieces.
        let mut seen = 0;
        poll_fn(|cx| {
            self.inbox.poll(cx, |bytes| {
                let from = bytes.get(seen..).unwrap_or_default();
                if end.is_empty() {
                    return Some(0);
                }
                let at = from.windows(end.len()).position(|window| window == end);
                let found = at.map(|at| seen + at + end.len());
                seen = (bytes.len() + 1).saturating_sub(end.len());
                found
            })
        })
        .await
    }
}

/// What an endpoint has said.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: RefCell<Vec<u8>>,
    over: Cell<Option<&'static str>>,
    waker: RefCell<Option<Waker>>,
}

impl Inbox {
    /// More of it.
    pub fn push(&self, more: &[u8]) {
        if self.over.get().is_some() {
            return;
        }
        let mut bytes = self.bytes.borrow_mut();
        if bytes.len().saturating_add(more.len()) > MOST_UNREAD {
            *bytes = Vec::new();
            drop(bytes);
            return self.end("the endpoint says more than the handshake reads");
        }
        bytes.extend_from_slice(more);
        drop(bytes);
        self.wake();
    }

    /// Nothing more comes, and why.
    pub fn end(&self, why: &'static str) {
        if self.over.get().is_none() {
            self.over.set(Some(why));
        }
        self.wake();
    }

    /// Why nobody could use the connection after a handshake, if so.
    pub fn flaw(&self) -> Option<&'static str> {
        let unread = !self.bytes.borrow().is_empty();
        self.over.get().or(unread.then_some("the endpoint has said more than the handshake has read"))
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Takes as many bytes as `enough` says.
    fn poll(&self, cx: &Context<'_>, enough: impl FnOnce(&[u8]) -> Option<usize>) -> Poll<Result<Vec<u8>>> {
        let mut bytes = self.bytes.borrow_mut();
        if let Some(count) = enough(&bytes) {
            let count = count.min(bytes.len());
            let rest = bytes.split_off(count);
            return Poll::Ready(Ok(std::mem::replace(&mut *bytes, rest)));
        }
        match self.over.get() {
            Some(why) => Poll::Ready(Err(Error::new(why))),
            None => {
                self.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}
