//! How a method answers: let the stream go on, or reply in the upstream's place.

use crate::abi;
use crate::error::Error;
use crate::headers::check;

/// What happens to the stream after a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// On to the next filter, and in the end to the upstream (or back to the client).
    Continue,
    /// The client gets this, and nothing of this stream resumes.
    Reply(Reply),
}

impl From<Reply> for Flow {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// An answer that the filter gives itself.
///
/// ```
/// use fyke_sdk::Reply;
///
/// let reply = Reply::new(403).header("x-reason", "no token").body("go away").details("token_missing");
/// assert_eq!(reply.status(), 403);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    details: String,
    grpc_status: Option<u32>,
}

impl Reply {
    /// An empty answer with this status, from 200 to 599. With another one, and with headers that HTTP cannot carry, the client gets a 500,
    /// and the log says why.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), details: String::new(), grpc_status: None }
    }

    /// An answer of plain text.
    #[must_use]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status).header("content-type", "text/plain").body(body.into())
    }

    /// Adds a header. `content-length` is the host's business.
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

    /// Says why, in one word for logs and metrics: it becomes `response.code_details`. Default: empty.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The status of gRPC, for callers that speak it: hosts answer them in its own form, with the body as message. Default: what the host makes of
    /// the status of HTTP, which is UNAVAILABLE (14) of 429.
    #[must_use]
    pub fn grpc_status(mut self, code: u32) -> Self {
        self.grpc_status = Some(code);
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Why no host could send it, if so.
    pub(crate) fn mistake(&self) -> Option<Error> {
        if !(200..=599).contains(&self.status) {
            return Some(Error::new(format!("a reply cannot have the status {}", self.status)));
        }
        self.headers.iter().find_map(|(name, value)| check(name, value).err())
    }

    /// Hands it to the host, which sends it when the callback has returned.
    pub(crate) fn send(&self) -> Result<(), abi::Status> {
        let pairs = abi::encode_pairs(self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())));
        abi::send_local_response(u32::from(self.status), &self.details, &self.body, &pairs, self.grpc_status)
    }
}
