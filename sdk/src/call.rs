//! Callouts: requests that a filter sends to a cluster while its stream waits.
//!
//! A call is an ordinary future: nothing is sent before it is first polled, several are joined or raced like any others, and
//! dropping one forgets its answer. Only the host's callbacks make progress; wakers do nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::abi::{self, BufferKind, MapKind, Pairs, Status};
use crate::hash::FastHash;

/// Until when a call waits, unless it says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that this filter may call; from [`Env::cluster`](crate::Env::cluster).
#[derive(Debug, Clone)]
pub struct Cluster {
    name: Rc<str>,
}

impl Cluster {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a request there, when awaited.
    ///
    /// ```no_run
    /// # use fyke_sdk::{Cluster, HttpRequest, Result};
    /// # use std::time::Duration;
    /// # async fn example(authz: &Cluster) -> Result<()> {
    /// let answer = authz.call(HttpRequest::get("/check").header("x-token", "t")).timeout(Duration::from_millis(200)).await?;
    /// if answer.status() == 200 { /* ... */ }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a call is sent when it is awaited"]
    pub fn call(&self, request: HttpRequest) -> HttpCall {
        HttpCall { cluster: self.name.clone(), request, timeout: DEFAULT_TIMEOUT }
    }
}

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
    pub fn new(method: &str, path: &str) -> Self {
        let headers = vec![(":method".to_owned(), method.into()), (":path".to_owned(), path.into())];
        Self { headers, authority: None, body: Vec::new() }
    }

    /// GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// POST.
    #[must_use]
    pub fn post(path: &str) -> Self {
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

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The host has no such cluster, or does not grant it to this filter.
    UnknownCluster,
    /// The time was up.
    Timeout,
    /// The call could not be started.
    Connect,
    /// The call failed on its way.
    Reset,
    /// There is no stream that could wait for the answer.
    Cancelled,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCluster => "the callout's cluster is unknown or not granted",
            Self::Timeout => "the callout timed out",
            Self::Connect => "the callout could not be started",
            Self::Reset => "the callout failed on its way",
            Self::Cancelled => "the callout has no stream to wait for it",
        })
    }
}

impl std::error::Error for CallError {}

/// A call that was not sent yet: `.await` sends it and waits.
#[derive(Debug)]
#[must_use = "a call is sent when it is awaited"]
pub struct HttpCall {
    cluster: Rc<str>,
    request: HttpRequest,
    timeout: Duration,
}

impl HttpCall {
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
    Sent { token: u32, mailbox: Rc<Mailbox> },
    Done,
}

impl Future for PendingCall {
    type Output = Result<HttpResponse, CallError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
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
        match mailbox.answer.take() {
            Some(answer) => {
                self.state = State::Done;
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let State::Sent { token, .. } = self.state {
            CALLS.with_borrow_mut(|calls| calls.open.remove(&token));
        }
    }
}

/// Where an answer waits for the future that asked.
#[derive(Debug)]
struct Mailbox {
    stream: u32,
    deadline: u64,
    answer: RefCell<Option<Result<HttpResponse, CallError>>>,
}

/// The calls of this instance. One thread, one instance: what would be a global registry elsewhere is the guest's own memory here.
struct Calls {
    stream: u32,
    open: HashMap<u32, Rc<Mailbox>, FastHash>,
}

thread_local! {
    static CALLS: RefCell<Calls> = const { RefCell::new(Calls { stream: 0, open: HashMap::with_hasher(FastHash::new()) }) };
}

/// Calls made from now on belong to this stream; zero: to none.
pub(crate) fn enter(stream: u32) {
    CALLS.with_borrow_mut(|calls| calls.stream = stream);
}

fn dispatch(call: &HttpCall) -> Result<(u32, Rc<Mailbox>), CallError> {
    let stream = CALLS.with_borrow(|calls| calls.stream);
    if stream == 0 {
        return Err(CallError::Cancelled);
    }
    let request = &call.request;
    let authority = request.authority.as_deref().unwrap_or(&call.cluster);
    let pairs = abi::encode_pairs(
        std::iter::once((&b":authority"[..], authority.as_bytes()))
            .chain(request.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))),
    );
    let milliseconds = u32::try_from(call.timeout.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX.unsigned_abs());
    let token = abi::http_call(&call.cluster, &pairs, &request.body, milliseconds).map_err(|status| match status {
        Status::BAD_ARGUMENT | Status::NOT_FOUND => CallError::UnknownCluster,
        _ => CallError::Connect,
    })?;
    let deadline = abi::now().saturating_add(u64::from(milliseconds) * 1_000_000);
    let mailbox = Rc::new(Mailbox { stream, deadline, answer: RefCell::new(None) });
    CALLS.with_borrow_mut(|calls| calls.open.insert(token, mailbox.clone()));
    Ok((token, mailbox))
}

/// An answer came: puts it where its future looks and tells whose stream that is. `None` when nobody waits any more.
pub(crate) fn complete(token: u32, headers: u32, body: usize) -> Option<u32> {
    let mailbox = CALLS.with_borrow_mut(|calls| calls.open.remove(&token))?;
    let answer = if headers > 0 {
        let body = if body == 0 { None } else { abi::buffer(BufferKind::CallBody, 0, body) };
        Ok(HttpResponse { headers: abi::header_pairs(MapKind::CallHeaders), body: body.unwrap_or_default() })
    } else if abi::now() >= mailbox.deadline {
        Err(CallError::Timeout)
    } else {
        Err(CallError::Reset)
    };
    mailbox.answer.replace(Some(answer));
    Some(mailbox.stream)
}
