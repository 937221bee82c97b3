//! Calls over gRPC: one message for one message, and streams of them.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{DEFAULT_TIMEOUT, milliseconds};
use crate::abi::{self, BufferKind, GrpcTarget, MapKind, Pairs, Status};
use crate::hash::FastHash;
use crate::owner::{self, Owner};

/// A gRPC method of a cluster, from [`Cluster::grpc`](crate::Cluster::grpc).
#[derive(Debug, Clone)]
#[must_use = "a call is sent when its message is"]
pub struct GrpcCall {
    cluster: Rc<str>,
    service: String,
    method: String,
    metadata: Vec<(String, Vec<u8>)>,
    timeout: Duration,
}

impl GrpcCall {
    pub(super) fn new(cluster: Rc<str>, service: String, method: String) -> Self {
        Self { cluster, service, method, metadata: Vec::new(), timeout: DEFAULT_TIMEOUT }
    }

    /// Adds a field of initial metadata. The value of a name that ends in `-bin` is encoded by the host.
    pub fn metadata(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.metadata.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// How long a unary call waits for its answer; a stream has no limit but [`timeout`](crate::timeout). Default: 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A unary call with this message, when awaited.
    #[must_use = "a call is sent when it is awaited"]
    pub fn send(self, message: impl Into<Vec<u8>>) -> PendingGrpc {
        PendingGrpc { state: State::Unsent(self, message.into()) }
    }

    /// Opens a stream of messages in both directions.
    ///
    /// # Errors
    /// [`GrpcError::UnknownCluster`], [`GrpcError::NotStarted`], and [`GrpcError::Cancelled`] outside of a stream and of a task.
    pub fn stream(self) -> Result<GrpcStream, GrpcError> {
        let (token, mailbox) = begin(&self, abi::grpc_stream)?;
        Ok(GrpcStream { token, mailbox })
    }
}

/// Sends it by `start` and opens a mailbox for what comes back.
fn begin(
    call: &GrpcCall,
    start: impl FnOnce(GrpcTarget<'_>) -> Result<u32, Status>,
) -> Result<(u32, Rc<Mailbox>), GrpcError> {
    let owner = owner::current().ok_or(GrpcError::Cancelled)?;
    let metadata = abi::encode_pairs(call.metadata.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())));
    let target =
        GrpcTarget { cluster: &call.cluster, service: &call.service, method: &call.method, metadata: &metadata };
    let token = start(target).map_err(|status| match status {
        Status::PARSE_FAILURE | Status::BAD_ARGUMENT | Status::NOT_FOUND => GrpcError::UnknownCluster,
        _ => GrpcError::NotStarted,
    })?;
    let mailbox = Rc::new(Mailbox {
        owner,
        initial: RefCell::default(),
        messages: RefCell::default(),
        trailing: RefCell::default(),
        end: RefCell::default(),
        waker: RefCell::default(),
    });
    CALLS.with_borrow_mut(|calls| calls.insert(token, mailbox.clone()));
    Ok((token, mailbox))
}

/// The answer to a unary call.
#[derive(Debug, Clone)]
pub struct GrpcResponse {
    message: Vec<u8>,
}

impl GrpcResponse {
    /// The message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The message, to keep.
    #[must_use]
    pub fn into_message(self) -> Vec<u8> {
        self.message
    }
}

/// Why there is no answer, or no further message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrpcError {
    /// The host has no such cluster, or does not grant it to this filter.
    UnknownCluster,
    /// The call could not be started.
    NotStarted,
    /// There is neither a stream nor a task that could wait for the answer.
    Cancelled,
    /// The call is over with a status other than OK: of the server, or of the host (4 when the time was up, 14 when there was no connection).
    Status {
        /// The code, as in gRPC's `google.rpc.Code`.
        code: u32,
        /// What the server or the host says about it; may be empty.
        message: String,
    },
}

impl GrpcError {
    /// The code, where the call got far enough to have one.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl fmt::Display for GrpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCluster => f.write_str("the gRPC call's cluster is unknown or not granted"),
            Self::NotStarted => f.write_str("the gRPC call could not be started"),
            Self::Cancelled => f.write_str("the gRPC call has nobody to wait for it"),
            Self::Status { code, message } if message.is_empty() => write!(f, "gRPC status {code}"),
            Self::Status { code, message } => write!(f, "gRPC status {code}: {message}"),
        }
    }
}

impl std::error::Error for GrpcError {}

/// The future of a unary call. Dropping it cancels the call.
#[derive(Debug)]
pub struct PendingGrpc {
    state: State,
}

#[derive(Debug)]
enum State {
    Unsent(GrpcCall, Vec<u8>),
    Sent(Open),
    Done,
}

/// A call that is under way: cancelled when dropped, unless it is over.
#[derive(Debug)]
struct Open {
    token: u32,
    mailbox: Rc<Mailbox>,
}

impl Drop for Open {
    fn drop(&mut self) {
        forget(self.token);
    }
}

