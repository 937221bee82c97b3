//! Calls over HTTP.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{CallError, DEFAULT_TIMEOUT, milliseconds};
use crate::abi::{self, BufferKind, MapKind, Pairs, Status};
use crate::hash::FastHash;
use crate::mailbox::Mailbox;
use crate::owner::{self, Owner};

/// A request to a cluster.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    headers: Vec<(String, Vec<u8>)>,
    authority: Option<String>,
    body: Vec<u8>,
}

impl HttpRequest {
    /// A request with this method and path.
    #[must_use]
    pub fn new(method: &str, path: impl AsRef<str>) -> Self {
        let headers = vec![(":method".to_owned(), method.into()), (":path".to_owned(), path.as_ref().into())];
        Self { headers, authority: None, body: Vec::new() }
    }

    /// GET.
    #[must_use]
    pub fn get(path: impl AsRef<str>) -> Self {
        Self::new("GET", path)
    }

    /// POST.
    #[must_use]
    pub fn post(path: impl AsRef<str>) -> Self {
        Self::new("POST", path)
    }

    /// Sets `:authority`. Default: the cluster's name.
    #[must_use]
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }
}

/// The answer to a call.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    headers: Pairs,
    body: Vec<u8>,
}

impl HttpResponse {
    /// The status; zero when the answer has none. Some hosts report a timeout as 504 and a failed connection as 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.header(":status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()).unwrap_or(0)
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.first(name)
    }

    /// Every header, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A call that was not sent yet: `.await` sends it and waits.
#[derive(Debug)]
#[must_use = "a call is sent when it is awaited"]
pub struct HttpCall {
    cluster: Rc<str>,
    request: HttpRequest,
    timeout: Duration,
}

impl HttpCall {
    pub(super) fn new(cluster: Rc<str>, request: HttpRequest) -> Self {
        Self { cluster, request, timeout: DEFAULT_TIMEOUT }
    }

    /// How long to wait for the answer. Default: 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl IntoFuture for HttpCall {
    type Output = Result<HttpResponse, CallError>;
    type IntoFuture = PendingCall;

    fn into_future(self) -> PendingCall {
        PendingCall { state: State::Unsent(self) }
    }
}

/// The future of an [`HttpCall`]. Dropping it forgets the answer.
#[derive(Debug)]
pub struct PendingCall {
    state: State,
}

#[derive(Debug)]
enum State {
    Unsent(HttpCall),
    Sent { token: u32, mailbox: Rc<Mailbox<Answer>> },
    Done,
}

impl Future for PendingCall {
    type Output = Result<HttpResponse, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Unsent(call) = &self.state {
            match dispatch(call) {
                Ok((token, mailbox)) => self.state = State::Sent { token, mailbox },
                Err(error) => {
                    self.state = State::Done;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let State::Sent { mailbox, .. } = &self.state else {
            return Poll::Ready(Err(CallError::Cancelled));
        };
        let answer = ready!(mailbox.poll(cx));
        self.state = State::Done;
        Poll::Ready(answer)
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let State::Sent { token, .. } = self.state {
            CALLS.with_borrow_mut(|calls| calls.remove(&token));
        }
    }
}

type Answer = Result<HttpResponse, CallError>;

/// A call that was sent.
struct Sent {
    /// On the monotonic clock.
    deadline: u64,
    mailbox: Rc<Mailbox<Answer>>,
}

thread_local! {
    /// The calls of this instance, by token. One thread, one instance: what would be a global registry elsewhere is the guest's own
    /// memory here.
    static CALLS: RefCell<HashMap<u32, Sent, FastHash>> = const { RefCell::new(HashMap::with_hasher(FastHash::new())) };
}

fn dispatch(call: &HttpCall) -> Result<(u32, Rc<Mailbox<Answer>>), CallError> {
    let owner = owner::current().ok_or(CallError::Cancelled)?;
    let request = &call.request;
    let authority = request.authority.as_deref().unwrap_or(&call.cluster);
    let pairs = abi::encode_pairs(
        std::iter::once((&b":authority"[..], authority.as_bytes()))
            .chain(request.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))),
    );
    let timeout = milliseconds(call.timeout);
    let token = abi::http_call(&call.cluster, &pairs, &request.body, timeout).map_err(|status| match status {
        Status::BAD_ARGUMENT | Status::NOT_FOUND => CallError::UnknownCluster,
        _ => CallError::Connect,
    })?;
    let deadline = abi::monotonic().saturating_add(u64::from(timeout) * 1_000_000);
    let mailbox = Mailbox::new(owner);
    CALLS.with_borrow_mut(|calls| calls.insert(token, Sent { deadline, mailbox: mailbox.clone() }));
    Ok((token, mailbox))
}

/// An answer came: puts it where its future looks and tells whose it is. `None` when nobody waits any more.
pub(crate) fn complete(token: u32, headers: u32, body: usize) -> Option<Owner> {
    let sent = CALLS.with_borrow_mut(|calls| calls.remove(&token))?;
    let answer = if headers > 0 {
        let body = if body == 0 { None } else { abi::buffer(BufferKind::CallBody, 0, body) };
        Ok(HttpResponse { headers: abi::header_pairs(MapKind::CallHeaders), body: body.unwrap_or_default() })
    } else if abi::monotonic() >= sent.deadline {
        Err(CallError::Timeout)
    } else {
        Err(CallError::Reset)
    };
    Some(sent.mailbox.put(answer))
}