impl Future for PendingGrpc {
    type Output = Result<GrpcResponse, GrpcError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Unsent(call, message) = &self.state {
            let timeout = milliseconds(call.timeout);
            match begin(call, |target| abi::grpc_call(target, message, timeout)) {
                Ok((token, mailbox)) => self.state = State::Sent(Open { token, mailbox }),
                Err(error) => {
                    self.state = State::Done;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let State::Sent(Open { mailbox, token }) = &self.state else {
            return Poll::Ready(Err(GrpcError::Cancelled));
        };
        let answer = match (mailbox.messages.borrow_mut().pop_front(), mailbox.end.borrow().as_ref()) {
            (Some(message), _) => {
                // The message is the end of a unary call: there is nothing to cancel.
                CALLS.with_borrow_mut(|calls| calls.remove(token));
                Ok(GrpcResponse { message })
            }
            (None, Some(end)) => Err(end.as_error()),
            (None, None) => {
                mailbox.waker.replace(Some(cx.waker().clone()));
                return Poll::Pending;
            }
        };
        self.state = State::Done;
        Poll::Ready(answer)
    }
}

/// A stream of messages in both directions. Dropping it cancels the call, unless it is over.
#[derive(Debug)]
pub struct GrpcStream {
    token: u32,
    mailbox: Rc<Mailbox>,
}

impl GrpcStream {
    /// Sends a message. It waits in the host while the server does not read.
    ///
    /// # Errors
    /// When the stream is over, or the host holds too much for it already.
    pub fn send(&mut self, message: impl AsRef<[u8]>) -> Result<(), GrpcError> {
        if let Some(end) = self.mailbox.end.borrow().as_ref() {
            return Err(end.as_error());
        }
        abi::grpc_send(self.token, message.as_ref(), false).map_err(|_| GrpcError::NotStarted)
    }

    /// Nothing more is sent; messages of the server still arrive.
    pub fn finish(&mut self) {
        abi::grpc_close(self.token);
    }

    /// The server's next message; `None` when it ended the stream with status OK. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`GrpcError::Status`] when the stream ended with any other status.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, GrpcError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, GrpcError>> {
        if let Some(message) = self.mailbox.messages.borrow_mut().pop_front() {
            return Poll::Ready(Ok(Some(message)));
        }
        match self.mailbox.end.borrow().as_ref() {
            Some(End { code: 0, .. }) => Poll::Ready(Ok(None)),
            Some(end) => Poll::Ready(Err(end.as_error())),
            None => {
                self.mailbox.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// A field of the server's initial metadata, once the first message is here.
    #[must_use]
    pub fn initial_metadata(&self, name: &str) -> Option<Vec<u8>> {
        self.mailbox.initial.borrow().first(name).map(<[u8]>::to_vec)
    }

    /// A field of the server's trailing metadata, once the stream is over.
    #[must_use]
    pub fn trailing_metadata(&self, name: &str) -> Option<Vec<u8>> {
        self.mailbox.trailing.borrow().first(name).map(<[u8]>::to_vec)
    }
}

impl Drop for GrpcStream {
    fn drop(&mut self) {
        forget(self.token);
    }
}

/// Nobody waits for this call any more; cancels it, unless it is over.
fn forget(token: u32) {
    if CALLS.with_borrow_mut(|calls| calls.remove(&token)).is_some() {
        abi::grpc_cancel(token);
    }
}

/// What came back, until its future looks.
#[derive(Debug)]
struct Mailbox {
    owner: Owner,
    initial: RefCell<Pairs>,
    messages: RefCell<VecDeque<Vec<u8>>>,
    trailing: RefCell<Pairs>,
    end: RefCell<Option<End>>,
    waker: RefCell<Option<Waker>>,
}

impl Mailbox {
    fn wake(&self) -> Owner {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        self.owner
    }
}

#[derive(Debug)]
struct End {
    code: u32,
    message: String,
}

impl End {
    fn as_error(&self) -> GrpcError {
        GrpcError::Status { code: self.code, message: self.message.clone() }
    }
}

thread_local! {
    /// The calls of this instance that are not over, by token.
    static CALLS: RefCell<HashMap<u32, Rc<Mailbox>, FastHash>> = const { RefCell::new(HashMap::with_hasher(FastHash::new())) };
}

fn mailbox(token: u32) -> Option<Rc<Mailbox>> {
    CALLS.with_borrow(|calls| calls.get(&token).cloned())
}

/// What a callback about a call brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub enum Received {
    InitialMetadata,
    Message(usize),
    TrailingMetadata,
}

/// Something of a call is here: whom that wakes. `None` when nobody waits for it.
pub(crate) fn received(token: u32, what: Received) -> Option<Owner> {
    let mailbox = mailbox(token)?;
    match what {
        Received::InitialMetadata => {
            mailbox.initial.replace(abi::header_pairs(MapKind::GrpcInitialMetadata));
            return None;
        }
        Received::TrailingMetadata => {
            mailbox.trailing.replace(abi::header_pairs(MapKind::GrpcTrailingMetadata));
            return None;
        }
        Received::Message(size) => {
            let message =
                if size == 0 { Vec::new() } else { abi::buffer(BufferKind::GrpcMessage, 0, size).unwrap_or_default() };
            mailbox.messages.borrow_mut().push_back(message);
        }
    }
    Some(mailbox.wake())
}

/// A call is over: whom that wakes.
pub(crate) fn closed(token: u32, code: u32) -> Option<Owner> {
    let mailbox = CALLS.with_borrow_mut(|calls| calls.remove(&token))?;
    let message = if code == 0 { String::new() } else { abi::call_status().1 };
    mailbox.end.replace(Some(End { code, message }));
    Some(mailbox.wake())
}
